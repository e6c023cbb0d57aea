"""The JSON-Schema-Test-Suite, and schemas in use; `python -m tests.unit.test_schema_suite` prints the tables."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any

import pytest

from llama_cpp import LlamaGrammar, UnsupportedSchemaError, ValidationError
from tests.unit import schema_files

DIALECTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
# A ratchet: right answers may only become more, wrong rejections fewer. In format.json, which is left out, formats are
# annotations, which the specification allows; here they are enforced.
RIGHT = {"draft4": 566, "draft6": 762, "draft7": 798, "draft2019-09": 1095, "draft2020-12": 1108}
REJECTED = {"draft4": 6, "draft6": 7, "draft7": 7, "draft2019-09": 8, "draft2020-12": 8}  # keys in another order
KINDS = ("right", "refused", "accepted-invalid", "rejected-valid", "misjudged")
COMPILED = {True: 22, False: 26}  # of the 26 schemas in use


def run(draft: str) -> dict[str, Counter[str]]:
    """Return what became of the suite's tests, by file."""
    remotes = schema_files.remotes()
    return {name: run_file(cases, DIALECTS[draft], remotes) for name, cases in schema_files.suite(draft).items()}


def run_file(cases: list[Any], dialect: str, remotes: dict[str, Any]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for case in cases:
        schema = case["schema"]
        try:
            grammar = LlamaGrammar.from_json_schema(
                {"$schema": dialect, **schema} if schema not in (True, False) else schema,
                resources=remotes if "localhost:1234" in json.dumps(schema) else None,
            )
        except UnsupportedSchemaError:
            counts["refused"] += len(case["tests"])
            continue
        for test in case["tests"]:
            accepted = {grammar.accepts(text) for text in spellings(plain(test["data"]))}
            wrong = "accepted-invalid" if True in accepted else "rejected-valid"
            counts["right" if accepted == {test["valid"]} else wrong] += 1
            counts["misjudged"] += grammar.validates(json.dumps(test["data"])) != test["valid"]
    return counts


def plain(value: Any) -> Any:
    """Return a value whose integers are written as integers."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 10**17 else value


def spellings(value: Any) -> list[str]:
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return [json.dumps(value), compact, json.dumps(value, indent=4)]


def total(table: dict[str, Counter[str]]) -> Counter[str]:
    return sum(table.values(), Counter())


@pytest.mark.parametrize("draft", DIALECTS)
def test_nothing_that_the_suite_calls_invalid_is_accepted(draft: str) -> None:
    table = run(draft)
    assert total(table)["accepted-invalid"] == 0
    del table["format"]
    assert total(table)["rejected-valid"] <= REJECTED[draft]
    assert total(table)["right"] >= RIGHT[draft]
    assert (
        total(table)["misjudged"] == table.get("vocabulary", Counter())["misjudged"]
    )  # meta-schemas without words are not known


@pytest.mark.parametrize("strict", [True, False])
def test_schemas_in_use_compile_or_are_refused(strict: bool) -> None:
    outcomes = Counter(compile_in_time(name, schema, strict) for name, schema in schema_files.vendored().items())
    assert outcomes["compiled"] >= COMPILED[strict]


def compile_in_time(name: str, schema: Any, strict: bool) -> str:
    start = time.process_time()
    try:
        grammar = LlamaGrammar.from_json_schema(schema, strict=strict)
    except ValidationError:
        outcome = "refused"
    else:
        assert grammar.exact or not strict
        assert not grammar.accepts("[")
        outcome = "compiled"
    assert time.process_time() - start < 10, name
    return outcome


if __name__ == "__main__":
    for draft in DIALECTS:
        table = run(draft)
        print(f"\n{draft:24}" + "".join(f"{kind:>18}" for kind in KINDS))
        formats = Counter(table.get("format"))
        for name, counts in [*table.items(), ("total", total(table)), ("but for formats", total(table) - formats)]:
            print(f"{name:24}" + "".join(f"{counts[kind]:18}" for kind in KINDS))
