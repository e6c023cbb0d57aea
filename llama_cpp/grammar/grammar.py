"""LlamaGrammar: what a generation is held to."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import check_c_text, check_int, check_list, check_text, check_texts
from ..errors import ValidationError
from ..json_types import schema_of_type
from .checks import Violation, checks_of
from .jsonschema import NOTHING, Report, check_instance, compile_schema, resources_text, schema_of, text_of
from .matching import byte_tokenizer, error_of, new_matcher
from .trigger import Trigger

if TYPE_CHECKING:
    from llguidance import LLMatcher


# llama.cpp's chat parsers write it around a group. It changes nothing in what is found, but is tried from each place.
_ANYTHING_AROUND = re.compile(r"^\[\\s\\S\]\*\?(?=\((?!\?))|(?<=\))\[\\s\\S\]\*$")

# Tokens that a Lark grammar names by their ids: those of a model, and not of the bytes that texts are checked with.
_TOKEN_IDS = re.compile(r"<\[[^\]<>]*\]>")


@dataclass(frozen=True)
class Explanation:
    """Why a text is in a grammar's language, or is not.

    Attributes:
        accepted: whether it is.
        offset: characters until the place where it leaves the language; the length of the text if it only ends early.
        reason: what is wrong there, in words.
    """

    accepted: bool
    offset: int
    reason: str

    def __bool__(self) -> bool:
        return self.accepted


@dataclass(frozen=True)
class LlamaGrammar:
    """A language that generated text must be in; made by one of the `from_*` methods.

    It is a value: it can be compared, hashed, pickled, and used for any number of calls, threads and models.

    Attributes:
        gbnf: source in llama.cpp's own notation, None for other grammars.
        root: its first rule.
        llguidance: source in llguidance's notation, None for GBNF.
        trigger_patterns: of a lazy GBNF grammar: regular expressions that start it when they are found in the text; the
            grammar begins with the first group that is not empty, or else with the match.
        trigger_tokens: likewise, token ids that do.
        trigger: of a lazy llguidance grammar: where in the text it begins.
        schema: JSON text of the schema that it was made of.
        resources: JSON text of the schemas that its references lead to.
        checks: what is checked at the ends of values while a text is written, beside that source.
        tidy: whether its texts are JSON of which generations write at most half as blank space.
        exact: whether every text that it accepts is valid; False is for schemas compiled with strict=False, whose texts
            are validated when they are complete.
    """

    gbnf: str | None = None
    root: str = "root"
    llguidance: str | None = None
    trigger_patterns: tuple[str, ...] = ()
    trigger_tokens: tuple[int, ...] = ()
    trigger: Trigger | None = None
    schema: str | None = None
    resources: str | None = None
    checks: str | None = None
    tidy: bool = False
    exact: bool = True
    _report: tuple[Report, ...] = dataclasses.field(default=(), repr=False)

    @property
    def lazy(self) -> bool:
        """Whether text is free until something triggers the grammar."""
        return self.trigger is not None or bool(self.trigger_patterns or self.trigger_tokens)

    @property
    def names_tokens(self) -> bool:
        """Whether it is a Lark grammar that names tokens by their ids."""
        return self.llguidance is not None and _TOKEN_IDS.search(self.llguidance) is not None

    # -- making one ----------------------------------------------------------------------------------------------------

    @classmethod
    def from_string(
        cls,
        grammar: str,
        root: str | bool = "root",
        *,
        trigger_patterns: Sequence[str] = (),
        trigger_tokens: Sequence[int] = (),
        verbose: bool = True,
    ) -> LlamaGrammar:
        """Read a grammar in llama.cpp's GBNF.

        Args:
            grammar: the rules.
            root: name of the rule that a text begins with. A bool is llama-cpp-python's `verbose`.
            trigger_patterns: make it lazy: text is free until one of these regular expressions (of C++'s std::regex) is
                found in it. They are looked for in the whole text after each token.
            trigger_tokens: likewise, until one of these tokens is chosen, which takes no time.
            verbose: is there for programs of llama-cpp-python, here and in the other methods; nothing is printed.

        Raises:
            GrammarError: naming line, column and rule, for what llama.cpp could not parse, or not run.
            ValidationError: for triggers that are none.

        Examples:
            >>> LlamaGrammar.from_string('root ::= "yes" | "no"').accepts("yes")
            True
        """
        from . import gbnf

        root = "root" if isinstance(root, bool) else root
        check_c_text("grammar", grammar)
        check_c_text("root", root)
        gbnf.parse(grammar, root)
        check_list("trigger_patterns", trigger_patterns)
        check_list("trigger_tokens", trigger_tokens)
        for token in trigger_tokens:
            check_int("a trigger token", token, 0)
        for pattern in trigger_patterns:
            check_c_text("a trigger pattern", pattern)
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValidationError(f"the trigger pattern {pattern!r} is no regular expression: {error}") from None
        patterns = tuple(_ANYTHING_AROUND.sub("", pattern) for pattern in trigger_patterns)
        return cls(gbnf=grammar, root=root, trigger_patterns=patterns, trigger_tokens=tuple(trigger_tokens))

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], root: str | bool = "root", *, verbose: bool = True
    ) -> LlamaGrammar:
        """Read a grammar in llama.cpp's GBNF from a file; see `from_string`."""
        return cls.from_string(Path(path).read_text(encoding="utf-8"), root)

    @classmethod
    def from_json_schema(
        cls,
        schema: Any,
        verbose: bool = True,
        *,
        whitespace: str | None = None,
        strict: bool = True,
        resources: Mapping[str, Any] | None = None,
    ) -> LlamaGrammar:
        """Make a grammar whose texts are JSON documents that a schema allows, as a careful programmer writes them.

        Integers have neither fraction nor exponent, zero has no sign, and other numbers have at most 17 significant
        digits. Properties come in the order in which the schema names them, those of `properties` before those of
        alternatives. `validates` tells of documents written in any other way.

        Args:
            schema: a dict, a JSON text, a bool, a pydantic model or a dataclass type; of the draft that its $schema
                names: 4, 6, 7, 2019-09 or 2020-12, which it also is without one.
            whitespace: regular expression of the whitespace that may stand between JSON tokens; "" allows none. None
                allows what tidy documents have: a space after "," and ":", or lines with an indentation.
            strict: refuse what can't be enforced exactly. If False, it is enforced as far as possible, and the finished
                text is validated.
            resources: schemas that references lead to, by their URIs; nothing is fetched.

        Raises:
            UnsupportedSchemaError: with `.keyword` and `.pointer`, for what can't be enforced.
            ValidationError: if it is no valid schema.
        """
        value = schema_of(schema)
        compiled = compile_schema(value, whitespace=whitespace, strict=strict, resources=resources, checked=True)
        return cls(
            llguidance=compiled.grammar,
            schema=text_of(value),
            resources=resources_text(resources),
            checks=compiled.checks,
            tidy=whitespace is None,
            exact=compiled.exact,
            _report=compiled.report,
        )

    @classmethod
    def from_type(cls, kind: Any, *, whitespace: str | None = None, strict: bool = True) -> LlamaGrammar:
        """Make a grammar whose texts are the JSON documents of a Python type.

        Args:
            kind: a pydantic model, dataclass, TypedDict, Enum, Literal, union, list, dict or tuple of such types, or
                one of str, int, float, bool and None.
            whitespace: as `from_json_schema` has it.
            strict: likewise.

        Raises:
            UnsupportedSchemaError: with `.keyword` and `.pointer`, for what can't be enforced.
            ValidationError: for a type that has no JSON Schema.

        Examples:
            >>> LlamaGrammar.from_type(list[int]).accepts("[1, 2]")
            True
        """
        return cls.from_json_schema(schema_of_type(kind, exact=True), whitespace=whitespace, strict=strict)

    @classmethod
    def from_regex(cls, pattern: str) -> LlamaGrammar:
        r"""Make a grammar whose texts match a regular expression as a whole.

        Args:
            pattern: in the syntax of Rust's `regex`, without anchors and look-around; `.` is no newline.

        Raises:
            ValidationError: if it is no such expression.
        """
        from llguidance import LLMatcher

        check_c_text("pattern", pattern)
        return cls(llguidance=_checked(LLMatcher.grammar_from_regex(pattern), f"the pattern {pattern!r}"))

    @classmethod
    def from_choices(cls, choices: Sequence[str]) -> LlamaGrammar:
        """Make a grammar whose texts are the given ones.

        Raises:
            ValidationError: if there are none, or one is no str or empty.
        """
        from llguidance import LLMatcher

        check_texts("choices", choices)
        lark = "start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
        return cls(llguidance=_checked(LLMatcher.grammar_from_lark(lark), "the list of choices"))

    @classmethod
    def from_lark(cls, source: str) -> LlamaGrammar:
        """Make a grammar of llguidance's variant of Lark.

        Tokens that it names by their ids, as `<[128001]>`, are looked up when a model uses it.

        Raises:
            ValidationError: if llguidance refuses it.
        """
        from llguidance import LLMatcher

        check_c_text("source", source)
        _checked(LLMatcher.grammar_from_lark(_TOKEN_IDS.sub("<[0]>", source)), "the Lark grammar")
        return cls(llguidance=LLMatcher.grammar_from_lark(source))

    # -- asking it -----------------------------------------------------------------------------------------------------

    def accepts(self, text: str) -> bool:
        """Tell whether a complete text is in the language that generations are held to; needs no model."""
        return self.explain(text).accepted

    def validates(self, text: str) -> bool:
        """Tell whether a complete text is a valid document under the schema, however it is written.

        Keys may come in any order, numbers in any notation, and whitespace anywhere. A grammar that was made of no
        schema validates what it accepts.
        """
        if self.schema is None:
            return self.accepts(text)
        check_text("text", text)
        return check_instance(self.schema, self.resources, text) is None

    def explain(self, text: str) -> Explanation:
        """Tell whether a complete text is in the language and, if not, where and why it leaves it; needs no model."""
        data = check_text("text", text)
        if self.gbnf is not None:
            from . import gbnf

            return Explanation(*gbnf.parse(self.gbnf, self.root).explain(text))
        if self.names_tokens:
            raise ValidationError(
                "this grammar names tokens by their ids, so that no text is in its language without a model"
            )
        matcher, tokens = _byte_matcher(self.llguidance or "").deep_copy(), list(data)
        n_taken = matcher.try_consume_tokens(tokens)
        if matcher.is_error() and self.llguidance != NOTHING:
            raise ValidationError(f"the grammar is too complex for llguidance: {error_of(matcher)}")
        if n_taken < len(tokens):
            offset = len(data[:n_taken].decode("utf-8", "ignore"))
            wrong = f"{text[offset : offset + 1]!r} can't stand at offset {offset}"
            return Explanation(False, offset, f"{wrong}: {_allowed(matcher)}")
        if self.checks is not None:
            try:
                checks = checks_of(self.checks)
                checks.ended(checks.after(checks.start, data))
            except Violation as problem:
                offset = len(data[: problem.offset].decode("utf-8", "ignore"))
                return Explanation(False, offset, f"the value that ends at offset {offset} must not: {problem}")
        if not matcher.is_accepting():
            return Explanation(False, len(text), f"the text ends too early: {_allowed(matcher)}")
        failure = self.check(text)
        return Explanation(failure is None, len(text), failure or "the text is in the language")

    def check(self, text: str) -> str | None:
        """Validate a complete text where the grammar alone is not exact (strict=False).

        Returns:
            What is wrong with it, None if nothing is.
        """
        return None if self.exact or self.schema is None else check_instance(self.schema, self.resources, text)

    def tokens(self) -> frozenset[str]:
        """Return the literals of tokens that the vocabulary must have, such as "<think>" and "<[128001]>" (GBNF)."""
        if self.gbnf is None:
            return frozenset()
        from . import gbnf

        return gbnf.parse(self.gbnf, self.root).token_literals

    def report(self) -> list[Report]:
        """List the keywords of the schema, with their pointers, and how each is dealt with."""
        return list(self._report)

    def __repr__(self) -> str:
        source = self.gbnf or self.schema or self.llguidance or ""
        return f"<LlamaGrammar {source if len(source) <= 60 else source[:57] + '...'!r}>"


def _checked(grammar: str, what: str) -> str:
    matcher = new_matcher(byte_tokenizer(), grammar)
    if matcher.is_error():
        raise ValidationError(f"llguidance refuses {what}: {error_of(matcher)}")
    return grammar


@functools.lru_cache(32)
def _byte_matcher(grammar: str) -> LLMatcher:
    """Return a matcher at the beginning of a text, to be copied."""
    matcher = new_matcher(byte_tokenizer(), grammar)
    if matcher.is_error() and grammar != NOTHING:
        raise ValidationError(f"llguidance refuses the grammar: {error_of(matcher)}")
    return matcher


def _allowed(matcher: LLMatcher) -> str:
    """Tell what may come next, in words."""
    mask = int.from_bytes(matcher.compute_bitmask(), "little")
    allowed = [chr(byte) for byte in range(0x21, 0x7F) if mask >> byte & 1]
    if not allowed:
        return "nothing that can be shown may stand there"
    return f"{' '.join(allowed[:20])}{' and others' if len(allowed) > 20 else ''} may stand there"
