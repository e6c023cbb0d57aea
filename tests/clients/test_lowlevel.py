"""llama_cpp.llama_cpp: it says what llama.h says, and reaches the llama.cpp that Llama uses."""

from __future__ import annotations

import ctypes
import os
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llama_cpp
from llama_cpp import Llama, ModelLoadError, _core
from llama_cpp import llama_cpp as lowlevel
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load

ROOT = Path(__file__).parents[2]
INCLUDE_DIRS = [ROOT / "vendor" / "llama.cpp" / path for path in ("include", "ggml/include")]
CODE = re.sub(r"//.*", "", (INCLUDE_DIRS[0] / "llama.h").read_text(encoding="utf-8"))

STRUCTS = re.findall(r"\bstruct (\w+) \{", CODE)
FUNCTIONS = sorted({*re.findall(r"\b(llama_\w+)\s*\(", CODE)} - {"llama_log_set"})
CONSTANTS = re.findall(r"^#define (LLAMA_\w+) +\S|^ {8}(LLAMA_\w+) *[=,]", CODE, re.MULTILINE)

# A type as a number, alike for C++ and for ctypes.
TYPE_CODES = """
#include "llama.h"
#include <cstddef>
#include <initializer_list>
#include <type_traits>
template <class T> constexpr size_t code() {
    if constexpr (std::is_void_v<T>) return 0;
    else if constexpr (std::is_pointer_v<T>) return 1;
    else if constexpr (std::is_same_v<T, bool>) return 2;
    else if constexpr (std::is_floating_point_v<T>) return 100 + sizeof(T);
    else if constexpr (std::is_enum_v<T> || std::is_signed_v<T>) return 200 + sizeof(T);
    else if constexpr (std::is_unsigned_v<T>) return 300 + sizeof(T);
    else return 1000 + sizeof(T);
}
template <class R, class... A> constexpr bool has(R (*)(A...), std::initializer_list<size_t> codes) {
    const size_t real[] = {code<R>(), code<A>()...};
    if (codes.size() != 1 + sizeof...(A)) return false;
    for (size_t i = 0; i < codes.size(); i++) if (codes.begin()[i] != real[i]) return false;
    return true;
}
"""


def type_code(kind: Any) -> int:
    if kind is None:
        return 0
    if kind is ctypes.c_bool:
        return 2
    if issubclass(kind, (ctypes.Structure, ctypes.Union)):
        return 1000 + ctypes.sizeof(kind)
    letter = getattr(kind, "_type_", None)
    if not isinstance(letter, str) or letter in "PzO":
        return 1
    return {"f": 100, "d": 100}.get(letter, 200 if letter.islower() else 300) + ctypes.sizeof(kind)


def field_names(struct: Any) -> Iterator[str]:
    """Yield the names of a struct's fields, in place of an anonymous union those in it."""
    for name, kind, *_ in struct._fields_:
        if name in getattr(struct, "_anonymous_", ()):
            yield from (member for member, *_ in kind._fields_)
        else:
            yield name


def compile_errors(source: str) -> list[str]:
    """Return the error lines of the C++ compiler ($CXX, or g++) for a source, which it only checks."""
    command = [*shlex.split(os.environ.get("CXX", "g++")), "-std=c++17", "-fsyntax-only", "-w", "-x", "c++", "-"]
    command += [f"-I{directory}" for directory in INCLUDE_DIRS]
    result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    assert bool(errors) == bool(result.returncode), result.stderr
    return errors


