"""Syntax: how a model writes reasoning, content and tool calls, found out from its template by probing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from .probe import (
    ARGUMENTS,
    CALL_ID,
    CONTENT,
    INDEX,
    KEY,
    NAME,
    NUMBER,
    OTHER_KEY,
    THOUGHT,
    VALUE,
    Probe,
    common_head,
    common_tail,
    first_tag,
    probe_call,
)

if TYPE_CHECKING:
    from .template import ChatTemplate

# Reasoning that templates leave out of earlier turns, and mention nevertheless.
_KNOWN_TAGS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought", "<channel|>"),
)


@dataclass(frozen=True)
class CallSyntax:
    """How tool calls are written: section_start, calls with a separator between them, section_end.

    Where a call's id or number stands, these texts have CALL_ID or INDEX.

    Attributes:
        kind: "json" is an object with the name in it, "named_json" the name and then the arguments, "parameters" the
            name and then each argument by itself, "python" a call as Python has it, "bare" the name and an object
            whose keys have no quotes.
        section_start, section_end: around all calls.
        prefix, suffix, separator: around each call, and between two of them.
        parallel: there may be more than one.
        body: of "json", the object, with NAME and ARGUMENTS in it.
        name_key, arguments_key, id_key: its keys; "" where there is none; a name without a key is one itself.
        after_name: between the name and the arguments.
        name_is_id: the model writes the call's id in the place of the name, such as "functions.name:0".
        key_prefix, key_suffix, value_suffix, parameter_separator: of arguments that stand by themselves; a value_suffix
            may have KEY in it.
        number_key_suffix: the key_suffix of a value that is no string, where that differs.
        quote: around strings in "bare" and "python".
    """

    kind: Literal["json", "named_json", "parameters", "python", "bare"]
    section_start: str = ""
    section_end: str = ""
    prefix: str = ""
    suffix: str = ""
    separator: str = ""
    parallel: bool = True
    body: str = ""
    name_key: str = ""
    arguments_key: str = ""
    id_key: str = ""
    after_name: str = ""
    name_is_id: bool = False
    key_prefix: str = ""
    key_suffix: str = ""
    number_key_suffix: str = ""
    value_suffix: str = ""
    parameter_separator: str = ""
    quote: str = ""

    @property
    def trigger(self) -> str:
        """The text that begins a call wherever it stands, as far as no tool or id is in it; "" where there is none."""
        start = (self.section_start + self.prefix).partition(CALL_ID)[0].strip()
        return start if re.search(r"[^\s\[\](){},'\"]", start) else ""


# Variables by which templates are told to let the model think.
THINKING_KWARGS = ("enable_thinking", "thinking")


@dataclass(frozen=True)
class Syntax:
    """What a model writes after the generation prompt.

    Attributes:
        content_start: before content, "" for most models.
        content_end: behind content that something follows in the same turn.
        content_tail: space that the template writes between content and the end of the turn.
        end: texts of which each ends the turn, such as "<|im_end|>", or a line "### User:" where the beginning of the
            next turn is all that does.
        think_start, think_end: around reasoning, "" where the model has none.
        thinks_already: the generation prompt has opened the reasoning.
        calls: how tool calls are written, None where the template knows no tools.
        harmony: the turn is made of messages with a header each, which says what they are, as gpt-oss has it.
        string_arguments: the template wants the arguments of calls as JSON text.
        continues: the prompt ends within a turn, in its reasoning if thinks_already, or else in its content.
    """

    content_start: str = ""
    content_end: str = ""
    content_tail: str = ""
    end: tuple[str, ...] = ()
    think_start: str = ""
    think_end: str = ""
    thinks_already: bool = False
    calls: CallSyntax | None = None
    harmony: bool = False
    string_arguments: bool = False
    continues: bool = False

    def after(self, text: str) -> Syntax:
        """Return how the model goes on with a turn whose content has begun with a text."""
        _, opened, thought = text.rpartition(self.think_start or "\0")
        return replace(self, thinks_already=bool(opened) and self.think_end not in thought, continues=True)

    def answered(self, text: str) -> str:
        """Return what of a turn's begun content is its answer."""
        if self.thinks_already:
            return ""
        return text.rpartition(self.think_end)[2].lstrip() if self.think_end else text

    def with_tokens(self, special: Mapping[str, int]) -> tuple[Syntax, list[int]]:
        """Return the syntax in which only tokens end a turn where there are such, and the ids of these.

        What a vocabulary has as a token can stand in an answer as text, and then ends nothing.

        Args:
            special: texts of the vocabulary's special tokens, with their ids.
        """
        ends = [end for end in self.turn_ends if end in special]
        return replace(self, end=tuple(end for end in self.end if end not in ends)), [special[end] for end in ends]

    @property
    def turn_ends(self) -> list[str]:
        """Those ends behind which nothing more can follow in the turn."""
        inner = (*MESSAGE_ENDS, self.content_end) if self.harmony else (self.content_end,)
        return [end for end in self.end if end not in inner]

    def thinks_first(self, template_kwargs: Mapping[str, Any]) -> bool:
        """Tell whether an answer in a form comes after thinking, which the prompt begins or was told to ask for."""
        if self.thinks_already or (self.harmony and not self.continues):
            return True
        wanted = any(template_kwargs.get(name) is True for name in THINKING_KWARGS)
        return wanted and bool(self.think_end) and not self.continues


