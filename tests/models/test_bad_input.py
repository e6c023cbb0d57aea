"""Bad files, sizes, values, tokens and texts: each is a LlamaError that names what is wrong, and nothing breaks."""

from __future__ import annotations

import copy
import gc
import inspect
import math
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from llama_cpp import (
    ContextFullError,
    GenerationError,
    GenerationTimeoutError,
    Llama,
    LlamaConfig,
    LlamaError,
    ModelLoadError,
    SamplingParams,
    ValidationError,
    errors,
    quantize,
    read_metadata,
    set_log_level,
)
from tests import tiny
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load, run_script

HUGE = 10**400  # too large for a float
NOT_A_BOOL: tuple[Any, ...] = (0, 1, "yes", None, 1.0)
NOT_TEXT: tuple[Any, ...] = (5, None, b"bytes", ["a"], 1.5, "\udc80", "a\ud83d")
BytesPath = type("BytesPath", (os.PathLike,), {"__fspath__": lambda self: b"model.gguf"})
NOT_A_PATH: tuple[Any, ...] = ("", "a\0b.gguf", 5, b"model.gguf", ["model.gguf"], BytesPath())
NOT_A_TOKEN: tuple[Any, ...] = (-1, 2000, 2**31, 2**70, True, 1.0, "a", None)


@pytest.fixture(autouse=True)
def llm(tiny_path: Path) -> Iterator[Llama]:
    """Return an instance that must say the same after the test, whether it saw the bad input or was just there."""
    with load(tiny_path, n_threads=1) as instance:
        expected = instance.generate("the same", 6, GREEDY)
        yield instance
        assert instance.generate("the same", 6, GREEDY) == expected
        assert instance.generate("the same", 6, GREEDY) == expected


def refused(call: Callable[[], object], name: str, kind: type[LlamaError] = ValidationError) -> None:
    """Call something that must fail with an error whose message has that name in it."""
    with pytest.raises(kind) as caught:
        call()
    assert name in str(caught.value)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Write the smallest model, most of whose bytes are metadata and vocabulary."""
    return tiny.write_model(tmp_path / "small.gguf", n_layer=1, n_embd=32, n_ff=32, n_head=2, n_head_kv=1, n_vocab=512)


def test_files_that_are_no_models_are_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "file.gguf"
    for content, reason in ((b"", "empty"), (b"GG", "no GGUF"), (b"PK\3\4 a zip", "no GGUF"), (b"GGUF", "cannot load")):
        file.write_bytes(content)
        refused(lambda: load(file), str(file), ModelLoadError)
        refused(lambda: load(file), reason, ModelLoadError)
    refused(lambda: load(tmp_path), "folder", ModelLoadError)
    refused(lambda: load(tmp_path / "missing.gguf"), "missing.gguf", ModelLoadError)
    refused(lambda: load(file / "below"), "below", ModelLoadError)
    refused(lambda: load("a" * 5000), "aaa", ModelLoadError)
    for path in NOT_A_PATH:
        refused(lambda path=path: load(path), "model_path")
    refused(lambda: load(file, config=LlamaConfig("other.gguf")), "model_path")
    refused(lambda: Llama(), "model_path")


def test_what_is_no_path_is_refused(llm: Llama, tiny_path: Path) -> None:
    calls: list[tuple[Callable[[Any], object], str]] = [
        (llm.save_state, "path"),
        (llm.load_state, "path"),
        (llm.load_lora, "path"),
        (read_metadata, "path"),
        (lambda path: quantize(path, "new.gguf", "Q8_0"), "src"),
        (lambda path: quantize(tiny_path, path, "Q8_0"), "dst"),
    ]
    for call, name in calls:
        for path in NOT_A_PATH:
            refused(lambda call=call, path=path: call(path), name)


def test_a_path_may_have_any_name_that_the_system_allows(tiny_path: Path, tmp_path: Path) -> None:
    for name in ("mit leer.gguf", "模型 😀.gguf", os.fsdecode(b"caf\xe9.gguf")):
        path = tmp_path / name
        path.symlink_to(tiny_path)
        with load(path, n_threads=1) as other:
            assert other.n_vocab() == 2000


def test_a_file_that_ends_too_early_is_refused(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in (*range(5, 40), *range(40, len(data), len(data) // 60), len(data) - 33):
        cut.write_bytes(data[:length])
        refused(lambda: load(cut, n_threads=1), str(cut), ModelLoadError)


def test_mutated_files_never_crash(small: Path, tmp_path: Path) -> None:
    script = """
    disable_logging()
    data = open(path, "rb").read()
    outcomes = {"loaded": 0, "refused": 0}
    for seed in range(500):
        numbers = random.Random(seed)
        mutated = bytearray(data)
        for _ in range(numbers.choice((1, 1, 2, 8))):
            # Half of the flips before the vocabulary, where the counts, types and sizes are.
            place = numbers.randrange(numbers.choice((600, 12_000, len(data))))
            mutated[place] = numbers.choice((mutated[place] ^ 1 << numbers.randrange(8), 0, 255))
        open(sys.argv[2], "wb").write(mutated)
        print("seed", seed, flush=True)  # the last one is the culprit
        try:
            with load(sys.argv[2], n_ctx=64, n_threads=1) as llm:
                llm.generate([1, 5, 6], 2)
                llm.generate("hello", 2)
                llm.metadata
                outcomes["loaded"] += 1
        except LlamaError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 50, outcomes
    """
    run_script(_dedent(script), small, tmp_path / "mutated.gguf", timeout=120)


def test_an_assertion_on_a_worker_thread_of_a_mutated_file_does_not_end_the_process(small: Path) -> None:
    """ggml's workers have nobody to tell, so what they would assert has to be checked before."""
    data = bytearray(small.read_bytes())
    key = b"attention.layer_norm_rms_epsilon"
    sign = data.index(key) + len(key) + 4 + 3  # behind the type and three bytes of a little-endian float32
    data[sign] |= 0x80
    small.write_bytes(data)
    script = """
    disable_logging()
    try:
        with load(path, n_threads=2) as llm:
            llm.generate([1, 5, 6], 2)
    except LlamaError:
        print("refused")
    """
    assert run_script(_dedent(script), small) == "refused\n"


