"""Llama: the facade that users meet."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import os
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from . import _core, logs
from .compat.keywords import InstanceOptions, as_flag, fit_batches, split_keywords
from .compat.mixin import CompatMixin, is_token_call
from .compat.tokens import DetokenizedText
from .completions import (
    SAMPLING_NAMES,
    completion,
    includes_usage,
    logprobs_after,
    logprobs_of,
    new_id,
    sampling_of,
    split_options,
    text_choice,
    usage_of,
)
from .config import (
    DEFAULT_MAX_TOKENS,
    INT32_MAX,
    POOLING_TYPES,
    RANDOM_SEEDS,
    DefaultInt,
    LlamaConfig,
    SamplingParams,
    as_list,
    check_bool,
    check_c_text,
    check_file,
    check_float,
    check_int,
    check_known,
    check_list,
    check_path,
    check_seed,
    check_text,
    check_texts,
    recommended_sampling,
    refuse_unknown,
    replace,
)
from .engine import (
    CONTROL,
    MAX_PARALLEL,
    USER_DEFINED,
    Engine,
    Generation,
    LogitsProcessor,
    Request,
    batch_config,
    common_prefix,
    embedding_config,
    session_config,
)
from .errors import ClosedError, LlamaError, ModelLoadError, TemplateError, ValidationError
from .lora import LoraAdapter
from .results import Choice, GenerationResult, TextLogprobs
from .streams import Stream

if TYPE_CHECKING:
    from types import TracebackType

    from tqdm.auto import tqdm
    from typing_extensions import Self, Unpack

    # Imported where they are first needed: chat, grammars and states take as long as the rest of the package.
    from .chat.syntax import Syntax
    from .chat.template import ChatTemplate
    from .chat_completions import ChatCall
    from .compat.speculative import LlamaDraftModel
    from .compat.state import LlamaState
    from .embedding import Embedder
    from .grammar.grammar import LlamaGrammar
    from .session import Session
    from .state import SequenceState
    from .types import ChatCompletion, ChatCompletionChunk, Completion, EmbeddingResponse

Prompt = str | Sequence[int]
Row = Prompt | Sequence[Mapping[str, Any]] | Mapping[str, Any]
Stop = str | Sequence[str | int] | None
DEFAULT_DRAFT_TOKENS = 8
MAX_DRAFT_TOKENS = 64
LogitsProcessors = LogitsProcessor | Sequence[LogitsProcessor] | None
Lora = Sequence[LoraAdapter | tuple[LoraAdapter, float]] | None

OVERFLOWS = ("error", "truncate", "shift")


class RequestOptions(TypedDict, total=False):
    """What every way of generating takes besides the arguments that it names.

    Attributes:
        timeout: seconds from its start until the generation is given up; None for never.
        logits_processor: a callable, or a list of them, that sees (token ids, logits) as NumPy arrays of shapes
            (n_tokens,) and (n_vocab,) before each token is chosen, and changes the logits in place or returns others.
            True ends the generation there, with finish_reason "stop". It is called from whichever thread takes the
            engine's steps.
        draft_tokens: speculative decoding: guess as many tokens before each step, and compute them in one batch. The
            guesses are the draft model's, or, if there is none, what followed when the last tokens were said before
            (prompt lookup), which pays where answers repeat parts of the prompt. The answer is the same but for
            near-ties (see `reset_kv_cache`). Recurrent models, and sliding windows without swa_full, take no guesses.
            None is 8 with a draft model, and 0 without.
        lora: adapters to compute with, as LoraAdapters or (LoraAdapter, scale) pairs, in place of those that the
            instance has loaded; [] for none of them.
        overflow: what happens where the context is too small: "error" refuses a prompt that does not fit, and ends an
            answer with finish_reason "length"; "truncate" leaves out the middle of such a prompt; "shift" does so too,
            and when the context is full drops the older half of it and goes on, which not every memory can do. How
            many tokens were left out is in the result's usage.
        grammar: a LlamaGrammar that the text is held to. A token is chosen first, and the others are looked at only if
            the grammar rejects it; an end-of-generation token is allowed when the text is complete. The result's
            `matches_grammar` tells whether it came to that.
        n_keep: tokens at the beginning that "truncate" and "shift" always keep, half of the context at most; a BOS is
            kept anyway.
    """

    timeout: float | None
    logits_processor: LogitsProcessors
    draft_tokens: int | None
    lora: Lora
    overflow: Literal["error", "truncate", "shift"]
    n_keep: int
    grammar: LlamaGrammar | None


_CHAT_OPTIONS = (
    "max_tokens",
    "max_completion_tokens",
    "sampling",
    "stop",
    "seed",
    "n",
    "logprobs",
    "top_logprobs",
    "stream",
    "stream_options",
    "reset_kv_cache",
    "response_format",
    "grammar",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template_kwargs",
    "reasoning_effort",
    "chat_format",
    "model",
    "sampling",
)
# Those of them that mean nothing for one row among others.
_NOT_IN_ROWS = ("n", "stream", "stream_options", "reset_kv_cache")
_OPTIONS = tuple(RequestOptions.__annotations__)
_ROW_FIELDS = ("max_tokens", "sampling", "stop", "seed", "logprobs", *_OPTIONS)


class Llama(CompatMixin):
    """A language model in this process.

    Args:
        model_path: GGUF file. May be left out if config names it.
        config: how the model is loaded and its context made; the default is `LlamaConfig()`.
        sampling: how tokens are chosen where a call does not say, of whatever kind it is; the default is what the GGUF
            recommends (general.sampling.*), and for the rest `SamplingParams()`, or in calls by llama-cpp-python's
            names that package's defaults (docs/generating.md has the table).
        draft_model: a smaller model with the same vocabulary, as another Llama or the path of a GGUF file, whose
            guesses this one confirms in batches (speculative decoding); or LlamaPromptLookupDecoding.
        model: the `model` of another Llama, whose weights this one then shares; they are freed with the last of them.
        progress_callback: is called while the file loads, with the share of it that is there (0 to 1), and stops it by
            returning False.
        **keywords: fields of LlamaConfig, which take the place of those in config, and what else llama-cpp-python's
            `Llama` takes (see docs/migration.md). n_ctx may be 0 or None here, for what the model was trained with.

    Raises:
        ModelLoadError: if the file can't be loaded, or no context can be made for it.
        ValidationError: for a setting of the wrong type or range.

    Warns:
        LlamaWarning: for an unknown keyword, or one without effect; programs of llama-cpp-python pass such.

    Examples:
        >>> with Llama("model.gguf", n_ctx=2048) as llm:
        ...     print(llm.generate("The capital of France is", max_tokens=8))
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str] | None = None,
        config: LlamaConfig | None = None,
        sampling: SamplingParams | None = None,
        *,
        draft_model: Llama | str | os.PathLike[str] | LlamaDraftModel | None = None,
        model: _core.Model | None = None,
        progress_callback: Callable[[float], object] | None = None,
        **keywords: Any,
    ) -> None:
        added = set(vars(self))  # by a subclass, before it called this
        if config is not None and not isinstance(config, LlamaConfig):
            raise ValidationError(f"config must be a LlamaConfig, got {config!r}")
        base = LlamaConfig() if config is None else config
        is_model = draft_model is None or isinstance(draft_model, (Llama, str, os.PathLike))
        overrides, options = split_keywords(keywords, None if is_model else draft_model)
        if model_path is not None:
            if check_path("model_path", model_path) != os.fspath(base.model_path) and base.model_path:
                raise ValidationError(f"model_path is {model_path!r}, but config.model_path is {base.model_path!r}")
            overrides["model_path"] = model_path
        if model is not None:
            if not isinstance(model, _core.Model):
                raise ValidationError(f"model must be the model of another Llama, got {model!r}")
            overrides.setdefault("model_path", base.model_path or model.path)
        if options.n_ctx_from_model:
            overrides["n_ctx"] = INT32_MAX  # until the model is there to be asked
        fit_batches(overrides, overrides.get("n_ctx", base.n_ctx))
        self._config: LlamaConfig = replace(base, LlamaConfig, overrides)
        _check_sampling(sampling)
        logs.set_verbose(self._config.verbose)
        _warn_without_gpu(self._config)
        if options.numa:
            from .compat.lowlevel import spread_over_numa_nodes

            spread_over_numa_nodes(options.numa)
        self._closed = False
        self._weights = self._load(model, progress_callback).acquire()
        metadata = {**self._model.metadata(), **(self._config.kv_overrides or {})}
        self._given_sampling, self._recommended = sampling, recommended_sampling(metadata)
        if options.rows_per_token and self._config.enum("pooling_type") < 0 and not _pools(metadata):
            overrides["pooling_type"] = "none"
            self._config = replace(base, LlamaConfig, overrides)
        self._vocab = self._model.vocab
        if options.n_ctx_from_model:
            overrides["n_ctx"] = self._model.n_ctx_train() or base.n_ctx
            fit_batches(overrides, overrides["n_ctx"])
            self._config = replace(base, LlamaConfig, overrides)
        self._begin_compat(options)
        self._loras: dict[LoraAdapter, None] = {}
        self._adapters: weakref.WeakValueDictionary[int, LoraAdapter] = weakref.WeakValueDictionary()
        self._control_vector: _ControlVector | None = None
        self._templates: dict[str, ChatTemplate] = {}
        self._owns_draft = isinstance(draft_model, (str, os.PathLike))
        self._draft_model = self._load_draft(draft_model)
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()  # all that are in use
        self._engine: Engine | None = None
        self._engine_lock = threading.Lock()
        self._batch_engine: Engine | None = None
        self._batch_lock = threading.RLock()  # taken by generators that the garbage collector may close anywhere
        self._session_engine: Engine | None = None
        self._embedder: Embedder | None = None
        self._embedding_lock = threading.Lock()
        # What the instance is for is made at once, so that a lack of memory shows here; the other when it is needed.
        if self._config.embeddings and not self._config.vocab_only:
            self._require_embedder()
        elif not self._config.vocab_only:
            self._require_engine()
        if options.lora_path is not None:
            self.load_lora(options.lora_path, options.lora_scale)
        self._own_attributes = {*vars(self), "_own_attributes"} - added

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str,
        *,
        additional_files: Sequence[str] | None = None,
        local_dir: str | os.PathLike[str] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load a model from the Hugging Face hub, fetching it if need be (needs the extra `hub`).

        Args:
            repo_id: repository, such as "Qwen/Qwen3-0.6B-GGUF".
            filename: name of the file there, or a pattern that fits exactly one, such as "*Q8_0.gguf".
            additional_files: names or patterns of further files to fetch, such as the other parts of a split model.
            local_dir: folder to put the files into, instead of the hub's cache.
            cache_dir: where the hub's cache is.
            revision: branch, tag or commit; the default is the main branch.
            **kwargs: arguments of the constructor.

        Raises:
            ModelLoadError: if the file can't be fetched or loaded.
            ValidationError: if the pattern fits no file, or several.
        """
        from . import hub

        kwargs.pop("local_dir_use_symlinks", None)  # the hub's client has no choice there any more
        path = hub.download_pretrained(
            repo_id,
            filename,
            additional_files=additional_files,
            local_dir=local_dir,
            cache_dir=cache_dir,
            revision=revision,
        )
        return cls(path, **kwargs)

    def _load(self, model: _core.Model | None, progress_callback: Callable[[float], object] | None) -> _core.Model:
        """Load the model, unless there is one that was loaded of the same file."""
        if model is not None:
            if os.fspath(self._config.model_path) != model.path:
                raise ValidationError(f"model was loaded from {model.path!r}, and not {self._config.model_path!r}")
            model.check()
            return model
        if progress_callback is not None and not callable(progress_callback):
            raise ValidationError(f"progress_callback must be callable, got {progress_callback!r}")
        check_file(self._config.model_path)
        model = _core.Model(self._config, progress_callback)
        _check_metadata(model, self._config)
        return model

    def _load_draft(self, draft_model: object) -> _core.Model | None:
        if isinstance(draft_model, Llama):
            draft_model._require_open()
            return draft_model._model
        if not isinstance(draft_model, (str, os.PathLike)):
            return None
        config: LlamaConfig = replace(self._config, LlamaConfig, {"model_path": draft_model, "kv_overrides": None})
        check_file(config.model_path)
        model = _core.Model(config)
        _check_metadata(model, config)
        return model

    # -- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what is running and release the contexts, then the model. May be called again."""
        for engine in list(self._engines):
            engine.close()
        if self._embedder is not None:
            self._embedder.close()
        if self._draft_model is not None and self._owns_draft:
            self._draft_model.close()
        if not self._closed:
            self._weights.release()
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed or self._weights.closed else f"n_ctx={self._config.n_ctx}"
        return f"<Llama {os.fspath(self._config.model_path)!r}, {state}>"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the path and the configuration, of which another process makes an instance of its own.

        Attributes that a subclass or a program has added come along.
        """
        draft = None if self._draft_model is None else self._draft_model.path
        loras = [(adapter.path, adapter.scale) for adapter in self._loras]
        options = self._options._replace(chat_handler=self.chat_handler, lora_path=None)
        made_of = (type(self), self._config, self._given_sampling, draft, loras, self._control_vector, options)
        # What Llama caches later has the name of a property.
        own = {*self._own_attributes, *dir(Llama)}
        return _restore, made_of, {name: value for name, value in vars(self).items() if name not in own}

    @property
    def model(self) -> _core.Model:
        """The weights, for another Llama to share; ctypes takes it as the address of a llama_model."""
        return self._model

    @property
    def ctx(self) -> _core.Context:
        """The context that generates; ctypes takes it as the address of a llama_context."""
        return self._require_engine().context

    @property
    def _model(self) -> _core.Model:
        if self._closed:
            raise ClosedError("this Llama is closed")
        return self._weights

    @property
    def model_path(self) -> str:
        """Path of the GGUF file."""
        return os.fspath(self._config.model_path)

    @property
    def config(self) -> LlamaConfig:
        """A copy of the configuration in use."""
        return dataclasses.replace(self._config)

    @property
    def sampling(self) -> SamplingParams:
        """A copy of how tokens are chosen where `generate` and its kin do not say."""
        return dataclasses.replace(self._samplings.generate)

    # -- generation ----------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: Prompt,
        max_tokens: int | None = 128,
        sampling: SamplingParams | None = None,
        stop: Stop = None,
        echo: bool = False,
        logprobs: int | None = None,
        stream: bool = False,
        seed: int | None = None,
        reset_kv_cache: bool = True,
        **options: Unpack[RequestOptions],
    ) -> str | Iterator[str] | Iterator[Completion] | Completion | Generator[int, Sequence[int] | None, None]:
        """Continue a prompt.

        With token ids that came from bytes, or an argument of llama-cpp-python's such as `temp`, and none of this
        method's own, it is that package's generator of token ids, without end.

        Args:
            prompt: text, or token ids.
            max_tokens: tokens to generate at most; None or -1 is as many as the context holds. A context that is full
                earlier ends the generation too, with a warning in the log.
            sampling: how tokens are chosen; the default is the instance's.
            stop: text, or a list of texts and token ids, before which the generation ends.
            echo: put the prompt before the text.
            logprobs: report the log-probability of each token, and those of this many likeliest ones, from the model's
                own distribution, before samplers change it. With echo, the prompt's tokens are reported too.
            stream: return an iterator that gives the text as it comes.
            seed: of the random choices, which makes the text repeatable; None or -1 leaves it to `sampling`, then to
                the instance's seed, of which each call takes the next number, then to chance.
            reset_kv_cache: begin with an empty memory. If False, the prompt is appended to the last sequence, without a
                second BOS, and only what is new is computed.
            **options: the fields of RequestOptions: `timeout`, `logits_processor`, `draft_tokens`, `lora`, `overflow`,
                `n_keep`, `grammar`.

        Returns:
            The text. With logprobs, OpenAI's completion as a dict. With stream, an iterator of such texts or dicts;
            closing it, or dropping it, ends the generation.

        Raises:
            ValidationError: for an argument of the wrong type or range, or an unknown one.
            ContextFullError: if the prompt does not fit into the context; the sequence in memory stays as it is.
            GenerationTimeoutError: if the timeout is over; `.text` has what there was until then.
            GenerationError: if llama.cpp fails; likewise.
        """
        if (max_tokens, sampling, stop, logprobs) == (128, None, None, None) and is_token_call(prompt, options):
            return self._generate_tokens(prompt, seed=seed, **options)
        check_bool("stream", stream)
        request = self._request(
            prompt, max_tokens, sampling, stop, seed, options, logprobs, echo, stream, reset_kv_cache=reset_kv_cache
        )
        generation = self._require_engine().submit(request)
        head = request.head or ""
        if not stream:
            result = generation.result()
            text = head + result.text
            return text if logprobs is None else self._as_completion(text, result)
        if logprobs is None:
            return Stream(_prefixed(head, generation), generation.close)
        return Stream(self._logprob_chunks(generation, head), generation.close)

    def generate_stream(
        self,
        prompt: Prompt,
        max_tokens: int | None = 128,
        sampling: SamplingParams | None = None,
        stop: Stop = None,
        seed: int | None = None,
        reset_kv_cache: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Generation:
        """Continue a prompt, and give the text as its tokens are decoded.

        A piece is held back while it could be the beginning of a stop text or of a character.

        Args:
            prompt, max_tokens, sampling, stop, seed, reset_kv_cache, **options: as `generate` has them.

        Returns:
            An iterator over str, whose `result()` has the rest (see `generate_result`), and which `close()`, leaving a
            `with` block and the garbage collector end early.

        Raises:
            LlamaError: as `generate` has it, for the arguments at once and for the rest while iterating.
        """
        request = self._request(
            prompt, max_tokens, sampling, stop, seed, options, stream=True, reset_kv_cache=reset_kv_cache
        )
        return self._require_engine().submit(request)

    def generate_result(
        self,
        prompt: Prompt,
        max_tokens: int | None = 128,
        sampling: SamplingParams | None = None,
        stop: Stop = None,
        echo: bool = False,
        logprobs: int | None = None,
        seed: int | None = None,
        reset_kv_cache: bool = True,
        **options: Unpack[RequestOptions],
    ) -> GenerationResult:
        """Continue a prompt, and return all that is known of the generation.

        Args:
            prompt, max_tokens, sampling, stop, logprobs, seed, reset_kv_cache, **options: as `generate` has them.
            echo: report the log-probabilities of the prompt's tokens too.

        Returns:
            Text, token ids, finish reason, counts, times, the seed, and log-probabilities if they were asked for.

        Raises:
            LlamaError: as `generate` has it.
        """
        request = self._request(
            prompt, max_tokens, sampling, stop, seed, options, logprobs, echo, reset_kv_cache=reset_kv_cache
        )
        return self._require_engine().submit(request).result()

    def generate_batch(
        self,
        prompts: Iterable[Row],
        *,
        max_tokens: int | None = DEFAULT_MAX_TOKENS,
        sampling: SamplingParams | None = None,
        stop: Stop = None,
        seed: int | None = None,
        logprobs: int | None = None,
        on_error: Literal["raise", "return"] = "raise",
        progress: bool = False,
        n_parallel: int | None = None,
        share_prefix: bool = True,
        **options: Unpack[RequestOptions],
    ) -> list[GenerationResult | LlamaError]:
        """Continue many prompts side by side, and return the results in the prompts' order.

        Args:
            prompts: any iterable of texts, lists of token ids, lists of chat messages, or dicts such as
                {"prompt": ..., "max_tokens": ...} with a row's own `max_tokens`, `sampling`, `stop`, `seed`, `logprobs`
                and fields of SamplingParams and RequestOptions, or {"messages": [...], "tools": [...], ...} with what
                `create_chat_completion` takes. Rows with other adapters than those that are being computed wait for
                their turn.
            max_tokens, sampling, stop, seed, logprobs, **options: as `generate` has them, for rows that don't say.
            on_error: "raise" ends the batch at the first row that fails; "return" puts its exception in its place.
            progress: show a progress bar with rows and tokens per second.
            n_parallel: rows to decode together; the default depends on the memory at hand, 16 at most.
            share_prefix: compute a prefix that rows have in common once. The parts of a prompt are then computed in
                batches of another shape, which may tip the balance between two tokens that are almost equally likely.

        Returns:
            A GenerationResult for each prompt (or, with on_error="return", a LlamaError). Those of messages have the
            answer, with its reasoning and tool calls told apart, as `message`.

        Raises:
            ValidationError: for an argument of the wrong type or range.
            LlamaError: what the first row to fail raised; its message begins with the row's index, and `.results` of
                the exception has what the rows before it in time have given, by index.
        """
        done: dict[int, GenerationResult | LlamaError] = {}
        rows = self.iter_batch(
            prompts,
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            seed=seed,
            logprobs=logprobs,
            on_error="return",
            progress=progress,
            n_parallel=n_parallel,
            share_prefix=share_prefix,
            **options,
        )
        _check_on_error(on_error)
        for index, result in rows:
            if on_error == "raise" and isinstance(result, LlamaError):
                rows.close()
                result.results = done
                raise result
            done[index] = result
        return [done[index] for index in range(len(done))]

    def generate_n(
        self,
        prompt: Prompt,
        n: int,
        *,
        best_of: int | None = None,
        max_tokens: int | None = 128,
        sampling: SamplingParams | None = None,
        stop: Stop = None,
        seed: int | None = None,
        **options: Unpack[RequestOptions],
    ) -> list[GenerationResult]:
        """Continue one prompt in several ways, side by side; the prompt is computed once.

        Args:
            prompt, max_tokens, sampling, stop, **options: as `generate` has them.
            n: continuations to return.
            best_of: continuations to generate; those with the highest mean log-probability of a token are returned,
                the best one first. The default is n, in no particular order.
            seed: of the first continuation; the others have the numbers that follow.

        Raises:
            LlamaError: as `generate` has it.
        """
        refuse_unknown("argument", options.keys() - set(_OPTIONS), (*_ROW_FIELDS, "prompt", "n", "best_of"))
        check_int("n", n, 1)
        count = n if best_of is None else best_of
        check_int("best_of", count, n)
        check_seed("seed", seed)
        params = _check_sampling(sampling) or self._samplings.generate
        first = self._draw_seed(seed, params)
        rows = self.generate_batch(
            [{"prompt": prompt, "seed": (first + i) % 0xFFFFFFFF} for i in range(count)],
            max_tokens=max_tokens,
            sampling=sampling,
            stop=stop,
            logprobs=None if best_of is None else 0,
            **options,
        )
        results = [row for row in rows if isinstance(row, GenerationResult)]
        if best_of is None:
            return results
        return sorted(results, key=_mean_logprob, reverse=True)[:n]

    def iter_batch(
        self,
        prompts: Iterable[Row],
        *,
        max_tokens: int | None = DEFAULT_MAX_TOKENS,
        sampling: SamplingParams | None = None,
        stop: Stop = None,
        seed: int | None = None,
        logprobs: int | None = None,
        on_error: Literal["raise", "return"] = "raise",
        progress: bool = False,
        n_parallel: int | None = None,
        share_prefix: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Generator[tuple[int, GenerationResult | LlamaError]]:
        """Continue many prompts side by side, and give (index, result) as rows end.

        Prompts are read a few dozen ahead of the results, so that an endless iterable runs in a fixed amount of memory.
        Closing the iterator cancels what is running.

        Args:
            prompts, max_tokens, sampling, stop, seed, logprobs, on_error, progress, n_parallel, share_prefix,
                **options: as `generate_batch` has them.

        Raises:
            LlamaError: as `generate_batch` has it.
        """
        batch_keywords = ("prompts", "on_error", "progress", "n_parallel", "share_prefix")
        refuse_unknown("argument", options.keys() - set(_OPTIONS), (*_ROW_FIELDS, *batch_keywords))
        _check_on_error(on_error)
        check_bool("progress", progress)
        check_bool("share_prefix", share_prefix)
        if n_parallel is not None:
            check_int("n_parallel", n_parallel, 1, 256)
        if isinstance(prompts, (str, bytes, Mapping)) or not isinstance(prompts, Iterable):
            raise ValidationError(f"prompts must be an iterable of prompts, got {prompts!r}; for one, use generate")
        defaults: dict[str, Any] = {
            "max_tokens": max_tokens,
            "sampling": sampling,
            "stop": stop,
            "seed": seed,
            "logprobs": logprobs,
            **options,
        }
        # A default that is wrong concerns no row, and fails at once; the seed is the first row's to draw.
        self._row_request("-", {**defaults, "seed": 0 if seed is None else seed})
        pending: dict[int, Generation] = {}

        def cancel() -> None:
            for generation in list(pending.values()):
                generation.close()

        rows = self._row_requests(prompts, defaults, share_prefix)
        make_bar = functools.partial(_Progress, progress, prompts)
        return Stream(self._run_batch(rows, make_bar, on_error, n_parallel, pending), cancel)

    def _run_batch(
        self,
        requests: Iterator[Request | LlamaError],
        make_bar: Callable[[], _Progress],
        on_error: str,
        n_parallel: int | None,
        pending: dict[int, Generation],
    ) -> Generator[tuple[int, GenerationResult | LlamaError]]:
        rows = self._run_rows(requests, n_parallel, pending)
        with make_bar() as bar, contextlib.closing(rows):
            for index, result in rows:
                bar.add(result)
                if isinstance(result, LlamaError) and on_error == "raise":
                    raise result
                yield index, result

    def _run_rows(
        self, requests: Iterator[Request | LlamaError], n_parallel: int | None, pending: dict[int, Generation]
    ) -> Generator[tuple[int, GenerationResult | LlamaError]]:
        """Run requests in an engine that is made for the first of them, and in another one from a longer one on."""
        numbered = enumerate(requests)
        longer: list[tuple[int, Request | LlamaError]] = []
        window = 2 * (n_parallel or MAX_PARALLEL)
        while first := [*longer, *itertools.islice(numbered, window)]:
            longer.clear()
            with self._batch_engine_for([row for _, row in first], n_parallel) as engine:
                fitting = self._fitting(numbered, engine.context.n_ctx_seq, longer)
                yield from engine.run_many(itertools.chain(first, fitting), 2 * engine.context.n_seq_max, pending)

    def _fitting(
        self,
        rows: Iterable[tuple[int, Request | LlamaError]],
        n_ctx_seq: int,
        longer: list[tuple[int, Request | LlamaError]],
    ) -> Iterator[tuple[int, Request | LlamaError]]:
        """Give rows up to the first that may come to more tokens than a sequence has; that one goes into the list."""
        for index, row in rows:
            if isinstance(row, Request) and self._need(row) > n_ctx_seq:
                longer.append((index, row))
                return
            yield index, row

    def _row_requests(
        self, rows: Iterable[Row], defaults: dict[str, Any], share_prefix: bool
    ) -> Iterator[Request | LlamaError]:
        """Make a request, or the error that it earns, of each row."""
        for row in rows:
            try:
                request = self._chat_row(row, defaults) if _is_chat(row) else self._prompt_row(row, defaults)
                request.share = share_prefix and request.overflow != "shift"
                yield request
            except ValidationError as error:
                yield error

    def _prompt_row(self, row: Any, defaults: dict[str, Any]) -> Request:
        if not isinstance(row, Mapping):
            return self._row_request(row, defaults)
        check_known("row field", row, ("prompt", "messages", *_ROW_FIELDS, *SAMPLING_NAMES))
        if "prompt" not in row:
            raise ValidationError('a row that is a dict must have a "prompt", or "messages"')
        own = {name: value for name, value in row.items() if name not in SAMPLING_NAMES}
        fields = _with_defaults(own, defaults)
        fields["sampling"] = sampling_of(_check_sampling(fields["sampling"]) or self._samplings.generate, row)
        return self._row_request(fields.pop("prompt"), fields)

    def _chat_row(self, row: Any, defaults: dict[str, Any]) -> Request:
        own = dict(row) if isinstance(row, Mapping) else {"messages": row}
        for name in ("prompt", *_NOT_IN_ROWS):
            if name in own:
                raise ValidationError(f"a row with messages has one answer to them, and can't have {name!r}")
        fields = _with_defaults(own, defaults)
        if own.get("response_format") is not None or own.get("tools"):  # what the answer is held to is the row's matter
            fields["grammar"] = own.get("grammar")
        if "logprobs" not in own and defaults["logprobs"] is not None:
            fields.update(logprobs=True, top_logprobs=defaults["logprobs"])
        _, (request,) = self._chat(fields.pop("messages"), fields)
        return request

    def _row_request(self, prompt: Prompt, fields: dict[str, Any]) -> Request:
        names = ("max_tokens", "sampling", "stop", "seed", "logprobs")
        max_tokens, sampling, stop, seed, logprobs = (fields.get(name) for name in names)
        options = {name: fields[name] for name in fields if name not in names}
        if isinstance(max_tokens, DefaultInt):
            max_tokens = int(max_tokens)  # a text that goes on has no end to be missed
        return self._request(prompt, max_tokens, sampling, stop, seed, options, logprobs)

    @contextlib.contextmanager
    def _batch_engine_for(self, first: Sequence[Request | LlamaError], n_parallel: int | None) -> Iterator[Engine]:
        """Give an engine for batches, which stays open as long as it has users, or something to do."""
        with self._batch_lock:
            engine = self._require_batch_engine(first, n_parallel)
            engine.users += 1
        try:
            yield engine
        finally:
            with self._batch_lock:
                engine.users -= 1

    def _require_batch_engine(self, first: Sequence[Request | LlamaError], n_parallel: int | None) -> Engine:
        """Return an engine for batches, made anew if the one of the last batch does not fit this one.

        One that is busy is shared, if it takes rows of this length. Else it is let go of, and done when its work is.
        """
        main = self._require_engine()
        rows = [row for row in first if isinstance(row, Request)]
        n_tokens = max(map(self._need, rows), default=1)
        n_shared = common_prefix(*(row.tokens for row in rows)) if len(rows) > 1 and rows[0].share else 0
        with self._batch_lock:
            engine = self._batch_engine
            if engine is not None and not engine.idle and engine.context.n_ctx_seq >= n_tokens:
                return engine
            others = [other for other in self._engines if other not in (main, self._session_engine) and not other.idle]
            n_taken = sum(other.context.n_ctx for other in others)
            config = batch_config(self._model, main.config, n_tokens, n_parallel, n_shared, n_taken)
            n_ctx_seq = main.context.n_ctx_seq
            if not config.kv_unified:
                n_ctx_seq = min(n_ctx_seq, config.n_ctx // config.n_seq_max)
            if engine is None or engine in others or not engine.fits(config):
                if engine is not None and engine not in others:
                    engine.close()
                self._batch_engine = engine = self._new_engine(config, n_ctx_seq, movable=True)
            return engine

    def _need(self, row: Request) -> int:
        """Return how many tokens a row may come to."""
        most = self._require_engine().context.n_ctx_seq
        return min(most, len(row.tokens) + (row.max_tokens if row.max_tokens >= 0 else most))

    async def generate_async(
        self,
        prompt: Prompt,
        max_tokens: int | None = 128,
        sampling: SamplingParams | None = None,
        stop: Stop = None,
        echo: bool = False,
        logprobs: int | None = None,
        stream: bool = False,
        seed: int | None = None,
        reset_kv_cache: bool = True,
        **options: Unpack[RequestOptions],
    ) -> str | Completion | AsyncIterator[str]:
        """Continue a prompt without blocking the event loop.

        Calls that are awaited at the same time share batches, as far as n_seq_max allows, and queue otherwise.
        Cancelling the task ends the generation at once.

        Args:
            prompt, max_tokens, sampling, stop, echo, logprobs, seed, reset_kv_cache, **options: as `generate` has
                them.
            stream: return an asynchronous iterator of texts, once awaited; logprobs and echo have no effect on it and
                are refused.

        Returns:
            As `generate` has it.

        Raises:
            LlamaError: as `generate` has it.
        """
        check_bool("stream", stream)
        if stream and (logprobs is not None or echo):
            raise ValidationError("generate_async(stream=True) takes neither logprobs nor echo")
        request = self._request(
            prompt, max_tokens, sampling, stop, seed, options, logprobs, echo, stream, reset_kv_cache=reset_kv_cache
        )
        news = _News()
        generation = self._require_engine().watch(request, news)
        if stream:
            return _async_texts(generation, news)
        with generation:
            await news.until(lambda: generation.done)
            result = generation.result()
        text = (request.head or "") + result.text
        return text if logprobs is None else self._as_completion(text, result)

    def _as_completion(self, text: str, result: GenerationResult) -> Completion:
        choice = text_choice(text, 0, result.logprobs, result.finish_reason)
        usage = usage_of([result])
        return completion(new_id("cmpl"), self.model_path, [choice], usage)

    def _logprob_chunks(self, generation: Generation, head: str) -> Generator[Completion]:
        """Give text in chunks, with the log-probabilities of the tokens that it is made of."""
        chunk = completion(new_id("cmpl"), self.model_path, [])
        n_scored = 0
        for text in _prefixed(head, generation):
            logprobs = logprobs_of(text)
            n_scored += len(logprobs["tokens"]) if logprobs else 0
            yield {**chunk, "choices": [text_choice(text, 0, logprobs)]}
        last = self._as_completion("", generation.result())
        last["choices"][0]["logprobs"] = logprobs_after(last["choices"][0]["logprobs"], n_scored)
        yield {**chunk, "choices": last["choices"], "usage": last["usage"]}

    # -- probabilities -------------------------------------------------------------------------------------------------

    def logprobs(self, text: str | Sequence[int]) -> TextLogprobs:
        """Return the log-probability of each token of a text, given those before it.

        Args:
            text: text, or token ids.

        Returns:
            `token_ids` (n), and `token_logprobs` (n), natural logarithms, whose first is None: nothing predicts it.
        """
        tokens = self._prompt_tokens(text, False)
        (scores,) = self._score([(tokens, 1)])
        return TextLogprobs(tokens, [None, *scores])

    def score(self, prompt: str | Sequence[int], continuations: Sequence[str | Sequence[int]]) -> list[TextLogprobs]:
        """Return the log-probabilities of continuations of a prompt, which is computed once for all of them.

        Args:
            prompt: text, or token ids.
            continuations: texts, or lists of token ids. A text is tokenized together with the prompt, as it would be
                if it stood there; where a token reaches over the border, it counts as part of the continuation.

        Returns:
            For each, in order: `token_ids` (n) and `token_logprobs` (n), natural logarithms; `.total` is their sum.
        """
        rows = self._continuations("continuations", prompt, continuations)
        scores = self._score(rows)
        return [TextLogprobs(tokens[start:], list(row)) for (tokens, start), row in zip(rows, scores, strict=True)]

    def choose(self, prompt: Prompt | Sequence[Mapping[str, Any]], options: Sequence[str]) -> Choice:
        """Choose the most likely of some texts as what follows a prompt, by scoring all of them; nothing is sampled.

        An option's probability is that of its tokens after the prompt, whatever follows them: "New" is as likely as
        "New York" and all else that begins with it.

        Args:
            prompt: text or token ids, which an option follows; or messages, which an option answers.
            options: texts, all different. Those that follow a text mostly begin with a space.

        Returns:
            The choice: its `text` and `index`, and the `probabilities` of all options, whose sum is 1.

        Raises:
            ValidationError: if there are no options, or some are empty or equal.

        Examples:
            >>> llm.choose("The sky is", [" blue", " green"]).text
            ' blue'
        """
        check_texts("options", options)
        if len(set(options)) < len(options):
            raise ValidationError(f"options must differ from each other, got {options!r}")
        given: Any = prompt
        if _is_chat(prompt):
            from .chat.messages import check_messages

            given = self._chat_prompt(check_messages(prompt), [], {})[1]
        rows = self._continuations("options", given, options)
        # A token may reach over the border of the prompt in some rows: what is compared begins at one place in all.
        start = min(start for _, start in rows)
        logprobs = [math.fsum(row) for row in self._score([(tokens, start) for tokens, _ in rows])]
        index = max(range(len(options)), key=logprobs.__getitem__)
        weights = [math.exp(value - logprobs[index]) for value in logprobs]
        return Choice(options[index], index, [weight / math.fsum(weights) for weight in weights], logprobs)

    def _continuations(
        self, name: str, prompt: Prompt, continuations: Sequence[str | Sequence[int]]
    ) -> list[tuple[list[int], int]]:
        """Return the tokens of a prompt with each continuation, and the index at which that begins."""
        check_list(name, continuations)
        head = self._prompt_tokens(prompt, False)
        rows: list[tuple[list[int], int]] = []
        for index, tail in enumerate(continuations):
            if isinstance(tail, str) and isinstance(prompt, str):
                check_text(f"{name}[{index}]", tail)
                tokens = self._prompt_tokens(prompt + tail, False)
                start = next((i for i, (a, b) in enumerate(zip(head, tokens, strict=False)) if a != b), len(head))
            elif isinstance(tail, str):
                tokens, start = head + self.tokenize(tail, add_special=False), len(head)
            else:
                tokens, start = head + self._check_tokens(f"{name}[{index}]", tail), len(head)
            if len(tokens) <= start:
                raise ValidationError(f"{name}[{index}] has no tokens")
            rows.append((tokens, max(start, 1)))
        return rows

    def _score(self, rows: Sequence[tuple[list[int], int]]) -> list[list[float]]:
        """Return the log-probabilities of each row's tokens from an index on."""
        scored = [(index, row) for index, row in enumerate(rows) if len(row[0]) > row[1]]
        loras = self._check_lora(None)
        requests = [
            Request(
                tokens, self._samplings.generate, 0, 0, [], [], logprobs=0, share=True, score_from=start, loras=loras
            )
            for _, (tokens, start) in scored
        ]
        results: list[list[float]] = [[] for _ in rows]
        with self._batch_engine_for(requests, None) as engine:
            for index, result in engine.run_many(enumerate(requests), 2 * engine.context.n_seq_max, {}):
                if isinstance(result, LlamaError):
                    raise result
                results[scored[index][0]] = list(result.prompt_logprobs)
        return results

    def _request(
        self,
        prompt: Prompt,
        max_tokens: int | None,
        sampling: SamplingParams | None,
        stop: Stop,
        seed: int | None,
        options: Mapping[str, Any],
        logprobs: int | None = None,
        echo: bool = False,
        stream: bool = False,
        *,
        reset_kv_cache: bool = True,
        continues: bool = False,
        parse_special: bool | None = None,
    ) -> Request:
        """Check a call's arguments and make a request of them.

        Args:
            prompt, max_tokens, sampling, stop, seed, logprobs, echo, stream, reset_kv_cache: as `generate` has them.
            options: a RequestOptions.
            continues: whether the prompt follows on other tokens, so that it is given no BOS and may be empty.
            parse_special: whether its text is read for special tokens; None leaves it to the configuration.
        """
        refuse_unknown(
            "argument",
            options.keys() - set(_OPTIONS),
            ("prompt", "echo", "stream", "reset_kv_cache", *_ROW_FIELDS),
        )
        check_bool("echo", echo)
        check_bool("reset_kv_cache", reset_kv_cache)
        check_seed("seed", seed)
        if max_tokens is not None:
            check_int("max_tokens", max_tokens, -1)
            if max_tokens == 0:
                raise ValidationError("max_tokens must be at least 1, or -1 or None for no limit; got 0")
        if logprobs is not None:
            check_int("logprobs", logprobs, 0, self.n_vocab())
        params = _check_sampling(sampling) or self._samplings.generate
        check_seed("sampling.seed", params.seed)
        stops, stop_tokens = self._check_stop(stop)
        continues = continues or (not reset_kv_cache and self._require_engine().holds_tokens())
        overflow, n_keep = self._check_overflow(options.get("overflow", "error"), options.get("n_keep", 0))
        return Request(
            tokens=self._prompt_tokens(prompt, continues, parse_special),
            sampling=params,
            seed=self._draw_seed(seed, params),
            max_tokens=-1 if max_tokens is None else max_tokens,
            limit_is_default=isinstance(max_tokens, DefaultInt),
            stops=stops,
            stop_tokens=stop_tokens,
            logprobs=logprobs,
            head=self._prompt_text(prompt) if echo else None,
            stream=stream,
            append=not reset_kv_cache,
            timeout=_check_timeout(options.get("timeout")),
            draft_tokens=self._check_draft_tokens(options.get("draft_tokens")),
            processors=_check_processors(options.get("logits_processor")),
            loras=self._check_lora(options.get("lora")),
            overflow=overflow,
            n_keep=n_keep,
            grammar=self._check_grammar(options.get("grammar")),
        )

    def _draw_seed(self, seed: int | None, sampling: SamplingParams) -> int:
        """Return a request's seed: the call's, else the sampling's, else the next one of the instance."""
        wishes = [wish for wish in (seed, sampling.seed) if wish not in RANDOM_SEEDS]
        return int(wishes[0]) if wishes else self._seeds.draw()  # of NumPy's it may be, which no JSON holds

    def _check_grammar(self, grammar: LlamaGrammar | None) -> LlamaGrammar | None:
        if grammar is None:
            return None
        from .grammar.grammar import LlamaGrammar

        if not isinstance(grammar, LlamaGrammar):
            raise ValidationError(f"grammar must be a LlamaGrammar, got {grammar!r}; make one with its from_* methods")
        for token in grammar.trigger_tokens:
            check_int("a trigger token", token, 0, self.n_vocab() - 1)
        for literal in grammar.tokens():
            if literal.startswith("<["):
                check_int(f"the token {literal} of the grammar", int(literal[2:-2]), 0, self.n_vocab() - 1)
            elif len(self._vocab.tokenize(literal.encode(), False, True)) != 1:
                raise ValidationError(f"the grammar names {literal}, which is no token of this model's vocabulary")
        return grammar

    def _check_draft_tokens(self, draft_tokens: int | None) -> int:
        if draft_tokens is None:
            default = DEFAULT_DRAFT_TOKENS if self._draft_model is not None else 0
            return default if self._options.draft_tokens is None else self._options.draft_tokens
        check_int("draft_tokens", draft_tokens, 0, MAX_DRAFT_TOKENS)
        return draft_tokens

    def _check_overflow(self, overflow: str, n_keep: int) -> tuple[str, int]:
        if overflow not in OVERFLOWS:
            raise ValidationError(f"overflow must be one of {', '.join(OVERFLOWS)}; got {overflow!r}")
        check_int("n_keep", n_keep, 0)
        if overflow != "error":
            check_int("n_keep", n_keep, 0, max(0, self._config.n_ctx // self._config.n_seq_max // 2 - 1))
        return overflow, n_keep

    def _check_lora(self, lora: Lora) -> tuple[tuple[_core.LoraAdapter, float], ...]:
        """Return the adapters of a request, in an order that does not depend on the caller's."""
        if lora is None:
            pairs: list[tuple[LoraAdapter, float]] = [(adapter, adapter.scale) for adapter in tuple(self._loras)]
        elif isinstance(lora, Sequence) and not isinstance(lora, (str, bytes)):
            pairs = []
            for item in lora:
                pair = (item, item.scale) if isinstance(item, LoraAdapter) else item
                if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], LoraAdapter):
                    raise ValidationError(f"lora must hold LoraAdapters or (LoraAdapter, scale) pairs, got {item!r}")
                check_float("the scale of an adapter", pair[1], -1e6, 1e6)
                if pair[0]._native.model is not self._model:
                    raise ValidationError(
                        f"{pair[0]!r} was loaded for another Llama; load it with this one's load_lora"
                    )
                pairs.append(pair)
        else:
            raise ValidationError(f"lora must be a list of LoraAdapters or (LoraAdapter, scale) pairs, got {lora!r}")
        natives = [(adapter._native, float(scale)) for adapter, scale in pairs]
        if len({native.id for native, _ in natives}) != len(natives):
            raise ValidationError("lora names one adapter twice; add up its scales instead")
        return tuple(sorted(natives, key=lambda pair: pair[0].id))

    def _prompt_tokens(self, prompt: Prompt, continues: bool, parse_special: bool | None = None) -> list[int]:
        if isinstance(prompt, str):
            text = check_text("prompt", prompt)
            special = self._config.parse_special if parse_special is None else parse_special
            tokenizer = self._vocab if self._options.tokenizer is None else self._options.tokenizer
            tokens = list(tokenizer.tokenize(text, self._config.add_bos and not continues, special))
            if special and len(tokens) > 1 and tokens[0] == tokens[1] == self._vocab.bos():
                del tokens[0]  # the text has one of its own
        else:
            tokens = self._check_tokens("prompt", prompt)
        if not tokens and not continues:
            raise ValidationError("the prompt is empty, and the model adds no token of its own to begin with")
        return tokens

    def _prompt_text(self, prompt: Prompt) -> str:
        return prompt if isinstance(prompt, str) else self.detokenize(prompt)

    def _check_tokens(self, name: str, tokens: object) -> list[int]:
        tokens = as_list(tokens)
        if isinstance(tokens, (bytes, bytearray)) or not isinstance(tokens, Sequence):
            raise ValidationError(f"{name} must be a str or a list of token ids, got {tokens!r}")
        high = self.n_vocab() - 1
        ids = list(tokens)
        for index, token in enumerate(ids):
            if type(token) is not int or not 0 <= token <= high:  # a name for each would take longer than the rest
                ids[index] = check_int(f"{name}[{index}]", token, 0, high)
        return ids

    def _check_stop(self, stop: Stop) -> tuple[list[str], list[int]]:
        """Split `stop` into texts and token ids."""
        if stop is None:
            return [], []
        items: Sequence[object] = [stop] if isinstance(stop, str) else stop
        if not isinstance(items, Sequence) or isinstance(items, (bytes, bytearray)):
            raise ValidationError(f"stop must be a str or a list of str and token ids, got {stop!r}")
        texts: list[str] = []
        tokens: list[int] = []
        for index, item in enumerate(items):
            if isinstance(item, str):
                if not check_text(f"stop[{index}]", item):
                    raise ValidationError(f"stop[{index}] is an empty text, which would stop everything; leave it out")
                texts.append(item)
            else:
                tokens.append(check_int(f"stop[{index}]", item, 0, self.n_vocab() - 1))
        return texts, tokens

    # -- embeddings ----------------------------------------------------------------------------------------------------

    def embed(
        self,
        input: str | Sequence[str] | None = None,
        normalize: bool = False,
        truncate: bool = False,
        return_count: bool = False,
        *,
        text: str | Sequence[str] | None = None,
        as_array: bool = False,
    ) -> Any:
        """Compute the embeddings of texts, many of them in a batch (needs embeddings=True).

        Args:
            input: a text, or a list of texts.
            normalize: scale each embedding to length 1 (L2).
            truncate: cut texts that are longer than the model takes, instead of refusing them.
            return_count: return a pair, of that and the number of all tokens.
            text: another name for input.
            as_array: return float32 NumPy arrays instead of lists.

        Returns:
            For a text, n_embd numbers; for a list, that for each text. A model without a pooling of its own gives the
            mean of the tokens' rows; with pooling_type="none", a text has such a row for each of its tokens.

        Raises:
            ValidationError: without embeddings=True, for no str, or for a text that is too long.
        """
        check_bool("normalize", normalize)
        given = _one_of(input, text)
        tokens = self._embedding_rows(given, truncate)
        rows = self._require_embedder().embed(tokens, normalize, self._check_lora(None))
        result = _embedding_result(given, rows, as_array)
        return (result, sum(map(len, tokens))) if return_count else result

    async def embed_async(
        self,
        input: str | Sequence[str] | None = None,
        *,
        normalize: bool = False,
        truncate: bool = False,
        text: str | Sequence[str] | None = None,
        as_array: bool = False,
    ) -> Any:
        """Compute embeddings without blocking the event loop; see `embed`.

        Calls that are awaited at the same time share batches. Cancelling the task drops what is left to do.
        """
        import asyncio

        check_bool("normalize", normalize)
        given = _one_of(input, text)
        tokens = self._embedding_rows(given, truncate)
        future = self._require_embedder().submit(tokens, normalize, self._check_lora(None))
        return _embedding_result(given, await asyncio.wrap_future(future), as_array)

    def create_embedding(
        self, input: str | Sequence[str], model: str | None = None, *, truncate: bool = False
    ) -> EmbeddingResponse:
        """Compute the embeddings of texts, in OpenAI's shape (needs embeddings=True).

        Args:
            input: a text, or a list of texts.
            model: name to report; the default is the model's path.
            truncate: as `embed` has it.

        Raises:
            ValidationError: as `embed` has it.
        """
        tokens = self._embedding_rows(input, truncate)
        rows = self._require_embedder().embed(tokens, False, self._check_lora(None))
        return self._embedding_response(tokens, rows, model)

    async def create_embedding_async(
        self, input: str | Sequence[str], model: str | None = None, *, truncate: bool = False
    ) -> EmbeddingResponse:
        """Compute embeddings in OpenAI's shape without blocking the event loop; see `create_embedding`."""
        import asyncio

        tokens = self._embedding_rows(input, truncate)
        future = self._require_embedder().submit(tokens, False, self._check_lora(None))
        return self._embedding_response(tokens, await asyncio.wrap_future(future), model)

    def _embedding_response(self, tokens: list[list[int]], rows: list[Any], model: str | None) -> EmbeddingResponse:
        n_tokens = sum(map(len, tokens))
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": row.tolist(), "index": index} for index, row in enumerate(rows)
            ],
            "model": model or self.model_path,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        }

    def rerank(self, query: str, documents: Sequence[str], *, truncate: bool = False) -> list[float]:
        """Score how well documents answer a query (needs embeddings=True and a model with rank pooling).

        Args:
            query: the question.
            documents: the texts to be scored.
            truncate: cut documents that are longer than the model takes, instead of refusing them.

        Returns:
            The model's score for each document, in order; a larger one is a better one.

        Raises:
            ValidationError: if the model is not for ranking, or a text is no str or too long.
        """
        check_bool("truncate", truncate)
        vocab, texts = self._vocab, _check_texts("documents", documents)
        embedder = self._require_embedder()
        begin = [vocab.bos()] if vocab.add_bos() else []
        middle = [vocab.eos()] if vocab.add_eos() else []
        middle += [vocab.sep()] if vocab.add_sep() else []
        end = [vocab.eos()] if vocab.add_eos() else [vocab.sep()] if vocab.add_sep() else []
        head = begin + vocab.tokenize(check_text("query", query), False, False) + middle
        rows = []
        for index, text in enumerate(texts):
            tail = vocab.tokenize(check_text(f"documents[{index}]", text), False, False)
            rows.append(self._check_length(head, tail, end, truncate, f"documents[{index}]"))
        scores = embedder.embed(rows, False, self._check_lora(None))
        if embedder.context.pooling_type() != POOLING_TYPES["rank"]:
            raise ValidationError("this model has no rank pooling, so that its embeddings are no scores")
        return [float(row[0]) for row in scores]

    def _embedding_rows(self, input: str | Sequence[str], truncate: bool) -> list[list[int]]:
        check_bool("truncate", truncate)
        self._require_embedder()
        texts = [input] if isinstance(input, str) else _check_texts("input", input)
        return [self._embedding_tokens(text, truncate) for text in texts]

    def _embedding_tokens(self, text: str, truncate: bool) -> list[int]:
        tokens = self._vocab.tokenize(check_text("input", text), True, False)
        if not tokens:
            raise ValidationError("a text without tokens has no embedding")
        end = [tokens.pop()] if tokens[-1] in (self._vocab.eos(), self._vocab.sep()) else []
        return self._check_length([], tokens, end, truncate, "input")

    def _check_length(self, head: list[int], text: list[int], end: list[int], truncate: bool, name: str) -> list[int]:
        """Put a text between what the model wants around it, cut to what it takes if that is wanted."""
        limit = self._config.batches()[1]
        if self._model.n_ctx_train() > 0:
            limit = min(limit, self._model.n_ctx_train())
        room = limit - len(head) - len(end)
        if len(text) > room and not (truncate and room > 0):
            raise ValidationError(
                f"{name} has {len(head) + len(text) + len(end)} tokens, and this context takes {limit} in a text; "
                "use truncate=True, or raise n_ctx, n_batch and n_ubatch as far as the model allows"
            )
        return head + text[:room] + end

    def _require_embedder(self) -> Embedder:
        """Return what computes embeddings, made when it is first needed."""
        from .embedding import Embedder

        self._require_open()
        if not self._config.embeddings or self._config.vocab_only:
            raise ValidationError("embeddings need Llama(..., embeddings=True)")
        with self._embedding_lock:
            if self._embedder is None:
                self._embedder = Embedder(self._model, embedding_config(self._config))
            return self._embedder

    # -- completions in OpenAI's shape ---------------------------------------------------------------------------------

    def create_completion(
        self,
        prompt: Prompt | Sequence[str] | Sequence[Sequence[int]] = "",
        suffix: str | None = None,
        max_tokens: int | None = 16,
        *,
        echo: bool = False,
        logprobs: int | None = None,
        n: int = 1,
        best_of: int | None = None,
        stop: Stop = None,
        stream: bool = False,
        stream_options: Mapping[str, Any] | None = None,
        seed: int | None = None,
        sampling: SamplingParams | None = None,
        model: str | None = None,
        reset_kv_cache: bool = True,
        **options: Any,
    ) -> Completion | Iterator[Completion]:
        """Continue a prompt, or several, and answer as OpenAI's completions do.

        Args:
            prompt: text, in which special tokens are read, token ids, or a list of either.
            suffix: text that is to follow what is generated, for models that fill gaps (fim tokens).
            max_tokens, echo, logprobs, stop, sampling, reset_kv_cache: as `generate` has them.
            n: texts to return for each prompt; they are generated side by side.
            best_of: texts to generate for each prompt; the n with the highest mean log-probability are returned.
            stream: return an iterator over chunks.
            stream_options: {"include_usage": True} adds a last chunk with the counts of tokens.
            seed: of the first text; the others have the numbers that follow.
            model: name to report; the default is the model's path.
            **options: fields of SamplingParams, such as `temperature`, and of RequestOptions, such as `grammar`.

        Returns:
            A dict in OpenAI's shape; with stream, an iterator of such dicts, whose closing ends the generation.

        Raises:
            LlamaError: as `generate` has it; unknown arguments are refused.
        """
        names = ("prompt", "suffix", "max_tokens", "echo", "n", "best_of", "stream", "stream_options", "model")
        options = self._modern(options)
        wishes = split_options(options, _OPTIONS, (*names, *_ROW_FIELDS))
        stream, echo = as_flag(stream), as_flag(echo)
        if isinstance(logprobs, bool):
            logprobs = 1 if logprobs else None
        check_bool("stream", stream)
        check_int("n", n, 1, 1024)
        count = n if best_of is None else best_of
        check_int("best_of", count, n, 1024)
        if stream and count > n:
            raise ValidationError("best_of can't be streamed: which texts are the best shows at the end")
        with_usage = includes_usage(stream, stream_options)
        params = sampling_of(_check_sampling(sampling) or self._samplings.completion, options)
        prompts = self._prompts(prompt, suffix)
        if reset_kv_cache:
            prompts = [self._begun(one) for one in prompts]
        check_seed("seed", seed)
        first = self._draw_seed(seed, params)
        requests = [
            self._request(
                one,
                max_tokens,
                params,
                stop,
                (first + index) % 0xFFFFFFFF,
                wishes,
                0 if logprobs is None and count > n else logprobs,
                echo,
                stream,
                reset_kv_cache=reset_kv_cache,
                parse_special=True,
            )
            for one in prompts
            for index in range(count)
        ]
        self._use_cache(requests)
        heads = [self._prompt_text(one) if echo else "" for one in prompts for _ in range(n)]
        name = self._model_name(model)
        if stream:
            events = self._stream_all(requests)  # an argument that is wrong fails here, and not at the first chunk
            return Stream(self._completion_chunks(events, heads, name, count if with_usage else None), events.close)
        results = self._run_all(requests)
        usage = usage_of(results, count)
        if count > n:
            groups = [results[start : start + count] for start in range(0, len(results), count)]
            results = [best for group in groups for best in sorted(group, key=_mean_logprob, reverse=True)[:n]]
        choices = [
            text_choice(
                head + result.text, index, result.logprobs if logprobs is not None else None, result.finish_reason
            )
            for index, (head, result) in enumerate(zip(heads, results, strict=True))
        ]
        return completion(new_id("cmpl"), name, choices, usage)

    __call__ = create_completion

    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = DEFAULT_MAX_TOKENS,
        stream: bool = False,
        stop: Stop = None,
        response_format: Mapping[str, Any] | type | None = None,
        grammar: LlamaGrammar | None = None,
        tools: Sequence[Any] | None = None,
        tool_choice: Any = None,
        reset_kv_cache: bool = True,
        **kwargs: Any,
    ) -> ChatCompletion | Iterator[ChatCompletionChunk]:
        """Answer messages, as OpenAI's chat completions do.

        A chat handler, given to the constructor or registered under the name that `chat_format` is, answers instead.

        Args:
            messages: dicts with `role` and `content`, in OpenAI's form; assistants' with `tool_calls`, and `tool` ones.
            max_tokens: tokens of the answer at most; None or -1 is as many as the context holds. The first answer that
                the default cuts off is logged as a warning.
            stream: return an iterator over chunks.
            stop: as `generate` has it.
            response_format: {"type": "json_object"}, with "schema" if wanted, or OpenAI's {"type": "json_schema", ...};
                or a Python type, such as a pydantic model, a dataclass or `list[int]`: the message then has the answer
                as a value of this type in `parsed`, None if it was cut (streams have the text alone; needs pydantic).
                The answer has this form, after the model's thinking where the prompt begins that or
                `chat_template_kwargs` asks for it.
            grammar: that the whole of what the model writes is held to; it does not think then.
            tools: that the model may call: OpenAI's dicts, or Python functions.
            tool_choice: "auto" (the default where there are tools), "none", "required", or one of the tools, as
                {"type": "function", "function": {"name": ...}}, which then is called once, unless
                `parallel_tool_calls=True`. Calls have names and arguments that the tools allow.
            reset_kv_cache: begin with an empty memory. If False, what the last sequence has in common with these
                messages is not computed again.
            **kwargs: `n`, `seed`, `logprobs` (bool) and `top_logprobs`, `stream_options`, `max_completion_tokens`,
                `parallel_tool_calls`, `documents`, `chat_template_kwargs`, `reasoning_effort`, `model`, `sampling`,
                `chat_format`, which takes the place of the constructor's and of a chat handler, fields of
                SamplingParams such as `temperature`, and of RequestOptions such as `timeout`. With
                `continue_final_message=True` the answer goes on with the last message, an assistant's, and has only
                what is new; `add_generation_prompt=False` leaves out what the template begins an answer with.

        Returns:
            A dict in OpenAI's shape, whose message has `reasoning_content` where the model thinks aloud; with stream,
            an iterator of such dicts, whose closing ends the generation.

        Raises:
            TemplateError: if the model has no chat template, or it refuses the messages.
            LlamaError: as `generate` has it; unknown arguments are refused.
        """
        named = {
            "max_tokens": max_tokens,
            "stream": stream,
            "stop": stop,
            "response_format": response_format,
            "grammar": grammar,
            "tools": tools,
            "tool_choice": tool_choice,
            "reset_kv_cache": reset_kv_cache,
        }
        if self._answers_otherwise(kwargs):
            answer: ChatCompletion | Iterator[ChatCompletionChunk]
            answer = self._answer_otherwise(messages, {**named, **kwargs})
            return answer
        call, requests = self._chat(messages, {**named, **kwargs})
        if stream:
            events = self._stream_all(requests)
            return Stream(call.chunks(events, len(requests)), events.close)
        return call.response(self._run_all(requests))

    async def create_chat_completion_async(
        self,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = DEFAULT_MAX_TOKENS,
        stream: bool = False,
        **kwargs: Any,
    ) -> ChatCompletion | AsyncIterator[ChatCompletionChunk]:
        """Answer messages without blocking the event loop; see `create_chat_completion`.

        Calls that are awaited at the same time share batches, as far as n_seq_max allows. With stream, an asynchronous
        iterator is returned once awaited. Cancelling the task ends the generation at once.
        """
        call, requests = self._chat(messages, {"max_tokens": max_tokens, "stream": stream, **kwargs})
        news = _News()
        generations = self._submit_all(requests, news)
        if stream:
            return _async_chunks(call, generations, news)
        with contextlib.ExitStack() as stack:
            for generation in generations:
                stack.enter_context(generation)
            await news.until(lambda: all(generation.done for generation in generations))
            return call.response([generation.result() for generation in generations])

    def _chat(self, messages: Any, options: Mapping[str, Any]) -> tuple[ChatCall, list[Request]]:
        """Check a chat completion's arguments, and make its requests.

        Args:
            messages: as `create_chat_completion` has them.
            options: its other arguments.
        """
        from .chat.call_grammar import answer_mark
        from .chat.calls import check_tool_choice, check_tools
        from .chat.messages import check_messages
        from .chat_completions import after_thinking, grammar_of_format, is_type
        from .json_types import reader_of_type

        options = self._modern(options)
        wishes = split_options(
            {name: value for name, value in options.items() if name not in _CHAT_OPTIONS},
            tuple(name for name in _OPTIONS if name != "grammar"),
            ("messages", *_CHAT_OPTIONS),
        )
        stream, reset_kv_cache = options.get("stream", False), options.get("reset_kv_cache", True)
        check_bool("stream", stream)
        check_bool("reset_kv_cache", reset_kv_cache)
        offered = check_tools(options.get("tools"))
        choice, callable_tools = check_tool_choice(options.get("tool_choice"), offered)
        if choice == "none":
            offered = []
        n, top = options.get("n", 1), options.get("top_logprobs")
        check_int("n", 1 if n is None else n, 1, 1024)
        scored = options.get("logprobs") or False
        check_bool("logprobs", scored)
        if top and not scored:
            raise ValidationError("top_logprobs needs logprobs=True")
        grammar = self._check_grammar(options.get("grammar"))
        form = grammar_of_format(options.get("response_format"))
        if form is not None and grammar is not None:
            raise ValidationError("response_format and grammar say both what the answer is held to; give one of them")
        if choice == "required" and (form or grammar) is not None:
            raise ValidationError("an answer can't both follow a grammar and call a tool; leave out tool_choice")
        messages = check_messages(messages)
        call, tokens = self._chat_prompt(messages, offered, options)
        thinks = form is not None and call.syntax.thinks_first(options.get("chat_template_kwargs") or {})
        call.plain = grammar is not None or (form is not None and not thinks and not offered)
        call.in_form = form is not None
        call.n_top_logprobs = (top or 0) if scored else None
        call.with_usage = includes_usage(stream, options.get("stream_options"))
        if is_type(options.get("response_format")) and not stream:
            call.parser = reader_of_type(options["response_format"])
        held = grammar
        if offered and grammar is None:
            held = self._tool_grammar(call.syntax, callable_tools, choice == "required", form, thinks, options)
        elif form is not None:
            held = after_thinking(call.syntax, form, self._control_tokens) if thinks else form
        answer: tuple[str, LlamaGrammar] | None = None
        begun = ""
        if form is not None:
            # No mark is to come where the answer has begun, or the grammar holds nothing else.
            is_next = call.plain or (call.syntax.continues and not thinks)
            answer = "" if is_next else answer_mark(call.syntax, thinks), form
            begun = call.syntax.answered(messages[-1]["content"]) if call.syntax.continues else ""
        most = options.get("max_completion_tokens")
        params = sampling_of(_check_sampling(options.get("sampling")) or self._samplings.chat, options)
        check_seed("seed", options.get("seed"))
        first = self._draw_seed(options.get("seed"), params)
        stop: Any = options.get("stop")
        stop = [stop] if isinstance(stop, str) else stop or []
        if isinstance(stop, Sequence):
            # What is held to a form may have any text in it.
            stop = [*stop, *call.ends, *(call.syntax.turn_ends if held is None else ())]
        requests = []
        for index in range(n or 1):
            request = self._request(
                tokens,
                options.get("max_tokens") if most is None else most,
                params,
                stop,
                (first + index) % 0xFFFFFFFF,
                {**wishes, "grammar": held},
                call.n_top_logprobs,
                stream=stream,
            )
            request.special = not call.plain
            request.answer, request.begun = answer, begun
            request.reuse = not reset_kv_cache
            request.read = None if stream else call.read
            requests.append(request)
        self._use_cache(requests)
        return call, requests

    def _tool_grammar(
        self,
        syntax: Syntax,
        tools: list[dict[str, Any]],
        required: bool,
        form: LlamaGrammar | None,
        thinks: bool,
        options: Mapping[str, Any],
    ) -> LlamaGrammar:
        """Return what holds calls, and other answers to their form."""
        from .chat_completions import tool_grammar

        parallel = options.get("parallel_tool_calls")
        if parallel is None:  # who names a function waits for one call, which weak models would go on to repeat
            parallel = not isinstance(options.get("tool_choice"), Mapping)
        check_bool("parallel_tool_calls", parallel)
        return tool_grammar(
            syntax,
            tools,
            self._control_tokens,
            required=required,
            parallel=parallel,
            answer=form,
            thinks=thinks or (required and syntax.thinks_already),
        )

    def _chat_prompt(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]], options: Mapping[str, Any]
    ) -> tuple[ChatCall, list[int]]:
        """Render messages and tokenize them."""
        from .chat.messages import check_documents, check_template_kwargs, render
        from .chat_completions import ChatCall

        continues, begins = options.get("continue_final_message", False), options.get("add_generation_prompt")
        check_bool("continue_final_message", continues)
        check_bool("add_generation_prompt", True if begins is None else begins)
        if continues and begins:
            raise ValidationError("an answer that goes on with the last message has no beginning of its own")
        if continues and (messages[-1]["role"] != "assistant" or "tool_calls" in messages[-1]):
            raise ValidationError("continue_final_message needs a last message of the assistant's, without tool calls")
        form = options.get("chat_format")
        if form is not None:
            check_c_text("chat_format", form)
        template = self.chat_template("tool_use" if tools and self._model.chat_template("tool_use") else form)
        kwargs = check_template_kwargs(options.get("chat_template_kwargs"))
        if options.get("reasoning_effort") is not None:
            kwargs["reasoning_effort"] = options["reasoning_effort"]
        syntax, ends = template.syntax(**kwargs).with_tokens(self._special_tokens)
        if continues:
            syntax = syntax.after(messages[-1]["content"])
        pieces = render(
            template,
            messages,
            self._special_tokens,
            tools=tools or None,
            add_generation_prompt=begins is not False and not continues,
            continue_final_message=continues,
            documents=check_documents(options.get("documents")),
            **kwargs,
        )
        tokens = [
            token for piece in pieces for token in self._vocab.tokenize(check_text("the prompt", piece), False, True)
        ]
        if self._vocab.add_bos() and self._config.add_bos and tokens[:1] != [self._vocab.bos()]:
            tokens.insert(0, self._vocab.bos())
        name = self._model_name(options.get("model"))
        call = ChatCall(syntax, tools, name, f"llama.cpp-{_core.version()}", ends=ends)
        return call, tokens

    def _model_name(self, model: str | None) -> str:
        """Return the name that an answer reports."""
        if model is not None:
            check_text("model", model)
        return model or self.model_path

    def chat_template(self, name: str | None = None) -> ChatTemplate:
        """Return the chat template in use, compiled.

        Args:
            name: of one of several in the GGUF; None is the one that the configuration's `chat_format` names, or the
                default.

        Raises:
            TemplateError: if there is none, or it is no Jinja.
        """
        from .chat.template import ChatTemplate

        wanted = name or self._config.chat_format
        source = self._model.chat_template(wanted) if wanted else self._model.chat_template()
        if source is None and wanted and "{" in wanted:
            source = wanted
        if source is None and wanted:
            source = self._named_template(wanted)
        if source is None:
            raise TemplateError(
                f"{self.model_path!r} has no chat template{f' {wanted!r}' if wanted else ''}; "
                'give chat_format="chatml", or the Jinja source of one'
            )
        if source not in self._templates:
            tokens = {"bos_token": self._vocab.bos(), "eos_token": self._vocab.eos()}
            texts = {key: self.token_to_piece(token) if token >= 0 else "" for key, token in tokens.items()}
            self._templates[source] = ChatTemplate(source, **texts)
        return self._templates[source]

    @functools.cached_property
    def _special_tokens(self) -> dict[str, int]:
        """Texts of the tokens that stand for more than their text, with their ids."""
        pieces = self._vocab.pieces(True)
        kinds = CONTROL | USER_DEFINED
        return {
            piece.decode("utf-8", "replace"): token
            for token, piece in enumerate(pieces)
            if len(piece) > 1 and self._vocab.attr(token) & kinds
        }

    @functools.cached_property
    def _control_tokens(self) -> tuple[tuple[str, int], ...]:
        """Those of them that no text is read as, unless it is the template's."""
        return tuple(item for item in self._special_tokens.items() if self._vocab.attr(item[1]) & CONTROL)

    def _prompts(self, prompt: Any, suffix: str | None) -> list[Prompt]:
        """Return what create_completion takes as a list of prompts."""
        prompt = as_list(prompt)
        several = isinstance(prompt, Sequence) and not isinstance(prompt, (str, bytes))
        rows = [as_list(one) for one in prompt] if several else []
        prompts: list[Prompt] = rows if any(isinstance(one, (str, Sequence)) for one in rows) else [prompt]
        return prompts if suffix is None else [self._infill(one, suffix) for one in prompts]

    def _begun(self, prompt: Prompt) -> Prompt:
        """Return a prompt, or BOS if it is the default, an empty text, to which the model adds nothing of its own."""
        adds = self._config.add_bos and self._vocab.add_bos()
        return prompt if prompt != "" or adds or self._vocab.bos() < 0 else [self._vocab.bos()]

    def _infill(self, prompt: Prompt, suffix: str) -> list[int]:
        before, after, middle = self._vocab.fim()
        if min(before, after, middle) < 0:
            raise ValidationError("suffix needs a model that fills gaps, and this one's vocabulary has no fim tokens")
        head = [self._vocab.bos()] if self._vocab.add_bos() and self._config.add_bos else []
        tokens = self.tokenize(prompt, add_special=False) if isinstance(prompt, str) else list(prompt)
        end = self.tokenize(suffix, add_special=False)
        if self.spm_infill:
            return [*head, after, *end, before, *tokens, middle]
        return [*head, before, *tokens, after, *end, middle]

    def _completion_chunks(
        self,
        events: Generator[tuple[int, str | GenerationResult]],
        heads: list[str],
        model: str,
        n_answers: int | None,
    ) -> Generator[Completion]:
        """Give text in chunks; the usage comes last, if it is said how many answers a prompt has."""
        chunk = completion(new_id("cmpl"), model, [])
        results: list[GenerationResult] = []
        n_scored = [0] * len(heads)
        with contextlib.closing(events):
            for index, head in enumerate(heads):
                if head:
                    yield {**chunk, "choices": [text_choice(head, index)]}
            for index, event in events:
                if isinstance(event, str):
                    logprobs = logprobs_of(event)
                    n_scored[index] += len(logprobs["tokens"]) if logprobs else 0
                    yield {**chunk, "choices": [text_choice(event, index, logprobs)]}
                    continue
                results.append(event)
                logprobs = logprobs_after(event.logprobs, n_scored[index])
                yield {**chunk, "choices": [text_choice("", index, logprobs, event.finish_reason)]}
        if n_answers is not None:
            yield {**chunk, "usage": usage_of(results, n_answers)}

    def _run_all(self, requests: list[Request]) -> list[GenerationResult]:
        """Run requests side by side; one alone runs where `generate` does."""
        generations = self._submit_all(requests)
        try:
            return [generation.result() for generation in generations]
        finally:
            for generation in generations:
                generation.close()

    def _stream_all(self, requests: list[Request]) -> Stream[tuple[int, str | GenerationResult]]:
        """Run requests side by side, and give (index, text) as it comes, then (index, result) when one has ended."""
        generations = self._submit_all(requests)

        def events() -> Generator[tuple[int, str | GenerationResult]]:
            pending = dict(enumerate(generations))
            try:
                while len(pending) > 1:
                    generations[0].wait_any(list(pending.values()))
                    for index, generation in list(pending.items()):
                        while generation.has_text():
                            yield index, next(generation)
                        if generation.done:
                            del pending[index]
                            yield index, generation.result()
                for index, last in pending.items():
                    for text in last:
                        yield index, text
                    yield index, last.result()
            finally:
                for generation in pending.values():
                    generation.close()

        def cancel() -> None:
            for generation in generations:
                generation.close()

        return Stream(events(), cancel)

    def _submit_all(
        self, requests: list[Request], on_news: Callable[[Generation], object] | None = None
    ) -> list[Generation]:
        def submit(engine: Engine) -> list[Generation]:
            if on_news is not None:
                return [engine.watch(request, on_news) for request in requests]
            return [engine.submit(request) for request in requests]

        if len(requests) == 1:
            return submit(self._require_engine())
        if any(request.append or request.reuse for request in requests):
            raise ValidationError("reset_kv_cache=False goes on from one sequence, so that n must be 1")
        for request in requests:
            request.share = request.overflow != "shift"
        with self._batch_engine_for(requests, None) as engine:
            return submit(engine)

    # -- text and tokens -----------------------------------------------------------------------------------------------

    def tokenize(
        self,
        text: str | bytes,
        add_special: bool = True,
        parse_special: bool = False,
        *,
        add_bos: bool | None = None,
        special: bool | None = None,
    ) -> list[int]:
        """Turn text into token ids (llama_tokenize).

        Args:
            text: the text. For ids that come from bytes, `detokenize` gives bytes.
            add_special: add what the model wants around a prompt, such as BOS.
            parse_special: read special tokens in the text, instead of treating them as text.
            add_bos, special: llama-cpp-python's names for add_special and parse_special.

        Raises:
            ValidationError: if text is neither str nor bytes, or holds a lone surrogate.
        """
        add_special = add_special if add_bos is None else add_bos
        parse_special = parse_special if special is None else special
        check_bool("add_special", add_special)
        check_bool("parse_special", parse_special)
        if isinstance(text, bytes):
            return self._tokenize_bytes(text, add_special, parse_special)
        return self._vocab.tokenize(check_text("text", text), add_special, parse_special)

    def detokenize(
        self,
        tokens: Sequence[int],
        remove_special: bool | Sequence[int] = True,
        unparse_special: bool = False,
        **bytes_options: Any,
    ) -> Any:
        """Turn token ids into text (llama_detokenize); bytes that are no UTF-8 become U+FFFD.

        Args:
            tokens: the ids.
            remove_special: leave out BOS and EOS where the model adds them.
            unparse_special: write special tokens, instead of leaving them out.
            **bytes_options: llama-cpp-python's `prev_tokens` and `special`; with one of them, the result is bytes.

        Returns:
            A str, which has the text's bytes as `bytes(text)` and for `text.decode()`. For ids of which one came from
            bytes (`tokenize(b"...")`, `generate` over token ids, `sample`), the bytes.

        Raises:
            ValidationError: if an id is not in the vocabulary.
        """
        ids = self._check_tokens("tokens", tokens)
        if self._wants_bytes(ids, remove_special, bytes_options):
            if isinstance(remove_special, (list, tuple)):
                bytes_options = {"prev_tokens": remove_special, "special": unparse_special, **bytes_options}
            return self._detokenize_bytes(ids, bytes_options)
        check_bool("remove_special", remove_special)
        check_bool("unparse_special", unparse_special)
        assert isinstance(remove_special, bool)
        return DetokenizedText(self._vocab.detokenize(ids, remove_special, unparse_special))

    def _count_tokens(self, text: str, add_special: bool = False) -> int:
        check_text("text", text)
        return len(self.tokenize(text, add_special))

    def token_to_piece(self, token: int) -> str:
        """Return the text of one token, special ones included; bytes that are no character become U+FFFD."""
        check_int("token", token, 0, self.n_vocab() - 1)
        return self._vocab.piece(token, True).decode("utf-8", "replace")

    def token_bos(self) -> int:
        """Return the id of the beginning-of-sequence token, -1 if there is none."""
        return self._vocab.bos()

    def token_eos(self) -> int:
        """Return the id of the end-of-sequence token, -1 if there is none."""
        return self._vocab.eos()

    def token_eot(self) -> int:
        """Return the id of the end-of-turn token, -1 if there is none."""
        return self._vocab.eot()

    # -- what the model is ---------------------------------------------------------------------------------------------

    def n_ctx(self) -> int:
        """Return how many tokens the context holds, all sequences together."""
        self._require_open()
        return self._config.n_ctx

    def n_vocab(self) -> int:
        """Return the size of the vocabulary."""
        self._require_open()
        return self._vocab.n_tokens

    def n_embd(self) -> int:
        """Return the width of the embeddings."""
        return self._model.n_embd()

    def n_layer(self) -> int:
        """Return the number of layers."""
        return self._model.n_layer()

    def n_params(self) -> int:
        """Return the number of parameters."""
        return self._model.n_params()

    def model_size(self) -> int:
        """Return the size of the weights in bytes."""
        return self._model.size()

    @property
    def metadata(self) -> dict[str, str]:
        """The GGUF's metadata, its scalar values as text."""
        return self._model.metadata()

    def get_chat_template(self, name: str = "") -> str:
        """Return the Jinja source of a chat template of the GGUF.

        Args:
            name: such as "tool_use"; "" is the default one.

        Returns:
            The source, "" if the GGUF has no such template.
        """
        check_c_text("name", name)
        return self._model.chat_template(name or None) or ""

    # -- adapters ------------------------------------------------------------------------------------------------------

    def load_lora(self, path: str | os.PathLike[str], scale: float = 1.0) -> LoraAdapter:
        """Load a LoRA adapter, and use it from now on in every request that names no others.

        Args:
            path: GGUF file of the adapter, made for this model.
            scale: how strongly it acts.

        Returns:
            A handle, for `remove_lora` and a request's `lora`; as a context manager it takes the adapter off again.

        Raises:
            ModelLoadError: if the file is no LoRA adapter, or one for another model.
        """
        from .state import fingerprint

        check_float("scale", scale, -1e6, 1e6)
        self._require_open()
        check_file(path, "path")
        native = _core.LoraAdapter(self._model, path)
        adapter = LoraAdapter(native, float(scale), fingerprint(path), self.remove_lora)
        self._loras[adapter] = None
        self._adapters[native.id] = adapter
        return adapter

    def remove_lora(self, adapter: LoraAdapter) -> None:
        """Stop using an adapter where a request does not name it. One that is not in use is no error.

        Raises:
            ValidationError: if it is no LoraAdapter.
        """
        if not isinstance(adapter, LoraAdapter):
            raise ValidationError(f"adapter must be what load_lora returned, got {adapter!r}")
        self._loras.pop(adapter, None)

    def clear_lora(self) -> None:
        """Stop using any adapter where a request does not name it."""
        self._loras.clear()

    def set_control_vector(
        self, vector: Any, scale: float = 1.0, layer_first: int = 1, layer_last: int | None = None
    ) -> None:
        """Add a vector to the output of each layer, in every request from now on (https://arxiv.org/abs/2310.01405).

        Sequences that are in memory are computed again when they go on.

        Args:
            vector: floats of shape (n_layer - 1, n_embd), from the second layer on; or the path of a GGUF file with
                tensors direction.1, direction.2, ..., as llama.cpp's cvector-generator writes it; None adds nothing.
            scale: what it is multiplied with.
            layer_first, layer_last: the layers to add it to, counted from 0; None is the last one.

        Raises:
            ValidationError: for another shape, or layers that the model does not have.
            LlamaError: if a generation is running.
        """
        check_float("scale", scale, -1e6, 1e6)
        n_layer = self.n_layer()
        last = n_layer - 1 if layer_last is None else layer_last
        check_int("layer_last", last, 1, n_layer - 1)
        check_int("layer_first", layer_first, 1, last)
        self._control_vector = None if vector is None else _control_vector(self, vector, scale, layer_first, last)
        self._evaluated = None
        for engine in list(self._engines):
            self._apply_control_vector(engine)

    def _apply_control_vector(self, engine: Engine) -> None:
        vector = self._control_vector
        with engine.idle_loop() as loop:
            if vector is None:
                loop.set_control_vector(None, self.n_embd(), -1, -1)
            else:
                loop.set_control_vector(vector.values, self.n_embd(), vector.layer_first, vector.layer_last)

    def _new_engine(self, config: LlamaConfig, n_ctx_seq: int = 0, movable: bool = False) -> Engine:
        engine = Engine(self._model, config, n_ctx_seq, self._draft_model, movable)
        self._engines.add(engine)
        if self._control_vector is not None:
            self._apply_control_vector(engine)
        return engine

    # -- sessions ------------------------------------------------------------------------------------------------------

    def session(self, prompt: str | Sequence[int] = "") -> Session:
        """Begin a sequence that is kept from call to call, and can be branched, marked and taken back.

        Args:
            prompt: text or token ids to begin with.

        Raises:
            LlamaError: if all sequences are held by sessions.
        """
        from .session import Session

        self._require_engine()
        with self._batch_lock:
            if self._session_engine is None:
                config = session_config(self._model, self._config)
                n_ctx_seq = self._config.n_ctx // self._config.n_seq_max
                self._session_engine = self._new_engine(config, n_ctx_seq)
        session = Session(self._session_engine, self._session_request)
        return session.append(prompt) if prompt else session

    def _session_request(
        self,
        prompt: Prompt,
        max_tokens: int | None,
        sampling: SamplingParams | None,
        stop: Stop,
        seed: int | None,
        continues: bool,
        options: Mapping[str, Any],
    ) -> Request:
        return self._request(prompt, max_tokens, sampling, stop, seed, options, continues=continues or not prompt)

    # -- state ---------------------------------------------------------------------------------------------------------

    def get_state(self, seq_id: int | None = None) -> bytes:
        """Return what is in memory, so that a generation can go on from it later, or in another process.

        Args:
            seq_id: a sequence; None is all of them.

        Raises:
            LlamaError: if a generation is running.
        """
        from .state import SequenceState, State, encode

        engine = self._require_engine()
        ids = range(engine.context.n_seq_max) if seq_id is None else [self._check_seq_id(seq_id)]
        with engine.idle_loop() as loop:
            sequences = [
                SequenceState(
                    seq_id=index,
                    token_ids=loop.tokens(index),
                    n_past=loop.n_past(index),
                    edited=loop.edited(index),
                    loras=[(self._adapter_name(id), scale) for id, scale in loop.loras_of(index)],
                    data=loop.state(index) if loop.n_past(index) else b"",
                )
                for index in ids
                if loop.tokens(index)
            ]
            return encode(State(self._origin(), engine.last_slot, sequences))

    def set_state(self, data: bytes, seq_id: int | None = None) -> None:
        """Put what `get_state` returned into memory; `generate(..., reset_kv_cache=False)` then goes on from it.

        Args:
            data: the state.
            seq_id: sequence to put the state of a single one into; None replaces all that is in memory.

        Raises:
            ValidationError: if it is damaged, or of another model, llama.cpp or configuration; nothing changes then.
            LlamaError: if a generation is running.
        """
        from .state import check_origin, decode

        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise ValidationError(f"a state is bytes, got {data!r}")
        engine = self._require_engine()
        state = decode(bytes(data))
        check_origin(state, self._origin())
        sequences = list(state.sequences)
        if seq_id is not None:
            self._check_seq_id(seq_id)
            if len(sequences) != 1:
                raise ValidationError(f"seq_id takes the state of a single sequence, and this one has {len(sequences)}")
            sequences = [dataclasses.replace(sequences[0], seq_id=seq_id)]
        for sequence in sequences:
            if not 0 <= sequence.seq_id < engine.context.n_seq_max:
                raise ValidationError(
                    f"this state has a sequence {sequence.seq_id}, and this context has {engine.context.n_seq_max} "
                    "sequences; raise n_seq_max"
                )
            if sequence.n_past > engine.context.n_ctx_seq:
                raise ValidationError(
                    f"this state has a sequence of {sequence.n_past} tokens, and a sequence of this context holds "
                    f"{engine.context.n_ctx_seq}; raise n_ctx"
                )
        keys = self._lora_keys(sequences)
        before = self.get_state()
        try:
            self._replace(engine, sequences, keys, state.last_seq_id if seq_id is None else None)
        except LlamaError:
            old = decode(before)
            self._replace(engine, old.sequences, self._lora_keys(old.sequences), old.last_seq_id)
            raise

    def _lora_keys(self, sequences: Sequence[SequenceState]) -> list[tuple[tuple[int, float], ...]]:
        """Return the adapters that sequences were computed with, by the ids that they have here."""
        return [tuple((self._adapter_id(name), scale) for name, scale in row.loras) for row in sequences]

    def _replace(
        self,
        engine: Engine,
        sequences: Sequence[SequenceState],
        keys: Sequence[tuple[tuple[int, float], ...]],
        last_slot: int | None,
    ) -> None:
        """Put sequences into memory, in place of all others unless there is no last_slot."""
        with engine.idle_loop() as loop:
            if last_slot is not None:
                for index in range(engine.context.n_seq_max):
                    loop.forget(index)
            for row, key in zip(sequences, keys, strict=True):
                loop.set_state(row.seq_id, row.token_ids, row.n_past, row.data, row.edited, key)
            engine.last_slot = (
                sequences[0].seq_id if last_slot is None else min(last_slot, engine.context.n_seq_max - 1)
            )

    def save_state(self, path: str | os.PathLike[str] | None = None, seq_id: int | None = None) -> LlamaState | None:
        """Write what `get_state` returns to a file, which is complete or not there.

        A file that is there already keeps its mode, and a symbolic link its target. Without a path, return it as
        llama-cpp-python's object.

        Raises:
            LlamaError: if a generation is running.
            ValidationError: if path is none, or that of a folder, a device or the like.
            OSError: if the file can't be written.
        """
        from .state import write_atomically

        if path is None:
            return self._state_object()
        write_atomically(check_path("path", path), self.get_state(seq_id))
        return None

    def load_state(self, path: str | os.PathLike[str] | LlamaState, seq_id: int | None = None) -> None:
        """Read a file that `save_state` wrote, or the object that it returned, as `set_state` does.

        Raises:
            ValidationError: as `set_state` has it, or if there is no such file.
        """
        from .compat.state import LlamaState
        from .state import read

        if isinstance(path, LlamaState):
            return self._load_state_object(path)
        self._require_engine()
        self.set_state(read(check_path("path", path)), seq_id)

    def _origin(self) -> dict[str, Any]:
        """Describe what a state depends on."""
        config = self._config
        names = [name for name in vars(config) if name.startswith(("rope_", "yarn_", "type_"))]
        vector = self._control_vector
        return {
            "llama.cpp": _core.version(),
            "model": self._fingerprint,
            **{name: getattr(config, name) for name in (*names, "flash_attn", "swa_full")},
            "n_seq_max (1 if kv_unified)": self._require_engine().context.n_streams,
            "control vector": None if vector is None else vector.fingerprint,
        }

    @functools.cached_property
    def _fingerprint(self) -> str:
        from .state import fingerprint

        return fingerprint(self._config.model_path)

    def _adapter_name(self, id: int) -> str:
        adapter = self._adapters.get(id)
        if adapter is None:
            raise LlamaError("the memory was computed with an adapter that is gone; reset() and compute it again")
        return adapter.fingerprint

    def _adapter_id(self, name: str) -> int:
        for id, adapter in list(self._adapters.items()):
            if adapter.fingerprint == name:
                return id
        raise ValidationError(
            "this state was computed with a LoRA adapter that is not loaded here; load_lora() it first"
        )

    def _check_seq_id(self, seq_id: int) -> int:
        check_int("seq_id", seq_id, 0, self._require_engine().context.n_seq_max - 1)
        return seq_id

    # -- memory and times ----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget every sequence, as if the instance were new.

        Raises:
            LlamaError: if a generation is running.
        """
        self.kv_cache_clear()

    def kv_cache_clear(self) -> None:
        """Empty the KV cache, without making the context anew (llama_memory_clear).

        Raises:
            LlamaError: if a generation is running.
        """
        self._require_engine().clear()

    def kv_cache_seq_rm(self, seq_id: int = -1, p0: int = -1, p1: int = -1) -> bool:
        """Remove positions from a sequence in memory (llama_memory_seq_rm).

        Args:
            seq_id: the sequence; -1 is all of them.
            p0, p1: positions from p0 to p1, p1 not among them; a negative p0 is 0, a negative p1 the end.

        Returns:
            Whether anything was there.

        Raises:
            LlamaError: if the memory can't: a recurrent state goes as a whole; a window can't go back to what has left
                it. Also if a generation is running.
        """
        engine = self._require_engine()
        ids = range(engine.context.n_seq_max) if seq_id == -1 else [self._check_seq_id(seq_id)]
        _check_positions(p0, p1)
        with engine.idle_loop() as loop:
            sizes = [len(loop.tokens(index)) for index in ids]
            for index in ids:
                loop.seq_rm(index, p0, p1)
        return any(size > max(p0, 0) for size in sizes)

    def kv_cache_seq_cp(self, seq_id_src: int, seq_id_dst: int, p0: int = -1, p1: int = -1) -> None:
        """Copy positions of a sequence in memory to another one (llama_memory_seq_cp).

        Args:
            seq_id_src, seq_id_dst: the sequences; a copy of the whole takes the other's place.
            p0, p1: positions from p0 to p1, as `kv_cache_seq_rm` has them.

        Raises:
            LlamaError: if the memory can't copy a part: recurrent states, and sequences without kv_unified=True.
        """
        _check_positions(p0, p1)
        source, target = self._check_seq_id(seq_id_src), self._check_seq_id(seq_id_dst)
        with self._require_engine().idle_loop() as loop:
            loop.seq_cp(source, target, p0, p1)

    def kv_cache_seq_keep(self, seq_id: int) -> None:
        """Remove all sequences but one from memory (llama_memory_seq_keep)."""
        self._check_seq_id(seq_id)
        engine = self._require_engine()
        with engine.idle_loop() as loop:
            for index in range(engine.context.n_seq_max):
                if index != seq_id:
                    loop.forget(index)
            engine.last_slot = seq_id

    def kv_cache_seq_add(self, seq_id: int, p0: int, p1: int, delta: int) -> None:
        """Shift positions of a sequence in memory (llama_memory_seq_add).

        Args:
            seq_id: the sequence.
            p0, p1: positions from p0 to p1, as `kv_cache_seq_rm` has them.
            delta: what is added to them; takes effect with the next computation.

        Raises:
            ValidationError: if they would be negative, beyond the context, or fall onto others.
            LlamaError: if the memory can't shift (`kv_cache_can_shift`), or another sequence shares the positions.
        """
        _check_positions(p0, p1)
        check_int("delta", delta, -(2**31) + 1)
        self._check_seq_id(seq_id)
        with self._require_engine().idle_loop() as loop:
            loop.seq_add(seq_id, p0, p1, delta)

    def kv_cache_seq_div(self, seq_id: int, p0: int, p1: int, d: int) -> None:
        """Divide positions of a sequence in memory (llama_memory_seq_div), as self-extend does (arXiv:2401.01325).

        Args:
            seq_id: the sequence.
            p0, p1: positions from p0 to the end; p1 must be negative or the end.
            d: divisor, 1 or more.

        Raises:
            ValidationError, LlamaError: as `kv_cache_seq_add` has them.
        """
        _check_positions(p0, p1)
        check_int("d", d, 1)
        self._check_seq_id(seq_id)
        with self._require_engine().idle_loop() as loop:
            loop.seq_div(seq_id, p0, p1, d)

    def kv_cache_seq_pos_max(self, seq_id: int = 0) -> int:
        """Return the largest position of a sequence in memory, -1 if it is empty (llama_memory_seq_pos_max)."""
        self._check_seq_id(seq_id)
        with self._require_engine().idle_loop() as loop:
            return loop.seq_pos_max(seq_id)

    def kv_cache_seq_pos_min(self, seq_id: int = 0) -> int:
        """Return the smallest position of a sequence in memory, -1 if it is empty (llama_memory_seq_pos_min)."""
        self._check_seq_id(seq_id)
        with self._require_engine().idle_loop() as loop:
            return loop.seq_pos_min(seq_id)

    def perf(self) -> dict[str, float]:
        """Return times and counts since the instance was made, or perf_reset (llama_perf_context).

        Returns:
            t_start_ms: when the context was made, on a clock of the process.
            t_load_ms: from there to the end of the first computation.
            t_p_eval_ms, n_p_eval: milliseconds in batches of several tokens (prompts), and those tokens.
            t_eval_ms, n_eval: milliseconds in batches of one token (generation), and those tokens.
            n_reused: how often a compute graph was used again.
            n_threads, n_threads_batch: threads that generate, and that process prompts: the numbers that were given, or
                else as many as pay at present.
        """
        return self._require_engine().context.perf()

    def perf_reset(self) -> None:
        """Set the times and counts of perf() to zero."""
        with self._require_engine().exclusive() as context:
            context.perf_reset()

    # ------------------------------------------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._closed or self._weights.closed:
            raise ClosedError("this Llama is closed")
        self._weights.check()

    def _require_engine(self) -> Engine:
        self._require_open()
        if self._config.vocab_only:
            raise ValidationError("this Llama was loaded with vocab_only=True; it tokenizes and nothing else")
        with self._engine_lock:
            if self._engine is None:
                config = dataclasses.replace(self._config, embeddings=False)
                self._engine = self._new_engine(config)
            return self._engine


def __getattr__(name: str) -> Any:
    # Names that llama-cpp-python has in this module; the import system asks for others.
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .compat import lazy

    return ["Llama", *lazy.names()] if name == "__all__" else lazy.find(name)


def _restore(
    kind: type[Llama],
    config: LlamaConfig,
    sampling: SamplingParams,
    draft: str | None,
    loras: Sequence[tuple[str, float]],
    vector: _ControlVector | None,
    options: InstanceOptions,
) -> Llama:
    """Make an instance of what a pickled one was made of."""
    llama = kind.__new__(kind)  # a subclass's constructor may take anything
    Llama.__init__(llama, config=config, sampling=sampling, draft_model=draft)
    llama._begin_compat(options)
    for path, scale in loras:
        llama.load_lora(path, scale)
    if vector is not None:
        llama.set_control_vector(vector.values, 1.0, vector.layer_first, vector.layer_last)
    return llama


@dataclass(frozen=True)
class _ControlVector:
    """float32 of shape (n_layer - 1, n_embd), and the layers to add it to."""

    values: Any
    layer_first: int
    layer_last: int

    @property
    def fingerprint(self) -> str:
        import hashlib

        return hashlib.sha256(repr((self.layer_first, self.layer_last)).encode() + self.values.tobytes()).hexdigest()


def _control_vector(llama: Llama, vector: Any, scale: float, layer_first: int, layer_last: int) -> _ControlVector:
    import numpy as np

    shape = (llama.n_layer() - 1, llama.n_embd())
    if isinstance(vector, (str, os.PathLike)):
        from .files import read_metadata

        file = read_metadata(vector)
        values = np.zeros(shape, dtype=np.float32)
        found = {tensor.name: tensor for tensor in file.tensors if tensor.name.startswith("direction.")}
        if not found:
            raise ModelLoadError(f"{file.path!r} is no control vector: it has no tensor direction.1 or the like")
        for name, tensor in found.items():
            layer = int(name.removeprefix("direction.")) if name.removeprefix("direction.").isdecimal() else 0
            if not 1 <= layer <= shape[0] or tensor.shape != shape[1:] or tensor.type != "f32":
                raise ModelLoadError(
                    f"{file.path!r} was made for another model: {name} has shape {tensor.shape}, type {tensor.type}; "
                    f"this one takes f32 of shape {shape[1:]} for layers 1 to {shape[0]}"
                )
            values[layer - 1] = np.fromfile(file.path, dtype="<f4", count=shape[1], offset=tensor.offset)
    else:
        values = np.asarray(vector, dtype=np.float32)
    if values.shape != shape:
        raise ValidationError(f"a control vector for this model has shape {shape}, and this one {values.shape}")
    if not np.isfinite(values).all():
        raise ValidationError("the control vector holds NaN or infinite numbers")
    return _ControlVector(np.ascontiguousarray(values * np.float32(scale)), layer_first, layer_last)


def _check_positions(p0: int, p1: int) -> None:
    check_int("p0", p0, -1)
    check_int("p1", p1, -1)
    if 0 <= p1 < p0:
        raise ValidationError(f"p1 must not be less than p0; got {p0} to {p1}")


def _check_sampling(sampling: SamplingParams | None) -> SamplingParams | None:
    if sampling is not None and not isinstance(sampling, SamplingParams):
        raise ValidationError(f"sampling must be a SamplingParams, got {sampling!r}")
    return sampling


def _pools(metadata: Mapping[str, object]) -> bool:
    """Tell whether a model has a pooling of its own."""
    own = metadata.get(f"{metadata.get('general.architecture')}.pooling_type", POOLING_TYPES["none"])
    return str(own) != str(POOLING_TYPES["none"])


def _warn_without_gpu(config: LlamaConfig) -> None:
    """Log a warning if settings ask for a GPU and llama.cpp has found none."""
    asked = [name for name in ("n_gpu_layers", "main_gpu") if getattr(config, name) > 0]
    asked += ["tensor_split"] if config.tensor_split else []
    if asked and not _core.supports_gpu_offload():
        logs.logger().warning(
            "%s: there is no GPU that llama.cpp can use, so the CPU computes everything; `llama-cpp doctor` tells why",
            ", ".join(f"{name}={getattr(config, name)!r}" for name in asked),
        )


def _check_metadata(model: _core.Model, config: LlamaConfig) -> None:
    """Refuse numbers that ggml asserts on in threads of its own, where no exception could come out of it."""
    for key, value in {**model.metadata(), **(config.kv_overrides or {})}.items():
        if key.endswith(("layer_norm_rms_epsilon", "layer_norm_epsilon")) and str(value).strip().startswith(
            ("-", "nan")
        ):
            model.close()
            raise ModelLoadError(f"{model.path!r} can't be computed: {key} is {value}, and must not be negative")


def _prefixed(head: str, generation: Generation) -> Generator[str]:
    """Give the prompt, if it is to be echoed, then the text; being closed early cancels the generation."""
    with generation:
        if head:
            yield head
        yield from generation


class _News:
    """Tells a coroutine of the running event loop what generations tell in the engine's threads."""

    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def __call__(self, generation: Generation) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed while the generation ran
            self._loop.call_soon_threadsafe(self._event.set)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until something holds that news can bring about."""
        while not ready():
            await self._event.wait()
            self._event.clear()


async def _async_texts(generation: Generation, news: _News) -> AsyncIterator[str]:
    """Give a generation's texts as they come; being closed early cancels it."""
    with generation:
        while True:
            await news.until(generation.has_news)
            try:
                text = next(generation)
            except StopIteration:
                return
            yield text


