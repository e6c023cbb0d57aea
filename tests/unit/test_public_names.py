"""The public surface: names, defaults, and what is left after close()."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import llama_cpp
from llama_cpp import ClosedError, Llama, LlamaConfig, LlamaError, ModelLoadError, SamplingParams, ValidationError
from llama_cpp.compat import lazy

NAMES = [
    "CancelledError",
    "ChatTemplate",
    "Choice",
    "ClosedError",
    "ContextFullError",
    "GenerationError",
    "GenerationResult",
    "GenerationTimeoutError",
    "GrammarError",
    "JobError",
    "Llama",
    "LlamaConfig",
    "LlamaError",
    "LlamaGrammar",
    "LlamaWarning",
    "LoraAdapter",
    "ModelLoadError",
    "SamplingParams",
    "Session",
    "TemplateError",
    "TextLogprobs",
    "UnsupportedSchemaError",
    "ValidationError",
    "__version__",
    "disable_logging",
    "print_system_info",
    "quantize",
    "read_metadata",
    "reset_logging",
    "set_log_level",
    "shutdown",
]

CONFIG = {
    "n_ctx": 4096,
    "n_batch": 2048,
    "n_seq_max": 1,
    "n_gpu_layers": -1,
    "main_gpu": 0,
    "split_mode": 0,
    "use_mmap": True,
    "use_mlock": False,
    "offload_kqv": True,
    "flash_attn": 1,
    "embeddings": False,
    "add_bos": True,
    "parse_special": False,
    "chat_format": None,
    "verbose": True,
    "seed": -1,
}

SAMPLING = {
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
}

# Arguments for members that need some.
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "create_chat_completion": ([{"role": "user", "content": "a"}],),
    "create_embedding": ("a",),
    "detokenize": ([5],),
    "eval": ([5],),
    "embed": ("a",),
    "generate": ("a",),
    "generate_batch": (["a"],),
    "generate_n": ("a", 2),
    "generate_result": ("a",),
    "generate_stream": ("a",),
    "iter_batch": (["a"],),
    "kv_cache_seq_add": (0, 0, 1, 0),
    "kv_cache_seq_cp": (0, 0),
    "kv_cache_seq_div": (0, 0, -1, 2),
    "kv_cache_seq_keep": (0,),
    "load_lora": ("adapter.gguf",),
    "load_state": (os.devnull,),
    "logprobs": ("a",),
    "n_tokens": ("a",),
    "rerank": ("a", ["b"]),
    "save_state": ("state",),
    "choose": ("a", ["b"]),
    "score": ("a", ["b"]),
    "set_control_vector": (None,),
    "set_state": (b"",),
    "token_to_piece": (5,),
    "tokenize": ("a",),
}
# What a closed instance can still do, and what makes a new one.
OPEN_STILL = {
    *("close", "clear_lora", "config", "model_path", "sampling", "from_pretrained", "remove_lora"),
    # What llama-cpp-python has besides: settings, and pure functions.
    *("chat_format", "context_params", "last_n_tokens_size", "model_params", "n_batch", "n_threads", "n_threads_batch"),
    *("draft_model", "lora_base", "lora_path", "lora_scale", "numa", "tensor_split"),
    *("set_cache", "set_seed", "spm_infill", "verbose", "logits_to_logprobs", "longest_token_prefix"),
}


def test_the_package_exports_what_it_promises() -> None:
    assert llama_cpp.__all__[: len(NAMES)] == NAMES
    assert {*llama_cpp.__all__} == {*NAMES, *lazy.names()}
    assert all(hasattr(llama_cpp, name) for name in NAMES)
    assert llama_cpp.__version__.startswith("0.5.")


def test_defaults_are_those_of_the_reference() -> None:
    config = LlamaConfig("model.gguf")
    assert {name: getattr(config, name) for name in CONFIG} == CONFIG
    assert config.batches() == (2048, 2048)
    threads, batch_threads = config.threads()
    assert threads == batch_threads >= 1
    sampling = SamplingParams()
    assert {name: getattr(sampling, name) for name in SAMPLING} == SAMPLING


def test_calls_take_the_arguments_of_the_reference() -> None:
    generate = list(inspect.signature(Llama.generate).parameters)
    assert generate[1:10] == [
        "prompt", "max_tokens", "sampling", "stop", "echo", "logprobs", "stream", "seed", "reset_kv_cache",
    ]  # fmt: skip
    stream = list(inspect.signature(Llama.generate_stream).parameters)
    assert stream[1:7] == ["prompt", "max_tokens", "sampling", "stop", "seed", "reset_kv_cache"]
    assert list(inspect.signature(Llama.__init__).parameters)[1:4] == ["model_path", "config", "sampling"]


def test_exceptions_are_what_callers_catch() -> None:
    assert issubclass(ModelLoadError, (LlamaError, ValueError))
    assert issubclass(ValidationError, ValueError)
    assert all(issubclass(getattr(llama_cpp, name), LlamaError) for name in NAMES if name.endswith("Error"))


def test_nothing_works_after_close(tiny_path: Path) -> None:
    llm = Llama(tiny_path, n_ctx=64, n_threads=1, verbose=False)
    other = Llama(tiny_path, n_ctx=64, n_threads=1, verbose=False)
    before = other.generate("a", 5, seed=1)
    llm.close()
    llm.close()
    checked = 0
    for name in (name for name in dir(Llama) if not name.startswith("_") and name not in OPEN_STILL):
        with pytest.raises(ClosedError):
            _use(llm, name)
        checked += 1
    assert checked > 30
    assert repr(llm).endswith("closed>")
    assert other.generate("a", 5, seed=1) == before
    other.close()


def _use(llm: Llama, name: str) -> None:
    value = getattr(llm, name)
    result = value(*ARGUMENTS.get(name.removesuffix("_async"), ())) if callable(value) else value
    if inspect.isawaitable(result):
        asyncio.run(_wait(result))


async def _wait(awaitable: Any) -> Any:
    return await awaitable


@pytest.mark.parametrize("kind", [LlamaConfig, SamplingParams])
def test_every_field_is_described(kind: type) -> None:
    assert kind.__doc__ is not None
    for field in dataclasses.fields(kind):
        assert field.name in kind.__doc__, field.name


def test_public_methods_are_described() -> None:
    members: list[Callable[..., object]] = [
        member for name, member in vars(Llama).items() if not name.startswith("_") and callable(member)
    ]
    assert all(inspect.getdoc(member) for member in members)
