"""What requests say of tools, and functions as tools."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, Union

import jsonschema
import pydantic
import pytest
from transformers.utils import get_json_schema
from typing_extensions import Required, TypedDict

from llama_cpp import ValidationError
from llama_cpp.chat.calls import check_tool_choice, check_tools, tool_of

TOOLS = check_tools([{"name": "get_weather", "description": "d"}, {"name": "noop", "description": "d"}])


class Color(enum.Enum):
    RED = "red"
    BLUE = 2


@dataclass
class Node:
    value: int
    below: list[Node] = field(default_factory=list)
    note: str | None = None


class Place(TypedDict, total=False):
    city: Required[str]
    size: float | None


class Model(pydantic.BaseModel):
    place: Place
    age: int = pydantic.Field(ge=0)


def simple(city: str, days: int = 1, ratio: float = 0.5, sure: bool = False) -> str:
    """Tell the weather.

    Of a city, for some days.

    Args:
        city: where
        days (int): how many
        ratio: of what
          it is
            about, with a colon: and (choices: none
        sure: whether
            it is
    Returns:
        a text
        of two lines

    Raises:
        ValueError: never
    """
    raise ValueError


def nested(
    names: list[str], table: dict[str, list[int]], pair: tuple[int, str], plain: list, deep: list[dict[str, float]]
) -> dict[str, int]:
    """Take containers.

    Args:
        names: n
        table: t
        pair: p
        plain: l
        deep: d
    """
    raise ValueError


def unions(
    maybe: Optional[int],  # noqa: UP045
    either: Union[int, str],  # noqa: UP007
    new: int | str | None,
    many: list[int] | int | None,
    anything: Any = None,
    nothing: None = None,
) -> None:
    """Take this or that.

    Args:
        maybe: m
        either: e
        new: n
        many: m
        anything: a
        nothing: n
    """


def choices(
    one: Literal["a", "b"], mixed: Literal[1, "b", None], color: Color, drink: str, level: Literal["x"] | None = None
) -> Color:
    """Choose.

    Args:
        one: o
        mixed: m
        color: c
        drink: to have (choices: ["tea", " coffee "])
        level: l
    """
    return color


def no_arguments() -> int:
    """Do it."""
    return 1


def strange_return(x: int) -> Node:
    """Make a node.

    Args:
        x: the x
    """
    return Node(x)


class Holder:
    def method(self, x: int) -> None:
        """Use self.

        Args:
            x: the x
        """


@pytest.mark.parametrize(
    "function",
    [simple, nested, unions, choices, no_arguments, Holder.method, Holder().method],
    ids=lambda function: function.__qualname__,
)
def test_functions_become_the_tools_that_transformers_makes_of_them(function: Any) -> None:
    assert tool_of(function) == get_json_schema(function)


def test_functions_may_say_less_and_take_more_than_transformers_knows() -> None:
    def bare(x, node: Node, place: Place, model: Model, rest: tuple[int, ...], kinds: Sequence[str]):  # type: ignore[no-untyped-def]
        return x

    tool = tool_of(bare)["function"]
    assert tool["description"] == ""
    assert "return" not in tool
    assert tool_of(strange_return)["function"]["return"]["$defs"]
    parameters = tool["parameters"]
    assert parameters["required"] == ["x", "node", "place", "model", "rest", "kinds"]
    assert parameters["properties"]["x"] == {}
    assert parameters["properties"]["rest"] == {"type": "array", "items": {"type": "integer"}}
    jsonschema.Draft202012Validator.check_schema(parameters)
    valid = {
        "x": [],
        "node": {"value": 1, "below": [{"value": 2, "below": []}], "note": "n"},
        "place": {"city": "c", "size": 1.5},
        "model": {"place": {"city": "c", "size": None}, "age": 1},
        "rest": [1, 2],
        "kinds": ["k"],
    }
    jsonschema.validate(valid, parameters)
    for name, wrong in [
        ("node", {"value": 1, "below": [{"value": "2"}]}),
        ("place", {"size": 1.5}),
        ("model", {"place": {"city": "c"}, "age": -1}),
    ]:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**valid, name: wrong}, parameters)


def test_functions_that_no_schema_can_describe_are_refused() -> None:
    def many(*x: int) -> None: ...

    def odd(x: complex) -> None: ...

    def lost(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def unreadable(x: str) -> None:
        """Choose.

        Args:
            x: one (choices: [a, b])
        """

    for function, reason in [(many, "no schema"), (odd, "complex"), (lost, "Nowhere"), (unreadable, "no JSON list")]:
        with pytest.raises(ValidationError, match=reason):
            tool_of(function)


@pytest.mark.parametrize(
    "tools",
    [
        "f",
        [1],
        [{"type": "web"}],
        [{"function": {"name": "a b"}}],
        [{"name": "f"}, {"name": "f"}],
        [{"name": "f", "parameters": 1}],
        [{"name": "f", "parameters": {"enum": {1, 2}}}],
        [{"name": "f", "parameters": {"const": float("nan")}}],
        [{"name": "f", "strict": "yes"}],
    ],
)
def test_wrong_tools_are_refused(tools: Any) -> None:
    with pytest.raises(ValidationError, match="tools"):
        check_tools(tools)


def test_tool_choice_is_openais() -> None:
    assert check_tool_choice(None, TOOLS) == ("auto", TOOLS)
    assert check_tool_choice(None, []) == ("none", [])
    assert check_tool_choice(True, TOOLS)[0] == "required"
    assert check_tool_choice({"type": "function", "function": {"name": "noop"}}, TOOLS) == ("required", TOOLS[1:])
    for choice, tools in [("required", []), ("any", TOOLS), ({"function": {"name": "x"}}, TOOLS), ({}, TOOLS)]:
        with pytest.raises(ValidationError, match="tool_choice"):
            check_tool_choice(choice, tools)
