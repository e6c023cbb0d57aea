"""LlamaConfig and SamplingParams: the Python face of llama.cpp's parameter structs, as validated dataclasses."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

from .errors import ModelLoadError, ValidationError
from .machine import available_cpus

INT32_MAX = 2**31 - 1
FLOAT_MAX = 3.4e38  # a C float
MAX_THREADS = 512  # GGML_MAX_N_THREADS
# llama.cpp sorts logits beyond 3e8 wrongly, and floats end at 3e38; nothing is left to chance long before.
MIN_TEMPERATURE = 1e-6  # less is greedy
MAX_BIAS = 1e8
DEFAULT_N_BATCH = 2048
RANDOM_SEEDS = (None, -1, 0xFFFFFFFF)

T = TypeVar("T")


class DefaultFloat(float):
    """A number that nobody named, where it matters whether somebody did; it is kept by copies of what holds it."""


class DefaultInt(int):
    """A whole number that nobody named; see DefaultFloat."""


DEFAULT_MAX_TOKENS = DefaultInt(128)


# Names are those of llama.cpp's command-line tools, numbers those of ggml.h and llama.h.
CACHE_TYPES = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
FLASH_ATTN_TYPES = {"auto": -1, "off": 0, "on": 1}
POOLING_TYPES = {"unspecified": -1, "none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
ATTENTION_TYPES = {"unspecified": -1, "causal": 0, "non-causal": 1}
ROPE_SCALING_TYPES = {"unspecified": -1, "none": 0, "linear": 1, "yarn": 2, "longrope": 3}
SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}

# The order in which llama.cpp's own tools apply the samplers that shape the distribution.
DEFAULT_SAMPLERS = (
    "penalties",
    "dry",
    "top_n_sigma",
    "top_k",
    "typical_p",
    "top_p",
    "min_p",
    "xtc",
    "temperature",
)
KNOWN_SAMPLERS = (*DEFAULT_SAMPLERS, "infill")

# The fields that a GGUF's keys under "general.sampling." set.
GGUF_SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "penalty_last_n": "repeat_last_n",
    "penalty_repeat": "repeat_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
    "sequence": "samplers",
}
# How samplers may be written there, without - and _.
_WRITTEN_SAMPLERS = {
    **{name.replace("_", ""): name for name in KNOWN_SAMPLERS},
    "nucleus": "top_p",
    "temp": "temperature",
    "typ": "typical_p",
    "typp": "typical_p",
}


def check_int(name: str, value: object, low: int, high: int = INT32_MAX) -> int:
    """Return a value as an int, NumPy's too; refuse one that is none, or not within low..high.

    Raises:
        ValidationError: with the name, the value and the range.
    """
    number = value if isinstance(value, int) and not isinstance(value, bool) else _index(value)
    if number is None:
        raise ValidationError(f"{name} must be an int, got {value!r} ({type(value).__name__})")
    if not low <= number <= high:
        raise ValidationError(f"{name} must be between {low} and {high}, got {_number(number)}")
    return number


def _index(value: Any) -> int | None:
    """Return what stands for an int, such as those of NumPy, as one; None for a bool, and for anything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def check_float(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Refuse a value that is not a finite number, or not within low..high.

    Raises:
        ValidationError: with the name, the value and the range.
    """
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else _real(value)
    if number is None:
        raise ValidationError(f"{name} must be a number, got {value!r} ({type(value).__name__})")
    try:
        finite = math.isfinite(number)
    except OverflowError:  # an int beyond what a float can hold
        finite = False
    if not finite:
        raise ValidationError(f"{name} must be a finite number, got {_number(number)}")
    if not low <= number <= high:
        raise ValidationError(f"{name} must be between {low:g} and {high:g}, got {number}")


def _real(value: object) -> int | float | None:
    """Return what stands for a real number, such as those of NumPy, as a float; None for a bool, and anything else."""
    from numbers import Rational, Real

    if isinstance(value, (bool, Rational)) or not isinstance(value, Real):
        return _index(value)
    return float(value)


def _number(value: int | float) -> str:
    try:
        return str(value)
    except ValueError:  # Python writes no ints of more than some thousand digits
        return "a number of thousands of digits"


def as_list(value: Any) -> Any:
    """Return an array, of NumPy or the like, as a list; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def check_list(name: str, value: object) -> None:
    """Refuse what is no list, tuple or the like; a str is none.

    Raises:
        ValidationError: with the name and the value.
    """
    if isinstance(value, (str, bytes, bytearray)) or not isinstance(value, Sequence):
        raise ValidationError(f"{name} must be a list, got {value!r}")


def check_bool(name: str, value: object) -> None:
    """Refuse a value that is not a bool.

    Raises:
        ValidationError: with the name and the value.
    """
    if not isinstance(value, bool):
        raise ValidationError(f"{name} must be True or False, got {value!r}")


def check_known(what: str, names: Collection[str], known: Collection[str]) -> None:
    """Refuse names that are not known, and say which known one is nearest.

    Raises:
        ValidationError: with the first unknown name and a suggestion.
    """
    for name in names:
        if name not in known:
            import difflib

            near = difflib.get_close_matches(str(name), list(known), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(sorted(known))}"
            raise ValidationError(f"unknown {what} {name!r}; {hint}")


def check_seed(name: str, value: object) -> None:
    """Refuse a seed that is neither None, -1 (both random) nor an unsigned 32-bit number."""
    if value is not None:
        check_int(name, value, -1, 0xFFFFFFFF)


def check_path(argument: str, path: object) -> str:
    """Return a path as a str.

    Raises:
        ValidationError: if it is no path, one of bytes, empty, or holds a NUL.
    """
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise ValidationError(f"{argument} must be a str or a path, got {path!r}")
    if not text:
        raise ValidationError(f"{argument} is missing; give the path of a file")
    if "\0" in text:
        raise ValidationError(f"{argument} holds a NUL character: {text!r}")
    return text


def check_file(path: str | os.PathLike[str], argument: str = "model_path") -> None:
    """Refuse what is plainly no GGUF file, with a better reason than llama.cpp could give.

    Raises:
        ModelLoadError: saying what it is.
        ValidationError: as `check_path` has it.
    """
    name = check_path(argument, path)
    if os.path.isdir(name):
        raise ModelLoadError(f"{name!r} is a folder; give the path of the GGUF file in it")
    try:
        with open(name, "rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise ModelLoadError(f"there is no file {name!r} (seen from {os.getcwd()!r})") from None
    except OSError as error:
        raise ModelLoadError(f"{name!r} can't be read: {error.strerror}") from None
    if not magic:
        raise ModelLoadError(f"{name!r} is empty; fetch it again")
    if magic != b"GGUF":
        raise ModelLoadError(f"{name!r} is no GGUF file: it begins with {magic!r}; convert the model to GGUF")


def enum_value(name: str, value: object, names: Mapping[str, int]) -> int:
    """Turn an enum's name or number into its number.

    Raises:
        ValidationError: if it is neither.
    """
    if isinstance(value, str):
        if value.lower() in names:
            return names[value.lower()]
    elif isinstance(value, int) and value in names.values():  # also bool and IntEnum, as llama.h's callers use them
        return int(value)
    known = ", ".join(f"{key!r} ({number})" for key, number in names.items())
    raise ValidationError(f"{name} must be one of {known}; got {value!r}")


def refuse_unknown(what: str, unknown: Collection[str], known: Collection[str]) -> None:
    """Refuse all names, and say which known one is nearest to the first of them.

    Raises:
        ValidationError: if there is a name.
    """
    if unknown:
        check_known(what, unknown, set(known) - set(unknown))


def _refusing_unknown_fields(kind: type[T]) -> type[T]:
    """Let a dataclass refuse unknown fields as everything else does, and not with a TypeError."""
    init: Any = kind.__init__
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]

    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **fields: Any) -> None:
        check_known(f"{kind.__name__} field", fields, names)
        init(self, *args, **fields)

    kind.__init__ = __init__  # type: ignore[method-assign]
    return kind


