"""One interface to nine families of models, and what is known of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..files import read_metadata
from .detect import detect_file
from .families import ModelConfig, ModelFamily

if TYPE_CHECKING:
    from .llm import UnifiedLLM

__all__ = ["ModelConfig", "ModelFamily", "UnifiedLLM", "detect_model_family"]


def __getattr__(name: str) -> Any:
    if name == "UnifiedLLM":  # detection alone needs neither models nor chat
        from .llm import UnifiedLLM

        return UnifiedLLM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def detect_model_family(path: str | os.PathLike[str]) -> ModelConfig:
    """Tell which family a model is of, and what is recommended for it.

    A file that exists is judged by its architecture, its chat template and the names in its metadata, and by its file
    name where those leave something open; a name without a file, by the name. The folders count for nothing.

    Args:
        path: of a GGUF file, or the name of one.

    Raises:
        ValidationError: if the family is unknown, with what was looked at.
        ModelLoadError: if the file can't be read.

    Examples:
        >>> detect_model_family("models/Qwen3-30B-A3B-Instruct-2507-Q4_K_S.gguf").supports_thinking
        False
    """
    return detect_file(path, read_metadata).config
