"""Fitting: messages, tools and documents are put so that a template writes all of them.

Templates differ in what they can show: some know no tools, no calls or no results, refuse a system message, want roles
to take turns, or read texts as lists of parts alone. What a template does with the very messages of a request is seen
by rendering a copy of them, with words of our own in the place of each text. If a word is missing, the request is put
another way, changed as little as possible.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..errors import TemplateError
from .calls import filled_tool
from .messages import REQUEST, as_parts
from .probe import FACT, SPEAKER, THOUGHT
from .syntax import GENERIC_CALLS, THINKING_KWARGS, CallSyntax, Syntax
from .writer import read_cut, told_documents, told_result, told_tools, written_calls

if TYPE_CHECKING:
    from .template import ChatTemplate

Message = dict[str, Any]

logger = logging.getLogger("llama_cpp")

_ABSENT = "absent"
_VARIABLES = (*REQUEST, *THINKING_KWARGS)  # which are heard of in any case
_KEPT = 64  # plans of a template
_LONGEST_ROUND = 6  # messages, with their results, after which a conversation goes on in the same way
_MAX_SECONDS = 2.0  # of this thread's own time for a plan that changes less than one that is known


@dataclass(frozen=True)
class Calls:
    """How tool calls are given to a template.

    Attributes:
        as_text: within the content, in the form that the model writes them in.
        one: each in a message of its own, with its result behind it.
        apart: content in a message of its own before them.
        ids: as they are, as "functions.name:number", or as nine letters and digits.
        empty: what stands for no content: "", None, or the key is absent.
        cut: arguments that are no JSON are given as text, or as what can be read of them.
    """

    as_text: bool = False
    one: bool = False
    apart: bool = False
    ids: Literal["kept", "functions", "nine"] = "kept"
    empty: str | None = ""
    cut: Literal["text", "read"] = "text"


@dataclass(frozen=True)
class Plan:
    """How a request is given to a template; the defaults leave everything as it is.

    Attributes:
        parted: roles whose texts are given as lists of parts.
        system: messages of the system as they are, all of them at the beginning, or in users' messages.
        tools: given as they are, with all that schemas leave out, with the schema in the description, or told in the
            system's message.
        unlisted: a list without tools, where none are given, and not None.
        calls: how calls are given.
        results: given as they are, or as users' messages.
        documents: given as they are, with their titles in the text, or told in the system's message.
        turns: as they are, one message for several of a role in a row, or begun by a user's as well.
    """

    parted: frozenset[str] = frozenset()
    system: Literal["kept", "first", "user"] = "kept"
    tools: Literal["kept", "filled", "described", "told"] = "kept"
    unlisted: bool = False
    calls: Calls = Calls()
    results: Literal["kept", "user"] = "kept"
    documents: Literal["kept", "titled", "told"] = "kept"
    turns: Literal["kept", "merged", "begun"] = "kept"


_PLAINEST = Plan(
    system="user", tools="told", calls=Calls(as_text=True), results="user", documents="told", turns="begun"
)
"""What every template that writes turns of users and assistants can write."""


def fitted(
    template: ChatTemplate,
    syntax: Syntax,
    messages: Sequence[Mapping[str, Any]],
    arguments: Mapping[str, Any],
) -> tuple[list[Message], dict[str, Any]]:
    """Put a request so that a template writes all that it says.

    Args:
        template: the template.
        syntax: that the answer will be written in.
        messages: as `check_messages` returns them.
        arguments: of ChatTemplate.render.

    Returns:
        Messages and arguments of ChatTemplate.render.

    Raises:
        TemplateError: if the template refuses what every template should know, or leaves out what is said.
    """
    complete = _completed(messages)
    plan = _plan_of(template, syntax, complete, arguments)
    _warn(template, "the variable {!r}", [name for name in arguments if name not in _VARIABLES])
    return put(plan, syntax, complete, arguments)


def _plan_of(template: ChatTemplate, syntax: Syntax, messages: Sequence[Message], arguments: Mapping[str, Any]) -> Plan:
    """Find a plan, for a long conversation by a shorter one of its kind, and keep it."""
    copy = _Copy(messages, arguments)
    key = json.dumps([copy.messages, copy.arguments, repr(syntax)], default=str)
    plan = template.plans.get(key)
    if plan is not None:
        return plan
    search = _Search(template, syntax, copy)
    shorter = _shortened(messages)
    if len(shorter) < len(messages):
        with contextlib.suppress(TemplateError):
            plan = _plan_of(template, syntax, shorter, arguments)
    if plan is None or search.missing(plan):
        plan = search.plan()
    search.warn(plan)
    if len(template.plans) >= _KEPT:
        template.plans.clear()
    template.plans[key] = plan
    return plan


def _shortened(messages: Sequence[Message]) -> list[Message]:
    """Leave out what goes on as it did twice before."""
    units: list[list[Message]] = []  # answers come with the results of their calls
    for message in messages:
        if message["role"] == "tool" and units:
            units[-1].append(message)
        else:
            units.append([message])
    kinds = [json.dumps([_kind(message) for message in unit]) for unit in units]
    for length in range(1, _LONGEST_ROUND + 1):
        kept: list[int] = []
        for index in range(len(units)):
            kept.append(index)
            last = [kinds[one] for one in kept[-3 * length :]]
            if last[:length] == last[length : 2 * length] == last[2 * length :] and len(last) == 3 * length:
                del kept[-length:]
        units, kinds = [units[one] for one in kept], [kinds[one] for one in kept]
    return [message for unit in units for message in unit]


def _kind(message: Message) -> list[Any]:
    calls = [call["function"]["arguments"] for call in message.get("tool_calls", ())]
    given = [isinstance(one, str) or bool(one) for one in calls]
    return [
        message["role"],
        bool(message["content"].strip()),
        given,
        sorted(message.keys() - {"content", "tool_calls"}),
    ]


def _warn(template: ChatTemplate, what: str, names: Sequence[str], text: str | None = None) -> None:
    """Say once what a template has no place for, and the model does not hear of."""
    for name in names:
        if name not in (template.source if text is None else text) and name not in template.warned:
            template.warned.add(name)
            logger.warning("the chat template does not look at %s", what.format(name))


def put(
    plan: Plan, syntax: Syntax, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> tuple[list[Message], dict[str, Any]]:
    """Put a request as a plan has it."""
    calls = syntax.calls or GENERIC_CALLS
    given, told = dict(arguments), []
    tools, documents = given.get("tools"), given.get("documents")
    if tools and plan.tools == "told":
        told.append(told_tools(calls, tools))
        given["tools"] = None
    elif tools and plan.tools != "kept":
        given["tools"] = [filled_tool(_described_tool(one) if plan.tools == "described" else one) for one in tools]
    if documents and plan.documents == "told":
        told.append(told_documents(documents))
        given["documents"] = None
    elif documents and plan.documents == "titled":
        given["documents"] = [
            {**one, "text": _joined(str(one.get("title") or ""), str(one.get("text") or ""))} for one in documents
        ]
    if plan.unlisted and not given.get("tools"):
        given["tools"] = []
    turns = _with_calls([dict(message) for message in messages], plan.calls, calls, syntax.string_arguments)
    if plan.results == "user":
        turns = _with_results_of_users(turns)
    turns = _with_system(turns, told, plan.system)
    if plan.turns != "kept":
        turns = _merged(turns)
    if plan.turns == "begun":
        at = sum(1 for _ in itertools.takewhile(lambda message: message["role"] == "system", turns))
        if at == len(turns) or turns[at]["role"] != "user":
            turns.insert(at, {"role": "user", "content": ""})
    return [as_parts(message) if message["role"] in plan.parted else message for message in turns], given


# -- finding a plan ----------------------------------------------------------------------------------------------------


class _Copy:
    """A copy of a request, with a word of ours in the place of each text.

    Attributes:
        messages, arguments: the copy.
        words: that a prompt must have, each with what it stands for.
        counts: how often it must have those that are said more than once.
        cut: arguments of calls that are no JSON, which should stand in the prompt as they are.
    """

    def __init__(self, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]) -> None:
        self.words: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.cut: list[str] = []
        self._names: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        self.arguments = dict(arguments)
        if arguments.get("tools"):
            self.arguments["tools"] = [self._tool(tool) for tool in arguments["tools"]]
        if arguments.get("documents"):
            self.arguments["documents"] = [
                {key: self._value("documents", value) for key, value in document.items()}
                for document in arguments["documents"]
            ]
        self.messages = [self._message(message) for message in messages]

    def _word(self, what: str) -> str:
        word = f"{FACT[:-1]}{len(self.words)}{FACT[-1]}"
        self.words[word] = what
        return word

    def _text(self, what: str, text: Any) -> Any:
        return self._word(what) if isinstance(text, str) and text.strip() else text

    def _name(self, what: str, name: str) -> str:
        if name not in self._names:
            self._names[name] = self._word(what)
        word = self._names[name]
        self.counts[word] = self.counts.get(word, 0) + 1
        return word

    def _message(self, message: Mapping[str, Any]) -> Message:
        role = message["role"]
        what = "results of tools" if role == "tool" else f"text of the {role}"
        copy: Message = {"role": role, "content": self._text(what, message["content"])}
        copy |= {key: THOUGHT for key in ("reasoning_content", "thinking", "reasoning") if message.get(key)}
        if message.get("tool_calls"):
            copy["tool_calls"] = [self._call(call) for call in message["tool_calls"]]
        if message.get("tool_call_id") is not None:
            copy["tool_call_id"] = self._id(str(message["tool_call_id"]))
        if isinstance(message.get("name"), str):
            copy["name"] = SPEAKER
        return copy

    def _call(self, call: Mapping[str, Any]) -> Message:
        function, what = call["function"], "calls of tools"
        name = self._name(what, function["name"])
        if isinstance(function["arguments"], str):
            arguments: Any = f'{{"{self._word(what)}": "{self._word(what)}'
            self.cut.append(arguments)
        else:
            arguments = self._value(what, function["arguments"])
        copy: Message = {"type": "function", "function": {"name": name, "arguments": arguments}}
        return {**copy, "id": self._id(str(call["id"]))} if call.get("id") is not None else copy

    def _id(self, given: str) -> str:
        """Return an id that templates take as they take the given one."""
        for name, word in self._names.items():
            if f".{name}:" in given:
                return given.replace(name, word)
        number = len(self._ids)
        same = f"{number:09}" if re.fullmatch("[a-zA-Z0-9]{9}", given) else f"call_{number}"
        return self._ids.setdefault(given, same)

    def _value(self, what: str, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(what, value)
        if isinstance(value, Mapping):
            return {self._text(what, key): self._value(what, inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._value(what, inner) for inner in value]
        return value

    def _tool(self, tool: Mapping[str, Any]) -> Message:
        function = tool["function"]
        copy = {
            "name": self._name("tools", function["name"]),
            "description": self._text("tools", function.get("description")),
            "parameters": self._schema(function.get("parameters") or {}),
        }
        return {**tool, "function": {**function, **copy}}

    def _schema(self, schema: Any) -> Any:
        """Copy a schema with words for names, descriptions and choices."""
        if isinstance(schema, (list, tuple)):
            return [self._schema(inner) for inner in schema]
        if not isinstance(schema, Mapping):
            return schema
        copy: Message = {}
        names: dict[str, str] = {}
        for key, inner in schema.items():
            if key == "properties" and isinstance(inner, Mapping):
                names = {name: self._word("tools") for name in inner}
                copy[key] = {names[name]: self._schema(one) for name, one in inner.items()}
            elif key == "description":
                copy[key] = self._text("tools", inner)
            elif key == "enum" and isinstance(inner, (list, tuple)):
                copy[key] = [self._text("tools", one) for one in inner]
            elif key in ("required", "default", "examples", "const"):
                copy[key] = inner
            else:
                copy[key] = self._schema(inner)
        if isinstance(copy.get("required"), (list, tuple)):
            copy["required"] = [names.get(name, name) for name in copy["required"]]
        return copy


class _Search:
    """Finds the plan that changes least, of those by which a template writes all of a copy's words."""

    def __init__(self, template: ChatTemplate, syntax: Syntax, copy: _Copy) -> None:
        self._template = template
        self._syntax = syntax
        self._copy = copy
        self._error: TemplateError | None = None

    def plan(self) -> Plan:
        """Return the plan.

        Raises:
            TemplateError: if there is none.
        """
        first = Plan()
        if self._syntax.calls is None and self._copy.arguments.get("tools"):
            # What the template might write of tools and calls is not what the model is asked for.
            first = replace(first, tools="told", calls=Calls(as_text=True), results="user")
        missing = self.missing(first)
        if not missing:
            return first
        error = self._error
        parted = [frozenset(roles) for roles in ((), ("user", "assistant"), ("user",), ("assistant",))]
        plans = [replace(_PLAINEST, parted=roles, unlisted=way) for way in (False, True) for roles in parted]
        found = next((plan for plan in plans if not self.missing(plan)), None)
        if found is None:
            what = ", ".join(dict.fromkeys(self.missing(_PLAINEST) or missing))
            raise error or TemplateError(f"the chat template leaves out what messages say: {what}")
        until = time.thread_time() + _MAX_SECONDS
        for lesser in (self._tools, self._documents, self._calls, self._system, self._turns):
            in_time = itertools.takewhile(lambda _: time.thread_time() < until, lesser(found, first))
            found = next((plan for plan in in_time if not self.missing(plan)), found)
        return found

    def warn(self, plan: Plan) -> None:
        """Say so if the template does not write who speaks."""
        messages, arguments = put(plan, self._syntax, self._copy.messages, self._copy.arguments)
        if any(message["role"] != "tool" and message.get("name") == SPEAKER for message in messages):
            text = self._template.render(messages, **arguments)
            _warn(self._template, "names of who speaks; say them in the text", [SPEAKER], text)

    def missing(self, plan: Plan) -> list[str]:
        """Return what a template leaves out under a plan; all of it if it refuses that."""
        messages, arguments = put(plan, self._syntax, self._copy.messages, self._copy.arguments)
        try:
            text = self._template.render(messages, **arguments).lower()
        except TemplateError as error:
            self._error = error
            return list(self._copy.words.values()) or ["all of it"]
        self._error = None
        counts = self._copy.counts
        missing = [what for word, what in self._copy.words.items() if text.count(word) < counts.get(word, 1)]
        if plan.calls.cut == "text" and not plan.calls.as_text:
            missing += ["calls of tools" for cut in self._copy.cut if cut not in text]
        if plan.parted and re.search(r"""(['"])type\1:\s*['"]text""", text):
            missing.append("texts")  # which are shown as lists
        if plan.calls.empty is None and "none" in text and "none" not in self._template.source.lower():
            missing.append("calls of tools")
        return missing

    def _tools(self, found: Plan, first: Plan) -> Iterator[Plan]:
        if first.tools == "kept":
            for way in ("kept", "filled", "described"):
                yield replace(found, tools=way, unlisted=found.unlisted and not self._copy.arguments.get("tools"))

    def _documents(self, found: Plan, first: Plan) -> Iterator[Plan]:
        yield from (replace(found, documents=way) for way in ("kept", "titled"))

    def _calls(self, found: Plan, first: Plan) -> Iterator[Plan]:
        ways = [] if first.calls.as_text else list(self._ways())
        if self._syntax.calls is not None:
            ways.append(Calls(as_text=True))
        for calls in ways:
            yield replace(found, calls=calls, results="kept")
            yield replace(found, calls=calls, results="kept", parted=found.parted | {"tool"})

    def _ways(self) -> Iterator[Calls]:
        calling = [message for message in self._copy.messages if "tool_calls" in message]
        both = (False, True)
        for one, apart, ids, empty, cut in itertools.product(
            both if any(len(message["tool_calls"]) > 1 for message in calling) else (False,),
            both if any(message["content"] for message in calling) else (False,),
            ("kept", "functions", "nine"),
            ("", None, _ABSENT) if any(not message["content"] for message in calling) else ("",),
            ("text", "read") if self._copy.cut else ("text",),
        ):
            yield Calls(one=one, apart=apart, ids=ids, empty=empty, cut=cut)  # type: ignore[arg-type]

    def _system(self, found: Plan, first: Plan) -> Iterator[Plan]:
        for way in ("kept", "first"):
            yield replace(found, system=way)
            yield replace(found, system=way, parted=found.parted | {"system"})

    def _turns(self, found: Plan, first: Plan) -> Iterator[Plan]:
        yield from (replace(found, turns=way) for way in ("kept", "merged"))


