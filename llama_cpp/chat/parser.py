"""Text -> message: reads what a model writes, as it comes, into reasoning, content and tool calls."""

from __future__ import annotations

import functools
import json
import re
import secrets
import string
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

from .literals import LiteralReader, read_value
from .parameters import is_of, kinds_of
from .probe import CALL_ID, INDEX, KEY
from .syntax import GENERIC_CALLS, HARMONY_CALLS, CallSyntax, Syntax

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
    syntax: Syntax, text: str, *, tools: Tools | None = None, partial: bool = False, cut: bool = False
) -> dict[str, Any]:
    """Read a message.

    Args:
        syntax: of the model that wrote it.
        text: what it wrote after the generation prompt; the end-of-turn marker may be there or not.
        tools: that it was offered, whose schemas tell texts from numbers where the syntax does not. Where there were
            none, [], nothing is a call; None is not known.
        partial: the text may go on: what could still become something else is left out.
        cut: it would have gone on, so that the beginning of a call is not content.

    Returns:
        OpenAI's message: role, content (None beside calls alone), reasoning_content and tool_calls where there are any.
    """
    parser = StreamParser(syntax, tools)
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
    """

    def __init__(self, syntax: Syntax, tools: Tools | None = None) -> None:
        self._syntax = syntax
        self._calls: CallSyntax | None = syntax.calls or (GENERIC_CALLS if tools else None)
        if tools is not None and not tools:
            self._calls = None
        self._tools = None if tools is None else {_function(tool)["name"]: _function(tool) for tool in tools}
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
        calls, syntax = self._calls, self._syntax
        if syntax.continues and not syntax.thinks_already:
            said = True
        else:
            reasoned = yield from self._reasoning()
            said = yield from self._begin_content(reasoned)
        trigger = calls.trigger if calls else ""
        marks = _Marks([trigger, syntax.content_end, *syntax.end])
        while True:
            mark = yield from self._until(marks, "content", lstrip=not said, keep=trigger)
            if mark == trigger:
                certain = self._final
                said = not (yield from self._section())
                if said and self._cut and not certain:
                    self._text = ""
                elif said:  # it speaks of calls
                    end = self._text.index(mark) + len(mark)
                    self._say("content", self._text[:end])
                    self._text = self._text[end:]
            elif mark is None or mark in syntax.end:
                if mark != syntax.content_end or not (yield from self._section()):
                    break
                said = False
            else:
                said = yield from self._begin_content(True)
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
        trigger = self._calls.trigger if self._calls else ""
        # A call ends reasoning that was not closed.
        marks = _Marks([stop, trigger])
        yield from self._until(marks, "reasoning_content", lstrip=not self._syntax.continues, keep=trigger)
        return True

    def _begin_content(self, trimmed: bool) -> Reading[bool]:
        """Skip what stands before content, and tell whether the space that comes next belongs to it."""
        start = self._syntax.content_start
        if trimmed or start:
            yield from self._skip_space()
        if self._calls and not self._calls.trigger and (yield from self._section()):
            return False
        found = bool(start) and (yield from self._take(start))
        return not trimmed or (found and not start.isspace())

    # -- pieces of text ------------------------------------------------------------------------------------------------

    def _until(self, marks: _Marks, kind: str, *, lstrip: bool, keep: str = "") -> Reading[str | None]:
        """Give text up to the first mark, and return that; None if the text ends before.

        Space before a mark is not given: it is the template's, or the model's imitation of it. The mark is taken from
        the text, or kept there, with the space.
        """
        while True:
            if lstrip:
                self._text = self._text.lstrip()
            end, mark = marks.find(self._text, self._final)
            text = self._text[:end]
            if mark is None and self._final:
                self._say(kind, text.removesuffix(self._syntax.content_tail) if kind == "content" else text.rstrip())
                self._text = ""
                return None
            body = text.rstrip()
            if mark in self._syntax.end and kind == "content":
                body = text.removesuffix(self._syntax.content_tail)
            elif mark is None and end - len(body) > _LONGEST_SPACE:
                body = text
            self._say(kind, body)
            lstrip = lstrip and not body
            if mark is not None:
                self._text = self._text[len(body) if mark == keep else end + len(mark) :]
                return mark
            self._text = self._text[len(body) :]
            yield

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
        calls = self._calls
        if calls is None or not (yield from self._one_of_calls(calls, calls.section_start)):
            return False
        while True:
            yield from self._take(calls.suffix)
            if calls.section_end.strip() and (yield from self._take(calls.section_end)):
                return True
            if calls.separator.strip():
                yield from self._take(calls.separator)
            certain = self._final
            if (yield from self._one_of_calls(calls)) or (yield from self._one_of_calls(calls, calls.section_start)):
                continue
            rest = "".join(self._text.split())
            parts = (calls.suffix, calls.section_end, calls.section_start + calls.prefix, calls.prefix)
            begun = any("".join(part.split()).startswith(rest) for part in parts)
            if self._final and (begun or (self._cut and not certain)):
                self._text = ""  # it was cut off
            return True

    def _one_of_calls(self, calls: CallSyntax, before: str = "") -> Reading[bool]:
        """Read a call, and tell whether it was one; what is none stays where it is."""
        trial = _Trial(self)
        read = {
            "json": self._json_call,
            "named_json": self._named_call,
            "parameters": self._call_of_parameters,
            "python": self._python_calls,
            "bare": self._bare_call,
        }[calls.kind]
        found, call_id = yield from trial.take(before + calls.prefix)
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

    def _json_call(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        head = yield from trial.head(calls)
        pairs = dict(_PAIR.findall(head[0])) if head else {}
        written = pairs.get(calls.name_key) if calls.name_key else head and head["name"]
        if head is None or written is None:
            return (yield from self._whole_json_call(trial, calls, call_id))
        name = _unquoted(written)
        if not name or (not calls.trigger and not self._knows(name)):
            return False
        trial.at = head.end()
        self._open(trial, name, _unquoted(pairs.get(calls.id_key, "")) or call_id)
        yield from self._json_arguments()
        # The rest of the object, or of both where one is in the other.
        scanner = _JsonScanner(depth=_STRING.sub("", head[0]).count("{"))
        while (end := scanner.end(self._text)) is None and not self._final:
            self._text = ""
            yield
        self._text = self._text[end:] if end is not None else ""
        return True

    def _whole_json_call(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        """Read a call whose keys are in an order of their own."""
        if self._text[trial.at : trial.at + 1] != "{" or not calls.trigger:
            return False
        scanner, scanned = _JsonScanner(), trial.at
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
        if not isinstance(flat.get(calls.name_key), str):
            return False
        arguments = flat.get(calls.arguments_key) or {}
        trial.at = end
        self._open(trial, flat[calls.name_key], str(value.get(calls.id_key) or call_id))
        self._add(arguments if isinstance(arguments, str) else _json_of(arguments))
        return True

    def _named_call(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        name = yield from trial.name()
        if not name or (not calls.trigger and not self._knows(name)):
            return False
        found, behind_name = yield from trial.take(calls.after_name)
        if not found or (yield from trial.peek()) not in ("{", '"'):
            return False
        if calls.name_is_id:
            call_id, name = name, re.sub(r":\d+\Z", "", name.removeprefix("functions."))
        self._open(trial, name, call_id or behind_name)
        yield from self._json_arguments()
        return True

    def _json_arguments(self) -> Reading[None]:
        """Give a JSON object as it comes; one that is written as a text is read first."""
        yield from self._skip_space()
        scanner = _JsonScanner()
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
        if not name or not found:
            return False
        self._open(trial, name, call_id or behind_name)
        schema = (self._tools or {}).get(name, {}).get("parameters") or {}
        keys = _KeySyntax(calls)
        before = "{"
        closing = calls.suffix.strip() or calls.section_end
        while not (yield from _Trial(self).take(closing))[0]:
            key, kind = yield from self._key(keys)
            if key is None:
                break
            self._add(f"{before}{json.dumps(key, ensure_ascii=False)}: ")
            if kind is None:
                kind = kinds_of(schema.get("properties", {}).get(key), schema)
            if not (yield from self._parameter(keys, key, kind)):
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
        while (found := keys.behind.search(self._text, trial.at)) is None:
            if self._final or len(self._text) > _LONGEST_HEAD:
                return None, None
            yield
        if found.end() > _LONGEST_HEAD:  # as if it had come in pieces
            return None, None
        key = self._text[trial.at : found.start()]
        self._text = self._text[found.end() :]
        return key, keys.kinds(found)

    def _parameter(self, keys: _KeySyntax, key: str, kinds: frozenset[str]) -> Reading[bool]:
        """Read a value that stands by itself, and tell whether it came to its end."""
        suffix = self._calls.value_suffix.replace(KEY, key) if self._calls else ""
        while not self._text and not self._final:
            yield
        if keys.breaks_line:
            self._text = self._text.removeprefix("\n")
        cdata = yield from self._take("<![CDATA[")
        marks = _Marks([f"]]>{suffix.strip()}"] if cdata else [suffix.rstrip(), suffix.strip()])
        is_text = kinds == {"string"} or cdata
        if is_text:
            self._add('"')
        pieces: list[str] = []
        while True:
            end, mark = marks.find(self._text, self._final)
            if is_text:
                self._add(json.dumps(self._text[:end], ensure_ascii=False)[1:-1])
            else:
                pieces.append(self._text[:end])
            self._text = self._text[end + len(mark or "") :]
            if mark is not None:
                self._add('"' if is_text else _json_of(_value("".join(pieces), kinds)))
                return True
            if self._final:
                return False
            yield

    def _python_calls(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        """Read all calls of a section at once."""
        closing = calls.section_end.strip()
        text = yield from trial.until([closing] if re.search(r"\w", closing) else list(self._syntax.end))
        try:
            found = LiteralReader(text.strip().removesuffix("]")).calls()
        except (ValueError, RecursionError):
            return False
        if not found or (not calls.trigger and not all(self._knows(name) for name, _ in found)):
            return False
        for name, arguments in found:
            self._open(trial, name, "")
            self._add(_json_of(arguments))
        return True

    def _bare_call(self, trial: _Trial, calls: CallSyntax, call_id: str) -> Reading[bool]:
        name = yield from trial.name()
        text = yield from trial.until([calls.suffix.strip()])
        try:
            arguments = read_value(text)
        except (ValueError, RecursionError):
            return False
        self._open(trial, name, call_id)
        self._add(_json_of(arguments))
        return True

    # -- gpt-oss and its like ------------------------------------------------------------------------------------------

    def _harmony(self) -> Reading[None]:
        """Read messages: a header up to <|message|>, and a body up to the next marker."""
        marks = _Marks(["<|start|>", "<|channel|>", *self._syntax.end])
        if self._syntax.continues:
            yield from self._until(marks, "content", lstrip=False)
        while True:
            header = yield from _Trial(self).until(["<|message|>"], consume=True)
            if not self._text and self._final:
                return
            recipient = re.search(r"to=(?:functions\.)?([\w.-]+)", header)
            name = recipient[1] if recipient else ""
            if name and name not in ("self", "user", "all") and self._calls is not None:
                if self._syntax.calls is HARMONY_CALLS:
                    self._open(_Trial(self), name, "")
                    yield from self._json_arguments()
                else:
                    yield from self._section()
                yield from _Trial(self).until(marks.texts, consume=True)
            else:
                reasoning = name == "self" or "<|channel|>analysis" in header
                yield from self._until(marks, "reasoning_content" if reasoning else "content", lstrip=reasoning)


class _Trial:
    """Reads what may be a call, and takes nothing from the text before that is certain.

    Attributes:
        at: how far it has read.
    """

    def __init__(self, parser: StreamParser) -> None:
        self._parser = parser
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
            ended = "}" in text and _JsonScanner().end(text) is not None
            if found or parser._final or ended or len(text) > _LONGEST_HEAD:
                return found if found and found.end() - self.at <= _LONGEST_HEAD else None
            yield

    def until(self, texts: Sequence[str], consume: bool = False) -> Reading[str]:
        """Collect text up to the first of some, or the end."""
        parser, marks = self._parser, _Marks(texts)
        begin = scanned = self.at
        while True:
            end, mark = marks.find(parser._text[scanned:], parser._final)
            self.at = scanned + end
            if mark is not None or parser._final:
                break
            scanned = self.at
            yield
        text = parser._text[begin : self.at]
        if consume:
            parser._text = parser._text[self.at + len(mark or "") :]
        return text


class _Marks:
    """Finds the first of some texts, in text that comes in pieces.

    Args:
        texts: to look for; "" is none.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = sorted({text for text in texts if text}, key=len, reverse=True)
        self._whole = re.compile("|".join(map(re.escape, self.texts)) or r"(?!)")
        begun = ("".join(f"(?:{re.escape(c)}" for c in text[:-1]) + ")?" * len(text[:-1]) for text in self.texts)
        self._begun = re.compile(f"(?:{'|'.join(begun)})\\Z")
        self._longest = max(map(len, self.texts), default=0)

    def find(self, text: str, final: bool) -> tuple[int, str | None]:
        """Return where the first mark is, and which; without one, how far the text is certain to have none."""
        found = self._whole.search(text)
        if found is None:
            if final:
                return len(text), None
            begun = self._begun.search(text, max(0, len(text) - self._longest))
            return (begun.start() if begun else len(text)), None
        rest = text[found.start() :]
        if not final and any(len(mark) > len(rest) and mark.startswith(rest) for mark in self.texts):
            return found.start(), None  # this can become a longer one
        return found.start(), found[0]


