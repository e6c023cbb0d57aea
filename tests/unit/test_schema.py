"""JSON Schema: keyword by keyword, and random schemas: what a grammar writes is valid."""

from __future__ import annotations

import json
import pickle
import random
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_cpp import LlamaGrammar, UnsupportedSchemaError, ValidationError
from llama_cpp.chat_completions import grammar_of_format
from llama_cpp.grammar.checks import Checks, State, Violation, checks_of
from llama_cpp.grammar.jsonschema.formats import FORMATS
from llama_cpp.grammar.matching import byte_tokenizer

TAGGED = [
    {"type": "object", "properties": {"kind": {"const": kind}, "value": {"type": type}}, "required": ["kind", "value"]}
    for kind, type in (("a", "string"), ("b", "integer"), ("c", "null"))
]
TREE = {"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "type": "object", "additionalProperties": False}
CASES: list[tuple[Any, list[Any], list[Any]]] = [
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, [1, 2.5, "a"], [3, 1.5]),
    ({"oneOf": TAGGED}, [{"kind": "a", "value": "x"}, {"kind": "b", "value": 1}], [{"kind": "a", "value": 1}]),
    ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, [{"a": 1}, {"b": 1}, 1][:2], [{"a": 1, "b": 1}, {}, 1]),
    (
        {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "else": {"required": ["c"]}},
        [{"b": 2}, {"a": 1, "b": 2}, {"a": 2, "c": 0}, 5],
        [{"a": 1}, {"a": 2}, {"a": 2, "b": 0}],
    ),
    ({"not": {"type": ["string", "null"]}}, [1, [], True], ["a", None]),
    ({"not": {"enum": [1, "a", [2]]}}, [2, "b", [], [2, 2], [3]], [1, "a", [2]]),
    ({"type": "object", "not": {"required": ["a"]}}, [{}, {"b": 1}], [{"a": 1}, 5]),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, [{}, {"b": 1}, {"a": 1, "b": 1}], [{"a": 1}]),
    ({"dependentSchemas": {"a": {"maxProperties": 1}}}, [{"a": 1}, {"b": 1, "c": 1}], [{"a": 1, "b": 1}]),
    ({"propertyNames": {"pattern": "^[a-c]$"}}, [{}, {"a": 1, "c": 2}], [{"d": 1}, {"aa": 1}]),
    (
        {"patternProperties": {"a": {"type": "integer"}, "b": {"minimum": 5}}, "additionalProperties": False},
        [{"a": 1, "b": 7, "ab": 5}, {"b": "x"}],
        [{"ab": 4}, {"ab": "x"}, {"a": "x"}, {"c": 1}],
    ),
    ({"contains": {"const": 5}}, [[5], [1, 5, "a"], "no array"], [[], [1]]),
    ({"contains": {"type": "string"}, "minContains": 2, "maxContains": 3}, [["a", 1, "b"]], [["a"], ["a"] * 4]),
    ({"items": {"enum": ["a", "b", 1]}, "uniqueItems": True}, [[], ["b", 1, "a"]], [["a", "a"], [1, 1.0]]),
    ({"items": {"type": "object"}, "uniqueItems": True, "maxItems": 1}, [[], [{}]], [[{}, {"a": 1}]]),
    (
        {"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False},
        [{}, {"a": 1}],
        [{"a": 1, "b": 1}, {"b": 1}],
    ),
    (
        {"anyOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, True], "unevaluatedProperties": False},
        [{"a": 1}, {}],
        [{"a": 2}],
    ),
    (
        {"prefixItems": [{"type": "null"}], "unevaluatedItems": {"type": "string"}},
        [[None, "a"], []],
        [[None, 1], ["a"]],
    ),
    (TREE, [{}, {"left": {"right": {}}}], [{"left": {"up": {}}}, {"left": 1}]),
    ({"$ref": "#/$defs/s", "maxLength": 2, "$defs": {"s": {"type": "string"}}}, ["ab", ""], ["abc", 1]),
    ({"$defs": {"s": {"$anchor": "here", "const": 1}}, "$ref": "#here"}, [1], [2]),
    ({"type": "integer", "multipleOf": 6, "minimum": 10, "maximum": 20}, [12, 18], [6, 24, 13]),
    ({"allOf": [{"multipleOf": 4}, {"multipleOf": 6}], "type": "integer"}, [12, -24, 0], [4, 6, 18]),
    ({"type": "number", "multipleOf": 0.25, "minimum": 0, "maximum": 1}, [0, 0.25, 0.75, 1], [0.3, 1.25]),
    ({"multipleOf": 0.25}, [1, -0.25, 7.5, 3.750, 10**20, "a"], [0.2, 1.26, -0.255]),
    ({"type": "integer", "multipleOf": 0.5}, [1, 0, -3], [0.5]),
    ({"type": "number", "minimum": 3, "not": {"multipleOf": 0.5}}, [3.25, 10.1], [3, 3.5, 2.25, 10.50]),
    ({"type": "number", "exclusiveMinimum": -1.5, "maximum": 2}, [-1.4, 0, 2, 2.0], [-1.5, 2.1, -2]),
    ({"enum": [1, "abc", "b", None, [1]], "maxLength": 1, "items": False}, [1, "b", None], ["abc", [1], 2]),
    ({"enum": [{"a": 1, "b": [True]}]}, [{"a": 1, "b": [True]}], [{"a": 1}, {"a": 1, "b": [1]}]),
    ({"type": "string", "minLength": 2, "maxLength": 2}, ["é🙂", "\n\t"], ["a", "abc"]),
    ({"type": "string", "pattern": "^(?!no)[a-z]+$"}, ["yes", "n"], ["no", "nobody", "A", ""]),
    ({"type": "string", "not": {"pattern": "a"}}, ["", "b"], ["a", "bab"]),
    ({"properties": {"a": False}, "minProperties": 1}, [{"b": 1}], [{"a": 1}, {}]),
    ({"const": "a", "$comment": "no keyword", "x-mine": {"type": "null"}}, ["a"], ["b", None]),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), CASES)
