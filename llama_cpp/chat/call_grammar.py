"""Grammars of turns: of tool calls, with the tools' names and valid arguments, and of answers that follow thinking."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from ..errors import UnsupportedSchemaError, ValidationError
from .heads import begins_with
from .parameters import APPLICATORS, forms, kinds_of, objects_of
from .probe import ARGUMENTS, CALL_ID, INDEX, KEY, NAME, left_over
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
_BORDER = re.compile(r"(?<=[>\]])(?=[<\[{])")  # where the parser takes any white space
_JSON_TYPES = ("string", "integer", "number", "boolean", "object", "array", "null")


def call_grammar(
    syntax: Syntax,
    tools: Sequence[Tool],
    *,
    parallel: bool,
    triggered: bool,
    special: Mapping[str, int],
    compiled: Compile,
    thinks: bool = False,
    answer: str | None = None,
) -> str:
    """Write the grammar of calls, as llguidance's Lark.

    Args:
        syntax: how the model writes calls.
        tools: that it may call. Those with "strict" are held to all that their schemas say, the others to what can be
            enforced.
        parallel: whether there may be several, where the syntax has a way to write them.
        triggered: a call has begun in free text, up to the name that stands at the beginning of this grammar, or by the
            token that does; as the model chose to write it, it may go on with white space of its own.
        special: texts of the vocabulary's control tokens, which a grammar names by their ids.
        compiled: makes grammars of schemas.
        thinks: there is thinking before them.
        answer: grammar of what may stand in their place, in the same notation.

    Raises:
        UnsupportedSchemaError: naming the tool, if its schema can't be enforced, or the syntax can't say what it says.
        ValidationError: likewise, if it is no schema.
    """
    calls = syntax.calls
    assert calls is not None
    writer = _CallWriter(calls, special, compiled, loose=triggered)
    head = (calls.section_start + calls.prefix).lstrip()
    if triggered:
        heads = [("", calls.body.partition(NAME)[0]), *((text, "") for text, _ in begins_with(calls, special))]
    elif syntax.harmony and calls is not HARMONY_CALLS:
        heads = [(f" to={NAME}<|message|>{head}", "")]
    else:
        heads = [(head, "")]
    before, before_answer = writer.thinking(syntax)
    turn = writer.calls(heads, tools, more=parallel and calls.parallel)
    if answer is not None:
        if syntax.continues and not syntax.thinks_already:
            before_answer = ""  # the answer has begun
        turn = f"{turn} | {before_answer} {writer.nested(answer)}"
    source = writer.grammar(f"{before if thinks else ''} ({turn})")
    assert not left_over(source, json.dumps(tools, ensure_ascii=False) + (answer or "")), source
    return source


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

    def __init__(self, special: Mapping[str, int], *, loose: bool = False) -> None:
        self._special = special
        self._loose = loose
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
        space = [f"ws: /{WHITESPACE}/"] if self._loose else []
        return "\n".join([f"start: {start}", *space, *self.rules])

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
            between = self._plain(text[position : found.start()])
            parts += [*between, _HOLES.get(found[0]) or f"<[{self._special[found[0]]}]>"]
            if self._loose and found[0] not in _HOLES:
                parts.append("ws")
            position = found.end()
        return " ".join([*parts, *self._plain(text[position:])])

    def strictly(self, text: str) -> str:
        """Write a text as it is, its white space too."""
        loose, self._loose = self._loose, False
        written = self.text(text)
        self._loose = loose
        return written

    def _plain(self, text: str) -> Iterator[str]:
        """Write a text that has no control tokens in it."""
        if not self._loose:
            return iter([_quoted(text)] if text else [])
        chunks = re.split(r"(\s+)", _BORDER.sub("\n", text))
        return ("ws" if chunk.isspace() else _quoted(chunk) for chunk in chunks if chunk)

    def text_until(self, suffix: str, length: str = "*") -> str:
        """Write any text of some length, up to one that it can't hold; a control token in that ends the text too.

        Args:
            suffix: what ends the text; for the white space around it see `edge`.
            length: of the text, as regular expressions have it.
        """
        plain, rest = self.until_control_token(suffix)
        stop = suffix.strip()
        end = plain if rest else suffix.rstrip()
        if self._loose and length == "*":
            end = end.lstrip()
        text = f"/(?s:.{length}){_pattern_of(end)}/"
        if rest:
            text += f" & ~/(?s:.*){_pattern_of(stop)}(?s:.*)/"
        elif stop:
            text += f" & ~/(?s:.*){_pattern_of(stop)}(?s:.+)/"
        name = f"T{len(self.rules)}"
        self.rules.append(f"{name}: {text}")
        return f"{name} {self.text(rest or suffix[len(suffix.rstrip()) :])}"

    def edge(self, text: str) -> str:
        """Write the one line break beside a value that the parser takes for the form's, and models leave out."""
        return '("\\n")?' if "\n" in text else ""

    def until_control_token(self, text: str) -> tuple[str, str]:
        """Cut a text where the first control token in it begins."""
        found = re.search("|".join(map(re.escape, self._special)) or r"(?!)", text)
        at = len(text) if found is None else found.start()
        return text[:at], text[at:]


