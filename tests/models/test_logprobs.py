"""Log-probabilities of generations: the numbers against NumPy, the shape against OpenAI's completions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai.types.chat import ChatCompletionChunk

from llama_cpp import Llama, LlamaConfig, SamplingParams, _core
from tests import tiny
from tests.helpers import GREEDY, load

SAMPLED = SamplingParams(temperature=0.7, top_k=20, repeat_penalty=1.5, logit_bias={77: 3.0})
Floats = np.ndarray[Any, np.dtype[np.float64]]


@pytest.fixture(scope="module")
def llm(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path, n_threads=1) as instance:
        yield instance


@pytest.fixture
def speaker(tmp_path: Path) -> Iterator[Callable[[list[str | bytes]], Llama]]:
    """Return a function that loads a model which says these pieces, whatever the prompt."""
    loaded = []

    def speak(pieces: list[str | bytes]) -> Llama:
        path = tiny.write_chain_model(tmp_path / f"chain-{len(loaded)}.gguf", pieces)
        loaded.append(load(path, n_threads=1, sampling=GREEDY))
        return loaded[-1]

    yield speak
    for instance in loaded:
        instance.close()


def reference(path: Path, tokens: list[int], n_prompt: int) -> Floats:
    """Return log-softmax rows (tokens, vocabulary): row i is what the model expects behind tokens 0 to i.

    The batches are those that a generation makes: the prompt, then token by token.
    """
    config = LlamaConfig(path, n_ctx=256, n_threads=1)
    model = _core.Model(config)
    context = _core.Context(model, config)
    batch = _core.Batch(n_prompt)
    rows = []
    for begin, end in ((0, n_prompt), *((i, i + 1) for i in range(n_prompt, len(tokens)))):
        batch.clear()
        for position in range(begin, end):
            batch.add(tokens[position], position, [0], True)
        context.decode(batch)
        rows += [np.array(context.logits(index), dtype=np.float64) for index in range(end - begin)]
    model.close()
    logits = np.array(rows)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def choice_of(completion: Any) -> Any:
    (choice,) = completion["choices"]
    return choice


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_numbers_are_the_models_own(llm: Llama, tiny_path: Path, sampling: SamplingParams) -> None:
    prompt = llm.tokenize("the quick brown")
    result = llm.generate_result(prompt, 20, sampling, seed=3, logprobs=4)
    assert result.logprobs is not None
    rows = reference(tiny_path, prompt + result.token_ids, len(prompt))[len(prompt) - 1 : -1]
    chosen = rows[np.arange(20), result.token_ids]
    np.testing.assert_allclose(np.array(result.logprobs["token_logprobs"]), chosen, atol=1e-4)
    for row, token, top in zip(rows, result.token_ids, result.logprobs["top_logprobs"], strict=True):
        best = np.argsort(-row)[:4].tolist()
        expected = {llm._engine.name(other): row[other] for other in [*best, token]}  # type: ignore[union-attr]
        assert top == pytest.approx(expected, abs=1e-4)
        assert list(top.values())[: len(expected) - 1] == sorted(list(top.values())[: len(expected) - 1], reverse=True)


def test_echo_reports_the_prompt_too(llm: Llama, tiny_path: Path) -> None:
    text = "the quick brown dog"
    tokens = llm.tokenize(text)
    completion = llm.generate(text, 10, GREEDY, echo=True, logprobs=2)
    plain = llm.generate_result(text, 10, GREEDY, logprobs=2)
    logprobs = choice_of(completion)["logprobs"]
    assert choice_of(completion)["text"] == text + plain.text
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    rows = reference(tiny_path, tokens + plain.token_ids, len(tokens))
    expected = rows[np.arange(len(tokens) + 9), [*tokens[1:], *plain.token_ids]]
    np.testing.assert_allclose(np.array(logprobs["token_logprobs"][1:]), expected, atol=1e-3)
    assert plain.logprobs is not None
    assert logprobs["tokens"][len(tokens) :] == plain.logprobs["tokens"]


def test_echo_of_a_prompt_of_many_rows(llm: Llama) -> None:
    """A prompt of more rows than one batch may ask for."""
    prompt = [1, *(5 + 17 * i % 1500 for i in range(200))]
    result = llm.generate_result(prompt, 3, GREEDY, echo=True, logprobs=1)
    assert result.logprobs is not None
    values = result.logprobs["token_logprobs"]
    assert len(values) == 204
    assert values[1:201] == pytest.approx(llm.logprobs(prompt).token_logprobs[1:], abs=0.05)
    assert result.token_ids == llm.generate_result(prompt, 3, GREEDY).token_ids


def test_the_shape_is_that_of_openai(llm: Llama) -> None:
    for echo in (False, True):
        completion = llm.generate("hello world", 6, GREEDY, logprobs=2, echo=echo)
        assert set(completion) == {"id", "object", "created", "model", "choices", "usage"}  # type: ignore[arg-type]
        assert completion["object"] == "text_completion"  # type: ignore[index,call-overload]
        assert completion["model"] == llm.model_path  # type: ignore[index,call-overload]
        assert completion["usage"] == {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}  # type: ignore[index,call-overload]
        choice = choice_of(completion)
        assert (choice["index"], choice["finish_reason"]) == (0, "length")
        assert list(choice["logprobs"]) == ["tokens", "token_logprobs", "top_logprobs", "text_offset"]
        assert {len(values) for values in choice["logprobs"].values()} == {9 if echo else 6}


def test_the_number_of_alternatives(llm: Llama) -> None:
    for n_top in (0, 1, 5, 50):
        result = llm.generate_result("a", 8, SAMPLED, seed=1, logprobs=n_top)
        assert result.logprobs is not None
        for top, token, value in zip(
            result.logprobs["top_logprobs"], result.logprobs["tokens"], result.logprobs["token_logprobs"], strict=True
        ):
            assert top is not None
            assert top[token] == value
            assert n_top <= len(top) <= n_top + 1
    every = llm.generate_result("a", 1, GREEDY, logprobs=llm.n_vocab())
    assert every.logprobs is not None
    (top,) = every.logprobs["top_logprobs"]
    assert top is not None
    assert len(top) == llm.n_vocab()  # none is lost for having the text of another
    assert sum(map(math.exp, top.values())) == pytest.approx(1.0, abs=1e-4)


def test_asking_for_them_changes_nothing_else(llm: Llama) -> None:
    for sampling in (GREEDY, SAMPLED):
        plain = llm.generate_result("a", 20, sampling, seed=2)
        for n_top in (0, 5):
            scored = llm.generate_result("a", 20, sampling, seed=2, logprobs=n_top)
            assert (scored.token_ids, scored.text) == (plain.token_ids, plain.text)
            assert choice_of(llm.generate("a", 20, sampling, seed=2, logprobs=n_top))["text"] == plain.text
    assert llm.generate_result("a", 3, GREEDY).logprobs is None


def test_offsets_say_where_tokens_begin(speaker: Callable[[list[str | bytes]], Llama]) -> None:
    pieces = ["The", " quick", " brown", ", ", "né", "中文", "😀", "."]
    llm = speaker(list(pieces))
    for echo in (False, True):
        choice = choice_of(llm.generate("go:", logprobs=1, echo=echo))
        tokens, offsets = choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]
        assert tokens[-len(pieces) :] == pieces
        assert offsets == sorted(offsets)
        for token, offset in zip(tokens, offsets, strict=True):
            assert choice["text"][offset : offset + len(token)] == token
        assert "".join(tokens) == choice["text"]


def test_offsets_of_parts_of_characters(speaker: Callable[[list[str | bytes]], Llama]) -> None:
    llm = speaker(["a", b"\xe4\xb8", b"\xad", "b", b"\xff", "c"])
    choice = choice_of(llm.generate("go", logprobs=0))
    assert choice["text"] == "a中b\ufffdc"
    names = ["a", r"bytes:\xe4\xb8", r"bytes:\xad", "b", r"bytes:\xff", "c"]
    assert choice["logprobs"]["tokens"] == names
    assert choice["logprobs"]["text_offset"] == [0, 1, 1, 2, 3, 4]
    every = choice_of(llm.generate("go", logprobs=llm.n_vocab()))["logprobs"]
    assert {len(top) for top in every["top_logprobs"]} == {llm.n_vocab()}
    messages = [{"role": "user", "content": "go"}]
    scored = {"logprobs": True, "top_logprobs": 5, "chat_format": "chatml"}
    chat = choice_of(llm.create_chat_completion(messages, **scored))["logprobs"]["content"]
    assert [token["token"] for token in chat] == [name.removeprefix("bytes:") for name in names]
    assert [bytes(token["bytes"]) for token in chat] == [b"a", b"\xe4\xb8", b"\xad", b"b", b"\xff", b"c"]
    assert {len(token["top_logprobs"]) for token in chat} == {5}


def test_offsets_of_special_tokens_that_a_prompt_has(speaker: Callable[[list[str | bytes]], Llama]) -> None:
    llm = speaker(["Hi", "!"])
    prompt = "<s>go</s> on"
    choice = choice_of(llm.create_completion(prompt, max_tokens=4, logprobs=1, echo=True))
    assert choice["text"] == f"{prompt}Hi!"
    places = dict(zip(choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"], strict=True))
    assert (places["<s>"], places["</s>"], places["Hi"]) == (0, prompt.index("</s>"), len(prompt))


@pytest.mark.parametrize(
    ("stop", "text", "n_tokens"),
    [
        ("The", "", 0),
        ("quick", "The ", 2),
        (" quick", "The", 1),
        ("ck br", "The qui", 2),
        (".", "The quick brown fox", 4),
        ("nothing", "The quick brown fox.", 5),
    ],
)
def test_tokens_behind_a_stop_text_are_left_out(
    speaker: Callable[[list[str | bytes]], Llama], stop: str, text: str, n_tokens: int
) -> None:
    llm = speaker(["The", " quick", " brown", " fox", "."])
    for stream in (False, True):
        completion = llm.generate("go", stop=stop, logprobs=1, stream=stream)
        chunks = list(completion) if stream else [completion]  # type: ignore[arg-type]
        assert "".join(choice_of(chunk)["text"] for chunk in chunks) == text
        logprobs = joined(chunks)
        assert logprobs["tokens"] == ["The", " quick", " brown", " fox", "."][:n_tokens]
        assert {len(values) for values in logprobs.values()} == {n_tokens}
        assert choice_of(chunks[-1])["finish_reason"] == "stop"


def test_a_certain_token_has_probability_one(speaker: Callable[[list[str | bytes]], Llama]) -> None:
    llm = speaker(["The", " quick"])
    logprobs = choice_of(llm.generate("go", logprobs=3))["logprobs"]
    assert logprobs["token_logprobs"] == pytest.approx([0.0, 0.0], abs=1e-6)
    for token, top in zip(logprobs["tokens"], logprobs["top_logprobs"], strict=True):
        assert next(iter(top)) == token
        assert sorted(top.values())[0] == pytest.approx(-50.0, abs=0.1)  # all other logits are 50 below


def joined(chunks: Sequence[object]) -> dict[str, list[object]]:
    """Put the log-probabilities of a stream's chunks together."""
    shapes = [choice_of(chunk)["logprobs"] for chunk in chunks if choice_of(chunk)["logprobs"] is not None]
    return {key: [value for shape in shapes for value in shape[key]] for key in shapes[0]}