def test_weights_that_are_not_numbers_are_found(tiny_path: Path, tmp_path: Path) -> None:
    reader = gguf.GGUFReader(tiny_path)
    (norm,) = (tensor for tensor in reader.tensors if tensor.name == "output_norm.weight")
    broken = tmp_path / "nan.gguf"
    data = bytearray(tiny_path.read_bytes())
    data[norm.data_offset : norm.data_offset + 4] = np.float32(np.nan).tobytes()
    broken.write_bytes(data)
    refused(lambda: load(broken, check_tensors=True), "nan.gguf", ModelLoadError)
    with load(broken, n_threads=1) as other:
        for sampling in (GREEDY, SamplingParams(), SamplingParams(mirostat=2)):
            refused(lambda sampling=sampling: other.generate("a", 3, sampling), "NaN", GenerationError)


def test_one_failed_assertion_concerns_no_other_instance(llm: Llama, tiny_path: Path) -> None:
    calls: list[Callable[[Llama], object]] = [
        lambda other: other.tokenize("a"),
        lambda other: other.token_to_piece(5),
        lambda other: other.generate("a", 2),
    ]
    expected = llm.generate([1, 5, 6], 6, GREEDY)
    for call in calls:
        with load(tiny_path, n_threads=1, kv_overrides={"tokenizer.ggml.model": "no_vocab"}) as other:
            with pytest.raises(LlamaError):
                call(other)
            for _ in range(2):
                assert llm.generate([1, 5, 6], 6, GREEDY) == expected


# -- configuration -----------------------------------------------------------------------------------------------------


def test_sizes_that_contradict_each_other(tiny_path: Path) -> None:
    refused(lambda: LlamaConfig(n_ctx=256, n_batch=64, n_ubatch=65), "n_ubatch (65)")
    refused(lambda: LlamaConfig(n_ctx=256, n_batch=257), "n_batch (257)")
    refused(lambda: load(tiny_path, n_seq_max=257), "n_seq_max (257)")
    refused(lambda: load(tiny_path, n_seq_max=10**6), "n_seq_max (1000000)")
    refused(lambda: load(tiny_path, n_ctx=1000, n_seq_max=257), "n_seq_max")
    refused(lambda: load(tiny_path, n_threads=513), "n_threads")
    refused(lambda: load(tiny_path, tensor_split=[1.0] * 1000), "tensor_split")
    refused(lambda: load(tiny_path, type_v="q8_0", flash_attn=0), "V cache", ModelLoadError)
    refused(lambda: load(tiny_path, type_k="q8_0"), "block size 32", ModelLoadError)  # rows of 16 numbers


