"""LlamaGrammar: a value that says which texts are in a language, without a model."""

from __future__ import annotations

import ctypes
import enum
import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pydantic
import pytest
from typing_extensions import Required, TypedDict

from llama_cpp import LlamaGrammar, ValidationError
from llama_cpp.grammar.constraint import Constraint, Vocabulary


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


@dataclass
class Inner:
    size: float


@dataclass
class Outer:
    name: str
    count: Annotated[int, "how many"]
    kind: Literal["a", "b"]
    inner: Inner
    color: Color = Color.RED
    tags: list[str] = field(default_factory=list)
    pair: tuple[int, bool] = (0, False)
    extra: dict[str, int] = field(default_factory=dict)
    note: Optional[str] = None  # noqa: UP045
    either: int | str = 0


class Model(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0)


class Tree(TypedDict, total=False):
    leaf: Required[int]
    trees: list[Tree]


FULL = {"name": "n", "count": 1, "kind": "a", "inner": {"size": 1.5}}


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        (
            Outer,
            FULL | {"color": 2, "tags": ["x"], "pair": [1, True], "extra": {"k": 1}, "note": None},
            FULL | {"kind": 1},
        ),
        (Outer, FULL | {"either": "x"}, FULL | {"unknown": 1}),
        (Model, {"name": "n", "age": 2}, {"name": "n", "age": -1}),
        (Tree, {"leaf": 1, "trees": [{"leaf": 2}]}, {"leaf": 1, "trees": [{}]}),
        ('{"type": "integer"}', 12, "12"),
        (True, [1, {"a": None}], ...),
        ({"const": {"a": [1]}}, {"a": [1]}, {"a": [2]}),
    ],
)
def test_schemas_are_taken_from_many_kinds_of_objects(schema: Any, valid: Any, invalid: Any) -> None:
    grammar = LlamaGrammar.from_json_schema(schema)
    assert grammar.accepts(json.dumps(valid))
    assert invalid is ... or not grammar.accepts(json.dumps(invalid))


def test_a_dataclass_with_an_unknown_annotation_is_refused() -> None:
    @dataclass
    class Odd:
        value: complex

    with pytest.raises(ValidationError, match="no JSON Schema for the annotation <class 'complex'>"):
        LlamaGrammar.from_json_schema(Odd)


def test_choices_and_regular_expressions() -> None:
    choices = ["yes", "no", 'a "b"\n\\é🙂\x07']
    grammar = LlamaGrammar.from_choices(choices)
    assert [grammar.accepts(text) for text in [*choices, "", "ye", "yesno"]] == [True] * 3 + [False] * 3
    grammar = LlamaGrammar.from_regex(r"[0-9]{2}|a+/b")
    assert [grammar.accepts(text) for text in ["12", "aa/b", "1", "123", "b"]] == [True, True, False, False, False]
    for wrong in ([], "yes", ["a", ""], [1]):
        with pytest.raises(ValidationError):
            LlamaGrammar.from_choices(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="llguidance refuses the pattern"):
        LlamaGrammar.from_regex("[")


def test_reports_tell_what_becomes_of_each_keyword() -> None:
    schema = {
        "title": "no keyword that says anything",
        "properties": {"a/b": {"type": "string", "format": "date"}, "c": {"format": "unknown", "pattern": r"(.)\1"}},
        "oneOf": [{"required": ["a/b"]}, {"required": ["c"]}],
    }
    report = {
        entry.pointer: (entry.keyword, entry.status)
        for entry in LlamaGrammar.from_json_schema(schema, strict=False).report()
    }
    assert report == {
        "/properties": ("properties", "enforced"),
        "/properties/a~1b/type": ("type", "enforced"),
        "/properties/a~1b/format": ("format", "enforced"),
        "/oneOf": ("oneOf", "rewritten"),
        "/oneOf/0/required": ("required", "enforced"),
        "/oneOf/1/required": ("required", "enforced"),
        "/properties/c/pattern": ("pattern", "checked afterwards"),
    }
    assert LlamaGrammar.from_string('root ::= "a"').report() == LlamaGrammar.from_regex("a").report() == []


