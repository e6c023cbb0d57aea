"""Tokenizers, under llama-cpp-python's name for the module."""

from __future__ import annotations

from .compat.tokenizer import (
    BaseLlamaTokenizer,
    LlamaHFTokenizer,
    LlamaTokenizer,
)

__all__ = [
    "BaseLlamaTokenizer",
    "LlamaHFTokenizer",
    "LlamaTokenizer",
]
