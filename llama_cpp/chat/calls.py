"""Tools: what a request offers, and how models are told of them whose templates know none."""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ..errors import ValidationError

Tool = dict[str, Any]

GENERIC_PROMPT = """You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a JSON object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


# -- what requests say -------------------------------------------------------------------------------------------------


def check_tools(tools: Any) -> list[Tool]:
    """Return the tools of a request in OpenAI's form; functions become one each.

    Raises:
        ValidationError: naming the index and what is wrong there.
    """
    if not tools:
        return []
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Sequence):
        raise ValidationError(f"tools must be a list, got {tools!r}")
    checked = [_check_tool(index, tool) for index, tool in enumerate(tools)]
    names = [tool["function"]["name"] for tool in checked]
    if len(set(names)) != len(names):
        raise ValidationError(f"tools has a name twice: {names}")
    return checked


def _check_tool(index: int, tool: Any) -> Tool:
    if callable(tool) and not isinstance(tool, Mapping):
        return tool_of(tool)
    if not isinstance(tool, Mapping):
        raise ValidationError(f"tools[{index}] must be a dict or a function, got {tool!r}")
    if tool.get("type", "function") != "function" or not isinstance(tool.get("function", tool), Mapping):
        raise ValidationError(f'tools[{index}] must have type "function" and a dict "function"')
    function = dict(tool.get("function", tool))
    if not isinstance(function.get("name"), str) or not re.fullmatch(r"[\w.:/-]{1,128}", function["name"]):
        raise ValidationError(f"tools[{index}] has no name of letters, digits, _ and -: {function.get('name')!r}")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise ValidationError(f"the parameters of tools[{index}] must be a JSON Schema, got {parameters!r}")
    function["parameters"] = dict(parameters or {"type": "object", "properties": {}})
    function.setdefault("description", "")
    return {"type": "function", "function": function}


def check_tool_choice(choice: Any, tools: Sequence[Tool]) -> tuple[str, list[Tool]]:
    """Return "none", "auto" or "required", and the tools that may be called.

    Raises:
        ValidationError: for a choice that OpenAI does not have, or a function that is not offered.
    """
    if choice is None:
        return ("auto" if tools else "none"), list(tools)
    if choice is True:
        choice = "required"
    if choice in ("none", "auto", "required"):
        if choice == "required" and not tools:
            raise ValidationError('tool_choice is "required", and there are no tools')
        return choice, list(tools)
    function = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    chosen = [tool for tool in tools if tool["function"]["name"] == name]
    if name is None or not chosen:
        names = ", ".join(tool["function"]["name"] for tool in tools) or "none"
        raise ValidationError(
            'tool_choice must be "none", "auto", "required" or {"type": "function", "function": {"name": ...}} '
            f"with the name of a tool ({names}); got {choice!r}"
        )
    return "required", chosen


def with_generic_tools(messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Say in messages what a template that knows no tools can't: the tools, calls and results, in Hermes' form."""
    listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    prompt = GENERIC_PROMPT.format(tools=listed)
    rewritten: list[dict[str, Any]] = []
    for message in messages:
        new = dict(message)
        calls = new.pop("tool_calls", None)
        if calls:
            texts = [
                "<tool_call>\n"
                + json.dumps({"name": call["function"]["name"], "arguments": call["function"]["arguments"]})
                + "\n</tool_call>"
                for call in calls
            ]
            new["content"] = "\n".join([*([new["content"]] if new.get("content") else []), *texts])
        if new.get("role") == "tool":
            new = {"role": "user", "content": f"<tool_response>\n{new.get('content', '')}\n</tool_response>"}
        rewritten.append(new)
    if rewritten and rewritten[0]["role"] == "system":
        rewritten[0]["content"] = f"{rewritten[0]['content']}\n\n{prompt}"
    elif listed:
        rewritten.insert(0, {"role": "system", "content": prompt})
    return rewritten


# -- functions as tools ------------------------------------------------------------------------------------------------


def tool_of(function: Callable[..., Any]) -> Tool:
    """Describe a function as a tool: its signature becomes the schema, its docstring the descriptions.

    Raises:
        ValidationError: for an annotation that JSON has nothing for.
    """
    doc = inspect.getdoc(function) or ""
    described = dict(re.findall(r"^\s*(\w+)(?:\s*\([^)]*\))?:\s*(.+?)\s*$", doc.partition("Args:")[2], re.MULTILINE))
    try:
        hints = typing.get_type_hints(function)
    except (NameError, TypeError) as error:
        raise ValidationError(f"the annotations of {function!r} can't be read: {error}") from None
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValidationError(f"{function!r} takes *{name}, which no schema can describe")
        properties[name] = _schema(hints.get(name, Any))
        if name in described:
            properties[name]["description"] = described[name]
        if parameter.default is parameter.empty:
            required.append(name)
    return {
        "type": "function",
        "function": {
            "name": getattr(function, "__name__", "function"),
            "description": doc.partition("Args:")[0].partition("Returns:")[0].strip(),
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }


def _schema(kind: Any) -> dict[str, Any]:
    simple = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    if kind is Any:
        return {}
    if kind in simple:
        return {"type": simple[kind]}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(argument) for argument in arguments]}
    if kind in (list, tuple, set) or origin in (list, tuple, set, Sequence):
        return {"type": "array", **({"items": _schema(arguments[0])} if arguments else {})}
    if kind is dict or origin in (dict, Mapping):
        return {"type": "object"}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    raise ValidationError(f"there is no JSON Schema for the annotation {kind!r}")