def static_asserts() -> Iterator[str]:
    """Yield C++ that compiles if sizes, offsets, constants and signatures are those of the header."""
    for name in STRUCTS:
        struct = getattr(lowlevel, name)
        yield f'static_assert(sizeof({name}) == {ctypes.sizeof(struct)}, "{name}");'
        for field in field_names(struct):
            descriptor = getattr(struct, field)
            yield f'static_assert(offsetof({name}, {field}) == {descriptor.offset}, "{name}.{field}");'
            yield f'static_assert(sizeof({name}::{field}) == {descriptor.size}, "{name}.{field}");'
    for name, value in vars(lowlevel).items():
        if re.match(r"(LLAMA|GGML)_", name) and name != "LLAMA_MAX_DEVICES":
            yield f'static_assert(static_cast<long long>({name}) == {value}, "{name}");'
    for name in FUNCTIONS:
        function = getattr(lowlevel, name)
        codes = ", ".join(str(type_code(kind)) for kind in [function.restype, *function.argtypes])
        yield f'static_assert(has(&{name}, {{{codes}}}), "{name}");'


def test_file_is_what_the_header_gives() -> None:
    generate = runpy.run_path(str(ROOT / "vendor" / "bindings.py"))["generate"]
    assert Path(lowlevel.__file__).read_text(encoding="utf-8") == generate(), "run python vendor/bindings.py"


def test_every_name_of_the_header_is_there() -> None:
    constants = [name for pair in CONSTANTS for name in pair if name]
    assert min(len(FUNCTIONS), len(constants)) > 100
    assert [name for name in [*FUNCTIONS, *STRUCTS, *constants] if not hasattr(lowlevel, name)] == []


def test_declarations_are_those_of_the_compiler() -> None:
    assert compile_errors(TYPE_CODES + "\n".join(static_asserts())) == []


@pytest.mark.parametrize(
    "wrong",
    ["has(&llama_decode, {204, 1, 1})", "has(&llama_n_ctx, {204, 1})", "offsetof(llama_batch, pos) == 16"],
)
def test_compiler_sees_differences(wrong: str) -> None:
    assert len(compile_errors(f'{TYPE_CODES}static_assert({wrong}, "");')) == 1


def test_defaults_are_read_through_the_structs() -> None:
    context = lowlevel.llama_context_default_params()
    assert (context.n_ctx, context.n_batch, context.pooling_type) == (
        512,
        2048,
        lowlevel.LLAMA_POOLING_TYPE_UNSPECIFIED,
    )
    assert (context.type_k, context.offload_kqv) == (lowlevel.GGML_TYPE_F16, True)
    assert lowlevel.llama_model_quantize_default_params().quantize_output_tensor is True
    override = lowlevel.llama_model_kv_override(lowlevel.LLAMA_KV_OVERRIDE_TYPE_INT, b"key")
    override.value.val_i64 = 5
    assert override.val_i64 == 5


def test_library_is_the_one_that_the_core_has_loaded() -> None:
    assert lowlevel._lib._name == _core.__file__
    assert lowlevel._lib.llama_tokenize is lowlevel.llama_tokenize
    assert ctypes.cast(lowlevel._lib.llama_tokenize, ctypes.c_void_p).value
    maps = Path("/proc/self/maps")
    if maps.exists():  # Linux, where every mapped part of a file comes with its path
        loaded = {line[line.index("/") :] for line in maps.read_text().splitlines() if "/_core." in line}
        assert loaded == {_core.__file__}


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path) as llm:
        yield llm


def greedy(llm: Llama, prompt: list[int], n_tokens: int) -> list[int]:
    """Decode as programs do that use llama-cpp-python's low level, in a context of their own."""
    params = lowlevel.llama_context_default_params()
    params.n_ctx = params.n_batch = 256
    params.n_threads = params.n_threads_batch = 1
    context = lowlevel.llama_init_from_model(llm.model, params)
    n_vocab = lowlevel.llama_vocab_n_tokens(lowlevel.llama_model_get_vocab(llm.model))
    batch = lowlevel.llama_batch_init(256, 0, 1)
    generated: list[int] = []
    position, tokens = 0, prompt
    while len(generated) < n_tokens:
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.seq_id[index][0] = 0
            batch.n_seq_id[index] = 1
            batch.logits[index] = index == len(tokens) - 1
        assert lowlevel.llama_decode(context, batch) == 0
        position += len(tokens)
        logits = np.ctypeslib.as_array(lowlevel.llama_get_logits(context), shape=(n_vocab,))
        tokens = [int(logits.argmax())]
        generated += tokens
    memory = lowlevel.llama_get_memory(context)
    assert lowlevel.llama_memory_seq_pos_max(memory, 0) == position - 1
    assert lowlevel.llama_memory_seq_rm(memory, 0, 3, -1)
    assert lowlevel.llama_memory_seq_pos_max(memory, 0) == 2
    lowlevel.llama_batch_free(batch)
    lowlevel.llama_free(context)
    return generated


