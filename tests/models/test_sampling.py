"""Samplers: each field of SamplingParams shapes the choice as its paper says, compared with NumPy."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import math
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_cpp import GenerationError, Llama, LlamaConfig, LlamaError, SamplingParams, _core
from llama_cpp.config import recommended_sampling
from llama_cpp.engine import Engine, Request
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load

N_CTX = 256
N_DRAWS = 3000
PROMPT = [1, 5, 6]
PLAIN: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "repeat_penalty": 1.0}

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Row:
    """The logits that follow a prompt, from which tokens can be drawn any number of times."""

    def __init__(self, path: Path) -> None:
        config = LlamaConfig(path, n_ctx=N_CTX, n_threads=1)
        self.model = _core.Model(config)
        self.context = _core.Context(self.model, config)
        batch = _core.Batch(len(PROMPT))
        for position, token in enumerate(PROMPT):
            batch.add(token, position, [0], position == len(PROMPT) - 1)
        self.context.decode(batch)
        self.logits: Floats = np.array(self.context.logits(-1), dtype=np.float64)
        self.by_rank = np.argsort(-self.logits)

    def chain(self, seed: int = 0, history: tuple[int, ...] = (), **fields: Any) -> _core.Sampler:
        sampler = _core.Sampler.from_params(self.model.vocab, SamplingParams(**{**PLAIN, **fields}), seed, N_CTX)
        for token in history:
            sampler.accept(token)
        return sampler

    def draw(self, n: int = N_DRAWS, history: tuple[int, ...] = (), **fields: Any) -> Counter[int]:
        """Draw one token with each of n seeds."""
        return Counter(self.chain(seed, history, **fields).sample(self.context, -1) for seed in range(n))


@pytest.fixture(scope="module")
def row(tiny_path: Path) -> Iterator[Row]:
    made = Row(tiny_path)
    yield made
    made.model.close()


@pytest.fixture(scope="module")
def llm(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path, n_ctx=512, n_threads=1) as instance:
        yield instance


def softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def agrees(drawn: Counter[int], probabilities: Floats) -> None:
    """Check by a chi-square test that tokens were drawn with these probabilities; the seeds are fixed, so is it."""
    n = sum(drawn.values())
    assert not [token for token in drawn if probabilities[token] == 0.0]
    likely = np.flatnonzero(n * probabilities >= 5)
    observed = np.array([drawn[int(token)] for token in likely] + [0.0])
    expected = np.append(n * probabilities[likely], 0.0)
    observed[-1], expected[-1] = n - observed.sum(), max(n - expected.sum(), 1e-9)
    freedom = len(likely) - 1 + (expected[-1] > 1)
    statistic = float(((observed - expected) ** 2 / np.maximum(expected, 1))[: freedom + 1].sum())
    assert statistic < freedom + 4 * math.sqrt(2 * freedom) + 4, (statistic, freedom)


def keep(logits: Floats, tokens: Any) -> Floats:
    """Ban all tokens but these."""
    cut = np.full_like(logits, -np.inf)
    cut[tokens] = logits[tokens]
    return cut


# -- the distribution --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_tokens_are_drawn_by_their_probability(row: Row, temperature: float) -> None:
    agrees(row.draw(temperature=temperature), softmax(row.logits / temperature))


def test_the_chi_square_test_can_fail(row: Row) -> None:
    with pytest.raises(AssertionError):
        agrees(row.draw(temperature=0.9), softmax(row.logits))


def test_temperature_0_and_top_k_1_are_greedy(row: Row, llm: Llama) -> None:
    best = int(row.by_rank[0])
    for fields in ({"temperature": 0.0}, {"temperature": 5.0, "top_k": 1}, {"temperature": 1e-300}, {"min_p": 1.0}):
        assert row.draw(50, **fields) == {best: 50}
    greedy = llm.generate("a", 40, GREEDY)
    assert llm.generate("a", 40, SamplingParams(**{**PLAIN, "temperature": 2.0, "top_k": 1}), seed=3) == greedy


@pytest.mark.parametrize("k", [2, 5, 40])
def test_top_k(row: Row, k: int) -> None:
    agrees(row.draw(top_k=k), softmax(keep(row.logits, row.by_rank[:k])))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("min_keep", [1, 7])
def test_top_p(row: Row, p: float, min_keep: int) -> None:
    cumulative = np.cumsum(softmax(row.logits)[row.by_rank])
    n_kept = max(int(np.searchsorted(cumulative, p)) + 1, min_keep)
    agrees(row.draw(top_p=p, min_keep=min_keep), softmax(keep(row.logits, row.by_rank[:n_kept])))


@pytest.mark.parametrize("p", [0.05, 0.3])
def test_min_p(row: Row, p: float) -> None:
    kept = row.logits >= row.logits.max() + math.log(p)
    assert 1 < kept.sum() < 200
    agrees(row.draw(min_p=p), softmax(keep(row.logits, kept)))
    drawn = row.draw(500, min_p=1.0, min_keep=4)
    assert set(drawn) == {*row.by_rank[:4].tolist()}


@pytest.mark.parametrize("p", [0.2, 0.8])
def test_typical_p(row: Row, p: float) -> None:
    probabilities = softmax(row.logits)
    surprise = -np.log(probabilities)
    order = np.argsort(np.abs(surprise - (probabilities * surprise).sum()), kind="stable")
    n_kept = int(np.searchsorted(np.cumsum(probabilities[order]), p, side="right")) + 1
    agrees(row.draw(typical_p=p), softmax(keep(row.logits, order[:n_kept])))


@pytest.mark.parametrize("n", [0.5, 1.5])
def test_top_n_sigma(row: Row, n: float) -> None:
    kept = row.logits >= row.logits.max() - n * row.logits.std()
    assert kept.sum() > 1
    agrees(row.draw(top_n_sigma=n), softmax(keep(row.logits, kept)))


def test_xtc(row: Row) -> None:
    probabilities = softmax(row.logits)
    above = np.flatnonzero(probabilities > 0.05)
    assert len(above) > 1
    excluded = row.by_rank[: len(above) - 1]
    cut = row.logits.copy()
    cut[excluded] = -np.inf
    agrees(row.draw(xtc_probability=1.0, xtc_threshold=0.05), softmax(cut))
    agrees(row.draw(xtc_probability=1.0, xtc_threshold=0.51), probabilities)
    half = row.draw(xtc_probability=0.5, xtc_threshold=0.05)
    share = sum(half[int(token)] for token in excluded) / N_DRAWS
    assert share == pytest.approx(probabilities[excluded].sum() / 2, abs=0.05)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 3.0])
def test_dynamic_temperature(row: Row, exponent: float) -> None:
    probabilities = softmax(row.logits)
    entropy = -(probabilities * np.log(probabilities)).sum() / math.log(len(probabilities))
    temperature = 0.3 + (1.7 - 0.3) * entropy**exponent
    drawn = row.draw(temperature=1.0, dynatemp_range=0.7, dynatemp_exponent=exponent)
    agrees(drawn, softmax(row.logits / temperature))


def test_logit_bias(row: Row, llm: Llama) -> None:
    first, second, third = row.by_rank[:3].tolist()
    biased = row.logits.copy()
    biased[[first, second, third]] = -np.inf, biased[second] + 1.5, biased[third] - 2.0
    agrees(row.draw(logit_bias={first: -math.inf, second: 1.5, third: -2.0}), softmax(biased))
    forced = llm.generate_result("a", 10, SamplingParams(logit_bias={77: 100.0}, repeat_penalty=1.0), seed=1)
    assert forced.token_ids == [77] * 10
    greedy = SamplingParams(temperature=0, repeat_penalty=1.0, logit_bias={77: 1000.0, 78: 900.0})
    assert llm.generate_result("a", 3, greedy).token_ids == [77] * 3
    plain = llm.generate_result("a", 20, GREEDY).token_ids
    ban = dict.fromkeys(plain, -math.inf)
    banned = llm.generate_result("a", 20, SamplingParams(temperature=0, repeat_penalty=1.0, logit_bias=ban))
    assert not set(banned.token_ids) & set(plain)


def test_a_token_is_chosen_or_the_reason_told(row: Row, llm: Llama) -> None:
    """Tokens that are banned, or drawn from numbers that are none, are no choice."""
    ban = dict.fromkeys(range(llm.n_vocab()), -math.inf)
    all_but_one = {token: bias for token, bias in ban.items() if token != 77}
    endings: list[dict[str, Any]] = [
        {},
        {"temperature": 0.0},
        {"top_k": 1},
        {"mirostat": 1},
        {"mirostat": 2},
        {"adaptive_p_target": 0.5},
    ]
    for fields in endings:
        result = llm.generate_result("a", 3, SamplingParams(**{**PLAIN, **fields}, logit_bias=all_but_one))
        assert result.token_ids == [77] * 3
        with pytest.raises(GenerationError, match="no token could be chosen: every token is banned") as caught:
            llm.generate("a", 3, SamplingParams(**{**PLAIN, **fields}, logit_bias=ban))
        assert caught.value.token_ids == []
        with pytest.raises(LlamaError, match="every token is banned"):
            row.chain(**fields, logit_bias=ban).sample(row.context, -1)

    def ban_all(_: Any, logits: Floats) -> None:
        logits[:] = -np.inf

    for sampling in (GREEDY, SamplingParams()):
        with pytest.raises(GenerationError, match="every token is banned"):
            llm.generate("a", 3, sampling, logits_processor=ban_all)
    with pytest.raises(LlamaError, match="overflowed"):
        _core.Sampler(row.model.vocab).add_temp(1e-39).add_dist(1).sample(row.context, -1)


@pytest.mark.parametrize("temperature", [1e-6, 1e-7, 1e-21, 1e-38, 1e-39, 1e-300])
def test_a_temperature_near_0_is_greedy(row: Row, temperature: float) -> None:
    best = int(row.by_rank[0])
    assert row.draw(20, temperature=temperature) == {best: 20}
    assert row.draw(20, temperature=temperature, samplers=["temperature", "top_k", "top_p"], top_k=200) == {best: 20}


@pytest.mark.parametrize("fields", [{}, {"top_k": 200}, {"top_p": 0.9}, {"typical_p": 0.5}, {"temperature": 0.0}])
def test_a_bias_of_any_size_forces_a_token(row: Row, fields: dict[str, Any]) -> None:
    assert row.draw(20, logit_bias={77: 3e38}, **fields) == {77: 20}


def test_penalties(row: Row) -> None:
    first, second, third = row.by_rank[:3].tolist()
    history = (first, first, second, 9)
    changed = row.logits.copy()
    changed[first] = changed[first] / 1.3 - 2 * 0.5 - 0.25
    changed[second] = changed[second] / 1.3 - 0.5 - 0.25
    changed[9] = (changed[9] / 1.3 if changed[9] > 0 else changed[9] * 1.3) - 0.5 - 0.25
    fields = {"repeat_penalty": 1.3, "frequency_penalty": 0.5, "presence_penalty": 0.25}
    agrees(row.draw(history=history, **fields), softmax(changed))
    # Only the last tokens count.
    recent = row.logits.copy()
    recent[third] = recent[third] / 1.5
    history = (first, second, third)
    agrees(row.draw(history=history, repeat_penalty=1.5, repeat_last_n=1), softmax(recent))
    agrees(row.draw(history=history, repeat_penalty=1.5, repeat_last_n=0), softmax(row.logits))


def test_penalties_count_the_prompt_where_they_are_told_to(llm: Llama) -> None:
    prompt = [1, *range(40, 60)]
    ours = SamplingParams(temperature=0, repeat_penalty=1.0, presence_penalty=1000.0)
    strong = dataclasses.replace(ours, penalize_prompt=True)
    plain = llm.generate_result(prompt, 1, GREEDY).token_ids[0]
    punished = llm.generate_result([*prompt[:1], plain, *prompt[1:]], 40, strong).token_ids
    assert len({plain, *prompt, *punished}) == 40 + 22  # nothing is said twice
    free = llm.generate_result([*prompt[:1], plain, *prompt[1:]], 40, ours).token_ids
    assert len(set(free)) == 40
    assert free[0] == llm.generate_result([*prompt[:1], plain, *prompt[1:]], 1, GREEDY).token_ids[0]
    window = SamplingParams(temperature=0, repeat_penalty=1.0, presence_penalty=1000.0, repeat_last_n=3)
    bounded = llm.generate_result(prompt, 60, window).token_ids
    assert all(len({*bounded[i : i + 4]}) == 4 for i in range(57))


def test_dry_punishes_what_would_repeat(row: Row) -> None:
    loop = (40, 41, 42, 43)
    history = (*loop, *loop, *loop[:3])  # 43 would make seven tokens be repeated
    boost = {43: float(row.logits.max() - row.logits[43]) + 5.0}
    fields: dict[str, Any] = {"logit_bias": boost, "temperature": 0.0}
    assert set(row.draw(1, history, **fields)) == {43}
    strong = {"dry_multiplier": 1.0, "dry_base": 1.75, "dry_allowed_length": 2}
    assert set(row.draw(1, history, **fields, **strong)) == {int(row.by_rank[0])}
    for harmless in (
        {"dry_multiplier": 0.01, "dry_base": 1.01},
        {"dry_multiplier": 1.0, "dry_allowed_length": 20},
        {"dry_multiplier": 1.0, "dry_penalty_last_n": 0},
        {"dry_multiplier": 1.0, "dry_penalty_last_n": 3},
        {"dry_multiplier": 1.0, "dry_sequence_breakers": [row.model.vocab.piece(42, False).decode()]},
    ):
        assert set(row.draw(1, history, **fields, **harmless)) == {43}
    penalty = 0.5 * 1.5 ** (7 - 2)
    changed = row.logits.copy()
    changed[43] = changed.max() + 1.0
    boost = {43: float(changed[43] - row.logits[43])}
    changed[43] -= penalty
    drawn = row.draw(history=history, logit_bias=boost, dry_multiplier=0.5, dry_base=1.5)
    agrees(drawn, softmax(changed))


def test_dry_breaks_a_loop(llm: Llama) -> None:
    few = dict.fromkeys(range(40, 44), 1000.0)
    looping = SamplingParams(temperature=0, repeat_penalty=1.0, logit_bias=few)
    dry = SamplingParams(temperature=0, repeat_penalty=1.0, logit_bias=few, dry_multiplier=3.0)
    runs = [llm.generate_result([1, 40], 120, sampling).token_ids for sampling in (looping, dry)]
    repeated = [Counter(zip(*(tokens[i:] for i in range(6)), strict=False)).most_common(1)[0][1] for tokens in runs]
    assert repeated[0] > 3 * repeated[1]


# -- samplers that aim at something ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_aims_at_a_surprise(llm: Llama, version: int) -> None:
    surprise = []
    for tau in (0.0, 2.0, 3.5, 5.0):
        sampling = SamplingParams(temperature=1.0, repeat_penalty=1.0, mirostat=version, mirostat_tau=tau)
        result = llm.generate_result("a", 300, sampling, seed=5, logprobs=0)
        assert result.logprobs is not None
        surprise.append(-float(np.mean(result.logprobs["token_logprobs"][100:])) / math.log(2))  # type: ignore[arg-type]
    assert all(following > value + 0.4 for value, following in itertools.pairwise(surprise))
    assert surprise[3] == pytest.approx(5.0, abs=1.0)
    certain = SamplingParams(temperature=1.0, repeat_penalty=1.0, mirostat=version, mirostat_tau=0.0)
    assert llm.generate("a", 30, certain, seed=5) == llm.generate("a", 30, GREEDY)


def test_mirostat_learns_at_its_rate(llm: Llama) -> None:
    texts = {
        llm.generate("a", 60, SamplingParams(mirostat=2, mirostat_tau=3.0, mirostat_eta=eta), seed=1)
        for eta in (0.0, 0.1, 1.0)
    }
    assert len(texts) == 3


def test_adaptive_p_stays_near_its_target(llm: Llama) -> None:
    means = []
    for target in (0.02, 0.3, 0.9):
        sampling = SamplingParams(**{**PLAIN, "adaptive_p_target": target})
        result = llm.generate_result("a", 300, sampling, seed=2, logprobs=0)
        assert result.logprobs is not None
        means.append(float(np.exp(np.array(result.logprobs["token_logprobs"], dtype=np.float64)).mean()))
    assert means == sorted(means)
    assert means[2] > means[0] + 0.1
    decays = {
        llm.generate("a", 60, SamplingParams(**{**PLAIN, "adaptive_p_target": 0.3, "adaptive_p_decay": decay}), seed=2)
        for decay in (0.0, 0.5, 0.99)
    }
    assert len(decays) > 1


RANDOM = [
    {},
    {"mirostat": 1},
    {"mirostat": 2},
    {"adaptive_p_target": 0.3},
    {"xtc_probability": 0.5, "xtc_threshold": 0.02},
    {"dynatemp_range": 0.5},
]


@pytest.mark.parametrize("fields", RANDOM, ids=lambda fields: next(iter(fields), "plain"))
def test_a_seed_repeats_the_text_and_another_does_not(llm: Llama, fields: dict[str, Any]) -> None:
    sampling = SamplingParams(temperature=1.2, **fields)
    texts = [llm.generate("a", 30, sampling, seed=seed) for seed in range(6)]
    assert texts == [llm.generate("a", 30, sampling, seed=seed) for seed in range(6)]
    assert len(set(texts)) == 6
    assert texts[4] == "".join(llm.generate_stream("a", 30, sampling, seed=4))


def test_where_the_seed_comes_from(tiny_path: Path) -> None:
    with load(tiny_path, n_threads=1, seed=7) as llm:
        texts = [llm.generate("a", 20, seed=7)]
        assert llm.generate("a", 20) == texts[0] != llm.generate("a", 20)
        assert llm.generate("a", 20, SamplingParams(seed=8)) == llm.generate("a", 20, seed=8) != texts[0]
        assert llm.generate("a", 20, SamplingParams(seed=8), seed=7) == texts[0]
        drawn = [llm.generate_result("a", 1, SamplingParams(seed=-1), seed=-1).seed for _ in range(3)]
        assert len({7, *drawn}) == 4
        llm.set_seed(7)
        assert llm.generate_result("a", 1, SamplingParams(seed=-1), seed=-1).seed == 7
        assert llm.generate_result("a", 1, seed=0).seed == 0
    with load(tiny_path, n_threads=1, sampling=GREEDY) as llm:
        assert llm.generate("a", 20) == llm.generate("a", 20, GREEDY) != llm.generate("a", 20, SamplingParams())


# -- the chain ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["penalties", "top-k", "top-p", "temp", "dist"]),
        ({"temperature": 0.0}, ["greedy"]),
        ({"temperature": 0.0, "repeat_penalty": 1.1}, ["penalties", "greedy"]),
        ({"temperature": 0.0, "frequency_penalty": 0.5}, ["penalties", "greedy"]),
        ({"temperature": 0.0, "repeat_penalty": 1.0}, ["greedy"]),
        ({**PLAIN}, ["dist"]),
        ({"logit_bias": {5: 1.0}, "temperature": 0.0}, ["logit-bias", "greedy"]),
        ({"mirostat": 1}, ["penalties", "temp", "mirostat"]),
        ({"mirostat": 2, "top_p": 0.5}, ["penalties", "temp", "mirostat-v2"]),
        ({"adaptive_p_target": 0.5}, ["penalties", "top-k", "top-p", "temp", "adaptive-p"]),
        ({"dynatemp_range": 0.5}, ["penalties", "top-k", "top-p", "temp-ext", "dist"]),
        (
            {
                "dry_multiplier": 1.0, "top_n_sigma": 1.0, "typical_p": 0.9, "min_p": 0.1, "xtc_probability": 0.5,
            },
            ["penalties", "dry", "top-n-sigma", "top-k", "typical", "top-p", "min-p", "xtc", "temp", "dist"],
        ),
        ({"samplers": ("temperature", "top_p", "top_k")}, ["temp", "top-p", "top-k", "dist"]),
        ({"samplers": ("infill",)}, ["infill", "dist"]),
        ({"samplers": ()}, ["dist"]),
        ({"samplers": (), "temperature": 0.0}, ["greedy"]),
    ],
)  # fmt: skip
def test_the_order_of_the_samplers(row: Row, fields: dict[str, Any], names: list[str]) -> None:
    sampler = _core.Sampler.from_params(row.model.vocab, SamplingParams(**fields), 0, N_CTX)
    assert [name.removeprefix("?") for name in sampler.names()] == names


def test_the_order_matters(row: Row) -> None:
    """A high temperature before top_p flattens the distribution, so that more tokens are left."""
    fields = {"temperature": 3.0, "top_p": 0.5}
    before = row.draw(**fields, samplers=("temperature", "top_p"))
    after = row.draw(**fields, samplers=("top_p", "temperature"))
    assert len(before) > 2 * len(after)


def test_infill_ends_where_nothing_else_is_likely(llm: Llama) -> None:
    result = llm.generate_result("a", 50, SamplingParams(samplers=("infill",)), seed=1)
    assert all(0 <= token < 2000 for token in result.token_ids)
    assert result.token_ids != llm.generate_result("a", 50, SamplingParams(samplers=()), seed=1).token_ids


def test_every_sampler_of_the_header_can_be_added(vendored: Path) -> None:
    header = (vendored / "include" / "llama.h").read_text()
    header = re.sub(r"DEPRECATED\(.*?;", "", header, flags=re.S)
    known = set(re.findall(r"\bllama_sampler_init_(\w+)\s*\(", header))
    added = {name.removeprefix("add_") for name in dir(_core.Sampler) if name.startswith("add_")}
    assert added == known | {"custom"}


def test_chains_can_be_made_by_hand(row: Row) -> None:
    vocab, context = row.model.vocab, row.context
    best = int(row.by_rank[0])
    chain = _core.Sampler(vocab).add_top_k(3).add_temp(2.0).add_dist(1)
    assert chain.names() == ["top-k", "temp", "dist"]
    drawn = {chain.sample(context, -1) for _ in range(50)}
    assert drawn == {*row.by_rank[:3].tolist()}
    yes_or_no = _core.Sampler(vocab).add_grammar('root ::= "yes" | "no"', "root").add_greedy()
    text = b""
    while not vocab.is_eog(token := yes_or_no.sample(context, -1)):
        text += vocab.piece(token, False)
    assert text.strip() in (b"yes", b"no")
    lazy = _core.Sampler(vocab).add_grammar_lazy_patterns('root ::= "yes"', "root", ["(never said)"], []).add_greedy()
    assert lazy.sample(context, -1) == best
    unfinished = _core.Sampler(vocab).add_top_k(3)
    with pytest.raises(LlamaError, match="chose no token"):
        unfinished.sample(context, -1)
    for grammar, root in (("root ::= (", "root"), ('root ::= "a"', "other")):
        with pytest.raises(LlamaError):
            _core.Sampler(vocab).add_grammar(grammar, root)
    with pytest.raises(LlamaError):
        _core.Sampler(vocab).add_grammar_lazy_patterns('root ::= "a"', "root", ["(unclosed"], [])


def test_reset_starts_the_random_numbers_again(row: Row) -> None:
    chain = row.chain(seed=3)
    first = [chain.sample(row.context, -1) for _ in range(20)]
    second = [chain.sample(row.context, -1) for _ in range(20)]
    chain.reset()
    assert [chain.sample(row.context, -1) for _ in range(20)] == first != second


def test_draws_of_one_chain_follow_the_probabilities(row: Row) -> None:
    chain = row.chain(seed=11)
    drawn = Counter(chain.sample(row.context, -1) for _ in range(N_DRAWS))
    agrees(drawn, softmax(row.logits))


def test_the_second_token_is_drawn_given_the_first(llm: Llama) -> None:
    few = dict.fromkeys(range(40, 43), 1000.0)
    sampling = SamplingParams(**{**PLAIN, "logit_bias": few})
    pairs = Counter(tuple(llm.generate_result(PROMPT, 2, sampling, seed=seed).token_ids) for seed in range(1000))
    for first in few:
        scores = llm.score([*PROMPT, first], [[second] for second in few])
        chances = softmax(np.array([score.total for score in scores]))
        n = sum(pairs[first, second] for second in few)
        for second, chance in zip(few, chances, strict=True):
            assert abs(pairs[first, second] - n * chance) < 4.5 * math.sqrt(n * chance) + 2


def test_the_models_own_recommendation_is_the_default(make_tiny: MakeTiny, caplog: pytest.LogCaptureFixture) -> None:
    prefix = "general.sampling."
    path = make_tiny(
        metadata={
            prefix + "temp": 1.5,
            prefix + "top_k": 7,
            prefix + "top_p": 7.0,
            prefix + "penalty_repeat": 1.25,
            prefix + "sequence": "penalties;Top-K;temp",
        }
    )
    expected = SamplingParams(
        temperature=1.5, top_k=7, repeat_penalty=1.25, samplers=["penalties", "top_k", "temperature"]
    )
    with caplog.at_level("INFO", "llama_cpp"), load(path, verbose=True) as llm:
        assert llm.sampling == expected
        text = llm.generate("hello", 20, seed=1)
        assert text == llm.generate("hello", 20, sampling=expected, seed=1)
        assert text != llm.generate("hello", 20, sampling=SamplingParams(), seed=1)
        assert llm.create_completion("hello", max_tokens=20, seed=1)["choices"][0]["text"] == text  # type: ignore[index]
        llm.sampling.temperature = 0.0
        assert llm.sampling == expected
    ours = [record.getMessage() for record in caplog.records if "sampling" in record.getMessage()]
    assert [line for line in ours if "can't be used: top_p must be between 0 and 1" in line]
    (shown,) = [line for line in ours if line.startswith("sampling that the model recommends")]
    assert "'temperature': 1.5" in shown
    with load(path, kv_overrides={prefix + "temp": 0.25}) as llm:
        assert llm.sampling.temperature == 0.25
    with Llama(path, sampling=GREEDY, n_ctx=64, n_threads=1, verbose=False) as llm:
        assert llm.sampling == GREEDY


def test_recommendations_are_written_in_many_ways() -> None:
    written = {"sequence": "dry;topk;typ-p;NUCLEUS;min_p;xtc;temperature", "penalty_last_n": "32.0", "mirostat": 2}
    found = recommended_sampling({f"general.sampling.{key}": value for key, value in written.items()})
    assert found["samplers"] == ["dry", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature"]
    assert (found["repeat_last_n"], found["mirostat"]) == (32, 2)
    for key, value in [("top_k", "many"), ("top_k", "nan"), ("sequence", "a;b"), ("temp", "inf"), ("top_k", "inf")]:
        assert recommended_sampling({f"general.sampling.{key}": value}) == {}


# -- where a call says nothing -----------------------------------------------------------------------------------------

ASK = [{"role": "user", "content": "hello"}]
COMPLETION = SamplingParams(min_p=0.05, repeat_penalty=1.0)
CHAT = dataclasses.replace(COMPLETION, temperature=0.2)


def chosen_by(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> SamplingParams:
    """Return the sampling that a call's requests come to."""
    seen: list[SamplingParams] = []
    submit = Engine.submit

    def spy(engine: Engine, request: Request, *rest: Any) -> Any:
        seen.append(request.sampling)
        return submit(engine, request, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "submit", spy)
        answer = call()
        if not isinstance(answer, (str, dict, list)):
            list(answer)
    assert seen
    assert all(params == seen[0] for params in seen)
    return seen[0]


