"""Grammars of turns: of tool calls, with the tools' names and valid arguments, and of answers that follow thinking."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..errors import UnsupportedSchemaError, ValidationError
from .parameters import forms, kinds_of
from .probe import ARGUMENTS, CALL_ID, INDEX, KEY, NAME
from .syntax import HARMONY_CALLS, CallSyntax, Syntax

logger = logging.getLogger("llama_cpp")

Tool = Mapping[str, Any]
Schema = Mapping[str, Any]

Compile = Callable[[Schema, bool], str]
"""Makes of a JSON Schema, and whether it must be enforced exactly, a grammar in llguidance's Lark.

It raises UnsupportedSchemaError for what can't be enforced.
"""

_HOLES = {CALL_ID: "/[a-zA-Z0-9]{9}/", INDEX: "/[0-9]{1,3}/"}
WHITESPACE = r"[ \n\t]{0,8}"  # without bounds, a weak model writes nothing else
_JSON_TOKEN = re.compile(r'"[^"]*"|[{}\[\]:,"]|\s+|[^"{}\[\]:,\s]+')
_JSON_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")


def call_grammar(
    syntax: Syntax,
    tools: Sequence[Tool],
    *,
    parallel: bool,
    triggered: bool,
    special: Mapping[str, int],
    compiled: Compile,
    begun: str = "",
    or_text: bool = False,
    thinks: bool = False,
    answer: str | None = None,
) -> str:
    """Write the grammar of calls, as llguidance's Lark.

    Args:
        syntax: how the model writes calls.
        tools: that it may call. Those with "strict" are held to all that their schemas say, the others to what can be
            enforced.
        parallel: whether there may be several, where the syntax has a way to write them.
        triggered: the text up to the end of `Syntax.trigger` stands there already.
        special: texts of the vocabulary's control tokens, which a grammar names by their ids.
        compiled: makes grammars of schemas.
        begun: a text that the first call has begun with already, where the syntax has no trigger.
        or_text: the turn may begin with content, or be content alone, where calls begin with the tool's name.
        thinks: there is thinking before them.
        answer: grammar of what may stand in their place, in the same notation.

    Raises:
        UnsupportedSchemaError: naming the tool, if its schema can't be enforced, or the syntax can't say what it says.
        ValidationError: likewise, if it is no schema.
    """
    calls = syntax.calls
    assert calls is not None
    writer = _CallWriter(calls, special, compiled)
    if or_text:
        return writer.turn(syntax, tools, more=parallel)
    head = (calls.section_start + calls.prefix).lstrip()
    if triggered:
        head = head.partition(syntax.trigger)[2]
    elif syntax.harmony and calls is not HARMONY_CALLS:
        head = f" to={NAME}<|message|>{head}"
    before, before_answer = writer.thinking(syntax)
    turn = writer.calls(head, tools, begun, more=parallel and calls.parallel)
    if answer is not None:
        if syntax.continues and not syntax.thinks_already:
            before_answer = ""  # the answer has begun
        turn = f"{turn} | {before_answer} {writer.nested(answer)}"
    return writer.grammar(f"{before if thinks else ''} ({turn})")


def answer_grammar(syntax: Syntax, answer: str, special: Mapping[str, int]) -> str:
    """Write the grammar of an answer that the model thinks before, as llguidance's Lark.

    Args:
        syntax: how the model marks its thinking.
        answer: the grammar of the answer alone.
        special: as `call_grammar` has it.
    """
    writer = _Writer(special)
    before, before_answer = writer.thinking(syntax)
    return writer.grammar(f"{before} {before_answer} {writer.nested(answer)}")


def answer_mark(syntax: Syntax, thinks: bool) -> str:
    """Return the text behind which an answer stands, but for space before it; "" if that is where the turn begins."""
    _, end, after = _marks(syntax)
    return after or (end if thinks else "")


def _marks(syntax: Syntax) -> tuple[str, str, str]:
    """Return what thinking begins with, if the prompt has not begun it, what ends it, and what begins the answer."""
    if syntax.calls is HARMONY_CALLS:
        return "<|channel|>analysis<|message|>", "<|end|>", "<|channel|>final<|message|>"
    if syntax.harmony:
        return " to=self<|message|>", "<|eom|>", " to=user<|message|>"
    start = "" if syntax.thinks_already else syntax.think_start
    return start, syntax.think_end.strip(), syntax.content_start.strip()


class _Writer:
    """Writes rules; control tokens are named by their ids."""

    def __init__(self, special: Mapping[str, int]) -> None:
        self._special = special
        texts = sorted([*special, *_HOLES], key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, texts)))
        self.rules: list[str] = []

    def rule(self, body: str, attributes: str = "") -> str:
        """Add a rule and return its name."""
        name = f"r{len(self.rules)}"
        self.rules.append(f"{name}{attributes}: {body}")
        return name

    def nested(self, grammar: str) -> str:
        """Add a rule that is a whole grammar, and return its name."""
        return self.rule(f"%lark {{\n{grammar}\n}}")

    def grammar(self, start: str) -> str:
        """Return the whole: what it starts with, and the rules."""
        return "\n".join([f"start: {start}", *self.rules])

    def thinking(self, syntax: Syntax) -> tuple[str, str]:
        """Write any thinking up to its end, and what stands between that and an answer."""
        start, end, after = _marks(syntax)
        if syntax.harmony:
            return f"{self.text(start)} {self.text_until(end)} {self.text('<|start|>assistant')}", self.text(after)
        space = f"/{WHITESPACE}/"
        before_answer = f"{self.text(after)} {space}" if after else ""
        if not end:
            return "", before_answer
        begin = f"{space} {self.text(start)}" if start else ""
        return f"{begin} {self.text_until(end)} {space}", before_answer

    def text(self, text: str) -> str:
        """Write a text: its control tokens by id, ids and numbers of calls as what they may be."""
        parts: list[str] = []
        position = 0
        for found in self._pattern.finditer(text):
            parts += [_quoted(text[position : found.start()]), _HOLES.get(found[0]) or f"<[{self._special[found[0]]}]>"]
            position = found.end()
        parts.append(_quoted(text[position:]))
        return " ".join(part for part in parts if part)

    def text_until(self, suffix: str) -> str:
        """Write any text, up to one; a control token in that ends the text by itself."""
        plain, rest = self.until_control_token(suffix)
        if rest:
            return f"/(?s:.*){_pattern_of(plain)}/ {self.text(rest)}"
        stop = suffix.rstrip()
        name = self.rule("/(?s:.*)/", f"[suffix={json.dumps(stop, ensure_ascii=False)}]")
        return f"{name} {self.text(suffix[len(stop) :])}"

    def until_control_token(self, text: str) -> tuple[str, str]:
        """Cut a text where the first control token in it begins."""
        found = re.search("|".join(map(re.escape, self._special)) or r"(?!)", text)
        at = len(text) if found is None else found.start()
        return text[:at], text[at:]


class _CallWriter(_Writer):
    """Writes the rules of calls, with rules of their own for the arguments of each tool."""

    def __init__(self, calls: CallSyntax, special: Mapping[str, int], compiled: Compile) -> None:
        super().__init__(special)
        self._calls = calls
        self._compiled = compiled
        self._strict = False

    def turn(self, syntax: Syntax, tools: Sequence[Tool], *, more: bool) -> str:
        """Return the grammar of a whole turn: of calls, or of content that calls may follow."""
        names = [tool["function"]["name"] + self._calls.after_name for tool in tools]
        arguments = [self._arguments(tool) for tool in tools]
        calls = [f"{self.text(name)} {rule}" for name, rule in zip(names, arguments, strict=True)]
        mark = _pattern_of(syntax.content_end)
        heads = "|".join(map(_pattern_of, names))
        behind = [
            f"{self.rule(f'/(?s:.*){mark}{_pattern_of(name)}/', '[lazy]')} {rule} more"
            for name, rule in zip(names, arguments, strict=True)
        ]
        lines = [
            f"content: TEXT | {' | '.join(behind)}",
            f"TEXT: /(?s:.*)/ & ~(/(?s:.*){mark}(?:{heads})(?s:.*)/)",
            f"call: {' | '.join(calls)}",
            f"more: ({self.text(self._calls.separator)} call)*" if more else 'more: ""',
        ]
        start = "content" if syntax.continues else f"{self.text(syntax.content_start)} content | call more"
        return "\n".join([f"start: {start}", *lines, *self.rules])

    def calls(self, head: str, tools: Sequence[Tool], begun: str, *, more: bool) -> str:
        """Write a first call, and more of them."""
        calls = self._calls
        arguments = [self._arguments(tool) for tool in tools]
        pairs = list(zip(tools, arguments, strict=True))
        first = " | ".join(
            f"{self.text(head.replace(NAME, name := tool['function']['name']))} {self._call(name, rule, begun)}"
            for tool, rule in pairs
        )
        suffix, again = self.text(calls.suffix), self.text(calls.separator + calls.prefix)
        end = self.text(calls.section_end.rstrip())
        repeated = ""
        if more:
            call = self.rule(" | ".join(self._call(tool["function"]["name"], rule) for tool, rule in pairs))
            repeated = f"({again} {call} {suffix})*"
        return f"({first}) {suffix} {repeated} {end}"

    def _call(self, name: str, arguments: str, begun: str = "") -> str:
        calls = self._calls
        if calls.kind == "json":
            before, _, after = calls.body.partition(ARGUMENTS)
            before = before.replace(json.dumps(NAME), json.dumps(name, ensure_ascii=False))
            # In JSON's own tokens, so that an answer may begin as a call does.
            parts = _JSON_TOKEN.findall(before.removeprefix(begun))
            return f"{' '.join(map(self.text, parts))} {arguments} {self.text(after)}"
        if calls is HARMONY_CALLS:
            kinds = (" <|constrain|>json", "<|channel|>commentary json", "<|channel|>commentary <|constrain|>json")
            written = " | ".join(self.text(kind + "<|message|>") for kind in kinds)
            return f"{self.text(name)} ({written}) {arguments}"
        if calls.kind == "named_json":
            name = f"functions.{name}:{INDEX}" if calls.name_is_id else name
            return f"{self.text(name + calls.after_name)} {arguments}"
        before, after = {"python": ("(", ")"), "bare": ("{", "}"), "parameters": (calls.after_name, "")}[calls.kind]
        return f"{self.text(name + before)} {arguments} {self.text(after)}"

    # -- arguments -----------------------------------------------------------------------------------------------------

    def _arguments(self, tool: Tool) -> str:
        """Write the rule for a tool's arguments; those that its schema does not name are left out."""
        function = tool["function"]
        self._strict = function.get("strict") is True
        schema = {"type": "object", "additionalProperties": False, **(function.get("parameters") or {})}
        try:
            return self._json(schema) if self._calls.kind in ("json", "named_json") else self._each(schema)
        except UnsupportedSchemaError as error:
            raise UnsupportedSchemaError(
                f"calls of the tool {function['name']!r} can't be held to its parameters: {error}",
                keyword=error.keyword,
                pointer=error.pointer,
            ) from None
        except ValidationError as error:
            raise ValidationError(f"the parameters of the tool {function['name']!r}: {error}") from None

    def _each(self, schema: Schema) -> str:
        """Write rules for arguments one by one, in their order, with separators between those that are there."""
        for keyword in ("$ref", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "minProperties"):
            if keyword in schema and (self._strict or keyword in ("$ref", "allOf")):
                raise UnsupportedSchemaError(
                    f"this model writes each argument by itself, and can't follow {keyword!r} at their top; give plain "
                    "properties",
                    keyword=keyword,
                    pointer=f"/{keyword}",
                )
        calls, required = self._calls, schema.get("required", ())
        separator = {"python": ", ", "bare": ","}.get(calls.kind, calls.parameter_separator)
        properties = list(schema.get("properties", {}).items())
        if calls.kind == "bare":
            properties.sort()  # as Gemma's template does
        after = after_first = '""'
        for key, inner in reversed(properties):
            argument = self._argument(key, inner, schema)
            absent, absent_first = ("", "") if key in required else (f" | {after}", f" | {after_first}")
            after_first = self.rule(f"{argument} {after}{absent_first}")
            after = self.rule(f"{self.text(separator)} {argument} {after}{absent}")
        return after_first

    def _argument(self, key: str, schema: Schema, root: Schema) -> str:
        calls = self._calls
        if calls.kind == "python":
            return f"{self.text(f'{key}=')} ({self._value(schema, root)})"
        if calls.kind == "bare":
            return f"{self.text(f'{key}:')} ({self._value(schema, root)})"
        if "oneOf" in schema:
            self._compiled(_part(schema, root), self._strict)  # which refuses forms that several can have
        return f"({' | '.join(self._form(key, form, root) for form in forms(schema, root))})"

    def _form(self, key: str, form: Schema, root: Schema) -> str:
        """Write an argument of one of the forms that it may have: a text as it stands, other values as JSON."""
        calls = self._calls
        suffix = calls.value_suffix.replace(KEY, key)
        head = self.text(calls.key_prefix + key + calls.key_suffix)
        if all(isinstance(one, str) for one in form.get("enum", [None])):
            return f"{head} ({' | '.join(self.text(one) for one in form['enum'])}) {self.text(suffix)}"
        if not form or form.get("type") == "string":
            form = self._without_pattern(key, form)
            bounded = bool({"minLength", "maxLength"} & form.keys())
            return f"{head} {self._bounded_text(form, suffix) if bounded else self.text_until(suffix)}"
        if calls.number_key_suffix:
            head = self.text(calls.key_prefix + key + _said(calls.number_key_suffix, kinds_of(form, root)))
        return f"{head} ({self._value(form, root)}) {self.text(suffix)}"

    def _value(self, schema: Schema, root: Schema) -> str:
        """Write a literal: JSON's, and what else Python, or the model, has for texts and truth."""
        value, quote = self._json(_part(schema, root)), self._calls.quote
        if schema.get("type") == "boolean":
            return f'{value} | "True" | "False"'
        if quote in ("", '"'):
            return value
        texts = schema.get("enum", ())
        if texts and all(isinstance(one, str) and not set(one) & set("'\"\\\n") for one in texts):
            return " | ".join([value, *(self.text(f"{quote}{one}{quote}") for one in texts)])
        if not _is_text(schema):
            return value
        if len(quote) > 1:
            return f"{value} | {self.text(quote)} {self.text_until(quote)}"
        return f"{value} | /{quote}(?:[^{quote}\\\\\\n]|\\\\[\\\\'\"nrt])*{quote}/"

    def _without_pattern(self, key: str, schema: Schema) -> Schema:
        """Leave the pattern of a text without quotes out, if the tool is not strict."""
        if "pattern" not in schema:
            return schema
        message = f"this model writes texts without quotes, and can't be held to the pattern of {key!r}"
        if self._strict:
            pointer = f"/properties/{key}/pattern"
            raise UnsupportedSchemaError(f"{message}; leave it out", keyword="pattern", pointer=pointer)
        logger.warning("%s; with strict=True, this is an error", message)
        return {name: value for name, value in schema.items() if name != "pattern"}

    def _bounded_text(self, schema: Schema, suffix: str) -> str:
        """Write a text as it stands, of a certain length, and what ends it, whose beginning it can't hold."""
        first = _pattern_of((suffix.strip() or "<")[0])
        plain, rest = self.until_control_token(suffix)
        length = f"{{{schema.get('minLength', 0)},{schema.get('maxLength', '')}}}"
        return f"{self.rule(f'/[^{first}]{length}{_pattern_of(plain)}/')} {self.text(rest)}"

    def _json(self, schema: Schema) -> str:
        return self.nested(self._compiled(schema, self._strict))


def _pattern_of(text: str) -> str:
    """Write a text as a regular expression."""
    return re.sub(r"([\\.+*?()|\[\]{}^$/])", r"\\\1", text).replace("\n", "\\n")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if text else ""


def _is_text(schema: Schema) -> bool:
    """Tell whether any text fits a schema; one that must match a pattern is held to it in JSON alone."""
    return "string" in _kinds(schema) and not {"enum", "const", "pattern", "minLength", "maxLength"} & schema.keys()


def _kinds(schema: Schema) -> list[str]:
    kinds = schema.get("type", ())
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _said(key_suffix: str, kinds: Collection[str]) -> str:
    """Put the type of a value in the place of the one that the probe had, where a syntax names types."""
    found = re.search(r'"(\w+)"', key_suffix)
    if found is None or found[1] not in _JSON_TYPES or len(kinds) != 1:
        return key_suffix
    (kind,) = kinds
    return key_suffix.replace(found[0], f'"{"number" if kind == "integer" else kind}"')


def _part(schema: Schema, root: Schema) -> Schema:
    """Return a part of a schema, with the definitions that it may refer to."""
    return {**schema, **{key: root[key] for key in ("$defs", "definitions") if key in root}}