def test_contexts_larger_than_the_memory_are_refused(tiny_path: Path, smollm2_path: Path) -> None:
    for path, n_ctx in ((tiny_path, 2**30), (tiny_path, 2**31 - 1), (smollm2_path, 2**30)):
        refused(lambda path=path, n_ctx=n_ctx: load(path, n_ctx=n_ctx), str(n_ctx), ModelLoadError)


def test_metadata_that_does_not_fit_the_tensors_is_refused(tiny_path: Path) -> None:
    for key, value in {
        "llama.attention.head_count": 0,
        "llama.attention.head_count_kv": 3,
        "llama.block_count": 10**9,
        "llama.embedding_length": 0,
        "llama.rope.dimension_count": 1,
        "llama.attention.key_length": 2**31 - 1,
        "llama.expert_count": 10**6,
        "tokenizer.ggml.model": "bert",
        "general.architecture": "gpt2",
    }.items():
        refused(lambda key=key, value=value: load(tiny_path, kv_overrides={key: value}), "cannot load", ModelLoadError)


def test_a_negative_epsilon_by_an_override_does_not_end_the_process(tiny_path: Path) -> None:
    script = """
    try:
        with load(path, n_threads=2, kv_overrides={"llama.attention.layer_norm_rms_epsilon": -1.0}) as llm:
            llm.generate([1, 5, 6], 2)
    except LlamaError:
        print("refused")
    """
    assert run_script(_dedent(script), tiny_path) == "refused\n"


def test_arguments_of_the_wrong_kind_for_the_constructor(tiny_path: Path) -> None:
    for config in (5, {}, "n_ctx", LlamaConfig):
        refused(lambda config=config: load(tiny_path, config=config), "config")
    for sampling in (5, {}, "greedy", SamplingParams):
        refused(lambda sampling=sampling: load(tiny_path, sampling=sampling), "sampling")


def test_a_vocabulary_alone_only_tokenizes(tiny_path: Path) -> None:
    with load(tiny_path, vocab_only=True) as other:
        assert other.detokenize(other.tokenize("hello world", add_special=False)) == "hello world"
        for call in (lambda: other.generate("a"), lambda: other.perf(), lambda: other.kv_cache_clear()):
            refused(call, "vocab_only")


# -- sampling ----------------------------------------------------------------------------------------------------------


def test_values_that_were_assigned_later_are_checked_when_they_are_used(llm: Llama, tiny_path: Path) -> None:
    for field, value in (("temperature", math.nan), ("seed", -2), ("top_k", "40"), ("logit_bias", {5: math.nan})):
        sampling = SamplingParams()
        setattr(sampling, field, value)
        refused(lambda sampling=sampling: llm.generate("a", 2, sampling), field)
        refused(lambda sampling=sampling: llm.generate_stream("a", 2, sampling), field)
    config = LlamaConfig(tiny_path)
    config.n_ctx = 0
    refused(lambda: Llama(config=config), "n_ctx")


def test_biases_of_tokens_that_the_vocabulary_does_not_have(llm: Llama) -> None:
    for token in (2000, 2**31 - 1):
        refused(lambda token=token: llm.generate("a", 2, SamplingParams(logit_bias={token: 1.0})), "logit_bias")