def test_defaults_by_the_kind_of_call(make_tiny: MakeTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, tuple[Callable[[Llama], Any], SamplingParams]] = {
        "generate": (lambda llm: llm.generate("a", 2), SamplingParams()),
        "stream": (lambda llm: llm.generate_stream("a", 2), SamplingParams()),
        "batch": (lambda llm: llm.generate_batch(["a"], max_tokens=2), SamplingParams()),
        "session": (lambda llm: llm.session().generate("a", 2), SamplingParams()),
        "completion": (lambda llm: llm.create_completion("a", max_tokens=2), COMPLETION),
        "call": (lambda llm: llm("a", max_tokens=2, stream=True), COMPLETION),
        "chat": (lambda llm: llm.create_chat_completion(ASK, max_tokens=2), CHAT),
        "chat stream": (lambda llm: llm.create_chat_completion(ASK, max_tokens=2, stream=True), CHAT),
        "chat async": (lambda llm: asyncio.run(llm.create_chat_completion_async(ASK, max_tokens=2)), CHAT),
        "chat rows": (lambda llm: llm.generate_batch([ASK, {"messages": ASK}], max_tokens=2), CHAT),
    }
    path = make_tiny()
    with load(path, chat_format="chatml") as llm:
        for name, (call, expected) in calls.items():
            assert chosen_by(monkeypatch, functools.partial(call, llm)) == expected, name
    given = SamplingParams(top_k=7, repeat_penalty=1.3)
    with load(path, chat_format="chatml", sampling=given) as llm:
        for name, (call, _) in calls.items():
            assert chosen_by(monkeypatch, functools.partial(call, llm)) == given, name
        assert chosen_by(monkeypatch, lambda: llm("a", max_tokens=2, top_k=3)) == dataclasses.replace(given, top_k=3)
    recommending = make_tiny(metadata={"general.sampling.top_k": 9, "general.sampling.penalty_repeat": 1.2})
    with load(recommending, chat_format="chatml") as llm:
        for name, (call, expected) in calls.items():
            wanted = dataclasses.replace(expected, top_k=9, repeat_penalty=1.2)
            assert chosen_by(monkeypatch, functools.partial(call, llm)) == wanted, name


