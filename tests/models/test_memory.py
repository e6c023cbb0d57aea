"""Editing the KV cache, and what happens when it is full."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llama_cpp import ContextFullError, GenerationResult, Llama, LlamaError, LlamaGrammar, ValidationError
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load, run_script

PROMPT = "the people of the world have been here"


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path, n_seq_max=3, n_ctx=768, kv_unified=True) as llm:
        yield llm


def test_the_end_of_a_sequence_is_removed(llm: Llama) -> None:
    ids = llm.tokenize(PROMPT)
    llm.generate(PROMPT, 20, GREEDY)
    assert llm.kv_cache_seq_rm(0, len(ids)) is True
    assert llm.kv_cache_seq_pos_max(0) == len(ids) - 1
    assert llm.kv_cache_seq_rm(0, len(ids)) is False
    result = llm.generate_result("", 20, GREEDY, reset_kv_cache=False)
    assert result.text == llm.generate(PROMPT, 20, GREEDY)
    assert llm.kv_cache_seq_rm() is True
    assert (llm.kv_cache_seq_pos_min(0), llm.kv_cache_seq_pos_max(0)) == (-1, -1)


def test_a_hole_is_closed_by_a_shift(llm: Llama) -> None:
    llm.generate(PROMPT, 20, GREEDY)
    size = llm.kv_cache_seq_pos_max(0) + 1
    llm.kv_cache_seq_rm(0, 3, 6)
    assert llm.kv_cache_seq_pos_max(0) == size - 1
    llm.kv_cache_seq_add(0, 6, -1, -3)
    assert llm.kv_cache_seq_pos_max(0) == size - 4
    with pytest.raises(LlamaError, match="generate first"):
        llm.get_state()
    result = llm.generate_result(" and", 5, GREEDY, reset_kv_cache=False)
    assert result.usage.cached_tokens == size - 3
    assert llm.get_state()


def test_positions_are_divided(llm: Llama) -> None:
    llm.generate(PROMPT, 20, GREEDY)
    size = llm.kv_cache_seq_pos_max(0) + 1
    llm.kv_cache_seq_div(0, 0, -1, 2)
    assert llm.kv_cache_seq_pos_max(0) == (size - 1) // 2
    assert len(llm.generate_result(" and", 5, GREEDY, reset_kv_cache=False).token_ids) == 5
    assert llm.generate(PROMPT, 5, GREEDY) == llm.generate(PROMPT, 5, GREEDY)


EDITS = [
    (lambda llm: llm.kv_cache_seq_rm(0, 4, 9), [0, 1, 2, 3, 9]),
    (lambda llm: llm.kv_cache_seq_rm(0, 5, 9), [0, 1, 2, 3, 4, 9]),
    (lambda llm: llm.kv_cache_seq_rm(0, 9), [0, 1, 2, 3, 4, 5, 6, 7, 8]),
    (lambda llm: llm.kv_cache_seq_rm(0, 60), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (lambda llm: llm.kv_cache_seq_rm(0, 2, 4), [0, 1, None, None, 4, 5, 6, 7, 8, 9]),
    (lambda llm: llm.kv_cache_seq_add(0, 9, -1, 5), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (lambda llm: llm.kv_cache_seq_add(0, 8, 9, 2), [0, 1, 2, 3, 4, 5, 6, 7, None, None, 8, 9]),
    (lambda llm: llm.kv_cache_seq_add(0, 0, 9, 2), [None, None, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    (lambda llm: llm.kv_cache_seq_add(0, 0, 2, 9), [None, None, 2, 3, 4, 5, 6, 7, 8, 0, 1, 9]),
    (lambda llm: llm.kv_cache_seq_div(0, 4, -1, 2), [0, 1, None, None, None, 9]),
    (lambda llm: llm.kv_cache_seq_div(0, 8, -1, 100), [*[None] * 8, 9]),
    (lambda llm: llm.kv_cache_seq_cp(0, 1, 2, 9) or llm.kv_cache_seq_cp(1, 0), [None, None, 2, 3, 4, 5, 6, 7, 8]),
    (lambda llm: llm.kv_cache_seq_cp(0, 1, 2) or llm.kv_cache_seq_cp(1, 0), [None, None, 2, 3, 4, 5, 6, 7, 8, 9]),
]


@pytest.mark.parametrize(("edit", "expected"), EDITS)
def test_the_last_token_which_is_not_in_memory_follows_what_is(
    llm: Llama, edit: Callable[[Llama], object], expected: list[int | None]
) -> None:
    llm.generate([1, *range(300, 304)], 5, GREEDY)
    assert llm._engine is not None
    tokens = llm._engine.tokens(0)
    assert (len(tokens), llm.kv_cache_seq_pos_max(0)) == (10, 8)
    edit(llm)
    assert llm._engine.tokens(0) == [-1 if index is None else tokens[index] for index in expected]
    with llm._engine.idle_loop() as loop:
        assert loop.n_past(0) == llm.kv_cache_seq_pos_max(0) + 1
        assert loop.edited(0) == (None in expected)
    assert len(llm.generate_result([300], 5, GREEDY, reset_kv_cache=False).token_ids) == 5


def test_sequences_are_copied_and_kept(llm: Llama) -> None:
    llm.generate(PROMPT, 10, GREEDY)
    size = llm.kv_cache_seq_pos_max(0) + 1
    llm.kv_cache_seq_cp(0, 1)
    llm.kv_cache_seq_cp(0, 2, 0, 4)
    assert [llm.kv_cache_seq_pos_max(index) for index in range(3)] == [size - 1, size - 1, 3]
    with pytest.raises(LlamaError, match="shares cells"):
        llm.kv_cache_seq_add(0, 4, -1, 1)
    with pytest.raises(LlamaError, match="has 4 positions already"):
        llm.kv_cache_seq_cp(0, 2, 2, 6)
    expected = llm.generate(" so", 10, GREEDY, reset_kv_cache=False)
    llm.kv_cache_seq_keep(1)
    assert [llm.kv_cache_seq_pos_max(index) for index in range(3)] == [-1, size - 1, -1]
    assert llm.generate(" so", 10, GREEDY, reset_kv_cache=False) == expected


def test_copies_between_streams_are_whole(tiny_path: Path) -> None:
    with load(tiny_path, n_seq_max=2, n_ctx=512) as llm:
        llm.generate(PROMPT, 10, GREEDY)
        with pytest.raises(LlamaError, match="kv_unified=True"):
            llm.kv_cache_seq_cp(0, 1, 0, 4)
        llm.kv_cache_seq_cp(0, 1)
        expected = llm.generate(" so", 10, GREEDY, reset_kv_cache=False)
        llm.kv_cache_seq_keep(1)
        assert llm.generate(" so", 10, GREEDY, reset_kv_cache=False) == expected


@pytest.mark.parametrize("arch", ["mamba", "jamba"])
def test_recurrent_states_are_kept_or_dropped_as_a_whole(make_tiny: MakeTiny, arch: str) -> None:
    with load(make_tiny(arch), n_seq_max=2, n_ctx=512) as llm:
        llm.generate(PROMPT, 10, GREEDY)
        for edit in (
            lambda: llm.kv_cache_seq_rm(0, 4),
            lambda: llm.kv_cache_seq_cp(0, 1, 0, 4),
            lambda: llm.kv_cache_seq_add(0, 0, -1, 1),
            lambda: llm.kv_cache_seq_div(0, 0, -1, 2),
        ):
            with pytest.raises(LlamaError, match=r"recurrent|can't shift"):
                edit()
        llm.kv_cache_seq_cp(0, 1)
        expected = llm.generate(" so", 10, GREEDY, reset_kv_cache=False)
        llm.kv_cache_seq_keep(1)
        assert llm.generate(" so", 10, GREEDY, reset_kv_cache=False) == expected


def test_a_window_does_not_go_back(make_tiny: MakeTiny) -> None:
    with load(make_tiny("gemma3"), swa_full=False, n_batch=32, n_ctx=1024) as llm:
        llm.generate("word " * 400, 20, GREEDY)
        with pytest.raises(LlamaError, match="sliding window has moved on"):
            llm.kv_cache_seq_rm(0, 20)


def test_ranges_and_ids_are_checked(llm: Llama) -> None:
    llm.generate(PROMPT, 10, GREEDY)
    for call in (
        lambda: llm.kv_cache_seq_rm(3),
        lambda: llm.kv_cache_seq_rm(-2),
        lambda: llm.kv_cache_seq_rm(0, -5),
        lambda: llm.kv_cache_seq_rm(0, 5, 2),
        lambda: llm.kv_cache_seq_rm(0, 2**40),
        lambda: llm.kv_cache_seq_cp(0, 3),
        lambda: llm.kv_cache_seq_keep(-1),
        lambda: llm.kv_cache_seq_add(0, 0, -1, -1),
        lambda: llm.kv_cache_seq_add(0, 4, 6, 2),
        lambda: llm.kv_cache_seq_add(0, 0, -1, 760),
        lambda: llm.kv_cache_seq_div(0, 0, -1, 0),
        lambda: llm.kv_cache_seq_div(0, 0, 2, 2),
        lambda: llm.kv_cache_seq_pos_max(7),
        lambda: llm.kv_cache_seq_rm("0"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValidationError):
            call()
    assert llm.generate(PROMPT, 3, GREEDY)


def test_an_edited_sequence_is_not_computed_again_by_mistake(llm: Llama) -> None:
    llm.generate(PROMPT, 10, GREEDY)
    llm.kv_cache_seq_div(0, 0, -1, 2)
    with pytest.raises(LlamaError, match="was edited"):
        llm.set_control_vector([[0.0] * 64])
    llm.reset()
    llm.set_control_vector([[0.0] * 64])


@pytest.mark.parametrize("arch", ["llama", "gemma3", "mamba", "jamba"])
@pytest.mark.parametrize("draft_tokens", [0, 8])
def test_nothing_stays_in_memory_of_what_is_behind_a_stop(make_tiny: MakeTiny, arch: str, draft_tokens: int) -> None:
    with load(make_tiny(arch), n_seq_max=2, n_ctx=512) as llm:
        stop = llm.generate(PROMPT, 20, GREEDY)[6:20]
        options = {"stop": [stop], "draft_tokens": draft_tokens}
        llm.generate(PROMPT, 20, GREEDY, **options)
        assert llm._engine is not None
        with llm._engine.idle_loop() as loop:
            assert loop.seq_pos_max(0) == loop.n_past(0) - 1
            n_held = len(loop.tokens(0))
        llm.set_state(llm.get_state())
        llm.kv_cache_seq_cp(0, 1)
        assert llm.kv_cache_seq_pos_max(1) == llm.kv_cache_seq_pos_max(0)
        session = llm.session(PROMPT)
        session.generate("", 20, GREEDY, **options)
        assert len(session) == n_held
        snapshot = session.snapshot()
        expected = session.generate(" and", 5, GREEDY)
        assert session.rewind(snapshot).generate(" and", 5, GREEDY) == expected


@pytest.mark.parametrize("arch", ["llama", "gemma3"])
def test_a_full_context_is_shifted(make_tiny: MakeTiny, arch: str) -> None:
    with load(make_tiny(arch), n_ctx=64) as llm:
        result = llm.generate_result(PROMPT, 300, GREEDY, overflow="shift", n_keep=4)
        assert len(result.token_ids) == 300
        assert result.finish_reason == "length"
        n_prompt = result.usage.prompt_tokens
        assert n_prompt + 300 - 64 <= result.usage.shifted_tokens <= n_prompt + 300
        head = llm.generate_result(PROMPT, 64 - n_prompt, GREEDY)
        assert result.token_ids[: 64 - n_prompt] == head.token_ids
        stop = re.findall(r"[a-z]{4,} [a-z]{4,}", result.text)[-1]
        stopped = llm.generate_result(PROMPT, 300, GREEDY, overflow="shift", n_keep=4, stop=stop)
        assert stopped.text == result.text[: result.text.index(stop)]


def test_what_was_paused_goes_on_when_what_it_made_room_for_is_closed(tiny_path: Path) -> None:
    with load(tiny_path, n_seq_max=2, kv_unified=True) as llm:
        n_tokens = 257 - len(llm.tokenize(PROMPT))
        first, second = (llm.generate_stream(PROMPT, None, GREEDY) for _ in range(2))
        assert llm._engine is not None
        while not llm._engine._loop.paused():
            next(first)
        first.close()
        assert len(second.result().token_ids) == n_tokens


@pytest.mark.parametrize("n_keep", [0, 100])
def test_tokens_that_a_constraint_forces_are_shifted_out_too(tiny_path: Path, n_keep: int) -> None:
    with load(tiny_path) as llm:
        forced = "x q7" * 250
        schema = {"type": "object", "properties": {"a": {"const": forced}, "b": {"type": "string"}}}
        grammar = LlamaGrammar.from_json_schema({**schema, "required": ["a", "b"], "additionalProperties": False})
        options = {"grammar": grammar, "overflow": "shift", "n_keep": n_keep}
        result = llm.generate_result("hello world", 1060, GREEDY, **options)
        assert forced in result.text
        assert result.finish_reason == "length"
        assert llm._engine is not None
        with llm._engine.idle_loop() as loop:
            assert loop.n_past(0) == loop.seq_pos_max(0) + 1
            assert n_keep < len(loop.tokens(0)) <= 257


def test_rows_of_a_batch_are_shifted_for_themselves(tiny_path: Path) -> None:
    with load(tiny_path, n_ctx=64) as llm:
        alone = [llm.generate(f"{index} {PROMPT}", 150, GREEDY, overflow="shift") for index in range(4)]
        rows = [
            {"prompt": f"{index} {PROMPT}", "overflow": "shift" if index < 4 else "error", "max_tokens": 150}
            for index in range(8)
        ]
        results = llm.generate_batch(rows, sampling=GREEDY)
        assert [row.text for row in results[:4] if isinstance(row, GenerationResult)] == alone
        assert all(len(row.token_ids) < 64 for row in results[4:] if isinstance(row, GenerationResult))


def test_a_long_prompt_is_truncated(tiny_path: Path) -> None:
    with load(tiny_path, n_ctx=64) as llm:
        ids = [1, *range(300, 400)]
        with pytest.raises(ContextFullError):
            llm.generate(ids, 10)
        result = llm.generate_result(ids, 10, GREEDY, overflow="truncate", n_keep=5)
        kept = ids[:5] + ids[len(ids) - 49 :]
        assert result.usage.truncated_tokens == len(ids) - len(kept)
        assert result.text == llm.generate(kept, 10, GREEDY)
        assert llm.generate_result(ids[:20], 10, overflow="truncate").usage.truncated_tokens == 0
        llm.generate(ids[:50], 5, GREEDY)
        result = llm.generate_result(ids[50:], 10, GREEDY, overflow="truncate", reset_kv_cache=False)
        assert result.usage.truncated_tokens > 0
        for options in ({"overflow": "wrap"}, {"overflow": "shift", "n_keep": 32}, {"n_keep": -1}):
            with pytest.raises(ValidationError, match=r"overflow|n_keep"):
                llm.generate(ids, 10, **options)


def test_an_edited_sequence_is_not_truncated(tiny_path: Path) -> None:
    with load(tiny_path, n_ctx=64) as llm:
        llm.generate([1, *range(300, 320)], 5, GREEDY)
        llm.kv_cache_seq_rm(0, 3, 6)
        with pytest.raises(LlamaError, match="sequence 0 was edited"):
            llm.generate([*range(300, 350)], 5, overflow="truncate", n_keep=10, reset_kv_cache=False)
        assert llm.generate(PROMPT, 5, GREEDY)


def test_a_memory_that_cannot_shift_says_so(make_tiny: MakeTiny) -> None:
    with load(make_tiny("mamba")) as llm, pytest.raises(ValidationError, match="can't shift"):
        llm.generate(PROMPT, 5, overflow="shift")


@pytest.mark.parametrize("delta", [2**31 - 1, 2**31 - 2, 2**30, -(2**31) + 1, 256, -1])
@pytest.mark.parametrize("ends", [(0, -1), (0, 2**31 - 1), (2, 4), (5, 6)])
def test_positions_that_fit_no_context_are_refused(tiny_path: Path, delta: int, ends: tuple[int, int]) -> None:
    llm = load(tiny_path)
    expected = llm.generate("hello", 8, sampling=GREEDY)
    held = llm.n_tokens
    with pytest.raises(ValidationError, match=r"would leave the range|is taken"):
        llm.kv_cache_seq_add(0, *ends, delta)
    assert (llm.kv_cache_seq_pos_min(), llm.n_tokens) == (0, held)
    assert llm.generate("hello", 8, sampling=GREEDY) == expected


HUGE = (-(2**31), 2**31, 2**63, -(2**63), 2**100)


@pytest.mark.parametrize("number", HUGE)
def test_numbers_that_are_no_position_are_refused(tiny_path: Path, number: int) -> None:
    llm = load(tiny_path, n_ctx=512, n_seq_max=2, kv_unified=True)
    expected = llm.generate("hello", 8, sampling=GREEDY)
    session = llm.session("hello world")
    calls: list[Callable[[], object]] = [
        lambda: llm.kv_cache_seq_rm(0, number, -1),
        lambda: llm.kv_cache_seq_rm(0, 0, number),
        lambda: llm.kv_cache_seq_rm(number),
        lambda: llm.kv_cache_seq_cp(0, number),
        lambda: llm.kv_cache_seq_cp(number, 1),
        lambda: llm.kv_cache_seq_cp(0, 1, number, -1),
        lambda: llm.kv_cache_seq_cp(0, 1, 0, number),
        lambda: llm.kv_cache_seq_keep(number),
        lambda: llm.kv_cache_seq_add(number, 0, -1, 1),
        lambda: llm.kv_cache_seq_add(0, number, -1, 1),
        lambda: llm.kv_cache_seq_add(0, 0, number, 1),
        lambda: llm.kv_cache_seq_add(0, 0, -1, number),
        lambda: llm.kv_cache_seq_div(number, 0, -1, 2),
        lambda: llm.kv_cache_seq_div(0, number, -1, 2),
        lambda: llm.kv_cache_seq_div(0, 0, number, 2),
        lambda: llm.kv_cache_seq_div(0, 0, -1, number),
        lambda: llm.kv_cache_seq_pos_min(number),
        lambda: llm.kv_cache_seq_pos_max(number),
        lambda: llm.get_state(number),
        lambda: llm.set_state(llm.get_state(0), number),
        lambda: setattr(llm, "n_tokens", number),
        lambda: session.rewind(number),
    ]
    for call in calls:
        with pytest.raises(ValidationError, match="must be between"):
            call()
    assert llm.generate("hello", 8, sampling=GREEDY) == expected


def test_guesses_stop_at_positions_that_were_edited(tiny_path: Path) -> None:
    llm = load(tiny_path)
    llm.eval([1, 300, 301, 302, 303, 300, 301])
    llm.kv_cache_seq_add(0, 3, -1, 4)  # what followed 300, 301 is a gap now
    result = llm.generate_result([300, 301], 4, sampling=GREEDY, reset_kv_cache=False, draft_tokens=4)
    assert len(result.token_ids) == 4


def test_keys_that_cannot_be_rotated_are_not_shifted(tiny_path: Path) -> None:
    script = """
llm = load(path, n_ctx=64, n_threads=2, type_k="bf16")
def shift():
    llm.kv_cache_seq_add(0, 3, -1, 1)
    llm.generate("a", 3, GREEDY, reset_kv_cache=False)
for call in (shift, lambda: llm.kv_cache_seq_div(0, 0, -1, 2), lambda: llm.generate("a", 99, overflow="shift")):
    llm.generate("hello world", 5, GREEDY)
    try:
        call()
    except LlamaError as error:
        print("bf16" in str(error))
"""
    assert run_script(script, tiny_path).split() == ["True"] * 3
