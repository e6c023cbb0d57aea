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

from .ecma import PatternError, python_pattern
from .formats import FORMATS
from .formula import TRUE, And, Compound, Formula, Leaf, Not, Or, Unknown, Unsupported, holds, outside

_sre: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")

Ranges = tuple[tuple[int, int], ...]

_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_SHORT = {0x22: '\\\\"', 0x5C: r"\\\\", 0x08: r"\\b", 0x0C: r"\\f", 0x0A: r"\\n", 0x0D: r"\\r", 0x09: r"\\t"}


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


# What `_unit` would say of all characters, in fewer words: most grammars hold it, and reading it takes time.
_CHARACTER = (
    r'(?:[^"\\\x00-\x1f]|\\(?:["\\bfnrt]|u(?:00[0189a-fA-F][0-9a-fA-F]|0[1-9a-fA-F][0-9a-fA-F]{2}'
    r"|[1-9a-cA-CefEF][0-9a-fA-F]{3}|[dD](?:[0-7][0-9a-fA-F]{2}|[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))))"
)
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
    """Turns a parsed regular expression into a terminal.

    An expression is a regex between slashes, or several that are joined. The rest of a text, up to its closing quote,
    is an expression too: what an assertion says of it is joined to it by "&".

    Args:
        upper: match what is right for either of Python and ECMA 262, not for both.
    """

    def __init__(self, upper: bool) -> None:
        self.upper = upper

    # -- without assertions --------------------------------------------------------------------------------------------

    def sequence(self, items: Iterable[Any]) -> str:
        """Return the regex of a sequence."""
        return "".join(getattr(self, f"_{str(kind).lower()}", _unsupported(kind))(value) for kind, value in items)

    def _literal(self, code: int) -> str:
        return _unit(((code, code),))

    def _not_literal(self, code: int) -> str:
        return _unit(_complement(((code, code),)))

    def _any(self, value: None) -> str:
        return _unit(self._ranges("ANY", value))

    def _in(self, items: Sequence[Any]) -> str:
        return _unit(self._ranges("IN", items))

    def _ranges(self, kind: str, value: Any) -> Ranges:
        """Return the characters that one item of a sequence matches."""
        if kind == "ANY":
            return _complement(((0x0A, 0x0A),) if self.upper else _NEWLINES)
        if kind == "LITERAL":
            return ((value, value),)
        if kind == "NOT_LITERAL":
            return _complement(((value, value),))
        negated = str(value[0][0]) == "NEGATE"
        upper = self.upper != negated
        ranges = _union(*(self._item(str(kind), one, upper) for kind, one in value[negated:]))
        return _complement(ranges) if negated else ranges

    def _item(self, kind: str, value: Any, upper: bool) -> Ranges:
        if kind == "CATEGORY":
            return _category(str(value).removeprefix("CATEGORY_"), upper)
        return (value,) if kind == "RANGE" else ((value, value),)

    def _branch(self, value: Any) -> str:
        return f"(?:{'|'.join(map(self.sequence, value[1]))})"

    def _subpattern(self, value: Any) -> str:
        return f"(?:{self.sequence(_group(value))})"

    def _max_repeat(self, value: Any) -> str:
        low, high, items = value
        end = "" if high == _sre.MAXREPEAT else str(high)
        return f"(?:{self.sequence(items)}){{{low},{end}}}"

    _min_repeat = _max_repeat

    # -- with assertions -----------------------------------------------------------------------------------------------

    def search(self, items: list[Any]) -> str:
        """Return the expression of the texts, with their quotes, in which a sequence is found."""
        while items and str(items[0][0]) == "SUBPATTERN" and _asserts(items[0]):
            items = [*_group(items[0][1]), *items[1:]]
        ahead = next((index for index, one in enumerate(items) if str(one[0]) not in ("ASSERT", "ASSERT_NOT")), 0)
        if items and _is_at(items[ahead], "AT_BEGINNING"):  # what stands before it says something of the same place
            return _joined('/"/', self.tail([*items[:ahead], *items[ahead + 1 :]], _REST, start=True))
        if items and str(items[0][0]) == "BRANCH" and _asserts(items[0]):
            return _either(self.search([*branch, *items[1:]]) for branch in items[0][1][1])
        before = f'/"{_CHARACTER}*/'
        if items and str(items[0][0]) in ("ASSERT", "ASSERT_NOT") and items[0][1][0] < 0:
            kind, (_, inner) = items.pop(0)
            positive = str(kind) == "ASSERT"
            ends = _Pattern(self.upper == positive).sequence(inner)
            before = f'/"{_CHARACTER}*{ends}/' if positive else f'({before} & ~(/"{_CHARACTER}*{ends}/))'
        elif items and _is_at(items[0], "AT_BOUNDARY"):
            items = items[1:]
            word = self._is_word(items, 0)
            if word is not None:
                edge = _unit(_category("NOT_WORD" if word else "WORD", self.upper))
                before = f'/"(?:{_CHARACTER}*{edge})?/' if word else f'/"{_CHARACTER}*{edge}/'
        return _joined(before, self.tail(items, _REST))

    def tail(self, items: Sequence[Any], rest: str, start: bool = False) -> str:
        """Return the expression of a sequence and what follows it, up to the end of the text.

        Args:
            items: the sequence.
            rest: expression of what follows.
            start: whether it begins where the text begins.
        """
        for index, (kind, value) in enumerate(items):
            if not _asserts((kind, value)):
                continue
            at_start = start and index == 0
            after = items[index + 1 :]
            following = self.tail(after, rest, at_start)
            plain = self.sequence(items[:index])
            name = str(kind)
            if name == "AT":
                following = self._at(str(value), items, index, following, at_start)
            elif name == "SUBPATTERN":
                following = self.tail([*_group(value), *after], rest, at_start)
            elif name == "BRANCH":
                following = _either(self.tail([*branch, *after], rest, at_start) for branch in value[1])
            elif name in ("ASSERT", "ASSERT_NOT") and value[0] > 0:
                positive = name == "ASSERT"
                found = _Pattern(self.upper == positive).tail(list(value[1]), _REST, at_start)
                following = f"({found if positive else f'~({found})'} & {following})"
            elif name.endswith("_REPEAT") and value[0] == 0 and value[1] == 1:
                following = _either([self.tail([*value[2], *after], rest, at_start), following])
            else:
                raise PatternError("a look-behind or a repeated assertion inside of a regular expression")
            return _joined(f"/{plain}/", following) if plain else following
        plain = self.sequence(items)
        return _joined(f"/{plain}/", rest) if plain else rest

    def _at(self, name: str, items: Sequence[Any], index: int, following: str, start: bool) -> str:
        if name.startswith("AT_BEGINNING"):
            if not start:
                raise PatternError("an anchor inside of a regular expression")
            return following
        if name.startswith("AT_END"):
            # Python lets a newline stand after the end.
            end = f'/(?:{_unit(((10, 10),))})?"/' if name == "AT_END" and self.upper else '/"/'
            return end if following == _REST else f"({end} & {following})"
        word = False if start else self._is_word(items[:index], -1)
        if word is None:
            return following
        wanted = word != (name == "AT_BOUNDARY")
        if wanted:
            return f"({_joined('/' + _unit(_category('WORD', self.upper)) + '/', _REST)} & {following})"
        other = _unit(_category("NOT_WORD", self.upper))
        return f'(/"|{other}{_CHARACTER}*"/ & {following})'

    def _is_word(self, items: Sequence[Any], place: int) -> bool | None:
        """Tell whether the first or the last character of a sequence is one of words; None if it may be either.

        Raises:
            PatternError: if it may be either, and what is matched must be right.
        """
        one: Any = items[place] if items else ("NOTHING", None)
        name = str(one[0])
        if name == "SUBPATTERN":
            return self._is_word(_group(one[1]), place)
        if name.endswith("_REPEAT") and one[1][0] > 0:
            return self._is_word(one[1][2], place)
        if name == "BRANCH":
            kinds = {self._is_word(branch, place) for branch in one[1][1]}
            if len(kinds) == 1:
                return kinds.pop()
        elif name in ("LITERAL", "NOT_LITERAL", "IN", "ANY"):
            ranges = self._ranges(name, one[1])
            if _common(ranges, _category("WORD", False)) == _union(ranges):
                return True
            if not _common(ranges, _category("WORD", True)):
                return False
        if self.upper:
            return None
        raise PatternError("a word boundary beside characters of both kinds in a regular expression")


