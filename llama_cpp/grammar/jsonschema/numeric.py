"""JSON numbers as terminals: comparison of decimals, digit by digit.

What is written is plain: integers without fraction and exponent, no zero with a sign, at most 17 significant digits.
Under conditions, numbers with a fraction have at most 15 digits, and so different ones are different floats: what holds
of the digits holds of the float that a reader makes of them. Integers then have as many digits as the conditions ask
for, fewer than Python's int() refuses.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from ..checks import is_multiple
from .formula import Leaf, Not, Term, Unsupported

MAX_VALUES = 1000  # multiples that are listed one by one

MAX_DIGITS = 20  # of integers that nothing bounds: those of 64 bits have no more

INTEGER = rf"/0|-?[1-9][0-9]{{0,{MAX_DIGITS - 1}}}/"
_WHOLE = r"/0|-?[1-9][0-9]{0,16}0{0,6}/"  # 17 significant digits
_FRACTION = r"/0\.[0-9]{1,17}|-?0\.[0-9]{0,16}[1-9]|-?[1-9][0-9]{0,15}\.[0-9]{1,16}/ & /-?[0-9.]{3,18}/"
_EXPONENT = r"/-?[1-9](?:\.[0-9]{1,16})?[eE][+-]?[0-9]{1,2}/"
NUMBER = f"({_WHOLE} | {_FRACTION} | {_EXPONENT})"
_DECIMAL = r"(/0|-?[1-9][0-9]{0,299}/ | /0\.[0-9]+|-?0\.[0-9]*[1-9]|-?[1-9][0-9]{0,13}\.[0-9]+/ & /-?[0-9.]{3,16}/)"


def decimal(value: Any) -> Decimal:
    """Return the decimal that Python reads back as this int or float."""
    if isinstance(value, float) and not value.is_integer():
        return Decimal(repr(value))
    return Decimal(int(value))


def _digits(magnitude: Decimal) -> tuple[str, str]:
    whole, _, fraction = f"{magnitude:f}".partition(".")
    return whole, fraction.rstrip("0")


def _equal(magnitude: Decimal) -> str:
    whole, fraction = _digits(magnitude)
    return rf"{whole}\.{fraction}0*" if fraction else rf"{whole}(?:\.0+)?"


def _greater(magnitude: Decimal) -> str:
    """Return a regex of the decimals without sign that are greater than one."""
    whole, fraction = _digits(magnitude)
    if len(whole) > 300:
        return "x"  # no decimal is
    ways = []
    for index, digit in enumerate(whole):
        if digit != "9":
            ways.append(f"{whole[:index]}[{int(digit) + 1}-9][0-9]{{{len(whole) - index - 1}}}")
    ways = [rf"(?:{'|'.join([*ways, f'[1-9][0-9]{{{len(whole)},}}'])})(?:\.[0-9]+)?"]
    for index, digit in enumerate(fraction):
        if digit != "9":
            ways.append(rf"{whole}\.{fraction[:index]}[{int(digit) + 1}-9][0-9]*")
    ways.append(rf"{whole}\.{fraction}[0-9]*[1-9][0-9]*")
    return f"(?:{'|'.join(ways)})"


# -- leaves ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Integer(Leaf):
    """No fraction, or one of zeros."""

    def holds(self, value: Any) -> bool:
        """Tell whether a number is one."""
        return isinstance(value, int) or value.is_integer()

    def terminal(self) -> str:
        """Return the terminal of the decimals that are, however they are written."""
        return r"/-?[0-9]+(?:\.0+)?/"

    def written(self) -> str:
        """Return the terminal of the plain ones."""
        return "/-?[0-9]+/"


@dataclass(frozen=True)
class Above(Leaf):
    """At least a bound, or more than it if that is excluded."""

    bound: Decimal
    excluded: bool

    def holds(self, value: Any) -> bool:
        """Tell whether a number is."""
        return decimal(value) > self.bound or (not self.excluded and decimal(value) == self.bound)

    def terminal(self) -> str:
        """Return the terminal of the decimals that are."""
        magnitude = abs(self.bound)
        if self.bound > 0:
            return f"/{_greater(magnitude)}{'' if self.excluded else f'|{_equal(magnitude)}'}/"
        if self.bound == 0:
            zero = "" if self.excluded else rf"|-?{_equal(magnitude)}"
            return f"/{_greater(magnitude)}{zero}/"
        # Everything without a sign, and with one what is not further from zero than the bound.
        return (
            rf"(/[0-9.]+/ | ~(/-(?:{_greater(magnitude)}{f'|{_equal(magnitude)}' if self.excluded else ''})/) & /-.+/)"
        )


@dataclass(frozen=True)
class Multiple(Leaf):
    """A whole number of times of a divisor; a float one is kept, because division rounds then."""

    divisor: int | float

    def holds(self, value: Any) -> bool:
        """Tell whether a number is, by the arithmetic of the jsonschema package."""
        return is_multiple(value, self.divisor)

    @property
    def is_binary(self) -> bool:
        """Whether the divisor is a half, a quarter, an eighth or a sixteenth, by which floats are divided exactly."""
        return self.divisor in (0.5, 0.25, 0.125, 0.0625)

    def terminal(self) -> str:
        """Return the terminal of the decimals that are multiples of a binary divisor: some fractions end them."""
        tails = [f"{self.divisor * factor}"[2:] for factor in range(1, round(1 / self.divisor))]
        return rf"/-?[0-9]+(?:\.(?:0+|(?:{'|'.join(tails)})0*))?/"


@dataclass(frozen=True)
class Numbers(Leaf):
    """One of some numbers."""

    numbers: frozenset[Any]

    def holds(self, value: Any) -> bool:
        """Tell whether a number is among them."""
        return value in self.numbers

    def terminal(self) -> str:
        """Return the terminal of all ways to write them as decimals."""
        whole, ways = [], []
        for one in sorted(decimal(number) for number in self.numbers):
            sign = "" if one > 0 else "-?" if one == 0 else "-"
            digits, fraction = _digits(abs(one))
            if fraction:
                ways.append(sign + _equal(abs(one)))
            else:
                whole.append(sign + digits)
        if whole:
            ways.append(rf"(?:{'|'.join(whole)})(?:\.0+)?")
        return f"/{'|'.join(ways)}/"

    def written(self) -> str:
        """Return the terminal of the ways in which they are usually written."""
        ways: list[str] = []
        for one in sorted(self.numbers, key=decimal):
            ways += [f"{decimal(one):f}", repr(one)] if isinstance(one, float) and one else [str(int(one))]
        return f"/{'|'.join(map(re.escape, dict.fromkeys(ways)))}/"


# -- terms -------------------------------------------------------------------------------------------------------------


def _bounds(term: Term) -> tuple[Above | None, Above | None]:
    """Return the tightest lower bound of a term, and the one that it must not reach."""
    lowest = [leaf for leaf in term if isinstance(leaf, Above)]
    highest = [leaf.leaf for leaf in term if isinstance(leaf, Not) and isinstance(leaf.leaf, Above)]
    return (
        max(lowest, key=lambda leaf: (leaf.bound, leaf.excluded), default=None),
        min(highest, key=lambda leaf: (leaf.bound, leaf.excluded), default=None),
    )


def possible(term: Term) -> bool:
    """Tell whether a number might satisfy all leaves of a term."""
    lowest, highest = _bounds(term)
    if lowest and highest and (highest.bound, highest.excluded) <= (lowest.bound, lowest.excluded):
        return False
    if any(isinstance(leaf, Multiple) and isinstance(leaf.divisor, float) for leaf in term):
        return True  # rounding decides
    return listed(term) != frozenset()


@functools.lru_cache(1000)
def listed(term: Term) -> frozenset[Any] | None:
    """Return the numbers that satisfy a term if it lists some, or allows few multiples; else None."""
    candidates = next((leaf.numbers for leaf in term if isinstance(leaf, Numbers)), None) or _multiples(term)
    if candidates is None:
        return None
    return frozenset(value for value in candidates if all(_satisfies(leaf, value) for leaf in term))


def _satisfies(leaf: Any, value: Any) -> bool:
    inner: Any = leaf.leaf if isinstance(leaf, Not) else leaf
    return bool(inner.holds(value)) != isinstance(leaf, Not)


def _multiples(term: Term) -> Iterable[Any] | None:
    """Return the multiples between the bounds of a term, None if they are too many or there are no bounds."""
    lowest, highest = _bounds(term)
    divisors = [Fraction(decimal(leaf.divisor)) for leaf in term if isinstance(leaf, Multiple)]
    if not divisors and Integer() in term:
        divisors = [Fraction(1)]
    if not (lowest and highest and divisors):
        return None
    step = max(divisors)
    first, last = math.ceil(Fraction(lowest.bound) / step), math.floor(Fraction(highest.bound) / step)
    if last - first >= MAX_VALUES:
        return None
    if step.denominator == 1:
        return range(int(step) * first, int(step) * last + 1, int(step))
    exact = (step * factor for factor in range(first, last + 1))
    return [int(value) if value.denominator == 1 else float(value) for value in exact]


def alternatives_of(term: Term) -> list[str]:
    """Return what a rule of the numbers that satisfy a term consists of.

    Raises:
        Unsupported: for a multiple that can't be told from the digits.
    """
    values = listed(term)
    if values is not None and Integer() in term:
        values = frozenset(map(int, values))
    whole = _integer_range(term)
    if whole is not None:
        return [whole] if values is None or values else []
    if values is not None:
        return [Numbers(values).written()] if values else []
    multiples = [leaf for leaf in term if isinstance(leaf, Multiple) and not leaf.is_binary]
    if multiples:
        return _integer_multiples(term, multiples)
    negated = [leaf.leaf for leaf in term if isinstance(leaf, Not)]
    negated = [leaf for leaf in negated if isinstance(leaf, Multiple) and not leaf.is_binary]
    if negated:
        raise Unsupported(negated[0], "the numbers that are no multiple can't be told from their digits")
    if not term:
        return [NUMBER]
    if term == (Integer(),):
        return [INTEGER]
    return [" & ".join([_DECIMAL, *map(_terminal, term)])]


def checked_multiples(term: Term) -> tuple[tuple[float, bool], ...]:
    """Return the divisors in a term that only a check at a number's end can tell, and whether they must divide it."""
    plain = ((leaf.leaf, False) if isinstance(leaf, Not) else (leaf, True) for leaf in term)
    return tuple(
        (leaf.divisor, positive) for leaf, positive in plain if isinstance(leaf, Multiple) and not leaf.is_binary
    )


