"""Looking for marks, and for the end of a JSON value, in text that comes in pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .heads import units


class Marks:
    """Finds the first of some texts, in text that comes in pieces.

    Args:
        texts: to look for; "" is none.
        openings: of those, what begins calls, whose words may be spelled a little otherwise.
    """

    def __init__(self, texts: Sequence[str], openings: Sequence[str] = ()) -> None:
        self.texts = sorted({text for text in texts if text}, key=len, reverse=True)
        spelled = [units(text) if text in openings else list(map(re.escape, text)) for text in self.texts]
        self._whole = re.compile("|".join(f"({''.join(one)})" for one in spelled) or r"(?!)")
        begun = ("".join(f"(?:{unit}" for unit in one[:-1]) + ")?" * len(one[:-1]) for one in spelled)
        self._begun = re.compile(f"(?:{'|'.join(begun)})\\Z")
        self._longest = 2 * max(map(len, self.texts), default=0)

    def find(self, text: str, final: bool) -> tuple[int, str | None, str]:
        """Return where the first mark is, which, and how it is spelled; without one, how far there is none for certain.

        Args:
            text: to look in.
            final: nothing follows it.
        """
        found = self._whole.search(text)
        if found is None or found.lastindex is None:
            if final:
                return len(text), None, ""
            begun = self._begun.search(text, max(0, len(text) - self._longest))
            return (begun.start() if begun else len(text)), None, ""
        rest = text[found.start() :]
        if not final and any(len(mark) > len(rest) and mark.startswith(rest) for mark in self.texts):
            return found.start(), None, ""  # this can become a longer one
        return found.start(), self.texts[found.lastindex - 1], found[0]


class JsonScanner:
    """Finds where a JSON value ends, in text that comes in pieces.

    Args:
        depth: how many objects have been opened before the text.
    """

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._in_text = False
        self._escaped = False

    def end(self, text: str) -> int | None:
        """Return the index behind the value, None if it goes on after this piece."""
        for index, character in enumerate(text):
            if self._in_text:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_text = False
                    if self._depth == 0:
                        return index + 1
            elif character == '"':
                self._in_text = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return index + 1
        return None
