"""Shapes of what requests return: OpenAI's, as TypedDicts, which are there for annotations alone.

Making the classes takes milliseconds, so that no module imports this one when it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from typing_extensions import NotRequired

FinishReason = Literal["stop", "length"]


class CompletionLogprobs(TypedDict):
    """Log-probabilities in the shape of OpenAI's completions; the four lists are as long as there are tokens."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionUsage(TypedDict):
    """Counts of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionChoice(TypedDict):
    """One of a completion's texts."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: FinishReason | None


class Completion(TypedDict):
    """OpenAI's completion object."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: NotRequired[CompletionUsage]  # in streams, of the last chunk alone


class TopLogprob(TypedDict):
    """A token that could have been chosen."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """A token of an answer, with the likeliest ones at its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(TypedDict):
    """Log-probabilities in the shape of OpenAI's chat completions."""

    content: list[TokenLogprob] | None
    refusal: None


class FunctionCall(TypedDict):
    """A function's name and its arguments, as JSON text."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A call of one of the tools that the request offered."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class ChatMessage(TypedDict):
    """An answer."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    parsed: NotRequired[Any]  # where response_format is a Python type: the answer as a value of it, or None


ChatFinishReason = Literal["stop", "length", "tool_calls"]


class ChatChoice(TypedDict):
    """One of a chat completion's answers."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinishReason
    matches_grammar: NotRequired[bool]  # of answers that are held to a format or a grammar


class ChatCompletion(TypedDict):
    """OpenAI's chat completion object."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: CompletionUsage


class ChatChunkChoice(TypedDict):
    """What one of the answers has grown by; a delta leaves out what has not changed."""

    index: int
    delta: dict[str, object]
    logprobs: ChatLogprobs | None
    finish_reason: ChatFinishReason | None
    matches_grammar: NotRequired[bool]  # likewise, in the last one


class ChatCompletionChunk(TypedDict):
    """OpenAI's piece of a streamed chat completion."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: NotRequired[CompletionUsage | None]


class EmbeddingUsage(TypedDict):
    """Counts of tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingData(TypedDict):
    """The embedding of one text: a row, or a row for each token where there is no pooling."""

    object: Literal["embedding"]
    embedding: list[float] | list[list[float]]
    index: int


class EmbeddingResponse(TypedDict):
    """OpenAI's list of embeddings."""

    object: Literal["list"]
    data: list[EmbeddingData]
    model: str
    usage: EmbeddingUsage
