"""What goes wrong inside llama.cpp arrives as an exception, and harms nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llama_cpp import GenerationError, Llama, LlamaConfig, LlamaError, ModelLoadError, ValidationError
from llama_cpp._core import Batch, Context, DecodeLoop, Model, Sampler
from tests import tiny
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load, run_script


@pytest.fixture
def bystander(tiny_path: Path) -> Iterator[Llama]:
    """Give another instance, and make sure afterwards that it still works."""
    llm = load(tiny_path)
    expected = llm.generate("hello", 20, sampling=GREEDY)
    yield llm
    for _ in range(2):
        assert llm.generate("hello", 20, sampling=GREEDY) == expected
    llm.close()


def byteless_vocab() -> tiny.Metadata:
    """Return a vocabulary without byte tokens, which llama.cpp looks up in a map that then throws."""
    vocab = tiny.spm_vocab(2000)
    vocab["tokenizer.ggml.tokens"] = [text.replace("<0x", "<0y") for text in vocab["tokenizer.ggml.tokens"]]
    return vocab


# -- assertions and C++ exceptions -------------------------------------------------------------------------------------


def test_cpp_exception(make_tiny: MakeTiny, bystander: Llama) -> None:
    llm = load(make_tiny(vocab=byteless_vocab()))
    tokens = llm.tokenize("hello")
    for _ in range(3):
        with pytest.raises(LlamaError, match="at"):
            llm.tokenize("日")
        assert llm.tokenize("hello") == tokens
    with pytest.raises(LlamaError):
        llm.generate("日", 5)
    assert llm.generate("hello", 5)


def test_failed_assertion(make_tiny: MakeTiny, bystander: Llama) -> None:
    llm = load(make_tiny(metadata={"tokenizer.ggml.model": "none"}))
    for _ in range(3):
        with pytest.raises(LlamaError, match=r"GGML_ASSERT\(tokenizer"):
            llm.tokenize("hello")
    assert len(llm.generate_result([300, 301], 5, sampling=GREEDY).token_ids) == 5


def test_failed_assertion_on_another_thread(make_tiny: MakeTiny, tiny_path: Path) -> None:
    script = """
llm = load(sys.argv[2])
other = load(path)
expected = other.generate("hello", 20, sampling=GREEDY)
caught = []

def work():
    for _ in range(3):
        try:
            llm.tokenize("hello")
        except LlamaError as error:
            caught.append(error)
        assert other.generate("hello", 20, sampling=GREEDY) == expected

thread = threading.Thread(target=work)
thread.start()
thread.join()
assert len(caught) == 3
assert other.generate("hello", 20, sampling=GREEDY) == expected
"""
    run_script(script, tiny_path, make_tiny(metadata={"tokenizer.ggml.model": "none"}))


# Llama refuses such a file; here is what happens to one whose defect it does not know.
UNCHECKED = """
from llama_cpp import _core
from llama_cpp.engine import Engine, Request

REQUEST = Request([1, 300], GREEDY, 0, 5, [], [])

def unchecked(path, **config):
    config = LlamaConfig(path, n_ctx=256, n_threads=1, **config)
    return Engine(_core.Model(config), config)
"""
NEGATIVE_EPSILON = {"llama.attention.layer_norm_rms_epsilon": -1.0}


def test_failed_assertion_in_a_computation_closes_its_context_alone(make_tiny: MakeTiny, tiny_path: Path) -> None:
    script = """
other = load(path)
expected = other.generate("hello", 20, sampling=GREEDY)
for _ in range(3):
    engine = unchecked(sys.argv[2])
    try:
        engine.submit(REQUEST).result()
    except GenerationError as error:
        assert "GGML_ASSERT(eps >= 0.0f)" in str(error), error
        assert error.text == "" and error.token_ids == []
    else:
        raise AssertionError("no error")
    for use in (lambda: engine.submit(REQUEST), engine.clear, engine.context.perf):
        try:
            use()
        except ClosedError:
            continue
        raise AssertionError("not closed")
    assert other.generate("hello", 20, sampling=GREEDY) == expected
    engine.close()
    del engine
    gc.collect()
