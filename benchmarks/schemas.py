"""Schemas that people have: how many are enforced, how fast they are read and matched, and what comes of them.

`python -m benchmarks.schemas` measures these rows alone, which need none of llama.cpp's programs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from statistics import quantiles
from typing import Any, Literal

import pydantic
from llguidance import LLMatcher

from llama_cpp import GenerationResult, Llama, LlamaGrammar, SamplingParams, ValidationError
from llama_cpp.grammar.jsonschema import compiler
from llama_cpp.grammar.matching import byte_tokenizer, new_matcher
from tests.tiny import write_model
from tests.unit import schema_files
from tests.unit.test_schema_suite import DIALECTS, run, total

from .pairs import MaxExcess, MaxRatio, MinRatio, Row, Side, heading, summary

GENERATIONS = 2000
RANDOM = SamplingParams(temperature=1.5, repeat_penalty=1.0)
EVERY = 10  # of the tools' parameters, one in so many is timed


class Item(pydantic.BaseModel):
    sku: str = pydantic.Field(pattern="^[A-Z]{3}-[0-9]{4}$")
    price: Decimal
    count: int = pydantic.Field(ge=1, le=99)
    made: date


class Address(pydantic.BaseModel):
    street: str = pydantic.Field(max_length=30)
    city: str
    country: Literal["de", "fr", "it"]


class Order(pydantic.BaseModel):
    number: int = pydantic.Field(ge=0)
    items: list[Item] = pydantic.Field(min_length=1, max_length=5)
    address: Address | None = None
    tags: set[str] = set()
    score: float = 0
    paid: bool = False
    notes: dict[str, str] = {}


class Node(pydantic.BaseModel):
    label: str
    weight: float
    children: list[Node] = []


MODELS: tuple[type[pydantic.BaseModel], ...] = (Item, Address, Order, Node)
SMALL: list[dict[str, Any]] = [
    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 4},
    {"type": "object", "properties": {"n": {"type": "integer"}, "x": {"type": "number"}}, "required": ["n", "x"]},
    {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "of": {"type": "array", "items": {"type": "boolean"}}},
    },
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "uniqueItems": True, "maxItems": 5},
]
SMALL = [{**schema, "additionalProperties": False} for schema in SMALL]


def schema_rows(tiny: Path) -> list[Row]:
    """List the rows.

    Args:
        tiny: a model with random weights.
    """
    return [
        Row("schemas in use, enforced exactly", "count", "all of them", MinRatio(0.97), _accepted),
        Row("invalid documents of the suites taken", "count", "none", MaxExcess(0), _taken),
        Row("wrong texts held to schemas", "count", "none", MaxExcess(0), partial(_wrong, tiny)),
        Row("schemas read, median", "ms", "llguidance", MaxRatio(1.5), partial(_reading, 50)),
        Row("schemas read, 99th percentile", "ms", "nothing", MaxExcess(50), partial(_reading, 99)),
        Row("documents matched with schemas", "MB/s", "llguidance", MinRatio(0.8), _matching),
    ]


@cache
def schemas() -> list[Any]:
    """Return the schemas: of configuration files, of tools, and of pydantic models."""
    made = [model.model_json_schema() for model in MODELS]
    return [*schema_files.vendored().values(), *schema_files.parameters(), *made]


def _constant(value: float) -> Side:
    return lambda: value


@contextmanager
def _accepted() -> Iterator[tuple[Side, Side]]:
    def ours() -> float:
        return sum(map(_is_enforced, schemas()))

    yield ours, _constant(len(schemas()))


def _is_enforced(schema: Any) -> bool:
    try:
        return LlamaGrammar.from_json_schema(schema).exact
    except ValidationError:
        return False


@contextmanager
def _taken() -> Iterator[tuple[Side, Side]]:
    def ours() -> float:
        return sum(total(run(draft))["accepted-invalid"] for draft in DIALECTS)

    yield ours, _constant(0)


@contextmanager
def _wrong(tiny: Path) -> Iterator[tuple[Side, Side]]:
    """Count generations that are invalid, have a fraction in an integer, or more blank space than anything else."""
    grammars = [LlamaGrammar.from_json_schema(schema) for schema in SMALL]

    def ours() -> float:
        rows = [
            {"prompt": f"text {index}", "seed": index, "grammar": grammars[index % len(grammars)]}
            for index in range(GENERATIONS)
        ]
        with Llama(tiny, n_ctx=512, verbose=False) as llm:
            results = llm.generate_batch(rows, max_tokens=200, sampling=RANDOM, on_error="return")
        return sum(map(_is_wrong, rows, results))

    yield ours, _constant(0)


def _is_wrong(row: dict[str, Any], result: Any) -> bool:
    if not isinstance(result, GenerationResult) or result.finish_reason != "stop":
        return False  # it ended with an error, or was cut
    value, grammar = json.loads(result.text), row["grammar"]
    compact = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    fraction = grammar.schema == json.dumps(SMALL[0]) and any(isinstance(one, float) for one in value)
    return fraction or not grammar.validates(result.text) or len(result.text) > 2 * len(compact)


@contextmanager
def _reading(percentile: int) -> Iterator[tuple[Side, Side]]:
    """Measure milliseconds of CPU time until a schema is compiled and a matcher has read it."""
    chosen = [*schema_files.vendored().values(), *schema_files.parameters()[::EVERY]]
    taken = [schema for schema in chosen if not _llguidance(schema).is_error() and _is_enforced(schema)]

    def ours(schema: Any) -> None:
        new_matcher(byte_tokenizer(), LlamaGrammar.from_json_schema(schema).llguidance or "")

    def side(read: Callable[[Any], object], some: list[Any]) -> float:
        compiler._compiled.cache_clear()
        times = []
        for schema in some:
            start = time.thread_time()
            read(schema)
            times.append(1e3 * (time.thread_time() - start))
        return quantiles(times, n=100)[percentile - 1]

    if percentile == 50:
        yield lambda: side(ours, taken), lambda: side(_llguidance, taken)
    else:
        yield lambda: side(ours, [schema for schema in chosen if _is_enforced(schema)]), _constant(0)


def _llguidance(schema: Any) -> LLMatcher:
    return new_matcher(byte_tokenizer(), LLMatcher.grammar_from_json_schema(json.dumps(schema)))


@contextmanager
def _matching() -> Iterator[tuple[Side, Side]]:
    """Measure the megabytes of orders that a matcher takes within a second of CPU time."""
    schema: dict[str, Any] = {"type": "array", "items": {"$ref": "#/$defs/Order"}}
    schema["$defs"] = {**Order.model_json_schema()["$defs"]}
    schema["$defs"] |= {"Order": {**Order.model_json_schema(), "additionalProperties": False, "$defs": {}}}
    item = {"sku": "ABC-1234", "price": "12.50", "count": 3, "made": "2024-02-29"}
    address = {"street": "Long Street 17", "city": "Bologna", "country": "it"}
    order = {"number": 7, "items": [item] * 3, "address": address, "tags": ["a", "b"], "score": 1.5, "paid": True}
    tokens = list(json.dumps([{**order, "notes": {"for": "a friend"}}] * 20).encode())

    def side(matcher: LLMatcher) -> float:
        copy = matcher.deep_copy()
        start = time.thread_time()
        n_taken = copy.try_consume_tokens(tokens)
        seconds = time.thread_time() - start
        if n_taken < len(tokens):
            raise RuntimeError(f"the matcher stops after {bytes(tokens[:n_taken])[-50:]!r}")
        return len(tokens) / seconds / 1e6

    for form in schema["$defs"]["Item"]["properties"]["price"]["anyOf"]:
        form.pop("pattern", None)  # of a decimal, which llguidance can't read
    ours = new_matcher(byte_tokenizer(), LlamaGrammar.from_json_schema(schema).llguidance or "")
    del schema["$defs"]["Order"]["properties"]["tags"]["uniqueItems"]
    theirs = _llguidance(schema)
    yield lambda: side(ours), lambda: side(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schemas", description=__doc__)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--only", default="", metavar="TEXT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = schema_rows(write_model(Path(folder, "tiny.gguf")))
        print(heading(), flush=True)
        for row in rows:
            if args.only in row.name:
                print(summary(row, row.measure(args.pairs)), flush=True)


if __name__ == "__main__":
    main()
