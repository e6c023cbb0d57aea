"""Models that the tests share; each is written or fetched once per session."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest

from llama_cpp.hub import resolve_model
from tests import tiny


class MakeTiny(Protocol):
    """The type of the `make_tiny` fixture."""

    def __call__(self, arch: str = "llama", **arguments: Any) -> Path:
        """Write the model that `tiny.write_model` makes of these arguments, or return it if it was written before."""


@pytest.fixture(scope="session")
def make_tiny(tmp_path_factory: pytest.TempPathFactory) -> MakeTiny:
    """Return a function that writes tiny models and keeps them for the session."""
    folder = tmp_path_factory.mktemp("tiny")
    written: dict[str, Path] = {}

    def make(arch: str = "llama", **arguments: Any) -> Path:
        key = repr((arch, sorted(arguments.items())))
        if key not in written:
            written[key] = tiny.write_model(folder / f"{arch}-{len(written)}.gguf", arch, **arguments)
        return written[key]

    return make


@pytest.fixture(scope="session")
def tiny_path(make_tiny: MakeTiny) -> Path:
    """Return a tiny `llama` model."""
    return make_tiny()


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """Return the real model: SmolLM2-135M-Instruct, fetched on first use and then taken from the cache."""
    return Path(resolve_model("SmolLM2-135M-Instruct"))


@pytest.fixture(scope="session")
def vendored() -> Path:
    """Return the folder of llama.cpp's sources, where `models/` holds real vocabularies and chat templates."""
    return Path(__file__).parents[1] / "vendor" / "llama.cpp"
