"""generate_batch and iter_batch: many rows over one set of weights."""

from __future__ import annotations

import dataclasses
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llama_cpp import (
    ClosedError,
    ContextFullError,
    GenerationResult,
    GenerationTimeoutError,
    Llama,
    LlamaError,
    LlamaGrammar,
    SamplingParams,
    ValidationError,
)
from tests.helpers import load

GREEDY = SamplingParams(temperature=0, repeat_penalty=1.0)
MakeTiny = Callable[..., Path]


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    with Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False) as instance:
        yield instance


def results(rows: list[GenerationResult | LlamaError]) -> list[GenerationResult]:
    assert all(isinstance(row, GenerationResult) for row in rows), rows
    return rows  # type: ignore[return-value]


def test_rows_equal_single_generations(llm: Llama) -> None:
    prompts = [f"row {i} says" for i in range(40)]
    batch = results(llm.generate_batch(prompts, max_tokens=12, sampling=GREEDY, share_prefix=False))
    single = [llm.generate_result(prompt, 12, GREEDY) for prompt in prompts]
    assert [row.token_ids for row in batch] == [row.token_ids for row in single]


def test_rows_come_in_the_order_of_the_prompts_whatever_their_length(llm: Llama) -> None:
    rows = [{"prompt": f"row {i}", "max_tokens": 1 + (7 * i) % 23} for i in range(50)]
    batch = results(llm.generate_batch(rows, sampling=GREEDY))
    assert [len(row.token_ids) for row in batch] == [row["max_tokens"] for row in rows]
    finished = [index for index, _ in llm.iter_batch(rows, sampling=GREEDY)]
    assert sorted(finished) == list(range(50))
    assert finished != sorted(finished)


def test_rows_have_their_own_parameters(llm: Llama) -> None:
    rows = [
        "plain",
        [5, 6, 7],
        {"prompt": "short", "max_tokens": 2},
        {"prompt": "plain", "sampling": SamplingParams(), "seed": 3},
        {"prompt": "plain", "logprobs": 2},
    ]
    plain, ids, short, sampled, scored = results(llm.generate_batch(rows, max_tokens=6, sampling=GREEDY))
    assert len(short.token_ids) == 2
    assert ids.usage.prompt_tokens == 3
    assert sampled.seed == 3
    assert sampled.token_ids == llm.generate_result("plain", 6, SamplingParams(), seed=3).token_ids
    assert scored.token_ids == plain.token_ids
    assert scored.logprobs is not None
    assert len(scored.logprobs["tokens"]) == 6
    assert plain.logprobs is None


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gemma3", "gpt-oss", "mamba", "jamba"])
def test_sharing_prefixes_does_not_change_greedy_rows(make_tiny: MakeTiny, arch: str) -> None:
    head = [7 + i % 90 for i in range(70)]
    prompts = [[*head, 300 + i, 301 + i] for i in range(20)]
    with Llama(make_tiny(arch), n_ctx=512, n_threads=1, verbose=False) as llm:
        shared = results(llm.generate_batch(prompts, max_tokens=8, sampling=GREEDY))
        alone = results(llm.generate_batch(prompts, max_tokens=8, sampling=GREEDY, share_prefix=False))
    assert [row.token_ids for row in shared] == [row.token_ids for row in alone]
    assert [row.usage.cached_tokens for row in alone] == [0] * 20
    if arch in ("mamba", "jamba"):  # a recurrent state can't be cut down to a prefix
        assert [row.usage.cached_tokens for row in shared] == [0] * 20
    else:
        assert shared[0].usage.cached_tokens == 0
        assert [row.usage.cached_tokens for row in shared[1:]] == [70] * 19