def test_greedy_decoding_is_that_of_llama(llm: Llama) -> None:
    expected = llm.generate_result("hello world", 24, sampling=GREEDY).token_ids
    assert greedy(llm, llm.tokenize("hello world"), 24) == expected


def test_a_model_can_be_used_without_llama(tiny_path: Path, llm: Llama) -> None:
    lowlevel.llama_backend_init()
    model = lowlevel.llama_model_load_from_file(os.fsencode(tiny_path), lowlevel.llama_model_default_params())
    context = lowlevel.llama_new_context_with_model(model, lowlevel.llama_context_default_params())
    lowlevel.llama_set_n_threads(context, 1, 1)
    chain = lowlevel.llama_sampler_chain_init(lowlevel.llama_sampler_chain_default_params())
    lowlevel.llama_sampler_chain_add(chain, lowlevel.llama_sampler_init_top_k(5))
    lowlevel.llama_sampler_chain_add(chain, lowlevel.llama_sampler_init_greedy())
    prompt = llm.tokenize("hello world")
    tokens = (lowlevel.llama_token * len(prompt))(*prompt)
    generated = []
    for _ in range(8):
        assert lowlevel.llama_decode(context, lowlevel.llama_batch_get_one(tokens, len(tokens))) == 0
        tokens = (lowlevel.llama_token * 1)(lowlevel.llama_sampler_sample(chain, context, -1))
        generated.append(tokens[0])
    assert chain.contents.iface.contents.name(chain) == lowlevel.llama_sampler_name(chain) == b"chain"
    lowlevel.llama_sampler_free(chain)
    lowlevel.llama_free(context)
    lowlevel.llama_model_free(model)
    assert generated == llm.generate_result("hello world", 8, sampling=GREEDY).token_ids


def test_custom_sampler_in_python(llm: Llama) -> None:
    def apply(sampler: object, array: ctypes._Pointer[lowlevel.llama_token_data_array]) -> None:
        array.contents.selected = 2

    interface = lowlevel.llama_sampler_i(apply=lowlevel.llama_sampler_i_apply(apply))
    sampler = lowlevel.llama_sampler_init(interface, None)
    data = (lowlevel.llama_token_data * 3)()
    candidates = lowlevel.llama_token_data_array(data, 3, -1, False)
    lowlevel.llama_sampler_apply(sampler, candidates)
    assert candidates.selected == 2
    lowlevel.llama_sampler_free(sampler)


def test_vocabulary(llm: Llama) -> None:
    vocab = lowlevel.llama_model_get_vocab(llm.model.address)
    assert lowlevel.llama_vocab_n_tokens(vocab) == lowlevel.llama_n_vocab(vocab) == llm.n_vocab()
    assert lowlevel.llama_vocab_eos(vocab) == lowlevel.llama_token_eos(vocab) == llm.token_eos()
    assert lowlevel.llama_token_is_eog(vocab, llm.token_eos())
    assert lowlevel.llama_token_get_attr(vocab, llm.token_eos()) & lowlevel.LLAMA_TOKEN_ATTR_CONTROL
    assert lowlevel.llama_vocab_type(vocab) == lowlevel.LLAMA_VOCAB_TYPE_SPM
    tokens = (lowlevel.llama_token * 32)()
    n_tokens = lowlevel.llama_tokenize(vocab, b"hello world", 11, tokens, 32, True, False)
    assert tokens[:n_tokens] == llm.tokenize("hello world")
    buffer = ctypes.create_string_buffer(32)
    pieces = []
    for token in tokens[:n_tokens]:
        length = lowlevel.llama_token_to_piece(vocab, token, buffer, 32, 0, False)
        pieces.append(buffer.raw[:length])
    assert b"".join(pieces).strip() == b"hello world"
    with pytest.raises(ctypes.ArgumentError):
        lowlevel.llama_vocab_get_text(vocab, "5")  # type: ignore[arg-type]