def test_keywords_mean_what_the_specification_says(schema: Any, valid: list[Any], invalid: list[Any]) -> None:
    grammar = LlamaGrammar.from_json_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert grammar.exact
    for value in valid:
        assert validator.is_valid(value)
        assert grammar.accepts(json.dumps(value)), value
    for value in invalid:
        assert not validator.is_valid(value)
        assert not grammar.accepts(json.dumps(value)), value


@pytest.mark.parametrize(
    ("schema", "keyword", "pointer"),
    [
        ({"type": "array", "not": {"uniqueItems": True}}, "not", "/not"),
        ({"properties": {"a/b": {"pattern": r"(a)\1"}}}, "pattern", "/properties/a~1b/pattern"),
        ({"not": {"format": "date"}}, "format", "/not/format"),
        ({"pattern": r"(a)\1"}, "pattern", "/pattern"),
        ({"$ref": "https://example.com/other"}, "$ref", "/$ref"),
        ({"$ref": "#"}, "$ref", ""),
    ],
)
def test_what_can_not_be_enforced_is_refused_by_name(schema: Any, keyword: str, pointer: str) -> None:
    with pytest.raises(UnsupportedSchemaError) as error:
        LlamaGrammar.from_json_schema(schema)
    assert (error.value.keyword, error.value.pointer) == (keyword, pointer)


def test_without_strict_it_is_checked_afterwards() -> None:
    schema = {"type": "array", "items": {"pattern": r"^(a|b)\1$"}, "oneOf": [{"minItems": 1}, False]}
    grammar = LlamaGrammar.from_json_schema(schema, strict=False)
    assert not grammar.exact
    assert {entry.pointer: entry.status for entry in grammar.report()} == {
        "/type": "enforced",
        "/items": "enforced",
        "/items/pattern": "checked afterwards",
        "/oneOf": "rewritten",
        "/oneOf/0/minItems": "enforced",
    }
    assert grammar.accepts('["aa", "bb"]')
    assert not grammar.accepts("[]")
    assert "does not match" in grammar.explain('["aa", "ab"]').reason


