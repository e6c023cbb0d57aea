"""Where a grammar begins that holds only a part of a text, such as a tool call in an answer."""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass

_LONGEST_HEAD = 1024  # bytes of a match, at most


@dataclass(frozen=True)
class Trigger:
    """What a lazy grammar waits for.

    Attributes:
        heads: regular expression of what begins it wherever that stands; the grammar begins with the first group. "" is
            none.
        first: the same, of what begins it only where the text begins, or goes on behind `closing`.
        tokens: ids of tokens with which it begins.
        opening, closing: around a part at the text's beginning in which nothing begins it, such as thinking.
        opened: the text begins within that part.
    """

    heads: str = ""
    first: str = ""
    tokens: frozenset[int] = frozenset()
    opening: str = ""
    closing: str = ""
    opened: bool = False


class Watch:
    """Looks for a trigger in text that comes token by token."""

    def __init__(self, trigger: Trigger) -> None:
        self._trigger = trigger
        self._tail = b""
        self._may_open = bool(trigger.opening) and not trigger.opened
        self._within = trigger.opened
        self._first = True

    def copy(self) -> Watch:
        """Return one that has seen the same text."""
        return copy.copy(self)

    def begins_with(self, token: int) -> bool:
        """Tell whether the grammar begins with a token."""
        return token in self._trigger.tokens and not self._within

    def add(self, text: bytes) -> bytes | None:
        """Take more text, and return what the grammar has begun with; None if it has not."""
        self._tail += text
        if self._may_open and not self._opens():
            return None
        if self._within:
            before, found, behind = self._tail.partition(self._trigger.closing.encode())
            if not found:
                self._tail = before[-_LONGEST_HEAD:]
                return None
            self._within, self._tail = False, behind
        pattern = _compiled(self._trigger.first)
        found_first = pattern.match(self._tail) if self._first and pattern else None
        pattern = _compiled(self._trigger.heads)
        match = found_first or (pattern.search(self._tail) if pattern else None)
        if match is not None:
            return self._tail[match.start(match.lastindex or 0) :]
        if len(self._tail) > _LONGEST_HEAD:
            self._first, self._tail = False, self._tail[-_LONGEST_HEAD:]
        return None

    def _opens(self) -> bool:
        """Tell whether it is certain that the part in which nothing begins is there, or is not."""
        text, opening = self._tail.lstrip(), self._trigger.opening.encode()
        if len(text) < len(opening) and opening.startswith(text):
            return False
        self._may_open, self._within = False, text.startswith(opening)
        return True


@functools.lru_cache(256)
def _compiled(pattern: str) -> re.Pattern[bytes] | None:
    return re.compile(pattern.encode()) if pattern else None
