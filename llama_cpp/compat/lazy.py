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
_TYPE_PREFIXES = ("ChatCompletion", "Completion", "Create", "Embedding", "JsonType")


def find(name: str) -> Any:
    """Return what llama-cpp-python has under a name, imported when it is first asked for.

    Raises:
        AttributeError: if it is not there.
    """
    place = _PLACE_OF.get(name, ".openai_types" if name.startswith(_TYPE_PREFIXES) else None)
    if place is None:
        raise AttributeError(f"llama_cpp has no {name!r}")
    return getattr(importlib.import_module(place, __package__), name)