def test_generate_over_ids_takes_the_same_defaults(tiny_path: Path) -> None:
    with load(tiny_path, seed=5) as llm, load(tiny_path, sampling=GREEDY) as greedy:
        ids = llm.tokenize(b"the people of the world")
        stepped = [token for token, _ in zip(llm.generate(ids), range(12), strict=False)]
        llm.set_seed(5)
        named = {"temp": 0.8, "top_p": 0.95, "top_k": 40, "min_p": 0.05, "repeat_penalty": 1.0}
        assert stepped == [token for token, _ in zip(llm.generate(ids, **named), range(12), strict=False)]
        best = greedy.generate_result(list(ids), 12).token_ids
        assert [token for token, _ in zip(greedy.generate(ids), range(12), strict=False)] == best
        greedy.reset()
        greedy.eval(ids)
        assert greedy.sample() == best[0]


def test_temperature_zero_is_the_argmax_unless_a_penalty_is_named(make_tiny: MakeTiny) -> None:
    path = make_tiny(metadata={"general.sampling.penalty_repeat": 5.0})
    with load(path, chat_format="chatml") as llm:
        best = llm.generate("hello", 40, GREEDY)
        assert llm.generate("hello", 40, dataclasses.replace(llm.sampling, temperature=0)) == best
        assert llm.generate("hello", 40, SamplingParams(temperature=0)) == best
        assert llm.generate("hello", 40, SamplingParams(temperature=0, repeat_penalty=1.1)) != best
        assert pickle.loads(pickle.dumps(SamplingParams(temperature=0))).penalties() == (1.0, 0.0, 0.0)
        assert SamplingParams(temperature=0.5).penalties() == (1.1, 0.0, 0.0)

        def said(**options: Any) -> str:
            text: str = llm.create_completion("hello", max_tokens=40, temperature=0, **options)["choices"][0]["text"]  # type: ignore[index]
            return text

        assert said() == said(sampling=SamplingParams()) == best
        assert said(repeat_penalty=5.0) != best
        greedy: Any = llm.create_chat_completion(ASK, max_tokens=40, temperature=0)
        assert greedy["choices"] == llm.create_chat_completion(ASK, max_tokens=40, sampling=GREEDY)["choices"]  # type: ignore[index]


