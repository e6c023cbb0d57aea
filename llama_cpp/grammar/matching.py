"""llguidance's matchers; without a model, texts are matched byte by byte."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# llguidance reads rules recursively, and some thousand that lead to each other would overflow the stack.
SMALL = 8000  # characters of a grammar that is read where its caller runs
STACK = 256 << 20  # bytes for larger ones
MAX_ITEMS = 20_000  # in a row of its parser: some for each property that may come next

_stack_lock = threading.Lock()


def new_matcher(tokenizer: LLTokenizer, grammar: str) -> LLMatcher:
    """Return a matcher at the beginning of a text; if llguidance refuses the grammar, it is in an error state."""
    from llguidance import LLMatcher, LLParserLimits

    made: list[LLMatcher] = []

    def make() -> None:
        limits = LLParserLimits(max_items_in_row=MAX_ITEMS, step_max_items=10 * MAX_ITEMS, verbose_errors=False)
        made.append(LLMatcher(tokenizer, grammar, log_level=0, limits=limits))

    if len(grammar) < SMALL:
        make()
    else:
        with _stack_lock:
            thread = threading.Thread(target=make)
            before = threading.stack_size(STACK)
            try:
                thread.start()
            finally:
                threading.stack_size(before)
        thread.join()
    return made[0]


def error_of(matcher: LLMatcher) -> str:
    """Return why a matcher is in an error state, in a line; an empty text if it is not."""
    return " ".join(matcher.get_error().split())[:300]


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
    matcher = new_matcher(byte_tokenizer(), LLMatcher.grammar_from_lark("\n".join(lines)))
    empty = set()
    for name in terminals:
        attempt = matcher.deep_copy()  # one that has come to a dead end stays there
        attempt.try_consume_tokens(list(f"{name}:".encode()))
        if not (attempt.is_accepting() or any(attempt.compute_bitmask()[:32])):  # 256 bytes
            empty.add(name)
    return empty
