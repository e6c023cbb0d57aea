"""Many threads, many streams, many slots over one context: every answer is that of a lone request."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from llama_cpp import CancelledError, Llama, LlamaConfig, LlamaError
from llama_cpp import llama_cpp as lowlevel
from llama_cpp._core import Context, DecodeLoop, Model, Sampler
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, SLOW, load, run_script

T = TypeVar("T")

WORDS = ("hello", "water", "people", "number", "first", "about", "other", "their")
PROMPTS = [f"{word} world of the {word}" for word in WORDS]

# Requests that share a batch are computed with other roundings than a lone one. With these settings that changes logits
# by less than 0.0001, which no choice of a token in these tests is that close to.
EXACT = {"flash_attn": "off", "type_k": "f32", "type_v": "f32"}


def in_threads(work: Callable[[int], T], count: int) -> list[T]:
    """Call work(0), work(1), ... in as many threads at once; return what they return, raise what they raise."""
    results: list[Any] = [None] * count
    together = threading.Barrier(count)

    def run(index: int) -> None:
        together.wait()
        try:
            results[index] = work(index)
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def answers(llm: Llama, n: int = 40) -> list[str]:
    """Return the greedy answers to all PROMPTS, one after the other."""
    return [llm.generate_result(prompt, n, sampling=GREEDY).text for prompt in PROMPTS]


# -- threads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_seq_max", [1, 2, 4])
def test_threads_get_the_answers_of_a_serial_run(tiny_path: Path, n_seq_max: int) -> None:
    with load(tiny_path, **EXACT) as llm:
        expected = answers(llm)
    with load(tiny_path, n_ctx=256 * n_seq_max, n_seq_max=n_seq_max, **EXACT) as llm:
        for _ in range(5):
            got = in_threads(lambda i: llm.generate(PROMPTS[i], 40, sampling=GREEDY), len(PROMPTS))
            assert got == expected
        assert answers(llm) == expected


@pytest.mark.parametrize("n_seq_max", [1, 3])
def test_threads_stream_at_the_same_time(tiny_path: Path, n_seq_max: int) -> None:
    with load(tiny_path, **EXACT) as llm:
        expected = answers(llm)
    with load(tiny_path, n_ctx=256 * n_seq_max, n_seq_max=n_seq_max, **EXACT) as llm:
        for _ in range(3):
            got = in_threads(lambda i: "".join(llm.generate_stream(PROMPTS[i], 40, sampling=GREEDY)), len(PROMPTS))
            assert got == expected


def test_one_stream_is_read_by_several_threads(tiny_path: Path) -> None:
    llm = load(tiny_path)
    expected = llm.generate("hello", 100, sampling=GREEDY)
    stream = llm.generate_stream("hello", 100, sampling=GREEDY)
    pieces: list[str] = []
    turn = threading.Lock()

    def read(_: int) -> None:
        while True:
            with turn:
                try:
                    pieces.append(next(stream))
                except StopIteration:
                    return

    in_threads(read, 4)
    assert "".join(pieces) == expected


def test_one_stream_is_read_by_several_threads_at_once(tiny_path: Path) -> None:
    llm = load(tiny_path)
    expected = llm.generate_result("hello", 100, sampling=GREEDY)
    for _ in range(10):
        stream = llm.generate_stream("hello", 100, sampling=GREEDY)
        pieces = in_threads(lambda i, stream=stream: list(stream), 4)
        assert sum(len(piece) for part in pieces for piece in part) == len(expected.text)
        assert stream.result().token_ids == expected.token_ids


def test_threads_that_do_everything_at_once(tiny_path: Path) -> None:
    script = """
PROMPTS = [f"{word} world of the {word}" for word in "hello water people number first about other their".split()]
llm = load(path, n_ctx=1024, n_seq_max=2, flash_attn="off", type_k="f32", type_v="f32")
expected = [llm.generate(prompt, 40, sampling=GREEDY) for prompt in PROMPTS]
end = time.monotonic() + 3
failures = []

def generate(random, i):
    assert llm.generate(PROMPTS[i], 40, sampling=GREEDY) == expected[i]

def stream(random, i):
    assert "".join(llm.generate_stream(PROMPTS[i], 40, sampling=GREEDY)) == expected[i]

