"""What it costs to hold texts to a schema: rows for reading one, and for generating under it."""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from llama_cpp import GenerationResult, Llama, LlamaGrammar, SamplingParams
from tests.tiny import write_model

from .pairs import MaxExcess, MinRatio, Row, Side
from .rows import GENERATION_RUNS, GREEDY, TINY_RUNS, Workload, generate_tokens, own_seconds

# No text ends before some thousand tokens.
PEOPLE: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
            "member": {"type": "boolean"},
        },
        "required": ["name", "age", "tags", "member"],
        "additionalProperties": False,
    },
    "minItems": 500,
}


def grammar_rows(real: Path, vocabularies: Path) -> list[Row]:
    """List the rows.

    Args:
        real: SmolLM2-135M-Instruct.
        vocabularies: folder of llama.cpp's `ggml-vocab-*.gguf`.
    """
    work = Workload(real, n_gen=128, runs=GENERATION_RUNS)
    return [
        Row("SmolLM2 generation held to a schema", "tokens/s", "free text", MinRatio(0.95), partial(_held, work)),
        Row(
            "128,256 tokens, held to a schema", "us/token", "free text", MaxExcess(1000.0), partial(_tiny, vocabularies)
        ),
        Row("a schema of 10 kB read", "ms", "an empty one", MaxExcess(50.0), _reading),
    ]


def generate_people(llm: Llama, prompt: list[int], max_tokens: int, sampling: SamplingParams) -> GenerationResult:
    return llm.generate_result(prompt, max_tokens, sampling, grammar=_people())


@functools.cache
def _people() -> LlamaGrammar:
    return LlamaGrammar.from_json_schema(PEOPLE, whitespace="")


@contextmanager
def _held(work: Workload) -> Iterator[tuple[Side, Side]]:
    """Measure tokens per second, those that could only be followed by one text among them."""
    with own_seconds(work, generate_people, GREEDY) as ours, own_seconds(work, generate_tokens, GREEDY) as free:
        yield lambda: work.n_gen / ours(), lambda: work.n_gen / free()


@contextmanager
def _tiny(vocabularies: Path) -> Iterator[tuple[Side, Side]]:
    """Measure microseconds per token of a model that knows nothing, so that most of its tokens are rejected."""
    with large_vocabulary(vocabularies) as model:
        work = Workload(model, n_gen=128, runs=TINY_RUNS)
        with own_seconds(work, generate_people, GREEDY) as ours, own_seconds(work, generate_tokens, GREEDY) as free:
            yield lambda: 1e6 * ours() / work.n_gen, lambda: 1e6 * free() / work.n_gen


@contextmanager
def large_vocabulary(vocabularies: Path) -> Iterator[Path]:
    """Write a tiny model with the vocabulary of Llama 3."""
    with tempfile.TemporaryDirectory() as folder:
        yield write_model(Path(folder, "large.gguf"), vocab=vocabularies / "ggml-vocab-llama-bpe.gguf")


@contextmanager
def _reading() -> Iterator[tuple[Side, Side]]:
    """Measure milliseconds until a grammar has answered about a text; each schema is a new one."""
    numbers = count()

    def read(schema: dict[str, Any]) -> float:
        start = time.perf_counter()
        LlamaGrammar.from_json_schema(schema).accepts("[")
        return 1e3 * (time.perf_counter() - start)

    def ours() -> float:
        return median(read(_large_schema(next(numbers))) for _ in range(TINY_RUNS))

    def empty() -> float:
        return median(read({"title": str(next(numbers))}) for _ in range(TINY_RUNS))

    yield ours, empty


def _large_schema(number: int) -> dict[str, Any]:
    """Return a schema of 10 kB, like those that programs make of their types."""
    parts = {}
    for index in range(14):
        parts[f"Part{index}"] = {
            "type": "object",
            "description": "A part of the order, as the shop has it",
            "properties": {
                f"id{number}": {"type": "string", "format": "uuid"},
                "name": {"type": "string", "minLength": 1, "maxLength": 80 + index, "description": "What it is called"},
                "price": {"type": "number", "minimum": 0, "maximum": 100_000 + index},
                "count": {"type": "integer", "minimum": 1, "maximum": 99 + index},
                "kind": {"enum": ["a", "b", "c", f"d{index}"]},
                "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{2,9}$"}, "maxItems": 5},
                "made": {"type": "string", "format": "date-time"},
                "next": {"anyOf": [{"$ref": f"#/$defs/Part{(index + 1) % 14}"}, {"type": "null"}]},
                "size": {"oneOf": [{"type": "integer"}, {"type": "object", "required": ["width"]}]},
            },
            "required": [f"id{number}", "name", "price"],
            "additionalProperties": index % 2 == 0,
        }
    schema = {"type": "array", "items": {"$ref": "#/$defs/Part0"}, "$defs": parts}
    assert 9_500 < len(json.dumps(schema)) < 11_000
    return schema