@pytest.mark.parametrize(
    ("schema", "texts", "reason"),
    [
        ({"type": "array", "not": {"uniqueItems": True}}, ("[1, 1]", "[1, 2]", "1"), "should not be valid"),
        ({"type": "string", "pattern": r"^(a+)b\1$"}, ('"aba"', '"ab"', "1"), "does not match"),
        ({"type": "string", "not": {"format": "ipv4"}}, ('"a"', '"1.2.3.4"', "1"), "should not be valid"),
        (
            {"properties": {"a": {"$ref": "x.json"}}, "type": "object"},
            ("{}", '{"a": 1}', "1"),
            "'x.json' leads nowhere",
        ),
        ({"not": {"$ref": "x.json"}, "type": "object"}, (None, "{}", "1"), "leads nowhere"),
        ({"type": ["string", "null"], "pattern": r"\p{Script=Thai}"}, ("null", '"a"', "1"), "can't read the pattern"),
    ],
)
def test_without_strict_the_rest_is_enforced_and_the_text_validated(
    schema: Any, texts: tuple[str | None, str, str], reason: str
) -> None:
    valid, invalid, never = texts
    with pytest.raises(ValidationError):
        LlamaGrammar.from_json_schema(schema)
    grammar = LlamaGrammar.from_json_schema(schema, strict=False)
    assert not grammar.exact
    assert "checked afterwards" in {entry.status for entry in grammar.report()}
    assert valid is None or grammar.accepts(valid)
    outcome = grammar.explain(invalid)
    assert (outcome.accepted, outcome.offset) == (False, len(invalid))  # nothing stops the text itself
    assert reason in outcome.reason
    assert "can't stand at" in grammar.explain(never).reason


CHECKED: list[tuple[Any, list[Any], list[Any]]] = [
    (
        {"type": "array", "uniqueItems": True},
        [[], [1, True, "1", [1], {"a": 1}]],
        [[1, 1], [1, 2, 1.0], [{"a": [0]}] * 2],
    ),
    (
        {"items": {"type": "string", "pattern": "^[ab]{1,2}$"}, "uniqueItems": True, "minItems": 3, "maxItems": 5},
        [["a", "b", "ab"]],
        [["a", "b", "a"], ["a", "b"]],
    ),
    (
        {"properties": {"a": {"items": {"uniqueItems": True, "items": {"type": "integer"}}}}, "required": ["a"]},
        [{"a": [[1, 2], [1, 2]]}, {"a": [[3], [3, 4]], "b": [1, 1]}],
        [{"a": [[1, 1]]}, {"a": [[1], [2, 2]]}],
    ),
    ({"type": "number", "multipleOf": 0.01}, [1.25, 0, -3, 0.08], [0.123, 0.07]),
    ({"type": "integer", "multipleOf": 7, "not": {"const": 14}}, [7, 21, 0], [14, 8]),
    ({"items": {"type": "number", "minimum": 1, "maximum": 9, "multipleOf": 0.0005}}, [[1.5, 8]], [[0.5], [10]]),
    ({"type": "object", "minProperties": 2}, [{"a": 1, "b": 1}, {"b": 1, "a": 2, "c": 3}], [{"a": 1}, {}]),
    (
        {"minProperties": 3, "patternProperties": {"^x": True}, "additionalProperties": False},
        [{"x": 0, "xx": 0, "xy": 1}],
        [{"x": 0}],
    ),
    (
        {"oneOf": [{"items": {"type": "string"}, "uniqueItems": True, "type": "array"}, {"type": "string"}]},
        ["a", ["a", "b"]],
        [["a", "a"]],
    ),
    ({"anyOf": [{"properties": {"a": {"uniqueItems": True}}}, {"required": ["b"]}]}, [{"a": [1, 2]}], [{"a": [1, 1]}]),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), CHECKED)
def test_values_are_checked_where_they_end(schema: Any, valid: list[Any], invalid: list[Any]) -> None:
    grammar = LlamaGrammar.from_json_schema(schema)
    assert grammar.exact
    assert grammar.checks is not None
    assert pickle.loads(pickle.dumps(grammar)) == grammar
    for value in valid:
        for text in (json.dumps(value), json.dumps(value, indent=2)):
            assert grammar.accepts(text), text
            assert grammar.validates(text), text
    for value in invalid:
        assert not grammar.accepts(json.dumps(value)), value
        assert not grammar.validates(json.dumps(value)), value
    texts = write(LlamaGrammar.from_json_schema(schema, whitespace=""), random.Random(0), 20)
    assert len(texts) > 3
    for text in texts:
        assert grammar.validates(text), text


