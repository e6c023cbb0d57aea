"""Grammars, under llama-cpp-python's name for the module."""

from __future__ import annotations

from .compat.grammars import (
    ARITHMETIC_GBNF,
    JSON_ARR_GBNF,
    JSON_GBNF,
    LIST_GBNF,
    LLAMA_GRAMMAR_DEFAULT_ROOT,
)
from .grammar.grammar import LlamaGrammar

__all__ = [
    "ARITHMETIC_GBNF",
    "JSON_ARR_GBNF",
    "JSON_GBNF",
    "LIST_GBNF",
    "LLAMA_GRAMMAR_DEFAULT_ROOT",
    "LlamaGrammar",
]
