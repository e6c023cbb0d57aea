r"""JSON strings as terminals: every way in which a text may be written between its quotes.

A character stands for itself, or is escaped: the short escapes, `\u` for control characters, and `\u` (twice, beyond
the basic plane) for what is not ASCII. Those are the ways of Python's json module, with and without `ensure_ascii`. A
letter of ASCII is never escaped, and a lone surrogate never written.

A terminal is an expression of llguidance's Lark dialect. Where a pattern means one thing to Python's `re`, which
jsonschema validates with, and another to ECMA 262, which the specification names, the `lower` terminal matches what is
right for both and the `upper` one what is right for either.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .formats import FORMATS
from .formula import TRUE, And, Compound, Formula, Leaf, Not, Or, Unknown, Unsupported, holds, outside

_sre: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

Ranges = tuple[tuple[int, int], ...]

_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_SHORT = {0x22: '\\\\"', 0x5C: r"\\\\", 0x08: r"\\b", 0x0C: r"\\f", 0x0A: r"\\n", 0x0D: r"\\r", 0x09: r"\\t"}


class PatternError(ValueError):
    """A regular expression uses what no terminal can say; the message names it."""


# -- characters --------------------------------------------------------------------------------------------------------


def _union(*several: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(one for ranges in several for one in ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _complement(ranges: Ranges) -> Ranges:
    edges = [-1, *(edge for low, high in ranges for edge in (low, high)), _LAST + 1]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((low + 1, high - 1) for low, high in pairs if low + 1 < high)


def _common(ranges: Ranges, other: Ranges) -> Ranges:
    return _complement(_union(_complement(ranges), _complement(other)))


_ANY: Ranges = ((0, _LAST),)
_RAW: Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, _SURROGATES[0] - 1), (_SURROGATES[1] + 1, _LAST))
_BMP: Ranges = ((0x80, _SURROGATES[0] - 1), (_SURROGATES[1] + 1, 0xFFFF))
_ASTRAL: Ranges = ((0x10000, _LAST),)


@functools.lru_cache(1000)
def _unit(ranges: Ranges) -> str:
    """Return a regex of all ways to write one character out of ranges."""
    ways = []
    raw = _common(ranges, _RAW)
    if len(raw) == 1 and raw[0][0] == raw[0][1]:
        ways.append(_in_class(raw[0][0]))
    elif raw:
        ways.append("[" + "".join(_class_item(low, high) for low, high in raw) + "]")
    ways += [text for code, text in _SHORT.items() if any(low <= code <= high for low, high in ranges)]
    for low, high in _union(_common(ranges, ((0, 0x1F),)), _common(ranges, _BMP)):
        ways.append(r"\\u" + _hex(f"{low:04x}", f"{high:04x}"))
    for low, high in _common(ranges, _ASTRAL):
        ways.append(_pairs(low - 0x10000, high - 0x10000))
    if not ways:
        raise PatternError("an empty character class")
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


def _class_item(low: int, high: int) -> str:
    return _in_class(low) if low == high else f"{_in_class(low)}-{_in_class(high)}"


def _in_class(code: int) -> str:
    return chr(code) if chr(code).isalnum() and code < 0x80 else f"\\x{{{code:x}}}"


def _hex(low: str, high: str) -> str:
    """Return a regex of the hexadecimal numbers of equal length between two."""
    if not low:
        return ""
    if set(low) == {"0"} and set(high) == {"f"}:
        return "[0-9a-fA-F]" + (f"{{{len(low)}}}" if len(low) > 1 else "")
    if low[0] == high[0]:
        return _digit(low[0], low[0]) + _hex(low[1:], high[1:])
    first, last = int(low[0], 16), int(high[0], 16)
    parts = []
    if set(low[1:]) - {"0"}:
        parts.append(_digit(low[0], low[0]) + _hex(low[1:], "f" * len(low[1:])))
        first += 1
    if set(high[1:]) - {"f"}:
        parts.append(_digit(high[0], high[0]) + _hex("0" * len(high[1:]), high[1:]))
        last -= 1
    if first <= last:
        whole = "0" * len(low[1:])
        parts.append(_digit(f"{first:x}", f"{last:x}") + _hex(whole, "f" * len(whole)))
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _digit(low: str, high: str) -> str:
    digits = "0123456789abcdef"[int(low, 16) : int(high, 16) + 1]
    digits += "".join(digit.upper() for digit in digits if digit.isalpha())
    return digits if len(digits) == 1 else f"[{digits}]"


def _pairs(low: int, high: int) -> str:
    """Return a regex of the surrogate pairs of a range, counted from the first code point beyond the basic plane."""
    first, last = low >> 10, high >> 10
    blocks = []
    if first == last:
        blocks.append((first, first, low & 0x3FF, high & 0x3FF))
    else:
        if low & 0x3FF:
            blocks.append((first, first, low & 0x3FF, 0x3FF))
            first += 1
        if high & 0x3FF != 0x3FF:
            blocks.append((last, last, 0, high & 0x3FF))
            last -= 1
        if first <= last:
            blocks.append((first, last, 0, 0x3FF))
    ways = []
    for top, bottom, start, end in blocks:
        leading = _hex(f"{0xD800 + top:04x}", f"{0xD800 + bottom:04x}")
        ways.append(r"\\u" + leading + r"\\u" + _hex(f"{0xDC00 + start:04x}", f"{0xDC00 + end:04x}"))
    return ways[0] if len(ways) == 1 else f"(?:{'|'.join(ways)})"


_CHARACTER = _unit(_ANY)
STRING = f'/"{_CHARACTER}*"/'


def literal(text: str) -> str:
    """Return a regex of all ways to write a text, with its quotes.

    Raises:
        PatternError: if a lone surrogate is in it.
    """
    if text.isascii() and text.replace("_", "").isalnum():
        return f'"{text}"'
    return '"' + "".join(_unit(((ord(character), ord(character)),)) for character in text) + '"'


# -- regular expressions -----------------------------------------------------------------------------------------------

_SPACE: Ranges = (
    *((0x09, 0x0D), (0x20, 0x20), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
)
_CATEGORIES: dict[str, Ranges] = {  # what both Python and ECMA have in them
    "DIGIT": ((0x30, 0x39),),
    "SPACE": _SPACE,
    "WORD": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
}
_NEWLINES: Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))


@functools.cache
def _category(name: str, upper: bool) -> Ranges:
    """Return the characters of a category such as NOT_DIGIT."""
    plain = name.removeprefix("NOT_")
    if plain != name:
        return _complement(_category(plain, not upper))
    if not upper:
        return _CATEGORIES[plain]
    if plain == "SPACE":
        return _union(_SPACE, ((0x1C, 0x1F), (0x85, 0x85), (0xFEFF, 0xFEFF)))
    if plain == "WORD":
        return _union(_CATEGORIES[plain], _BMP, _ASTRAL)  # more than there are: those that there are fill a book
    runs = re.finditer(r"\d+", "".join(map(chr, range(_LAST + 1))))
    return tuple((run.start(), run.end() - 1) for run in runs)


class _Pattern:
    """Turns a parsed regular expression into a regex of what may stand between the quotes.

    `^` and `$` become the quotes themselves, so that they may stand in some alternatives and not in others.
    """

    def __init__(self, upper: bool) -> None:
        self.upper = upper

    def sequence(self, items: Sequence[Any], head: bool, tail: bool) -> str:
        """Return the regex of a sequence; `^` may begin it at the head of the pattern, `$` end it at its tail."""
        result = []
        for index, (kind, value) in enumerate(items):
            first, last = head and index == 0, tail and index == len(items) - 1
            result.append(getattr(self, f"_{str(kind).lower()}", self._unsupported(kind))(value, first, last))
        return "".join(result)

    def _unsupported(self, kind: Any) -> Any:
        def refuse(*_: Any) -> str:
            raise PatternError(f"{str(kind).lower().replace('_', ' ')} in a regular expression")

        return refuse

    def _literal(self, code: int, *_: bool) -> str:
        return _unit(((code, code),))

    def _not_literal(self, code: int, *_: bool) -> str:
        return _unit(_complement(((code, code),)))

    def _any(self, *_: Any) -> str:
        return _unit(_complement(((0x0A, 0x0A),) if self.upper else _NEWLINES))

    def _in(self, items: Sequence[Any], *_: bool) -> str:
        negated = str(items[0][0]) == "NEGATE"
        upper = self.upper != negated
        ranges = _union(*(self._item(str(kind), value, upper) for kind, value in items[negated:]))
        return _unit(_complement(ranges) if negated else ranges)

    def _item(self, kind: str, value: Any, upper: bool) -> Ranges:
        if kind == "CATEGORY":
            return _category(str(value).removeprefix("CATEGORY_"), upper)
        return (value,) if kind == "RANGE" else ((value, value),)

    def _branch(self, value: Any, head: bool, tail: bool) -> str:
        return f"(?:{'|'.join(self.sequence(branch, head, tail) for branch in value[1])})"

    def _subpattern(self, value: Any, head: bool, tail: bool) -> str:
        _, added, removed, items = value
        if added or removed:
            raise PatternError("flags in a regular expression")
        return f"(?:{self.sequence(items, head, tail)})"

    def _max_repeat(self, value: Any, *_: bool) -> str:
        low, high, items = value
        end = "" if high == _sre.MAXREPEAT else str(high)
        return f"(?:{self.sequence(items, False, False)}){{{low},{end}}}"

    _min_repeat = _max_repeat

    def _at(self, place: Any, head: bool, tail: bool) -> str:
        name = str(place)
        if name in ("AT_BEGINNING", "AT_BEGINNING_STRING") and head:
            return '"'
        if name == "AT_END" and tail and self.upper:
            return f'(?:{_unit(((10, 10),))})?"'  # Python lets a newline stand after the end
        if name in ("AT_END", "AT_END_STRING") and tail:
            return '"'
        raise PatternError("an anchor inside of a regular expression, or a word boundary")


def _is_anchor(item: Any, name: str) -> bool:
    return str(item[0]) == "AT" and str(item[1]).startswith(name)


@functools.lru_cache(1000)
def pattern_terminal(pattern: str, upper: bool = False) -> str:
    """Return the terminal of the strings in which a pattern is found.

    Raises:
        PatternError: if it uses what can't be expressed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = _sre.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"a regular expression that Python's re refuses ({error})") from None
    if parsed.state.flags & ~re.UNICODE:
        raise PatternError("flags in a regular expression")
    items = list(parsed)
    expressions = []
    while len(items) > 1 and _is_anchor(items[0], "AT_BEGINNING") and str(items[1][0]) in ("ASSERT", "ASSERT_NOT"):
        kind, (direction, inner) = items.pop(1)
        if direction < 0:
            raise PatternError("a look-behind in a regular expression")
        negative = str(kind) == "ASSERT_NOT"
        found = _search([items[0], *inner], upper != negative)
        expressions.append(f"~({found})" if negative else found)
    expressions.append(_search(items, upper))
    return expressions[0] if len(expressions) == 1 else f"({STRING} & {' & '.join(expressions)})"