MESSAGE_ENDS = ("<|end|>", "<|eom|>")
"""What ends a message of a turn that is made of several."""

GENERIC_CALLS = CallSyntax(
    "json",
    prefix="<tool_call>\n",
    suffix="\n</tool_call>",
    separator="\n",
    body=f'{{"name": "{NAME}", "arguments": {ARGUMENTS}}}',
    name_key="name",
    arguments_key="arguments",
)
"""Hermes' form, which models are asked for whose template knows no tools."""

HARMONY_CALLS = CallSyntax(
    "named_json",
    prefix="<|channel|>commentary to=functions.",
    after_name=" <|constrain|>json<|message|>",
    parallel=False,
)
"""gpt-oss's form; what it writes may have the recipient before the channel too."""

_LFM_CALLS = CallSyntax(
    "python", section_start="<|tool_call_start|>[", section_end="]<|tool_call_end|>", separator=", ", quote='"'
)

# Forms of templates that show tools and can't be rendered with calls: a mark in what they say, and what goes with it.
_TOLD_CALLS = (
    (
        "<|tool_call|>",
        replace(GENERIC_CALLS, section_start="<|tool_call|>[", section_end="]", prefix="", suffix="", separator=", "),
    ),
    ("<tool_call>", GENERIC_CALLS),
    ("<|tool_list_start|>", _LFM_CALLS),
    ("List of tools: [", _LFM_CALLS),
    (
        "Write 'Action:' followed by a json",
        CallSyntax(
            "json",
            section_start="Action: ```json\n[\n",
            section_end="\n]```",
            prefix="    ",
            separator=",\n",
            body=f'{{"tool_name": "{NAME}", "parameters": {ARGUMENTS}}}',
            name_key="tool_name",
            arguments_key="parameters",
        ),
    ),
    (
        "<|tool_calls_section_begin|>",
        CallSyntax(
            "named_json",
            section_start="<|tool_calls_section_begin|>",
            section_end="<|tool_calls_section_end|>",
            prefix="<|tool_call_begin|>",
            suffix="<|tool_call_end|>",
            after_name="<|tool_call_argument_begin|>",
            name_is_id=True,
        ),
    ),
)


_Body = tuple[str, CallSyntax]
"""The text of a call, and what it says of the syntax."""


