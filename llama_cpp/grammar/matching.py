"""llguidance without a model: texts are matched byte by byte."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLTokenizer


@functools.cache
def byte_tokenizer() -> LLTokenizer:
    """Return a tokenizer whose tokens are the bytes."""
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def empty_terminals(terminals: Mapping[str, str]) -> set[str]:
    """Return those of some terminals that no text matches."""
    if not terminals:
        return set()
    from llguidance import LLMatcher

    lines = ["start: " + " | ".join(f'"{name}:" {name}' for name in terminals)]
    lines += [f"{name}: {text}" for name, text in terminals.items()]
    matcher = LLMatcher(byte_tokenizer(), LLMatcher.grammar_from_lark("\n".join(lines)), log_level=0)
    empty = set()
    for name in terminals:
        attempt = matcher.deep_copy()  # one that has come to a dead end stays there
        attempt.try_consume_tokens(list(f"{name}:".encode()))
        if not (attempt.is_accepting() or any(attempt.compute_bitmask()[:32])):  # 256 bytes
            empty.add(name)
    return empty