class _CallWriter(_Writer):
    """Writes the rules of calls, with rules of their own for the arguments of each tool."""

    def __init__(self, calls: CallSyntax, special: Mapping[str, int], compiled: Compile, *, loose: bool) -> None:
        super().__init__(special, loose=loose)
        self._calls = calls
        self._compiled = compiled
        self._strict = False

    def calls(self, heads: Sequence[tuple[str, str]], tools: Sequence[Tool], *, more: bool) -> str:
        """Write a first call, and more of them.

        Args:
            heads: what stands before the first one, and what it has begun with already.
            tools: that may be called.
            more: there may be others behind it.
        """
        calls = self._calls
        pairs = [(tool["function"]["name"], self._arguments(tool)) for tool in tools]
        first = " | ".join(
            f"{self.text(head.replace(NAME, name))} {self._call(name, rule, begun)}"
            for head, begun in heads
            for name, rule in pairs
        )
        suffix, again = self.text(calls.suffix), self.text(calls.separator + calls.prefix)
        end = self.text(calls.section_end.rstrip())
        repeated = ""
        if more:
            call = self.rule(" | ".join(self._call(name, rule) for name, rule in pairs))
            repeated = f"({again} {call} {suffix})*"
        if not self._loose:
            return f"({first}) {suffix} {repeated} {end}"
        # As a model that counts otherwise at the beginning does at the end.
        ends = dict.fromkeys([end, self.text(calls.section_end.strip().replace("calls", "call"))])
        return f"({first}) {suffix} {repeated} ws ({' | '.join(ends)}) ws"

    def _call(self, name: str, arguments: str, begun: str = "") -> str:
        calls = self._calls
        if calls.kind == "json":
            written = json.dumps(name, ensure_ascii=False)[1:-1]
            body = calls.body.removeprefix(begun)
            before, _, after = body.partition(ARGUMENTS)
            name_left = f'{NAME}"' if begun else ""  # which is no token of JSON's

            def tokens(part: str) -> list[str]:
                """Cut a text into JSON's tokens, so that an answer may begin as a call does."""
                return [one for one in _JSON_TOKEN.findall(part) if not (self._loose and one.isspace())]

            space = " ws " if self._loose else " "
            parts = [
                space.join(self.strictly(token.replace(NAME, written)) for token in tokens(part))
                for part in (before.removeprefix(name_left), after)
            ]
            left = self.strictly(name_left.replace(NAME, written))
            return f"{left}{space}{parts[0]}{space}{arguments}{space}{parts[1]}"
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
        """Write the rule for a tool's arguments; those that its schema does not name are left out.

        One that can't be held to its schema is offered without, unless it is strict.
        """
        function = tool["function"]
        self._strict = function.get("strict") is True
        schema = function.get("parameters") or {}
        what = f"the tool {function['name']!r}"
        try:
            return self._held(schema)
        except UnsupportedSchemaError as error:
            message = f"calls of {what} can't be held to its parameters: {error}"
            if self._strict:
                raise UnsupportedSchemaError(message, keyword=error.keyword, pointer=error.pointer) from None
        except ValidationError as error:
            message = f"the parameters of {what}: {error}"
            if self._strict:
                raise ValidationError(message) from None
        logger.warning("%s; any arguments are taken, and with strict=True, this is an error", message)
        return self._any(schema)

    def _held(self, schema: Schema) -> str:
        """Write the arguments that a schema allows."""
        objects = objects_of(schema)
        if self._calls.kind in ("json", "named_json"):
            return self._json(_part({"anyOf": objects} if len(objects) > 1 else objects[0], schema))
        if "oneOf" in schema:
            self._compiled(schema, self._strict)  # which refuses forms that several can have
        return f"({' | '.join(self._each(_part(one, schema)) for one in objects)})"

    def _any(self, schema: Schema) -> str:
        """Write any arguments, of the names that are known where each stands by itself."""
        if self._calls.kind in ("json", "named_json"):
            return self._json({"type": "object"})
        properties = schema.get("properties")
        return self._each({"properties": {key: {} for key in (properties if isinstance(properties, Mapping) else ())}})

    def _each(self, schema: Schema) -> str:
        """Write rules for arguments one by one, in their order, with separators between those that are there."""
        for keyword in (*APPLICATORS, "not", "patternProperties", "minProperties", "dependentRequired"):
            if keyword in schema:
                message = f"this model writes each argument by itself, and can't follow {keyword!r} at their top"
                if self._strict or not schema.get("properties"):
                    raise UnsupportedSchemaError(
                        f"{message}; give plain properties", keyword=keyword, pointer=f"/{keyword}"
                    )
                logger.warning("%s; with strict=True, this is an error", message)
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
            return f"{self.strictly(f'{key}=')} ({self._value(schema, root)})"
        if calls.kind == "bare":
            return f"{self.strictly(f'{key}:')} ({self._value(schema, root)})"
        if isinstance(schema, Mapping) and "oneOf" in schema:
            self._compiled(_part(schema, root), self._strict)  # which refuses forms that several can have
        return f"({' | '.join(self._form(key, form, root) for form in forms(schema, root))})"

    def _form(self, key: str, form: Schema, root: Schema) -> str:
        """Write an argument of one of the forms that it may have: a text as it stands, other values as JSON."""
        calls = self._calls
        suffix = calls.value_suffix.replace(KEY, key)
        head, behind = f"{self.text(calls.key_prefix)} {self.strictly(key)}", calls.key_suffix
        texts = form.get("enum", [None])
        is_text = all(isinstance(one, str) for one in texts)
        if is_text or not form or form.get("type") == "string":
            form = self._without_pattern(key, form)
            bounded = bool({"minLength", "maxLength"} & form.keys())
            if self._loose and (is_text or not bounded):
                begin, end = f"{head} {self.text(behind.rstrip())} {self.edge(behind)}", self.edge(suffix[:1])
            else:
                begin, end = f"{head} {self.strictly(behind)}", ""
            if is_text:
                choice = " | ".join(map(self.strictly, texts))
                return f"{begin} ({choice}) {end} {self._closing(suffix) if self._loose else self.text(suffix)}"
            length = f"{{{form.get('minLength', 0)},{form.get('maxLength', '')}}}" if bounded else "*"
            return f"{begin} {self.text_until(suffix, length)}"
        if calls.number_key_suffix:
            behind = _said(calls.number_key_suffix, kinds_of(form, root))
        closing = f"ws {self._closing(suffix)}" if self._loose else self.text(suffix)
        return f"{head} {self.text(behind)} ({self._value(form, root)}) {closing}"

    def _closing(self, suffix: str) -> str:
        """Write what ends a value, as the parser looks for it."""
        return f"{self.strictly(suffix.strip())} ws"

    def _value(self, schema: Schema, root: Schema) -> str:
        """Write a literal: JSON's, and what else Python, or the model, has for texts and truth."""
        value, quote = self._json(_part(schema, root)), self._calls.quote
        if schema.get("type") == "boolean":
            return f'{value} | "True" | "False"'
        if quote in ("", '"'):
            return value
        texts = schema.get("enum", ())
        if texts and all(isinstance(one, str) and not set(one) & set("'\"\\\n") for one in texts):
            return " | ".join([value, *(self.strictly(f"{quote}{one}{quote}") for one in texts)])
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
    """Return a part of a schema, with the definitions that it may refer to, in the words of the same draft."""
    return {**schema, **{key: root[key] for key in ("$schema", "$defs", "definitions") if key in root}}