def test_prefixes_that_take_turns_are_computed_once(llm: Llama) -> None:
    heads = [[group + i % 90 for i in range(40)] for group in range(7, 15)]
    prompts = [[*head, 300 + i] for i in range(8) for head in heads]
    # More prefixes than rows that are decoded together, so that none could be found in memory a round later.
    rows = results(llm.generate_batch(prompts, max_tokens=2, sampling=GREEDY, n_parallel=4))
    assert sum(row.usage.cached_tokens == 40 for row in rows) == 8 * 7
    assert rows[9].token_ids == llm.generate_result(prompts[9], 2, GREEDY).token_ids


def test_rows_that_do_not_fit_side_by_side_take_turns(llm: Llama) -> None:
    # 16 rows of 420 tokens in a memory for 512: all but one lose their place again and again.
    rows = [{"prompt": [5 + i], "max_tokens": 420} for i in range(16)]
    crowded = Llama(llm.model_path, n_ctx=512, n_threads=1, verbose=False)
    engine = crowded._new_engine(dataclasses.replace(crowded.config, n_seq_max=16, kv_unified=True))
    assert engine.context.n_ctx == 512
    batch: list[GenerationResult | None] = [None] * 16
    requests = [crowded._request(row["prompt"], row["max_tokens"], GREEDY, None, None, {}) for row in rows]
    for index, result in engine.run_many(enumerate(requests), 32, {}):
        assert isinstance(result, GenerationResult), result
        batch[index] = result
    assert all(row is not None and len(row.token_ids) == 420 for row in batch)
    assert batch[3].token_ids[:20] == llm.generate_result([8], 20, GREEDY).token_ids  # type: ignore[union-attr]
    crowded.close()


@pytest.mark.parametrize("n_parallel", [None, 3])
def test_a_batch_goes_on_with_rows_that_are_longer_than_those_it_began_with(llm: Llama, n_parallel: int | None) -> None:
    lengths = [*[3 + i % 5 for i in range(40)], 400, *[4] * 5, 300, *[5] * 60, 500, 2]
    rows = [{"prompt": [5 + i, 9, 20 + i], "max_tokens": length} for i, length in enumerate(lengths)]
    batch = results(llm.generate_batch(rows, sampling=GREEDY, n_parallel=n_parallel))
    assert [len(row.token_ids) for row in batch] == lengths
    for index in (0, 40, 41, 46, 107):
        single = llm.generate_result(rows[index]["prompt"], 20, GREEDY)
        assert batch[index].token_ids[:20] == single.token_ids[: lengths[index]], index


def test_batches_of_fewer_tokens_than_rows(tiny_path: Path) -> None:
    with load(tiny_path, n_batch=16, n_ctx=64 * 64, n_seq_max=64) as small, load(tiny_path, n_batch=16) as llm:
        expected = llm.generate("hello", 5, GREEDY)
        assert small.generate("hello", 5, GREEDY) == expected
        rows = results(llm.generate_batch(["hello"] * 40, max_tokens=5, sampling=GREEDY, n_parallel=40))
        assert [row.text for row in rows] == [expected] * 40
        assert llm.session("hello").generate("", 5, GREEDY) == expected


def test_a_batch_in_a_context_that_is_smaller_than_the_batches_that_were_asked_for(tiny_path: Path) -> None:
    with load(tiny_path, n_ctx=1024, n_batch=512, n_ubatch=500) as llm:
        (row,) = results(llm.generate_batch(["hello"], max_tokens=5, sampling=GREEDY, n_parallel=1))
        assert row.text == llm.generate("hello", 5, GREEDY)


def test_rows_have_one_cache_or_each_its_own_by_what_they_have_in_common(llm: Llama) -> None:
    head, alone = [7 + i % 90 for i in range(100)], [8 + i % 90 for i in range(100)]
    for rows, kv_unified in [
        ([[*head, 300 + i] for i in range(20)], True),
        ([[*head[:40], 300 + i, *alone] for i in range(20)], False),
        ([[*head, 5], [*head, 6], alone], False),
        ([head], False),
    ]:
        batch = results(llm.generate_batch(rows, max_tokens=4, sampling=GREEDY))
        assert llm._batch_engine is not None
        assert llm._batch_engine.context.kv_unified == kv_unified
        assert [row.token_ids for row in batch] == [llm.generate_result(row, 4, GREEDY).token_ids for row in rows]
    results(llm.generate_batch([[*head, 5], [*head, 6]], max_tokens=4, share_prefix=False))
    assert not llm._batch_engine.context.kv_unified