def test_explanations_name_the_place_of_a_value_that_must_not_end() -> None:
    grammar = LlamaGrammar.from_json_schema({"type": "array", "uniqueItems": True})
    outcome = grammar.explain('["é", "b", "é", 1]')
    assert (outcome.accepted, outcome.offset) == (False, 13)
    assert "has an equal item already" in outcome.reason


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "strin"},
        {"properties": []},
        {"required": ["a", "a"]},
        {"minLength": -1},
        {"pattern": "["},
        {"pattern": "(?<n>a"},
        {"patternProperties": {"*": False}},
        {"allOf": []},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "items": [True]},
        {"$schema": "http://json-schema.org/draft-07/schema", "exclusiveMinimum": True},
        {"properties": {5: {}}},
        {"items": [5]},
        {"dependencies": {"a": 5}},
        {"$ref": "#/x-no-schema", "x-no-schema": {"type": "strin"}},
        {"maximum": float("nan")},
        [],
        "{",
        5,
    ],
)
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(ValidationError):
        LlamaGrammar.from_json_schema(schema)


TIDY = [
    '{"a":[1,{}]}',
    '{"a": [1, {}]}',
    '{\n\t"a": [1, {}]\n}',
    json.dumps({"a": [1, {"b": [], "c": {"d": [1]}}]}, indent=4),
]
UNTIDY = [
    "{ }",
    "[\n]",
    '{"a" : 1}',
    '{"a":  1}',
    "[1,  2]",
    "[1 ,2]",
    "[1,\n\n2]",
    "[1\n\n]",
    "[1, \n2]",
    " 1",
    "1\n",
    "[1,\r\n2]",
]


@pytest.mark.parametrize(
    ("whitespace", "accepted"), [(None, "yyyy"), ("", "ynnn"), (" ?", "yynn"), (r"[ \t\n]*", "yyyy")]
)
def test_whitespace(whitespace: str | None, accepted: str) -> None:
    grammar = LlamaGrammar.from_json_schema(True, whitespace=whitespace)
    assert "".join("ny"[grammar.accepts(text)] for text in TIDY) == accepted


def test_blank_space_is_bounded_and_whatever_is_valid_is_validated() -> None:
    grammar = LlamaGrammar.from_json_schema(True)
    assert [text for text in UNTIDY if grammar.accepts(text)] == []
    assert all(grammar.validates(text) for text in UNTIDY)
    assert not grammar.accepts("[1," + "\n" + " " * 100 + "2]")


@pytest.mark.parametrize(
    ("schema", "written", "valid"),
    [
        ({"type": "integer"}, ["0", "12", "-7", "9" * 19], ["1.0", "1e3", "-0", "-0.0"]),
        ({"type": "integer", "minimum": -5, "maximum": 1000}, ["-5", "0", "999", "1000"], ["1.0", "-0", "1e2"]),
        ({"type": "integer", "minimum": 0}, ["0", "5"], ["5.0", "-0", "0.0"]),
        ({"type": "integer", "multipleOf": 3}, ["0", "9", "-3"], ["3.0", "-0"]),
        ({"type": "integer", "enum": [1, 2.0]}, ["1", "2"], ["1.0", "2.0"]),
        ({"type": ["integer", "null"], "not": {"const": 3}}, ["4", "-3"], ["4.0", "-0"]),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, ["4"], ["4.0"]),
        (
            {"type": "number"},
            ["0", "0.0", "-1.5", "2e-7", "1E+22", "-0.001", "100000000000000000000"],
            ["-0", "-0.0", "-0e1"],
        ),
        (
            {"type": "number"},
            ["0.1", "12345678901234567"],
            ["1234567890123456.789", "123456789012345678", "0." + "1" * 18],
        ),
        ({"type": "number", "minimum": -1}, ["-0.5", "0.0"], ["-0", "-0.00"]),
        ({"const": 0}, ["0"], ["0.0", "-0"]),
        ({"const": 1.5}, ["1.5"], ["1.50"]),
    ],
)
def test_numbers_are_written_plainly(schema: Any, written: list[str], valid: list[str]) -> None:
    grammar = LlamaGrammar.from_json_schema(schema)
    assert [text for text in written if not (grammar.accepts(text) and grammar.validates(text))] == []
    assert [text for text in valid if grammar.accepts(text) or not grammar.validates(text)] == []


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 7), (3, 12), (-12, 130), (95, 1005), (-1000, -37), (7, 20000)])
def test_ranges_of_integers_are_exact(first: int, last: int) -> None:
    grammar = LlamaGrammar.from_json_schema({"type": "integer", "minimum": first, "exclusiveMaximum": last + 1})
    edges = {first, last, 0, 9, 10, 99, 100, 999, 1000, 9999, 10000} | set(range(-150, 1200, 7))
    for value in {edge + step for edge in edges for step in (-1, 0, 1)}:
        assert grammar.accepts(str(value)) == (first <= value <= last), value