@_refusing_unknown_fields
@dataclass
class LlamaConfig:
    """How a model is loaded and its context is made (llama_model_params and llama_context_params).

    Attributes:
        model_path: GGUF file; `Llama(model_path, config)` fills it in, so that one config can serve several models.
        n_ctx: tokens that the context holds, all sequences together.
        n_batch: most tokens in one llama_decode call; the default is lowered to n_ctx where that is smaller.
        n_ubatch: most tokens computed at once; None means n_batch.
        n_seq_max: sequences that the context holds side by side; each has n_ctx / n_seq_max tokens.
        n_threads: threads that generate; None means as many as pay at present: every CPU that this process may use, and
            fewer while others use them.
        n_threads_batch: threads that process prompts; None means n_threads.
        n_gpu_layers: layers to offload, -1 for all. Without a GPU the CPU computes them, with a warning if any were
            asked for.
        main_gpu: index of the GPU that holds everything when split_mode is "none".
        split_mode: how several GPUs share a model: "none" (0), "layer" (1), "row" (2), "tensor" (3).
        tensor_split: share of the model for each GPU, in any unit.
        use_mmap: map the file instead of reading it.
        use_mlock: keep the weights from being swapped out.
        check_tensors: validate the weights while loading.
        use_extra_bufts: repack weights for this CPU while loading.
        vocab_only: load the vocabulary alone; such an instance tokenizes and nothing else.
        kv_overrides: GGUF metadata to replace, as {key: int | float | bool | str}.
        offload_kqv: keep the KV cache on the GPU.
        op_offload: let the GPU help with operations on weights in host memory.
        flash_attn: flash attention: 1 or "on", 0 or "off", -1 or "auto", which leaves it to llama.cpp, but in batches
            of rows with a long prefix in common is "off" on a CPU.
        type_k, type_v: data type of the K and the V cache, e.g. "f16", "q8_0"; a quantized V needs flash attention.
        swa_full: keep whole sequences in the cache of sliding-window layers, so that prefixes can be reused.
        kv_unified: one KV buffer for all sequences instead of one each.
        embeddings: compute embeddings (needed by embed() and create_embedding()).
        logits_all: keep room for the logits of every token of a batch, which programs that fill batches through ctypes
            may ask for; log-probabilities and `scores` need no such thing.
        pooling_type: how token embeddings become one: "none" (they don't), "mean", "cls", "last", "rank"; None: the
            model's own, and "mean" if it has none.
        attention_type: "causal" or "non-causal"; None: the model's own.
        rope_scaling_type: "none", "linear", "yarn", "longrope"; None: the model's own.
        rope_freq_base, rope_freq_scale: RoPE base frequency and scale; 0 means the model's own.
        yarn_ext_factor, yarn_attn_factor, yarn_beta_fast, yarn_beta_slow: YaRN; a negative value means the model's own.
        yarn_orig_ctx: context size that the model was trained with before YaRN; 0 means the model's own.
        add_bos: let generate() and its kin begin a prompt with the tokens that the model wants there.
        parse_special: let generate() and its kin read special tokens in a prompt's text.
        chat_format: name of the chat template to use; None: the model's default one.
        verbose: report llama.cpp's progress to the "llama_cpp" logger, not its errors alone; holds for the process.
        seed: where the sequence of seeds begins that requests without one of their own take; -1 is random ones.

    Raises:
        ValidationError: from the constructor and from `validate`, for a value of the wrong type or range.
    """

    model_path: str | os.PathLike[str] = ""
    n_ctx: int = 4096
    n_batch: int = DEFAULT_N_BATCH
    n_ubatch: int | None = None
    n_seq_max: int = 1
    n_threads: int | None = None
    n_threads_batch: int | None = None
    n_gpu_layers: int = -1
    main_gpu: int = 0
    split_mode: int | str = 0
    tensor_split: Sequence[float] | None = None
    use_mmap: bool = True
    use_mlock: bool = False
    check_tensors: bool = False
    use_extra_bufts: bool = True
    vocab_only: bool = False
    kv_overrides: Mapping[str, int | float | bool | str] | None = None
    offload_kqv: bool = True
    op_offload: bool = True
    flash_attn: int | str = 1
    type_k: int | str = "f16"
    type_v: int | str = "f16"
    swa_full: bool = True
    kv_unified: bool = False
    embeddings: bool = False
    logits_all: bool = False
    pooling_type: int | str | None = None
    attention_type: int | str | None = None
    rope_scaling_type: int | str | None = None
    rope_freq_base: float = 0.0
    rope_freq_scale: float = 0.0
    yarn_ext_factor: float = -1.0
    yarn_attn_factor: float = -1.0
    yarn_beta_fast: float = -1.0
    yarn_beta_slow: float = -1.0
    yarn_orig_ctx: int = 0
    add_bos: bool = True
    parse_special: bool = False
    chat_format: str | None = None
    verbose: bool = True
    seed: int | None = -1

    _ENUMS: ClassVar[dict[str, dict[str, int]]] = {
        "split_mode": SPLIT_MODES,
        "flash_attn": FLASH_ATTN_TYPES,
        "type_k": CACHE_TYPES,
        "type_v": CACHE_TYPES,
        "pooling_type": POOLING_TYPES,
        "attention_type": ATTENTION_TYPES,
        "rope_scaling_type": ROPE_SCALING_TYPES,
    }

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check every field; fields may have been assigned since the constructor checked them.

        Raises:
            ValidationError: naming the first field that is wrong.
        """
        if self.model_path != "":
            check_path("model_path", self.model_path)
        check_int("n_ctx", self.n_ctx, 1)
        check_int("n_batch", self.n_batch, 1)
        check_int("n_seq_max", self.n_seq_max, 1)
        check_int("n_gpu_layers", self.n_gpu_layers, -1)
        check_int("main_gpu", self.main_gpu, 0)
        check_int("yarn_orig_ctx", self.yarn_orig_ctx, 0)
        check_seed("seed", self.seed)
        if self.n_ubatch is not None:
            check_int("n_ubatch", self.n_ubatch, 1)
            if self.n_ubatch > self.n_batch:
                raise ValidationError(
                    f"n_ubatch ({self.n_ubatch}) must not be larger than n_batch ({self.n_batch}); lower the former"
                )
        if self.n_batch > self.n_ctx and self.n_batch != DEFAULT_N_BATCH:
            raise ValidationError(
                f"n_batch ({self.n_batch}) must not be larger than n_ctx ({self.n_ctx}); lower it or raise n_ctx"
            )
        if self.n_seq_max > self.n_ctx:
            raise ValidationError(f"n_seq_max ({self.n_seq_max}) sequences need at least that n_ctx, got {self.n_ctx}")
        for name in ("n_threads", "n_threads_batch"):
            value = getattr(self, name)
            if value is not None:
                check_int(name, value, 1, MAX_THREADS)
        for name, names in self._ENUMS.items():
            self.enum(name, names)
        for name in ("rope_freq_base", "rope_freq_scale"):
            check_float(name, getattr(self, name), 0.0, FLOAT_MAX)
        for name in ("yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow"):
            check_float(name, getattr(self, name), -FLOAT_MAX, FLOAT_MAX)
        for field in dataclasses.fields(self):
            if field.type == "bool":
                check_bool(field.name, getattr(self, field.name))
        if self.chat_format is not None and not isinstance(self.chat_format, str):
            raise ValidationError(f"chat_format must be a str or None, got {self.chat_format!r}")
        if self.tensor_split is not None:
            check_list("tensor_split", self.tensor_split)
            for index, share in enumerate(self.tensor_split):
                check_float(f"tensor_split[{index}]", share, 0.0, FLOAT_MAX)
        if self.kv_overrides is not None:
            if not isinstance(self.kv_overrides, Mapping):
                raise ValidationError(f"kv_overrides must be a dict, got {self.kv_overrides!r}")
            for key, value in self.kv_overrides.items():
                self._check_override(key, value)

    @staticmethod
    def _check_override(key: str, value: object) -> None:
        # 127 bytes and a final NUL are what llama_model_kv_override has room for.
        if not 0 < len(check_c_text("a key of kv_overrides", key)) < 128:
            raise ValidationError(f"a key of kv_overrides must be a str of 1 to 127 bytes, got {key!r}")
        if isinstance(value, str):
            size = len(check_c_text(f"kv_overrides[{key!r}]", value))
            if size > 127:
                raise ValidationError(f"kv_overrides[{key!r}] must have at most 127 bytes, got {size}")
        elif isinstance(value, int):
            check_int(f"kv_overrides[{key!r}]", int(value), -(2**63), 2**63 - 1)
        elif isinstance(value, float):
            check_float(f"kv_overrides[{key!r}]", value)
        else:
            raise ValidationError(f"kv_overrides[{key!r}] must be an int, float, bool or str, got {value!r}")

    def enum(self, name: str, names: Mapping[str, int] | None = None) -> int:
        """Return the number that llama.h gives to the value of an enum field (-1 where None leaves it to the model)."""
        value = getattr(self, name)
        if value is None and getattr(type(self), name) is None:
            return -1
        return enum_value(name, value, names or self._ENUMS[name])

    def threads(self) -> tuple[int, int]:
        """Return the numbers of threads for generation and for prompts, defaults filled in."""
        n_threads = self.n_threads or min(available_cpus(), MAX_THREADS)
        return n_threads, self.n_threads_batch or n_threads

    def batches(self) -> tuple[int, int]:
        """Return n_batch and n_ubatch, defaults filled in and the default batch cut to the context."""
        n_batch = min(self.n_batch, self.n_ctx)
        return n_batch, min(self.n_ubatch or n_batch, n_batch)


class CustomSampler(Protocol):
    """What an object in `SamplingParams.samplers` must have."""

    def apply(self, token_ids: Any, logits: Any) -> object:
        """Change the logits of the candidates in place; -inf bans one."""


@_refusing_unknown_fields
@dataclass
class SamplingParams:
    """How the next token is chosen; a value that requests share (llama_sampler_init_*).

    The samplers run in the order of `samplers`, after `logit_bias`. Then one token is drawn: the likeliest if
    `temperature` is 0 or `samplers` ends in nothing random; by Mirostat, which takes the place of the samplers that cut
    the distribution, if `mirostat` is set; by adaptive-p if `adaptive_p_target` is; else at random by probability.

    Attributes:
        temperature: divides the logits; 0 is greedy, and so is what is less than 1e-6.
        top_k: keep the k likeliest tokens; 0 or -1 is off.
        top_p: keep the likeliest tokens that together have probability p; 1 is off (https://arxiv.org/abs/1904.09751).
        min_p: keep tokens at least min_p times as likely as the likeliest; 0 is off (llama.cpp #3841).
        min_keep: tokens that top_p, min_p, typical_p and XTC always leave.
        repeat_penalty: divides the logits of recent tokens, by 1e-6 at least; 1 is off. Where nobody names it, the
            default does not act at temperature 0, which then is the plain argmax.
        repeat_last_n: tokens that count as recent; 0 is none, -1 the whole context.
        presence_penalty: subtracted once from the logits of recent tokens.
        frequency_penalty: subtracted from the logits of recent tokens, as often as they occur.
        seed: of the random choice; None or -1 leaves it to the request and the config.
        typical_p: locally typical sampling; 1 is off (https://arxiv.org/abs/2202.00666).
        top_n_sigma: keep tokens within n standard deviations of the best; -1 is off (https://arxiv.org/abs/2411.07641).
        xtc_probability: chance that XTC removes all but the last of the tokens above xtc_threshold; 0 is off.
        xtc_threshold: probability from which XTC counts a token; above 0.5 it never acts.
        dry_multiplier: strength of the DRY penalty on repeated sequences; 0 is off.
        dry_base: base of the DRY penalty's growth.
        dry_allowed_length: longest repetition that DRY leaves alone.
        dry_penalty_last_n: tokens that DRY looks at; 0 is none, -1 the whole context.
        dry_sequence_breakers: texts at which a repeated sequence ends for DRY.
        dynatemp_range: temperature varies by as much as this with the entropy; 0 is off
            (https://arxiv.org/abs/2309.02772).
        dynatemp_exponent: how entropy maps to temperature there.
        mirostat: 0 is off, 1 and 2 choose the version (https://arxiv.org/abs/2007.14966).
        mirostat_tau: cross-entropy that Mirostat aims at.
        mirostat_eta: its learning rate.
        adaptive_p_target: probability near which adaptive-p chooses; -1 is off (llama.cpp #17927).
        adaptive_p_decay: how slowly adaptive-p forgets, 0 to 0.99.
        logit_bias: {token id: number added to its logit, 1e8 at most}; -inf bans a token.
        samplers: order of the samplers; None is llama.cpp's own: penalties, dry, top_n_sigma, top_k, typical_p, top_p,
            min_p, xtc, temperature. "infill" can be added. One left out does not run. An object with a method
            `apply(token_ids, logits)` can stand among the names: it gets the candidates that are left, as NumPy arrays
            of shape (n,), and changes the logits in place; a method `accept(token)`, if it has one, is told the choice.
        penalize_prompt: let the penalties, DRY's too, look at the tokens before the generated ones as well.

    Raises:
        ValidationError: from the constructor and from `validate`, for a value of the wrong type or range.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.0
    min_keep: int = 1
    repeat_penalty: float = DefaultFloat(1.1)
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int | None = None
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_p_target: float = -1.0
    adaptive_p_decay: float = 0.9
    logit_bias: Mapping[int, float] | None = None
    samplers: Sequence[str | CustomSampler] | None = None
    penalize_prompt: bool = False

    _RANGES: ClassVar[dict[str, tuple[float, float]]] = {
        "temperature": (0.0, 1e6),
        "top_p": (0.0, 1.0),
        "min_p": (0.0, 1.0),
        "repeat_penalty": (1e-6, 1e6),
        "presence_penalty": (-1e6, 1e6),
        "frequency_penalty": (-1e6, 1e6),
        "typical_p": (0.0, 1.0),
        "top_n_sigma": (-1.0, 1e6),
        "xtc_probability": (0.0, 1.0),
        "xtc_threshold": (0.0, 1.0),
        "dry_multiplier": (0.0, 1e6),
        "dry_base": (0.0, 1e6),
        "dynatemp_range": (0.0, 1e6),
        "dynatemp_exponent": (0.0, 1e6),
        "mirostat_tau": (0.0, 1e6),
        "mirostat_eta": (0.0, 1e6),
        "adaptive_p_target": (-1.0, 1.0),
        "adaptive_p_decay": (0.0, 0.99),
    }

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Check every field; fields may have been assigned since the constructor checked them.

        Raises:
            ValidationError: naming the first field that is wrong.
        """
        for name, (low, high) in self._RANGES.items():
            check_float(name, getattr(self, name), low, high)
        check_int("top_k", self.top_k, -1)
        check_int("min_keep", self.min_keep, 0)
        check_int("repeat_last_n", self.repeat_last_n, -1)
        check_int("dry_allowed_length", self.dry_allowed_length, 0)
        check_int("dry_penalty_last_n", self.dry_penalty_last_n, -1)
        check_int("mirostat", self.mirostat, 0, 2)
        check_bool("penalize_prompt", self.penalize_prompt)
        check_seed("seed", self.seed)
        check_list("dry_sequence_breakers", self.dry_sequence_breakers)
        for breaker in self.dry_sequence_breakers:
            check_c_text("dry_sequence_breakers", breaker)
            if not breaker:
                raise ValidationError("dry_sequence_breakers may hold no empty str")
        self._check_logit_bias()
        if self.samplers is not None:
            check_list("samplers", self.samplers)
            for custom in self.samplers:
                if not isinstance(custom, str) and not callable(getattr(custom, "apply", None)):
                    raise ValidationError(f"samplers holds {custom!r}, which is no name and has no method apply")
            names = [name for name in self.samplers if isinstance(name, str)]
            check_known("sampler", names, KNOWN_SAMPLERS)
            if len(set(names)) != len(names):
                raise ValidationError(f"samplers names one twice: {names}")

    def is_greedy(self) -> bool:
        """Tell whether the likeliest token is chosen."""
        return self.temperature < MIN_TEMPERATURE

    def penalties(self) -> tuple[float, float, float]:
        """Return repeat_penalty, frequency_penalty and presence_penalty as they act: at temperature 0, those named."""

        def acting(value: float, off: float) -> float:
            return off if self.is_greedy() and isinstance(value, DefaultFloat) else value

        return acting(self.repeat_penalty, 1.0), acting(self.frequency_penalty, 0.0), acting(self.presence_penalty, 0.0)

    def _check_logit_bias(self) -> None:
        if self.logit_bias is None:
            return
        if not isinstance(self.logit_bias, Mapping):
            raise ValidationError(f"logit_bias must be a dict of token id to bias, got {self.logit_bias!r}")
        for token, bias in self.logit_bias.items():
            check_int("a token id of logit_bias", token, 0)
            if bias != -math.inf:
                check_float(f"logit_bias[{token}]", bias, -FLOAT_MAX, FLOAT_MAX)


# llama-cpp-python's defaults, where they differ from those of SamplingParams.
COMPLETION_SAMPLING: dict[str, Any] = {"min_p": 0.05, "repeat_penalty": 1.0}
CHAT_SAMPLING: dict[str, Any] = {**COMPLETION_SAMPLING, "temperature": 0.2}


class Samplings(NamedTuple):
    """How tokens are chosen where a call does not say, by the kind of call.

    Attributes:
        generate: of `generate` and its kin, prompts of batches, and sessions: `SamplingParams()`.
        completion: of `create_completion`, and `generate` over ids: llama-cpp-python's defaults.
        chat: of `create_chat_completion`, and messages of batches: its defaults of chats.
    """

    generate: SamplingParams
    completion: SamplingParams
    chat: SamplingParams

    @classmethod
    def of(cls, given: SamplingParams | None, recommended: Mapping[str, Any], last_n: int | None) -> Samplings:
        """Make them of what the constructor was given, else of what the GGUF recommends and those defaults.

        Args:
            given: the constructor's `sampling`.
            recommended: fields, as `recommended_sampling` returns them.
            last_n: the constructor's `last_n_tokens_size`.
        """
        window: dict[str, Any] = {} if last_n is None else {"repeat_last_n": last_n}
        if given is not None:
            own = dataclasses.replace(given, **window)
            return cls(own, own, own)
        kinds: tuple[dict[str, Any], ...] = ({}, COMPLETION_SAMPLING, CHAT_SAMPLING)
        return cls(*(SamplingParams(**{**kind, **recommended, **window}) for kind in kinds))


def recommended_sampling(metadata: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of SamplingParams that a GGUF recommends (general.sampling.*).

    What can't be used is left out, with a warning in the log.
    """
    import logging

    logger = logging.getLogger("llama_cpp")
    found: dict[str, Any] = {}
    for key, field in GGUF_SAMPLING.items():
        value = metadata.get(f"general.sampling.{key}")
        if value is None:
            continue
        try:
            change: dict[str, Any] = {field: _recommended(field, value)}
            SamplingParams(**change)
            found.update(change)
        except (ValueError, OverflowError) as error:
            logger.warning("general.sampling.%s of the model, %r, can't be used: %s", key, value, error)
    if found:
        logger.info("sampling that the model recommends: %s", found)
    return found


def _recommended(field: str, value: object) -> object:
    """Read one of a GGUF's values, all of which are texts."""
    if field == "samplers":
        names = [name.strip() for name in str(value).split(";") if name.strip()]
        return [_WRITTEN_SAMPLERS.get(name.lower().replace("-", "").replace("_", ""), name) for name in names]
    number, default = float(str(value)), getattr(SamplingParams, field)
    return type(default)(number)  # whose kind says, too, that no program has named it


def check_text(name: str, value: object) -> bytes:
    """Return a str as UTF-8.

    Raises:
        ValidationError: if it is no str, or holds a lone surrogate, which no encoding can carry.
    """
    if not isinstance(value, str):
        raise ValidationError(f"{name} must be a str, got {value!r} ({type(value).__name__})")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ValidationError(
            f"{name} holds a lone surrogate ({value[error.start]!r}) at index {error.start}; "
            'decode the text properly, or clean it with text.encode("utf-8", "replace").decode()'
        ) from None


def check_c_text(name: str, value: object) -> bytes:
    """Return a str as UTF-8 for C code that stops reading at a NUL.

    Raises:
        ValidationError: as `check_text` has it, and if it holds a NUL character.
    """
    data = check_text(name, value)
    if b"\0" in data:
        raise ValidationError(f"{name} holds a NUL character at byte {data.index(0)}; remove it")
    return data


def replace(value: Any, kind: type, overrides: Mapping[str, object]) -> Any:
    """Copy a dataclass value with some fields replaced.

    Raises:
        ValidationError: for a name that is no field, with the nearest one, or a value that the field refuses.
    """
    names = [field.name for field in dataclasses.fields(kind)]
    check_known(f"{kind.__name__} field", overrides, names)
    return dataclasses.replace(value, **overrides)


def check_texts(name: str, value: object) -> None:
    """Refuse anything but a list of texts, at least one of them, none empty.

    Raises:
        ValidationError: if it is something else.
    """
    check_list(name, value)
    assert isinstance(value, Sequence)
    if not value:
        raise ValidationError(f"{name} is empty; give at least one text")
    for index, text in enumerate(value):
        if not check_text(f"{name}[{index}]", text):
            raise ValidationError(f"{name}[{index}] is an empty text")
