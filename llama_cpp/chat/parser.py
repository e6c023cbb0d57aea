"""Text -> message: reads what a model writes, as it comes, into reasoning, content and tool calls."""

from __future__ import annotations

import functools
import json
import re
import secrets
import string
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from .heads import BEFORE_JSON, forms_of, heads, loose, marks_of, openings, plain
from .literals import LiteralReader, read_value
from .parameters import is_of, keys_of, kinds_of_arguments
from .probe import CALL_ID, INDEX, KEY
from .scanning import JsonScanner, Marks
from .syntax import GENERIC_CALLS, HARMONY_CALLS, MESSAGE_ENDS, CallSyntax, Syntax

Delta = dict[str, Any]
Tools = Sequence[Mapping[str, Any]]

_T = TypeVar("_T")
Reading = Generator[None, None, _T]
"""A part of the parser: yields when it needs more text, and returns what it has read."""

_NAME = re.compile(r"[\w.:/-]+")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_PAIR = re.compile(rf'"([^"\\]*)"\s*:\s*({_STRING.pattern}|\d+)')
_ID_CHARACTERS = string.ascii_letters + string.digits
_LONGEST_HEAD = 1024  # of a JSON call, in characters, up to its arguments
_LONGEST_SPACE = 64  # that is held back, since the end of the turn, or a call, may follow


def parse(
    syntax: Syntax,
    text: str,
    *,
    tools: Tools | None = None,
    partial: bool = False,
    cut: bool = False,
    in_form: bool = False,
) -> dict[str, Any]:
    """Read a message.

    Args:
        syntax: of the model that wrote it.
        text: what it wrote after the generation prompt; the end-of-turn marker may be there or not.
        tools: that it was offered, whose schemas tell texts from numbers where the syntax does not. Where there were
            none, [], nothing is a call; None is not known.
        partial: the text may go on: what could still become something else is left out.
        cut: it would have gone on, so that the beginning of a call is not content.
        in_form: as for StreamParser.

    Returns:
        OpenAI's message: role, content (None beside calls alone), reasoning_content and tool_calls where there are any.
    """
    parser = StreamParser(syntax, tools, in_form=in_form)
    deltas = parser.feed(text)
    if not partial:
        deltas += parser.finish(cut)
    return message_of(deltas)


def message_of(deltas: Sequence[Delta]) -> dict[str, Any]:
    """Put deltas together."""
    texts: dict[str, list[str]] = {"content": [], "reasoning_content": []}
    calls: list[dict[str, Any]] = []
    arguments: list[list[str]] = []
    for delta in deltas:
        for key in texts.keys() & delta:
            texts[key].append(delta[key])
        for call in delta.get("tool_calls", ()):
            if call["index"] == len(calls):
                calls.append({"id": call["id"], "type": "function", "function": {"name": call["function"]["name"]}})
                arguments.append([])
            arguments[call["index"]].append(call["function"]["arguments"])
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts["content"])}
    if texts["reasoning_content"]:
        message["reasoning_content"] = "".join(texts["reasoning_content"])
    if calls:
        for call, pieces in zip(calls, arguments, strict=True):
            call["function"]["arguments"] = "".join(pieces)
        message["content"] = message["content"] or None
        message["tool_calls"] = calls
    return message


