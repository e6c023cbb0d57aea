"""A look at the rows of a job before it runs."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from llama_cpp import Llama, LlamaError

from .rows import JobRow, RowError, failed

_N_LONGEST = 5


@dataclass
class DryRun:
    """What a job would compute.

    Attributes:
        n_rows: rows of the input.
        n_bad: rows that can't be computed.
        n_tokens: tokens of all prompts.
        n_ctx: tokens that the context needs for each row: of the longest prompt and its answer.
        errors: how many rows have which error.
        longest: names and lengths of the rows with the longest prompts.
    """

    n_rows: int = 0
    n_bad: int = 0
    n_tokens: int = 0
    n_ctx: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    longest: list[tuple[str, int]] = field(default_factory=list)


def look(llm: Llama, rows: Iterator[tuple[int, JobRow | RowError]], max_tokens: int) -> DryRun:
    """Render and count the prompts of rows.

    Args:
        llm: an instance; its vocabulary is enough.
        rows: of the input, or what is wrong with them, with their numbers.
        max_tokens: of the answers of rows that do not say.
    """
    found = DryRun()
    lengths: list[tuple[int, str]] = []
    for index, row in rows:
        found.n_rows += 1
        if isinstance(row, RowError):
            _add_error(found, row)
            continue
        try:
            n_tokens = _n_tokens(llm, row)
        except (LlamaError, TypeError, ValueError, KeyError) as error:
            _add_error(found, error)
            continue
        found.n_tokens += n_tokens
        own = row.body.get("max_completion_tokens") or row.body.get("max_tokens") or max_tokens
        generates = row.kind in ("text", "chat")
        found.n_ctx = max(found.n_ctx, n_tokens + (own if generates and isinstance(own, int) and own > 0 else 0))
        name = f"row {index}" if row.custom_id is None else f"{row.custom_id} (row {index})"
        heapq.heappush(lengths, (n_tokens, name))
        if len(lengths) > _N_LONGEST:
            heapq.heappop(lengths)
    found.longest = [(name, n_tokens) for n_tokens, name in sorted(lengths, reverse=True)]
    return found


def _add_error(found: DryRun, error: Exception) -> None:
    found.n_bad += 1
    outcome = failed(error)
    assert outcome.error is not None
    found.errors[outcome.error[0]] += 1


def _n_tokens(llm: Llama, row: JobRow) -> int:
    """Return the length of a row's prompt, or of all its texts together."""
    body: dict[str, Any] = row.body
    if row.kind == "chat":
        kwargs = body.get("chat_template_kwargs") or {}
        text = llm.chat_template().render(body["messages"], tools=body.get("tools") or None, **kwargs)
        return len(llm.tokenize(text, add_special=False, parse_special=True))
    texts = [body[name] for name in ("prompt", "input", "text_1", "text_2", "query", "documents") if name in body]
    return sum(_length(llm, text) for text in texts)


def _length(llm: Llama, text: Any) -> int:
    if isinstance(text, str):
        return llm.n_tokens(text, add_special=True)
    if all(isinstance(one, int) for one in text):
        return len(text)
    return sum(_length(llm, one) for one in text)
