"""Text -> message: reads what a model writes, as it comes, into reasoning, content and tool calls."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .syntax import CALL_ID, GENERIC_CALLS, CallSyntax, Syntax

if TYPE_CHECKING:
    from .template import ChatTemplate

Delta = dict[str, Any]
Tools = Sequence[Mapping[str, Any]]

_HARMONY_MARKER = re.compile(r"<\|(start|channel|message|end|return|call|constrain)\|>")


def parse(
    template: ChatTemplate, text: str, *, tools: Tools | None = None, partial: bool = False, **template_kwargs: Any
) -> dict[str, Any]:
    """Read a message.

    Args:
        template: of the model that wrote it.
        text: what it wrote after the generation prompt; the end-of-turn marker may be there or not.
        tools: that it was offered, whose schemas tell texts from numbers where the syntax does not.
        partial: the text may go on: what could still become something else is left out.
        **template_kwargs: what the template was given for the prompt.

    Returns:
        OpenAI's message: role, content (None beside calls alone), reasoning_content and tool_calls where there are any.
    """
    parser = StreamParser(template, tools, **template_kwargs)
    deltas = parser.feed(text)
    if not partial:
        deltas += parser.finish()
    return message_of(deltas)


def message_of(deltas: Sequence[Delta]) -> dict[str, Any]:
    """Put deltas together."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: list[dict[str, Any]] = []
    for delta in deltas:
        for key in ("content", "reasoning_content"):
            if key in delta:
                message[key] = (message.get(key) or "") + delta[key]
        for call in delta.get("tool_calls", ()):
            if call["index"] == len(calls):
                function = {"name": call["function"]["name"], "arguments": ""}
                calls.append({"id": call["id"], "type": "function", "function": function})
            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    if calls:
        message["tool_calls"] = calls
    elif message["content"] is None:
        message["content"] = ""
    return message


def new_call_id() -> str:
    """Return an id for a call, unlike any other."""
    return f"call_{os.urandom(12).hex()}"


