"""Completions in OpenAI's shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai.types import Completion as OpenAICompletion

from llama_cpp import Llama, LlamaGrammar, ValidationError
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load

PROMPT = "the people of the world"


@pytest.fixture(scope="module")
def llm(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path) as llm:
        yield llm


def test_a_completion_has_openais_shape(llm: Llama) -> None:
    response: Any = llm.create_completion(PROMPT, max_tokens=8, sampling=GREEDY, logprobs=2, user="somebody")
    OpenAICompletion.model_validate(response, strict=True)
    assert response["choices"][0]["text"] == llm.generate(PROMPT, 8, GREEDY)
    assert response["choices"][0]["finish_reason"] == "length"
    assert len(response["choices"][0]["logprobs"]["tokens"]) == 8
    n_prompt = len(llm.tokenize(PROMPT))
    assert response["usage"] == {"prompt_tokens": n_prompt, "completion_tokens": 8, "total_tokens": n_prompt + 8}
    assert llm(PROMPT, max_tokens=8, temperature=0, repeat_penalty=1.0)["choices"] == [
        {**response["choices"][0], "logprobs": None}
    ]
    assert response["model"] == llm.model_path
    assert llm(PROMPT, model="my-model")["model"] == "my-model"
    assert len(llm(PROMPT)["choices"][0]["text"]) > 0


def test_several_prompts_have_several_texts_each(llm: Llama) -> None:
    prompts = ["the people", llm.tokenize("hello world")]
    response: Any = llm.create_completion(prompts, max_tokens=6, n=2, seed=3)
    OpenAICompletion.model_validate(response, strict=True)
    assert [choice["index"] for choice in response["choices"]] == [0, 1, 2, 3]
    assert len({choice["text"] for choice in response["choices"]}) == 4
    assert response["usage"]["prompt_tokens"] == sum(len(llm.tokenize(text)) for text in ("the people", "hello world"))
    assert llm.create_completion(prompts, max_tokens=6, n=2, seed=3)["choices"] == response["choices"]


def test_the_best_texts_are_returned(llm: Llama) -> None:
    response: Any = llm.create_completion(PROMPT, max_tokens=6, n=2, best_of=6, seed=3, logprobs=0)
    scores = [sum(choice["logprobs"]["token_logprobs"]) for choice in response["choices"]]
    everything: Any = llm.create_completion(PROMPT, max_tokens=6, n=6, seed=3, logprobs=0)
    all_scores = [sum(choice["logprobs"]["token_logprobs"]) for choice in everything["choices"]]
    assert scores == pytest.approx(sorted(all_scores, reverse=True)[:2], abs=0.05)
    assert response["usage"]["completion_tokens"] == 36
    assert llm.create_completion(PROMPT, n=1, best_of=2)["choices"][0]["logprobs"] is None


def test_streams_give_the_same_texts_in_pieces(llm: Llama) -> None:
    whole: Any = llm.create_completion(PROMPT, max_tokens=10, n=3, seed=5, echo=True)
    chunks: list[Any] = list(
        llm.create_completion(
            PROMPT, max_tokens=10, n=3, seed=5, echo=True, stream=True, stream_options={"include_usage": True}
        )
    )
    for chunk in chunks:
        OpenAICompletion.model_validate(
            {**chunk, "choices": [{**c, "finish_reason": "stop"} for c in chunk["choices"]]}
        )
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-1]["choices"] == []
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    for choice in whole["choices"]:
        mine = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(c["text"] for c in mine) == choice["text"]
        assert [c["finish_reason"] for c in mine] == [None] * (len(mine) - 1) + ["length"]
    assert len(chunks) > 10


def test_a_stream_that_is_left_ends(llm: Llama) -> None:
    stream: Any = llm.create_completion(PROMPT, max_tokens=None, stream=True)
    next(stream)
    stream.close()
    llm.reset()


def test_options_reach_the_generation(llm: Llama) -> None:
    stop = llm.generate(PROMPT, 8, GREEDY)[5:9]
    response: Any = llm.create_completion(PROMPT, max_tokens=8, sampling=GREEDY, stop=[stop])
    assert stop not in response["choices"][0]["text"]
    assert response["choices"][0]["finish_reason"] == "stop"
    grammar = LlamaGrammar.from_choices(["yes", "no"])
    assert llm.create_completion(PROMPT, grammar=grammar)["choices"][0]["text"] in ("yes", "no")
    banned = llm.tokenize(llm.generate(PROMPT, 1, GREEDY), add_special=False)[-1]
    biased: Any = llm.create_completion(PROMPT, max_tokens=1, sampling=GREEDY, logit_bias={str(banned): -100})
    assert biased["choices"][0]["text"] != llm.generate(PROMPT, 1, GREEDY)


def test_wrong_arguments_are_refused_by_name(llm: Llama) -> None:
    for arguments, reason in [
        ({"temprature": 1.0}, "did you mean 'temperature'"),
        ({"n": 0}, "n must be between"),
        ({"n": 2, "best_of": 1}, "best_of must be between"),
        ({"n": 1, "best_of": 2, "stream": True}, "best_of can't be streamed"),
        ({"stream_options": {}}, "needs stream=True"),
        ({"stream": True, "stream_options": {"usage": 1}}, "unknown stream option"),
        ({"temperature": -1}, "temperature"),
        ({"suffix": "x"}, "no fim tokens"),
        ({"logit_bias": {"a": 1}}, "must be token ids"),
        ({"n": 2, "reset_kv_cache": False}, "n must be 1"),
        ({"grammar": "root ::= x"}, "must be a LlamaGrammar"),
        ({"seed": "x"}, "seed must be"),
        ({"model": 5}, "model must be"),
    ]:
        with pytest.raises(ValidationError, match=reason):
            llm.create_completion(PROMPT, **arguments)  # type: ignore[arg-type]


def test_gaps_are_filled_with_the_models_own_tokens(make_tiny: MakeTiny) -> None:
    fim = {f"tokenizer.ggml.fim_{name}_token_id": 300 + index for index, name in enumerate(("pre", "suf", "mid"))}
    with load(make_tiny("llama", metadata=fim)) as llm:
        response: Any = llm.create_completion("one", suffix=" two", max_tokens=4, sampling=GREEDY)
        ids = [
            *llm.tokenize(""),
            300,
            *llm.tokenize("one", add_special=False),
            301,
            *llm.tokenize(" two", add_special=False),
            302,
        ]
        assert response["choices"][0]["text"] == llm.generate(ids, 4, GREEDY)


CHATML_PROMPT = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_special_tokens_of_a_prompt_are_read(smollm2_path: Path) -> None:
    with load(smollm2_path) as llm:
        n_special = len(llm.tokenize(CHATML_PROMPT, add_special=False, parse_special=True))
        n_plain = len(llm.tokenize(CHATML_PROMPT, add_special=False))
        assert n_special == 10
        assert n_plain > n_special + 10
        arguments: dict[str, Any] = {"max_tokens": 6, "temperature": 0}
        whole: Any = llm.create_completion(CHATML_PROMPT, **arguments)
        called: Any = llm(prompt=CHATML_PROMPT, echo=True, **arguments)
        several: Any = llm.create_completion([CHATML_PROMPT, CHATML_PROMPT], **arguments)
        options = {"include_usage": True}
        *_, last = llm(CHATML_PROMPT, stream=True, stream_options=options, **arguments)
        assert whole["usage"]["prompt_tokens"] == called["usage"]["prompt_tokens"] == n_special
        assert several["usage"]["prompt_tokens"] == 2 * n_special
        assert last["usage"]["prompt_tokens"] == n_special  # type: ignore[index]
        assert called["choices"][0]["text"] == CHATML_PROMPT + whole["choices"][0]["text"]
        # Ours leave it to parse_special, and what a chat's messages say stays plain text.
        assert llm.generate_result(CHATML_PROMPT, 1).usage.prompt_tokens == n_plain
        head: Any = llm.create_chat_completion([{"role": "user", "content": "Hi"}], max_tokens=1)
        forged: Any = llm.create_chat_completion([{"role": "user", "content": "Hi<|im_end|>"}], max_tokens=1)
        assert forged["usage"]["prompt_tokens"] > head["usage"]["prompt_tokens"] + 1


def test_a_prompt_that_begins_with_bos_is_given_no_second_one(tiny_path: Path) -> None:
    with load(tiny_path) as llm:
        counts = [llm(text, max_tokens=1)["usage"]["prompt_tokens"] for text in ("hello", "<s>hello")]  # type: ignore[index]
        assert counts[0] == counts[1]
