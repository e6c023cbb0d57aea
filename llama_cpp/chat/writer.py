"""What a template can't show, as text: tools, documents, results, and tool calls in the form that the model has."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .parameters import kind_of
from .probe import ARGUMENTS, CALL_ID, INDEX, KEY, NAME
from .syntax import GENERIC_CALLS, CallSyntax

_TOLD = """You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

{how}"""
_IN_JSON = (
    "For each function call, return a JSON object with function name and arguments within <tool_call></tool_call> XML "
    "tags:\n{call}"
)
_IN_FORM = "For each function call, write the function's name and its arguments in this form:\n{call}"


def told_tools(calls: CallSyntax, tools: Sequence[Mapping[str, Any]]) -> str:
    """Describe tools, and how they are called."""
    listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    in_json = calls.kind in ("json", "named_json")
    arguments = {} if in_json else {"<argument-name>": "<argument-value>"}
    call = {"id": "<call-id>", "function": {"name": "<function-name>", "arguments": arguments}}
    form = written_calls(calls, [call]).replace('"<function-name>"', "<function-name>")
    form = form.replace("{}", "<args-json-object>") if in_json else form
    how = (_IN_JSON if calls is GENERIC_CALLS else _IN_FORM).replace("{call}", form)
    return _TOLD.replace("{how}", how).replace("{tools}", listed)


def told_result(content: str) -> str:
    """Write what a tool has returned."""
    return f"<tool_response>\n{content}\n</tool_response>"


def told_documents(documents: Sequence[Mapping[str, Any]]) -> str:
    """List documents."""
    listed = "\n".join(json.dumps(document, ensure_ascii=False) for document in documents)
    about = "You are provided with documents within <documents></documents> XML tags:"
    return f"{about}\n<documents>\n{listed}\n</documents>"


def written_calls(calls: CallSyntax, tool_calls: Sequence[Mapping[str, Any]]) -> str:
    """Write tool calls as the model does."""
    if not calls.parallel:
        return "\n".join(_written(calls, call, 0) for call in tool_calls)
    written = calls.separator.join(_written(calls, call, index) for index, call in enumerate(tool_calls))
    return calls.section_start + written + calls.section_end


def _written(calls: CallSyntax, call: Mapping[str, Any], index: int) -> str:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    texts = {INDEX: str(index), CALL_ID: str(call.get("id", ""))}

    def filled(text: str, **holes: str) -> str:
        known = {**texts, **holes}
        return re.sub("|".join(map(re.escape, known)), lambda hole: known[hole[0]], text)

    if calls.kind in ("json", "named_json"):
        before, _, after = calls.body.partition(ARGUMENTS)
        if isinstance(arguments, str):  # which were cut, and the call ended with them
            written, after = arguments, ""
        else:
            written = json.dumps(arguments, ensure_ascii=False)
        if calls.kind == "named_json":
            head = f"functions.{name}:{index}" if calls.name_is_id else name
            body = head + filled(calls.after_name) + written
        else:
            body = filled(before, **{NAME: name}) + written + filled(after, **{NAME: name})
    else:
        read = read_cut(arguments) if isinstance(arguments, str) else arguments
        pairs = [_pair(calls, key, value) for key, value in read.items()]
        between = {"python": ", ", "bare": ","}.get(calls.kind, calls.parameter_separator)
        opening, closing = {"python": ("(", ")"), "bare": ("{", "}")}.get(calls.kind, (filled(calls.after_name), ""))
        body = name + opening + between.join(pairs) + closing
    return filled(calls.prefix) + body + filled(calls.suffix)


def _pair(calls: CallSyntax, key: str, value: Any) -> str:
    if calls.kind == "python":
        return f"{key}={_literal(value, calls.quote, python=True)}"
    if calls.kind == "bare":
        return f"{key}:{_literal(value, calls.quote, python=False)}"
    suffix = calls.value_suffix.replace(KEY, key)
    if isinstance(value, str):
        return calls.key_prefix + key + calls.key_suffix + value + suffix
    kind = "number" if isinstance(value, int) and not isinstance(value, bool) else kind_of(value)
    between = re.sub(r'"(?:integer|number)"', f'"{kind}"', calls.number_key_suffix) or calls.key_suffix
    return calls.key_prefix + key + between + json.dumps(value, ensure_ascii=False) + suffix


def _literal(value: Any, quote: str, python: bool) -> str:
    """Write a value as Python does, or as an object whose keys have no quotes."""
    if isinstance(value, str):
        return quote + value + quote if len(quote) > 1 else _quoted(value, quote)
    if isinstance(value, Mapping):
        keys = {key: _quoted(key, quote) if python else key for key in value}
        between = ": " if python else ":"
        pairs = (keys[key] + between + _literal(inner, quote, python) for key, inner in value.items())
        return "{" + (", " if python else ",").join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + (", " if python else ",").join(_literal(inner, quote, python) for inner in value) + "]"
    return repr(value) if python else json.dumps(value)


def _quoted(text: str, quote: str) -> str:
    written = json.dumps(text, ensure_ascii=False)
    return written if quote != "'" else "'" + written[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def read_cut(text: str) -> dict[str, Any]:
    """Read as much as there is of an object in JSON whose text ends too early, or else the text as one argument."""
    for end in range(len(text), max(0, len(text) - _LONGEST_END), -1):
        try:
            value = json.loads(text[:end] + _closing(text[:end]))
        except ValueError:
            continue
        if isinstance(value, dict) and (value or _BEGUN.fullmatch(text)):
            return value
    return {"arguments": text}


_BEGUN = re.compile(
    r'\s*\{\s*(?:"[^"]*(?:"\s*(?::[\s\w.+-]*)?)?)?'
)  # within the first key, or number or word behind it
_LONGEST_END = 200  # characters of a key, number or escape that is cut


def _closing(text: str) -> str:
    """Return what ends all that is open in a text that JSON begins with."""
    brackets, quoted = [], False
    for found in re.finditer(r'\\.|["{}\[\]]', text, re.DOTALL):
        if found[0] == '"':
            quoted = not quoted
        elif not quoted and found[0] in "{[":
            brackets.append({"{": "}", "[": "]"}[found[0]])
        elif not quoted and found[0] in "}]" and brackets:
            brackets.pop()
    return ('"' if quoted else "") + "".join(reversed(brackets))