def _search(items: Sequence[Any], upper: bool) -> str:
    body = _Pattern(upper).sequence(items, True, True)
    before = "" if items and _is_anchor(items[0], "AT_BEGINNING") else f'(?:"{_CHARACTER}*)'
    after = "" if items and _is_anchor(items[-1], "AT_END") else f'(?:{_CHARACTER}*")'
    if (before or after) and re.search(r'(?<!\\)"', body[not before : len(body) - (not after)]):
        # Some alternatives begin or end with a quote, others do not.
        return f"({STRING} & /{before and before + '?'}{body}{after and after + '?'}/)"
    return f"/{before}{body}{after}/"


# -- leaves ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Length(Compound):
    """A number of characters."""

    low: int
    high: int | None

    def negation(self) -> Formula:
        """Return that there are fewer or more."""
        return outside(Length, self.low, self.high)

    def holds(self, value: str) -> bool:
        """Tell whether a string has it."""
        return self.low <= len(value) and (self.high is None or len(value) <= self.high)

    def terminal(self, upper: bool) -> str:
        """Return the terminal of the strings that have it."""
        return f'/"{_CHARACTER}{{{self.low},{"" if self.high is None else self.high}}}"/'


@dataclass(frozen=True)
class Pattern(Leaf):
    """A match of a regular expression somewhere."""

    pattern: str

    def holds(self, value: str) -> bool:
        """Tell whether a string has one."""
        return re.search(self.pattern, value) is not None

    def terminal(self, upper: bool) -> str:
        """Return the terminal of the strings that have one."""
        return pattern_terminal(self.pattern, upper)


