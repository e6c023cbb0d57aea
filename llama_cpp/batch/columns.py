"""What a result has for the columns of a table, by name."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from llama_cpp import GenerationResult


def _of_message(name: str) -> Callable[[GenerationResult], Any]:
    return lambda result: None if result.message is None else result.message.get(name)


def _text(result: GenerationResult) -> str | None:
    return result.text if result.message is None else result.message["content"]


FIELDS: dict[str, Callable[[GenerationResult], Any]] = {
    "text": _text,
    "reasoning_content": _of_message("reasoning_content"),
    "tool_calls": _of_message("tool_calls"),
    "token_ids": operator.attrgetter("token_ids"),
    "finish_reason": operator.attrgetter("finish_reason"),
    "matches_grammar": operator.attrgetter("matches_grammar"),
    "prompt_tokens": operator.attrgetter("usage.prompt_tokens"),
    "cached_tokens": operator.attrgetter("usage.cached_tokens"),
    "completion_tokens": operator.attrgetter("usage.completion_tokens"),
    "seed": operator.attrgetter("seed"),
}


def arrow_type(field: str) -> pa.DataType:
    """Return the Arrow type of a field's column.

    The types are fixed, since those that Arrow would infer differ between a batch of nulls and the next one.
    """
    import pyarrow as pa

    if field == "tool_calls":
        function = pa.struct({"name": pa.string(), "arguments": pa.string()})
        return pa.list_(pa.struct({"id": pa.string(), "type": pa.string(), "function": function}))
    if field == "token_ids":
        return pa.list_(pa.int32())
    if field == "matches_grammar":
        return pa.bool_()
    return pa.int64() if field.endswith("_tokens") or field == "seed" else pa.string()
