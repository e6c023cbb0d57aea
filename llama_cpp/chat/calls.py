"""Tools: what a request offers, and how models are told of them whose templates know none."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import ValidationError
from ..json_types import hints_of, schema_of_type, schemas_of_types
from .parameters import without_nulls

Tool = dict[str, Any]

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
    if function.get("strict") not in (None, True, False):
        raise ValidationError(f"strict of tools[{index}] must be a bool, got {function['strict']!r}")
    function["parameters"] = without_nulls(parameters) or {"type": "object", "properties": {}}
    function.setdefault("description", "")
    try:
        json.dumps(function, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"tools[{index}] holds what JSON has nothing for: {error}") from None
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


def filled_tool(tool: Mapping[str, Any]) -> Tool:
    """Fill in what OpenAI's schema leaves out and some templates read, such as types and descriptions."""
    function = dict(tool.get("function") or {})
    schema = function.get("parameters") or {}
    function["parameters"] = _filled({"type": "object", "properties": {}, "required": [], **schema})
    return {**tool, "function": {"description": "", **function}}


def _filled(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return {}
    filled = {"description": "", **schema}
    kind = filled.get("type")
    if isinstance(kind, (list, tuple)):
        filled["type"] = next((one for one in kind if one != "null"), "null")
    elif kind is None:
        several = [filled[key] for key in ("anyOf", "oneOf", "allOf") if isinstance(filled.get(key), (list, tuple))]
        kinds = [one.get("type") for forms in several for one in forms if isinstance(one, Mapping)]
        unsaid = "object" if "properties" in filled else "string"
        filled["type"] = next((one for one in kinds if isinstance(one, str) and one != "null"), unsaid)
    if isinstance(filled.get("properties"), Mapping):
        filled["properties"] = {name: _filled(inner) for name, inner in filled["properties"].items()}
    if isinstance(filled.get("items"), Mapping):
        filled["items"] = _filled(filled["items"])
    return filled


# -- functions as tools ------------------------------------------------------------------------------------------------


_SECTIONS = ("Args:", "Returns:", "Raises:")
_ARGUMENT = re.compile(r"(\s*)(\w+)(?:\s*\([^()]*\))?:\s*(.*)")
_CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*\Z", re.IGNORECASE)


def tool_of(function: Callable[..., Any]) -> Tool:
    """Describe a function as a tool: its signature becomes the schema, its docstring the descriptions.

    What transformers' get_json_schema describes is described as that does it; beside it there may be parameters of
    dataclasses, TypedDicts and pydantic models, and such without annotation or description.

    Raises:
        ValidationError: for an annotation that JSON has nothing for.
    """
    about, described, returned = _read_docstring(inspect.getdoc(function) or "")
    hints = hints_of(function)
    kinds: dict[str, Any] = {}
    required = []
    for index, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValidationError(f"{function!r} takes *{name}, which no schema can describe")
        if index == 0 and name in ("self", "cls") and name not in hints:
            continue
        kinds[name] = hints.get(name, Any)
        if parameter.default is parameter.empty:
            required.append(name)
    parameters = schemas_of_types(kinds, exact=False)
    for name, schema in parameters["properties"].items():
        if name in described:
            choices = _CHOICES.search(described[name])
            if choices is not None:
                schema["enum"] = _read_choices(function, choices[1])
            schema["description"] = _CHOICES.sub("", described[name]).strip()
    if required:
        parameters["required"] = required
    tool: Tool = {"name": getattr(function, "__name__", "function"), "description": about, "parameters": parameters}
    with contextlib.suppress(ValidationError):  # the model never writes it, and can do without
        if "return" in hints:
            tool["return"] = schema_of_type(hints["return"], exact=False)
            if returned:
                tool["return"]["description"] = returned
    return {"type": "function", "function": tool}


def _read_docstring(doc: str) -> tuple[str, dict[str, str], str]:
    """Return what a docstring in Google's style says of a function, of its arguments and of what it returns."""
    sections: dict[str, list[str]] = {"": []}
    section = ""
    for line in doc.splitlines():
        found = next((one for one in _SECTIONS if line.strip().startswith(one)), None)
        if found is not None:
            section, line = found, line.strip().removeprefix(found)
        sections.setdefault(section, []).append(line)
    arguments: dict[str, list[str]] = {}
    indent, name = "", ""
    for line in sections.get("Args:", []):
        found_argument = _ARGUMENT.match(line)
        if found_argument and not (name and re.match(rf"{indent}\s", line)):
            indent, name, line = found_argument.groups()
        if name:
            arguments.setdefault(name, []).append(line.strip())
    texts = {name: " ".join(filter(None, lines)) for name, lines in arguments.items()}
    return "\n".join(sections[""]).strip(), texts, "\n".join(sections.get("Returns:", [])).strip()


def _read_choices(function: Any, text: str) -> list[Any]:
    try:
        return [choice.strip() if isinstance(choice, str) else choice for choice in json.loads(text)]
    except (ValueError, TypeError):
        raise ValidationError(f"the choices that {function!r} names are no JSON list: {text}") from None