@pytest.mark.parametrize(
    "fields",
    [
        {"logit_bias": {5: 3e38, 6: 3e38}},
        {"logit_bias": {5: 3e38}, "temperature": 1e-6},
        {"logit_bias": {5: 3e38}, "typical_p": 0.5, "top_k": 0},
        {"temperature": 1e-39},
        {"temperature": 1e-300},
        {"temperature": 1e6},
        {"repeat_penalty": 1e-6},
        {"top_p": 0.0, "min_keep": 0},
        {"typical_p": 0.0, "min_keep": 0},
        {"min_p": 1.0, "min_keep": 0},
        {"top_n_sigma": 0.0},
        {"xtc_probability": 1.0, "xtc_threshold": 0.0, "min_keep": 0},
        {"mirostat": 1, "mirostat_tau": 0.0},
        {"mirostat": 1, "mirostat_tau": 1e6, "mirostat_eta": 1e6},
        {"mirostat": 2, "mirostat_tau": 1e6, "mirostat_eta": 1e6},
        {"adaptive_p_target": 1.0, "adaptive_p_decay": 0.0},
        {"dynatemp_range": 1e6, "dynatemp_exponent": 1e6},
        {"dry_multiplier": 1e6, "dry_base": 1e6, "dry_allowed_length": 0},
        {"dry_multiplier": 1.0, "dry_base": 0.0, "dry_sequence_breakers": ()},
        {"dry_multiplier": 1.0, "dry_sequence_breakers": ["x" * 100_000]},
        {"samplers": ("infill",)},
        {"samplers": ()},
    ],
    ids=lambda fields: "-".join(fields) or "none",
)
def test_extreme_values_are_no_danger(llm: Llama, fields: dict[str, Any]) -> None:
    result = llm.generate_result("a", 20, SamplingParams(**fields), seed=1)
    assert all(0 <= token < 2000 for token in result.token_ids)


