"""LlamaPredictor: a model in each actor of a Ray Data pipeline."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from llama_cpp import GenerationResult, Llama, LlamaConfig, LlamaError, ValidationError
from llama_cpp.hub import resolve_model

from .columns import FIELDS, arrow_type

try:
    import pyarrow as pa
    import ray
except ImportError as error:
    raise ImportError(
        f'llama_cpp.batch.ray needs Ray Data ({error}): pip install "llama-cpp-cython[ray]"', name=error.name
    ) from error


class LlamaPredictor:
    """A callable class for `ray.data.Dataset.map_batches` that continues the prompts of a column.

    Each actor loads the model once. A row that fails has its exception's name and message in the error column, and null
    in the other new ones; it never fails the batch. All columns that were there are passed on as they are.

    Args:
        model_path: GGUF file, known model or `hf:org/repo/file.gguf`, as `llama_cpp.hub.resolve_model` takes them; each
            machine of the cluster has to find it there.
        prompt_column: column of texts, of lists of token ids, of lists of chat messages, or of structs, as
            `Llama.generate_batch` takes them as rows; what is null in messages and structs counts as left out.
        text_column: new column for the generated texts; for messages, the content of the answer.
        error_column: new column for the errors; null where there was none.
        extra_columns: more new columns, as {name: field}; the fields are "reasoning_content" and "tool_calls" of the
            answers to messages, "token_ids", "finish_reason", "matches_grammar", "prompt_tokens", "cached_tokens",
            "completion_tokens" and "seed".
        config: how the model is loaded, as a LlamaConfig or a dict of its fields. Unless it has n_threads, the actor
            uses as many threads as its `num_cpus`, but one at least.
        **options: arguments of `Llama.generate_batch` for all rows, such as max_tokens, sampling and stop; on_error is
            not among them.

    Raises:
        ModelLoadError: if the model can't be found or loaded.
        ValidationError: for a setting of the wrong type or range, an unknown one, or a column that is named twice.

    Examples:
        >>> dataset.map_batches(
        ...     LlamaPredictor,
        ...     fn_constructor_kwargs={"model_path": "model.gguf", "max_tokens": 64},
        ...     batch_format="pyarrow",
        ...     batch_size=256,
        ...     num_cpus=4,
        ...     compute=ray.data.ActorPoolStrategy(size=2),
        ... )
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        *,
        prompt_column: str = "prompt",
        text_column: str = "text",
        error_column: str = "error",
        extra_columns: Mapping[str, str] | None = None,
        config: LlamaConfig | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if "on_error" in options:
            raise ValidationError("LlamaPredictor has no on_error: a row's error is in the column of errors")
        extra = dict(extra_columns or {})
        for field in extra.values():
            if field not in FIELDS:
                raise ValidationError(f"extra_columns has an unknown field, {field!r}; there are: {', '.join(FIELDS)}")
        new = [text_column, error_column, *extra]
        if len(set(new)) < len(new):
            raise ValidationError(f"two of the new columns have the same name: {', '.join(new)}")
        if not isinstance(config, LlamaConfig):
            config = LlamaConfig(**(config or {}))
        if config.n_threads is None:
            config = dataclasses.replace(config, n_threads=_actor_cpus())
        self._prompt_column = prompt_column
        self._error_column = error_column
        self._fields = {text_column: "text", **extra}
        self._llm = Llama(resolve_model(model_path, progress=False), config)
        self._options = options
        # Called for its checks: a wrong option is refused here, instead of with the first batch.
        self._llm.iter_batch((), on_error="return", **options)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Continue the prompts of a batch.

        Args:
            batch: an Arrow table, which is what `map_batches` passes with batch_format="pyarrow".

        Returns:
            The table with the new columns at its end.

        Raises:
            ValidationError: if batch is no Arrow table, lacks the column of prompts, or has a new one already.
        """
        rows = self._llm.generate_batch(self._prompts(batch), on_error="return", **self._options)
        results = [row if isinstance(row, GenerationResult) else None for row in rows]
        errors = [_describe(index, row) if isinstance(row, LlamaError) else None for index, row in enumerate(rows)]
        for name, field in self._fields.items():
            values = [None if result is None else FIELDS[field](result) for result in results]
            batch = batch.append_column(name, pa.array(values, arrow_type(field)))
        return batch.append_column(self._error_column, pa.array(errors, pa.string()))

    def _prompts(self, batch: pa.Table) -> list[Any]:
        """Check that a batch is what the predictor was made for, and return its prompts."""
        if not isinstance(batch, pa.Table):
            raise ValidationError(
                f"LlamaPredictor takes Arrow tables, got {type(batch).__name__}; "
                'use map_batches(..., batch_format="pyarrow")'
            )
        columns, name = batch.column_names, self._prompt_column
        if name not in columns:
            raise ValidationError(f"there is no column {name!r} of prompts; there are: {', '.join(columns)}")
        for new in (*self._fields, self._error_column):
            if new in columns:
                raise ValidationError(f"there is a column {new!r} already; give the new one another name")
        return [_row(value) for value in batch[name].to_pylist()]


def _row(value: Any) -> Any:
    """Make a row for generate_batch of what Arrow holds: a struct has all fields of its column, many of them null."""
    if isinstance(value, np.ndarray):  # Ray stores lists that came out of NumPy batches as tensors
        return value.tolist()
    if isinstance(value, dict):
        return {key: _row(inner) for key, inner in value.items() if inner is not None}
    return [_row(inner) for inner in value] if isinstance(value, list) else value


def _actor_cpus() -> int | None:
    """Return the number of CPUs that Ray has given to this actor, but 1 at least; None if this is no actor."""
    # Without the first condition, the second one would start a cluster.
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return None
    return max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 0)))


def _describe(index: int, error: LlamaError) -> str:
    """Return an error as text, without the row's index, which means nothing outside of the batch."""
    return f"{type(error).__name__}: {str(error).removeprefix(f'row {index}: ')}"
