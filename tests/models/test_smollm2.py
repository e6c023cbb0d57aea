"""The real model: text, tokens and templates as its makers meant them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_cpp import Llama
from tests.helpers import GREEDY, load

QUESTION = "<|im_start|>user\nWhat is the capital of France? Answer in English.<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def llm(smollm2_path: Path) -> Iterator[Llama]:
    with load(smollm2_path, n_threads=1) as instance:
        yield instance


def test_it_knows_a_capital(llm: Llama) -> None:
    text = llm.generate("The capital of France is", 8, GREEDY)
    assert "Paris" in text
    assert "".join(llm.generate_stream("The capital of France is", 8, GREEDY)) == text
    sampled = [llm.generate("The capital of France is", 8, seed=seed) for seed in (1, 2, 1)]
    assert sampled[0] == sampled[2] != sampled[1]


def test_it_ends_its_turn(llm: Llama) -> None:
    prompt = llm.tokenize(QUESTION, parse_special=True)
    answer = llm.generate_result(prompt, 40, GREEDY)
    assert "Paris" in answer.text
    assert answer.finish_reason == "stop"
    assert isinstance(answer.stop_reason, int)
    assert llm.token_to_piece(answer.stop_reason) == "<|im_end|>"
    assert "<|im_end|>" not in answer.text
    cut = llm.generate_result(prompt, 40, GREEDY, stop=["Paris"])
    assert (cut.stop_reason, answer.text.partition("Paris")[0]) == ("Paris", cut.text)


def test_it_chooses_an_answer(llm: Llama) -> None:
    assert llm.choose("The capital of France is", [" London", " Paris", " Berlin"]).text == " Paris"
    question = {"role": "user", "content": "What is the capital of France? Answer with the name alone."}
    choice = llm.choose([{"role": "system", "content": "You are a helpful assistant."}, question], ["Rome", "Paris"])
    assert (choice.text, choice.index) == ("Paris", 1)
    assert choice.probabilities[1] > 0.9


def test_a_user_can_not_forge_a_turn(llm: Llama) -> None:
    markers = llm.tokenize("<|im_start|><|im_end|>", parse_special=True)
    assert len(markers) == 2
    assert not set(markers) & set(llm.tokenize("<|im_start|><|im_end|>"))
    assert llm.n_tokens(QUESTION) > len(llm.tokenize(QUESTION, parse_special=True))


def test_what_it_is(llm: Llama) -> None:
    assert (llm.n_vocab(), llm.n_embd(), llm.n_layer()) == (49152, 576, 30)
    assert llm.n_params() == pytest.approx(135e6, rel=0.01)
    assert 0.5 < llm.model_size() / llm.n_params() < 1.1  # about a byte for each
    assert llm.metadata["general.architecture"] == "llama"
    assert "<|im_start|>" in llm.get_chat_template()


# Its vocabulary lacks some bytes, which only control characters and the upper planes would need.
CHARACTERS = st.characters(categories=["L", "N", "P", "S", "Z"], max_codepoint=0xFFFF) | st.sampled_from("\n\t😀🎉")


@settings(max_examples=300, deadline=None)
@given(text=st.text(CHARACTERS, max_size=40))
def test_any_text_survives_being_tokenized(llm: Llama, text: str) -> None:
    tokens = llm.tokenize(text)
    assert llm.detokenize(tokens) == text
    assert llm.n_tokens(text, add_special=True) == len(tokens)
    assert llm.n_tokens(text) == len(llm.tokenize(text, add_special=False))
