"""Regular expressions of ECMA-262, as schemas use them, in the syntax of Python's `re`."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import defaultdict

MAX_PATTERN = 20_000  # characters
_LAST = 0x10FFFF


class PatternError(ValueError):
    """A regular expression uses what no terminal can say; the message names it."""


class PatternSyntaxError(PatternError):
    """A text is no regular expression."""


_LONG = {
    "Letter": "L",
    "Uppercase_Letter": "Lu",
    "Lowercase_Letter": "Ll",
    "Titlecase_Letter": "Lt",
    "Cased_Letter": "LC",
    "Modifier_Letter": "Lm",
    "Other_Letter": "Lo",
    "Mark": "M",
    "Nonspacing_Mark": "Mn",
    "Spacing_Mark": "Mc",
    "Enclosing_Mark": "Me",
    "Number": "N",
    "Decimal_Number": "Nd",
    "Letter_Number": "Nl",
    "Other_Number": "No",
    "Punctuation": "P",
    "punct": "P",
    "Symbol": "S",
    "Math_Symbol": "Sm",
    "Currency_Symbol": "Sc",
    "Separator": "Z",
    "Space_Separator": "Zs",
    "Other": "C",
    "Control": "Cc",
    "Alphabetic": "L",  # letters are most of it
}
_PROPERTY = re.compile(r"\\[pP](?:\{(?:General_Category=|gc=)?([^{}]+)\}|([A-Z]))")


@functools.cache
def _categories() -> dict[str, list[tuple[int, int]]]:
    """Return the ranges of characters of each category, by its two letters and by the first of them."""
    ranges: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for code in range(_LAST + 1):
        category = unicodedata.category(chr(code))
        for name in (category, category[0], *(["LC"] if category in ("Lu", "Ll", "Lt") else [])):
            if ranges[name] and ranges[name][-1][1] == code - 1:
                ranges[name][-1] = (ranges[name][-1][0], code)
            else:
                ranges[name].append((code, code))
    return ranges


def _property(name: str, negative: bool) -> str:
    """Return the inside of a character class of a property.

    Raises:
        PatternError: for one that is not known.
    """
    if name in ("Any", "ASCII"):
        ranges = [(0, 0x7F if name == "ASCII" else _LAST)]
    else:
        ranges = _categories().get(_LONG.get(name, name), [])
    if not ranges:
        raise PatternError(f"the Unicode property {name!r} in a regular expression")
    if negative:
        edges = [-1, *(edge for low, high in ranges for edge in (low, high)), _LAST + 1]
        ranges = [(low + 1, high - 1) for low, high in zip(edges[::2], edges[1::2], strict=True) if low + 1 < high]
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)


_ESCAPE = re.compile(
    r"\\u\{(?P<brace>[0-9A-Fa-f]+)\}"
    r"|\\u(?P<high>[dD][89abAB][0-9A-Fa-f]{2})\\u(?P<low>[dD][c-fC-F][0-9A-Fa-f]{2})"
    r"|\\c(?P<control>[A-Za-z])"
    r"|\\(?P<null>0)(?![0-9])"
    r"|\\(?P<same>[^A-Za-z0-9\s]|[aegijlmoqyCEFGHIJKLMNOQRTVXY])"
    r"|\\k<(?P<back>\w+)>"
    r"|\\."
    r"|\\$",
    re.DOTALL,
)


def _escape(found: re.Match[str]) -> str:
    if found["brace"] or found["high"]:
        code = int(found["brace"], 16) if found["brace"] else 0
        if found["high"]:
            code = 0x10000 + ((int(found["high"], 16) & 0x3FF) << 10) + (int(found["low"], 16) & 0x3FF)
        if code > _LAST:
            raise PatternSyntaxError(f"{found[0]!r} stands for no character")
        return f"\\U{code:08x}"
    if found["control"]:
        return f"\\x{ord(found['control']) % 32:02x}"
    if found["null"]:
        return r"\x00"
    if found["same"]:
        return re.escape(found["same"])
    if found["back"]:
        return f"(?P={found['back']})"
    return found[0]


@functools.lru_cache(1000)
def python_pattern(pattern: str) -> str:
    """Return a regular expression of ECMA-262 as Python's `re` writes it; most are the same.

    Raises:
        PatternSyntaxError: if it is none.
        PatternError: for what can't be written so, and very long ones.
    """
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"a regular expression of {len(pattern):,} characters")
    parts, position, in_class = [], 0, False
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            text, position = _escaped(pattern, position, in_class)
            parts.append(text)
            continue
        rest = pattern[position:]
        if in_class:
            in_class = character != "]"
            parts.append("\\[" if character == "[" else character)
        elif rest.startswith(("[^]", "[]")):
            position += 2 if rest[1] == "^" else 1
            parts.append(r"[\s\S]" if rest[1] == "^" else "(?!)")
        elif character == "[":
            in_class = True
            parts.append("[^" if rest.startswith("[^") else "[")
            position += rest.startswith("[^")
        elif rest.startswith("(?<") and not rest.startswith(("(?<=", "(?<!")):
            position += 2
            parts.append("(?P<")
        elif re.match(r"\{,\d*\}", rest):
            raise PatternError("a repetition without its lower bound, which readers take in different ways")
        elif character == "{" and not re.match(r"\{\d+(?:,\d*)?\}", rest):
            parts.append("\\{")
        else:
            parts.append(character)
        position += 1
    return _checked("".join(parts), pattern)


def _escaped(pattern: str, position: int, in_class: bool) -> tuple[str, int]:
    """Return an escape in Python's syntax, and where it ends."""
    found = _PROPERTY.match(pattern, position)
    if found:
        inside = _property(found[1] or found[2], found[0][1] == "P")
        return inside if in_class else f"[{inside}]", found.end()
    found = _ESCAPE.match(pattern, position)
    assert found is not None
    return (r"\x08" if in_class and found[0] == r"\b" else _escape(found)), found.end()


def _checked(translated: str, pattern: str) -> str:
    try:
        re.compile(translated)
    except re.error as error:
        if "look-behind requires fixed-width" in str(error):
            raise PatternError("a look-behind of several widths in a regular expression") from None
        raise PatternSyntaxError(f"{pattern!r} is no regular expression: {error}") from None
    except (RecursionError, OverflowError):
        raise PatternError("a regular expression that is nested or repeated too often") from None
    return translated
