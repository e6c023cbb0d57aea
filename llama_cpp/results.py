"""The package's own results: frozen dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .types import ChatMessage, CompletionLogprobs, FinishReason


class ScoredText(str):
    """A piece of a streamed text, with the log-probabilities of its tokens."""

    logprobs: CompletionLogprobs


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
