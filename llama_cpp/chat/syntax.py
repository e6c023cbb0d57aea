"""Syntax: how a model writes reasoning, content and tool calls, found out from its template.

Probe messages with unmistakable words in them are rendered, and what the template puts around the words is the syntax.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import TemplateError

if TYPE_CHECKING:
    from .template import ChatTemplate

CONTENT, THOUGHT, NAME, KEY, VALUE = "Qcontentq", "Qthoughtq", "qnameq", "qkeyq", "qvalueq"
KEY_2, VALUE_2 = "qotherkeyq", "qothervalueq"
CALL_ID = "qcallid1x"  # Mistral's templates want nine letters and digits

# What templates that drop the reasoning of earlier turns still say of it.
_KNOWN_TAGS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
)

_TOOL = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "a tool",
        "parameters": {"type": "object", "properties": {KEY: {"type": "string"}, KEY_2: {"type": "string"}}},
    },
}
_USER = {"role": "user", "content": "Hello"}


@dataclass(frozen=True)
class CallSyntax:
    """How tool calls are written: section_start, calls with a separator between them, section_end.

    Attributes:
        kind: "json" is an object with the name in it, "named_json" the name and then the arguments, "parameters" the
            name and then each argument by itself, "python" a call in Python's syntax.
        section_start, section_end: around all calls.
        prefix, suffix, separator: around each call, and between two of them.
        name_key, arguments_key, id_key: of a JSON object; "" where there is none.
        after_name: between the name and the arguments.
        name_is_id: the model writes the call's id in the place of the name, such as "functions.name:0".
        key_prefix, key_suffix, value_suffix, parameter_separator: of arguments that stand by themselves.
    """

    kind: Literal["json", "named_json", "parameters", "python"]
    section_start: str = ""
    section_end: str = ""
    prefix: str = ""
    suffix: str = ""
    separator: str = ""
    name_key: str = ""
    arguments_key: str = ""
    id_key: str = ""
    after_name: str = ""
    name_is_id: bool = False
    key_prefix: str = ""
    key_suffix: str = ""
    value_suffix: str = ""
    parameter_separator: str = ""

    @property
    def trigger(self) -> str:
        """The text that begins a call, as far as it does not depend on the tool."""
        return (self.section_start + self.prefix).partition(CALL_ID)[0].strip()


@dataclass(frozen=True)
class Syntax:
    """What a model writes after the generation prompt.

    Attributes:
        content_start: before content, "" for most models.
        end: after an answer, such as "<|im_end|>"; texts of which each ends it.
        think_start, think_end: around reasoning, "" where the model has none.
        thinks_already: the generation prompt has opened the reasoning.
        calls: how tool calls are written, None where the template knows no tools.
        harmony: the model writes in gpt-oss's channels.
    """

    content_start: str = ""
    end: tuple[str, ...] = ()
    think_start: str = ""
    think_end: str = ""
    thinks_already: bool = False
    calls: CallSyntax | None = None
    harmony: bool = False


GENERIC_CALLS = CallSyntax(
    "json", prefix="<tool_call>\n", suffix="\n</tool_call>", separator="\n", name_key="name", arguments_key="arguments"
)
"""Hermes' form, which models are asked for whose template knows no tools."""


def derive(template: ChatTemplate, **template_kwargs: Any) -> Syntax:
    """Find out a template's syntax.

    Args:
        template: the template.
        **template_kwargs: what requests pass to it, such as `enable_thinking`.
    """
    prompt = _render(template, [_USER], True, template_kwargs) or ""
    if "<|channel|>" in template.source and "<|message|>" in template.source:
        return Syntax(harmony=True, end=("<|return|>", "<|end|>", "<|call|>"), calls=CallSyntax("named_json"))
    content = _turn(template, {"content": CONTENT}, prompt, template_kwargs) or CONTENT
    before, _, after = content.partition(CONTENT)
    first = re.match(r"\s*(<[^<>]+>|\[[^\[\]]+\]|\S+)", after)
    end = tuple(dict.fromkeys(text for text in (first[1] if first else "", template.eos_token) if text))
    start, stop, before = _thinking(template, prompt, before, template_kwargs)
    last = prompt.rstrip()
    return Syntax(
        content_start=before.strip(),
        end=end,
        think_start=start,
        think_end=stop,
        thinks_already=bool(start) and last.endswith(start),
        calls=_calls(template, prompt, after, template_kwargs),
    )