class StreamParser:
    """Reads a message piece by piece; the pieces that it gives only ever add to each other.

    Args:
        template: of the model that writes it.
        tools: that it was offered.
        **template_kwargs: what the template was given for the prompt.
    """

    def __init__(self, template: ChatTemplate, tools: Tools | None = None, **template_kwargs: Any) -> None:
        syntax: Syntax = template.syntax(**template_kwargs)
        self._syntax = syntax
        self._calls: CallSyntax | None = syntax.calls or (GENERIC_CALLS if tools else None)
        self._tools = {_function(tool)["name"]: _function(tool) for tool in tools or ()}
        self._read = self._read_harmony if syntax.harmony else self._read_start
        self._buffer = ""
        self._final = False
        self._deltas: list[Delta] = []
        self._n_calls = 0
        self._space = ""  # that is only given if more follows
        self._kind = ""  # "content" or "reasoning_content", once there was some
        self._scan: _JsonScanner | None = None
        self._nested = False
        self._header = ""

    def feed(self, text: str) -> list[Delta]:
        """Take more text, and return what is certain of it, in the shape of OpenAI's deltas."""
        self._buffer += text
        return self._drain()

    def finish(self) -> list[Delta]:
        """Return what is left, now that nothing follows."""
        self._final = True
        return self._drain()

    def _drain(self) -> list[Delta]:
        while self._read():
            pass
        deltas, self._deltas = self._deltas, []
        return deltas

    def _say(self, kind: str, text: str) -> None:
        """Give text without the space around it: templates strip it, and put their own in its place."""
        if kind != self._kind:
            self._space = ""
            text = text.lstrip()
        text = self._space + text
        body = text.rstrip()
        self._space = text[len(body) :]
        if body:
            self._kind = kind
            self._deltas.append({kind: body})

    # -- reasoning and content -----------------------------------------------------------------------------------------

    def _read_start(self) -> bool:
        start, text = self._syntax.think_start, self._buffer.lstrip()
        if self._syntax.thinks_already or (start and text.startswith(start)):
            self._buffer = text.removeprefix(start)
            self._read = self._read_thinking
            return True
        if start and start.startswith(text) and not self._final:
            return False
        self._read = self._read_content_start
        return True

    def _read_thinking(self) -> bool:
        end = self._syntax.think_end
        found = self._buffer.find(end)
        trigger = self._calls.trigger if self._calls is not None else ""
        call = self._buffer.find(trigger) if trigger else -1
        if call >= 0 and found < 0 and not self._final and _overlap(self._buffer, end) > len(self._buffer) - call:
            self._give_safe("reasoning_content", [end])  # the trigger may be a part of the end
            return False
        if call >= 0 and (found < 0 or call < found):  # a call ends reasoning that was not closed
            self._say("reasoning_content", self._buffer[:call])
            self._buffer = self._buffer[call:]
            self._read = self._read_call
            return True
        if found < 0:
            self._give_safe("reasoning_content", [end, *([trigger] if trigger else []), *self._syntax.end])
            return False
        self._say("reasoning_content", self._buffer[:found])
        self._buffer = self._buffer[found + len(end) :]
        self._read = self._read_content_start
        return True

    def _read_content_start(self) -> bool:
        start, text = self._syntax.content_start, self._buffer.lstrip()
        if start and start.startswith(text) and text != start and not self._final:
            return False
        if start and text.startswith(start):
            self._buffer = text.removeprefix(start)
        if self._calls is not None and not self._calls.trigger and self._tools:
            text = text.removeprefix("<|python_tag|>")
            if not text and not self._final:
                return False
            if text.startswith("{"):
                self._buffer = text
                self._read = self._read_call
                return True
        self._read = self._read_content
        return True

    def _read_content(self) -> bool:
        trigger = self._calls.trigger if self._calls is not None else ""
        markers = [text for text in (trigger, *self._syntax.end) if text]
        found = min(((at, text) for text in markers if (at := self._buffer.find(text)) >= 0), default=None)
        if found is None:
            self._give_safe("content", markers)
            return False
        at, marker = found
        self._say("content", self._buffer[:at])
        if marker != trigger:
            self._buffer = ""
            self._read = self._read_nothing
            return False
        self._buffer = self._buffer[at:]
        self._read = self._read_call
        return True

    def _read_nothing(self) -> bool:
        self._buffer = ""
        return False

    def _give_safe(self, kind: str, markers: Sequence[str]) -> None:
        """Give the text that cannot be the beginning of a marker."""
        held = 0 if self._final else max((_overlap(self._buffer, marker) for marker in markers), default=0)
        if len(self._buffer) > held:
            self._say(kind, self._buffer[: len(self._buffer) - held])
            self._buffer = self._buffer[len(self._buffer) - held :]

    # -- tool calls ----------------------------------------------------------------------------------------------------

    def _read_call(self) -> bool:
        """Read the beginning of a call, up to where its arguments begin."""
        assert self._calls is not None
        calls, text = self._calls, self._buffer.lstrip()
        for part in (calls.separator.strip(), calls.section_start.strip()):
            if part and text.startswith(part):
                text = text.removeprefix(part).lstrip()
        prefix = _pattern(calls.prefix.strip())
        found = prefix.match(text)
        if found is None or (not calls.prefix.strip() and not text.startswith("{") and calls.kind == "json"):
            parts = (calls.section_start + calls.prefix, calls.prefix, calls.separator, calls.section_end)
            if not self._final and (not text or any(part.strip().startswith(text) for part in parts)):
                return False
            self._buffer = text.removeprefix(calls.section_end.strip())
            self._read = self._read_content if self._n_calls else self._read_raw
            return True
        body = text[found.end() :].lstrip()
        read = {
            "json": self._begin_json,
            "named_json": self._begin_named,
            "parameters": self._whole_parameters,
            "python": self._whole_python,
        }[calls.kind]
        return read(body, found.groupdict().get("id"))

    def _read_raw(self) -> bool:
        """Give what began like a call, and is none, as content."""
        self._say("content", self._buffer)
        self._buffer = ""
        return False

    def _begin_json(self, body: str, call_id: str | None) -> bool:
        calls = self._calls
        assert calls is not None
        head = re.match(
            r'\{(?:\s*"[^"\\]*"\s*:\s*"(?:[^"\\]|\\.)*"\s*,)*\s*"'
            + re.escape(calls.arguments_key)
            + r'"\s*:\s*(?=[{\[])',
            body,
        )
        if head is not None:
            pairs = dict(re.findall(r'"([^"\\]*)"\s*:\s*("(?:[^"\\]|\\.)*")\s*,', head[0]))
            if calls.name_key in pairs:
                name = json.loads(pairs[calls.name_key], strict=False)
                self._open_call(name, json.loads(pairs.get(calls.id_key, "null")) or call_id)
                self._buffer, self._scan, self._nested = body[head.end() :], _JsonScanner(), True
                self._read = self._read_arguments
                return True
        end = _JsonScanner().end(body)
        if end is None:
            if not self._final:
                return False
            self._read = self._read_raw
            return bool(self._buffer)
        try:
            value = json.loads(body[:end], strict=False)
        except ValueError:
            self._read = self._read_raw
            return True
        flat = value.get("function") if isinstance(value.get("function"), dict) else value
        arguments = flat.get(calls.arguments_key, {})
        self._open_call(str(flat.get(calls.name_key, "")), value.get(calls.id_key) or call_id)
        self._add_arguments(arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False))
        self._buffer = body[end:]
        self._read = self._end_call
        return True

    def _begin_named(self, body: str, call_id: str | None) -> bool:
        assert self._calls is not None
        after = _pattern(self._calls.after_name.rstrip())
        found = after.search(body)
        if found is None:
            if self._final:
                self._read = self._read_raw
            return self._final
        name = body[: found.start()].strip()
        written_id = found.groupdict().get("id") or call_id
        if self._calls.name_is_id:
            written_id = name + found[0].removesuffix(self._calls.after_name.lstrip("0123456789"))
            name = name.removeprefix("functions.").partition(":")[0]
        self._open_call(name, written_id)
        self._buffer, self._scan, self._nested = body[found.end() :].lstrip(), _JsonScanner(), False
        self._read = self._read_arguments
        return True

    def _read_arguments(self) -> bool:
        """Give the text of arguments as it comes, until their JSON value ends."""
        assert self._scan is not None
        if not self._scan.begun:
            self._buffer = self._buffer.lstrip()
        end = self._scan.end(self._buffer)
        if end is None:
            self._add_arguments(self._buffer)
            self._buffer = ""
            return False
        self._add_arguments(self._buffer[:end])
        self._buffer = self._buffer[end:]
        self._scan = _JsonScanner(inside=True) if self._nested else None
        self._read = self._end_object if self._nested else self._end_call
        return True

    def _end_object(self) -> bool:
        """Skip the rest of the object that the arguments are in."""
        assert self._scan is not None
        end = self._scan.end(self._buffer)
        self._buffer = "" if end is None else self._buffer[end:]
        if end is None:
            return False
        self._read = self._end_call
        return True

    def _end_call(self) -> bool:
        assert self._calls is not None
        suffix, text = self._calls.suffix.strip(), self._buffer.lstrip()
        if suffix and suffix.startswith(text) and text != suffix and not self._final:
            return False
        self._buffer = text.removeprefix(suffix)
        self._read = self._read_call
        return True

    def _whole_parameters(self, body: str, call_id: str | None) -> bool:
        calls = self._calls
        assert calls is not None
        closing = calls.suffix.strip() or calls.section_end.strip()
        end = body.find(closing) if closing else -1
        if end < 0 and not self._final:
            return False
        text = body if end < 0 else body[:end]
        begin = calls.after_name.strip()
        name = re.match(r"[^\s<>\"'({\[|]*", text)
        rest = text[name.end() if name else 0 :]
        self._buffer = "" if end < 0 else body[end + len(closing) :]
        rest = rest.strip().removeprefix(begin)
        called = name[0] if name else ""
        schema = self._tools.get(called, {}).get("parameters", {}).get("properties", {})
        self._open_call(called, call_id)
        self._add_arguments(json.dumps(_parameters(calls, rest, schema), ensure_ascii=False))
        self._read = self._read_call
        return True

    def _whole_python(self, body: str, call_id: str | None) -> bool:
        calls = self._calls
        assert calls is not None
        closing = calls.section_end.strip() or calls.suffix.strip()
        end = body.find(closing) if closing else -1
        if end < 0 and not self._final:
            return False
        text = (body if end < 0 else body[:end]).strip()
        for marker in self._syntax.end:
            text = text.removesuffix(marker).strip()
        try:
            tree = ast.parse(f"[{text}]".replace("\n", "\\n"), mode="eval").body
            assert isinstance(tree, ast.List)
            items = tree.elts[0].elts if len(tree.elts) == 1 and isinstance(tree.elts[0], ast.List) else tree.elts
            parsed = [(ast.unparse(item.func), _keywords(item)) for item in items if isinstance(item, ast.Call)]
        except (SyntaxError, ValueError, AssertionError):
            self._read = self._read_raw
            return True
        for name, arguments in parsed:
            self._open_call(name, None)
            self._add_arguments(json.dumps(arguments, ensure_ascii=False))
        self._buffer = "" if end < 0 else body[end + len(closing) :]
        self._read = self._read_content
        return bool(self._buffer)

    def _open_call(self, name: str, call_id: str | None) -> None:
        function = {"name": name, "arguments": ""}
        call = {"index": self._n_calls, "id": call_id or new_call_id(), "type": "function", "function": function}
        self._deltas.append({"tool_calls": [call]})
        self._call_id = call["id"]
        self._n_calls += 1

    def _add_arguments(self, text: str) -> None:
        if text:
            call = {"index": self._n_calls - 1, "id": self._call_id, "function": {"arguments": text}}
            self._deltas.append({"tool_calls": [call]})

    # -- gpt-oss -------------------------------------------------------------------------------------------------------

    def _read_harmony(self) -> bool:
        """Read channels: a header up to <|message|>, a body up to the next marker."""
        found = _HARMONY_MARKER.search(self._buffer)
        in_body = self._header.endswith("<|message|>")
        if found is None:
            if in_body:
                held = 0 if self._final else _marker_overlap(self._buffer)
                self._harmony_body(self._buffer[: len(self._buffer) - held])
                self._buffer = self._buffer[len(self._buffer) - held :]
            return False
        text = self._buffer[: found.start()]
        self._buffer = self._buffer[found.end() :]
        if in_body:
            self._harmony_body(text)
            self._header = found[0] if found[1] == "channel" else ""
        else:
            self._header += text + found[0]
            called = re.search(r"to=functions\.([\w.-]+)", self._header)
            if found[1] == "message" and called:
                self._open_call(called[1], None)
        return True

    def _harmony_body(self, text: str) -> None:
        if "to=functions." in self._header:
            self._add_arguments(text)
        elif text:
            self._say("reasoning_content" if "analysis" in self._header else "content", text)