assert other.generate("hello", 20, sampling=GREEDY) == expected
"""
    run_script(UNCHECKED + script, tiny_path, make_tiny(metadata=NEGATIVE_EPSILON))


def test_failed_assertion_reaches_every_generation(make_tiny: MakeTiny) -> None:
    script = """
engine = unchecked(path, n_seq_max=2)
for generation in [engine.submit(REQUEST) for _ in range(4)]:
    try:
        generation.result()
    except LlamaError as error:
        print(type(error).__name__)
"""
    kinds = run_script(UNCHECKED + script, make_tiny(metadata=NEGATIVE_EPSILON)).split()
    assert kinds[:2] == ["GenerationError"] * 2
    assert len(kinds) == 4


def test_failed_assertion_in_decode(make_tiny: MakeTiny) -> None:
    script = """
from llama_cpp import _core
config = LlamaConfig(path, n_ctx=64, n_threads=1)
model = _core.Model(config)
for _ in range(2):
    context = _core.Context(model, config)
    batch = _core.Batch(1)
    batch.add(1, 0, [0], True)
    for expected in (LlamaError, ClosedError):
        try:
            context.decode(batch)
        except expected as error:
            assert expected is ClosedError or not isinstance(error, ClosedError)
        else:
            raise AssertionError("no error")
    assert context.closed
    context.close()
assert model.n_layer() == 2
model.close()
"""
    run_script(script, make_tiny(metadata=NEGATIVE_EPSILON))


def test_failed_assertion_in_a_draft_model_closes_that_alone(make_tiny: MakeTiny, tiny_path: Path) -> None:
    script = """
import dataclasses
config = LlamaConfig(path, n_ctx=256, n_threads=1)
expected = Engine(_core.Model(config), config).submit(REQUEST).result().text
draft = _core.Model(LlamaConfig(sys.argv[2]))
engine = Engine(_core.Model(config), config, draft_model=draft)
for reason in ("GGML_ASSERT(eps >= 0.0f)", "draft model is closed", "draft model is closed"):
    try:
        engine.submit(dataclasses.replace(REQUEST, draft_tokens=4)).result()
    except GenerationError as error:
        assert reason in str(error), error
    else:
        raise AssertionError("no error")
    assert engine.submit(REQUEST).result().text == expected
engine.close()
"""
    run_script(UNCHECKED + script, tiny_path, make_tiny(metadata=NEGATIVE_EPSILON))


# -- loading -----------------------------------------------------------------------------------------------------------


def test_failed_assertion_while_a_context_is_made(make_tiny: MakeTiny, bystander: Llama) -> None:
    path = make_tiny("qwen3", metadata={"qwen3.rope.dimension_count": 8})
    for _ in range(3):
        with pytest.raises(ModelLoadError, match=r"GGML_ASSERT\(n_embd_head == n_rot\)"):
            load(path)


def test_context_for_shorter_sequences_is_refused_with_llama_cpps_words(tiny_path: Path) -> None:
    config = LlamaConfig(tiny_path, n_ctx=256, n_threads=1, type_v="q8_0", flash_attn="off")
    with pytest.raises(ModelLoadError, match=r"llama\.cpp: .*flash_attn"):
        Context(Model(config), config, 64)


def test_failed_assertion_while_a_model_is_loaded(make_tiny: MakeTiny, bystander: Llama) -> None:
    path = make_tiny(metadata={"llama.block_count": 0})
    for _ in range(3):
        with pytest.raises(ModelLoadError, match=r"GGML_ASSERT\(hparams\.n_layer_all > 0"):
            load(path)


REFUSED = {
    "unknown model architecture": {"general.architecture": "nonsense"},
    "wrong shape": {"llama.attention.head_count": 3},
    "not found": {"llama.block_count": 3},
    "tokenizer": {"tokenizer.ggml.model": "nonsense"},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_model_is_told_with_llama_cpps_words(make_tiny: MakeTiny, bystander: Llama, reason: str) -> None:
    path = make_tiny(metadata=REFUSED[reason])
    with pytest.raises(ModelLoadError, match=rf"(?s){path.name}.*llama\.cpp: .*{reason}"):
        load(path)


def test_message_quotes_the_latest_complaint_only(make_tiny: MakeTiny) -> None:
    for reason in (*REFUSED, *REFUSED):
        with pytest.raises(ModelLoadError) as caught:
            load(make_tiny(metadata=REFUSED[reason]))
        assert reason in str(caught.value)
        assert str(caught.value).count("failed to load model") == 1


def test_huge_context_is_refused(tiny_path: Path, bystander: Llama) -> None:
    with pytest.raises(ModelLoadError, match="n_ctx"):
        load(tiny_path, n_ctx=2**31 - 1)


def test_memory_that_runs_out_is_an_error(tiny_path: Path) -> None:
    script = """
