"""Rows of a job: what an input says -> what the engine is asked for, and results -> what an output says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llama_cpp import (
    CancelledError,
    ContextFullError,
    GenerationResult,
    GenerationTimeoutError,
    LlamaError,
    ValidationError,
)
from llama_cpp.chat_completions import chat_choice
from llama_cpp.completions import completion, text_choice, usage_of

from .columns import FIELDS

Kind = Literal["text", "chat", "embedding", "score", "rerank"]
URLS: dict[str, Kind] = {
    "/v1/completions": "text",
    "/v1/chat/completions": "chat",
    "/v1/embeddings": "embedding",
    "/v1/score": "score",
    "/v1/rerank": "rerank",
}
SEEDS = 0xFFFFFFFF  # llama.cpp takes the largest number for a random seed


class RowError(Exception):
    """A row that can't be computed.

    Attributes:
        code: what kind of fault it is, in one word.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class JobRow:
    """A row of a job's input.

    Attributes:
        index: number of the row, from 0.
        kind: what it asks for.
        body: of OpenAI's request; or a row as `Llama.generate_batch` takes it.
        custom_id: of OpenAI's batch lines; None for other rows.
        columns: of other rows, as they were read.
        row_hash: tells whether the input has changed.
    """

    index: int
    kind: Kind
    body: dict[str, Any]
    custom_id: str | None
    columns: Mapping[str, Any]
    row_hash: str

    @property
    def is_openai(self) -> bool:
        """Whether the output has OpenAI's response for it."""
        return self.custom_id is not None


@dataclass(frozen=True)
class Outcome:
    """What came of a row: a value for the output, or an error.

    Attributes:
        value: body of OpenAI's response, or the result columns; None after an error.
        error: code and message; None where there is a value.
        usage: tokens of the prompt, those of them that were in memory already, and tokens generated.
    """

    value: dict[str, Any] | None
    error: tuple[str, str] | None = None
    usage: tuple[int, int, int] = (0, 0, 0)


def failed(error: Exception) -> Outcome:
    """Make an outcome of what was raised for a row."""
    if isinstance(error, RowError):
        code = error.code
    elif isinstance(error, ContextFullError):
        code = "context_length_exceeded"
    elif isinstance(error, GenerationTimeoutError):
        code = "timeout"
    elif isinstance(error, CancelledError):
        code = "cancelled"
    elif isinstance(error, ValidationError):
        code = "invalid_request"
    else:
        code = "generation_failed" if isinstance(error, LlamaError) else type(error).__name__
    return Outcome(None, (code, str(error)))


def openai_row(index: int, line: Mapping[str, Any], row_hash: str) -> JobRow:
    """Read a line of OpenAI's batch format.

    Raises:
        RowError: saying what is wrong with it.
    """
    custom_id, body, url = line.get("custom_id"), line.get("body"), line.get("url")
    if not isinstance(custom_id, str) or not custom_id:
        raise RowError("invalid_request", f"custom_id must be a text that is not empty, got {custom_id!r}")
    if line.get("method", "POST") != "POST":
        raise RowError("invalid_method", f"method must be 'POST', got {line['method']!r}")
    if url not in URLS:
        raise RowError("invalid_url", f"url must be one of {', '.join(URLS)}; got {url!r}")
    if not isinstance(body, Mapping):
        raise RowError("invalid_request", f"body must be an object, got {body!r}")
    unknown = line.keys() - {"custom_id", "method", "url", "body"}
    if unknown:
        raise RowError("invalid_request", f"a line has custom_id, method, url and body, and not {sorted(unknown)[0]!r}")
    return JobRow(index, URLS[url], dict(body), custom_id, {}, row_hash)


def seed_of(job_seed: int, row: JobRow) -> int:
    """Return the seed that a row has by its name, so that it does not depend on what ran before."""
    name = f"{job_seed} {row.index if row.custom_id is None else row.custom_id}"
    return (
        int.from_bytes(hashlib.blake2s(name.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "little") % SEEDS
    )


@dataclass(frozen=True)
class Generation:
    """A row that generates: rows for the engine, one for each answer, and how their results are said.

    Attributes:
        row: of the job.
        requests: as `Llama.generate_batch` takes them.
        heads: what stands before each text (echo).
        n_prompts: of a completion; each has as many answers as the others.
        n_top: alternatives of each token to report.
    """

    row: JobRow
    requests: list[Any]
    heads: list[str]
    n_prompts: int = 1
    n_top: int = 0

    def outcome(
        self, results: Sequence[GenerationResult], names: Mapping[str, str], model: str, created: int
    ) -> Outcome:
        """Say what came of it.

        Args:
            results: of the requests.
            names: result columns, as {field: name}, for rows that are not OpenAI's.
            model: name to report where the row has none.
            created: time to report.
        """
        usage = (
            sum(result.usage.prompt_tokens for result in results),
            sum(result.usage.cached_tokens for result in results),
            sum(result.usage.completion_tokens for result in results),
        )
        if not self.row.is_openai:
            (result,) = results
            value: dict[str, Any] = {name: FIELDS[field](result) for field, name in names.items()}
            return Outcome(value, usage=usage)
        name = self.row.body.get("model") or model
        id = stable_id(self.row, results[0].seed)
        counts = usage_of(results, len(results) // self.n_prompts)
        if self.row.kind == "chat":
            value = {
                "id": f"chatcmpl-{id}",
                "object": "chat.completion",
                "created": created,
                "model": name,
                "choices": [chat_choice(index, result, self.n_top) for index, result in enumerate(results)],
                "usage": counts,
            }
        else:
            choices = [
                text_choice(head + result.text, index, result.logprobs, result.finish_reason)
                for index, (head, result) in enumerate(zip(self.heads, results, strict=True))
            ]
            value = {**completion(f"cmpl-{id}", name, choices, counts), "created": created}
        return Outcome(value, usage=usage)


def stable_id(row: JobRow, seed: int = 0) -> str:
    """Return an id that is the same each time the row is computed."""
    return hashlib.blake2s(f"{row.custom_id} {row.index} {row.row_hash} {seed}".encode(), digest_size=16).hexdigest()


def with_seed(request: Any, seed: int) -> dict[str, Any]:
    """Return a row of `generate_batch` as a dict that has a seed."""
    if not isinstance(request, Mapping):
        is_chat = isinstance(request, (list, tuple)) and bool(request) and isinstance(request[0], Mapping)
        request = {"messages" if is_chat else "prompt": request}
    own = request.get("seed")
    return {**request, "seed": seed if own is None or own == -1 else own}


def count_of(body: dict[str, Any], name: str = "n") -> int:
    """Take the number of answers out of a body.

    Raises:
        RowError: if it is none.
    """
    value = body.pop(name, None)
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 128:
        raise RowError("invalid_request", f"{name} must be a number from 1 to 128, got {value!r}")
    return value


def numbered(requests: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """Return n rows of each one, which differ in their seeds."""
    return [{**request, "seed": (request["seed"] + index) % SEEDS} for request in requests for index in range(n)]


def refuse(body: dict[str, Any], names: Mapping[str, Any]) -> None:
    """Take out parameters that have their meaningless value, and refuse them with another one.

    Raises:
        RowError: naming the parameter.
    """
    for name, meaningless in names.items():
        value = body.pop(name, meaningless)
        if value is not None and value != meaningless:
            raise RowError("invalid_request", f"a job's rows can't have {name!r} ({value!r}); leave it out")