def test_keys_come_in_the_order_in_which_they_first_stand() -> None:
    part = {"type": "object", "properties": {"z": {"type": "null"}, "b": True, "a": True}, "required": ["z"]}
    whole = {
        "$defs": {"part": part},
        "properties": {
            "first": {"$ref": "#/$defs/part"},
            "second": {"properties": {"a": True, "b": True}, "allOf": [part]},
        },
        "anyOf": [{"properties": {"second": True, "first": True}}, False],
    }
    grammar = LlamaGrammar.from_json_schema(whole)
    assert grammar.accepts('{"first": {"z": null, "b": 1, "a": 1}, "second": {"a": 1, "b": 1, "z": null}}')
    assert not grammar.accepts('{"second": {"a": 1, "z": null}, "first": {"z": null}}')
    assert grammar.validates('{"second": {"z": null, "a": 1}, "first": {"b": 0, "z": null}}')


OLD_FORMS: list[tuple[Any, list[Any], list[Any]]] = [
    ({"items": [{"type": "null"}], "additionalItems": {"type": "string"}}, [[], [None, "a"]], [["a"], [None, 1]]),
    ({"items": [{"type": "null"}], "additionalItems": False}, [[None]], [[None, 1]]),
    ({"minimum": 3, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": False}, [4, 5], [3, 6]),
    ({"dependencies": {"a": ["b"], "b": {"maxProperties": 2}}}, [{"b": 1}, {"a": 1, "b": 1}], [{"a": 1}]),
    ({"definitions": {"a": {"const": 1}}, "$ref": "#/definitions/a", "type": "integer"}, [1], [2]),
]


@pytest.mark.parametrize(("schema", "valid", "invalid"), OLD_FORMS)
@pytest.mark.parametrize("uri", [None, "http://json-schema.org/schema#", "https://example.com/my-own-draft"])
def test_old_forms_are_read_without_a_draft(schema: Any, valid: list[Any], invalid: list[Any], uri: str | None) -> None:
    grammar = LlamaGrammar.from_json_schema(schema if uri is None else {"$schema": uri, **schema})
    for value in valid:
        assert grammar.accepts(json.dumps(value)), value
    for value in invalid:
        assert not grammar.accepts(json.dumps(value)), value
    assert [grammar.validates(json.dumps(value)) for value in valid + invalid] == [True] * len(valid) + [False] * len(
        invalid
    )


@pytest.mark.parametrize("draft", ["draft-04", "draft-06", "draft-07", "draft/2019-09", "draft/2020-12"])
@pytest.mark.parametrize("start", ["http", "https"])
@pytest.mark.parametrize("end", ["", "#"])
def test_drafts_are_named_in_many_ways(draft: str, start: str, end: str, caplog: pytest.LogCaptureFixture) -> None:
    schema = {"$schema": f"{start}://json-schema.org/{draft}/schema{end}", "type": "array", "contains": {"const": 1}}
    grammar = LlamaGrammar.from_json_schema(schema)
    old = draft == "draft-04"  # which has neither word
    assert (grammar.accepts("[]"), grammar.validates("[]")) == (old, old)
    assert not caplog.records


def test_an_unknown_draft_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    grammar = LlamaGrammar.from_json_schema({"$schema": "https://example.com/draft", "type": "null"})
    assert grammar.accepts("null")
    assert "https://example.com/draft" in caplog.text


def test_an_embedded_resource_may_be_of_another_draft() -> None:
    old = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "id": "http://x.org/old",
        "minimum": 1,
        "exclusiveMinimum": True,
    }
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "items": {**old, "$id": "http://x.org/old"}}
    grammar = LlamaGrammar.from_json_schema(schema)
    assert (grammar.accepts("[2]"), grammar.accepts("[1]")) == (True, False)


def test_references_lead_to_resources_that_are_given_and_nowhere_else() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "https://x.org/part.json#/$defs/n"}}, "required": ["a"]}
    resources = {"https://x.org/part.json": {"$defs": {"n": {"type": "integer", "maximum": 9}}}}
    with pytest.raises(UnsupportedSchemaError, match="leads out of it; nothing is fetched: resources="):
        LlamaGrammar.from_json_schema(schema)
    grammar = LlamaGrammar.from_json_schema(schema, resources=resources)
    assert (grammar.accepts('{"a": 9}'), grammar.accepts('{"a": 10}')) == (True, False)
    assert (grammar.validates('{"a": 9}'), grammar.validates('{"a": 10}')) == (True, False)
    with pytest.raises(ValidationError, match="resources"):
        LlamaGrammar.from_json_schema(schema, resources=["x"])  # type: ignore[arg-type]


