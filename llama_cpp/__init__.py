"""llama_cpp: GGUF language models in this process, on llama.cpp.

>>> from llama_cpp import Llama
>>> with Llama("model.gguf") as llm:
...     print(llm.generate("The capital of France is", max_tokens=8))
"""

from __future__ import annotations

import importlib
import os
import warnings
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
    JobError,
    LlamaError,
    LlamaWarning,
    ModelLoadError,
    TemplateError,
    UnsupportedSchemaError,
    ValidationError,
)
from .llama import Llama
from .logs import disable_logging, reset_logging, set_log_level
from .lora import LoraAdapter
from .results import Choice, GenerationResult, TextLogprobs

if TYPE_CHECKING:
    from .chat.template import ChatTemplate
    from .files import quantize, read_metadata
    from .grammar.grammar import LlamaGrammar
    from .session import Session

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
    "JobError",
    "Llama",
    "LlamaConfig",
    "LlamaError",
    "LlamaGrammar",
    "LlamaWarning",
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
# What llama-cpp-python has besides, for `from llama_cpp import *`; compat/lazy.py says where it is.
__all__ += [
    "BaseLlamaCache",
    "BaseLlamaTokenizer",
    "LlamaCache",
    "LlamaDiskCache",
    "LlamaDraftModel",
    "LlamaHFTokenizer",
    "LlamaPromptLookupDecoding",
    "LlamaRAMCache",
    "LlamaState",
    "LlamaTokenizer",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "StoppingCriteria",
    "StoppingCriteriaList",
]


# Public names whose modules are imported when they are first asked for.
_LAZY = {
    "ChatTemplate": ".chat.template",
    "LlamaGrammar": ".grammar.grammar",
    "Session": ".session",
    "quantize": ".files",
    "read_metadata": ".files",
}
# Modules that are there as attributes too, as in llama-cpp-python.
_MODULES = (
    "llama_cache",
    "llama_chat_format",
    "llama_cpp",
    "llama_grammar",
    "llama_speculative",
    "llama_tokenizer",
    "llama_types",
)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    # Names of llama.h, which llama-cpp-python has here too; few programs need them.
    if name.lower().startswith(("llama_", "ggml_", "gguf_")):
        return getattr(importlib.import_module(".llama_cpp", __name__), name)
    # importlib.metadata takes longer to import than the rest of the package together.
    if name == "__version__":
        from importlib.metadata import version

        return version("llama-cpp-cython")
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(".compat.lazy", __name__).find(name)


def _warn_of_sibling() -> None:
    """Warn if llama-cpp-python is installed in the same folder: its files and ours have the same names."""
    folder = os.path.dirname(os.path.dirname(__file__))
    try:
        names = os.listdir(folder)
    except OSError:  # a zip file, for one
        return
    if any(name.startswith("llama_cpp_python-") and name.endswith(".dist-info") for name in names):
        warnings.warn(
            f"llama-cpp-python is installed in {folder} too, and both packages are called llama_cpp, so that each "
            "overwrites files of the other; run: pip uninstall -y llama-cpp-python llama-cpp-cython "
            "&& pip install llama-cpp-cython",
            LlamaWarning,
            stacklevel=3,
        )


_warn_of_sibling()
