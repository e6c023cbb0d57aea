"""Literals as models write them outside of JSON: Python's, JSON's, and those with bare keys or quotes of their own."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection
from typing import Any

_CONSTANTS = {"true": True, "false": False, "null": None, "None": None, "True": True, "False": False}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_WORD = re.compile(r"[\w.-]+")
_TOOL = re.compile(r"[\w.:/-]+")
_KEY = re.compile(r"[^\s:=,(){}\[\]'\"]+")
_SPACE = re.compile(r"\s*")
_QUOTES = ("'", '"', '<|"|>')  # the last is Gemma's
_BEHIND_ITEM = r"[,:)\]}]"
_BEHIND_ARGUMENT = r",\s*(?:[\w.-]+{})\s*=|\)\s*(?:[,\]]|\Z)"  # some templates do not escape the quotes in an argument
_ESCAPE = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\(?:x[0-9a-fA-F]{2}|[0-7]{1,3}|[\\'\"abfnrtv])")


def read_value(text: str, keys: Collection[str] = ()) -> Any:
    """Read a text that is one literal.

    Args:
        text: the literal.
        keys: names without quotes that it may have, which need not be words.

    Raises:
        ValueError: if it is none.
    """
    try:
        return json.loads(text)
    except ValueError:
        reader = LiteralReader(text, keys)
        value = reader.value()
        if reader.peek():
            raise ValueError(f"there is more behind the literal at {reader.position} of {text!r}") from None
        return value


class LiteralReader:
    """Reads literals, and calls with literal arguments, from left to right; what is none raises ValueError."""

    def __init__(self, text: str, keys: Collection[str] = ()) -> None:
        self.text = text
        self.position = 0
        self._keys = sorted(keys, key=len, reverse=True)

    def peek(self) -> str:
        """Skip space, and return the next character, "" at the end."""
        found = _SPACE.match(self.text, self.position)
        self.position = found.end() if found else self.position
        return self.text[self.position : self.position + 1]

    def take(self, mark: str) -> bool:
        """Skip a mark, if it comes next."""
        self.peek()
        if not self.text.startswith(mark, self.position):
            return False
        self.position += len(mark)
        return True

    def expect(self, mark: str) -> None:
        """Skip a mark."""
        if not self.take(mark):
            raise ValueError(f"{mark!r} is missing at {self.position} of {self.text!r}")

    def calls(self) -> list[tuple[str, dict[str, Any]]]:
        """Read calls as Python has them, with commas between them and without, to the end."""
        found = []
        known = "".join(f"|{re.escape(key)}" for key in self._keys)
        while self.peek():
            name = self.word(_TOOL)
            self.expect("(")
            found.append((name, self._pairs("=", ")", _BEHIND_ARGUMENT.format(known))))
            self.take(",")
        return found

    def word(self, pattern: re.Pattern[str] = _WORD) -> str:
        """Read a name."""
        self.peek()
        found = pattern.match(self.text, self.position)
        if found is None:
            raise ValueError(f"a name is missing at {self.position} of {self.text!r}")
        self.position = found.end()
        return found[0]

    def value(self, behind: str = _BEHIND_ITEM) -> Any:
        """Read one value; what may stand behind it tells the end of a text from the quotes in it."""
        if self.take("{"):
            return self._pairs(":", "}", _BEHIND_ITEM)
        for opening, closing in (("[", "]"), ("(", ")")):
            if self.take(opening):
                return self._items(closing)
        quote = next((quote for quote in _QUOTES if self.take(quote)), None)
        if quote is not None:
            return self._string(quote, behind)
        number = _NUMBER.match(self.text, self.position)
        if number is not None:
            self.position = number.end()
            return json.loads(number[0])
        word = self.word()
        if word not in _CONSTANTS:
            raise ValueError(f"{word!r} is no literal")
        return _CONSTANTS[word]

    def _items(self, closing: str) -> list[Any]:
        items = []
        while not self.take(closing):
            items.append(self.value())
            if self.peek() != closing:
                self.expect(",")
        return items

    def _pairs(self, between: str, closing: str, behind: str) -> dict[str, Any]:
        pairs = {}
        while not self.take(closing):
            quote = next((quote for quote in _QUOTES if self.take(quote)), None)
            key = self._key(between) if quote is None else self._string(quote, _BEHIND_ITEM)
            self.expect(between)
            pairs[key] = self.value(behind)
            if self.peek() != closing:
                self.expect(",")
        return pairs

    def _key(self, between: str) -> str:
        """Read a name without quotes, of those that are known or up to what stands behind it."""
        self.peek()
        for key in self._keys:
            if self.text.startswith(key, self.position):
                behind = self.position + len(key)
                if self.text[behind:].lstrip().startswith(between):
                    self.position = behind
                    return key
        return self.word(_KEY)

    def _string(self, quote: str, behind: str) -> str:
        """Read up to the quote behind which the text can go on."""
        own = len(quote) > 1
        pattern = re.escape(quote) if own else rf"(?<!\\)(?:\\\\)*{quote}(?=\s*(?:{behind}|\Z))"
        found = re.compile(pattern).search(self.text, self.position)
        if found is None:
            raise ValueError(f"{quote} is missing behind {self.position} of {self.text!r}")
        body = self.text[self.position : found.end() - len(quote)]
        self.position = found.end()
        return body if own else _ESCAPE.sub(lambda escape: _unescaped(escape[0]), body)


def _unescaped(escape: str) -> str:
    """Read an escape of Python's; those of UTF-16 come in pairs, as in JSON."""
    return str(json.loads(f'"{escape}"') if escape.startswith("\\u") else ast.literal_eval(f'"{escape}"'))
