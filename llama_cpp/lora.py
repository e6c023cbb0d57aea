"""LoraAdapter: the handle of an adapter that a Llama has loaded."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from . import _core

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class LoraAdapter:
    """A fine-tuning of a model, beside its weights; `Llama.load_lora` makes one.

    As a context manager it is taken off its Llama at the end. Its memory is freed when nobody holds it any more.

    Attributes:
        path: GGUF file that it was read from.
        scale: how strongly it acts where a request does not say otherwise.
        fingerprint: tells the file apart from others.
    """

    def __init__(
        self, native: _core.LoraAdapter, scale: float, fingerprint: str, remove: Callable[[LoraAdapter], None]
    ) -> None:
        self._native = native
        self._remove = weakref.WeakMethod(remove)
        self.path = native.path
        self.scale = scale
        self.fingerprint = fingerprint

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata, its scalar values as text."""
        return self._native.metadata()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove = self._remove()
        if remove is not None:
            remove(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a LoraAdapter can't be copied or pickled, since it belongs to its Llama; load_lora() it again")

    def __repr__(self) -> str:
        return f"<LoraAdapter {self.path!r}, scale={self.scale}>"