def derive(template: ChatTemplate, **template_kwargs: Any) -> Syntax:
    """Find out a template's syntax.

    Args:
        template: the template.
        **template_kwargs: what requests pass to it, such as `enable_thinking`.
    """
    probe = Probe(template, template_kwargs)
    if "<|message|>" in template.source and "<|start|>" in template.source:
        return _harmony(probe)
    before, after = probe.around(CONTENT, {"content": CONTENT}) or ("", "")
    probe.role_tag = probe.last_tag
    start, stop, content_start = _thinking(probe, before)
    content_end = _content_end(probe, after)
    end = _turn_end(after, content_end)
    calls, string_arguments = _calls(probe, after, end, stop) or (None, False)
    if calls is not None:
        calls = _behind(calls, content_end.strip())
    ends = [end or probe.next_turn(), template.eos_token, probe.call_end]
    return Syntax(
        content_start=content_start or (before if before.isspace() else ""),
        content_end=content_end.strip(),
        content_tail=after[: len(after) - len(after.lstrip())],
        end=tuple(dict.fromkeys(filter(None, ends))),
        think_start=start,
        think_end=stop,
        thinks_already=bool(stop) and probe.opens_thinking(start, stop),
        calls=calls,
        string_arguments=string_arguments,
    )


def _harmony(probe: Probe) -> Syntax:
    end = tuple(dict.fromkeys(re.findall(r"<\|(?:end|return|call|eom|eot)\|>", probe.source)))
    if "<|channel|>" in probe.source:
        return Syntax(harmony=True, end=end, calls=HARMONY_CALLS)
    found = _calls(probe, "", "", "<|message|>")
    if found is None:
        return Syntax(harmony=True, end=end)
    calls = replace(found[0], section_end="", separator="", parallel=False)  # a message for each
    return Syntax(harmony=True, end=end, calls=calls, string_arguments=found[1])


def _content_end(probe: Probe, after: str) -> str:
    """Return what is behind content both when it is the last of the turn and when calls follow."""
    for as_text in (False, True):
        _, between = probe.around(CONTENT, {"content": CONTENT, "tool_calls": [probe_call(as_text)]}) or ("", "")
        if NAME in between or CALL_ID in between:
            between = between.partition(NAME)[0]
            common = common_head(after, between)
            return between if between.strip() == ">>>" else common if common.strip() else ""  # functionary's
    return ""


def _turn_end(after: str, content_end: str) -> str:
    """Return the first tag that ends a turn, or all of the end where that one ends content too."""
    end = after.removeprefix(content_end).strip()
    first = first_tag(end)
    return end if first in content_end else first


def _behind(calls: CallSyntax, content_end: str) -> CallSyntax:
    """Leave out of a section's beginning what ends content before it."""
    if calls.section_start:
        return replace(calls, section_start=calls.section_start.removeprefix(content_end).lstrip("\n"))
    return replace(calls, prefix=calls.prefix.removeprefix(content_end).lstrip("\n"))


# -- reasoning ---------------------------------------------------------------------------------------------------------


def _thinking(probe: Probe, before: str) -> tuple[str, str, str]:
    """Return the tags of reasoning, and the text that stands before content besides them."""
    plain = before.strip()
    for key in ("reasoning_content", "thinking", "reasoning"):
        found = probe.around(THOUGHT, {"content": CONTENT, key: THOUGHT})
        if found is None or CONTENT not in found[1]:
            continue
        start, stop = found[0].strip(), found[1].partition(CONTENT)[0].strip()
        if not start and probe.last_tag != probe.role_tag:
            start = probe.last_tag
        known = next((pair for pair in _KNOWN_TAGS if stop.startswith(pair[1])), None)
        if known is not None:
            return (*known, stop.removeprefix(known[1]).strip())
        if plain and plain != stop and stop.endswith(plain):
            return start, stop.removesuffix(plain).strip(), plain
        return start, stop, ""
    for start, stop in _KNOWN_TAGS:
        if stop in probe.source:
            return start, stop, plain.rpartition(stop)[2]
    return "", "", before.lstrip()


