"""LlamaConfig and SamplingParams: their fields, defaults and ranges."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_cpp import Llama, LlamaConfig, LlamaWarning, ModelLoadError, SamplingParams, ValidationError
from llama_cpp.config import check_int
from llama_cpp.machine import available_cpus

HUGE = (10**400, -(10**400), 10**5000)  # too large for a float, and to be written as text
NOT_AN_INT: tuple[Any, ...] = (True, "5", 5.0, math.nan, None, [5], b"5")
NOT_A_NUMBER: tuple[Any, ...] = (True, "0.5", None, [0.5], 1j, math.nan, math.inf, -math.inf)
NOT_A_BOOL: tuple[Any, ...] = (0, 1, "yes", None, 1.0)

CONFIG_VALUES: dict[str, tuple[Any, ...]] = {
    "model_path": (5, None, b"model.gguf", ["model.gguf"]),
    **dict.fromkeys(("n_ctx", "n_batch", "n_seq_max"), (0, -1, -(2**31), 2**31, 2**70, *NOT_AN_INT)),
    **dict.fromkeys(
        ("n_ubatch", "n_threads", "n_threads_batch"), (0, -1, 2**31, 2**70, True, "5", 5.0, math.nan, [5])
    ),
    "n_gpu_layers": (-2, 2**31, *NOT_AN_INT),
    "main_gpu": (-1, 2**31, *NOT_AN_INT),
    "yarn_orig_ctx": (-1, 2**31, *NOT_AN_INT),
    "seed": (-2, 2**32, True, "5", 5.0, [5]),
    **dict.fromkeys(("rope_freq_base", "rope_freq_scale"), (-1.0, *NOT_A_NUMBER)),
    **dict.fromkeys(("yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow"), NOT_A_NUMBER),
    **dict.fromkeys(
        (
            "use_mmap", "use_mlock", "check_tensors", "use_extra_bufts", "vocab_only", "offload_kqv", "op_offload",
            "swa_full", "kv_unified", "embeddings", "logits_all", "add_bos", "parse_special", "verbose",
        ),
        NOT_A_BOOL,
    ),
    **dict.fromkeys(("split_mode", "flash_attn", "type_k", "type_v"), ("nope", 99, -7, 1.0, None, [], b"f16")),
    **dict.fromkeys(("pooling_type", "attention_type", "rope_scaling_type"), ("nope", 99, -7, 1.0, [], b"none")),
    "chat_format": (5, b"chatml", ["chatml"]),
    "tensor_split": (5, "1", [-1.0], [math.nan], ["1"]),
    "kv_overrides": (
        5, "a", ["a"], {5: 1}, {"": 1}, {"a" * 128: 1}, {"a": None}, {"a": [1]}, {"a": "x" * 128}, {"a": 2**63},
        {"a": math.nan}, {"a\udc80": 1}, {"a": "\udc80"}, {"a\0b": 1}, {"a": "x\0y"},
    ),
}  # fmt: skip

# What the constructor takes besides, as llama-cpp-python's does: the default, or the model's own value.
ONLY_CONSTRUCTOR: dict[str, tuple[Any, ...]] = {
    "n_ctx": (0, None),
    **dict.fromkeys(("n_threads", "n_threads_batch"), (0,)),
    **dict.fromkeys((field.name for field in dataclasses.fields(LlamaConfig) if field.type == "bool"), (0, 1, None)),
    **dict.fromkeys(("type_k", "type_v"), (None,)),
}

FROM_0_TO_1: tuple[Any, ...] = (-0.1, 1.1, *NOT_A_NUMBER)
FROM_0: tuple[Any, ...] = (-0.1, 1e300, *NOT_A_NUMBER)

SAMPLING_VALUES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("top_p", "min_p", "typical_p", "xtc_probability", "xtc_threshold"), FROM_0_TO_1),
    **dict.fromkeys(
        (
            "temperature", "dry_multiplier", "dry_base", "dynatemp_range", "dynatemp_exponent", "mirostat_tau",
            "mirostat_eta",
        ),
        FROM_0,
    ),
    "repeat_penalty": (0.0, 1e-7, 1e-50, *FROM_0),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), (1e300, -1e300, *NOT_A_NUMBER)),
    "top_n_sigma": (-1.1, *NOT_A_NUMBER),
    "adaptive_p_target": (-1.1, 1.1, *NOT_A_NUMBER),
    "adaptive_p_decay": (-0.1, 1.0, *NOT_A_NUMBER),
    **dict.fromkeys(("top_k", "repeat_last_n", "dry_penalty_last_n"), (-2, 2**31, *NOT_AN_INT)),
    **dict.fromkeys(("min_keep", "dry_allowed_length"), (-1, 2**31, *NOT_AN_INT)),
    "mirostat": (-1, 3, *NOT_AN_INT),
    "seed": (-2, 2**32, True, "5", 5.0, [5]),
    "dry_sequence_breakers": (5, None, "\n", [""], [5], ["a\0"], ["\udc80"]),
    "logit_bias": (
        5, "a", [(5, 1.0)], {"5": 1.0}, {-1: 1.0}, {True: 1.0}, {5: math.nan}, {5: math.inf}, {5: None},
        {5: 1e300},
    ),
    "samplers": (5, "top_k", ["topk"], [5], [[]], ["top_k", "top_k"]),
    "penalize_prompt": NOT_A_BOOL,
}  # fmt: skip

# Values at the ends of the ranges, where there is no single number for all fields.
CONFIG_LIMITS: dict[str, tuple[Any, ...]] = {
    "n_ctx": (2048, 2**31 - 1),
    "n_batch": (1, 4096),
    "n_ubatch": (None, 1, 2048),
    "n_seq_max": (1, 256),
    "n_threads": (None, 1, 512),
    "n_gpu_layers": (-1, 0, 2**31 - 1),
    "seed": (None, -1, 0, 2**32 - 1),
    "split_mode": (0, "none", 1, "layer", 2, "row", 3, "tensor"),
    "flash_attn": (-1, "auto", 0, "off", 1, "on"),
    "type_k": (0, "f32", 1, "f16", 8, "q8_0", 30, "bf16", "Q4_0"),
    "pooling_type": (None, -1, 0, "mean", "rank"),
    "attention_type": (None, "causal", 1),
    "rope_scaling_type": (None, "yarn", "longrope"),
    "model_path": ("", "model.gguf", Path("model.gguf")),
    "tensor_split": (None, [], [1.0, 0.0], (3, 1)),
    "kv_overrides": (None, {}, {"a.b": 1, "c": 1.5, "d": True, "e": "x" * 127, "f" * 127: -(2**63)}),
}
SAMPLING_LIMITS: dict[str, tuple[Any, ...]] = {
    "temperature": (0, 0.0, 1e6),
    "top_k": (-1, 0, 2**31 - 1),
    "top_p": (0, 1),
    "min_keep": (0, 10),
    "repeat_penalty": (1e-6, 1),
    "repeat_last_n": (-1, 0),
    "presence_penalty": (-2, 2.0),
    "seed": (None, -1, 0, 2**32 - 1),
    "top_n_sigma": (-1, 0, 3),
    "mirostat": (0, 1, 2),
    "adaptive_p_target": (-1, 0, 1),
    "adaptive_p_decay": (0, 0.99),
    "dry_sequence_breakers": ((), ["\n"]),
    "logit_bias": (None, {}, {5: -math.inf, 6: 100, 2**31 - 1: -0.5}),
    "samplers": (None, [], ("top_k", "temperature"), ["infill"]),
    "penalize_prompt": (True, False),
}


def test_defaults() -> None:
    config = dataclasses.asdict(LlamaConfig())
    assert config == {
        "model_path": "",
        "n_ctx": 4096,
        "n_batch": 2048,
        "n_ubatch": None,
        "n_seq_max": 1,
        "n_threads": None,
        "n_threads_batch": None,
        "n_gpu_layers": -1,
        "main_gpu": 0,
        "split_mode": 0,
        "tensor_split": None,
        "use_mmap": True,
        "use_mlock": False,
        "check_tensors": False,
        "use_extra_bufts": True,
        "vocab_only": False,
        "kv_overrides": None,
        "offload_kqv": True,
        "op_offload": True,
        "flash_attn": 1,
        "type_k": "f16",
        "type_v": "f16",
        "swa_full": True,
        "kv_unified": False,
        "embeddings": False,
        "logits_all": False,
        "pooling_type": None,
        "attention_type": None,
        "rope_scaling_type": None,
        "rope_freq_base": 0.0,
        "rope_freq_scale": 0.0,
        "yarn_ext_factor": -1.0,
        "yarn_attn_factor": -1.0,
        "yarn_beta_fast": -1.0,
        "yarn_beta_slow": -1.0,
        "yarn_orig_ctx": 0,
        "add_bos": True,
        "parse_special": False,
        "chat_format": None,
        "verbose": True,
        "seed": -1,
    }
    assert dataclasses.asdict(SamplingParams()) == {
        "temperature": 0.8,
        "top_k": 40,
        "top_p": 0.95,
        "min_p": 0.0,
        "min_keep": 1,
        "repeat_penalty": 1.1,
        "repeat_last_n": 64,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": None,
        "typical_p": 1.0,
        "top_n_sigma": -1.0,
        "xtc_probability": 0.0,
        "xtc_threshold": 0.1,
        "dry_multiplier": 0.0,
        "dry_base": 1.75,
        "dry_allowed_length": 2,
        "dry_penalty_last_n": -1,
        "dry_sequence_breakers": ("\n", ":", '"', "*"),
        "dynatemp_range": 0.0,
        "dynatemp_exponent": 1.0,
        "mirostat": 0,
        "mirostat_tau": 5.0,
        "mirostat_eta": 0.1,
        "adaptive_p_target": -1.0,
        "adaptive_p_decay": 0.9,
        "logit_bias": None,
        "samplers": None,
        "penalize_prompt": False,
    }


def test_every_field_has_values_that_are_refused() -> None:
    assert {field.name for field in dataclasses.fields(LlamaConfig)} == {*CONFIG_VALUES}
    assert {field.name for field in dataclasses.fields(SamplingParams)} == {*SAMPLING_VALUES}


@pytest.mark.parametrize("field", CONFIG_VALUES)
def test_values_that_a_config_refuses(field: str) -> None:
    for value in CONFIG_VALUES[field]:
        with pytest.raises(ValidationError, match=field):
            LlamaConfig(**{field: value})
        if any(value is taken for taken in ONLY_CONSTRUCTOR.get(field, ())):
            with pytest.raises(ModelLoadError, match=r"missing\.gguf"):
                Llama("missing.gguf", **{field: value})
        elif field != "model_path":
            with pytest.raises(ValidationError, match=field):
                Llama("missing.gguf", **{field: value})
        config = LlamaConfig()
        setattr(config, field, value)
        with pytest.raises(ValidationError, match=field):
            config.validate()


@pytest.mark.parametrize("field", SAMPLING_VALUES)
def test_values_that_sampling_refuses(field: str) -> None:
    for value in SAMPLING_VALUES[field]:
        name = "sampler" if field == "samplers" else field
        with pytest.raises(ValidationError, match=name):
            SamplingParams(**{field: value})
        sampling = SamplingParams()
        setattr(sampling, field, value)
        with pytest.raises(ValidationError, match=name):
            sampling.validate()


def test_limits_are_allowed() -> None:
    for field, values in CONFIG_LIMITS.items():
        for value in values:
            assert getattr(LlamaConfig(**{"n_ctx": 8192, field: value}), field) == value
    for field, values in SAMPLING_LIMITS.items():
        for value in values:
            assert getattr(SamplingParams(**{field: value}), field) == value


@pytest.mark.parametrize("value", HUGE, ids=["positive", "negative", "unprintable"])
def test_numbers_that_no_float_can_hold_are_refused(value: int) -> None:
    for kind in (LlamaConfig, SamplingParams):
        for field in dataclasses.fields(kind):
            if field.type in ("int", "float", "int | None"):
                with pytest.raises(ValidationError, match=field.name):
                    kind(**{field.name: value})
    with pytest.raises(ValidationError, match="logit_bias"):
        SamplingParams(logit_bias={5: value})
    with pytest.raises(ValidationError, match="tensor_split"):
        LlamaConfig(tensor_split=[value])


def test_numbers_of_numpy_are_numbers() -> None:
    assert type(check_int("n", np.int64(5), 0)) is int
    assert LlamaConfig(n_ctx=np.int32(64), rope_freq_base=np.float16(2.0)).n_ctx == 64
    assert SamplingParams(temperature=np.float32(0.5), top_k=np.uint8(3), logit_bias={np.int64(5): np.float32(1.0)})
    for value in (np.bool_(True), np.float32(5.0), np.array([5]), np.int64(-5)):
        with pytest.raises(ValidationError, match="min_keep"):
            SamplingParams(min_keep=value)
    for value in (np.bool_(True), np.float32("nan"), np.array([0.5]), np.complex64(0.5), np.float32(-0.5)):
        with pytest.raises(ValidationError, match="top_p"):
            SamplingParams(top_p=value)


def test_sizes_have_to_agree() -> None:
    for fields, message in (
        ({"n_batch": 64, "n_ubatch": 65}, r"n_ubatch \(65\).*n_batch \(64\)"),
        ({"n_ctx": 64, "n_batch": 65}, r"n_batch \(65\).*n_ctx \(64\)"),
        ({"n_ctx": 64, "n_seq_max": 65}, r"n_seq_max \(65\).*64"),
    ):
        with pytest.raises(ValidationError, match=message):
            LlamaConfig(**fields)


def test_the_default_batch_is_cut_to_the_context() -> None:
    assert LlamaConfig(n_ctx=4096).batches() == (2048, 2048)
    assert LlamaConfig(n_ctx=512).batches() == (512, 512)
    assert LlamaConfig(n_ctx=512, n_ubatch=64).batches() == (512, 64)
    assert LlamaConfig(n_ctx=512, n_batch=128).batches() == (128, 128)
    assert LlamaConfig(n_ctx=512, n_batch=128, n_ubatch=32).batches() == (128, 32)


def test_threads_are_those_that_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    assert 1 <= available_cpus() <= len(allowed)
    assert LlamaConfig().threads() == (available_cpus(), available_cpus())
    assert LlamaConfig(n_threads=3).threads() == (3, 3)
    assert LlamaConfig(n_threads=3, n_threads_batch=5).threads() == (3, 5)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert LlamaConfig().threads() == (1, 1)
    finally:
        os.sched_setaffinity(0, allowed)


def test_names_and_numbers_of_enums_are_the_same() -> None:
    for field, name, number in (
        ("split_mode", "row", 2),
        ("flash_attn", "AUTO", -1),
        ("type_k", "q8_0", 8),
        ("pooling_type", "last", 3),
        ("attention_type", "non-causal", 1),
        ("rope_scaling_type", "yarn", 2),
    ):
        assert LlamaConfig(**{field: name}).enum(field) == number
        assert LlamaConfig(**{field: number}).enum(field) == number


@pytest.mark.parametrize(
    ("kind", "wrong", "near"),
    [
        (LlamaConfig, "n_contex", "'n_ctx'"),
        (LlamaConfig, "typek", "'type_k'"),
        (SamplingParams, "temprature", "'temperature'"),
        (SamplingParams, "zzzzzz", "zzzzzz"),
        (SamplingParams, "_RANGES", "unknown SamplingParams field '_RANGES'"),
        (LlamaConfig, "_ENUMS", "unknown LlamaConfig field '_ENUMS'"),
    ],
)
def test_unknown_fields_get_the_nearest_name(kind: type, wrong: str, near: str) -> None:
    with pytest.raises(ValidationError, match=near) as caught:
        kind(**{wrong: 1})
    assert "_" + "RANGES" not in str(caught.value).replace(wrong, "")


def test_unknown_keywords_are_warned_about_with_the_nearest_name() -> None:
    with pytest.warns(LlamaWarning, match="'n_contex'.*'n_ctx'"), pytest.raises(ModelLoadError):
        Llama("missing.gguf", n_contex=5)
    with pytest.warns(LlamaWarning, match="zzzzzz"), pytest.raises(ModelLoadError):
        Llama("missing.gguf", zzzzzz=5)


def test_values_are_compared_and_copied_by_their_fields() -> None:
    assert LlamaConfig(n_ctx=64) == LlamaConfig(n_ctx=64) != LlamaConfig(n_ctx=65)
    assert dataclasses.replace(SamplingParams(), top_k=5) == SamplingParams(top_k=5)
    with pytest.raises(ValidationError, match="top_k"):
        dataclasses.replace(SamplingParams(), top_k=-5)