def test_windows_larger_than_the_context_take_no_memory_of_their_own(tiny_path: Path) -> None:
    script = """
    import resource
    with load(path, n_threads=1) as llm:
        llm.generate("a", 2)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for fields in ({"repeat_last_n": 10**8}, {"dry_multiplier": 1.0, "dry_penalty_last_n": 10**7}):
            llm.generate("a", 2, SamplingParams(**fields))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    assert int(run_script(_dedent(script), tiny_path)) < 20_000  # KiB


# -- calls -------------------------------------------------------------------------------------------------------------

GENERATE_VALUES: dict[str, tuple[Any, ...]] = {
    "prompt": (
        *NOT_TEXT[:2],
        *NOT_TEXT[5:],
        b"bytes",
        [],
        {1: 2},
        {5},
        ["a"],
        1.5,
        np.arange(5.0),
        np.ones((2, 2), int),
    ),
    "max_tokens": (0, -2, 2**31, True, "5", 1.0, -1.0, math.nan, [5]),
    "sampling": (5, {}, "greedy", SamplingParams),
    "stop": (5, b"x", "", "\udc80", {"a"}, [""], ["a", ""], ["\udc80"], [None], [b"x"], [1.5], [True]),
    "echo": NOT_A_BOOL,
    "stream": NOT_A_BOOL,
    "reset_kv_cache": NOT_A_BOOL,
    "logprobs": (-1, 2001, 2**70, True, "5", 5.0, [5]),
    "seed": (-2, 2**32, 2**70, True, "5", 5.0, math.nan, [5]),
    "timeout": (0, -1.0, math.nan, math.inf, True, "5", [5], HUGE),
    "draft_tokens": (-1, 65, True, "5", 5.0, [5]),
    "logits_processor": (5, "a", [5]),
}


@pytest.mark.parametrize(
    ("method", "name"),
    [
        (method.__name__, name)
        for method in (Llama.generate, Llama.generate_stream, Llama.generate_result)
        for name in GENERATE_VALUES
        if name in inspect.signature(method).parameters
    ],
)
def test_arguments_that_are_refused(llm: Llama, method: str, name: str) -> None:
    call = getattr(llm, method)
    for value in GENERATE_VALUES[name]:
        refused(lambda value=value: call(**{"prompt": "a", "max_tokens": 2, name: value}), name)


def test_tokens_that_the_vocabulary_does_not_have(llm: Llama) -> None:
    for token in NOT_A_TOKEN:
        refused(lambda token=token: llm.generate([5, token]), "prompt[1]")
        refused(lambda token=token: llm.detokenize([5, token]), "tokens[1]")
        refused(lambda token=token: llm.token_to_piece(token), "token")
        if not isinstance(token, str):
            refused(lambda token=token: llm.generate("a", stop=["x", token]), "stop[1]")
    for tokens in (5, None, b"ab", {1: 2}, {5}):
        refused(lambda tokens=tokens: llm.detokenize(tokens), "tokens")


def test_texts_that_no_encoding_can_carry(llm: Llama) -> None:
    for text in NOT_TEXT:
        if not isinstance(text, bytes):
            refused(lambda text=text: llm.tokenize(text), "text")
        refused(lambda text=text: llm.n_tokens(text), "text")
        refused(lambda text=text: llm.get_chat_template(text), "name")
    for flag in NOT_A_BOOL:
        for call, name in (
            (llm.tokenize, "add_special"),
            (llm.tokenize, "parse_special"),
            (llm.n_tokens, "add_special"),
        ):
            refused(lambda call=call, name=name, flag=flag: call("a", **{name: flag}), name)
        for name in ("remove_special", "unparse_special"):
            refused(lambda name=name, flag=flag: llm.detokenize([5], **{name: flag}), name)


def test_unknown_arguments_of_a_call_get_the_nearest_name(llm: Llama) -> None:
    for call in (llm.generate, llm.generate_stream, llm.generate_result):
        refused(lambda call=call: call("a", max_token=5), "'max_tokens'")
        refused(lambda call=call: call("a", 5, temperature=0.5), "temperature")
    refused(lambda: llm.generate_batch(["a"], max_token=5), "'max_tokens'")
    refused(lambda: llm.generate_n("a", 2, max_token=5), "'max_tokens'")


def test_arguments_of_other_calls_are_not_ignored_in_silence(llm: Llama) -> None:
    for call, arguments in (
        (llm.generate_stream, {"echo": True}),
        (llm.generate_stream, {"logprobs": 1}),
        (llm.generate_stream, {"stream": True}),
        (llm.generate_result, {"stream": True}),
    ):
        (name,) = arguments
        refused(lambda call=call, arguments=arguments: call("a", 2, **arguments), name)
    for name in ("logprobs", "progress", "prompts", "on_error", "share_prefix"):
        refused(lambda name=name: llm.generate_n("a", 2, max_tokens=2, **{name: 1}), name)


def test_a_prompt_that_does_not_fit_tells_both_numbers(llm: Llama) -> None:
    for prompt in ([5] * 257, "x" * 2000):
        with pytest.raises(ContextFullError, match="256") as caught:
            llm.generate(prompt, 2)
        n_tokens = len(prompt) if isinstance(prompt, list) else llm.n_tokens(prompt, add_special=True)
        assert (caught.value.n_tokens, caught.value.n_ctx) == (n_tokens, 256)
        copied = pickle.loads(pickle.dumps(caught.value))
        assert (str(copied), copied.n_tokens, copied.n_ctx) == (str(caught.value), n_tokens, 256)


def every_error() -> list[Exception]:
    """Make one of each class of errors.py, with all that it can carry."""
    values: dict[type, dict[str, Any]] = {
        errors.GrammarError: {"line": 1, "column": 2, "rule": "root"},
        errors.UnsupportedSchemaError: {"keyword": "not", "pointer": "/properties/a"},
        errors.GenerationError: {"text": "so far", "token_ids": [1, 2]},
        errors.ContextFullError: {"n_tokens": 9, "n_ctx": 8},
        errors.CancelledError: {"text": "so far", "token_ids": [1, 2]},
        errors.GenerationTimeoutError: {"text": "so far", "token_ids": [1, 2]},
    }
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return [kind("what failed", **values.get(kind, {})) for kind in kinds]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_a_copied_error_says_the_same(error: Exception) -> None:
    for duplicate in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(duplicate) is type(error)
        assert (str(duplicate), duplicate.args, vars(duplicate)) == ("what failed", ("what failed",), vars(error))


def test_a_timeout_says_what_to_do(llm: Llama) -> None:
    for call in (
        llm.generate,
        llm.generate_result,
        lambda *args, **options: list(llm.generate_stream(*args, **options)),
    ):
        with pytest.raises(GenerationTimeoutError, match=r"not over after 1e-05 s; raise timeout"):
            call("a", 200, timeout=1e-5)


def test_a_refused_call_leaves_the_sequence_in_memory(llm: Llama) -> None:
    expected = llm.generate_result([1, 5, 6], 20, GREEDY).token_ids
    first = llm.generate_result([1, 5, 6], 10, GREEDY).token_ids
    wrong: list[dict[str, Any]] = [
        {"prompt": "\udc80"},
        {"prompt": [5] * 300},
        {"prompt": "a", "stop": [5000]},
        {"prompt": "a", "max_tokens": 0},
        {"prompt": "a", "sampling": SamplingParams(logit_bias={5000: 1.0})},
        {"prompt": "a", "nonsense": 1},
    ]
    for arguments in wrong:
        for reset in (True, False):
            with pytest.raises(LlamaError):
                llm.generate(**arguments, reset_kv_cache=reset)
    assert first + llm.generate_result("", 10, GREEDY, reset_kv_cache=False).token_ids == expected


def test_a_long_timeout_is_no_short_one(llm: Llama) -> None:
    for timeout in (1e9, 1e13, 1e300):
        assert len(llm.generate_result("a", 3, GREEDY, timeout=timeout).token_ids) == 3


def test_a_stream_that_was_dropped_is_not_in_the_way(llm: Llama) -> None:
    for arguments in ({}, {"stream": True}, {"stream": True, "logprobs": 1}):
        stream = llm.generate("a", **arguments) if arguments else llm.generate_stream("a", None)
        del stream
        gc.collect()
        llm.kv_cache_clear()
        stream = llm.generate_stream("a", None)
        next(stream)
        del stream
        gc.collect()
        llm.reset()


def test_extreme_stops_and_prompts_work(llm: Llama) -> None:
    plain = llm.generate("a", 5, GREEDY)
    assert llm.generate("a", 5, GREEDY, stop=["\u2603"] * 10_000) == plain
    assert llm.generate("a", 5, GREEDY, stop=["b" * 1_000_000]) == plain
    assert llm.generate("a", 5, GREEDY, stop=[3] * 10_000) == plain
    assert llm.generate("a", 5, GREEDY, stop=()) == plain
    assert llm.generate(range(5, 9), 2, GREEDY) == llm.generate([5, 6, 7, 8], 2, GREEDY)
    assert llm.detokenize([]) == ""


def test_log_levels_that_there_are_not() -> None:
    for level in (None, True, 1.5, [], b"info"):
        refused(lambda level=level: set_log_level(level), "level")
    refused(lambda: set_log_level("warnin"), "'warning'")


def _dedent(script: str) -> str:
    return "\n".join(line[4:] for line in script.splitlines())


def test_a_nul_is_a_character_of_a_text_as_others_are(llm: Llama, make_tiny: MakeTiny) -> None:
    text = "a\0b"
    ids = llm.tokenize(text)
    assert llm.detokenize(ids).removeprefix(" ") == text
    assert len(ids) > len(llm.tokenize("ab"))
    assert llm.n_tokens(text) == len(ids) - 1
    assert llm.generate(text, 2, GREEDY) == llm.generate(ids, 2, GREEDY) != llm.generate("a", 2, GREEDY)
    assert llm.generate_batch([text], max_tokens=2, sampling=GREEDY)[0].usage.prompt_tokens == len(ids)  # type: ignore[union-attr]
    assert llm.create_completion(text, max_tokens=2)["usage"]["prompt_tokens"] == len(ids)  # type: ignore[index]
    assert llm.logprobs(text).token_ids == ids
    assert llm.score(text, ["\0"])[0].token_ids
    with llm.session() as session:
        assert session.append(text).tokens == ids
    (nul,) = llm.tokenize("\0", add_special=False)[-1:]
    said = llm.generate_result("x", 3, SamplingParams(temperature=0, logit_bias={nul: 1e6}))
    assert said.text == "\0\0\0"
    assert llm.generate("x", 3, SamplingParams(temperature=0, logit_bias={nul: 1e6}), stop="\0\0") == ""
    messages = [{"role": "user", "content": text}]
    answer: Any = llm.create_chat_completion(messages, max_tokens=1, chat_format="chatml")
    plain: Any = llm.create_chat_completion([{"role": "user", "content": "ab"}], max_tokens=1, chat_format="chatml")
    assert answer["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]
    with load(make_tiny(), embeddings=True, pooling_type="mean") as other:
        assert other.embed(text) != other.embed("ab")