class _JsonScanner:
    """Finds where a JSON value ends, in text that comes in pieces.

    Args:
        inside: an object has been opened before the text.
    """

    def __init__(self, inside: bool = False) -> None:
        self.begun = inside
        self._depth = int(inside)
        self._in_text = False
        self._escaped = False

    def end(self, text: str) -> int | None:
        """Return the index behind the value, None if it goes on after this piece."""
        for index, character in enumerate(text):
            self.begun = True
            if self._in_text:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_text = False
                    if self._depth == 0:
                        return index + 1
            elif character == '"':
                self._in_text = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return index + 1
        return None


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function = tool.get("function", tool)
    return function if isinstance(function, Mapping) else tool


def _pattern(text: str) -> re.Pattern[str]:
    """Make a pattern of what stood around a probe's call, where ids and counts are others in other calls."""
    pattern = re.escape(text).replace(CALL_ID, r"(?P<id>[^\s<>\[\]|]+)")
    pattern = re.sub(r'(index="|:)\d+', r"\g<1>\\d+", pattern)
    return re.compile(pattern)


def _parameters(calls: CallSyntax, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Read arguments that stand one by one."""
    found: dict[str, Any] = {}
    before, middle = calls.key_prefix.strip(), calls.key_suffix
    after = calls.value_suffix.strip()
    pattern = re.compile(
        f"{re.escape(before)}(?P<key>[^\\s<>\"'|:]+?){_loose(middle)}(?P<value>.*?){_loose(after)}"
        f"(?={re.escape(before)}|\\s*$|\\s*{re.escape(calls.parameter_separator.strip() or before)})",
        re.DOTALL,
    )
    for match in pattern.finditer(text):
        key, value = match["key"], match["value"]
        found[key] = _value(value, schema.get(key, {}))
    return found


def _loose(text: str) -> str:
    """Make a pattern of a separator whose line breaks a model may leave out."""
    body = text.strip("\n")
    escaped = re.sub(r'="(true|string)"', r'="\\w+"', re.escape(body))
    head, tail = text[: len(text) - len(text.lstrip("\n"))], text[len(text.rstrip("\n")) :]
    return ("\\n?" if head else "") + escaped + ("\\n?" if tail else "")


def _value(text: str, schema: Mapping[str, Any]) -> Any:
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if kinds == ["string"]:
        return text.removesuffix("\n")
    for read in (json.loads, ast.literal_eval):  # some templates write values as Python does
        try:
            value = read(text.strip())
        except (ValueError, SyntaxError):
            continue
        return value if isinstance(value, (dict, list, str, int, float, bool, type(None))) else text
    return text.removesuffix("\n")


def _keywords(call: ast.Call) -> dict[str, Any]:
    return {keyword.arg or "": _literal(keyword.value) for keyword in call.keywords}


def _literal(node: ast.expr) -> Any:
    """Read a Python literal, with JSON's names for its constants."""
    if isinstance(node, ast.Name):
        return {"true": True, "false": False, "null": None}[node.id]
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)


def _overlap(text: str, marker: str) -> int:
    """Return how many characters at the end of a text begin a marker."""
    for length in range(min(len(text), len(marker) - 1), 0, -1):
        if text.endswith(marker[:length]):
            return length
    return 0


def _marker_overlap(text: str) -> int:
    begin = text.rfind("<")
    return len(text) - begin if begin >= 0 and len(text) - begin < len("<|constrain|>") else 0