async def _async_chunks(
    call: ChatCall, generations: list[Generation], news: _News
) -> AsyncIterator[ChatCompletionChunk]:
    """Give answers in pieces as their text comes; being closed early cancels them."""
    from .chat_completions import ChunkReader

    with contextlib.ExitStack() as stack:
        for generation in generations:
            stack.enter_context(generation)
        readers = [ChunkReader(call, index) for index in range(len(generations))]
        pending = dict(enumerate(generations))
        for reader in readers:
            yield reader.first()
        while pending:
            await news.until(lambda: any(generation.has_news() for generation in pending.values()))
            for index, generation in list(pending.items()):
                while generation.has_text():
                    for chunk in readers[index].read(next(generation)):
                        yield chunk
                if generation.done:
                    del pending[index]
                    for chunk in readers[index].last(generation.result()):
                        yield chunk
        if call.with_usage:
            yield call.usage_chunk([generation.result() for generation in generations])


def _with_defaults(row: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's fields, with those of the whole batch that it does not have; no sampling is nobody's wish."""
    own = {name: value for name, value in row.items() if name != "sampling" or value is not None}
    return {**defaults, **own}


def _mean_logprob(result: GenerationResult) -> float:
    values = [value for value in (result.logprobs or {"token_logprobs": []})["token_logprobs"] if value is not None]
    return sum(values) / len(values) if values else -math.inf


def _check_timeout(timeout: float | None) -> float | None:
    if timeout is not None:
        check_float("timeout", timeout, 0.0)
        if timeout == 0.0:
            raise ValidationError("timeout must be above 0 seconds; None is no limit")
    return timeout


def _check_processors(processors: LogitsProcessors) -> Sequence[LogitsProcessor]:
    if processors is None:
        return ()
    several = [processors] if callable(processors) else processors
    if not isinstance(several, Sequence) or not all(map(callable, several)):
        raise ValidationError(f"logits_processor must be a callable or a list of them, got {processors!r}")
    return several


def _one_of(input: Any, text: Any) -> Any:
    """Return the texts that `embed` was given, by whichever name."""
    if (input is None) == (text is None):
        raise ValidationError("embed takes a text, or a list of texts, as input or as text")
    return text if input is None else input


def _embedding_result(input: object, rows: list[Any], as_array: bool) -> Any:
    result = rows if as_array else [row.tolist() for row in rows]
    return result[0] if isinstance(input, str) else result


def _check_texts(name: str, texts: object) -> list[str]:
    if isinstance(texts, (bytes, bytearray, Mapping)) or not isinstance(texts, Sequence):
        raise ValidationError(f"{name} must be a list of str, got {texts!r}")
    for index, text in enumerate(texts):
        check_text(f"{name}[{index}]", text)
    return list(texts)


def _is_chat(row: object) -> bool:
    """Tell whether a batch's row is messages, or a dict with some."""
    if isinstance(row, Mapping):
        return "messages" in row
    return isinstance(row, Sequence) and not isinstance(row, str) and len(row) > 0 and isinstance(row[0], Mapping)


def _check_on_error(on_error: str) -> None:
    if on_error not in ("raise", "return"):
        raise ValidationError(f'on_error must be "raise" or "return", got {on_error!r}')


class _Progress:
    """A progress bar over rows, with the rate of generated tokens; or nothing at all."""

    def __init__(self, shown: bool, prompts: object) -> None:
        self._bar: tqdm[Any] | None = None
        self._tokens = 0
        if shown and sys.stderr is not None:  # as it is in pythonw, and in some services
            from tqdm.auto import tqdm

            self._bar = tqdm(total=len(prompts) if isinstance(prompts, Sized) else None, unit="row")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, result: GenerationResult | LlamaError) -> None:
        """Count a row."""
        if self._bar is None:
            return
        if isinstance(result, GenerationResult):
            self._tokens += result.usage.completion_tokens
        self._bar.update()
        elapsed = self._bar.format_dict["elapsed"] or 1e-9
        self._bar.set_postfix({"tokens/s": f"{self._tokens / elapsed:.1f}"}, refresh=False)