def test_streams_bring_them_with_their_text(llm: Llama) -> None:
    for echo in (False, True):
        whole = llm.generate("hello", 12, SAMPLED, seed=4, logprobs=2, echo=echo)
        *texts, last = llm.generate("hello", 12, SAMPLED, seed=4, logprobs=2, echo=echo, stream=True)
        assert "".join(choice_of(chunk)["text"] for chunk in [*texts, last]) == choice_of(whole)["text"]
        assert all((choice_of(chunk)["logprobs"] is None) == echo for chunk in texts)
        assert all(choice_of(chunk)["finish_reason"] is None for chunk in texts)
        assert joined([*texts, last]) == choice_of(whole)["logprobs"]
        assert last["usage"] == whole["usage"]  # type: ignore[index,call-overload]
        assert len(texts) > 3
        if not echo:
            for chunk in texts:
                tokens = choice_of(chunk)["logprobs"]["tokens"]
                shown = ("\ufffd" if token.startswith("bytes:") else token for token in tokens)  # one byte each
                assert "".join(shown) == choice_of(chunk)["text"]


def test_streamed_completions_and_chats_bring_them_piece_by_piece(smollm2_path: Path) -> None:
    with Llama(smollm2_path, n_ctx=512, n_threads=1, verbose=False) as llm:
        arguments: dict[str, Any] = {"max_tokens": 12, "sampling": GREEDY, "stop": ["France is"]}
        whole = llm.create_completion("The capital of", logprobs=2, **arguments)
        chunks = list(llm.create_completion("The capital of", logprobs=2, stream=True, **arguments))
        assert joined(chunks) == choice_of(whole)["logprobs"]
        assert sum(choice_of(chunk)["logprobs"] is not None for chunk in chunks) > 1
        messages = [{"role": "user", "content": "Say 1, 2, 3, 4, 5."}]
        scored: dict[str, Any] = {"max_tokens": 12, "temperature": 0, "logprobs": True, "top_logprobs": 2}
        for tools in ([], [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]):
            answer: Any = llm.create_chat_completion(messages, tools=tools, **scored)
            pieces: Any = list(llm.create_chat_completion(messages, tools=tools, stream=True, **scored))
            said = [piece["choices"][0]["logprobs"] for piece in pieces if piece["choices"][0]["logprobs"]]
            content = [token for logprobs in said for token in logprobs["content"]]
            assert content == answer["choices"][0]["logprobs"]["content"]
            assert len(said) > 1
            for piece in pieces:
                ChatCompletionChunk.model_validate(piece)


def test_an_appended_prompt_is_reported_without_what_came_before(llm: Llama) -> None:
    first = llm.generate_result([1, 5, 6], 4, GREEDY)
    second = llm.generate_result([200, 201], 5, GREEDY, reset_kv_cache=False, echo=True, logprobs=1)
    whole = llm.generate_result([1, 5, 6, *first.token_ids, 200, 201], 5, GREEDY, echo=True, logprobs=1)
    assert second.logprobs is not None
    assert whole.logprobs is not None
    assert second.token_ids == whole.token_ids
    assert second.logprobs["tokens"] == whole.logprobs["tokens"][-7:]
    assert second.logprobs["token_logprobs"] == pytest.approx(whole.logprobs["token_logprobs"][-7:], abs=0.02)
    for key in ("top_logprobs", "text_offset"):
        assert len(second.logprobs[key]) == 7  # type: ignore[literal-required]
