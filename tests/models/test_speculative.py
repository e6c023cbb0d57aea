"""draft_tokens: guesses that cost nothing in correctness; generate_n: one prompt, several answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llama_cpp import (
    ClosedError,
    GenerationError,
    GenerationResult,
    Llama,
    LlamaConfig,
    SamplingParams,
    ValidationError,
)
from llama_cpp._core import Context, DecodeLoop, Model

GREEDY = SamplingParams(temperature=0, repeat_penalty=1.0)
REPEATING = [1, *([40, 41, 42, 43, 44, 45, 46, 47] * 12)]
MakeTiny = Callable[..., Path]


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    with Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False) as instance:
        yield instance


def chant(words: int) -> SamplingParams:
    """Only a few tokens are allowed, so that texts repeat themselves and guesses are often right."""
    return SamplingParams(temperature=0, repeat_penalty=1.0, logit_bias=dict.fromkeys(range(40, 40 + words), 1000.0))


def assert_same_but_for_near_ties(scored: GenerationResult, other: GenerationResult) -> None:
    """Batches of another shape differ in the last bits: texts may part where two tokens are as good as equal."""
    assert scored.logprobs is not None
    assert len(scored.token_ids) == len(other.token_ids)
    for one, another, top in zip(scored.token_ids, other.token_ids, scored.logprobs["top_logprobs"], strict=True):
        if one != another:
            assert top is not None
            best, second = sorted(top.values(), reverse=True)[:2]
            assert best - second < 0.01
            return


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gemma3", "gpt-oss", "mamba", "jamba"])
@pytest.mark.parametrize("words", [2, 5, 30])
def test_greedy_answers_are_the_same(make_tiny: MakeTiny, arch: str, words: int) -> None:
    with Llama(make_tiny(arch), n_ctx=512, n_threads=1, verbose=False) as llm:
        plain = llm.generate_result(REPEATING, 150, chant(words))
        drafted = llm.generate_result(REPEATING, 150, chant(words), draft_tokens=8)
        assert drafted.token_ids == plain.token_ids
        assert plain.usage.drafted_tokens == 0
        assert 0 <= drafted.usage.accepted_tokens <= drafted.usage.drafted_tokens
        if arch in ("mamba", "jamba"):
            assert drafted.usage.drafted_tokens == 0
        elif words == 2:
            assert drafted.usage.accepted_tokens > 10


def test_sampled_answers_are_the_same(llm: Llama) -> None:
    for seed in range(5):
        params = SamplingParams(temperature=1.5, logit_bias=dict.fromkeys(range(40, 44), 1000.0))
        plain = llm.generate_result(REPEATING, 100, params, seed=seed)
        drafted = llm.generate_result(REPEATING, 100, params, seed=seed, draft_tokens=5)
        assert drafted.token_ids == plain.token_ids
        assert drafted.usage.drafted_tokens > 0


def test_right_guesses_save_steps(llm: Llama) -> None:
    llm.perf_reset()
    drafted = llm.generate_result(REPEATING, 100, chant(1), draft_tokens=16)
    assert drafted.token_ids == [40] * 100
    assert llm.perf()["n_eval"] < 20


def test_limits_and_stops_hold_inside_a_draft(llm: Llama) -> None:
    for max_tokens in range(1, 30):
        assert len(llm.generate_result(REPEATING, max_tokens, chant(1), draft_tokens=16).token_ids) == max_tokens
    piece = llm.token_to_piece(40)
    plain = llm.generate_result(REPEATING, 60, chant(3), stop=[piece * 2])
    drafted = llm.generate_result(REPEATING, 60, chant(3), stop=[piece * 2], draft_tokens=16)
    assert (drafted.text, drafted.finish_reason) == (plain.text, plain.finish_reason)
    full = llm.generate_result(REPEATING, None, chant(1), draft_tokens=16)
    assert full.finish_reason == "length"
    assert len(full.token_ids) == 512 + 1 - len(REPEATING)


def test_what_follows_a_draft_starts_from_the_right_memory(llm: Llama) -> None:
    texts = []
    for draft in (0, 7):
        first = llm.generate_result(REPEATING, 41, chant(3), draft_tokens=draft)
        then = llm.generate_result([50, 51], 20, GREEDY, reset_kv_cache=False)
        texts.append((first.token_ids, then.token_ids, then.usage.prompt_tokens))
    assert texts[0] == texts[1]


def test_batches_draft_too(llm: Llama) -> None:
    rows = [[*REPEATING, 48 + i] for i in range(20)]
    plain = llm.generate_batch(rows, max_tokens=50, sampling=chant(2))
    drafted = llm.generate_batch(rows, max_tokens=50, sampling=chant(2), draft_tokens=8)
    for one, other in zip(plain, drafted, strict=True):
        assert isinstance(one, GenerationResult)
        assert isinstance(other, GenerationResult)
        assert one.token_ids == other.token_ids
    assert sum(row.usage.accepted_tokens for row in drafted if isinstance(row, GenerationResult)) > 0


def test_log_probabilities_are_reported_for_each_token(llm: Llama) -> None:
    plain = llm.generate_result(REPEATING, 40, chant(2), logprobs=1)
    drafted = llm.generate_result(REPEATING, 40, chant(2), logprobs=1, draft_tokens=8)
    assert plain.logprobs is not None
    assert drafted.logprobs is not None
    assert drafted.logprobs["tokens"] == plain.logprobs["tokens"]
    assert drafted.logprobs["token_logprobs"] == pytest.approx(plain.logprobs["token_logprobs"], abs=0.05)


@pytest.fixture
def other_path(make_tiny: MakeTiny) -> Path:
    """A model that agrees with the default tiny one about nothing but the vocabulary."""
    return make_tiny("llama", seed=5, n_layer=1)


def test_a_draft_model_that_is_always_right_saves_steps(tiny_path: Path, llm: Llama) -> None:
    plain = llm.generate_result([1, 5, 6], 60, GREEDY)
    with Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False, draft_model=tiny_path) as drafting:
        drafted = drafting.generate_result([1, 5, 6], 60, GREEDY)
        assert drafted.token_ids == plain.token_ids
        assert drafted.usage.accepted_tokens > 45  # all but near-ties
        assert drafting.perf()["n_eval"] < 10
        assert drafting.generate_result([1, 5, 6], 60, GREEDY, draft_tokens=0).usage.drafted_tokens == 0


@pytest.mark.parametrize("arch", ["llama", "mamba"])
def test_a_draft_model_that_is_wrong_changes_nothing(
    make_tiny: MakeTiny, tiny_path: Path, arch: str, llm: Llama
) -> None:
    other = make_tiny(arch, seed=5, n_layer=1)
    with Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False, draft_model=other) as drafting:
        for _ in range(2):
            for prompt in ([1, 5, 6], REPEATING):
                drafted = drafting.generate_result(prompt, 60, GREEDY)
                assert drafted.token_ids == llm.generate_result(prompt, 60, GREEDY).token_ids
                assert drafted.usage.drafted_tokens > 60
        follow = drafting.generate_result([50], 20, GREEDY, reset_kv_cache=False)
        llm.generate_result(REPEATING, 60, GREEDY)
        assert follow.token_ids == llm.generate_result([50], 20, GREEDY, reset_kv_cache=False).token_ids


def test_batches_ask_the_draft_model(tiny_path: Path, other_path: Path, llm: Llama) -> None:
    rows = [[1, 5 + i] for i in range(20)]
    plain = llm.generate_batch(rows, max_tokens=20, sampling=GREEDY, logprobs=2)
    with Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False, draft_model=other_path) as drafting:
        drafted = drafting.generate_batch(rows, max_tokens=20, sampling=GREEDY)
    for one, other in zip(plain, drafted, strict=True):
        assert isinstance(one, GenerationResult)
        assert isinstance(other, GenerationResult)
        assert_same_but_for_near_ties(one, other)
        assert other.usage.drafted_tokens > 0


def test_a_closed_draft_model_fails_what_needs_it(tiny_path: Path, other_path: Path, llm: Llama) -> None:
    draft = Llama(other_path, n_ctx=512, n_threads=1, verbose=False)
    with Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False, draft_model=draft) as drafting:
        assert drafting.generate("a", 9, GREEDY) == llm.generate("a", 9, GREEDY)
        stream = drafting.generate_stream("a", 400, GREEDY)
        next(stream)
        draft.close()
        with pytest.raises(GenerationError, match="draft model is closed") as caught:
            list(stream)
        assert caught.value.text
        with pytest.raises(GenerationError, match="draft model is closed"):
            drafting.generate("a", 9, GREEDY)
        assert drafting.generate("a", 9, GREEDY, draft_tokens=0) == llm.generate("a", 9, GREEDY)
    with pytest.raises(ClosedError):
        Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False, draft_model=draft)


def test_closing_leaves_a_draft_model_that_is_not_ours(tiny_path: Path, other_path: Path) -> None:
    with Llama(other_path, n_ctx=512, n_threads=1, verbose=False) as draft:
        Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False, draft_model=draft).close()
        assert draft.generate("a", 3)


def test_a_draft_model_for_another_vocabulary_is_refused(make_tiny: MakeTiny, tiny_path: Path) -> None:
    llm = Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False, draft_model=make_tiny("llama", n_vocab=1500))
    with pytest.raises(ValidationError, match="1500"):
        llm.generate("a", 3)
    llm.close()


def test_a_draft_model_for_shorter_sequences_is_refused(tiny_path: Path) -> None:
    long, short = (LlamaConfig(tiny_path, n_ctx=n_ctx, n_threads=1) for n_ctx in (256, 128))
    model = Model(long)
    with pytest.raises(ValidationError, match="at most 128 tokens, and not 256"):
        DecodeLoop(Context(model, long), Context(model, short))


def test_n_answers_share_the_prompt(llm: Llama) -> None:
    prompt = [1, *range(5, 105)]
    answers = llm.generate_n(prompt, 8, max_tokens=10, seed=7)
    assert [answer.usage.cached_tokens for answer in answers[1:]] == [100] * 7
    assert [answer.seed for answer in answers] == list(range(7, 15))
    assert len({tuple(answer.token_ids) for answer in answers}) > 1


def test_best_of_returns_the_likeliest(llm: Llama) -> None:
    prompt = [1, *range(5, 40)]
    best = llm.generate_n(prompt, 2, best_of=8, max_tokens=10, seed=7)
    every = llm.generate_batch([{"prompt": prompt, "seed": 7 + i} for i in range(8)], max_tokens=10, logprobs=0)
    means = sorted(
        (sum(row.logprobs["token_logprobs"]) / len(row.token_ids), row.token_ids)  # type: ignore[union-attr,index,arg-type]
        for row in every
    )
    assert [answer.token_ids for answer in best] == [means[-1][1], means[-2][1]]


def test_wrong_arguments_are_refused(llm: Llama) -> None:
    for draft in (-1, 65, 1.5, True):
        with pytest.raises(ValidationError, match="draft_tokens"):
            llm.generate("a", draft_tokens=draft)  # type: ignore[arg-type]
    for arguments in ({"n": 0}, {"n": 3, "best_of": 2}, {"n": 1, "best": 3}):
        with pytest.raises(ValidationError, match=r"n|best_of"):
            llm.generate_n("a", **arguments)  # type: ignore[arg-type]
