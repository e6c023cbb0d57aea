"""Shapes of what requests return: OpenAI's, as TypedDicts, and the package's own result, as a frozen dataclass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from typing_extensions import NotRequired

FinishReason = Literal["stop", "length"]


class CompletionLogprobs(TypedDict):
    """Log-probabilities in the shape of OpenAI's completions; the four lists are as long as there are tokens."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class ScoredText(str):
    """A piece of a streamed text, with the log-probabilities of its tokens."""

    logprobs: CompletionLogprobs


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


@dataclass(frozen=True)
class Usage:
    """Counts of a generation's tokens.

    Attributes:
        prompt_tokens: length of the prompt, with what the sequence held before it.
        cached_tokens: how many of those were in memory and not computed again.
        completion_tokens: tokens generated, the one that ended the generation not among them.
        drafted_tokens: tokens that speculative decoding guessed.
        accepted_tokens: how many of those were right.
        truncated_tokens: tokens of the prompt that were left out, since it was too long (overflow="truncate").
        shifted_tokens: tokens that were dropped on the way, since the context was full (overflow="shift").
    """

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    truncated_tokens: int = 0
    shifted_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Tokens of the prompt and of the completion."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timings:
    """Where a generation's time went, in milliseconds.

    Attributes:
        prompt_ms: from the start of the computation to the first token.
        generation_ms: from there to the end.
    """

    prompt_ms: float
    generation_ms: float


@dataclass(frozen=True)
class GenerationResult:
    """What came of one generation.

    Attributes:
        text: what was generated, up to the stop string.
        token_ids: the generated tokens, those of a stop string included, the end-of-generation token not.
        finish_reason: "stop" (the model's own end, a stop string or token) or "length" (max_tokens, or a full context).
        stop_reason: the stop string, or the id of the token, that ended it; None for "length".
        usage: counts of tokens.
        timings: milliseconds.
        seed: seed of the random choices; giving it again repeats them.
        logprobs: of the generated tokens (and the prompt's, with echo), if they were asked for.
        matches_grammar: whether the text is complete and valid under the grammar that it was held to; None where there
            was none, or a lazy one.
        prompt_logprobs: natural logarithms of the probabilities of the prompt's tokens, where it was to be scored.
        message: what the text says, where it answers messages: role, content, and reasoning_content and tool_calls
            where there are any; None for a plain prompt.
    """

    text: str
    token_ids: list[int]
    finish_reason: FinishReason
    stop_reason: str | int | None
    usage: Usage
    timings: Timings
    seed: int
    logprobs: CompletionLogprobs | None = None
    matches_grammar: bool | None = None
    prompt_logprobs: Sequence[float] = ()
    message: ChatMessage | None = None


@dataclass(frozen=True)
class TextLogprobs:
    """Log-probabilities of a text's tokens, each given all the tokens before it.

    Attributes:
        token_ids: the tokens.
        token_logprobs: natural logarithms, one for each; None for the first token of a sequence.
    """

    token_ids: list[int]
    token_logprobs: list[float | None]

    @property
    def total(self) -> float:
        """Log-probability of the whole: the sum, without the first token of a sequence."""
        return sum(value for value in self.token_logprobs if value is not None)


@dataclass(frozen=True)
class Choice:
    """The most likely of some texts.

    Attributes:
        text: of the option.
        index: of the option.
        probabilities: of all options, in their order; the sum is 1.
        logprobs: natural logarithms of the probabilities that the model gives to the options, before they are made to
            sum up to 1.
    """

    text: str
    index: int
    probabilities: list[float]
    logprobs: list[float]