@pytest.mark.parametrize(
    ("wish", "type_v", "found"), [("auto", "f16", "off"), ("on", "f16", "on"), ("auto", "q8_0", "auto")]
)
def test_rows_with_much_in_common_do_without_flash_attention_if_they_may(
    make_tiny: MakeTiny, wish: str, type_v: str, found: str
) -> None:
    path = make_tiny("llama", n_head=2, n_head_kv=2)
    head = [7 + i % 90 for i in range(100)]
    with Llama(path, n_ctx=512, n_threads=1, verbose=False, flash_attn=wish, type_v=type_v) as llm:
        rows = results(llm.generate_batch([[*head, 300 + i] for i in range(20)], max_tokens=4, sampling=GREEDY))
        assert llm._batch_engine is not None
        assert llm._batch_engine.config.flash_attn == found
        assert rows[7].token_ids == llm.generate_result([*head, 307], 4, GREEDY).token_ids
        llm.generate_batch(["one", "another"], max_tokens=2)
        assert llm._batch_engine.config.flash_attn == wish


def test_a_row_that_fails_is_named_and_leaves_the_others(llm: Llama) -> None:
    rows = [
        "good",
        {"prompt": "x", "max_toks": 3},
        [10**6],
        "word " * 3000,
        {"max_tokens": 3},
        {"prompt": "x", "max_tokens": 0},
        "a\udc80b",
        "also good",
    ]
    batch = llm.generate_batch(rows, max_tokens=4, sampling=GREEDY, on_error="return")
    good, field, token, long, missing, zero, surrogate, also = batch
    assert isinstance(good, GenerationResult)
    assert isinstance(also, GenerationResult)
    assert isinstance(long, ContextFullError)
    for index, (error, word) in enumerate(
        [(field, "max_tokens"), (token, "1000000"), (missing, "prompt"), (zero, "max_tokens"), (surrogate, "surrogate")]
    ):
        assert isinstance(error, ValidationError), index
        assert word in str(error)
    errors = [row for row in batch if isinstance(row, LlamaError)]
    assert [str(error).split(":")[0] for error in errors] == [f"row {index}" for index in range(1, 7)]
    assert good.text == llm.generate("good", 4, GREEDY)


def test_raising_keeps_what_was_done(llm: Llama) -> None:
    with pytest.raises(ValidationError, match="row 40") as caught:
        llm.generate_batch([*["good"] * 40, [10**6]], max_tokens=2, sampling=GREEDY)
    assert caught.value.results is not None
    assert set(caught.value.results) <= set(range(40))
    assert len(caught.value.results) > 0
    assert llm.generate_batch(["good"], max_tokens=2, sampling=GREEDY)


def test_the_input_is_read_lazily(llm: Llama) -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        for read in itertools.count(1):
            yield f"row {read}"

    rows = llm.iter_batch(endless(), max_tokens=2, sampling=GREEDY)
    taken = list(itertools.islice(rows, 100))
    rows.close()
    assert len({index for index, _ in taken}) == 100
    assert read < 200
    assert llm.generate("after", 2, GREEDY)


def test_many_rows_run_in_flat_memory(llm: Llama) -> None:
    import resource

    def rss() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    prompts = ([5 + i % 900] for i in range(6000))
    before = 0
    for count, (_, result) in enumerate(llm.iter_batch(prompts, max_tokens=1, sampling=GREEDY), 1):
        assert isinstance(result, GenerationResult)
        if count == 1000:
            before = rss()
    assert count == 6000
    assert rss() - before < 4096  # KiB