def unchecked_alternatives(term: Term) -> list[str]:
    """Return what a rule of numbers consists of that satisfy a term but for its `checked_multiples`."""
    checked = checked_multiples(term)
    rest = [leaf for leaf in term if not isinstance(leaf.leaf if isinstance(leaf, Not) else leaf, Multiple)]
    places = [-int(decimal(one).normalize().as_tuple().exponent) for one, positive in checked if positive]
    if not places:
        return alternatives_of(tuple(rest))
    fraction = rf"(?:\.[0-9]{{1,{min(places)}}})?" if min(places) > 0 else ""
    return [" & ".join([_DECIMAL, f"/-?[0-9]+{fraction}/", *map(_terminal, rest)])]


def _terminal(leaf: Any) -> str:
    inner: Any = leaf.leaf if isinstance(leaf, Not) else leaf
    if isinstance(leaf, Not):
        return f"~({inner.terminal()})"
    return str(inner.written() if isinstance(inner, (Integer, Numbers)) else inner.terminal())


def _integer_range(term: Term) -> str | None:
    """Return the terminal of the integers between bounds, None for terms that say something else."""
    bounds = [leaf for leaf in term if isinstance(leaf.leaf if isinstance(leaf, Not) else leaf, Above)]
    if Integer() not in term or len(bounds) + 1 != len(term):
        return None
    lowest, highest = _bounds(term)
    first = None if lowest is None else math.floor(lowest.bound) + 1 if lowest.excluded else math.ceil(lowest.bound)
    last = None if highest is None else math.floor(highest.bound) if highest.excluded else math.ceil(highest.bound) - 1
    digits = max([MAX_DIGITS, *(len(str(abs(bound))) + 1 for bound in (first, last) if bound is not None)])
    first, last = -(10**digits) + 1 if first is None else first, 10**digits - 1 if last is None else last
    ways = [f"-(?:{_whole_range(max(1, -last), -first)})"] if first < 0 else []
    ways += [_whole_range(max(0, first), last)] if last >= 0 else []
    return f"/{'|'.join(ways)}/"


