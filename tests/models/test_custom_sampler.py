"""A sampler that is written in Python, in its place in the chain."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_cpp import GenerationError, Llama, SamplingParams, ValidationError

Array = np.ndarray[Any, Any]


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    with Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False) as instance:
        yield instance


class Spy:
    """Bans all candidates but the last one of those that are left, and writes down what it sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[int], list[float]]] = []
        self.accepted: list[int] = []

    def apply(self, token_ids: Array, logits: Array) -> None:
        self.seen.append((token_ids.tolist(), logits.tolist()))
        logits[:-1] = -np.inf

    def accept(self, token: int) -> None:
        self.accepted.append(token)


def test_it_sees_what_the_samplers_before_it_left(llm: Llama) -> None:
    spy = Spy()
    result = llm.generate_result("a", 6, SamplingParams(top_k=5, samplers=["top_k", spy]), seed=1)
    assert [len(ids) for ids, _ in spy.seen] == [5] * 6
    assert all(logits == sorted(logits, reverse=True) for _, logits in spy.seen)
    assert result.token_ids == [ids[-1] for ids, _ in spy.seen]
    assert spy.accepted[-6:] == result.token_ids


def test_it_works_with_greedy_choice(llm: Llama) -> None:
    class Force:
        def apply(self, token_ids: Array, logits: Array) -> None:
            logits[token_ids == 700] = 1e6

    assert llm.generate_result("a", 4, SamplingParams(temperature=0, samplers=[Force()])).token_ids == [700] * 4


def test_what_it_raises_ends_its_row(llm: Llama) -> None:
    class Broken:
        def apply(self, token_ids: Array, logits: Array) -> None:
            raise RuntimeError("out of order")

    with pytest.raises(GenerationError, match="RuntimeError: out of order"):
        llm.generate("a", 4, SamplingParams(samplers=[Broken()]))
    assert llm.generate("a", 4, seed=1) == llm.generate("a", 4, seed=1)


def test_token_ids_stay_what_they_are(llm: Llama) -> None:
    class Renames:
        def apply(self, token_ids: Array, logits: Array) -> None:
            token_ids.fill(2**30)

    class Insists(Renames):
        def apply(self, token_ids: Array, logits: Array) -> None:
            token_ids.flags.writeable = True
            super().apply(token_ids, logits)

    with pytest.raises(GenerationError, match="read-only"):
        llm.generate("a", 4, SamplingParams(samplers=[Renames()]))
    greedy = SamplingParams(temperature=0, samplers=[])
    insisting = SamplingParams(temperature=0, samplers=[Insists()])
    assert llm.generate("a", 4, insisting) == llm.generate("a", 4, greedy)


def test_it_is_let_go_after_the_request(llm: Llama) -> None:
    spy = Spy()
    alive = weakref.ref(spy)
    llm.generate("a", 2, SamplingParams(samplers=[spy]))
    del spy
    gc.collect()
    assert alive() is None


def test_what_is_no_sampler_is_refused() -> None:
    for wrong in ([5], [object()], ["top_kk"], ["top_k", "top_k"]):
        with pytest.raises(ValidationError, match="sampler"):
            SamplingParams(samplers=wrong)  # type: ignore[arg-type]