# -- the log -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines() -> Iterator[list[tuple[int, bytes, int | None]]]:
    """Send the log to a list, as a program written for llama-cpp-python does."""
    lines: list[tuple[int, bytes, int | None]] = []

    @lowlevel.llama_log_callback  # type: ignore[untyped-decorator]
    def collect(level: int, text: bytes, user_data: int | None) -> None:
        lines.append((level, text, user_data))

    lowlevel.llama_log_set(collect, ctypes.c_void_p(7))
    yield lines
    llama_cpp.reset_logging()


def test_log_callback_gets_whole_lines(lines: list[tuple[int, bytes, int | None]], tiny_path: Path) -> None:
    load(tiny_path, verbose=False).close()
    assert any(b"general.architecture" in text for _, text, _ in lines)
    assert all(text.count(b"\n") == 1 and text.endswith(b"\n") and data == 7 for _, text, data in lines)
    assert lowlevel.GGML_LOG_LEVEL_INFO in {level for level, _, _ in lines}


def test_exceptions_still_quote_the_log(lines: list[tuple[int, bytes, int | None]], make_tiny: MakeTiny) -> None:
    broken = make_tiny(metadata={"general.architecture": "nonsense"})
    with pytest.raises(ModelLoadError, match="unknown model architecture: 'nonsense'"):
        load(broken)
    assert any(level == lowlevel.GGML_LOG_LEVEL_ERROR and b"nonsense" in text for level, text, _ in lines)


@pytest.mark.parametrize("restore", ["null", "saved", "reset_logging"])
def test_logger_comes_back(
    lines: list[tuple[int, bytes, int | None]],
    make_tiny: MakeTiny,
    caplog: pytest.LogCaptureFixture,
    restore: str,
) -> None:
    if restore == "null":
        lowlevel.llama_log_set(None, None)
    elif restore == "saved":
        callback, user_data = lowlevel.llama_log_callback(), ctypes.c_void_p()
        lowlevel.llama_log_get(ctypes.byref(callback), ctypes.byref(user_data))
        lowlevel.llama_log_set(callback, user_data)
    else:
        llama_cpp.reset_logging()
    with pytest.raises(ModelLoadError):
        load(make_tiny(metadata={"general.architecture": "nonsense"}))
    assert lines == []
    assert "nonsense" in caplog.text


def test_every_token_of_a_batch_may_have_logits(tiny_path: Path) -> None:
    ids = [5 + index % 90 for index in range(200)]
    with load(tiny_path, logits_all=True) as llm:
        batch = lowlevel.llama_batch_init(256, 0, 1)
        for index, token in enumerate(ids):
            batch.token[index], batch.pos[index], batch.logits[index] = token, index, 1
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
        batch.n_tokens = len(ids)
        assert lowlevel.llama_decode(llm.ctx, batch) == 0
        pointer = lowlevel.llama_get_logits(llm.ctx)
        rows = np.array(np.ctypeslib.as_array(pointer, shape=(len(ids), llm.n_vocab())))
        lowlevel.llama_batch_free(batch)
        lowlevel.llama_memory_clear(lowlevel.llama_get_memory(llm.ctx), True)
        llm.eval(ids)
        assert np.allclose(rows, llm.scores, atol=0.1)
