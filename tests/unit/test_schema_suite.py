"""JSON-Schema-Test-Suite, and schemas and documents at random: nothing that is accepted may be invalid."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_cpp import LlamaGrammar, UnsupportedSchemaError, ValidationError

ROOT = Path(__file__).parents[2]
REQUIREMENT = "jsonschema==4.26.0 --hash=sha256:0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326\n"
SCHEMAS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
}
# A ratchet: at least so many right, at most so many rejected although valid.
RIGHT = {"draft2020-12": 1110, "draft7": 800}
REJECTED = {"draft2020-12": 10, "draft7": 10}


@pytest.fixture(scope="module")
def suite() -> Path:
    """Return the suite's folder, which the source distribution of jsonschema has in it."""
    folder = ROOT / "build" / "jsonschema-4.26.0" / "json" / "tests"
    if not folder.is_dir():
        cache = ROOT / "build"
        cache.mkdir(exist_ok=True)
        (cache / "suite.txt").write_text(REQUIREMENT)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        command += ["--require-hashes", "--requirement", "suite.txt", "--dest", "."]
        subprocess.run([*command, "--disable-pip-version-check"], cwd=cache, check=True, capture_output=True)
        with tarfile.open(cache / "jsonschema-4.26.0.tar.gz") as archive:
            archive.extractall(cache, filter="data")
    return folder


@pytest.mark.parametrize("draft", SCHEMAS)
def test_the_suite_of_json_schema(suite: Path, draft: str, capsys: pytest.CaptureFixture[str]) -> None:
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted((suite / draft).glob("*.json")):
        for group in json.loads(path.read_text(encoding="utf-8")):
            schema = group["schema"]
            if isinstance(schema, dict):
                schema = {"$schema": SCHEMAS[draft], **schema}
            try:
                grammar = LlamaGrammar.from_json_schema(schema)
            except UnsupportedSchemaError:
                table[path.stem]["refused"] += len(group["tests"])
                continue
            for case in group["tests"]:
                accepted = grammar.accepts(json.dumps(case["data"]))
                kind = "right" if accepted == case["valid"] else "accepted-invalid" if accepted else "rejected-valid"
                table[path.stem][kind] += 1
    total = sum(table.values(), Counter())
    with capsys.disabled():
        print(f"\n{draft}: {dict(total)}")
        for keyword, counts in table.items():
            if set(counts) != {"right"}:
                print(f"  {keyword:24}{dict(counts)}")
    assert total["accepted-invalid"] == 0
    assert total["right"] >= RIGHT[draft]
    assert total["rejected-valid"] - table["format"]["rejected-valid"] <= REJECTED[draft]


NUMBERS = st.integers(-3, 5) | st.sampled_from([0.5, 1.5, -2.5])
VALUES: Any = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text("ab1", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "ab"]), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["a", "b", "ab"])
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])


def schemas(inner: Any) -> Any:
    """Draw from all keywords; most at a time say little, and contradict each other often enough."""
    small = st.integers(0, 3)
    keywords = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), NUMBERS),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), small),
        "pattern": st.sampled_from(["^a", "b$", "a.b", "^[ab]*$"]),
        **dict.fromkeys(
            ("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"), inner
        ),
        **dict.fromkeys(("unevaluatedProperties", "unevaluatedItems"), inner),
        **dict.fromkeys(("minContains", "maxContains"), small),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), st.lists(inner, min_size=1, max_size=2)),
        **dict.fromkeys(("properties", "dependentSchemas"), st.dictionaries(NAMES, inner, max_size=2)),
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "b"]), inner, max_size=2),
        "required": st.lists(NAMES, max_size=2, unique=True),
        "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True), max_size=1),
        "uniqueItems": st.booleans(),
    }
    some = st.lists(st.sampled_from(sorted(keywords)), min_size=1, max_size=4, unique=True)
    return some.flatmap(lambda chosen: st.fixed_dictionaries({name: keywords[name] for name in chosen}))


RANDOM: Any = st.recursive(st.booleans() | schemas(st.booleans()), schemas, max_leaves=4)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(RANDOM, st.lists(VALUES, min_size=4, max_size=8))
def test_what_is_accepted_is_valid(schema: Any, documents: list[Any]) -> None:
    try:
        grammar = LlamaGrammar.from_json_schema(schema)
    except UnsupportedSchemaError:
        return
    validator = jsonschema.Draft202012Validator(schema)
    for document in documents:
        if grammar.accepts(json.dumps(document)):
            assert validator.is_valid(document), (schema, document)


@dataclass
class Point:
    x: int
    kind: Literal["a", "b"]
    tags: list[str] | None = None


class Model(pydantic.BaseModel):
    name: str
    age: int


def test_schemas_of_all_kinds_are_taken() -> None:
    point = LlamaGrammar.from_json_schema(Point)
    assert point.accepts('{"x": 1, "kind": "a"}')
    assert not point.accepts('{"x": 1, "kind": "c"}')
    assert LlamaGrammar.from_json_schema(Model).accepts('{"name": "n", "age": 2}')
    assert LlamaGrammar.from_json_schema('{"type": "integer"}').accepts("12")
    assert LlamaGrammar.from_json_schema(True).accepts('[1, {"a": null}]')
    for wrong in ("{", 1, {"type": "text"}, {"minimum": "a"}):
        with pytest.raises(ValidationError):
            LlamaGrammar.from_json_schema(wrong)


def test_what_is_not_exact_is_refused_or_checked_afterwards() -> None:
    schema = {"$ref": "https://example.com/elsewhere.json"}
    with pytest.raises(UnsupportedSchemaError) as caught:
        LlamaGrammar.from_json_schema(schema)
    assert caught.value.keyword == "$ref"
    assert LlamaGrammar.from_json_schema({"type": "string", "format": "no-such"}).accepts('"x"')
    grammar = LlamaGrammar.from_json_schema({"type": "object", "properties": {"a": {"type": "integer"}}})
    assert {entry.keyword for entry in grammar.report()} >= {"type", "properties"}
    assert grammar.explain('{"a": "x"}').offset == 6