# -- tool calls --------------------------------------------------------------------------------------------------------


def _calls(probe: Probe, after: str, end: str, think_end: str) -> tuple[CallSyntax, bool] | None:
    """Return how calls are written, and whether the template wants their arguments as text."""
    for as_text in (False, True):
        for content in ("", None):
            message = {"content": content, "tool_calls": [probe_call(as_text)]}
            one = probe.turn(message)
            if one is None or VALUE not in one:
                continue
            found = next((body for find in _BODIES if (body := find(probe, one)) is not None), None)
            if found is not None:
                two = probe.turn({**message, "tool_calls": [probe_call(as_text), probe_call(as_text)]})
                calls, rest = _around(found, one, two, think_end)
                section_end, probe.call_end = _without_end(rest, after, end)
                if calls.parallel:
                    return replace(calls, section_end=section_end), as_text
                return replace(calls, suffix=section_end), as_text
    told = probe.told()
    if NAME not in told:
        return None
    return next(((calls, False) for mark, calls in _TOLD_CALLS if mark in told + probe.source), None)


def _around(found: _Body, one: str, two: str | None, think_end: str) -> tuple[CallSyntax, str]:
    """Split what stands around one call, and between two, into section, prefix, separator and suffix, and the rest."""
    body, calls = found
    start, _, end = one.partition(body)
    start = _counted(start.rpartition(think_end)[2] if think_end else start).lstrip("\n")  # reasoning may be empty
    between = _between(two or "", body)
    if not between:
        return replace(calls, prefix=start, parallel=False), end
    suffix = common_head(between, end)
    rest = _counted(between[len(suffix) :])
    prefix = common_tail(rest, start)
    separator = rest.removesuffix(prefix)
    section_start = start.removesuffix(prefix)
    calls = replace(calls, section_start=section_start, prefix=prefix, suffix=suffix, separator=separator)
    return calls, end[len(suffix) :]


def _between(two: str, body: str) -> str:
    """Return what stands between two calls, which differ in a number at most; "" if there are not two."""
    pattern = re.sub(r'"\d+"|:\d+', lambda number: re.sub(r"\d+", r"\\d+", number[0]), re.escape(body))
    found = list(re.finditer(pattern, two))
    return two[found[0].end() : found[1].start()] if len(found) > 1 else ""


def _without_end(rest: str, after: str, end: str) -> tuple[str, str]:
    """Cut off what ends the turn, and return that too where it is not what ends content."""
    if len(rest) > 200:  # another turn follows
        return rest[: len(rest) - len(rest.lstrip())] + rest.split()[0], ""
    if end and end in rest:
        return rest.partition(end)[0].rstrip(), ""
    common = common_tail(rest.rstrip(), after.rstrip())
    if common:
        return rest.rstrip().removesuffix(common).rstrip(), first_tag(common)
    tags = re.findall(r"<[^<>]+>", rest)
    if tags and (after.strip() or len(tags) > 1) and not tags[-1].startswith("</"):
        return rest.rpartition(tags[-1])[0].rstrip(), tags[-1]
    return rest, ""


def _counted(text: str) -> str:
    """Put INDEX where a template counts calls."""
    return re.sub(r'"\d+"', f'"{INDEX}"', text)


def _objects(turn: str) -> Iterator[tuple[int, int, Any]]:
    """Find the JSON objects of a text, those in others too."""
    decoder = json.JSONDecoder()
    for brace in re.finditer(r"\{", turn):
        try:
            value, end = decoder.raw_decode(turn, brace.start())
        except ValueError:
            continue
        yield brace.start(), end, value


