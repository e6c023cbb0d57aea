"""llama_cpp: GGUF language models in this process, on llama.cpp.

>>> from llama_cpp import Llama
>>> with Llama("model.gguf") as llm:
...     print(llm.generate("The capital of France is", max_tokens=8))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._core import shutdown
from ._core import system_info as print_system_info
from .config import LlamaConfig, SamplingParams
from .errors import (
    CancelledError,
    ClosedError,
    ContextFullError,
    GenerationError,
    GenerationTimeoutError,
    GrammarError,
    LlamaError,
    ModelLoadError,
    TemplateError,
    UnsupportedSchemaError,
    ValidationError,
)
from .files import quantize, read_metadata
from .llama import Llama
from .logs import disable_logging, reset_logging, set_log_level
from .lora import LoraAdapter
from .session import Session
from .types import Choice, GenerationResult, TextLogprobs

if TYPE_CHECKING:
    from .chat.template import ChatTemplate
    from .grammar.grammar import LlamaGrammar

__all__ = [
    "CancelledError",
    "ChatTemplate",
    "Choice",
    "ClosedError",
    "ContextFullError",
    "GenerationError",
    "GenerationResult",
    "GenerationTimeoutError",
    "GrammarError",
    "Llama",
    "LlamaConfig",
    "LlamaError",
    "LlamaGrammar",
    "LoraAdapter",
    "ModelLoadError",
    "SamplingParams",
    "Session",
    "TemplateError",
    "TextLogprobs",
    "UnsupportedSchemaError",
    "ValidationError",
    "__version__",
    "disable_logging",
    "print_system_info",
    "quantize",
    "read_metadata",
    "reset_logging",
    "set_log_level",
    "shutdown",
]


# Public names whose modules are imported when they are first asked for.
_LAZY = {"ChatTemplate": ".chat.template", "LlamaGrammar": ".grammar.grammar"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    # Names of llama.h, which llama-cpp-python has here too; few programs need them.
    if name == "llama_cpp" or name.lower().startswith(("llama_", "ggml_", "gguf_")):
        lowlevel = importlib.import_module(".llama_cpp", __name__)
        return lowlevel if name == "llama_cpp" else getattr(lowlevel, name)
    # importlib.metadata takes longer to import than the rest of the package together.
    if name == "__version__":
        from importlib.metadata import version

        return version("llama-cpp-cython")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
