"""What a chat completion asks for, and the answers that come of it: messages in, OpenAI's shapes out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast, get_origin

from .chat.call_grammar import answer_grammar, call_grammar
from .chat.heads import begins_with, heads
from .chat.parser import StreamParser, parse
from .chat.syntax import GENERIC_CALLS, Syntax
from .completions import chat_logprobs, logprobs_after, logprobs_of, new_id, usage_of
from .config import check_bool, check_known
from .errors import UnsupportedSchemaError, ValidationError
from .grammar.grammar import LlamaGrammar
from .grammar.jsonschema import NOTHING, closed, compile_schema, schema_of
from .grammar.trigger import Trigger
from .results import GenerationResult

if TYPE_CHECKING:
    from .types import (
        ChatChoice,
        ChatChunkChoice,
        ChatCompletion,
        ChatCompletionChunk,
        ChatFinishReason,
        ChatLogprobs,
        ChatMessage,
        TokenLogprob,
    )

logger = logging.getLogger("llama_cpp")

Event = tuple[int, str | GenerationResult]


@dataclass
class ChatCall:
    """One chat completion under way.

    Attributes:
        syntax: that the answer is written in.
        tools: that the model may call.
        model: name to report.
        fingerprint: of the build and the model.
        n_top_logprobs: alternatives to report for each token, None for no log-probabilities.
        plain: the answer is text and nothing else, since a grammar holds it from its first token on.
        in_form: an answer that is no call is held to a form.
        with_usage: a stream ends with the counts of tokens.
        ends: tokens that end the answer.
        parser: reads the answer's text as a value of the type that response_format is.
    """

    syntax: Syntax
    tools: list[dict[str, Any]]
    model: str
    fingerprint: str
    n_top_logprobs: int | None = None
    plain: bool = False
    in_form: bool = False
    with_usage: bool = False
    ends: list[int] = field(default_factory=list)
    parser: Callable[[str], Any] | None = None
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created: int = field(default_factory=lambda: int(time.time()))

    def response(self, results: Sequence[GenerationResult]) -> ChatCompletion:
        """Make the whole answer of what was generated."""
        choices = [chat_choice(index, result, self.n_top_logprobs or 0) for index, result in enumerate(results)]
        usage = usage_of(results, len(results))
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
            "usage": usage,
        }

    def read(self, text: str, cut: bool) -> ChatMessage:
        """Make a message of an answer's whole text, which may be cut off."""
        message: ChatMessage = {"role": "assistant", "content": text}
        if not self.plain:
            read = parse(self.syntax, text, tools=self.tools, cut=cut, in_form=self.in_form)
            message = cast("ChatMessage", read)
        if self.parser is not None:
            message["parsed"] = None if cut or message.get("tool_calls") else self._parsed(message["content"] or "")
        return message

    def _parsed(self, content: str) -> Any:
        """Return the value that an answer's text stands for, None (and a warning) if it is none of the type."""
        assert self.parser is not None
        try:
            return self.parser(content)
        except ValueError as error:
            logger.warning("the answer is no value of the type that response_format names: %s", error)
            return None

    def chunks(self, events: Generator[Event], n: int) -> Generator[ChatCompletionChunk]:
        """Give the answers in pieces, as their text comes."""
        readers = [ChunkReader(self, index) for index in range(n)]
        results: list[GenerationResult] = []
        with contextlib.closing(events):
            for reader in readers:
                yield reader.first()
            for index, event in events:
                if isinstance(event, str):
                    yield from readers[index].read(event)
                else:
                    results.append(event)
                    yield from readers[index].last(event)
            if self.with_usage:
                yield self.usage_chunk(results)

    def usage_chunk(self, results: Sequence[GenerationResult]) -> ChatCompletionChunk:
        """Make the piece that ends a stream with the counts of tokens."""
        return {**self.chunk(), "usage": usage_of(results, len(results))}

    def chunk(self, *choices: ChatChunkChoice) -> ChatCompletionChunk:
        """Make a piece of the stream; all of them have the same id and time."""
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": list(choices),
        }


def chat_choice(index: int, result: GenerationResult, n_top: int) -> ChatChoice:
    """Make one of a chat completion's answers.

    Args:
        index: number of the answer.
        result: whose message was read of its text.
        n_top: alternatives of each token to report, where there are log-probabilities.
    """
    assert result.message is not None
    calls = result.message.get("tool_calls") or []
    called = bool(calls) and _is_complete(calls[-1]["function"]["arguments"])
    choice: ChatChoice = {
        "index": index,
        "message": result.message,
        "logprobs": chat_logprobs(result.logprobs, n_top),
        "finish_reason": "tool_calls" if called and result.finish_reason == "stop" else result.finish_reason,
    }
    if result.matches_grammar is not None:
        choice["matches_grammar"] = result.matches_grammar
    return choice