def _json_body(probe: Probe, turn: str) -> _Body | None:
    arguments = ({KEY: VALUE}, json.dumps({KEY: VALUE}))
    for begin, end, value in _objects(turn):
        body = turn[begin:end]
        written = next((one for _, _, one in _objects(body) if one == {KEY: VALUE}), None)
        text = body[body.index("{", 1) :] if written and value == {NAME: written} else ""
        if text:
            inner = text[: text.rindex("}")]
            holes = body.replace(inner, ARGUMENTS)
            return body, CallSyntax("json", body=holes)
        flat = value["function"] if isinstance(value.get("function"), dict) else value
        name = next((key for key, one in flat.items() if one == NAME), "")
        key = next((key for key, one in flat.items() if one in arguments), "")
        if name and key:
            id_key = next((key for key, one in value.items() if one == CALL_ID or str(one).isdigit()), "")
            start = re.search(re.escape(json.dumps(key)) + r"\s*:\s*", body)
            assert start is not None
            _, length = json.JSONDecoder().raw_decode(body[start.end() :])
            holes = body[: start.end()] + ARGUMENTS + body[start.end() + length :]
            return body, CallSyntax("json", body=_counted(holes), name_key=name, arguments_key=key, id_key=id_key)
    return None


def _named_body(probe: Probe, turn: str) -> _Body | None:
    for begin, end, value in _objects(turn):
        head = turn[:begin]
        word = NAME if NAME in head else CALL_ID if CALL_ID in head else ""
        if value == {KEY: VALUE} and word:
            at = head.rindex(word)
            start = re.search(r"[\w.:]*\Z", head[:at])
            is_id = word == CALL_ID or (start is not None and start[0] == "functions.")
            at = start.start() if start is not None and is_id else at
            after_name = re.sub(r"^:\d+", "", head[at:].partition(word)[2])
            return turn[at:end], CallSyntax("named_json", after_name=after_name, name_is_id=is_id)
    return None


def _python_body(probe: Probe, turn: str) -> _Body | None:
    for quote in ('"', "'"):
        body = f"{NAME}({KEY}={quote}{VALUE}{quote})"
        if body in turn:
            return body, CallSyntax("python", quote=quote)
    return None


def _bare_body(probe: Probe, turn: str) -> _Body | None:
    found = re.search(rf"{NAME}\{{{KEY}:(\S+?){VALUE}\1\}}", turn)
    return None if found is None else (found[0], CallSyntax("bare", quote=found[1]))


def _parameter_body(probe: Probe, turn: str) -> _Body | None:
    """Find out what stands around the arguments of a call that has two of them."""
    both = probe.turn({"content": "", "tool_calls": [probe_call(False, more=True)]})
    if both is None or not re.search(rf"{NAME}.*{KEY}.*{VALUE}.*{OTHER_KEY}.*{NUMBER}", both, re.DOTALL):
        return None
    head, _, rest = both[both.index(NAME) + len(NAME) :].partition(KEY)
    if NAME in head:  # some write the name twice
        head = head.rpartition(NAME)[2]
    key_suffix, _, rest = rest.partition(VALUE)
    if not re.search(r"[<>\[\]|]", key_suffix):  # this is a dict as Python shows it
        return None
    between, _, rest = rest.partition(OTHER_KEY)
    number_key_suffix, _, tail = rest.partition(str(NUMBER))
    tail = tail.replace(OTHER_KEY, KEY)
    value_suffix = common_head(between, tail)
    key_prefix = common_tail(between[len(value_suffix) :], head)
    found = CallSyntax(
        "parameters",
        after_name=_counted(head.removesuffix(key_prefix)),
        key_prefix=key_prefix,
        key_suffix=key_suffix,
        number_key_suffix="" if number_key_suffix == key_suffix else number_key_suffix,
        value_suffix=value_suffix,
        parameter_separator=between[len(value_suffix) :].removesuffix(key_prefix),
    )
    begin = turn.rindex(NAME, 0, turn.index(VALUE))
    return turn[begin : turn.index(VALUE) + len(VALUE)] + value_suffix, found


_BODIES = (_json_body, _named_body, _python_body, _bare_body, _parameter_body)