def _whole_range(first: int, last: int) -> str:
    """Return a regex of the whole numbers from one to another, both of them at least 0."""
    ways: list[str] = []
    low, high = str(first), str(last)
    for length in range(len(low), len(high) + 1):
        start = low if length == len(low) else "1" + "0" * (length - 1)
        end = high if length == len(high) else "9" * length
        if start == "1" + "0" * (length - 1) and end == "9" * length and length > 1:
            most = len(high) if set(high) == {"9"} else len(high) - 1
            return "|".join([*ways, f"[1-9][0-9]{{{length - 1},{most - 1}}}", *_last_range(high, most)])
        ways.append(_digits_range(start, end))
    return "|".join(ways)


def _last_range(high: str, most: int) -> list[str]:
    return [] if most == len(high) else [_digits_range("1" + "0" * (len(high) - 1), high)]


def _digits_range(start: str, end: str) -> str:
    """Return a regex of the digits between two of the same length."""
    if not start:
        return ""
    tail = len(start) - 1
    if set(start[1:]) <= {"0"} and set(end[1:]) <= {"9"}:
        return _one_digit(start[0], end[0]) + (f"[0-9]{{{tail}}}" if tail else "")
    if start[0] == end[0]:
        return start[0] + _digits_range(start[1:], end[1:])
    ways, first, last = [], int(start[0]), int(end[0])
    if set(start[1:]) != {"0"}:
        ways.append(start[0] + _digits_range(start[1:], "9" * tail))
        first += 1
    if set(end[1:]) != {"9"}:
        ways.append(end[0] + _digits_range("0" * tail, end[1:]))
        last -= 1
    if first <= last:
        ways.append(f"{_one_digit(str(first), str(last))}[0-9]{{{tail}}}")
    return f"(?:{'|'.join(ways)})"