class _JsonScanner:
    """Finds where a JSON value ends, in text that comes in pieces.

    Args:
        depth: how many objects have been opened before the text.
    """

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._in_text = False
        self._escaped = False

    def end(self, text: str) -> int | None:
        """Return the index behind the value, None if it goes on after this piece."""
        for index, character in enumerate(text):
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


class _KeySyntax:
    """What stands around the keys of arguments that stand by themselves."""

    def __init__(self, calls: CallSyntax) -> None:
        self.before = calls.key_prefix
        self.separator = calls.parameter_separator
        self.breaks_line = calls.key_suffix.endswith("\n")
        self._text_kind = ""
        suffix = calls.key_suffix.strip().replace("><", "> <")  # models break lines between tags
        pattern = _loose(suffix).pattern
        attribute = re.fullmatch(r'(.*")(\w+)(".*?)', suffix, re.DOTALL) if calls.number_key_suffix else None
        if attribute is not None:  # it says what the value is
            head, self._text_kind, tail = attribute.groups()
            pattern = rf"{_loose(head).pattern}(?P<kind>\w+){_loose(tail).pattern}"
        self.behind = re.compile(pattern)

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


@functools.lru_cache
def _loose(text: str) -> re.Pattern[str]:
    """Make a pattern of a text, with any space where it has space, and before it."""
    begin, end = r"\s*", r"\s*" if text[-1:].isspace() else ""
    return re.compile(begin + r"\s*".join(map(re.escape, text.split())) + end)


def _match(mark: str, text: str, at: int = 0) -> int | None:
    """Return where a text ends that comes next, -1 if another does, None if it may still come."""
    found = _loose(mark).match(text, at)
    if found is not None:
        return found.end()
    seen = "".join(text[at:].lstrip()[: 2 * len(mark)].split())
    if not seen and len(text) - at > _LONGEST_SPACE:
        return -1
    return None if "".join(mark.split()).startswith(seen) else -1


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
