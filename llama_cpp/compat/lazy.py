"""llama-cpp-python's names at the top of the package and in `llama_cpp.llama`, by the module that has them."""

from __future__ import annotations

import importlib
from typing import Any

_PLACES = {
    "..grammar.grammar": ("LlamaGrammar",),
    ".callbacks": (
        "LogitsProcessor",
        "LogitsProcessorList",
        "MinTokensLogitsProcessor",
        "StoppingCriteria",
        "StoppingCriteriaList",
    ),
    ".caches": ("BaseLlamaCache", "LlamaCache", "LlamaDiskCache", "LlamaRAMCache"),
    ".speculative": ("LlamaDraftModel", "LlamaPromptLookupDecoding"),
    ".state": ("LlamaState",),
    ".tokenizer": ("BaseLlamaTokenizer", "LlamaHFTokenizer", "LlamaTokenizer"),
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names}
# Names of ctypes that programs take from here instead; llama_cpp.llama_cpp has them.
_OF_CTYPES = ("Array", "POINTER", "Structure", "byref", "ctypes")
_TYPE_PREFIXES = ("ChatCompletion", "Completion", "Create", "Embedding", "JsonType")


def names() -> list[str]:
    """Return the names that are worth importing with a star."""
    return [*_PLACE_OF]


def find(name: str) -> Any:
    """Return what llama-cpp-python has under a name, imported when it is first asked for.

    Raises:
        AttributeError: if it is not there.
    """
    if name in _OF_CTYPES or name.startswith("c_"):
        return getattr(importlib.import_module("..llama_cpp", __package__), name)
    place = _PLACE_OF.get(name, ".openai_types" if name.startswith(_TYPE_PREFIXES) else None)
    if place is None:
        raise AttributeError(f"llama_cpp has no {name!r}")
    return getattr(importlib.import_module(place, __package__), name)