class ChunkReader:
    """Makes pieces of one answer of its text."""

    def __init__(self, call: ChatCall, index: int) -> None:
        self._call = call
        self._index = index
        self._parser = None if call.plain else StreamParser(call.syntax, call.tools, in_form=call.in_form)
        self._arguments = ""  # of the last call
        self._called = False
        self._pending: list[TokenLogprob] = []  # log-probabilities of text that the parser holds back
        self._n_scored = 0

    def first(self) -> ChatCompletionChunk:
        """Make the piece that says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def read(self, text: str) -> list[ChatCompletionChunk]:
        """Make pieces of new text; there may be none, as long as it could be the beginning of a call."""
        logprobs = chat_logprobs(logprobs_of(text), self._call.n_top_logprobs or 0)
        if logprobs is not None and logprobs["content"]:
            self._pending += logprobs["content"]
            self._n_scored += len(logprobs["content"])
        chunks = self._chunks([{"content": text}] if self._parser is None else self._parser.feed(text))
        if chunks and self._pending:
            chunks[0]["choices"][0]["logprobs"] = {"content": self._pending, "refusal": None}
            self._pending = []
        return chunks

    def last(self, result: GenerationResult) -> list[ChatCompletionChunk]:
        """Make the pieces that end the answer."""
        chunks = [] if self._parser is None else self._chunks(self._parser.finish(result.finish_reason == "length"))
        called = result.finish_reason == "stop" and self._called and _is_complete(self._arguments)
        rest = logprobs_after(result.logprobs, self._n_scored)
        logprobs = chat_logprobs(rest, self._call.n_top_logprobs or 0)
        if logprobs is not None and logprobs["content"] is not None:
            logprobs["content"][:0] = self._pending
        chunk = self._chunk({}, "tool_calls" if called else result.finish_reason, logprobs)
        if result.matches_grammar is not None:
            chunk["choices"][0]["matches_grammar"] = result.matches_grammar
        return [*chunks, chunk]

    def _chunks(self, deltas: Sequence[dict[str, Any]]) -> list[ChatCompletionChunk]:
        for delta in deltas:
            for call in delta.get("tool_calls", ()):
                if "id" in call:
                    self._called, self._arguments = True, ""
                else:
                    # A client that puts pieces together appends texts; others look the keys up in every piece.
                    call.update(id=None, type="function", function={"name": None, **call["function"]})
                self._arguments += call["function"]["arguments"]
        return [self._chunk(delta) for delta in deltas]

    def _chunk(
        self, delta: dict[str, Any], finish_reason: ChatFinishReason | None = None, logprobs: ChatLogprobs | None = None
    ) -> ChatCompletionChunk:
        return self._call.chunk(
            {"index": self._index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        )


def _is_complete(arguments: str) -> bool:
    """Tell whether the arguments of a call are what a client can read; a stop text may have cut them."""
    try:
        json.loads(arguments)
    except ValueError:
        return False
    return True


def tool_grammar(
    syntax: Syntax,
    tools: Sequence[dict[str, Any]],
    special: tuple[tuple[str, int], ...],
    *,
    required: bool,
    parallel: bool,
    answer: LlamaGrammar | None = None,
    thinks: bool = False,
) -> LlamaGrammar:
    """Return what holds calls to the tools' names and schemas: at once, or from where one begins.

    Args:
        syntax: that calls are written in.
        tools: that may be called.
        special: texts of the vocabulary's control tokens, with their ids.
        required: the answer is to be a call.
        parallel: there may be several.
        answer: what the answer is held to where it is no call; None for free text.
        thinks: calls, or such an answer, come after thinking.

    Raises:
        UnsupportedSchemaError: naming the tool, for a schema that can't be enforced.
    """
    source = None if answer is None else answer.llguidance
    return _tool_grammar(
        syntax, json.dumps(tools, ensure_ascii=False), special, required or source is not None, parallel, source, thinks
    )


@functools.lru_cache(64)
def _tool_grammar(
    syntax: Syntax,
    tools: str,
    special: tuple[tuple[str, int], ...],
    held: bool,
    parallel: bool,
    answer: str | None,
    thinks: bool,
) -> LlamaGrammar:
    syntax = dataclasses.replace(syntax, calls=syntax.calls or GENERIC_CALLS)
    offered = json.loads(tools)
    source = call_grammar(
        syntax,
        offered,
        parallel=parallel,
        triggered=not held,
        special=dict(special),
        compiled=compiled_arguments,
        thinks=thinks,
        answer=answer,
    )
    made = LlamaGrammar.from_lark(source)
    return made if held else dataclasses.replace(made, trigger=_trigger(syntax, offered, dict(special)))


def _trigger(syntax: Syntax, tools: Sequence[dict[str, Any]], special: Mapping[str, int]) -> Trigger:
    """Tell where a call begins in free text; what a model thinks is free, whatever it says of calls."""
    assert syntax.calls is not None
    anywhere, first = heads(syntax, [tool["function"]["name"] for tool in tools])
    going_on = syntax.continues and not syntax.thinks_already
    return Trigger(
        heads=anywhere,
        first="" if going_on else first,
        tokens=frozenset(special[token] for _, token in begins_with(syntax.calls, special)),
        opening="" if going_on or not syntax.think_end else syntax.think_start,
        closing=syntax.think_end,
        opened=syntax.thinks_already,
    )


@functools.lru_cache(64)
def after_thinking(syntax: Syntax, answer: LlamaGrammar, special: tuple[tuple[str, int], ...]) -> LlamaGrammar:
    """Return a grammar of a turn that ends with an answer, of thinking before it."""
    assert answer.llguidance is not None
    return LlamaGrammar.from_lark(answer_grammar(syntax, answer.llguidance, dict(special)))


def compiled_arguments(schema: Mapping[str, Any], strict: bool) -> str:
    """Make a grammar of the schema of a tool's arguments, once for each schema.

    Raises:
        UnsupportedSchemaError: for what can't be enforced, or allows nothing.
        ValidationError: if it is no schema.
    """
    return _compiled(json.dumps(schema, ensure_ascii=False), strict)


@functools.lru_cache(1024)
def _compiled(schema: str, strict: bool) -> str:
    compiled = compile_schema(json.loads(schema), strict=strict)
    if compiled.grammar == NOTHING:
        raise UnsupportedSchemaError(f"nothing satisfies the schema {schema[:200]}")
    loose = [f"{entry.keyword} at {entry.pointer}" for entry in compiled.report if entry.status == "checked afterwards"]
    if loose:
        logger.warning(
            "the arguments of a tool are not held to %s, which can't be enforced; with strict=True, this is an error",
            ", ".join(loose),
        )
    return compiled.grammar


def _best_effort(grammar: LlamaGrammar) -> LlamaGrammar:
    """Return a grammar of what can be enforced of a schema, with a warning about the rest."""
    loose = [
        f"{entry.keyword} at {entry.pointer}" for entry in grammar.report() if entry.status == "checked afterwards"
    ]
    if loose:
        logger.warning(
            "the answer is not held to %s, which can't be enforced; matches_grammar tells whether it is valid; with "
            "strict=True, this is an error",
            ", ".join(loose),
        )
    return grammar


def _grammar_of(schema: Any, strict: bool) -> LlamaGrammar:
    """Make a grammar of a schema; objects have the properties that it names, unless it says that they have others."""
    return LlamaGrammar.from_json_schema(closed(schema_of(schema)), strict=strict)


def is_type(response_format: Any) -> bool:
    """Tell whether a response_format is a Python type, such as a pydantic model or `list[int]`, and no dict."""
    return isinstance(response_format, type) or get_origin(response_format) is not None


def grammar_of_format(response_format: Any) -> LlamaGrammar | None:
    """Return the grammar that OpenAI's response_format, or a Python type in its place, stands for; None for free text.

    As there, a json_schema without "strict" is enforced as far as possible.

    Raises:
        ValidationError: for a form that OpenAI does not have.
        UnsupportedSchemaError: for a schema that can't be enforced and has "strict".
    """
    if response_format is None:
        return None
    if is_type(response_format):
        return _best_effort(LlamaGrammar.from_type(response_format, strict=False))
    if not isinstance(response_format, Mapping) or "type" not in response_format:
        raise ValidationError(f'response_format must be a dict with a "type", or a type, got {response_format!r}')
    kind = response_format["type"]
    if kind == "text":
        return None
    if kind == "json_object":
        check_known("key of response_format", response_format, ("type", "schema"))
        schema = response_format.get("schema") or {"type": "object"}
        return _best_effort(_grammar_of(schema, strict=False))
    if kind == "json_schema":
        wanted = response_format.get("json_schema")
        if not isinstance(wanted, Mapping) or "schema" not in wanted:
            raise ValidationError('response_format of type "json_schema" needs {"json_schema": {"schema": {...}}}')
        check_known("key of json_schema", wanted, ("name", "description", "schema", "strict"))
        strict = wanted.get("strict")
        check_bool("strict", strict is not None and strict)
        grammar = _grammar_of(wanted["schema"], strict=bool(strict))
        return grammar if strict else _best_effort(grammar)
    raise ValidationError(f'response_format has type {kind!r}; known are "text", "json_object" and "json_schema"')