def test_an_early_end_frees_the_slots(llm: Llama) -> None:
    for _ in range(3):
        for _, result in llm.iter_batch(["a", "b", "c"] * 20, max_tokens=50, sampling=GREEDY):
            assert isinstance(result, GenerationResult)
            break
    assert len(results(llm.generate_batch(["a"] * 20, max_tokens=3, sampling=GREEDY))) == 20


def test_threads_share_the_batch_engine(llm: Llama) -> None:
    expected = [row.token_ids for row in results(llm.generate_batch(["a", "b", "c"], max_tokens=9, sampling=GREEDY))]
    answers: dict[int, list[list[int]]] = {}

    def work(number: int) -> None:
        rows = llm.generate_batch(["a", "b", "c"], max_tokens=9, sampling=GREEDY, share_prefix=False)
        answers[number] = [row.token_ids for row in results(rows)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == dict.fromkeys(range(6), expected)


def test_an_engine_in_use_stays_open(llm: Llama) -> None:
    prompts = ["word " * n for n in range(100, 170)]
    scored = (prompt for prompt in prompts if llm.score(prompt, [" hello"])[0].total < 0)
    assert len(results(llm.generate_batch(scored, max_tokens=4))) == 70
    rows = llm.iter_batch([[], *["hello"] * 40], max_tokens=4, on_error="return")
    assert isinstance(next(rows)[1], ValidationError)
    assert len(results(llm.generate_batch(["hello " * 20] * 3, max_tokens=400))) == 3
    assert len(results([result for _, result in rows])) == 40


def test_a_batch_that_needs_longer_sequences_is_shared_with_those_that_follow(llm: Llama) -> None:
    batches = [llm.iter_batch(["hello"] * 100, max_tokens=4)]
    next(batches[0])
    for _ in range(4):
        batches.append(llm.iter_batch(["hello"] * 100, max_tokens=400))
        next(batches[-1])
    contexts = [engine.context for engine in llm._engines]
    assert len(contexts) == 3  # the instance's own, one for short rows, and one
    assert all(len(list(rows)) == 99 for rows in batches)
    assert len(results(llm.generate_batch(["hello"], max_tokens=4))) == 1
    llm.close()
    assert all(context.closed for context in contexts)


def test_batches_beside_each_other_share_a_quarter_of_the_memory(llm: Llama, tiny_path: Path) -> None:
    from llama_cpp import engine

    config, model = llm._config, llm._model
    row, most = 512, engine._affordable_tokens(model, config)
    sizes = [engine.batch_config(model, config, row, 16, 0, n_taken) for n_taken in (0, most - 4 * row, most)]
    assert [(one.n_ctx, one.kv_unified) for one in sizes] == [(16 * row, False), (4 * row, True), (row, True)]


def test_what_a_row_says_of_its_form_is_not_the_batchs_matter(llm: Llama, make_tiny: MakeTiny) -> None:
    grammar, form = LlamaGrammar.from_choices(["yes", "no"]), {"type": "json_object"}
    messages = [{"role": "user", "content": "Hi"}]
    with Llama(make_tiny(), n_ctx=512, n_threads=1, verbose=False, chat_format="chatml") as chatml:
        rows = [{"messages": messages, "response_format": form, "max_tokens": 40}, {"messages": messages}]
        json_row, held = results(chatml.generate_batch(rows, grammar=grammar, sampling=GREEDY))
    assert json_row.text.lstrip().startswith("{")
    assert held.text in ("yes", "no")
    greedy = llm.generate_result("a", 20, GREEDY).token_ids
    (row,) = results(llm.generate_batch([{"prompt": "a", "sampling": None}], max_tokens=20, sampling=GREEDY))
    assert row.token_ids == greedy


def test_a_timeout_ends_one_row(llm: Llama) -> None:
    rows = [{"prompt": "a", "max_tokens": 400, "timeout": 0.001}, {"prompt": "b", "max_tokens": 5}]
    late, fine = llm.generate_batch(rows, sampling=GREEDY, on_error="return")
    assert isinstance(late, GenerationTimeoutError)
    assert isinstance(late, TimeoutError)
    assert isinstance(fine, GenerationResult)
    assert len(fine.token_ids) == 5


def test_a_timeout_keeps_the_partial_text(llm: Llama) -> None:
    whole = llm.generate_result("once", None, GREEDY)
    with pytest.raises(GenerationTimeoutError) as caught:
        llm.generate("once", None, GREEDY, timeout=0.01)
    assert caught.value.token_ids == whole.token_ids[: len(caught.value.token_ids)]
    assert len(caught.value.token_ids) < len(whole.token_ids)
    assert llm.generate("once", 3, GREEDY)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"prompts": "text"}, "generate"),
        ({"prompts": 5}, "prompts"),
        ({"prompts": {"prompt": "x"}}, "prompts"),
        ({"prompts": [], "on_error": "ignore"}, "on_error"),
        ({"prompts": [], "n_parallel": 0}, "n_parallel"),
        ({"prompts": [], "n_parallel": 257}, "n_parallel"),
        ({"prompts": [], "max_tokens": 0}, "max_tokens"),
        ({"prompts": [], "progress": 1}, "progress"),
        ({"prompts": [], "share_prefix": "yes"}, "share_prefix"),
        ({"prompts": [], "timeout": 0}, "timeout"),
        ({"prompts": [], "max_token": 3}, "max_tokens"),
    ],
)
def test_wrong_arguments_are_refused(llm: Llama, arguments: dict[str, object], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        llm.generate_batch(**arguments)  # type: ignore[arg-type]
    assert llm.generate_batch([], max_tokens=3) == []


def test_progress_shows_rows_and_tokens(llm: Llama, capsys: pytest.CaptureFixture[str]) -> None:
    llm.generate_batch(["a", "b", "c"], max_tokens=2, sampling=GREEDY, progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "tokens/s" in shown


def test_close_ends_a_batch(llm: Llama) -> None:
    rows = llm.iter_batch(["a"] * 40, max_tokens=300, sampling=GREEDY, on_error="return")
    next(rows)
    llm.close()
    given: list[tuple[int, GenerationResult | LlamaError]] = []
    with pytest.raises(ClosedError):
        given.extend(rows)
    assert all(isinstance(result, LlamaError) or len(result.token_ids) == 300 for _, result in given)
    with pytest.raises(ClosedError):
        llm.generate_batch(["a"])


def test_rows_of_prompts_may_name_fields_of_the_sampling(llm: Llama) -> None:
    rows = [
        {"prompt": "a", "temperature": 0.0},
        {"prompt": "a", "temp": 0.0, "sampling": SamplingParams(top_k=3)},
        {"prompt": "a", "logit_bias": {"77": 1e6}, "seed": 1},
    ]
    results = llm.generate_batch(rows, max_tokens=6)
    best, again, forced = [result.token_ids for result in results if isinstance(result, GenerationResult)]
    assert best == again == llm.generate_result("a", 6, GREEDY).token_ids
    assert forced == [77] * 6
    with pytest.raises(ValidationError, match="did you mean 'temperature'"):
        llm.generate_batch([{"prompt": "a", "temprature": 0.0}])
    with pytest.raises(ValidationError, match="row 0: top_p"):
        llm.generate_batch([{"prompt": "a", "top_p": 2.0}])


def test_progress_goes_on_where_there_is_no_stderr(llm: Llama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert len(llm.generate_batch(["a", "b"], max_tokens=2, progress=True)) == 2
    assert len(list(llm.iter_batch(["a"], max_tokens=2, progress=True))) == 1