import resource
disable_logging()
llm = load(path)
expected = llm.generate("hello", 20, sampling=GREEDY)
in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + (64 << 20), resource.RLIM_INFINITY))
penalties = SamplingParams(repeat_last_n=2**31 - 1, repeat_penalty=1.1)
for use in (
    lambda: load(path, n_ctx=2**20),
    lambda: load(path, n_ctx=2**20, n_seq_max=8),
    lambda: llm.generate("hello", 5, sampling=penalties),
):
    try:
        use()
    except LlamaError as error:
        print(type(error).__name__)
    assert llm.generate("hello", 20, sampling=GREEDY) == expected
"""
    assert run_script(script, tiny_path).split()[:2] == ["ModelLoadError"] * 2  # the third may be cut to the context


# -- models that generate nothing --------------------------------------------------------------------------------------


def generate(llm: Llama) -> None:
    llm.generate("hello", 5)


def generate_from_tokens(llm: Llama) -> None:
    llm.generate([5, 6], 5)


def stream(llm: Llama) -> None:
    list(llm.generate_stream("hello", 5))


def append(llm: Llama) -> None:
    llm.generate("hello", 5, reset_kv_cache=False)


@pytest.mark.parametrize(("arch", "reason"), [("bert", "encoder"), ("t5", "encoder")])
@pytest.mark.parametrize("use", [generate, generate_from_tokens, stream, append])
def test_model_that_can_not_generate(
    make_tiny: MakeTiny, bystander: Llama, arch: str, reason: str, use: Callable[[Llama], None]
) -> None:
    llm = load(make_tiny(arch))
    for _ in range(2):
        with pytest.raises(ValidationError, match=reason):
            use(llm)
    tokens = llm.tokenize("hello world", add_special=False)
    assert llm.detokenize(tokens).strip() == "hello world"


def test_batch_for_a_model_that_can_not_generate(make_tiny: MakeTiny) -> None:
    llm = load(make_tiny("bert"))
    with pytest.raises(ValidationError, match=r"row 0: .*encoder"):
        llm.generate_batch(["hello"] * 3)


# -- samplers ----------------------------------------------------------------------------------------------------------

GRAMMARS = {
    "undefined rule": "root ::= nope",
    "not closed": 'root ::= ("a"',
    "no root": 'rot ::= "a"',
    "left recursion": 'root ::= root "a"',
    "nonsense": "((((",
    "bad range": "root ::= [z-",
    "huge repetition": 'root ::= "a"{1000000000}',
}


@pytest.mark.parametrize("kind", GRAMMARS)
def test_invalid_grammar(tiny_path: Path, kind: str) -> None:
    script = """
from llama_cpp import _core
disable_logging()
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # llama.cpp's parser complains there
vocab = _core.Model(LlamaConfig(path)).vocab
sampler = _core.Sampler(vocab).add_top_k(5)
for _ in range(2):
    try:
        sampler.add_grammar(sys.argv[2], "root")
    except LlamaError as error:
        print(error)
    assert sampler.names() == ["top-k"]
