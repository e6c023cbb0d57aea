"""OpenAI's parameters -> ours, and results -> OpenAI's completion shapes."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from .config import SamplingParams, check_bool, check_known, refuse_unknown
from .errors import ValidationError
from .results import GenerationResult, ScoredText

if TYPE_CHECKING:
    from .types import (
        ChatLogprobs,
        Completion,
        CompletionChoice,
        CompletionLogprobs,
        CompletionUsage,
        TokenLogprob,
        TopLogprob,
    )

# What requests may say of sampling, by the name of the field that it sets.
_SAMPLING = {field.name: field.name for field in dataclasses.fields(SamplingParams) if field.name != "seed"}
SAMPLING_NAMES = {**_SAMPLING, "mirostat_mode": "mirostat", "temp": "temperature"}

# Parameters of OpenAI's API that concern its servers, and nothing here.
NO_MEANING = {"metadata", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user"}


def sampling_of(base: SamplingParams, options: Mapping[str, Any]) -> SamplingParams:
    """Return a request's own sampling: a copy of the instance's with what the request says.

    Args:
        base: the instance's.
        options: may name fields of SamplingParams, and OpenAI's `logit_bias` with token ids as texts.

    Raises:
        ValidationError: for a value of the wrong type or range.
    """
    changes = {SAMPLING_NAMES[name]: value for name, value in options.items() if name in SAMPLING_NAMES}
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        return base
    bias = changes.get("logit_bias")
    if isinstance(bias, Mapping):
        try:
            changes["logit_bias"] = {int(token): value for token, value in bias.items()}
        except ValueError:
            raise ValidationError(f"the keys of logit_bias must be token ids, got {list(bias)}") from None
    return dataclasses.replace(base, **changes)


def split_options(options: Mapping[str, Any], known: Sequence[str], more: Sequence[str]) -> dict[str, Any]:
    """Return those of a call's options that make a RequestOptions, after refusing the ones that mean nothing.

    Args:
        options: what the call was given beyond its named arguments.
        known: names of RequestOptions.
        more: the named arguments, for suggestions.
    """
    unknown = options.keys() - SAMPLING_NAMES.keys() - set(known) - NO_MEANING
    refuse_unknown("argument", unknown, (*known, *more, *SAMPLING_NAMES))
    return {name: value for name, value in options.items() if name in known}


def includes_usage(stream: bool, stream_options: Mapping[str, Any] | None) -> bool:
    """Read OpenAI's stream_options."""
    if stream_options is None:
        return False
    if not isinstance(stream_options, Mapping):
        raise ValidationError(f"stream_options must be a dict, got {stream_options!r}")
    if not stream:
        raise ValidationError("stream_options needs stream=True")
    check_known("stream option", stream_options, ("include_usage", "include_obfuscation"))
    include = stream_options.get("include_usage", False)
    check_bool("include_usage", include)
    return bool(include)


def new_id(prefix: str) -> str:
    """Return a random id, such as "chatcmpl-..."."""
    return f"{prefix}-{os.urandom(16).hex()}"


def usage_of(results: Sequence[GenerationResult], n_answers: int = 1) -> CompletionUsage:
    """Add up tokens; a prompt counts once, however many answers each of them has."""
    n_prompt = sum(result.usage.prompt_tokens for result in results) // n_answers
    n_completion = sum(result.usage.completion_tokens for result in results)
    return {
        "prompt_tokens": n_prompt,
        "completion_tokens": n_completion,
        "total_tokens": n_prompt + n_completion,
    }


def completion(
    id: str, model: str, choices: list[CompletionChoice], usage: CompletionUsage | None = None
) -> Completion:
    """Make OpenAI's completion, or a chunk of one."""
    made: Completion = {
        "id": id,
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
    }
    if usage is not None:
        made["usage"] = usage
    return made


def text_choice(
    text: str, index: int = 0, logprobs: CompletionLogprobs | None = None, finish_reason: Any = None
) -> CompletionChoice:
    """Make one of a completion's texts."""
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish_reason}


def logprobs_of(text: str) -> CompletionLogprobs | None:
    """Return the log-probabilities that come with a piece of a stream."""
    return text.logprobs if isinstance(text, ScoredText) else None


def logprobs_after(logprobs: CompletionLogprobs | None, n_tokens: int) -> CompletionLogprobs | None:
    """Leave out the log-probabilities of the first tokens, which came with earlier pieces of a stream."""
    if logprobs is None:
        return None
    return {
        "tokens": logprobs["tokens"][n_tokens:],
        "token_logprobs": logprobs["token_logprobs"][n_tokens:],
        "top_logprobs": logprobs["top_logprobs"][n_tokens:],
        "text_offset": logprobs["text_offset"][n_tokens:],
    }


def chat_logprobs(logprobs: CompletionLogprobs | None, n_top: int) -> ChatLogprobs | None:
    """Rearrange log-probabilities as OpenAI's chat has them."""
    if logprobs is None:
        return None
    content: list[TokenLogprob] = []
    for token, value, top in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True):
        best = sorted((top or {}).items(), key=lambda item: -item[1])[:n_top]
        alternatives: list[TopLogprob] = [{**_token_of(name), "logprob": one} for name, one in best]
        content.append({**_token_of(token), "logprob": value or 0.0, "top_logprobs": alternatives})
    return {"content": content, "refusal": None}


class _Token(TypedDict):
    token: str
    bytes: list[int]


def _token_of(name: str) -> _Token:
    """Return a token's text and bytes, of its name in a completion; chats leave out "bytes:" there."""
    escaped = name.removeprefix("bytes:")
    if escaped == name or not escaped.startswith("\\x"):
        return {"token": name, "bytes": list(name.encode())}
    return {"token": escaped, "bytes": list(bytes.fromhex(escaped.replace("\\x", "")))}
