"""Speculative decoding, under llama-cpp-python's name for the module."""

from __future__ import annotations

from .compat.speculative import LlamaDraftModel, LlamaPromptLookupDecoding

__all__ = ["LlamaDraftModel", "LlamaPromptLookupDecoding"]
