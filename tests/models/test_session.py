"""Sessions: one sequence that is branched, marked and taken back."""

from __future__ import annotations

import copy
import gc
import pickle
from collections.abc import Iterator

import pytest

from llama_cpp import ClosedError, ContextFullError, Llama, LlamaError, ValidationError
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load

PROMPT = "the people of the world have been here from the first day, and they can see " * 2


@pytest.fixture(scope="module", params=["llama", "gemma3", "mamba", "jamba"])
def llm(request: pytest.FixtureRequest, make_tiny: MakeTiny) -> Iterator[Llama]:
    with load(make_tiny(request.param)) as llm:
        yield llm


def test_a_session_goes_on_where_it_was(llm: Llama) -> None:
    with llm.session(PROMPT) as session:
        first = session.generate(max_tokens=10, sampling=GREEDY)
        assert first == llm.generate(PROMPT, 10, GREEDY)
        expected = llm.generate(" more", 10, GREEDY, reset_kv_cache=False)
        result = session.generate_result(" more", 10, GREEDY)
        assert result.text == expected
        assert result.usage.cached_tokens == result.usage.prompt_tokens - llm.n_tokens(" more") - 1
        assert len(session) == result.usage.total_tokens


def test_forks_share_what_was_computed(llm: Llama) -> None:
    with llm.session(PROMPT) as session:
        branches = [session.fork() for _ in range(5)]
        results = [branch.generate_result(f" {index}", 8, GREEDY) for index, branch in enumerate(branches)]
        assert [result.usage.cached_tokens for result in results] == [len(session) - 1] * 5
        again = session.fork().generate(" 3", 8, GREEDY)
        assert again == results[3].text


def test_rewinding_gives_the_same_answer_again(llm: Llama) -> None:
    with llm.session(PROMPT) as session:
        length, snapshot = len(session), session.snapshot()
        first = session.generate_result(" one", 8, GREEDY)
        session.rewind(length)
        assert len(session) == length
        assert session.generate(" one", 8, GREEDY) == first.text
        session.rewind(0).append("something else")
        session.rewind(snapshot)
        assert session.tokens == list(snapshot.token_ids)
        assert session.generate(" one", 8, GREEDY) == first.text


def test_a_snapshot_spares_recurrent_models_the_prompt(make_tiny: MakeTiny) -> None:
    with load(make_tiny("mamba")) as llm, llm.session(PROMPT) as session:
        snapshot = session.snapshot()
        session.generate(" one", 8, GREEDY)
        session.rewind(snapshot)
        result = session.generate_result(" one", 8, GREEDY)
        assert result.usage.cached_tokens == len(snapshot.token_ids) - 1


def test_streams_and_stop_texts_keep_what_was_said(llm: Llama) -> None:
    with llm.session(PROMPT) as session:
        with session.generate_stream(max_tokens=10, sampling=GREEDY) as stream:
            text = "".join(stream)
        assert llm.detokenize(session.tokens).endswith(text)


def test_what_does_not_fit_leaves_the_session_as_it_is(llm: Llama) -> None:
    with llm.session(PROMPT) as session:
        before = session.tokens
        with pytest.raises(ContextFullError):
            session.append("word " * 300)
        assert session.tokens == before
        with pytest.raises(ValidationError, match="overflow"):
            session.generate("a", overflow="shift")


def test_sequences_are_limited_and_come_back(llm: Llama) -> None:
    held = [llm.session("a") for _ in range(16 if llm.metadata["general.architecture"] in ("mamba", "jamba") else 64)]
    with pytest.raises(LlamaError, match="sequences are held by sessions"):
        llm.session("a")
    held.pop().close()
    llm.session("a").close()
    held.clear()
    gc.collect()
    assert llm.session("a").generate(max_tokens=2, sampling=GREEDY) == llm.generate("a", 2, GREEDY)


def test_what_owns_a_sequence_is_not_copied(llm: Llama) -> None:
    session = llm.session("one two three")
    stream = session.generate_stream(max_tokens=20, sampling=GREEDY)
    pieces = [next(stream)]
    for owner, advice in ((session, r"use fork\(\)"), (stream, "copy its text")):
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match=f"can't be copied or pickled, since .*{advice}"):
                duplicate(owner)
    gc.collect()
    assert "".join([*pieces, *stream]) == llm.session("one two three").generate(max_tokens=20, sampling=GREEDY)


def test_a_closed_or_empty_session_says_so(llm: Llama) -> None:
    session = llm.session()
    with pytest.raises(ValidationError, match="session is empty"):
        session.generate()
    assert repr(session) == "<Session of 0 tokens>"
    session.close()
    session.close()
    assert repr(session) == "<Session (closed)>"
    for use in (session.fork, session.snapshot, lambda: session.append("a"), lambda: session.tokens):
        with pytest.raises(ClosedError):
            use()


def test_branches_generate_when_the_memory_is_full(make_tiny: MakeTiny) -> None:
    """What is only kept gives way, and is computed again when it is needed."""
    with load(make_tiny("llama"), n_ctx=64) as llm:
        sessions = [llm.session(f"{index} the people of the world have been here") for index in range(12)]
        first = [session.generate(max_tokens=30, sampling=GREEDY) for session in sessions]
        for index, session in enumerate(sessions):
            assert first[index] == llm.generate(f"{index} the people of the world have been here", 30, GREEDY)
            assert len(session.generate_result(max_tokens=3, sampling=GREEDY).token_ids) == 3