def abandon(random, i):
    stream = llm.generate_stream(PROMPTS[i], 400, sampling=GREEDY)
    for _ in range(random.randrange(3)):
        next(stream)
    if random.random() < 0.5:
        stream.close()

def leave(random, i):
    for piece in llm.generate(PROMPTS[i], 400, sampling=GREEDY, stream=True):
        if random.random() < 0.3:
            break

def look(random, i):
    llm.tokenize(PROMPTS[i]); llm.perf(); llm.metadata; repr(llm); llm.n_tokens(PROMPTS[i])

def forget(random, i):
    try:
        llm.kv_cache_clear()
    except LlamaError as error:
        assert "running" in str(error), error

def reset_perf(random, i):
    llm.perf_reset()

def time_out(random, i):
    try:
        llm.generate(PROMPTS[i], 400, timeout=0.001)
    except GenerationTimeoutError:
        pass

def collect(random, i):
    gc.collect()

def work(seed):
    mine = random.Random(seed)
    while time.monotonic() < end and not failures:
        try:
            mine.choice(JOBS)(mine, mine.randrange(len(PROMPTS)))
        except BaseException as error:
            failures.append(error)

JOBS = [generate, stream, abandon, leave, look, forget, reset_perf, time_out, collect]
threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    raise failures[0]
assert [llm.generate(prompt, 40, sampling=GREEDY) for prompt in PROMPTS] == expected
"""
    run_script(script, tiny_path)


# -- streams on one thread ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_seq_max", [1, 2])
def test_half_read_streams_take_turns(tiny_path: Path, n_seq_max: int) -> None:
    with load(tiny_path, **EXACT) as llm:
        expected = answers(llm)[:3]
    llm = load(tiny_path, n_ctx=256 * n_seq_max, n_seq_max=n_seq_max, **EXACT)
    streams = [llm.generate_stream(prompt, 40, sampling=GREEDY) for prompt in PROMPTS[:3]]
    texts = ["", "", ""]
    order = random.Random(0)
    unfinished = [0, 1, 2]
    while unfinished:
        i = order.choice(unfinished)
        piece = next(streams[i], None)
        if piece is None:
            unfinished.remove(i)
        else:
            texts[i] += piece
    assert texts == expected


@pytest.mark.parametrize("n_seq_max", [1, 2])
def test_half_read_stream_waits_while_another_request_runs(tiny_path: Path, n_seq_max: int) -> None:
    with load(tiny_path, **EXACT) as llm:
        expected = answers(llm)
    llm = load(tiny_path, n_ctx=256 * n_seq_max, n_seq_max=n_seq_max, **EXACT)
    first = llm.generate_stream(PROMPTS[0], 40, sampling=GREEDY)
    begun = next(first)
    assert llm.generate(PROMPTS[1], 40, sampling=GREEDY) == expected[1]
    second = llm.generate_stream(PROMPTS[2], 40, sampling=GREEDY)
    assert "".join(second) == expected[2]
    assert begun + "".join(first) == expected[0]


def drop(stream: Any) -> None:
    """Let go of a stream; the caller holds no reference either."""


def close(stream: Any) -> None:
    stream.close()


def leave_loop(stream: Any) -> None:
    for _ in stream:
        break


def leave_with_error(stream: Any) -> None:
    with contextlib.suppress(ZeroDivisionError):
        for _ in stream:
            raise ZeroDivisionError


def read_one_and_close(stream: Any) -> None:
    next(stream)
    stream.close()


def close_twice(stream: Any) -> None:
    next(stream)
    stream.close()
    stream.close()


@pytest.mark.parametrize("how", ["generate_stream", "generate"])
@pytest.mark.parametrize("leave", [drop, close, leave_loop, leave_with_error, read_one_and_close, close_twice])
def test_abandoned_stream_frees_its_slot(tiny_path: Path, leave: Callable[[Any], None], how: str) -> None:
    llm = load(tiny_path)
    expected = llm.generate("hello", 10, sampling=GREEDY)
    llm.perf_reset()
    arguments = {"stream": True} if how == "generate" else {}
    leave(getattr(llm, how)("water", 200, sampling=GREEDY, **arguments))
    assert llm.generate("hello", 10, sampling=GREEDY) == expected
    assert llm.perf()["n_eval"] < 20, "the abandoned stream was generated to its end"


def test_closed_stream_says_how_far_it_came(tiny_path: Path) -> None:
    llm = load(tiny_path)
    expected = llm.generate_result("hello", 50, sampling=GREEDY)
    stream = llm.generate_stream("hello", 50, sampling=GREEDY)
    first = next(stream)
    stream.close()
    assert list(stream) == []
    with pytest.raises(CancelledError) as caught:
        stream.result()
    n = len(caught.value.token_ids)
    assert 1 <= n < 50
    assert caught.value.token_ids == expected.token_ids[:n]
    assert caught.value.text.startswith(first)


def test_stream_closed_by_another_thread_ends(make_tiny: MakeTiny) -> None:
    llm = load(make_tiny(**SLOW), n_ctx=4096)
    stream = llm.generate_stream([300] * 4000, sampling=GREEDY)
    closer = threading.Timer(0.3, stream.close)  # computing the prompt takes more than a second
    closer.start()
    assert list(stream) == []
    closer.join()
    with pytest.raises(CancelledError) as caught:
        stream.result()
    assert caught.value.token_ids == []


def test_queued_stream_may_be_abandoned(tiny_path: Path) -> None:
    llm = load(tiny_path)
    expected = llm.generate("hello", 50, sampling=GREEDY)
    first = llm.generate_stream("hello", 50, sampling=GREEDY)
    begun = next(first)
    llm.perf_reset()
    llm.generate_stream("water", 200).close()
    drop(llm.generate_stream("water", 200))
    assert begun + "".join(first) == expected
    assert llm.generate("hello", 50, sampling=GREEDY) == expected
    assert llm.perf()["n_eval"] <= 100


def test_first_come_first_served(tiny_path: Path) -> None:
    llm = load(tiny_path)
    streams = [llm.generate_stream("hello", 5, sampling=GREEDY) for _ in range(4)]
    list(streams[2])
    assert [stream.done for stream in streams] == [True, True, True, False]


# -- slots of a loop ---------------------------------------------------------------------------------------------------

ARCHITECTURES = ["llama", "qwen3", "gemma3", "gpt-oss", "mamba", "jamba"]


class Loop:
    """A DecodeLoop over a model, with greedy slots."""

    def __init__(self, path: Path, movable: bool = False, **config: Any) -> None:
        self.config = LlamaConfig(path, **{"n_ctx": 1024, "n_threads": 1, **EXACT, **config})
        self.model = Model(self.config)
        self.context = Context(self.model, self.config)
        self.loop = DecodeLoop(self.context, movable=movable)

    def start(self, slot: int, tokens: list[int], n: int = 20, **arguments: Any) -> int:
        """Begin a generation; return how many tokens of the prompt were in memory already."""
        return self.loop.start(slot, tokens, Sampler(self.model.vocab).add_greedy(), max_tokens=n, **arguments)

    def finish(self, *slots: int) -> list[list[int]]:
        """Run until all these slots have ended; return their tokens."""
        while not all(self.loop.ended(slot) for slot in slots):
            self.loop.run()
        outcomes = [self.loop.release(slot) for slot in slots]
        assert [outcome["error"] for outcome in outcomes] == [""] * len(slots)
        return [list(outcome["token_ids"]) for outcome in outcomes]

    def generate(self, tokens: list[int], n: int = 20, **arguments: Any) -> list[int]:
        """Generate in slot 0."""
        self.start(0, tokens, n, **arguments)
        return self.finish(0)[0]


def prompt(seed: int, n: int) -> list[int]:
    """Return random printing tokens."""
    return random.Random(seed).choices(range(300, 1900), k=n)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("kv_unified", [False, True])
def test_slots_do_not_see_each_other(make_tiny: MakeTiny, arch: str, kv_unified: bool) -> None:
    path = make_tiny(arch)
    prompts = [prompt(seed, 5 + 17 * seed) for seed in range(4)]
    alone = [Loop(path).generate(tokens) for tokens in prompts]
    many = Loop(path, n_seq_max=4, kv_unified=kv_unified, n_batch=64)
    for _ in range(2):
        for slot, tokens in enumerate(prompts):
            many.start(slot, tokens)
        assert many.finish(0, 1, 2, 3) == alone


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_slots_begin_and_end_while_others_run(make_tiny: MakeTiny, arch: str) -> None:
    path = make_tiny(arch)
    prompts = [prompt(seed, 3 + 7 * seed) for seed in range(9)]
    alone = [Loop(path).generate(tokens, 4 + seed) for seed, tokens in enumerate(prompts)]
    many = Loop(path, n_seq_max=3)
    waiting = list(range(9))
    running: dict[int, int] = {}
    got: dict[int, list[int]] = {}
    while waiting or running:
        for slot in range(3):
            if slot not in running and waiting:
                running[slot] = waiting.pop(0)
                many.start(slot, prompts[running[slot]], 4 + running[slot])
        many.loop.run()
        for slot in [slot for slot in running if many.loop.ended(slot)]:
            got[running.pop(slot)] = many.finish(slot)[0]
    assert [got[seed] for seed in range(9)] == alone


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gemma3", "gpt-oss"])
def test_sequences_move_together_when_those_between_them_end(make_tiny: MakeTiny, arch: str) -> None:
    path = make_tiny(arch)
    prompts = [prompt(seed, 5 + 7 * seed) for seed in range(6)]
    lengths = [4, 50, 4, 60, 4, 40]
    alone = [Loop(path).generate(tokens, n) for tokens, n in zip(prompts, lengths, strict=True)]
    many = Loop(path, movable=True, n_seq_max=6, n_ctx=6 * 256)
    for slot, (tokens, n) in enumerate(zip(prompts, lengths, strict=True)):
        many.start(slot, tokens, n)
    got = dict(zip((0, 2, 4), many.finish(0, 2, 4), strict=True))
    many.loop.run(1)
    memory = lowlevel.llama_get_memory(many.context)
    ends = [lowlevel.llama_memory_seq_pos_max(memory, seq_id) for seq_id in range(6)]
    assert ends[5] == -1  # slot 5's is now the third one, between those of slots 1 and 3
    assert ends[1:4] == [many.loop.n_past(1) - 1, many.loop.n_past(5) - 1, many.loop.n_past(3) - 1]
    got |= zip((1, 3, 5), many.finish(1, 3, 5), strict=True)
    assert [got[slot] for slot in range(6)] == alone
    for slot in range(6):  # what is in memory still belongs to the slots that say so
        many.start(slot, prompts[slot], lengths[slot], reuse=True)
    assert many.finish(*range(6)) == alone


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("n_batch", [1, 7, 512])
def test_prompt_may_be_computed_in_chunks(make_tiny: MakeTiny, arch: str, n_batch: int) -> None:
    path = make_tiny(arch)
    assert Loop(path, n_batch=n_batch).generate(prompt(1, 100)) == Loop(path).generate(prompt(1, 100))


@pytest.mark.parametrize("swa_full", [True, False])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_continuation_is_that_of_the_whole_text(make_tiny: MakeTiny, arch: str, swa_full: bool) -> None:
    path = make_tiny(arch)
    loop = Loop(path, swa_full=swa_full, n_batch=64)
    text = prompt(2, 50)
    for round in range(4):
        held = len(loop.loop.tokens(0))
        cached = loop.start(0, text, reuse=True)
        # All that was computed is kept; the last token generated was not.
        assert cached == max(0, held - 1)
        got = loop.finish(0)[0]
        assert got == Loop(path, swa_full=swa_full).generate(text)
        text = text + got + prompt(10 + round, 30)


@pytest.mark.parametrize("swa_full", [True, False])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_changed_text_keeps_the_common_prefix(make_tiny: MakeTiny, arch: str, swa_full: bool) -> None:
    path = make_tiny(arch)
    loop = Loop(path, swa_full=swa_full, n_batch=64)
    first = prompt(3, 120)
    loop.generate(first)
    for changed_at, common in ((80, 80), (80, 80), (119, 80), (5, 5), (0, 0)):
        second = first[:changed_at] + prompt(100 + changed_at, 40)
        cached = loop.start(0, second, reuse=True)
        whole = common if second[:common] == loop.loop.tokens(0)[:common] else 0
        assert cached <= whole or changed_at == common
        if arch in ("llama", "qwen3") or (arch in ("gemma3", "gpt-oss") and swa_full):
            assert cached >= min(changed_at, common) or cached == len(second) - 1
        assert loop.finish(0)[0] == Loop(path, swa_full=swa_full).generate(second)


def test_same_prompt_again_computes_one_token(tiny_path: Path) -> None:
    loop = Loop(tiny_path)
    tokens = prompt(4, 50)
    expected = loop.generate(tokens)
    assert loop.start(0, tokens, reuse=True) == 49
    assert loop.finish(0)[0] == expected
    assert loop.start(0, tokens, reuse=False) == 0
    assert loop.finish(0)[0] == expected


@pytest.mark.parametrize("swa_full", [True, False])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_answers_are_right_after_a_cancelled_prompt(make_tiny: MakeTiny, arch: str, swa_full: bool) -> None:
    path = make_tiny(arch, n_layer=4, n_ctx_train=8192)
    config = {"n_ctx": 4096, "swa_full": swa_full, "n_batch": 512, "n_ubatch": 128}
    expected = [Loop(path, **config).generate(tokens) for tokens in (prompt(5, 100), prompt(6, 300))]
    loop = Loop(path, **config, n_seq_max=1)
    long = prompt(5, 100) + prompt(7, 2500)
    cancelled = 0
    for round in range(6):
        loop.start(0, long, reuse=round % 2 == 1)
        timer = threading.Timer(0.005 + 0.01 * round, loop.loop.cancel, [0])
        timer.start()
        while not loop.loop.ended(0):
            loop.loop.run()
        timer.join()
        outcome = loop.loop.release(0)
        cancelled += outcome["finish_reason"] == "cancelled" and not outcome["token_ids"]
        assert loop.generate(prompt(5, 100), reuse=True) == expected[0]
        assert loop.generate(prompt(6, 300), reuse=round % 3 == 0) == expected[1]
    assert cancelled


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_cancelled_slot_leaves_the_others_alone(make_tiny: MakeTiny, arch: str) -> None:
    path = make_tiny(arch, n_layer=4, n_ctx_train=8192)
    tokens = prompt(8, 40)
    alone = Loop(path, n_ctx=8192)
    alone.start(0, tokens, 60, n_top=2, score_from=1)
    while not alone.loop.ended(0):
        alone.loop.run()
    expected = alone.loop.release(0)

    loop = Loop(path, n_ctx=8192, n_seq_max=2, n_batch=512)
    for round in range(3):
        loop.start(0, tokens, 60, n_top=2, score_from=1)
        rounds = 0
        while not loop.loop.ended(0):
            loop.start(1, prompt(9 + rounds, 1000))
            timer = threading.Timer(0.002 * (1 + round), loop.loop.cancel, [1])
            timer.start()
            while not (loop.loop.ended(0) or loop.loop.ended(1)):
                loop.loop.run()
            timer.join()
            loop.loop.release(1)
            rounds += 1
        outcome = loop.loop.release(0)
        assert outcome["token_ids"] == expected["token_ids"]
        assert outcome["logprobs"] == pytest.approx(expected["logprobs"], abs=1e-4)
        assert len(outcome["top_ids"]) == len(expected["top_ids"])
        assert rounds > 1


@pytest.mark.parametrize("swa_full", [True, False])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_appended_prompts_of_a_llama(make_tiny: MakeTiny, arch: str, swa_full: bool) -> None:
    path = make_tiny(arch)
    llm = load(path, n_ctx=512, swa_full=swa_full, **EXACT)
    fresh = load(path, n_ctx=512, swa_full=swa_full, **EXACT)
    text = llm.tokenize("hello world")
    new = text
    for round in range(4):
        result = llm.generate_result(new, 15, sampling=GREEDY, reset_kv_cache=False)
        assert result.token_ids == fresh.generate_result(text, 15, sampling=GREEDY).token_ids
        assert result.usage.prompt_tokens == len(text)
        assert result.usage.cached_tokens == max(0, len(text) - len(new) - 1)
        new = prompt(20 + round, 25)
        text = text + result.token_ids + new


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_appending_after_a_cancelled_prompt(make_tiny: MakeTiny, arch: str) -> None:
    llm = load(make_tiny(arch, n_layer=4, n_ctx_train=8192), n_ctx=4096)
    expected = llm.generate("hello", 20, sampling=GREEDY)
    for round in range(4):
        stream = llm.generate_stream(prompt(30 + round, 3000))
        timer = threading.Timer(0.01 + 0.01 * round, stream.close)
        timer.start()
        for _ in stream:
            stream.close()
        timer.join()
        assert llm.generate("hello", 20, sampling=GREEDY) == expected
        with pytest.raises(LlamaError):
            stream.result()