@pytest.mark.parametrize("strict", [True, False])
def test_bad_schemas_are_refused_within_a_second(strict: bool) -> None:
    deep: Any = {"type": "string"}
    for _ in range(10_000):
        deep = {"properties": {"a": deep}}
    circular: dict[str, Any] = {"properties": {}}
    circular["properties"]["a"] = circular
    endless = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}}
    large = {"enum": [f"{index:010}" for index in range(800_000)]}
    for schema in (deep, circular, endless, large, json.dumps(large), '{"a":' * 10_000 + "1" + "}" * 10_000):
        start = time.process_time()
        with pytest.raises(ValidationError):
            LlamaGrammar.from_json_schema(schema, strict=strict)
        assert time.process_time() - start < 1


@pytest.mark.parametrize("whitespace", ["x", "[ab]*", "[", r" |\."])
def test_whitespace_is_nothing_else(whitespace: str) -> None:
    with pytest.raises(ValidationError, match="whitespace"):
        LlamaGrammar.from_json_schema(True, whitespace=whitespace)


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str) -> None:
    schema = {"type": "string", "format": name}
    texts = write(LlamaGrammar.from_json_schema(schema), random.Random(0), 100)
    assert len(set(texts)) > 5
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    assert all(checker.conforms(json.loads(text), name) for text in texts)


def test_keys_can_not_be_smuggled_in() -> None:
    grammar = LlamaGrammar.from_json_schema({"properties": {"a": {"type": "integer"}}})
    assert grammar.accepts('{"a": 1, "b": "x"}')
    assert not grammar.accepts('{"\\u0061": "x"}')
    assert not grammar.accepts('{"a": 1, "a": "x"}')
    assert not grammar.accepts('{"b": "\\ud800"}')


def test_a_large_schema_takes_milliseconds_and_a_hopeless_one_ends() -> None:
    many = {f"p{index}": {"type": ["string", "null"], "maxLength": 9, "title": "A" * 20} for index in range(100)}
    LlamaGrammar.from_json_schema({"properties": many})
    start = time.process_time()
    assert LlamaGrammar.from_json_schema({"properties": many | {"q": True}}).accepts('{"p7": "x", "p99": null}')
    assert time.process_time() - start < 0.2
    many = {f"p{index}": {"type": "integer"} for index in range(1500)}
    assert LlamaGrammar.from_json_schema({"properties": many}).accepts('{"p7": 1, "p1499": 2}')
    branches = [{"anyOf": [{"required": [f"p{index}"]} for index in range(n, n + 12)]} for n in range(12)]
    start = time.process_time()
    with pytest.raises(UnsupportedSchemaError, match="too many cases"):
        LlamaGrammar.from_json_schema({"type": "object", "allOf": branches, "not": {"oneOf": branches}})
    assert time.process_time() - start < 10


# -- random schemas ----------------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "foo", "é"])
numbers = st.sampled_from([0, 1, 2, 3, -1, 1.5, 2.0, 0.1, 7])
counts = st.integers(0, 3)
patterns = st.sampled_from(["^a", "b$", "^[a-z]+$", r"\d", r"^\w*$", "x|^a$", "^(?!a)", "^.{2}$", "[^a]"])
scalars = st.sampled_from([None, True, False, 0, 1, 1.5, -2, "", "a", "b", "ab", "é", "1"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2), max_leaves=4
)
types = st.sampled_from(["array", "boolean", "integer", "null", "number", "object", "string"])
PLAIN: dict[str, Any] = {
    "type": types | st.lists(types, min_size=1, max_size=2, unique=True),
    "const": values,
    "enum": st.lists(values, min_size=1, max_size=3),
    "minimum": numbers,
    "maximum": numbers,
    "exclusiveMinimum": numbers,
    "multipleOf": st.sampled_from([1, 2, 3, 0.5, 0.1]),
    "minLength": counts,
    "maxLength": counts,
    "pattern": patterns,
    "format": st.sampled_from(["date", "ipv4", "email", "unknown"]),
    "minItems": counts,
    "maxItems": counts,
    "uniqueItems": st.booleans(),
    "minProperties": counts,
    "maxProperties": counts,
    "required": st.lists(names, max_size=2, unique=True),
    "dependentRequired": st.dictionaries(names, st.lists(names, max_size=1), max_size=1),
    "minContains": counts,
    "maxContains": counts,
    "$ref": st.just("#/$defs/x"),
}


