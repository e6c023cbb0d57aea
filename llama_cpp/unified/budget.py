"""ThinkingBudget: a logits processor that ends a model's thinking after so many tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any


class ThinkingBudget:
    """Ends one answer's thinking after so many tokens, by making the model write what ends it.

    Args:
        n_tokens: that it may think for, the tag that begins thinking among them.
        tags: texts before and after thinking.
        opened: the prompt has opened the thinking.
        start: tokens of the first tag; where they come again later, the thinking ends at once.
        closing: tokens that end the thinking.
        text_of: detokenizes, special tokens included.
    """

    def __init__(
        self,
        n_tokens: int,
        tags: tuple[str, str],
        opened: bool,
        start: Sequence[int],
        closing: Sequence[int],
        text_of: Callable[[Sequence[int]], str],
    ) -> None:
        self._n_tokens = n_tokens
        self._tags = tags
        self._opened = opened
        self._start = list(start)
        self._closing = closing
        self._text_of = text_of
        self._n_prompt: int | None = None
        self._closes_at: int | None = None
        self._is_due = False

    def __call__(self, token_ids: Any, logits: Any) -> None:
        """Leave only the next closing token possible, if it is time for that."""
        n = len(token_ids)
        if self._n_prompt is None:
            self._n_prompt = n
        if n - self._n_prompt < self._n_tokens:
            return
        if self._closes_at is None or n >= self._closes_at + len(self._closing):
            written = token_ids[self._n_prompt :].tolist()
            self._is_due = self._is_due or self._thinks(written)
            # A grammar takes no end in the middle of a character.
            if not self._is_due or self._text_of(written[-4:]).endswith("\ufffd"):
                return
            self._closes_at, self._is_due = n, False
        logits[:] = -math.inf
        logits[self._closing[n - self._closes_at]] = 0.0

    def _thinks(self, written: list[int]) -> bool:
        start, end = self._tags
        if len(written) > self._n_tokens and self._closes_at is None:  # a grammar may write the tag in other tokens
            return self._text_of(written[-len(start.encode()) :]).endswith(start.rstrip())
        if len(written) > self._n_tokens:
            return written[-len(self._start) :] == self._start
        text = (start if self._opened else "") + self._text_of(written)
        return start in text.rpartition(end)[2]