def _render(
    template: ChatTemplate,
    messages: list[dict[str, Any]],
    generate: bool,
    kwargs: Mapping[str, Any],
    tools: Sequence[Any] | None = None,
) -> str | None:
    try:
        return template.render(messages, tools=tools, add_generation_prompt=generate, **kwargs)
    except TemplateError:
        return None


def _turn(
    template: ChatTemplate,
    message: dict[str, Any],
    prompt: str,
    kwargs: Mapping[str, Any],
    tools: Sequence[Any] | None = None,
) -> str | None:
    """Return what an assistant's message is written as, after the generation prompt."""
    full = _render(template, [_USER, {"role": "assistant", **message}], False, kwargs, tools)
    if full is None:
        return None
    if tools is not None:
        prompt = _render(template, [_USER], True, kwargs, tools) or prompt
    if full.startswith(prompt):
        return full[len(prompt) :]
    # A prompt that opens, or closes, the reasoning for the model is not what is written of earlier turns.
    return full[len(_common_head(full, prompt)) :]


def _thinking(template: ChatTemplate, prompt: str, before: str, kwargs: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the tags of reasoning, and what stands before content besides them."""
    for key in ("reasoning_content", "thinking", "reasoning"):
        turn = _turn(template, {"content": CONTENT, key: THOUGHT}, prompt, kwargs) or ""
        if THOUGHT not in turn:
            continue
        start, _, rest = turn.partition(THOUGHT)
        stop = rest.partition(CONTENT)[0]
        start = start.strip() or next((tag for tag, _ in _KNOWN_TAGS if prompt.rstrip().endswith(tag)), "")
        stop = stop.strip()
        if start and stop:
            known = next((pair for pair in _KNOWN_TAGS if start.endswith(pair[0]) and stop.startswith(pair[1])), None)
            if known is not None:
                return (*known, stop[len(known[1]) :].strip())
            return start, stop, before.strip()
    for start, stop in _KNOWN_TAGS:
        if start in template.source and stop in template.source:
            plain = before.strip()
            return start, stop, "" if plain.startswith(start) else plain
    return "", "", before


# -- tool calls --------------------------------------------------------------------------------------------------------


def _call(name: str, arguments: Any, call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _calls(template: ChatTemplate, prompt: str, after: str, kwargs: Mapping[str, Any]) -> CallSyntax | None:
    for content in ("", None):
        calls = [_call(NAME, {KEY: VALUE}, CALL_ID)]
        one = _turn(template, {"content": content, "tool_calls": calls}, prompt, kwargs, [_TOOL])
        if one is None or VALUE not in one or KEY not in one:
            continue
        calls = [*calls, _call(NAME, {KEY: VALUE}, CALL_ID)]
        two = _turn(template, {"content": content, "tool_calls": calls}, prompt, kwargs, [_TOOL])
        bodies = _bodies(one)
        if bodies is None:
            return None
        body, found = bodies
        if found.kind == "parameters":
            calls = [_call(NAME, {KEY: VALUE, KEY_2: VALUE_2}, CALL_ID)]
            both = _turn(template, {"content": content, "tool_calls": calls}, prompt, kwargs, [_TOOL]) or ""
            if VALUE_2 not in both:
                return None
            found = _parameters(both)
            body += found.value_suffix
        return _around(found, one, two, body, after)
    return None


def _around(found: CallSyntax, one: str, two: str | None, body: str, after: str) -> CallSyntax:
    """Split what stands around one call, and between two, into section, prefix, separator and suffix."""
    start, _, end = one.partition(body)
    end = end.removesuffix(after) if end.endswith(after) else end.rstrip()
    start = _after_thinking(start)
    between = ""
    if two is not None:
        between = _between(two, body)
    if not between:
        return _replace(found, prefix=start, suffix=end)
    suffix = _common_head(between, end)
    rest = between[len(suffix) :]
    prefix = _common_tail(rest, start)
    return _replace(
        found,
        section_start=start[: len(start) - len(prefix)],
        section_end=end[len(suffix) :],
        prefix=prefix,
        suffix=suffix,
        separator=rest[: len(rest) - len(prefix)],
    )


def _between(two: str, body: str) -> str:
    """Return what stands between two calls, which differ in a number at most; "" if there are not two."""
    pattern = re.sub(r"\d+", r"\\d+", re.escape(body))
    found = list(re.finditer(pattern, two))
    return two[found[0].end() : found[1].start()] if len(found) > 1 else ""


def _after_thinking(start: str) -> str:
    """Leave out empty reasoning that a template writes before calls."""
    for _, stop in _KNOWN_TAGS:
        if stop in start:
            start = start.rpartition(stop)[2]
    return start.lstrip("\n")


def _replace(found: CallSyntax, **changes: str) -> CallSyntax:
    from dataclasses import replace

    return replace(found, **changes)  # type: ignore[arg-type]


def _bodies(turn: str) -> tuple[str, CallSyntax] | None:
    """Find the text of one call, and what kind of text it is."""
    return _json_body(turn) or _named_body(turn) or _python_body(turn) or _parameter_body(turn)


def _json_body(turn: str) -> tuple[str, CallSyntax] | None:
    decoder = json.JSONDecoder()
    for position in (index for index, character in enumerate(turn) if character == "{"):
        try:
            value, end = decoder.raw_decode(turn, position)
        except ValueError:
            continue
        if not isinstance(value, dict):
            continue
        nested = value.get("function")
        flat = nested if isinstance(nested, dict) else value
        name = next((key for key, one in flat.items() if one == NAME), "")
        arguments = next((key for key, one in flat.items() if one in ({KEY: VALUE}, json.dumps({KEY: VALUE}))), "")
        if name and arguments:
            id_key = next((key for key, one in value.items() if one == CALL_ID), "")
            kind = CallSyntax("json", name_key=name, arguments_key=arguments, id_key=id_key)
            return turn[position:end], kind
    return None


def _named_body(turn: str) -> tuple[str, CallSyntax] | None:
    decoder = json.JSONDecoder()
    for position in (index for index, character in enumerate(turn) if character == "{"):
        try:
            value, end = decoder.raw_decode(turn, position)
        except ValueError:
            continue
        if value != {KEY: VALUE}:
            continue
        head = turn[:position]
        word = NAME if NAME in head else CALL_ID if CALL_ID in head else ""
        if word:
            begin = head.rindex(word)
            after_name = head[begin + len(word) :]
            return turn[begin:end], CallSyntax("named_json", after_name=after_name, name_is_id=word == CALL_ID)
    return None


def _python_body(turn: str) -> tuple[str, CallSyntax] | None:
    for quote in ('"', "'"):
        body = f"{NAME}({KEY}={quote}{VALUE}{quote})"
        if body in turn:
            return body, CallSyntax("python")
    return None


def _parameter_body(turn: str) -> tuple[str, CallSyntax] | None:
    if NAME not in turn:
        return None
    begin = turn.index(NAME)
    key = turn.find(KEY, begin)
    value = turn.find(VALUE, key)
    if key < 0 or value < 0:
        return None
    return turn[begin : value + len(VALUE)], CallSyntax("parameters")


def _parameters(turn: str) -> CallSyntax:
    """Find out what stands around the arguments of a call that has two of them."""
    head, _, rest = turn.partition(NAME)[2].partition(KEY)
    key_suffix, _, rest = rest.partition(VALUE)
    between, _, rest = rest.partition(KEY_2)
    tail = rest.partition(VALUE_2)[2]
    value_suffix = _common_head(between, tail)
    key_prefix = _common_tail(between[len(value_suffix) :], head)
    return CallSyntax(
        "parameters",
        after_name=head[: len(head) - len(key_prefix)],
        key_prefix=key_prefix,
        key_suffix=key_suffix,
        value_suffix=value_suffix,
        parameter_separator=between[len(value_suffix) : len(between) - len(key_prefix)],
    )


def _common_head(one: str, other: str) -> str:
    """Return what two texts begin with, without cutting a tag in two."""
    head = _common(one, other)
    begin = head.rfind("<")
    return head[:begin] if begin >= 0 and ">" not in head[begin:] and head not in (one, other) else head


def _common_tail(one: str, other: str) -> str:
    """Return what two texts end with, without cutting a tag in two."""
    tail = _common(one[::-1], other[::-1])[::-1]
    before = one[: len(one) - len(tail)]
    begin = before.rfind("<")
    if begin >= 0 and ">" not in before[begin:] and ">" in tail:
        return tail.partition(">")[2]
    return tail


def _common(one: str, other: str) -> str:
    n = next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:n]