def new_call_id() -> str:
    """Return an id for a call, unlike any other; of nine letters and digits, as Mistral's templates demand."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(9))


class StreamParser:
    """Reads a message piece by piece; the pieces that it gives only ever add to each other.

    It is written as one generator that reads the turn from its beginning to its end, and rests where text is missing.

    Args:
        syntax: of the model that writes it.
        tools: that it was offered, as for `parse`.
        in_form: the answer has a form of its own, so that nothing in it is a call unless it begins with one.
    """

    def __init__(self, syntax: Syntax, tools: Tools | None = None, *, in_form: bool = False) -> None:
        self._syntax = syntax
        calls = syntax.calls or (GENERIC_CALLS if tools else None)
        self._calls = None if calls is None or (tools is not None and not tools) else calls
        self._forms = forms_of(self._calls) if self._calls else ()
        self._openings = marks_of(self._calls) if self._calls else ()
        self._tools = None if tools is None else {_function(tool)["name"]: _function(tool) for tool in tools}
        self._in_form = in_form
        self._text = ""  # that is not read yet
        self._final = self._cut = False
        self._deltas: list[Delta] = []
        self._n_calls = 0
        self._run = self._harmony() if syntax.harmony else self._turn()

    def feed(self, text: str) -> list[Delta]:
        """Take more text, and return what is certain of it, in the shape of OpenAI's deltas."""
        self._text += text
        next(self._run, None)
        deltas, self._deltas = self._deltas, []
        return deltas

    def finish(self, cut: bool = False) -> list[Delta]:
        """Return what is left, now that nothing follows; where the text was cut off, no beginning of a call."""
        self._final, self._cut = True, cut
        return self.feed("")

    # -- the turn ------------------------------------------------------------------------------------------------------

    def _turn(self) -> Reading[None]:
        """Read reasoning, content and calls, up to the end of the turn."""
        syntax = self._syntax
        if syntax.continues and not syntax.thinks_already:
            said = True
        else:
            reasoned = yield from self._reasoning()
            said = yield from self._begin_content(reasoned)
        while True:
            anywhere = () if self._in_form else self._openings
            marks = Marks([*anywhere, syntax.content_end, *syntax.end], anywhere)
            mark, spelled = yield from self._until(marks, "content", lstrip=not said, keep=anywhere)
            if mark is None:
                break
            if mark in anywhere:
                certain = self._final
                said = not (yield from self._section())
                if said and self._cut and not certain:
                    self._text = ""
                elif said:  # it speaks of calls
                    self._say_first("content")
            elif mark == syntax.content_end:
                if (yield from self._section()):
                    said = False
                elif mark in syntax.end or (yield from _Trial(self).is_before(*syntax.end)):
                    break
                else:
                    yield from self._skip_space()
                    self._say("content", spelled if self._text else "")
                    said = True
            elif mark in syntax.end:
                break
        while not self._final:
            self._text = ""
            yield

    def _reasoning(self) -> Reading[bool]:
        """Read reasoning, if the turn begins with any, and tell whether it did."""
        start, stop = self._syntax.think_start, self._syntax.think_end
        if not stop:
            return False
        opened = bool(start) and not self._syntax.continues and (yield from self._take(start))
        if not opened and not self._syntax.thinks_already:
            return (yield from self._take(stop))  # the prompt has opened and closed it, and the model closes it again
        marks = Marks([stop, *self._openings], self._openings)
        lstrip = not self._syntax.continues
        while True:
            mark, _ = yield from self._until(marks, "reasoning_content", lstrip=lstrip, keep=self._openings)
            if mark not in self._openings or (yield from self._calls_end_reasoning(stop)):
                return True
            self._say_first("reasoning_content")
            lstrip = False

    def _calls_end_reasoning(self, stop: str) -> Reading[bool]:
        """Read calls with which reasoning ends that was not closed before them, and tell whether there are any.

        What is thought of calls is none: it goes on, or an answer follows.
        """
        certain = re.compile("|".join(filter(None, heads(self._syntax, list(self._tools or ())))) or r"(?!)")
        while len(self._text) < _LONGEST_HEAD and stop not in self._text and not self._final:
            if certain.match(self._text.lstrip()):
                break
            yield
        if self._tools is not None and not certain.match(self._text.lstrip()):
            return False
        while True:
            thought, closed, behind = self._text.partition(stop)
            if self._final or (closed and behind.strip()):
                break
            yield
        if behind.strip() or self._cut:
            return False
        tools = None if self._tools is None else list(self._tools.values())
        inner = StreamParser(replace(self._syntax, thinks_already=False, continues=True), tools)
        message = message_of(inner.feed(thought) + inner.finish())
        if not message.get("tool_calls") or message["content"]:
            return False
        for call in message["tool_calls"]:
            self._open(_Trial(self), call["function"]["name"], call["id"])
            self._add(call["function"]["arguments"])
        self._text = ""
        return True

    def _begin_content(self, trimmed: bool) -> Reading[bool]:
        """Skip what stands before content, and tell whether the space that comes next belongs to it."""
        start = self._syntax.content_start
        if trimmed or start or self._in_form:
            yield from self._skip_space()
        if self._calls and (yield from self._first_section(self._calls)):
            return False
        found = bool(start) and (yield from self._take(start))
        return not trimmed or (found and not start.isspace())

    # -- pieces of text ------------------------------------------------------------------------------------------------

    def _until(
        self, marks: Marks, kind: str, *, lstrip: bool, keep: Sequence[str] = ()
    ) -> Reading[tuple[str | None, str]]:
        """Give text up to the first mark, and return that and how it is spelled; None if the text ends before.

        Space before a mark is not given: it is the template's, or the model's imitation of it. The mark is taken from
        the text, or kept there, with the space.
        """
        ends = self._syntax.end if kind == "content" else ()
        while True:
            if lstrip:
                self._text = self._text.lstrip()
            end, mark, spelled = marks.find(self._text, self._final)
            text = self._text[:end]
            if mark is None and self._final:
                self._say(kind, self._without_tail(text) if kind == "content" else text.rstrip())
                self._text = ""
                return None, ""
            body = text.rstrip()
            if mark in ends:
                body = self._before_end(text, mark)
            elif mark is None and end - len(body) > _LONGEST_SPACE:
                body = text
            self._say(kind, body)
            lstrip = lstrip and not body
            if mark is not None:
                self._text = self._text[len(body) if mark in keep else end + len(spelled) :]
                return mark, spelled
            self._text = self._text[len(body) :]
            yield

    def _before_end(self, text: str, end: str | None) -> str:
        """Return content without the space that the template writes before the end of a turn."""
        tail = self._syntax.content_tail
        lead = "\n" if end and end.startswith("\n") else ""  # which is the end's as much as the tail's
        whole = text + lead
        return whole.removesuffix(tail) if tail and whole.endswith(tail) else text

    def _without_tail(self, text: str) -> str:
        """Return content that nothing follows without the space of the template, and what of an end is there."""
        for end in self._syntax.end:
            if end.endswith("\n") and text.endswith(end.rstrip()):
                return self._before_end(text.removesuffix(end.rstrip()), end)
            if end.startswith("\n") and not text.endswith(
                self._syntax.content_tail
            ):  # a stop text has cut it off there
                return self._before_end(text, end)
        return text.removesuffix(self._syntax.content_tail)

    def _say_first(self, kind: str) -> None:
        """Give one character, since what begins with it is no mark after all."""
        end = len(self._text) - len(self._text.lstrip()) + 1
        self._say(kind, self._text[:end])
        self._text = self._text[end:]

    def _say(self, kind: str, text: str) -> None:
        if text:
            self._deltas.append({kind: text})

    def _skip_space(self) -> Reading[None]:
        self._text = self._text.lstrip()
        while not self._text and not self._final:
            yield
            self._text = self._text.lstrip()

    def _take(self, mark: str) -> Reading[bool]:
        """Skip a text, with more or less space in it and before it, if it comes next."""
        while True:
            end = _match(mark, self._text)
            if end is not None or self._final:
                break
            yield
        if end is None or end < 0:
            return False
        self._text = self._text[end:]
        return True

    # -- tool calls ----------------------------------------------------------------------------------------------------

    def _section(self) -> Reading[bool]:
        """Read calls, and tell whether there was one."""
        for form in self._forms:
            for index, opening in enumerate(openings(form)):
                if (yield from self._one_of_calls(form, opening, slip=index > 0 or form != self._calls)):
                    yield from self._more_calls(form)
                    return True
        return False

    def _first_section(self, calls: CallSyntax) -> Reading[bool]:
        """Read calls with which the answer begins: without a mark where the form has none, or a model forgot it."""
        if (not calls.trigger or self._in_form) and (yield from self._section()):
            return True
        if calls.kind != "json" or not self._tools or self._in_form:
            return False
        for opening in ("", *BEFORE_JSON):
            if (yield from self._one_of_calls(calls, opening, slip=True)):
                if "`" in opening:
                    yield from self._take("```")
                yield from self._more_calls(calls)
                return True
        return False

    def _more_calls(self, calls: CallSyntax) -> Reading[None]:
        """Read what stands behind a call: its end, others, and the end of all."""
        while True:
            yield from self._close(calls.suffix)
            if calls.section_end.strip() and (yield from self._close(calls.section_end)):
                return
            separator = calls.separator.strip() or (";" if calls.kind == "json" else "")
            if separator:
                yield from self._take(separator)
            certain = self._final
            if (yield from self._one_of_calls(calls, calls.prefix)):
                continue
            if calls.section_start and (yield from self._one_of_calls(calls, calls.section_start + calls.prefix)):
                continue
            rest = plain(self._text)
            parts = (calls.suffix, calls.section_end, calls.section_start + calls.prefix, calls.prefix)
            begun = any(plain(part).startswith(rest) for part in parts)
            if self._final and (begun or (self._cut and not certain)):
                self._text = ""  # it was cut off
            return

    def _close(self, text: str) -> Reading[bool]:
        """Skip what ends a call, as far as it is there, and tell whether any of it is."""
        taken = False
        for part in _parts(text):
            taken = (yield from self._take(part)) or taken
        return taken

    def _one_of_calls(self, calls: CallSyntax, opening: str, *, slip: bool = False) -> Reading[bool]:
        """Read a call, and tell whether it was one; what is none stays where it is.

        Args:
            calls: the form to read.
            opening: what stands before the name, or the object.
            slip: it is not what the template has, so that the tool must be one of those that are offered.
        """
        trial = _Trial(self, slip or not calls.trigger)
        read = {
            "json": self._json_call,
            "named_json": self._named_call,
            "parameters": self._call_of_parameters,
            "python": self._python_calls,
            "bare": self._bare_call,
        }[calls.kind]
        found, call_id = yield from trial.take(opening)
        return found and (yield from read(trial, calls, call_id))

    def _open(self, trial: _Trial, name: str, call_id: str) -> None:
        """Give the beginning of a call, which is certain now."""
        self._text = self._text[trial.at :]
        trial.at = 0
        if not call_id or call_id.isdigit():  # a number is not unlike those of earlier turns
            call_id = new_call_id()
        name = name.encode(errors="replace").decode()  # half a surrogate pair is no text
        function = {"name": name, "arguments": ""}
        call = {"index": self._n_calls, "id": call_id, "type": "function", "function": function}
        self._deltas.append({"tool_calls": [call]})
        self._n_calls += 1

    def _add(self, text: str) -> None:
        """Give more of the last call's arguments."""
        if text:
            self._deltas.append({"tool_calls": [{"index": self._n_calls - 1, "function": {"arguments": text}}]})

    def _knows(self, name: str) -> bool:
        return self._tools is None or name in self._tools

    def _parameters(self, name: str) -> Any:
        """Return the schema of a tool's arguments."""
        return (self._tools or {}).get(name, {}).get("parameters")

    def _json_call(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        head = yield from trial.head(calls)
        pairs = dict(_PAIR.findall(head[0])) if head else {}
        written = pairs.get(calls.name_key) if calls.name_key else head and head["name"]
        if head is None or written is None:
            return (yield from self._whole_json_call(trial, calls, call_id))
        name = _unquoted(written)
        if not name or (trial.needs_known and not self._knows(name)):
            return False
        trial.at = head.end()
        self._open(trial, name, _unquoted(pairs.get(calls.id_key, "")) or call_id)
        yield from self._json_arguments()
        # The rest of the object, or of both where one is in the other.
        scanner = JsonScanner(depth=_STRING.sub("", head[0]).count("{"))
        while (end := scanner.end(self._text)) is None and not self._final:
            self._text = ""
            yield
        self._text = self._text[end:] if end is not None else ""
        return True

    def _whole_json_call(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        """Read a call whose keys are in an order of their own."""
        if self._text[trial.at : trial.at + 1] != "{" or trial.needs_known:
            return False
        scanner, scanned = JsonScanner(), trial.at
        while (length := scanner.end(self._text[scanned:])) is None:
            scanned = len(self._text)
            if self._final:
                return False
            yield
        end = scanned + length
        try:
            value = json.loads(self._text[trial.at : end], strict=False)
        except (ValueError, RecursionError):
            return False
        flat = value.get("function") if isinstance(value.get("function"), dict) else value
        if not isinstance(flat.get(calls.name_key), str) or not self._knows(flat[calls.name_key]):
            return False
        arguments = flat.get(calls.arguments_key) or {}
        trial.at = end
        self._open(trial, flat[calls.name_key], str(value.get(calls.id_key) or call_id))
        self._add(arguments if isinstance(arguments, str) else _json_of(arguments))
        return True

    def _named_call(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        name = yield from trial.name()
        if calls.name_is_id:
            call_id, name = name, re.sub(r":\d+\Z", "", name.removeprefix("functions."))
        if not name or (trial.needs_known and not self._knows(name)):
            return False
        found, behind_name = yield from trial.take(calls.after_name)
        if not found or (yield from trial.peek()) not in ("{", '"'):
            return False
        self._open(trial, name, call_id or behind_name)
        yield from self._json_arguments()
        return True

    def _json_arguments(self) -> Reading[None]:
        """Give a JSON object as it comes; one that is written as a text is read first."""
        yield from self._skip_space()
        scanner = JsonScanner()
        quoted = self._text.startswith('"')
        pieces = []
        while True:
            end = scanner.end(self._text)
            piece = self._text if end is None else self._text[:end]
            self._text = self._text[len(piece) :]
            if quoted:
                pieces.append(piece)
            else:
                self._add(piece)
            if end is not None or self._final:
                break
            yield
        if quoted and end is not None:
            self._add(_unquoted("".join(pieces)))

    def _call_of_parameters(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        name = yield from trial.name()
        found, behind_name = yield from trial.take(calls.after_name)
        if not name or not found or (trial.needs_known and not self._knows(name)):
            return False
        closing = _parts(calls.suffix.strip() or calls.section_end)[0]
        if not calls.after_name.strip() and not (yield from trial.is_before(calls.key_prefix, closing)):
            return False
        self._open(trial, name, call_id or behind_name)
        schema = self._parameters(name)
        kinds_of, keys = kinds_of_arguments(schema), _KeySyntax(calls, keys_of(schema))
        before = "{"
        while not (yield from _Trial(self).take(closing))[0]:
            key, kind = yield from self._key(keys)
            if key is None:
                break
            self._add(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
            kind = kinds_of.get(key, frozenset()) if kind is None else kind
            if not (yield from self._parameter(calls.value_suffix.replace(KEY, key), keys.breaks_line, kind)):
                return True
            before = ", "
        self._add("{}" if before == "{" else "}")
        return True

    def _key(self, keys: _KeySyntax) -> Reading[tuple[str | None, frozenset[str] | None]]:
        """Read what stands before a value: its key, and the kinds that it may be of, None if that is not said."""
        trial = _Trial(self)
        if not (yield from trial.take(keys.separator))[0] or not (yield from trial.take(keys.before))[0]:
            trial.at = 0
            if not (yield from trial.take(keys.before))[0]:
                return None, None
        while (found := keys.find(self._text, trial.at, self._final)) is None:
            if self._final or len(self._text) > _LONGEST_HEAD:
                return None, None
            yield
        if found.end() > _LONGEST_HEAD:  # as if it had come in pieces
            return None, None
        key = self._text[trial.at : found.start()]
        self._text = self._text[found.end() :]
        return key, keys.kinds(found)

    def _parameter(self, suffix: str, breaks_line: bool, kinds: frozenset[str]) -> Reading[bool]:
        """Read a value that stands by itself, and tell whether it came to its end."""
        while not self._text and not self._final:
            yield
        if breaks_line:
            self._text = self._text.removeprefix("\n")
        opened = "<![CDATA["
        cdata = yield from self._take(opened)
        ends = [suffix.rstrip(), suffix.strip()]
        marks = Marks([f"]]>{suffix.strip()}", *ends] if cdata else ends)
        is_text = kinds == {"string"} and not cdata
        if is_text:
            self._add('"')
        pieces: list[str] = []
        while True:
            end, mark, _ = marks.find(self._text, self._final)
            if is_text:
                self._add(json.dumps(self._text[:end], ensure_ascii=False)[1:-1])
            else:
                pieces.append(self._text[:end])
            self._text = self._text[end + len(mark or "") :]
            if mark is not None:
                break
            if self._final:
                return False
            yield
        text = "".join(pieces)
        if is_text:
            self._add('"')
        elif cdata and mark.startswith("]]>"):
            self._add(_json_of(text))
        else:
            text = opened + text if cdata else text
            self._add(_json_of(text if kinds == {"string"} else _value(text, kinds)))
        return True

    def _python_calls(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        """Read all calls of a section at once."""
        begin = trial.at
        name = yield from trial.name()
        if not name or (trial.needs_known and not self._knows(name)) or (yield from trial.peek()) != "(":
            return False
        trial.at = begin
        closing = calls.section_end.rpartition("]")[2].strip()
        ends = [closing] if closing else list(self._syntax.end)
        keys = frozenset[str]().union(*(keys_of(tool.get("parameters")) for tool in (self._tools or {}).values()))
        found = yield from trial.read(ends, lambda text: LiteralReader(text.strip().removesuffix("]"), keys).calls())
        if not found or (trial.needs_known and not all(self._knows(name) for name, _ in found)):
            return False
        for name, arguments in found:
            self._open(trial, name, "")
            self._add(_json_of(arguments))
        return True

    def _bare_call(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        name = yield from trial.name()
        if not name or (trial.needs_known and not self._knows(name)) or (yield from trial.peek()) != "{":
            return False
        keys = keys_of(self._parameters(name))
        arguments = yield from trial.read([calls.suffix.strip()], lambda text: read_value(text, keys))
        if arguments is None:
            return False
        self._open(trial, name, call_id)
        self._add(_json_of(arguments))
        return True

    # -- gpt-oss and its like ------------------------------------------------------------------------------------------

    def _harmony(self) -> Reading[None]:
        """Read messages: a header up to <|message|>, and a body up to the next one's header.

        Text without a header is content. A marker ends a body only where the next header, or nothing, follows it.
        """
        turn_ends = self._syntax.turn_ends
        marks = Marks([*(end + "<|start|>" for end in MESSAGE_ENDS), "<|start|>assistant", *_CHANNELS, *turn_ends])
        if self._syntax.continues:
            yield from self._body(marks, turn_ends, "content", lstrip=False)
        kind = ""
        while not (self._final and not self._text.strip()):
            before = self._text
            header = yield from self._header()
            recipient = re.search(r"to=(?:functions\.)?([\w.:/-]+)", header)
            name = recipient[1] if recipient else ""
            if name and name not in ("self", "user", "all") and self._calls is not None:
                if self._syntax.calls is HARMONY_CALLS:
                    self._open(_Trial(self), name, "")
                    yield from self._json_arguments()
                else:
                    yield from self._section()
                yield from _Trial(self).until(marks.texts, consume=turn_ends)
            else:
                reasoning = name == "self" or re.search(r"(?:<\|channel\|>|\A)analysis", header) is not None
                # A message that is the answer stays that: thinking begins in a message of its own.
                reasoning = reasoning and not (kind == "content" and "<|start|>" not in header)
                kind = "reasoning_content" if reasoning else "content"
                yield from self._body(marks, turn_ends, kind, lstrip=reasoning)
            if self._text and self._text == before:
                self._say_first("content")  # what looks like a header, and is none
            elif not self._text and not self._final:
                yield

    def _header(self) -> Reading[str]:
        """Take a message's header from the text, "" if there is none."""
        while True:
            text = self._text.lstrip()
            if _HEADER.match(text):
                end, mark, _ = Marks(["<|message|>"]).find(text, self._final)
                if mark is not None and end < _LONGEST_HEAD:
                    self._text = text[end + len(mark) :]
                    return text[:end]
                if self._final:
                    self._text = "" if self._cut or "to=" in text else _HEADER_WORDS.sub("", text, count=1)
                    return ""
                if len(text) > _LONGEST_HEAD:
                    return ""
            elif self._final or not any(begun.startswith(text) for begun in _HEADERS):
                return ""
            yield

    def _body(self, marks: Marks, turn_ends: Sequence[str], kind: str, *, lstrip: bool) -> Reading[None]:
        """Give a message's text, up to where the next one's header begins."""
        starts = [mark for mark in marks.texts if mark not in turn_ends]
        while True:
            if lstrip:
                self._text = self._text.lstrip()
            end, mark, _ = marks.find(self._text, self._final)
            text = self._text[:end]
            if mark is None and self._final:
                for last in MESSAGE_ENDS:
                    text = text.rstrip().removesuffix(last) if text.rstrip().endswith(last) else text
            body = text.rstrip() if mark in starts or kind != "content" else text
            if mark is None and not self._final and end - len(body) > _LONGEST_SPACE:
                body = text
            self._say(kind, body)
            lstrip = lstrip and not body
            if mark is not None or self._final:
                self._text = "" if mark is None else self._text[end + (len(mark) if mark in turn_ends else 0) :]
                if mark in turn_ends:
                    while not self._final:
                        self._text = ""
                        yield
                    self._text = ""
                return
            self._text = self._text[len(body) :]
            yield


_CHANNELS = ("<|channel|>analysis", "<|channel|>commentary", "<|channel|>final")
_HEADERS = (
    *(f"{end}<|start|>" for end in MESSAGE_ENDS),
    *("<|start|>", "<|channel|>", "<|message|>", "to=", "analysis<|", "commentary<|", "final<|"),
    *(f"{kind} to=" for kind in ("analysis", "commentary")),
)
_HEADER = re.compile("|".join(map(re.escape, _HEADERS)))
_HEADER_WORDS = re.compile(
    r"(?:<\|(?:end|eom)\|>)?(?:<\|start\|>(?:assistant)?)?(?:<\|channel\|>(?:analysis|commentary|final)?)?\s*"
)


class _Trial:
    """Reads what may be a call, and takes nothing from the text before that is certain.

    Args:
        parser: whose text it reads.
        needs_known: it is a call only if its tool was offered.

    Attributes:
        at: how far it has read.
    """

    def __init__(self, parser: StreamParser, needs_known: bool = False) -> None:
        self._parser = parser
        self.needs_known = needs_known
        self.at = 0

    def take(self, mark: str) -> Reading[tuple[bool, str]]:
        """Skip a text if it comes next, with any space for its space and any id for its CALL_ID; return that too."""
        parser, found_id = self._parser, ""
        for index, part in enumerate(re.split(f"{CALL_ID}|{INDEX}", mark)):
            if index:
                found_id = yield from self.name()
            while (end := _match(part, parser._text, self.at)) is None and not parser._final:
                yield
            if end is None or end < 0:
                return False, ""
            self.at = end
        return True, found_id

    def is_before(self, *marks: str) -> Reading[bool]:
        """Tell whether one of some texts comes next, without going there."""
        at = self.at
        for mark in marks:
            found, _ = yield from self.take(mark)
            self.at = at
            if found:
                return True
        return False

    def peek(self) -> Reading[str]:
        """Skip space, and return the next character, "" at the end."""
        parser = self._parser
        while not (text := parser._text[self.at :].lstrip()) and not parser._final:
            if len(parser._text) - self.at > _LONGEST_SPACE:
                return ""
            yield
        self.at = len(parser._text) - len(text)
        return text[:1]

    def name(self) -> Reading[str]:
        """Read a name or an id, "" if there is none."""
        parser = self._parser
        yield from self.peek()
        while True:
            found = _NAME.match(parser._text, self.at)
            end = found.end() if found else self.at
            if parser._final or end < len(parser._text):
                name = parser._text[self.at : end]
                self.at = end
                return name
            yield

    def head(self, calls: CallSyntax) -> Reading[re.Match[str] | None]:
        """Find the beginning of a JSON call up to its arguments, if it is one in the usual order."""
        parser, pattern = self._parser, _json_head(calls)
        if (yield from self.peek()) != "{":
            return None
        while True:
            found = pattern.match(parser._text, self.at)
            text = parser._text[self.at :]
            key = re.match(r'\{\s*(?:"([^"]*)"|[^"\s])', text)
            known = (calls.name_key, calls.id_key, calls.arguments_key, "type", "function")
            if key and calls.name_key and key[1] not in known:
                return None
            name = re.search(rf'"{re.escape(calls.name_key)}"\s*:\s*"([^"\\]*)"', text) if self.needs_known else None
            if name and calls.name_key and not parser._knows(name[1]):
                return None
            ended = "}" in text and JsonScanner().end(text) is not None
            if found or parser._final or ended or len(text) > _LONGEST_HEAD:
                return found if found and found.end() - self.at <= _LONGEST_HEAD else None
            yield

    def until(self, texts: Sequence[str], consume: Sequence[str] = ()) -> Reading[str]:
        """Collect text up to the first of some, or the end, and take it away, with those to be consumed."""
        parser, marks = self._parser, Marks(texts)
        begin = scanned = self.at
        while True:
            end, mark, _ = marks.find(parser._text[scanned:], parser._final)
            self.at = scanned + end
            if mark is not None or parser._final:
                break
            scanned = self.at
            yield
        text = parser._text[begin : self.at]
        parser._text = parser._text[self.at + (len(mark) if mark and mark in consume else 0) :]
        return text

    def read(self, ends: Sequence[str], reader: Callable[[str], _T]) -> Reading[_T | None]:
        """Read what stands before one of some texts, or the end; None if it can't be read.

        A text that is a value may hold what ends it, so that the next end is tried then.
        """
        parser, marks = self._parser, Marks(ends)
        begin = scanned = self.at
        while True:
            end, mark, _ = marks.find(parser._text[scanned:], parser._final)
            self.at = scanned + end
            if mark is not None or parser._final:
                try:
                    return reader(parser._text[begin : self.at])
                except (ValueError, RecursionError):
                    if mark is None:
                        return None
                scanned = self.at + len(mark)
            else:
                scanned = self.at
                yield


class _KeySyntax:
    """What stands around the keys of arguments that stand by themselves.

    Args:
        calls: the form of calls.
        known: names of arguments, which may hold what stands behind a key.
    """

    def __init__(self, calls: CallSyntax, known: frozenset[str]) -> None:
        self.before = calls.key_prefix
        self.separator = calls.parameter_separator
        self.breaks_line = calls.key_suffix.endswith("\n")
        self._known = sorted(known, key=len, reverse=True)
        self._text_kind = ""
        suffix = calls.key_suffix.strip().replace("><", "> <")  # models break lines between tags
        pattern = loose(suffix)
        attribute = re.fullmatch(r'(.*")(\w+)(".*?)', suffix, re.DOTALL) if calls.number_key_suffix else None
        if attribute is not None:  # it says what the value is
            head, self._text_kind, tail = attribute.groups()
            pattern = rf"{loose(head)}(?P<kind>\w+){loose(tail)}"
        self._behind = re.compile(pattern)

    def find(self, text: str, at: int, final: bool) -> re.Match[str] | None:
        """Find what stands behind the key that begins there; None if it is not certain yet."""
        rest = text[at:]
        if not final and any(len(key) >= len(rest) and key.startswith(rest) for key in self._known):
            return None
        for key in self._known:
            if rest.startswith(key) and (found := self._behind.match(text, at + len(key))):
                return found
            if rest.startswith(key) and not final and len(rest) - len(key) < 2 * len(self._behind.pattern):
                return self._behind.search(text, at + len(key))
        return self._behind.search(text, at)

    def kinds(self, found: re.Match[str]) -> frozenset[str] | None:
        """Return what JSON type a value is of, as far as its attribute says."""
        if not self._text_kind:
            return None
        return frozenset({"string"} if found["kind"] == self._text_kind else {"other"})


@functools.lru_cache
def _json_head(calls: CallSyntax) -> re.Pattern[str]:
    text = _STRING.pattern
    if not calls.name_key:
        return re.compile(rf"\{{\s*(?P<name>{text})\s*:\s*(?=\{{)")
    key = re.escape(calls.arguments_key)
    scalar = rf"(?:{text}|-?\d[\d.]*|true|false|null)\s*,"
    return re.compile(rf'\{{\s*(?:"(?!{key}")[^"\\]*"\s*:\s*(?:\{{(?=\s*")|{scalar})\s*)*"{key}"\s*:\s*(?=["{{])')


@functools.lru_cache(1024)
def _loose(text: str) -> re.Pattern[str]:
    return re.compile(loose(text))


@functools.lru_cache(1024)
def _parts(text: str) -> tuple[str, ...]:
    """Cut a text at white space and between tags, where models put more or less of it."""
    return tuple(re.sub(r"(?<=[>\]])(?=<)", " ", text).split())


def _match(mark: str, text: str, at: int = 0) -> int | None:
    """Return where a text ends that comes next, -1 if another does, None if it may still come."""
    found = _loose(mark).match(text, at)
    if found is not None:
        return found.end()
    seen = plain(text[at:].lstrip()[: 2 * len(mark)])
    if not seen and len(text) - at > _LONGEST_SPACE:
        return -1
    return None if plain(mark).startswith(seen) else -1


def _unquoted(text: str) -> str:
    """Read a JSON string, or what is written in the place of one."""
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text.strip('"')


def _json_of(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() or text.isprintable() else json.dumps(value)


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function = tool.get("function", tool)
    return function if isinstance(function, Mapping) else tool


def _value(text: str, kinds: frozenset[str]) -> Any:
    """Read a value that is no text for certain."""
    try:
        value = read_value(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, str) or ("string" in kinds and not is_of(value, kinds)):
        return text
    return value
