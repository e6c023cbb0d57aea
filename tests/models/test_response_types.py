"""Answers as values of Python types: LlamaGrammar.from_type, and response_format with a type."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from typing_extensions import TypedDict

from llama_cpp import Llama, LlamaGrammar, ValidationError
from tests.conftest import MakeTiny
from tests.helpers import load

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASK = [{"role": "user", "content": "Say something."}]
Word = Annotated[str, pydantic.Field(max_length=6, pattern="^[a-z]*$")]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Person(pydantic.BaseModel):
    name: Word
    age: Annotated[int, pydantic.Field(ge=0, le=150)]
    colour: Colour | None = None


@dataclasses.dataclass
class Point:
    x: Literal[1, 2, 3]
    colours: tuple[Colour, Colour]


class Pair(TypedDict):
    left: bool
    right: Literal["a", "b"]


class Picky(pydantic.BaseModel):
    name: Word

    @pydantic.field_validator("name")
    @classmethod
    def refuse(cls, value: str) -> str:
        raise ValueError("no name is good enough")


TYPES = {
    "model": (Person, Person),
    "dataclass": (Point, Point),
    "TypedDict": (Pair, dict),
    "Literal": (Literal["yes", "no"], str),
    "union": (Colour | bool, (Colour, bool)),
    "enum": (Colour, Colour),
    "list": (list[bool], list),
}


@pytest.fixture(scope="module")
def llm(make_tiny: MakeTiny) -> Iterator[Llama]:
    with load(make_tiny(chat_template=CHATML), n_ctx=512) as llm:
        yield llm


@pytest.mark.parametrize("name", TYPES)
def test_the_message_has_a_value_of_the_type(llm: Llama, name: str) -> None:
    kind, expected = TYPES[name]
    answer = llm.create_chat_completion(ASK, response_format=kind, max_tokens=200, seed=3)
    (choice,) = answer["choices"]
    assert (choice["finish_reason"], choice["matches_grammar"]) == ("stop", True)
    assert isinstance(choice["message"]["parsed"], expected)
    assert choice["message"]["parsed"] == pydantic.TypeAdapter(kind).validate_json(choice["message"]["content"])


def test_every_way_in_parses(llm: Llama) -> None:
    options: dict[str, Any] = {"response_format": Person, "max_tokens": 200, "seed": 3}
    parsed = [llm.create_chat_completion(ASK, **options)["choices"][0]["message"]["parsed"]]
    parsed.append(asyncio.run(llm.create_chat_completion_async(ASK, **options))["choices"][0]["message"]["parsed"])
    (row,) = llm.generate_batch([{"messages": ASK, **options}])
    assert row.message is not None
    parsed.append(row.message["parsed"])
    parsed.append(llm.create_chat_completion_openai_v1(ASK, **options).choices[0].message.parsed)
    assert all(type(value) is Person for value in parsed)
    assert parsed == [parsed[0]] * len(parsed)


class Open(pydantic.BaseModel, extra="allow"):
    inner: Person


def test_objects_have_the_keys_of_their_type_alone() -> None:
    inner = '{"name":"ann","age":3}'
    assert LlamaGrammar.from_type(Open).accepts(f'{{"inner":{inner},"more":1}}')
    assert not LlamaGrammar.from_type(Open).accepts('{"inner":{"name":"ann","age":3,"more":1}}')
    assert not LlamaGrammar.from_type(list[Person]).accepts('[{"name":"ann","age":3,"more":1}]')


def test_each_of_several_answers_is_parsed(llm: Llama) -> None:
    answer = llm.create_chat_completion(ASK, response_format=Person, n=3, max_tokens=200, seed=1)
    assert [type(choice["message"]["parsed"]) for choice in answer["choices"]] == [Person] * 3


def test_a_cut_answer_is_no_value(llm: Llama) -> None:
    (choice,) = llm.create_chat_completion(ASK, response_format=Person, max_tokens=3)["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"]
    assert choice["message"]["parsed"] is None


def test_what_the_type_itself_refuses_is_none_and_a_warning(llm: Llama, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "llama_cpp"):
        (choice,) = llm.create_chat_completion(ASK, response_format=Picky, max_tokens=200)["choices"]
    assert choice["message"]["parsed"] is None
    assert choice["message"]["content"].startswith("{")
    assert "no name is good enough" in caplog.text


def test_a_stream_has_the_text_of_the_type(llm: Llama) -> None:
    options: dict[str, Any] = {"response_format": Person, "max_tokens": 200, "seed": 3}
    deltas = [chunk["choices"][0]["delta"] for chunk in llm.create_chat_completion(ASK, stream=True, **options)]
    Person.model_validate_json("".join(delta.get("content", "") for delta in deltas))
    assert not any("parsed" in delta for delta in deltas)


def test_other_formats_have_no_parsed(llm: Llama) -> None:
    (choice,) = llm.create_chat_completion(ASK, response_format={"type": "text"}, max_tokens=3)["choices"]
    assert "parsed" not in choice["message"]


@pytest.mark.parametrize("kind", [list[complex], object, list[Path]])
def test_a_type_without_a_schema_is_refused(llm: Llama, kind: Any) -> None:
    with pytest.raises(ValidationError, match="no JSON Schema for the annotation"):
        llm.create_chat_completion(ASK, response_format=kind)


def test_without_pydantic_the_error_says_what_to_do(llm: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ValidationError, match="pip install pydantic"):
        llm.create_chat_completion(ASK, response_format=Point)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Person, '{"name":"ann","age":3}', '{"name":"ann","age":151}'),
        (Point, '{"x":1,"colours":["red","blue"]}', '{"x":4,"colours":["red","blue"]}'),
        (Pair, '{"left":true,"right":"a"}', '{"left":true}'),
        (Literal["yes", "no"], '"yes"', '"maybe"'),
        (int | None, "null", '"1"'),
        (list[int], "[1, 2]", "[1.5]"),
        (dict[str, bool], '{"a":true}', '{"a":1}'),
        (Colour, '"red"', '"green"'),
    ],
)
def test_from_type_has_the_documents_of_the_type(kind: Any, good: str, bad: str) -> None:
    grammar = LlamaGrammar.from_type(kind)
    assert grammar.explain(good)
    assert not grammar.explain(bad)
    pydantic.TypeAdapter(kind).validate_json(good)
