"""Llama.logprobs and Llama.score: log-probabilities of given texts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llama_cpp import Llama, LlamaConfig, ValidationError, _core


@pytest.fixture(scope="module")
def llm(tiny_path: Path) -> Iterator[Llama]:
    with Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False) as instance:
        yield instance


def reference(path: Path, tokens: list[int]) -> list[float]:
    """Compute the log-probability of each token but the first by a decode for each, and NumPy."""
    config = LlamaConfig(path, n_ctx=512, n_threads=1)
    model = _core.Model(config)
    context = _core.Context(model, config)
    batch = _core.Batch(1)
    values = []
    for position, (token, following) in enumerate(itertools.pairwise(tokens)):
        batch.clear()
        batch.add(token, position, [0], True)
        context.decode(batch)
        row = np.array(context.logits(-1), dtype=np.float64)
        values.append(float(row[following] - np.logaddexp.reduce(row)))
    model.close()
    return values


def test_logprobs_are_the_models_own(llm: Llama, tiny_path: Path) -> None:
    text = "the quick brown fox jumps over the lazy dog"
    scored = llm.logprobs(text)
    assert scored.token_ids == llm.tokenize(text)
    assert scored.token_logprobs[0] is None
    np.testing.assert_allclose(scored.token_logprobs[1:], reference(tiny_path, scored.token_ids), rtol=1e-3, atol=5e-3)
    assert scored.total == pytest.approx(sum(scored.token_logprobs[1:]))


def test_texts_longer_than_a_chunk_of_rows(llm: Llama, tiny_path: Path) -> None:
    tokens = [1, *[5 + (17 * i) % 1500 for i in range(300)]]
    scored = llm.logprobs(tokens)
    assert len(scored.token_logprobs) == 301
    np.testing.assert_allclose(scored.token_logprobs[1:], reference(tiny_path, tokens), rtol=0, atol=5e-2)


def test_score_gives_the_tail_of_logprobs(llm: Llama) -> None:
    prompt, tails = "the quick brown", [" fox", " dog jumps", " lazy lazy lazy", "er"]
    for tail, scored in zip(tails, llm.score(prompt, tails), strict=True):
        whole = llm.logprobs(prompt + tail)
        n = len(scored.token_ids)
        assert n >= 1
        assert scored.token_ids == whole.token_ids[-n:]
        np.testing.assert_allclose(scored.token_logprobs, whole.token_logprobs[-n:], rtol=1e-3, atol=5e-3)


def test_token_ids_are_scored_as_they_are(llm: Llama, tiny_path: Path) -> None:
    (one, two) = llm.score([1, 5, 6, 7], [[8], [9, 10, 11]])
    expected = reference(tiny_path, [1, 5, 6, 7, 9, 10, 11])
    np.testing.assert_allclose(two.token_logprobs, expected[3:], rtol=1e-3, atol=5e-3)
    assert one.token_ids == [8]


def test_many_continuations_share_the_prompt(llm: Llama) -> None:
    prompt = [1, *range(5, 205)]
    before = llm._require_batch_engine([], None).context.perf()["n_p_eval"]
    llm.score(prompt, [[300 + i, 301 + i] for i in range(50)])
    after = llm._require_batch_engine([], None).context.perf()["n_p_eval"]
    assert after - before < 2 * len(prompt) + 50 * 4


def test_the_probabilities_of_all_tokens_sum_to_one(tiny_path: Path, llm: Llama) -> None:
    scores = llm.score([1, 5], [[token] for token in range(llm.n_vocab())])
    assert sum(np.exp(score.total) for score in scores) == pytest.approx(1.0, abs=1e-3)


def test_wrong_arguments_are_refused(llm: Llama) -> None:
    for continuations in ("text", 5, [""], [[]], [5], ["a\udc80"], [[10**6]]):
        with pytest.raises(ValidationError, match="continuations"):
            llm.score("prompt", continuations)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        llm.logprobs("a\udc80b")
    assert llm.score("prompt", []) == []


def test_choices_have_the_probabilities_of_their_tokens(llm: Llama, tiny_path: Path) -> None:
    prompt = [1, 5, 6, 7]
    options = [llm.detokenize([token]) for token in (300, 301, 302)] + [llm.detokenize([300, 301])]
    choice = llm.choose(prompt, options)
    rows = [llm.tokenize(option, add_special=False) for option in options]
    logprobs = np.array([sum(reference(tiny_path, prompt + row)[3:]) for row in rows])
    np.testing.assert_allclose(choice.logprobs, logprobs, rtol=1e-3, atol=5e-3)
    np.testing.assert_allclose(choice.probabilities, np.exp(logprobs) / np.exp(logprobs).sum(), rtol=1e-2)
    assert (choice.index, choice.text) == (logprobs.argmax(), options[logprobs.argmax()])
    assert sum(choice.probabilities) == pytest.approx(1)
    assert llm.choose(prompt, ["x"]).probabilities == [1.0]


def test_choices_whose_first_token_begins_in_the_prompt_are_comparable(llm: Llama) -> None:
    prompt, options = "the people of th", ["e people", "e", " people"]
    starts = {start for _, start in llm._continuations("options", prompt, options)}
    assert len(starts) == 2  # of one option, the last token of the prompt is another one
    whole = [llm.logprobs(prompt + option).total for option in options]
    choice = llm.choose(prompt, options)
    differences = np.array(choice.logprobs) - np.array(whole)
    np.testing.assert_allclose(differences, differences[0], atol=1e-2)


def test_wrong_options_are_refused(llm: Llama) -> None:
    for options in ("text", 5, [], ["a", ""], ["a", "b", "a"], ["a", 5], ["a\udc80"]):
        with pytest.raises(ValidationError, match="options"):
            llm.choose("prompt", options)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="messages"):
        llm.choose([{"role": "user"}], ["a", "b"])
