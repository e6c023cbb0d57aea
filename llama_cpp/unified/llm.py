"""UnifiedLLM: one interface to nine families of models."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from ..chat.messages import check_messages
from ..chat.reasoning import strip_thinking
from ..config import (
    DEFAULT_N_BATCH,
    LlamaConfig,
    SamplingParams,
    check_bool,
    check_int,
    check_known,
    check_list,
    check_text,
)
from ..errors import LlamaError, TemplateError, ValidationError
from ..files import read_metadata
from ..llama import Llama, Stop
from ..results import GenerationResult
from ..streams import Stream
from .budget import ThinkingBudget
from .detect import detect, resolve_family
from .families import REASONING_LEVELS, ModelConfig, ModelFamily, Thinking, Variant

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from ..types import ChatCompletion, ChatCompletionChunk

logger = logging.getLogger("llama_cpp")

_DEFAULTS = {"n_ctx": 8192, "n_batch": DEFAULT_N_BATCH, "n_ubatch": 512, "n_gpu_layers": -1, "verbose": False}
_LLAMA_ARGUMENTS = ("draft_model", "model", "progress_callback")

_REASONING = ("reasoning_content", "thinking", "reasoning")  # keys of messages


class UnifiedLLM:
    """A chat model of a known family, used as its makers recommend.

    Args:
        model_path: GGUF file.
        n_ctx: tokens that the context holds; lowered, with a word in the log, to what the model was trained for.
        n_batch: most tokens in one llama_decode call.
        n_ubatch: most tokens computed at once; lowered to n_batch where that is smaller.
        n_gpu_layers: layers to offload, -1 for all.
        verbose: report llama.cpp's progress to the "llama_cpp" logger.
        family: a family, or the name of a family or of a variant such as "qwen3-coder"; None finds it out.
        config: further settings; what the arguments above leave at their defaults is taken from it.
        sampling: how tokens are chosen where a call does not say; None is what the family recommends.
        **overrides: arguments of `Llama`, such as `draft_model`, and fields of LlamaConfig, such as `n_threads`.

    Raises:
        ValidationError: if the family is unknown, or a setting is wrong.
        ModelLoadError: if the file can't be loaded.

    Examples:
        >>> with UnifiedLLM("Qwen3-8B-Q6_K.gguf") as llm:
        ...     thinking, answer = llm.generate_with_thinking("Why is the sky blue?")
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        n_ctx: int = 8192,
        n_batch: int = DEFAULT_N_BATCH,
        n_ubatch: int = 512,
        n_gpu_layers: int = -1,
        verbose: bool = False,
        family: str | ModelFamily | None = None,
        *,
        config: LlamaConfig | None = None,
        sampling: SamplingParams | None = None,
        **overrides: Any,
    ) -> None:
        metadata = read_metadata(model_path)
        if family is None:
            variant = detect(metadata, os.fspath(model_path))
        else:
            variant = resolve_family(family, metadata, os.fspath(model_path))
        values = (n_ctx, n_batch, n_ubatch, n_gpu_layers, verbose)
        given = dict(zip(_DEFAULTS, values, strict=True))
        if config is not None:
            if not isinstance(config, LlamaConfig):
                raise ValidationError(f"config must be a LlamaConfig, got {config!r}")
            given = {name: value for name, value in given.items() if value != _DEFAULTS[name]}
        base = config or LlamaConfig()
        check_known("argument", overrides, (*_LLAMA_ARGUMENTS, *vars(base)))
        settings: dict[str, Any] = {**given, **overrides}
        if "tokenizer.chat_template" not in metadata and variant.chat_format == "chatml" and not base.chat_format:
            settings.setdefault("chat_format", "chatml")
        self._fit_context(settings, base, metadata, variant)
        preset = variant.sampling_params(False) if sampling is None else sampling
        llama = Llama(model_path, config, preset, **settings)
        self.__setstate__({"_llama": llama, "_variant": variant, "_sampling": sampling, "_level": "medium"})

    @staticmethod
    def _fit_context(
        settings: dict[str, Any], config: LlamaConfig, metadata: Mapping[str, Any], variant: Variant
    ) -> None:
        """Lower n_ctx to what the model was trained for, and the batches to n_ctx."""
        sizes = {name: settings.get(name, getattr(config, name)) for name in ("n_ctx", "n_batch", "n_ubatch")}
        n_seq_max = settings.get("n_seq_max", config.n_seq_max)
        for name, value in {**sizes, "n_seq_max": n_seq_max}.items():
            if name != "n_ubatch" or value is not None:
                check_int(name, value, 1)
        trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
        most = trained if isinstance(trained, int) and trained > 0 else variant.max_ctx
        n_ctx = min(sizes["n_ctx"], most * n_seq_max)
        if n_ctx < sizes["n_ctx"]:
            reason = "n_ctx is lowered from %d to %d: the model was trained for %d tokens"
            logger.warning(reason, sizes["n_ctx"], n_ctx, most)
            settings.update(n_ctx=n_ctx, n_batch=min(sizes["n_batch"], n_ctx))
        n_batch = settings.get("n_batch", sizes["n_batch"])
        if sizes["n_ubatch"] is not None and sizes["n_ubatch"] > n_batch:
            settings["n_ubatch"] = n_batch

    # -- life ----------------------------------------------------------------------------------------------------------

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the place of a pickled instance, whose Llama was pickled as its path and configuration."""
        vars(self).update(state)  # with what a subclass has added
        self._llama: Llama = state["_llama"]
        self._variant: Variant = state["_variant"]
        self._sampling: SamplingParams | None = state["_sampling"]
        self._level: str = state["_level"]
        self._has_warned = False
        thinking = self._variant.thinking
        with contextlib.suppress(TemplateError):  # there is none, as the first call will say
            template = self._llama.chat_template()
            derived = template.syntax()
            fields: dict[str, Any] = {"end": tuple(dict.fromkeys([*derived.end, *self._variant.stop]))}
            if thinking.is_possible:
                fields |= thinking.syntax_fields(derived)
            template.override(fields)

    def __getstate__(self) -> dict[str, Any]:
        """Return what `__setstate__` takes."""
        return {name: value for name, value in vars(self).items() if name != "_has_warned"}

    def close(self) -> None:
        """Cancel what is running and release the model. May be called again."""
        self._llama.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<UnifiedLLM {self.variant}, {self._llama!r}>"

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def family(self) -> ModelFamily:
        """The model's family."""
        return self._variant.family

    @property
    def variant(self) -> str:
        """Name of the family's variant that it is, such as "qwen3-coder"."""
        return self._variant.name

    @property
    def config(self) -> ModelConfig:
        """What the family recommends."""
        return self._variant.config

    @property
    def supports_thinking(self) -> bool:
        """Whether the model can think before it answers."""
        return self._variant.supports_thinking

    @property
    def llama(self) -> Llama:
        """The instance that computes, for all that this class has no method for."""
        return self._llama

    def n_tokens(self, text: str) -> int:
        """Count the tokens of a text."""
        return self._llama.n_tokens(text)

    def n_ctx(self) -> int:
        """Return how many tokens the context holds."""
        return self._llama.n_ctx()

    def kv_cache_clear(self) -> None:
        """Empty the KV cache."""
        self._llama.kv_cache_clear()

    def set_reasoning_level(self, level: str) -> None:
        """Set how much a gpt-oss model thinks; it begins with "medium".

        Args:
            level: "low", "medium" or "high".

        Raises:
            ValidationError: for another level, or a model without levels.
        """
        if self._variant.thinking.switch != "level":
            raise ValidationError(f"{self.variant} has no reasoning levels; those of the family gpt-oss have")
        if level not in REASONING_LEVELS:
            raise ValidationError(f"level must be one of {', '.join(REASONING_LEVELS)}; got {level!r}")
        self._level = level

    @staticmethod
    def strip_thinking(text: str) -> str:
        """Return a model's raw text without its thinking, in whichever family's form that is."""
        check_text("text", text)
        return strip_thinking(text)

    # -- answers -------------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str,
        system_prompt: str | None = None,
        max_tokens: int | None = None,
        thinking: bool = False,
        stop: Stop = None,
        *,
        stream: bool = False,
        sampling: SamplingParams | None = None,
        seed: int | None = None,
        max_thinking_tokens: int | None = None,
        **options: Any,
    ) -> str | Iterator[str]:
        """Answer a prompt.

        Args:
            prompt: what the user says.
            system_prompt: what stands before it; None is what the chat template has there.
            max_tokens: tokens at most, those of thinking included; None is as many as the context holds.
            thinking: think before answering, also in the form of a `response_format`. Models that always think do so
                without it, too; for those that can't it has no effect, but for a warning in the log.
            stop: text, or a list of texts and token ids, before which the text ends, within thinking too; added to
                the family's own.
            stream: return an iterator that gives the answer as it comes.
            sampling: how tokens are chosen; the default is the instance's or, if it has none, the family's.
            seed: of the random choices.
            max_thinking_tokens: end the thinking after as many tokens, and go on to the answer.
            **options: what else `Llama.create_chat_completion` takes, such as `temperature`, `response_format`,
                `timeout` or `reset_kv_cache`, but for what `chat` is there for, such as `tools` and `n`.

        Returns:
            The answer, without the thinking. With stream, an iterator of texts, whose closing ends the generation.

        Raises:
            LlamaError: as `Llama.create_chat_completion` has it.
        """
        _refuse_chat_options(options)
        messages = _messages_of(prompt, system_prompt)
        arguments = self._arguments(messages, max_tokens, thinking, stop, sampling, seed, max_thinking_tokens, options)
        check_bool("stream", stream)
        answer = self._llama.create_chat_completion(**arguments, stream=stream)
        if stream:
            chunks = cast("Stream[ChatCompletionChunk]", answer)
            return Stream.over(_texts(chunks), chunks)
        return _parts(cast("ChatCompletion", answer))[1]

    def generate_with_thinking(
        self,
        prompt: str,
        system_prompt: str | None = None,
        max_tokens: int | None = None,
        stop: Stop = None,
        *,
        sampling: SamplingParams | None = None,
        seed: int | None = None,
        max_thinking_tokens: int | None = None,
        **options: Any,
    ) -> tuple[str, str]:
        """Think and answer a prompt.

        Args:
            prompt, system_prompt, max_tokens, stop, sampling, seed, max_thinking_tokens, **options: as `generate` has
                them.

        Returns:
            (thinking, answer). Thinking that max_tokens cuts off is thinking, with the answer "". For a model that
            can't think, the thinking is "".
        """
        _refuse_chat_options(options)
        messages = _messages_of(prompt, system_prompt)
        arguments = self._arguments(messages, max_tokens, True, stop, sampling, seed, max_thinking_tokens, options)
        return _parts(cast("ChatCompletion", self._llama.create_chat_completion(**arguments)))

    async def generate_async(
        self,
        prompt: str,
        system_prompt: str | None = None,
        max_tokens: int | None = None,
        thinking: bool = False,
        stop: Stop = None,
        *,
        stream: bool = False,
        sampling: SamplingParams | None = None,
        seed: int | None = None,
        max_thinking_tokens: int | None = None,
        **options: Any,
    ) -> str | AsyncIterator[str]:
        """Answer a prompt without blocking the event loop; see `generate`.

        With stream, an asynchronous iterator is returned once awaited. Cancelling the task ends the generation.
        """
        _refuse_chat_options(options)
        messages = _messages_of(prompt, system_prompt)
        arguments = self._arguments(messages, max_tokens, thinking, stop, sampling, seed, max_thinking_tokens, options)
        answer = await self._llama.create_chat_completion_async(**arguments, stream=stream)
        if stream:
            return _async_texts(cast("AsyncIterator[ChatCompletionChunk]", answer))
        return _parts(cast("ChatCompletion", answer))[1]

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        thinking: bool = False,
        stop: Stop = None,
        *,
        stream: bool = False,
        sampling: SamplingParams | None = None,
        seed: int | None = None,
        max_thinking_tokens: int | None = None,
        **options: Any,
    ) -> ChatCompletion | Iterator[ChatCompletionChunk]:
        """Answer messages, in OpenAI's shapes.

        Args:
            messages: dicts in OpenAI's form. The thinking of earlier answers is left out where the family's model
                card says so.
            max_tokens, thinking, stop, sampling, seed, max_thinking_tokens: as `generate` has them.
            stream: return an iterator over chunks.
            **options: what else `Llama.create_chat_completion` takes, such as `tools` and `tool_choice`.

        Returns:
            As `Llama.create_chat_completion` has it: thinking is in the message's `reasoning_content`.

        Raises:
            LlamaError: as `Llama.create_chat_completion` has it.
        """
        arguments = self._arguments(messages, max_tokens, thinking, stop, sampling, seed, max_thinking_tokens, options)
        return self._llama.create_chat_completion(**arguments, stream=stream)

    def generate_batch(
        self,
        prompts: Sequence[str],
        system_prompt: str | None = None,
        max_tokens: int | None = None,
        thinking: bool = False,
        stop: Stop = None,
        *,
        sampling: SamplingParams | None = None,
        seed: int | None = None,
        max_thinking_tokens: int | None = None,
        on_error: Literal["raise", "return"] = "raise",
        progress: bool = False,
        n_parallel: int | None = None,
        **options: Any,
    ) -> list[str | LlamaError]:
        """Answer many prompts side by side, and return the answers in the prompts' order.

        Args:
            prompts: what users say, each in a conversation of its own.
            system_prompt, max_tokens, thinking, stop, sampling, seed, max_thinking_tokens, **options: as `generate` has
                them. Each answer reserves memory for max_tokens: a number lets more of them run side by side.
            on_error, progress, n_parallel: as `Llama.generate_batch` has them.

        Returns:
            The answers, without the thinking (with on_error="return", a LlamaError in the place of one that failed).

        Raises:
            LlamaError: as `Llama.generate_batch` has it.
        """
        _refuse_chat_options(options)
        check_list("prompts", prompts)
        rows = [
            self._arguments(
                _messages_of(prompt, system_prompt, f"prompts[{index}]"),
                max_tokens,
                thinking,
                stop,
                sampling,
                seed,
                max_thinking_tokens,
                options,
            )
            for index, prompt in enumerate(prompts)
        ]
        results = self._llama.generate_batch(rows, on_error=on_error, progress=progress, n_parallel=n_parallel)
        return [result if isinstance(result, LlamaError) else _answer_of(result) for result in results]

    # ------------------------------------------------------------------------------------------------------------------

    def _arguments(
        self,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None,
        thinking: bool,
        stop: Stop,
        sampling: SamplingParams | None,
        seed: int | None,
        max_thinking_tokens: int | None,
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the arguments of `Llama.create_chat_completion` that the family makes of a call's."""
        check_bool("thinking", thinking)
        ways = self._variant.thinking
        if thinking and not ways.is_possible and not self._has_warned:
            self._has_warned = True
            logger.warning("thinking has no effect: %s can't think", self.variant)
        conversation = check_messages(messages)
        if ways.strip_history:
            conversation = _without_old_thinking(conversation, ways.tags)
        else:
            conversation = [_with_thinking(message, ways) for message in conversation]
        if ways.switch == "suffix" and not thinking:
            conversation = _with_suffix(conversation, ways.key)
        # What Llama takes for the wish to think before an answer in a certain form; templates may know it or not.
        wish = {"enable_thinking": True} if thinking and ways.is_possible else {}
        kwargs = {**wish, **ways.template_kwargs(thinking, self._level), **(options.get("chat_template_kwargs") or {})}
        preset = self._sampling if sampling is None else sampling
        arguments = {
            **options,
            "messages": conversation,
            "max_tokens": max_tokens,
            "stop": stop,
            "sampling": self._variant.sampling_params(thinking) if preset is None else preset,
            "seed": seed,
            "chat_template_kwargs": kwargs,
        }
        if max_thinking_tokens is not None:
            check_int("max_thinking_tokens", max_thinking_tokens, 0)
            if ways.is_possible and not self._is_held(options, kwargs):
                arguments["logits_processor"] = self._with_budget(max_thinking_tokens, kwargs, options)
        return arguments

    def _is_held(self, options: Mapping[str, Any], kwargs: Mapping[str, Any]) -> bool:
        """Tell whether the answer is held to a grammar from its first token on, so that there is no thinking."""
        wanted = options.get("response_format")
        if wanted is None or (isinstance(wanted, Mapping) and wanted.get("type") == "text"):
            return options.get("grammar") is not None
        return not self._llama.chat_template().syntax(**kwargs).thinks_first(kwargs)

    def _with_budget(self, n_tokens: int, kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> list[Any]:
        """Return a call's logits processors, the one that ends its thinking among them."""
        if options.get("n") not in (None, 1):
            raise ValidationError("max_thinking_tokens counts in one answer; leave out n")
        others = options.get("logits_processor") or []
        ways, llama = self._variant.thinking, self._llama
        start, closing = (
            llama.tokenize(text, add_special=False, parse_special=True)
            for text in (ways.tags[0], ways.closing(may_call=bool(options.get("tools"))))
        )
        budget = ThinkingBudget(
            n_tokens,
            ways.tags,
            llama.chat_template().syntax(**kwargs).thinks_already,
            start,
            closing,
            lambda tokens: llama.detokenize(tokens, remove_special=False, unparse_special=True),
        )
        return [*([others] if callable(others) else others), budget]


def _refuse_chat_options(options: Mapping[str, Any]) -> None:
    for name in ("messages", "n", "stream", "stream_options", "tools", "tool_choice", "logprobs", "top_logprobs"):
        if name in options:
            raise ValidationError(f"this method returns one text, and takes no {name}; use chat")


def _messages_of(prompt: str, system_prompt: str | None, name: str = "prompt") -> list[dict[str, Any]]:
    check_text(name, prompt)
    messages = [{"role": "user", "content": prompt}]
    if system_prompt is not None:
        check_text("system_prompt", system_prompt)
        messages.insert(0, {"role": "system", "content": system_prompt})
    return messages


def _without_old_thinking(messages: list[dict[str, Any]], tags: tuple[str, str]) -> list[dict[str, Any]]:
    """Leave out what was thought before the last question; what was thought since then goes on."""
    questions = [index for index, message in enumerate(messages) if message["role"] == "user"]
    old = questions[-1] if questions else 0
    return [_answer_alone(message, tags) if i < old else message for i, message in enumerate(messages)]


def _answer_alone(message: dict[str, Any], tags: tuple[str, str]) -> dict[str, Any]:
    if message["role"] != "assistant":
        return message
    kept = {key: value for key, value in message.items() if key not in _REASONING}
    if tags[1] in kept["content"]:
        kept["content"] = strip_thinking(kept["content"])
    return kept


def _with_thinking(message: dict[str, Any], ways: Thinking) -> dict[str, Any]:
    """Write an answer's thinking into its content, since the templates of families that keep it know no other place."""
    thought = next((message[key] for key in _REASONING if message.get(key)), None)
    if message["role"] != "assistant" or thought is None:
        return message
    kept = {key: value for key, value in message.items() if key not in _REASONING}
    return {**kept, "content": thought.join(ways.tags) + kept["content"].join(ways.answer_tags)}


def _with_suffix(messages: list[dict[str, Any]], suffix: str) -> list[dict[str, Any]]:
    """Put a text behind the last question."""
    for index in reversed(range(len(messages))):
        if messages[index]["role"] == "user":
            asked = {**messages[index], "content": messages[index]["content"] + suffix}
            return [*messages[:index], asked, *messages[index + 1 :]]
    return messages


def _parts(answer: ChatCompletion) -> tuple[str, str]:
    """Return the thinking and the answer."""
    message = answer["choices"][0]["message"]
    return message.get("reasoning_content", ""), message["content"] or ""


def _answer_of(result: GenerationResult) -> str:
    assert result.message is not None
    return result.message["content"] or ""


def _texts(chunks: Stream[ChatCompletionChunk]) -> Generator[str]:
    """Give the answer's text; being closed early ends the generation."""
    with chunks:
        for chunk in chunks:
            if text := _text_of(chunk):
                yield text


async def _async_texts(chunks: AsyncIterator[ChatCompletionChunk]) -> AsyncIterator[str]:
    """Give the answer's text; being closed early ends the generation."""
    async with contextlib.aclosing(cast(Any, chunks)):
        async for chunk in chunks:
            if text := _text_of(chunk):
                yield text


def _text_of(chunk: ChatCompletionChunk) -> str:
    return "".join(str(choice["delta"].get("content") or "") for choice in chunk["choices"])