def test_the_seed_of_an_instance_gives_a_sequence(tiny_path: Path) -> None:
    def texts(llm: Llama) -> list[object]:
        rows = llm.generate_batch(["a", "a"], max_tokens=20)
        one: Any = llm.create_completion("a", max_tokens=20)
        chat: Any = llm.create_chat_completion(ASK, max_tokens=20, temperature=2.0)
        ids = llm.tokenize(b"a")
        stepped = [token for token, _ in zip(llm.generate(ids, temp=2.0), range(8), strict=False)]
        return [
            llm.generate("a", 20),
            *(row.text for row in rows if not isinstance(row, LlamaError)),
            one["choices"][0]["text"],
            chat["choices"][0]["message"]["content"],
            stepped,
        ]

    with load(tiny_path, seed=7, chat_format="chatml") as llm:
        first, second = texts(llm), texts(llm)
        assert all(a != b for a, b in zip(first, second, strict=True))
        assert len(set(map(str, first[:4]))) == 4
        llm.set_seed(7)
        assert texts(llm) == first
        llm.set_seed(7)
        llm.generate("a", 20)
        state = llm.save_state()
        later = llm.generate("a", 20)
        llm.load_state(state)
        assert llm.generate("a", 20) == later
    with load(tiny_path, config=LlamaConfig(seed=7), chat_format="chatml") as llm:
        assert texts(llm) == first
        assert llm.generate("a", 20, seed=3) == llm.generate("a", 20, seed=3)


def test_an_answer_that_a_default_ends_is_logged_once(make_tiny: MakeTiny, caplog: pytest.LogCaptureFixture) -> None:
    def warnings() -> list[str]:
        return [text for record in caplog.records if "default of max_tokens" in (text := record.getMessage())]

    with load(make_tiny(), chat_format="chatml", sampling=GREEDY) as llm:
        llm.create_chat_completion(ASK, max_tokens=128)
        llm.generate("hello")
        llm.generate_batch(["hello"])
        assert warnings() == []
        list(llm.create_chat_completion(ASK, stream=True))
        llm.create_chat_completion(ASK)
        llm.generate_batch([ASK])
        assert len(warnings()) == 1
    for call in (
        lambda llm: llm.create_chat_completion(ASK),
        lambda llm: asyncio.run(llm.create_chat_completion_async(ASK)),
        lambda llm: llm.generate_batch([ASK]),
    ):
        caplog.clear()
        with load(make_tiny(), chat_format="chatml", sampling=GREEDY) as llm:
            call(llm)
        assert len(warnings()) == 1
