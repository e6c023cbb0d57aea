"""Stream: an iterator that any thread may close."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import LlamaError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

T = TypeVar("T")


class Stream(Generator[T, None, None]):
    """What a generator gives, until it ends or is closed, which another thread than the one that reads may do.

    Args:
        items: the generator.
        cancel: ends what a thread may be waiting for in it; takes any number of calls.
    """

    def __init__(self, items: Generator[T, None, None], cancel: Callable[[], object]) -> None:
        self._items = items
        self._cancel = cancel
        self._closed = False

    @classmethod
    def over(cls, items: Generator[T, None, None], source: object) -> Stream[T]:
        """Make the stream of a generator that reads another iterator, which is closed with it if it can be."""
        return cls(items, getattr(source, "close", lambda: None))

    def __next__(self) -> T:
        try:
            item = next(self._items)
        except LlamaError:
            if not self._closed:
                raise
        else:
            if not self._closed:
                return item
            self._items.close()
        raise StopIteration

    def send(self, value: None) -> T:
        """Return the next item; there is nothing to be told."""
        return next(self)

    def throw(self, *error: Any) -> T:
        """Raise an exception where the generator stands."""
        return self._items.throw(*error)

    def close(self) -> None:
        """End the stream, and the generations behind it. May be called again, and while another thread reads."""
        self._closed = True
        self._cancel()
        with contextlib.suppress(ValueError):  # another thread is executing it, and ends with what it waits for
            self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
