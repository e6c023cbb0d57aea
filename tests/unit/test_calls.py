"""What requests say of tools, and functions as tools."""

from __future__ import annotations

from typing import Any

import pytest

from llama_cpp import ValidationError
from llama_cpp.chat.calls import check_tool_choice, check_tools, tool_of

TOOLS = check_tools([{"name": "get_weather", "description": "d"}, {"name": "noop", "description": "d"}])


def test_functions_become_tools() -> None:
    def weather(city: str, days: int = 1, unit: str | None = None) -> str:
        """Tell the weather.

        Args:
            city: where
            days (int): how many
        """
        return city

    function = tool_of(weather)["function"]
    assert function["name"] == "weather"
    assert function["description"] == "Tell the weather."
    assert function["parameters"]["required"] == ["city"]
    assert function["parameters"]["properties"]["city"] == {"type": "string", "description": "where"}
    assert function["parameters"]["properties"]["days"]["description"] == "how many"


@pytest.mark.parametrize(
    "tools",
    [
        "f",
        [1],
        [{"type": "web"}],
        [{"function": {"name": "a b"}}],
        [{"name": "f"}, {"name": "f"}],
        [{"name": "f", "parameters": 1}],
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