@pytest.mark.parametrize(
    "grammar",
    [
        LlamaGrammar.from_string('root ::= "abc" [0-9]'),
        LlamaGrammar.from_regex("abc[0-9]"),
        LlamaGrammar.from_choices([f"abc{digit}" for digit in range(10)]),
        LlamaGrammar.from_lark('start: "abc" /[0-9]/'),
    ],
)
def test_every_kind_of_grammar_explains(grammar: LlamaGrammar) -> None:
    assert grammar.explain("abc1").accepted
    wrong, early, long = grammar.explain("abx1"), grammar.explain("abc"), grammar.explain("abc12")
    assert (wrong.accepted, wrong.offset, "'x' can't stand at offset 2" in wrong.reason) == (False, 2, True)
    assert (early.accepted, early.offset, "too early" in early.reason) == (False, 3, True)
    assert (long.accepted, long.offset) == (False, 4)
    assert "c" in wrong.reason


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"trigger_patterns": "call"}, "trigger_patterns must be a list"),
        ({"trigger_patterns": ["["]}, "'\\[' is no regular expression"),
        ({"trigger_patterns": [5]}, "a trigger pattern must be a str"),
        ({"trigger_patterns": ["a\0b"]}, "a trigger pattern holds a NUL"),
        ({"trigger_tokens": 5}, "trigger_tokens must be a list"),
        ({"trigger_tokens": ["<call>"]}, "a trigger token must be"),
        ({"trigger_tokens": [-1]}, "a trigger token must be"),
        ({"root": 5}, "root must be a str"),
    ],
)
def test_wrong_triggers_are_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        LlamaGrammar.from_string('root ::= "a"', **arguments)


@pytest.mark.parametrize(
    ("pattern", "searched"),
    [
        (r"[\s\S]*?(<call>)[\s\S]*", "(<call>)"),
        (r"[\s\S]*?(a|b)", "(a|b)"),
        (r"[\s\S]*?(?:a)(b)", r"[\s\S]*?(?:a)(b)"),  # the grammar could begin with what stands before
        ("<call>", "<call>"),
    ],
)
def test_trigger_patterns_are_searched_without_what_stands_around(pattern: str, searched: str) -> None:
    assert LlamaGrammar.from_string('root ::= "a"', trigger_patterns=[pattern]).trigger_patterns == (searched,)


def test_rules_that_lead_to_each_other_by_the_thousand_are_read_or_refused() -> None:
    rules = [f'r{index}: "a" r{index + 1}' for index in range(5000)]
    assert LlamaGrammar.from_lark("\n".join(["start: r0", *rules, 'r5000: "b"'])).accepts("a" * 5000 + "b")
    skipped = [f"{rule} | r{index + 1}" for index, rule in enumerate(rules)]
    grammar = LlamaGrammar.from_lark("\n".join(["start: r0", *skipped, 'r5000: "b"']))
    with pytest.raises(ValidationError, match="too complex"):
        grammar.accepts("aab")


def test_explanations_name_the_place_and_what_may_stand_there() -> None:
    grammar = LlamaGrammar.from_json_schema({"properties": {"é": {"type": "integer"}}, "type": "object"}, whitespace="")
    wrong = grammar.explain('{"é":"x"}')
    assert (bool(wrong), wrong.offset) == (False, 5)
    assert wrong.reason == "'\"' can't stand at offset 5: - 0 1 2 3 4 5 6 7 8 9 may stand there"
    early = grammar.explain('{"é":1')
    assert (early.accepted, early.offset) == (False, 6)
    assert early.reason.startswith("the text ends too early: , 0 1 2")
    assert grammar.explain('{"é":1}').accepted
    nothing = LlamaGrammar.from_json_schema(False)
    assert not nothing.accepts("1")
    assert not nothing.accepts("")


def test_grammars_are_values(tmp_path: Path) -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    grammar = LlamaGrammar.from_json_schema(schema)
    twin = pickle.loads(pickle.dumps(grammar))
    assert twin == grammar == LlamaGrammar.from_json_schema(dict(schema))
    assert hash(twin) == hash(grammar)
    assert twin.report() == grammar.report()
    assert grammar != LlamaGrammar.from_json_schema(schema, whitespace="")
    assert "array" in repr(grammar)
    with pytest.raises(AttributeError):
        grammar.root = "x"  # type: ignore[misc]
    path = tmp_path / "g.gbnf"
    path.write_text('root ::= "é"', encoding="utf-8")
    assert LlamaGrammar.from_file(path) == LlamaGrammar.from_string('root ::= "é"')


def test_every_end_of_a_vocabulary_ends_a_text() -> None:
    pieces = [*(bytes([byte]) for byte in range(256)), b"<end>", b"<turn>", b"<other>"]
    vocabulary = Vocabulary(pieces, {256, 257, 258}, {256, 258}, list)
    constraint = Constraint(vocabulary, LlamaGrammar.from_regex("ab|abc").llguidance or "", fast_forward=False)

    def allowed() -> set[int]:
        words = (ctypes.c_uint32 * 9)()
        constraint.mask(ctypes.addressof(words), ctypes.sizeof(words))
        return {token for token in range(len(pieces)) if words[token // 32] >> token % 32 & 1}

    assert allowed() == {ord("a")}
    constraint.accept(ord("a"))
    constraint.accept(ord("b"))
    assert allowed() == {ord("c"), 256, 258}
    assert [constraint.allows(token) for token in (256, 257, 258)] == [True, False, True]
