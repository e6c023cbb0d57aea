"""What llama-cpp-python's `Llama` has besides ours: token-level calls, its attributes, and its chat handlers."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from ctypes import c_void_p
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .. import logs
from ..completions import SAMPLING_NAMES
from ..config import LlamaConfig, SamplingParams, Samplings, as_list, check_int, check_seed
from ..engine import Engine, Request, Seeds, common_prefix
from ..errors import ValidationError
from ..streams import Stream
from .keywords import InstanceOptions, as_flag, warn
from .speculative import LlamaPromptLookupDecoding
from .tokens import ByteToken, TokenCount, byte_tokens, holds_byte_tokens

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from .. import _core
    from ..grammar.grammar import LlamaGrammar
    from .state import LlamaState
    from .stepping import Loras
    from .tokenizer import BaseLlamaTokenizer, LlamaTokenizer

# Arguments of `generate` over token ids; any of them says that it is meant.
STEP_ARGUMENTS = frozenset(
    (
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "temp",
        "repeat_penalty",
        "reset",
        "frequency_penalty",
        "presence_penalty",
        "tfs_z",
        "mirostat_mode",
        "mirostat_tau",
        "mirostat_eta",
        "penalize_nl",
        "stopping_criteria",
    )
)


class CompatMixin:
    """The part of `Llama` that programs written for llama-cpp-python use; docs/migration.md lists it."""

    _config: LlamaConfig
    _given_sampling: SamplingParams | None
    _recommended: dict[str, Any]
    _samplings: Samplings
    _options: InstanceOptions
    _seeds: Seeds
    _engine: Engine | None
    _draft_model: _core.Model | None

    chat_handler: Callable[..., Any] | None
    cache: Any
    _evaluated: tuple[list[int], Loras] | None
    _chosen: dict[int, int]  # tokens that `sample` gave, by the position that they are for
    _last_row: Any

    if TYPE_CHECKING:
        _vocab: _core.Vocab

        @property
        def _model(self) -> _core.Model: ...
        def _require_open(self) -> None: ...
        def _require_engine(self) -> Engine: ...
        def _new_engine(self, config: LlamaConfig, n_ctx_seq: int = 0) -> Engine: ...
        def _check_tokens(self, name: str, tokens: object) -> list[int]: ...
        def _check_lora(self, lora: Any) -> Loras: ...
        def _check_grammar(self, grammar: Any) -> LlamaGrammar | None: ...
        def _draw_seed(self, seed: int | None, sampling: SamplingParams) -> int: ...
        def _count_tokens(self, text: str, add_special: bool = False) -> int: ...

        @property
        def ctx(self) -> _core.Context: ...  # noqa: D102

        n_vocab: Callable[[], int]
        n_ctx: Callable[[], int]
        reset: Callable[[], None]
        get_state: Callable[[], bytes]
        set_state: Callable[[bytes], None]
        create_chat_completion: Callable[..., Any]

    def _begin_compat(self, options: InstanceOptions) -> None:
        """Set the attributes that programs read and write."""
        self._options = options
        self._samplings = Samplings.of(self._given_sampling, self._recommended, options.last_n_tokens_size)
        self.chat_handler = options.chat_handler
        self.cache = None
        self._seeds = Seeds(self._config.seed)
        self._evaluated = None
        self._chosen = {}
        self._last_row = None

    # -- tokens --------------------------------------------------------------------------------------------------------

    @property
    def n_tokens(self) -> TokenCount:
        """Length of the sequence in memory; a smaller number drops its end. Called with a text, counts its tokens."""
        self._require_open()
        return TokenCount(len(self._sequence()), self._count_tokens)

    @n_tokens.setter
    def n_tokens(self, n: int) -> None:
        check_int("n_tokens", n, 0, len(self._sequence()))
        if self._engine is not None:
            with self._engine.idle_loop() as loop:
                loop.go_back(self._engine.last_slot, n)

    def _sequence(self) -> list[int]:
        return [] if self._engine is None else self._engine.tokens(self._engine.last_slot)

    @property
    def input_ids(self) -> npt.NDArray[np.intc]:
        """Tokens of the sequence in memory, int32 of shape (n_tokens,)."""
        import numpy as np

        self._require_open()
        return np.array(self._sequence(), dtype=np.intc)

    _input_ids = input_ids

    @property
    def eval_tokens(self) -> deque[int]:
        """Tokens of the sequence in memory, for which `detokenize` gives bytes."""
        self._require_open()
        return deque(byte_tokens(self._sequence()), maxlen=self.n_ctx())

    def token_nl(self) -> int:
        """Return the id of the token for a line break, -1 if there is none."""
        return self._vocab.nl()

    def tokenizer(self) -> LlamaTokenizer:
        """Return the model's tokenizer as an object."""
        from .tokenizer import LlamaTokenizer

        return LlamaTokenizer(self)

    @property
    def tokenizer_(self) -> BaseLlamaTokenizer:
        """The tokenizer in use: the one given to the constructor, or the model's."""
        given: BaseLlamaTokenizer | None = self._options.tokenizer
        return self.tokenizer() if given is None else given

    def _tokenize_bytes(self, text: bytes, add_bos: bool, special: bool) -> list[int]:
        return byte_tokens(self.tokenizer_.tokenize(text, add_bos, special))

    def _wants_bytes(self, tokens: Any, second: Any, keywords: Mapping[str, Any]) -> bool:
        """Tell whether a call of `detokenize` is llama-cpp-python's."""
        return bool(keywords) or isinstance(second, (list, tuple)) or holds_byte_tokens(tokens)

    def _detokenize_bytes(self, tokens: list[int], keywords: Mapping[str, Any]) -> bytes:
        unknown = keywords.keys() - {"prev_tokens", "special"}
        if unknown:
            raise ValidationError(f"detokenize has no argument {min(unknown)!r}")
        before = as_list(keywords.get("prev_tokens"))
        return self.tokenizer_.detokenize(tokens, before, keywords.get("special", False))

    # -- one step at a time --------------------------------------------------------------------------------------------

    def eval(self, tokens: Sequence[int]) -> None:
        """Compute tokens that follow on those in memory.

        Raises:
            ContextFullError: if they do not fit.
        """
        from .stepping import compute

        ids = self._check_tokens("tokens", tokens)
        if not ids:
            return
        before = self._sequence()
        if self._evaluated is None or before != self._evaluated[0][: len(before)]:
            self._chosen = {}  # another call has put other tokens there
        self._chosen = {place: token for place, token in self._chosen.items() if place <= len(before)}
        self._last_row = compute(self._require_engine(), ids, self._check_lora(None))
        self._evaluated = self._sequence(), self._check_lora(None)

    def _last_logits(self) -> npt.NDArray[np.float32]:
        """Return the logits that follow the sequence in memory, computed again if another call came between."""
        ids = self._sequence()
        if not ids:
            raise ValidationError("nothing is in memory that a token could follow; eval() a prompt first")
        if (ids, self._check_lora(None)) != self._evaluated:
            self.n_tokens = len(ids) - 1
            self.eval(ids[-1:])
        row: npt.NDArray[np.float32] = self._last_row
        return row

    def sample(
        self,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        temp: float | None = None,
        repeat_penalty: float | None = None,
        *,
        logits_processor: Any = None,
        grammar: LlamaGrammar | None = None,
        seed: int | None = None,
        idx: int | None = None,
        **sampling: Any,
    ) -> int:
        """Choose a token that may follow the sequence in memory, and leave it out of that.

        Args:
            top_k, top_p, min_p, typical_p, temp, repeat_penalty: as StepSampling has them; the defaults are those of
                `create_completion`. Penalties look at the tokens that this method gave.
            logits_processor, grammar, seed: as `generate` has them.
            idx: index of the last token; nothing else is kept.
            **sampling: its other fields: `frequency_penalty`, `presence_penalty`, `mirostat_mode`, `mirostat_tau`,
                `mirostat_eta`.

        Raises:
            ValidationError: if nothing is in memory.
        """
        sampling.update(
            top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p, temp=temp, repeat_penalty=repeat_penalty
        )
        ids = self._sequence()
        if idx is not None and idx != len(ids) - 1:
            raise ValidationError(f"idx must be that of the last token, {len(ids) - 1}; got {idx}")
        chosen = [ids[place] for place in sorted(self._chosen) if ids[place : place + 1] == [self._chosen[place]]]
        token = self._choose(self._step_sampler(sampling, seed, ids, chosen, grammar, logits_processor))
        self._chosen[len(ids)] = token
        return token

    def _choose(self, sampler: _core.Sampler) -> int:
        self._last_logits()
        with self._require_engine().exclusive() as context:
            return ByteToken(sampler.sample(context, -1))

    def _step_sampler(
        self,
        sampling: Mapping[str, Any],
        seed: int | None,
        ids: Sequence[int],
        chosen: Sequence[int],
        grammar: Any,
        processors: Any,
    ) -> _core.Sampler:
        """Make the chain of a call.

        Args:
            sampling: fields of StepSampling, as far as the call names them.
            seed, grammar, processors: as `sample` has them.
            ids: tokens that came before.
            chosen: those of them that were generated.
        """
        import numpy as np

        from .callbacks import as_processors
        from .stepping import StepSampling, make_sampler

        check_seed("seed", seed)
        known = {name: value for name, value in sampling.items() if name not in ("tfs_z", "penalize_nl")}
        warn_tail_free(sampling)
        names = {field.name for field in dataclasses.fields(StepSampling)}
        unknown = known.keys() - names
        if unknown:
            raise ValidationError(f"unknown argument {min(unknown)!r}")
        defaults = self._samplings.completion
        own = {name: getattr(defaults, SAMPLING_NAMES[name]) for name in names}
        params = StepSampling(**{**own, **{name: value for name, value in known.items() if value is not None}})
        several = as_processors(processors)

        def process(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            now = self.input_ids
            for processor in several:
                changed: Any = processor(now, scores)
                scores = scores if changed is None else np.asarray(changed, dtype=np.float32)
            return scores

        last_n = defaults.repeat_last_n
        return make_sampler(
            self._model,
            params,
            self._draw_seed(seed, defaults),
            ids if defaults.penalize_prompt else chosen,
            self.n_ctx() if last_n < 0 else last_n,
            self._check_grammar(grammar),
            process if several else None,
        )

    def _generate_tokens(
        self,
        tokens: object,
        *,
        reset: bool = True,
        stopping_criteria: Any = None,
        logits_processor: Any = None,
        grammar: LlamaGrammar | None = None,
        seed: int | None = None,
        **sampling: Any,
    ) -> Generator[int, Sequence[int] | None, None]:
        """Give one token id after the other, without end; what is sent to the generator is appended too."""
        pending = self._check_tokens("tokens", tokens)
        sampler = self._step_sampler(sampling, seed, pending, [], grammar, logits_processor)

        def steps() -> Generator[int, Sequence[int] | None, None]:
            nonlocal pending
            if reset:
                pending = self._keep_prefix(pending)
            while True:
                self.eval(pending)
                if stopping_criteria is not None and stopping_criteria(self.input_ids, self._last_logits()):
                    return
                token = self._choose(sampler)
                sent = yield token
                pending = [token, *(() if sent is None else sent)]

        return steps()

    def _keep_prefix(self, tokens: list[int]) -> list[int]:
        """Empty the memory, but for what the cache says that may stay; return what is left to compute."""
        n = common_prefix(self._sequence(), tokens[:-1]) if self.cache is not None else 0
        if n:
            self.n_tokens = n
        else:
            self.reset()
        return tokens[n:]

    # -- logits --------------------------------------------------------------------------------------------------------

    @property
    def scores(self) -> Scores:
        """Logits after each token of the sequence in memory, of shape (n_tokens, n_vocab), computed as they are read.

        Reading the last row costs nothing after `eval`; any other one computes the sequence again.
        """
        self._require_open()
        return Scores(self)

    _scores = scores

    @property
    def eval_logits(self) -> deque[list[float]]:
        """Logits after the last token, or after each of them if logits_all=True, as lists."""
        self._require_open()
        if not self._sequence():
            return deque(maxlen=1)
        if not self._config.logits_all:
            return deque([self._last_logits().tolist()], maxlen=1)
        return deque(self._all_logits().tolist(), maxlen=self.n_ctx())

    def _all_logits(self) -> npt.NDArray[np.float32]:
        from .stepping import make_rows_config, rows

        ids = self._sequence()
        engine = self._new_engine(make_rows_config(self._config, max(len(ids), 1)))
        try:
            return rows(engine, ids, self._check_lora(None))
        finally:
            engine.close()

    @staticmethod
    def logits_to_logprobs(logits: Any, axis: int = -1) -> npt.NDArray[np.float32]:
        """Return the natural logarithms of the probabilities that logits stand for (log-softmax)."""
        import numpy as np

        values = np.asarray(logits, dtype=np.float32)
        top = values.max(axis=axis, keepdims=True)
        shifted = values - np.where(np.isfinite(top), top, np.float32(0.0))
        with np.errstate(divide="ignore"):
            result: npt.NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
        return result

    @staticmethod
    def longest_token_prefix(a: Sequence[int], b: Sequence[int]) -> int:
        """Count the tokens that two sequences begin with alike."""
        return common_prefix(a, b)

    # -- memory --------------------------------------------------------------------------------------------------------

    def set_cache(self, cache: Any) -> None:
        """Let calls go on from what they have in common with the last one; None makes each begin anew.

        Nothing is put into the cache: the prefix stays in the context's memory. What is computed in other batches may
        tip the balance between two tokens that are almost equally likely.
        """
        self.cache = cache

    def set_seed(self, seed: int | None) -> None:
        """Begin the sequence of seeds anew that requests without one of their own take."""
        check_seed("seed", seed)
        self._config = dataclasses.replace(self._config, seed=seed)
        self._seeds = Seeds(seed)

    def _state_object(self) -> LlamaState:
        import numpy as np

        from .state import LlamaState

        data, ids = self.get_state(), self.input_ids
        scores = np.empty((0, self.n_vocab()), dtype=np.float32)
        return LlamaState(ids, scores, len(ids), data, len(data), self._seeds.next_seed)

    def _load_state_object(self, state: LlamaState) -> None:
        self.set_state(state.llama_state)
        self.set_seed(state.seed)

    # -- attributes ----------------------------------------------------------------------------------------------------

    @property
    def n_batch(self) -> int:
        """Most tokens in one batch."""
        return self._config.batches()[0]

    @property
    def n_threads(self) -> int:
        """Threads that generate."""
        return self._config.threads()[0]

    @property
    def n_threads_batch(self) -> int:
        """Threads that process prompts."""
        return self._config.threads()[1]

    @property
    def verbose(self) -> bool:
        """Whether llama.cpp's progress is reported; setting it concerns the whole process."""
        return self._config.verbose

    @verbose.setter
    def verbose(self, verbose: bool) -> None:
        verbose = as_flag(verbose)
        self._config = dataclasses.replace(self._config, verbose=verbose)
        logs.set_verbose(verbose)

    @property
    def chat_format(self) -> str | None:
        """Name, or Jinja source, of the chat template to use; None is the model's default one."""
        return self._config.chat_format

    @chat_format.setter
    def chat_format(self, chat_format: str | None) -> None:
        self._config = dataclasses.replace(self._config, chat_format=chat_format)

    @property
    def spm_infill(self) -> bool:
        """Whether the suffix comes before the prefix where gaps are filled."""
        return self._options.spm_infill

    @property
    def last_n_tokens_size(self) -> int:
        """How many tokens the repetition penalties look at."""
        return self._samplings.completion.repeat_last_n

    @last_n_tokens_size.setter
    def last_n_tokens_size(self, n: int) -> None:
        check_int("last_n_tokens_size", n, -1)
        self._options = self._options._replace(last_n_tokens_size=n)
        self._samplings = Samplings.of(self._given_sampling, self._recommended, n)

    @property
    def draft_model(self) -> LlamaPromptLookupDecoding | _core.Model | None:
        """What guesses tokens where a request does not say; None, or prompt lookup, can be set."""
        n = self._options.draft_tokens
        return self._draft_model if n is None else LlamaPromptLookupDecoding(num_pred_tokens=n) if n else None

    @draft_model.setter
    def draft_model(self, draft_model: LlamaPromptLookupDecoding | None) -> None:
        if draft_model is not None and not isinstance(draft_model, LlamaPromptLookupDecoding):
            raise ValidationError(
                f"draft_model can be set to None or LlamaPromptLookupDecoding, got {draft_model!r}; "
                "give a model to the constructor"
            )
        n = 0 if draft_model is None else draft_model.num_pred_tokens
        self._options = self._options._replace(draft_tokens=n)

    @property
    def lora_path(self) -> str | None:
        """The adapter that the constructor was given."""
        return self._options.lora_path

    @property
    def lora_scale(self) -> float:
        """How strongly it acts."""
        return self._options.lora_scale

    @property
    def lora_base(self) -> None:
        """Nothing: adapters are applied to the model itself."""

    @property
    def numa(self) -> bool | int:
        """Whether, or how, threads are spread over NUMA nodes."""
        return self._options.numa

    @property
    def tensor_split(self) -> Sequence[float] | None:
        """How the model is divided between GPUs."""
        return self._config.tensor_split

    @property
    def context_params(self) -> SimpleNamespace:
        """The numbers that the context was made with, under llama.h's names; a copy."""
        config = self._config
        n_batch, n_ubatch = config.batches()
        n_threads, n_threads_batch = config.threads()
        names = ("pooling_type", "attention_type", "rope_scaling_type", "type_k", "type_v")
        same = ("n_ctx", "n_seq_max", "embeddings", "offload_kqv", "op_offload", "swa_full", "kv_unified")
        scales = [name for name in vars(config) if name.startswith(("rope_freq_", "yarn_"))]
        return SimpleNamespace(
            n_batch=n_batch,
            n_ubatch=n_ubatch,
            n_threads=n_threads,
            n_threads_batch=n_threads_batch,
            flash_attn_type=config.enum("flash_attn"),
            **{name: config.enum(name) for name in names},
            **{name: getattr(config, name) for name in (*same, *scales)},
        )

    @property
    def _ctx(self) -> SimpleNamespace:
        """What programs reach into llama-cpp-python's inner context for, mostly to empty the memory.

        A vocabulary alone has no context: its `ctx` is a NULL pointer.
        """
        names = ("kv_cache_clear", "kv_cache_seq_rm", "kv_cache_seq_cp", "kv_cache_seq_keep")
        address = c_void_p() if self._config.vocab_only else self.ctx
        return SimpleNamespace(ctx=address, **{name: getattr(self, name) for name in names})

    @property
    def model_params(self) -> SimpleNamespace:
        """The numbers that the model was loaded with, under llama.h's names; a copy."""
        config = self._config
        same = ("n_gpu_layers", "main_gpu", "vocab_only", "use_mmap", "use_mlock", "check_tensors")
        return SimpleNamespace(split_mode=config.enum("split_mode"), **{name: getattr(config, name) for name in same})

    def pooling_type(self) -> int:
        """Return how token embeddings become one (enum llama_pooling_type); -1 leaves it to the model."""
        self._require_open()
        return self._config.enum("pooling_type")

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _modern(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Turn what only llama-cpp-python's completions take into options that ours take."""
        left = {name: value for name, value in options.items() if name not in ("tfs_z", "penalize_nl")}
        warn_tail_free(options)
        for name in {"stream", "logprobs"} & left.keys():
            left[name] = as_flag(left[name])
        if left.get("tool_choice") is False:
            del left["tool_choice"]  # as langchain says that it has none
        criteria = left.pop("stopping_criteria", None)
        if criteria is not None and (callable(criteria) or len(criteria)):
            from .callbacks import as_processors, stopping_processor

            stop = stopping_processor(criteria)
            left["logits_processor"] = [*as_processors(left.get("logits_processor")), stop]
        return left

    def _use_cache(self, requests: Sequence[Request]) -> None:
        """Let a request go on from what it has in common with the last one, if there is a cache."""
        if self.cache is not None and len(requests) == 1:
            requests[0].reuse = not requests[0].append

    def _named_template(self, name: str) -> str | None:
        from .chat_formats import chat_format_of

        found = chat_format_of(name)
        return None if found is None else found.template

    def _handler(self) -> Callable[..., Any] | None:
        """Return what answers chat completions in place of this package, None if nothing does."""
        if self.chat_handler is not None or self.chat_format is None:
            return self.chat_handler
        from .chat_handlers import LlamaChatCompletionHandlerRegistry

        return LlamaChatCompletionHandlerRegistry().registered(self.chat_format)

    def _answers_otherwise(self, options: Mapping[str, Any]) -> bool:
        """Tell whether a chat completion is a chat handler's, or has OpenAI's older `functions`."""
        if not {"functions", "function_call"}.isdisjoint(options):
            return True
        return options.get("chat_format") is None and self._handler() is not None

    def _answer_otherwise(self, messages: Any, options: dict[str, Any]) -> Any:
        from .chat_handlers import HANDLER_DEFAULTS, HANDLER_SAMPLING, tools_of, with_function_calls

        self._require_open()
        handler = self._handler() if options.get("chat_format") is None else None
        if handler is not None:
            said = {name: value for name, value in options.items() if value is not None and name != "reset_kv_cache"}
            sampling = {name: getattr(self._samplings.chat, SAMPLING_NAMES[name]) for name in HANDLER_SAMPLING}
            return handler(llama=self, messages=messages, **{**HANDLER_DEFAULTS, **sampling, **said})
        functions, function_call = options.pop("functions", None), options.pop("function_call", None)
        tools, choice = tools_of(options.pop("tools"), options.pop("tool_choice"), functions, function_call)
        return with_function_calls(self.create_chat_completion(messages, tools=tools, tool_choice=choice, **options))

    def create_chat_completion_openai_v1(self, *args: Any, **kwargs: Any) -> Any:
        """Answer messages with the objects of the package openai; see `create_chat_completion`.

        Returns:
            A `ChatCompletion`, or with stream=True an iterator of `ChatCompletionChunk`.
        """
        self._require_open()
        from openai.types.chat import ChatCompletion, ChatCompletionChunk

        answer = self.create_chat_completion(*args, **kwargs)
        if isinstance(answer, Mapping):
            return ChatCompletion.model_validate(answer)
        return Stream.over(_validated(answer, ChatCompletionChunk), answer)


class Scores:
    """Rows of logits, computed as they are read; NumPy takes it for an array, whose methods it has."""

    def __init__(self, llama: CompatMixin) -> None:
        import numpy as np

        self._llama = llama
        self.shape = (len(llama._sequence()), llama.n_vocab())
        self.dtype = np.dtype(np.float32)
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"Scores has no {name!r}")
        return getattr(self._llama._all_logits(), name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        rows = self._llama._all_logits()
        return rows if dtype is None else rows.astype(dtype)

    def __getitem__(self, key: Any) -> Any:
        row = key[0] if isinstance(key, tuple) else key
        if isinstance(row, int) and row in (-1, len(self) - 1):
            last = self._llama._last_logits()
            return last[key[1:]] if isinstance(key, tuple) else last
        return self._llama._all_logits()[key]


def warn_tail_free(options: Mapping[str, Any]) -> None:
    """Say that tail-free sampling is gone, if it is asked for."""
    if options.get("tfs_z", 1.0) not in (None, 1.0):
        warn(
            f"tfs_z={options['tfs_z']} has no effect: llama.cpp has no tail-free sampling any more; use min_p or top_p"
        )


def _validated(chunks: Iterator[Any], kind: Any) -> Generator[Any]:
    for chunk in chunks:
        yield kind.model_validate(chunk)


def is_token_call(prompt: Any, arguments: Mapping[str, Any]) -> bool:
    """Tell whether a call of `generate` is llama-cpp-python's: over token ids, giving token ids."""
    prompt = as_list(prompt)
    if isinstance(prompt, (str, bytes)) or not isinstance(prompt, Sequence):
        return False
    return not STEP_ARGUMENTS.isdisjoint(arguments) or holds_byte_tokens(prompt)
