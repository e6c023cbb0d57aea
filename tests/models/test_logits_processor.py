"""Python callables that change the logits of one row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_cpp import GenerationError, GenerationResult, Llama, LlamaGrammar, SamplingParams, ValidationError

GREEDY = SamplingParams(temperature=0, repeat_penalty=1.0)
Array = np.ndarray[Any, Any]


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    with Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False) as instance:
        yield instance


def only(token: int) -> Any:
    def process(token_ids: Array, scores: Array) -> None:
        kept = scores[token]
        scores[:] = -np.inf
        scores[token] = kept

    return process


def test_a_processor_sees_the_tokens_and_the_logits(llm: Llama) -> None:
    seen: list[tuple[Array, Array]] = []

    def look(token_ids: Array, scores: Array) -> None:
        seen.append((token_ids.copy(), scores.copy()))

    result = llm.generate_result([1, 5, 6], 4, GREEDY, logits_processor=look)
    assert result.token_ids == llm.generate_result([1, 5, 6], 4, GREEDY).token_ids
    assert [ids.tolist() for ids, _ in seen] == [[1, 5, 6, *result.token_ids[:n]] for n in range(4)]
    assert [int(scores.argmax()) for _, scores in seen] == result.token_ids
    assert all(scores.shape == (llm.n_vocab(),) and scores.dtype == np.float32 for _, scores in seen)


def test_changes_in_place_and_returned_arrays_count(llm: Llama) -> None:
    def shifted(token_ids: Array, scores: Array) -> Array:
        return np.roll(scores, 1)

    first = llm.generate_result([1, 5, 6], 1, GREEDY).token_ids[0]
    assert llm.generate_result([1, 5, 6], 1, GREEDY, logits_processor=shifted).token_ids == [first + 1]
    assert llm.generate_result([1, 5, 6], 3, GREEDY, logits_processor=[only(700)]).token_ids == [700] * 3
    assert llm.generate_result([1, 5], 3, SamplingParams(), logits_processor=only(700)).token_ids == [700] * 3


def test_rows_without_one_are_not_touched(llm: Llama) -> None:
    rows: list[Any] = ["a", {"prompt": "a", "logits_processor": only(700)}, "b"]
    plain, forced, other = llm.generate_batch(rows, max_tokens=6, sampling=GREEDY)
    assert isinstance(plain, GenerationResult)
    assert isinstance(forced, GenerationResult)
    assert isinstance(other, GenerationResult)
    assert forced.token_ids == [700] * 6
    assert plain.text == llm.generate("a", 6, GREEDY)
    assert other.text == llm.generate("b", 6, GREEDY)


def test_log_probabilities_are_those_before_it(llm: Llama) -> None:
    plain = llm.generate_result([1, 5, 6], 1, GREEDY, logprobs=3)
    forced = llm.generate_result([1, 5, 6], 1, GREEDY, logprobs=3, logits_processor=only(700))
    assert plain.logprobs is not None
    assert forced.logprobs is not None
    likeliest = plain.logprobs["tokens"][0]
    assert forced.logprobs["top_logprobs"][0][likeliest] == plain.logprobs["token_logprobs"][0]  # type: ignore[index]
    assert forced.logprobs["token_logprobs"][0] < plain.logprobs["token_logprobs"][0]  # type: ignore[operator]


@pytest.mark.parametrize("n", [0, 3])
@pytest.mark.parametrize("draft_tokens", [0, 4])
def test_true_ends_the_generation(llm: Llama, n: int, draft_tokens: int) -> None:
    prompt = [1, *[5, 6, 7, 8] * 8]
    whole = llm.generate_result(prompt, 9, GREEDY)

    def after_n(token_ids: Array, scores: Array) -> bool:
        return len(token_ids) == len(prompt) + n

    result = llm.generate_result(prompt, 9, GREEDY, logits_processor=after_n, draft_tokens=draft_tokens)
    assert (result.token_ids, result.finish_reason) == (whole.token_ids[:n], "stop")
    assert llm.generate_result([], 9 - n, GREEDY, reset_kv_cache=False).token_ids == whole.token_ids[n:]


def test_true_does_not_complete_what_a_grammar_wants(llm: Llama) -> None:
    def after_three(token_ids: Array, scores: Array) -> bool:
        return len(token_ids) == 6

    for pattern, complete in (("[a-z]{50}", False), ("[a-z]*", True)):
        grammar = LlamaGrammar.from_regex(pattern)
        result = llm.generate_result([1, 5, 6], 9, GREEDY, grammar=grammar, logits_processor=after_three)
        assert (len(result.token_ids), result.finish_reason, result.matches_grammar) == (3, "stop", complete)


def test_what_it_raises_ends_its_row_alone(llm: Llama) -> None:
    def fail(token_ids: Array, scores: Array) -> None:
        if len(token_ids) > 5:
            raise RuntimeError("no more")

    with pytest.raises(GenerationError, match="no more") as caught:
        llm.generate([1, 5, 6], 9, GREEDY, logits_processor=fail)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.token_ids == llm.generate_result([1, 5, 6], 3, GREEDY).token_ids
    rows: list[Any] = ["a", {"prompt": [1, 5, 6], "logits_processor": fail}]
    fine, failed = llm.generate_batch(rows, max_tokens=9, sampling=GREEDY, on_error="return")
    assert isinstance(fine, GenerationResult)
    assert isinstance(failed, GenerationError)


def test_an_interrupt_in_it_arrives(llm: Llama) -> None:
    def interrupt(token_ids: Array, scores: Array) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llm.generate("a", 5, GREEDY, logits_processor=interrupt)
    assert llm.generate("a", 5, GREEDY) == llm.generate("a", 5, GREEDY)


def test_wrong_arguments_are_refused(llm: Llama) -> None:
    for wrong in (5, [5], "x", {}):
        with pytest.raises(ValidationError, match="logits_processor"):
            llm.generate("a", logits_processor=wrong)  # type: ignore[arg-type]

    def wrong_shape(token_ids: Array, scores: Array) -> Array:
        return scores[:5]

    with pytest.raises(GenerationError, match="broadcast"):
        llm.generate("a", 3, logits_processor=wrong_shape)
