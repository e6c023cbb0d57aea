"""What a chat completion asks for, and the answers that come of it: messages in, OpenAI's shapes out."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from .chat.parser import StreamParser, parse
from .chat.syntax import Syntax
from .completions import chat_chunk, chat_completion, chat_logprobs, new_id, usage_of
from .config import check_bool, check_known
from .errors import ValidationError
from .grammar.grammar import LlamaGrammar
from .types import ChatChoice, ChatCompletion, ChatCompletionChunk, ChatMessage, GenerationResult

Event = tuple[int, str | GenerationResult]


@dataclass
class ChatCall:
    """One chat completion under way.

    Attributes:
        syntax: that the answer is written in.
        tools: that the model may call.
        model: name to report.
        fingerprint: of the build and the model.
        n_prompt: tokens of the prompt.
        n_top_logprobs: alternatives to report for each token, None for no log-probabilities.
        plain: the answer is text and nothing else, since a grammar of the caller's holds it.
        with_usage: a stream ends with the counts of tokens.
    """

    syntax: Syntax
    tools: list[dict[str, Any]]
    model: str
    fingerprint: str
    n_prompt: int = 0
    n_top_logprobs: int | None = None
    plain: bool = False
    with_usage: bool = False
    id: str = field(default_factory=lambda: new_id("chatcmpl"))

    def response(self, results: Sequence[GenerationResult]) -> ChatCompletion:
        """Make the whole answer of what was generated."""
        choices = [self._choice(index, result) for index, result in enumerate(results)]
        return chat_completion(self.id, self.model, self.fingerprint, choices, usage_of(results, self.n_prompt))

    def _choice(self, index: int, result: GenerationResult) -> ChatChoice:
        assert result.message is not None
        calls = bool(result.message.get("tool_calls"))
        return ChatChoice(
            index=index,
            message=result.message,
            logprobs=chat_logprobs(result.logprobs, self.n_top_logprobs or 0),
            finish_reason="tool_calls" if calls and result.finish_reason == "stop" else result.finish_reason,
        )

    def read(self, text: str) -> ChatMessage:
        """Make a message of an answer's whole text."""
        if self.plain:
            return ChatMessage(role="assistant", content=text)
        return cast(ChatMessage, parse(self.syntax, text, tools=self.tools))

    def chunks(self, events: Generator[Event], n: int) -> Iterator[ChatCompletionChunk]:
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
        chunk = chat_chunk(self.id, self.model, self.fingerprint, 0, {})
        return {**chunk, "choices": [], "usage": usage_of(results, self.n_prompt)}


class ChunkReader:
    """Makes pieces of one answer of its text."""

    def __init__(self, call: ChatCall, index: int) -> None:
        self._call = call
        self._index = index
        self._parser = None if call.plain else StreamParser(call.syntax, call.tools)
        self._has_calls = False
        self._ids: dict[int, str] = {}

    def first(self) -> ChatCompletionChunk:
        """Make the piece that says who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def read(self, text: str) -> Iterator[ChatCompletionChunk]:
        """Make pieces of new text; there may be none, as long as it could be the beginning of a call."""
        yield from self._chunks([{"content": text}] if self._parser is None else self._parser.feed(text))

    def last(self, result: GenerationResult) -> Iterator[ChatCompletionChunk]:
        """Make the pieces that end the answer."""
        if self._parser is not None:
            yield from self._chunks(self._parser.finish())
        called = self._has_calls and result.finish_reason == "stop"
        logprobs = chat_logprobs(result.logprobs, self._call.n_top_logprobs or 0)
        yield self._chunk({}, "tool_calls" if called else result.finish_reason, logprobs)

    def _chunks(self, deltas: Sequence[dict[str, Any]]) -> Iterator[ChatCompletionChunk]:
        for delta in deltas:
            for call in delta.get("tool_calls", ()):
                self._has_calls = True
                self._ids.setdefault(call["index"], call.get("id", ""))
                call["id"] = self._ids[call["index"]]  # clients expect it in every piece of a call
            yield self._chunk(delta)

    def _chunk(self, delta: dict[str, Any], finish_reason: Any = None, logprobs: Any = None) -> ChatCompletionChunk:
        call = self._call
        return chat_chunk(call.id, call.model, call.fingerprint, self._index, delta, finish_reason, logprobs)


def grammar_of_format(response_format: Mapping[str, Any] | None) -> LlamaGrammar | None:
    """Return the grammar that OpenAI's response_format stands for, None for free text.

    Raises:
        ValidationError: for a form that OpenAI does not have.
        UnsupportedSchemaError: for a schema that can't be enforced.
    """
    if response_format is None:
        return None
    if not isinstance(response_format, Mapping) or "type" not in response_format:
        raise ValidationError(f'response_format must be a dict with a "type", got {response_format!r}')
    kind = response_format["type"]
    if kind == "text":
        return None
    if kind == "json_object":
        check_known("key of response_format", response_format, ("type", "schema"))
        return LlamaGrammar.from_json_schema(response_format.get("schema") or {"type": "object"})
    if kind == "json_schema":
        wanted = response_format.get("json_schema")
        if not isinstance(wanted, Mapping) or "schema" not in wanted:
            raise ValidationError('response_format of type "json_schema" needs {"json_schema": {"schema": {...}}}')
        check_known("key of json_schema", wanted, ("name", "description", "schema", "strict"))
        strict = wanted.get("strict", True)
        check_bool("strict", True if strict is None else strict)
        return LlamaGrammar.from_json_schema(wanted["schema"], strict=strict is None or strict)
    raise ValidationError(f'response_format has type {kind!r}; known are "text", "json_object" and "json_schema"')