def _unsupported(kind: Any) -> Any:
    def refuse(value: Any) -> str:
        raise PatternError(f"{str(kind).lower().replace('_', ' ')} in a regular expression")

    return refuse


def _group(value: Any) -> list[Any]:
    _, added, removed, items = value
    if added or removed:
        raise PatternError("flags in a regular expression")
    return list(items)


def _is_at(item: Any, name: str) -> bool:
    return str(item[0]) == "AT" and str(item[1]).startswith(name)


def _asserts(item: Any) -> bool:
    """Tell whether an item of a sequence says something of a place in it."""
    kind, value = str(item[0]), item[1]
    if kind == "SUBPATTERN":
        return any(map(_asserts, value[3]))
    if kind == "BRANCH":
        return any(_asserts(one) for branch in value[1] for one in branch)
    if kind.endswith("_REPEAT"):
        return any(map(_asserts, value[2]))
    return kind in ("AT", "ASSERT", "ASSERT_NOT")


_REST = f'/{_CHARACTER}*"/'


def _joined(first: str, second: str) -> str:
    """Return the expression of one after the other."""
    if first.startswith("/") and second.startswith("/"):
        return f"{_grouped(first)[:-1]}{_grouped(second)[1:]}"
    return f"({first} {second})"


def _grouped(regex: str) -> str:
    return f"/(?:{regex[1:-1]})/" if "|" in regex else regex


def _either(expressions: Iterable[str]) -> str:
    several = list(dict.fromkeys(expressions))
    return several[0] if len(several) == 1 else f"({' | '.join(several)})"


@functools.lru_cache(1000)
def pattern_terminal(pattern: str, upper: bool = False) -> str:
    """Return the terminal of the strings in which a pattern is found.

    Raises:
        PatternError: if it uses what can't be expressed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = _sre.parse(python_pattern(pattern))
        if parsed.state.flags & ~re.UNICODE:
            raise PatternError("flags in a regular expression")
        return _Pattern(upper).search(list(parsed))
    except RecursionError:
        raise PatternError("a regular expression that is nested too deeply") from None


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
        return re.search(python_pattern(self.pattern), value) is not None

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