def containing(inner: Any) -> Any:
    several = st.lists(inner, min_size=1, max_size=2)
    one = ["additionalProperties", "propertyNames", "items", "contains", "not", "if", "then", "else"]
    keywords = PLAIN | dict.fromkeys([*one, "unevaluatedItems", "unevaluatedProperties"], inner)
    keywords |= dict.fromkeys(["allOf", "anyOf", "oneOf", "prefixItems"], several)
    keywords |= dict.fromkeys(["properties", "dependentSchemas"], st.dictionaries(names, inner, max_size=2))
    keywords["patternProperties"] = st.dictionaries(patterns, inner, max_size=2)
    return st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: keywords[name] for name in chosen})
    )


schemas = containing(containing(containing(st.booleans())))


@given(
    schema=schemas, definition=containing(st.booleans()), instances=st.lists(values, max_size=10), seed=st.integers(0)
)
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_invalid_document_of_a_random_schema_is_accepted(
    schema: dict[str, Any], definition: Any, instances: list[Any], seed: int
) -> None:
    schema["$defs"] = {"x": definition}
    try:
        grammar = LlamaGrammar.from_json_schema(schema, whitespace="")
    except UnsupportedSchemaError:
        return
    kind = jsonschema.Draft202012Validator
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER)
    for value in instances:
        if grammar.accepts(json.dumps(value, separators=(",", ":"))):
            validator.validate(value)
    for text in write(grammar, random.Random(seed), 10):
        validator.validate(json.loads(text))


def write(grammar: LlamaGrammar, choose: random.Random, n_texts: int) -> list[str]:
    """Write texts that nothing but the grammar holds, byte by byte; those that do not end in time are left out."""
    texts = (write_one(grammar, choose) for _ in range(n_texts))
    return [text for text in texts if text is not None]


def write_one(grammar: LlamaGrammar, choose: random.Random, n_bytes: int = 120) -> str | None:
    from llguidance import LLMatcher

    matcher = LLMatcher(byte_tokenizer(), grammar.llguidance or "", log_level=0)
    checks = checks_of(grammar.checks or "[[false, false, [], [], [0], {}, [0]]]")
    text, state = b"", checks.start
    while len(text) < n_bytes:
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        allowed = [byte for byte in range(256) if mask >> byte & 1 and may_follow(checks, state, byte)]
        if matcher.is_accepting() and (not allowed or choose.random() < 0.3):
            return text.decode() if may_end(checks, state) else None
        if not allowed:
            assert not text or grammar.checks, f"a dead end after {text!r}"
            return None  # no document satisfies the schema, or what ends must not end
        common = [byte for byte in allowed if byte in b'"]},:[{0123456789abftrue nls-.@']
        text += bytes([choose.choice(common if common and choose.random() < 0.9 else allowed)])
        assert matcher.consume_token(text[-1])
        state = checks.after(state, text[-1:])
    return None


def may_follow(checks: Checks, state: State, byte: int) -> bool:
    try:
        checks.after(state, bytes([byte]))
    except Violation:
        return False
    return True


def may_end(checks: Checks, state: State) -> bool:
    try:
        checks.ended(state)
    except Violation:
        return False
    return True


DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"  # pydantic's
PATTERNS: list[tuple[str, list[str], list[str]]] = [
    (DECIMAL, ["0", "-1.5", "+.5", "12"], ["", "-", "+.", "1e5", "a"]),
    (r"^\p{L}+$", ["é", "aß", "日"], ["", "1", "a b"]),
    (r"^[\p{Lu}\d]\P{L}$", ["A1", "5 "], ["a1", "AB"]),
    (r"^(?<year>\d{4})-(?<month>\d\d)$", ["2024-05"], ["24-05", "2024-5"]),
    (r"^(?=.*\d)(?=.*[a-z]).{3,5}$", ["a1x", "1abc"], ["abc", "123", "a1", "a1xxxx"]),
    (r"^a(?!b)[a-z]*$", ["a", "ac", "acb"], ["ab", "abc", "b"]),
    (r"^[a-z]+(?<!x)$", [], []),
    (r"(^|\s)foo($|\s)", ["foo", "a foo", "foo b", "a foo b"], ["afoo", "foob"]),
    (r"\bfoo\b", ["foo", "a foo!", "-foo-"], ["afoo", "foob", "a_foo"]),
    (r"^\w+\b-", ["a-", "ab-c"], ["a", "-"]),
    (r"^a$|^b$", ["a", "b"], ["ab", "c"]),
    (r"^(?:a|b$)", ["a", "ax", "b"], ["bx"]),
    (r"(?<=a)b", ["ab", "xab"], ["b", "cb"]),
    (r"(?<!a)b", ["b", "cb", "abb"], ["ab"]),
    (r"^\ud83d\ude00$", ["😀"], ["x", ""]),
    (r"^\u{1F600}\/\x41\cA?$", ["😀/A", "😀/A\x01"], ["😀A"]),
    (r"^[^]$", ["x", "\n"], ["", "xx"]),
    (r"^a(?:\.\d+$)?", ["a", "a.5", "ab", "a."], ["b"]),
    (r"^(?!.*--)[a-z-]+$", ["a-b", "a"], ["a--b", ""]),
    (r"^(?!(?:con|nul)$)\w+$", ["a", "cona"], ["con", "nul"]),
    (r"^$", [""], ["a"]),
    (r"^[\w.-]{1,3}\s\S$", ["a.b c"], ["a  ", "abcd e"]),
    (r"^{}[[\]]$", ["{}[", "{}]"], ["{}"]),
]


@pytest.mark.parametrize(("pattern", "found", "missed"), PATTERNS)
def test_regular_expressions_of_ecma_are_enforced(pattern: str, found: list[str], missed: list[str]) -> None:
    schema = {"type": "string", "pattern": pattern}
    if not found:
        with pytest.raises(UnsupportedSchemaError):
            LlamaGrammar.from_json_schema(schema)
        return
    grammar = LlamaGrammar.from_json_schema(schema, whitespace="")
    opposite = LlamaGrammar.from_json_schema({"type": "string", "not": {"pattern": pattern}})
    assert grammar.exact
    for text in found:
        assert grammar.accepts(json.dumps(text)), text
        assert grammar.validates(json.dumps(text)), text
        assert not opposite.accepts(json.dumps(text)), text
    for text in missed:
        assert not grammar.accepts(json.dumps(text)), text
        assert not grammar.validates(json.dumps(text)), text
        assert opposite.accepts(json.dumps(text)), text
    for text in write(grammar, random.Random(0), 20):
        assert grammar.validates(text), text


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", r"\p{Script=Thai}", "^(?:a(?=b)b)*$", r"(?i)a", "a^b", r"[-\w]\b[-\w]", "a{,3}"]
)
def test_regular_expressions_that_can_not_be_enforced_are_named(pattern: str) -> None:
    with pytest.raises(UnsupportedSchemaError) as caught:
        LlamaGrammar.from_json_schema({"properties": {"a": {"pattern": pattern}}})
    assert (caught.value.keyword, caught.value.pointer) == ("pattern", "/properties/a/pattern")


@pytest.mark.parametrize(
    ("schema", "is_closed"),
    [
        ({"properties": {"a": {}}}, True),
        ({"properties": {"a": {}}, "additionalProperties": True}, False),
        ({"properties": {"a": {}}, "patternProperties": {"^b$": {}}}, False),
        ({"properties": {"a": {}}, "required": ["a", "b"]}, False),
        ({"properties": {"a": {}}, "minProperties": 2}, False),
        ({"type": "object"}, False),
        ({"properties": {}}, False),
        ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, False),
        ({"properties": {"a": {}}, "if": {"required": ["a"]}, "then": {"required": ["b"]}}, False),
        ({"anyOf": [{"properties": {"a": {}}}, {"properties": {"c": {}}}]}, True),
        ({"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": {}}}}}, True),
    ],
)
def test_objects_of_formats_have_the_properties_that_are_named(schema: dict[str, Any], is_closed: bool) -> None:
    made = grammar_of_format({"type": "json_object", "schema": {"type": "object", **schema}})
    assert made is not None
    assert made.accepts('{"a": 1, "b": 2}') is not is_closed