# -- putting it --------------------------------------------------------------------------------------------------------


def _joined(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)


def _completed(messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Give calls ids, and results the ids and names of their calls, whose order they take: few templates write both."""
    complete: list[Message] = []
    open_calls: dict[str, str] = {}
    places: dict[str, int] = {}
    for message in messages:
        new = dict(message)
        if new.get("tool_calls"):
            numbered = enumerate(new["tool_calls"], len(places))
            new["tool_calls"] = [{"id": f"call_{number}", **call} for number, call in numbered]
            open_calls = {str(call["id"]): call["function"]["name"] for call in new["tool_calls"]}
            places |= {call_id: len(places) + at for at, call_id in enumerate(open_calls)}
        if new["role"] != "tool":
            complete.append(new)
            continue
        call_id = str(new.get("tool_call_id", next(iter(open_calls), "")))
        if call_id in open_calls:
            new = {"name": open_calls.pop(call_id), **new, "tool_call_id": call_id}
        at = len(complete)
        while at and complete[at - 1]["role"] == "tool" and _place(complete[at - 1], places) > _place(new, places):
            at -= 1
        complete.insert(at, new)
    return complete


def _place(result: Message, places: Mapping[str, int]) -> int:
    return places.get(str(result.get("tool_call_id")), len(places))


def _with_calls(messages: list[Message], way: Calls, syntax: CallSyntax, as_json: bool) -> list[Message]:
    new: list[Message] = []
    number = 0
    ids: dict[str, str] = {}
    for message in messages:
        calls = message.get("tool_calls")
        if not calls:
            given_id = message.get("tool_call_id")
            new.append({**message, "tool_call_id": ids[given_id]} if given_id in ids else message)
            continue
        rest = {key: value for key, value in message.items() if key != "tool_calls"}
        if way.as_text:
            text = written_calls(syntax, calls)
            new.append({**rest, "content": f"{rest['content']}\n{text}" if rest["content"] else text})
            continue
        given = [_call(call, way, as_json, ids, number + index) for index, call in enumerate(calls)]
        number += len(calls)
        if rest["content"] and way.apart:
            new.append(rest)
            rest = {"role": rest["role"], "content": ""}
        for some in [[call] for call in given] if way.one else [given]:
            made = {**rest, "tool_calls": some}
            if not made["content"]:
                made["content"] = way.empty
            if way.empty == _ABSENT and made["content"] == _ABSENT:
                del made["content"]
            new.append(made)
            rest = {"role": rest["role"], "content": ""}
    return _beside_results(new) if way.one else new


def _call(call: Mapping[str, Any], way: Calls, as_json: bool, ids: dict[str, str], number: int) -> Message:
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    if isinstance(arguments, str):
        arguments = arguments if way.cut == "text" else read_cut(arguments)
    if as_json and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    new = {**call, "function": {**call["function"], "arguments": arguments}}
    if way.ids != "kept":
        given = str(call.get("id", f"call_{number}"))
        digest = hashlib.sha256(given.encode()).hexdigest()[:9]
        ids[given] = new["id"] = f"functions.{name}:{number}" if way.ids == "functions" else digest
    return new


def _beside_results(messages: list[Message]) -> list[Message]:
    """Put each result behind the message that calls for it."""
    places = {str(call.get("id")): message for message in messages for call in message.get("tool_calls", ())}
    results: dict[int, list[Message]] = {}
    rest = []
    for message in messages:
        called = places.get(str(message.get("tool_call_id"))) if message["role"] == "tool" else None
        if called is None:
            rest.append(message)
        else:
            results.setdefault(id(called), []).append(message)
    return [one for message in rest for one in (message, *results.get(id(message), ()))]


def _with_results_of_users(messages: list[Message]) -> list[Message]:
    """Make one message of a user's of results in a row."""
    new: list[Message] = []
    for is_result, group in itertools.groupby(messages, lambda message: message["role"] == "tool"):
        if is_result:
            new.append({"role": "user", "content": "\n".join(told_result(message["content"]) for message in group)})
        else:
            new.extend(group)
    return new


def _with_system(messages: list[Message], told: list[str], way: str) -> list[Message]:
    """Put what is told into the system's message, and that where the template takes it."""
    if told:
        begins = messages[0]["role"] == "system"
        said = messages[0]["content"] if begins else ""
        messages = [{"role": "system", "content": _joined(said, *told)}, *messages[begins:]]
    if way == "kept":
        return messages
    if way == "first":
        said = _joined(*(message["content"] for message in messages if message["role"] == "system"))
        rest = [message for message in messages if message["role"] != "system"]
        return [{"role": "system", "content": said}, *rest]
    new: list[Message] = []
    for message in messages:
        if message["role"] == "user" and new and new[-1]["role"] == "system":
            message = {**message, "content": _joined(new.pop()["content"], message["content"])}
        elif message["role"] == "system" and new and new[-1]["role"] == "system":
            message = {"role": "system", "content": _joined(new.pop()["content"], message["content"])}
        new.append(message)
    return [{**message, "role": "user"} if message["role"] == "system" else message for message in new]


def _merged(messages: list[Message]) -> list[Message]:
    """Make one message of several of a role in a row, but for results, and calls, which stand alone."""
    new: list[Message] = []
    for message in messages:
        last = new[-1] if new else message
        is_next = message is not last and last["role"] == message["role"] != "tool"
        if is_next and "tool_calls" not in last and "tool_calls" not in message:
            message = {**new.pop(), **message, "content": _joined(last["content"], message["content"])}
        new.append(message)
    return new


def _described_tool(tool: Mapping[str, Any]) -> Message:
    """Put a tool's parameters into its description, too."""
    function = tool["function"]
    listed = f"Parameters: {json.dumps(function.get('parameters') or {}, ensure_ascii=False)}"
    return {**tool, "function": {**function, "description": _joined(function.get("description") or "", listed)}}