"""
    assert len(run_script(script, tiny_path, GRAMMARS[kind]).splitlines()) >= 2


def test_token_that_a_grammar_forbids_is_refused(tiny_path: Path, bystander: Llama) -> None:
    model = Model(LlamaConfig(tiny_path))
    sampler = Sampler(model.vocab).add_grammar('root ::= "a"', "root")
    (wrong,) = model.vocab.tokenize(b"b", False, False)[-1:]
    for _ in range(2):
        with pytest.raises(LlamaError):
            sampler.accept(wrong)


def test_failing_chain_ends_its_own_slot_alone(tiny_path: Path) -> None:
    config = LlamaConfig(tiny_path, n_ctx=256, n_seq_max=2, n_threads=1)
    model = Model(config)
    loop = DecodeLoop(Context(model, config))
    prompt = model.vocab.tokenize(b"hello", True, False)
    loop.start(0, prompt, Sampler(model.vocab).add_greedy(), max_tokens=1)
    loop.run()
    (first,) = loop.release(0)["token_ids"]
    # A lazy grammar wakes at its trigger, and then finds that this very token is none of its own.
    lazy = Sampler(model.vocab).add_grammar_lazy_patterns('root ::= "zzzz"', "root", [], [first])
    loop.start(0, prompt, lazy.add_greedy(), max_tokens=5)
    loop.start(1, prompt, Sampler(model.vocab).add_greedy(), max_tokens=5)
    while not (loop.ended(0) and loop.ended(1)):
        loop.run()
    assert loop.release(1)["finish_reason"] == "length"
    outcome = loop.release(0)
    assert outcome["finish_reason"] == "error"
    assert "grammar" in outcome["error"]
    loop.start(0, prompt, Sampler(model.vocab).add_greedy(), max_tokens=5)
    while not loop.ended(0):
        loop.run()
    assert loop.release(0)["finish_reason"] == "length"


def test_penalties_and_grammar_in_one_chain(tiny_path: Path) -> None:
    config = LlamaConfig(tiny_path, n_ctx=256, n_threads=1)
    model = Model(config)
    loop = DecodeLoop(Context(model, config))
    chain = Sampler(model.vocab).add_grammar('root ::= "a" "b" "c"', "root").add_penalties(16, 1.1, 0.0, 0.0)
    loop.start(0, model.vocab.tokenize(b"hello", True, False), chain.add_greedy(), max_tokens=5)
    while not loop.ended(0):
        loop.run()
    assert "abc".startswith(str(loop.release(0)["text"]).strip())


# -- a failed computation ----------------------------------------------------------------------------------------------


def test_full_memory_is_an_error_that_passes(tiny_path: Path) -> None:
    config = LlamaConfig(tiny_path, n_ctx=256, n_threads=1)
    model = Model(config)
    context = Context(model, config)
    batch = Batch(200)
    for pos in range(200):
        batch.add(300, pos, [0], False)
    context.decode(batch)
    batch.clear()
    for pos in range(200, 300):
        batch.add(300, pos, [0], False)
    with pytest.raises(GenerationError, match="no room in the KV cache for a batch of 100 tokens"):
        context.decode(batch)
    batch.clear()
    batch.add(300, 200, [0], True)
    context.decode(batch)


def test_positions_that_do_not_follow_are_refused_by_llama_cpp(tiny_path: Path) -> None:
    config = LlamaConfig(tiny_path, n_ctx=256, n_threads=1)
    context = Context(Model(config), config)
    batch = Batch(2)
    batch.add(300, 0, [0], True)
    context.decode(batch)
    batch.clear()
    batch.add(300, 7, [0], True)
    with pytest.raises(GenerationError, match=r"llama\.cpp: .*position"):
        context.decode(batch)
    batch.clear()
    batch.add(300, 1, [0], True)
    context.decode(batch)