def _one_digit(first: str, last: str) -> str:
    return first if first == last else f"[{first}-{last}]"


def _integer_multiples(term: Term, multiples: list[Multiple]) -> list[str]:
    """Return llguidance's own rules of integers, the only ones that can divide: negative ones, and the others."""
    bounds = [leaf for leaf in term if isinstance(leaf.leaf if isinstance(leaf, Not) else leaf, Above)]
    if not {Integer(), *multiples, *bounds}.issuperset(term):
        raise Unsupported(multiples[0], "multiples can't be combined with other conditions")
    lowest, highest = _bounds(term)
    limit = 10**18 if all(isinstance(leaf.divisor, int) for leaf in multiples) else 10**15  # where floats are exact
    divisors = [decimal(leaf.divisor) for leaf in multiples]
    if any(divisor != int(divisor) or divisor >= limit for divisor in divisors):
        raise Unsupported(multiples[0], "multiples of a fraction are a matter of rounding")
    first = -limit if lowest is None else math.floor(lowest.bound) + 1 if lowest.excluded else math.ceil(lowest.bound)
    last = limit if highest is None else math.floor(highest.bound) if highest.excluded else math.ceil(highest.bound) - 1
    ranges = [(max(first, -limit), min(last, -1)), (max(first, 0), min(last, limit))]
    step = math.lcm(*map(int, divisors))
    schema = {"type": "integer", "multipleOf": step, "x-guidance": {"whitespace_flexible": False}}
    # A minus is written here: llguidance before 1.6 takes no negative number for a multiple.
    return [
        '"-" %json ' + json.dumps(schema | {"minimum": -high, "maximum": -low})
        if high < 0
        else "%json " + json.dumps(schema | {"minimum": low, "maximum": high})
        for low, high in ranges
        if -(-low // step) <= high // step
    ]
