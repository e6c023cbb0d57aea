"""Token ids, texts and counts that can be used in two ways: as this package has them, and as llama-cpp-python does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class ByteToken(int):
    """A token id of a program that works with bytes: `detokenize` gives bytes for it."""

    __slots__ = ()


def byte_tokens(token_ids: Iterable[int]) -> list[int]:
    """Mark token ids as those of a program that works with bytes."""
    return list(map(ByteToken, token_ids))


def holds_byte_tokens(token_ids: Any) -> bool:
    """Tell whether there are such ids among others."""
    return any(type(token) is ByteToken for token in token_ids)


class DetokenizedText(str):
    """What `detokenize` returns for ids of which nothing says whether text or bytes are wanted: text, with its bytes.

    `bytes(text)`, `text.decode()` and `b"..." + text` go back to the bytes, which need not be whole characters.
    """

    _data: bytes

    def __new__(cls, data: bytes) -> DetokenizedText:
        """Decode UTF-8; what is no character becomes U+FFFD."""
        self = super().__new__(cls, data.decode("utf-8", "replace"))
        self._data = data
        return self

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Decode the bytes, as bytes.decode does."""
        return self._data.decode(encoding, errors)

    def __bytes__(self) -> bytes:
        return self._data

    def __radd__(self, other: object) -> bytes:
        return other + self._data if isinstance(other, bytes) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return DetokenizedText, (self._data,)


class TokenCount(int):
    """How many tokens a sequence has; called with a text, how many that one has."""

    _count: Callable[..., int]

    def __new__(cls, value: int, count: Callable[..., int]) -> TokenCount:
        """Make a number that calls `count` when it is called."""
        self = super().__new__(cls, value)
        self._count = count
        return self

    def __call__(self, text: str, add_special: bool = False) -> int:
        """Count the tokens of a text, with BOS and the like if add_special is set."""
        return self._count(text, add_special)