@dataclass(frozen=True)
class Format(Leaf):
    """The syntax of a format; the terminal is a subset of it."""

    name: str

    def holds(self, value: str) -> bool:
        """Tell whether a string has it.

        Raises:
            Unsupported: if that is not certain.
        """
        if value.endswith("\n") or not re.search(FORMATS[self.name], value, re.ASCII):
            raise Unsupported(self, f"it is not certain whether {value!r} has it")
        return True

    def terminal(self, upper: bool) -> str:
        """Return the terminal of strings that have it."""
        return STRING if upper else pattern_terminal(FORMATS[self.name])


@dataclass(frozen=True)
class Texts(Leaf):
    """One of some strings."""

    texts: tuple[str, ...]

    def holds(self, value: str) -> bool:
        """Tell whether a string is among them."""
        return value in self.texts

    def terminal(self, upper: bool) -> str:
        """Return the terminal of all of them."""
        return f"/{'|'.join(map(literal, self.texts))}/"


def terminal(formula: Formula, upper: bool = False) -> str:
    """Return the terminal of the strings that satisfy a formula.

    Raises:
        PatternError: if a regular expression uses what can't be expressed.
        Unsupported: if a format must not be there.
    """
    if formula == TRUE or isinstance(formula, Unknown):
        return STRING
    if isinstance(formula, And):
        return f"({' & '.join(terminal(item, upper) for item in formula.items)})"
    if isinstance(formula, Or):
        return f"({' | '.join(terminal(item, upper) for item in formula.items)})" if formula.items else "(/a/ & /b/)"
    if isinstance(formula, Not):
        if isinstance(formula.leaf, Format):
            raise Unsupported(formula.leaf, "no grammar tells which texts lack a format")
        return f"({STRING} & ~({terminal(formula.leaf, not upper)}))"
    assert isinstance(formula, (Length, Pattern, Format, Texts))
    return formula.terminal(upper)


def fits(formula: Formula, text: str) -> bool:
    """Tell whether a string satisfies a formula.

    Raises:
        Unsupported: if that depends on a format, and is not certain.
    """
    return holds(formula, lambda leaf: bool(leaf.holds(text)))
