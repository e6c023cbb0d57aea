"""The keywords of llama-cpp-python's constructor -> fields of LlamaConfig, and what is left over for the instance."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from ..config import DEFAULT_N_BATCH, INT32_MAX, LlamaConfig, check_float, check_int
from ..errors import LlamaWarning, ValidationError
from .speculative import LlamaPromptLookupDecoding

# Where None, or 0 threads, says the same as leaving the keyword out.
_NONE_IS_DEFAULT = (
    "attention_type",
    "pooling_type",
    "rope_scaling_type",
    "tensor_split",
    "type_k",
    "type_v",
)
_CONFIG_FIELDS = frozenset(field.name for field in fields(LlamaConfig))
_FLAGS = frozenset(field.name for field in fields(LlamaConfig) if field.type == "bool")


class InstanceOptions(NamedTuple):
    """What the constructor is told beyond the configuration; each is an argument of llama-cpp-python's `Llama`.

    Attributes:
        chat_handler: callable that answers chat completions.
        tokenizer: object with tokenize and detokenize that takes the place of the model's own.
        lora_path, lora_scale: an adapter to load.
        last_n_tokens_size: tokens that the repetition penalties look at; None is what the sampling says.
        draft_tokens: tokens to guess by prompt lookup where a request does not say; None is no guessing.
        spm_infill: put the suffix before the prefix where gaps are filled.
        numa: whether, or how (an `enum ggml_numa_strategy`), to spread threads over NUMA nodes; for the process.
        n_ctx_from_model: whether the context is as large as the model was trained for.
        rows_per_token: whether embeddings of a model without a pooling of its own are not pooled, as that package's
            `embedding=True` has it.
    """

    chat_handler: Callable[..., Any] | None = None
    tokenizer: Any = None
    lora_path: str | None = None
    lora_scale: float = 1.0
    last_n_tokens_size: int | None = None
    draft_tokens: int | None = None
    spm_infill: bool = False
    numa: bool | int = False
    n_ctx_from_model: bool = False
    rows_per_token: bool = False


_OWN = frozenset(InstanceOptions._fields) - {"draft_tokens", "n_ctx_from_model", "rows_per_token"}
# In the peer they say what this package does anyway, or has no use for.
_WITHOUT_EFFECT = {
    "lora_base": "adapters are applied to the model itself",
    "no_perf": "times are always taken",
}


def split_keywords(given: Mapping[str, Any], draft_model: object) -> tuple[dict[str, Any], InstanceOptions]:
    """Sort a constructor's keywords, and warn about those that mean nothing.

    Args:
        given: all keywords that are no arguments of their own.
        draft_model: what guesses tokens, if it is no model.

    Returns:
        Fields of LlamaConfig, and the rest.

    Raises:
        ValidationError: for a value of the wrong type.
    """
    left = dict(given)
    own = {name: left.pop(name) for name in _OWN & left.keys()}
    for name in ("last_n_tokens_size", "lora_scale"):
        if own.get(name) is None:
            own.pop(name, None)
    check_float("lora_scale", own.get("lora_scale", 1.0), -1e6, 1e6)
    if own.get("chat_handler") is not None and not callable(own["chat_handler"]):
        raise ValidationError(f"chat_handler must be callable, got {own['chat_handler']!r}")
    if own.get("last_n_tokens_size") is not None:
        check_int("last_n_tokens_size", own["last_n_tokens_size"], -1)
    if isinstance(draft_model, LlamaPromptLookupDecoding):
        own["draft_tokens"] = draft_model.num_pred_tokens
    elif draft_model is not None:
        warn(f"draft_model={draft_model!r} is not used: the guesses of Python code would cost more than they save")
    if "embedding" in left:
        own["rows_per_token"] = bool(left["embedding"])
        left.setdefault("embeddings", left.pop("embedding"))
    for name in (*_NONE_IS_DEFAULT, *_FLAGS):
        if left.get(name, 0) is None:
            del left[name]
    for name in _FLAGS & left.keys():
        left[name] = as_flag(left[name])
    for name in ("n_threads", "n_threads_batch"):
        if left.get(name) == 0:
            del left[name]
    if left.get("n_ctx", 1) in (None, 0) and left["n_ctx"] is not False:
        del left["n_ctx"]
        own["n_ctx_from_model"] = True
    for name in left.keys() - _CONFIG_FIELDS:
        value = left.pop(name)
        if name not in _WITHOUT_EFFECT:
            warn(f"Llama has no argument {name!r}, which is ignored{_nearest(name, _CONFIG_FIELDS | _OWN)}")
        elif value:
            warn(f"{name}={value!r} has no effect: {_WITHOUT_EFFECT[name]}")
    return left, InstanceOptions(**own)


def as_flag(value: Any) -> Any:
    """Return 0, 1 and None as the bool that programs mean by it; anything else as it is."""
    return bool(value) if value is None or (type(value) is int and value in (0, 1)) else value


def fit_batches(overrides: dict[str, Any], n_ctx: int) -> None:
    """Lower the batch sizes among a constructor's keywords to what the context takes."""
    for name, what in (("n_batch", "n_ctx"), ("n_ubatch", "n_batch")):
        value, bound = overrides.get(name), {**overrides, "n_ctx": n_ctx}.get(what)
        if type(value) is not int or type(bound) is not int or value == DEFAULT_N_BATCH:
            continue  # the default goes with any context
        if 0 < bound < value <= INT32_MAX:
            warn(f"{name} ({value}) is lowered to {what} ({bound})")
            overrides[name] = bound


def warn(message: str) -> None:
    """Warn whoever called the constructor, or the method, that called the code here."""
    warnings.warn(message, LlamaWarning, stacklevel=4)


def _nearest(name: str, known: Collection[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]!r}?" if near else ""
