"""generate and its kin on tiny models of every kind, and on a real one."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_cpp import ContextFullError, GenerationResult, Llama, LlamaConfig, SamplingParams, _core
from tests.conftest import MakeTiny
from tests.helpers import load

GREEDY = SamplingParams(temperature=0, repeat_penalty=1.0)
ARCHITECTURES = ["llama", "qwen3", "gemma3", "gpt-oss", "mamba", "jamba"]


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    with Llama(tiny_path, n_ctx=256, n_threads=1, verbose=False) as instance:
        yield instance


def test_real_text(smollm2_path: Path) -> None:
    with Llama(smollm2_path, n_ctx=512, n_threads=1, verbose=False) as llm:
        text = llm.generate("The capital of France is", 8, GREEDY)
        assert "Paris" in text
        assert "".join(llm.generate_stream("The capital of France is", 8, GREEDY)) == text
        assert llm.n_vocab() == 49152
        assert llm.metadata["general.architecture"] == "llama"
        assert "im_start" in llm.get_chat_template()
        tokens = llm.tokenize("Grüße, 世界 😀")
        assert llm.detokenize(tokens) == "Grüße, 世界 😀"


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_an_answer_depends_on_nothing_before_it(make_tiny: MakeTiny, arch: str) -> None:
    path = make_tiny(arch)
    with Llama(path, n_ctx=512, n_threads=1, verbose=False) as llm:
        first = llm.generate_result("one prompt", 60, GREEDY, logprobs=0)
        llm.generate("something else entirely", 100, seed=1)
        llm.generate(" and more of it", 30, seed=2, reset_kv_cache=False)
        again = llm.generate_result("one prompt", 60, GREEDY, logprobs=0)
    assert again.token_ids == first.token_ids
    assert again.logprobs == first.logprobs  # to the bit
    with Llama(path, n_ctx=512, n_threads=1, verbose=False) as fresh:
        assert fresh.generate_result("one prompt", 60, GREEDY, logprobs=0).logprobs == first.logprobs


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("swa_full", [True, False])
def test_appending_gives_what_one_sequence_gives(make_tiny: MakeTiny, arch: str, swa_full: bool) -> None:
    with Llama(make_tiny(arch), n_ctx=512, n_threads=1, verbose=False, swa_full=swa_full) as llm:
        head = [1, *range(40, 120)]
        first = llm.generate_result(head, 20, GREEDY)
        second = llm.generate_result([200, 201], 20, GREEDY, reset_kv_cache=False)
        whole = [*head, *first.token_ids, 200, 201]
        assert second.usage.prompt_tokens == len(whole)
        assert second.token_ids == llm.generate_result(whole, 20, GREEDY).token_ids
        if arch in ("llama", "qwen3"):
            assert second.usage.cached_tokens == len(whole) - 3  # the last token of the first answer is new, too


def test_appended_text_gets_no_second_bos(llm: Llama) -> None:
    llm.generate("a", 3, GREEDY)
    result = llm.generate_result("b", 1, GREEDY, reset_kv_cache=False)
    assert result.usage.prompt_tokens == llm.n_tokens("a", True) + 3 + llm.n_tokens("b")
    llm.reset()
    assert llm.generate_result("b", 1, GREEDY, reset_kv_cache=False).usage.prompt_tokens == llm.n_tokens("b", True)


def test_what_a_stop_string_cut_off_is_not_in_the_sequence(llm: Llama) -> None:
    plain = llm.generate_result("a", 10, GREEDY)
    stop = llm.token_to_piece(plain.token_ids[5])
    cut = llm.generate_result("a", 10, GREEDY, stop=[stop])
    kept = llm.tokenize("a") + cut.token_ids[: cut.token_ids.index(plain.token_ids[5])]
    follow = llm.generate_result([77], 5, GREEDY, reset_kv_cache=False)
    assert follow.token_ids == llm.generate_result([*kept, 77], 5, GREEDY).token_ids


def test_a_prompt_longer_than_a_batch_is_computed_in_chunks(tiny_path: Path) -> None:
    prompt = [1, *range(5, 205)]
    texts = []
    for n_batch, n_ubatch in ((256, 256), (64, 64), (64, 16), (7, 7), (1, 1)):
        with Llama(tiny_path, n_ctx=256, n_batch=n_batch, n_ubatch=n_ubatch, n_threads=1, verbose=False) as llm:
            texts.append(llm.generate_result(prompt, 20, GREEDY).token_ids)
    assert texts == [texts[0]] * 5


def test_a_prompt_that_does_not_fit_leaves_the_sequence_alone(llm: Llama) -> None:
    llm.generate("start", 5, GREEDY)
    expected = llm.generate_result(" more", 5, GREEDY, reset_kv_cache=False)
    llm.generate("start", 5, GREEDY)
    with pytest.raises(ContextFullError, match="256") as caught:
        llm.generate([5] * 300, 5)
    assert (caught.value.n_tokens, caught.value.n_ctx) == (300, 256)
    with pytest.raises(ContextFullError) as caught:
        llm.generate([5] * 250, 5, reset_kv_cache=False)
    assert caught.value.n_tokens > 256
    assert llm.generate_result(" more", 5, GREEDY, reset_kv_cache=False).token_ids == expected.token_ids


def test_a_full_context_ends_the_generation(llm: Llama, caplog: pytest.LogCaptureFixture) -> None:
    result = llm.generate_result([1, 5, 6], None, GREEDY)
    assert result.finish_reason == "length"
    assert len(result.token_ids) == 256 - 3 + 1
    assert not caplog.records
    assert llm.generate_result([1, 5, 6], 1000, GREEDY).token_ids == result.token_ids
    assert "256" in caplog.text
    caplog.clear()
    assert llm.generate_result([1, 5, 6], 254, GREEDY).finish_reason == "length"
    assert not caplog.records
    assert len(llm.generate_result([5] * 256, 3, GREEDY).token_ids) == 1


def test_seeds(llm: Llama) -> None:
    hot = SamplingParams(temperature=1.5)
    assert llm.generate("a", 20, hot, seed=1) == llm.generate("a", 20, hot, seed=1)
    assert len({llm.generate("a", 20, hot, seed=seed) for seed in range(8)}) == 8
    assert len({llm.generate("a", 20, hot) for _ in range(4)}) == 4
    result = llm.generate_result("a", 20, hot)
    assert llm.generate("a", 20, hot, seed=result.seed) == result.text
    assert llm.generate("a", 20, SamplingParams(temperature=1.5, seed=1)) == llm.generate("a", 20, hot, seed=1)


def test_the_frequency_of_tokens_is_their_probability(tiny_path: Path) -> None:
    every = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, repeat_penalty=1.0)
    with Llama(tiny_path, n_ctx=64, n_threads=1, verbose=False) as llm:
        rows = [{"prompt": [1, 5], "seed": seed} for seed in range(3000)]
        drawn = [row.token_ids[0] for row in llm.generate_batch(rows, max_tokens=1, sampling=every)]  # type: ignore[union-attr]
        probabilities = np.exp([score.total for score in llm.score([1, 5], [[token] for token in range(2000)])])
    likely = np.argsort(probabilities)[-20:]
    for token in likely:
        expected = 3000 * probabilities[token]
        assert abs(drawn.count(token) - expected) < 5 * math.sqrt(expected) + 1


def test_echo_and_log_probabilities_have_the_shape_of_openai(llm: Llama) -> None:
    plain = llm.generate("the quick brown", 8, GREEDY)
    assert llm.generate("the quick brown", 8, GREEDY, echo=True) == "the quick brown" + plain
    completion = llm.generate("the quick brown", 8, GREEDY, echo=True, logprobs=3)
    assert isinstance(completion, dict)
    (choice,) = completion["choices"]
    assert choice["text"] == "the quick brown" + plain
    logprobs = choice["logprobs"]
    n_prompt = completion["usage"]["prompt_tokens"]
    assert completion["usage"]["completion_tokens"] == 8
    assert [len(values) for values in logprobs.values()] == [n_prompt + 8] * 4
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["token_logprobs"][1:n_prompt] == pytest.approx(
        llm.logprobs("the quick brown").token_logprobs[1:], abs=0.02
    )
    for token, value, top in list(zip(*list(logprobs.values())[:3], strict=True))[1:]:
        assert 3 <= len(top) <= 4
        assert top[token] == value
        assert max(top.values()) <= 0.0
    for token, offset in list(zip(logprobs["tokens"], logprobs["text_offset"], strict=True))[n_prompt:]:
        if "\ufffd" not in token:
            assert choice["text"][offset : offset + len(token)] == token


def test_log_probabilities_are_those_of_the_model(llm: Llama, tiny_path: Path) -> None:
    config = LlamaConfig(tiny_path, n_ctx=256, n_threads=1)
    model = _core.Model(config)
    context = _core.Context(model, config)
    batch = _core.Batch(8)
    for position, token in enumerate([1, 5, 6]):
        batch.add(token, position, [0], position == 2)
    context.decode(batch)
    row = np.array(context.logits(2), dtype=np.float64)
    expected = row - np.logaddexp.reduce(row)
    result = llm.generate_result([1, 5, 6], 1, SamplingParams(temperature=0.5, repeat_penalty=2.0), logprobs=10, seed=4)
    assert result.logprobs is not None
    assert result.logprobs["token_logprobs"][0] == pytest.approx(expected[result.token_ids[0]], abs=1e-4)
    top = result.logprobs["top_logprobs"][0]
    assert top is not None
    assert sorted(top.values(), reverse=True)[:8] == pytest.approx(np.sort(expected)[::-1][:8], abs=1e-4)
    model.close()


def test_streamed_log_probabilities_come_with_their_text(llm: Llama) -> None:
    *texts, last = llm.generate("a", 6, GREEDY, logprobs=1, stream=True)
    assert "".join(chunk["choices"][0]["text"] for chunk in texts) == llm.generate("a", 6, GREEDY)
    assert len({chunk["id"] for chunk in [*texts, last]}) == 1
    whole = llm.generate("a", 6, GREEDY, logprobs=1)
    values = whole["choices"][0]["logprobs"]
    pieces = [chunk["choices"][0]["logprobs"] for chunk in [*texts, last]]
    assert {key: [value for piece in pieces for value in piece[key]] for key in values} == values
    assert len(pieces[0]["tokens"]) == 1
    assert last["choices"][0]["finish_reason"] == "length"


def test_results_say_what_happened(llm: Llama) -> None:
    result = llm.generate_result("the quick", 7, GREEDY)
    assert isinstance(result, GenerationResult)
    assert result.usage.prompt_tokens == llm.n_tokens("the quick", True)
    assert (result.usage.completion_tokens, result.usage.cached_tokens) == (7, 0)
    assert result.usage.total_tokens == result.usage.prompt_tokens + 7
    assert result.timings.prompt_ms > 0
    assert result.timings.generation_ms > 0


def test_perf_counts_what_was_computed(llm: Llama) -> None:
    llm.perf_reset()
    llm.generate([1, 5, 6, 7], 11, GREEDY)
    perf = llm.perf()
    assert (perf["n_p_eval"], perf["n_eval"]) == (4, 10)
    assert perf["t_p_eval_ms"] > 0
    assert perf["t_eval_ms"] > 0
    llm.perf_reset()
    perf = llm.perf()
    assert [perf[name] for name in ("n_p_eval", "t_p_eval_ms", "n_eval", "t_eval_ms", "n_reused")] == [0] * 5


def test_half_read_streams_go_on_together(tiny_path: Path) -> None:
    for n_seq_max in (1, 2):
        with Llama(tiny_path, n_ctx=512, n_seq_max=n_seq_max, n_threads=1, verbose=False) as llm:
            expected = [llm.generate(prompt, 30, GREEDY) for prompt in "ab"]
            one, other = llm.generate_stream("a", 30, GREEDY), llm.generate_stream("b", 30, GREEDY)
            texts = [next(one), next(other)]
            for text in one:
                texts[0] += text
            texts[1] += "".join(other)
            assert texts == expected


def test_threads_get_what_single_calls_get(tiny_path: Path) -> None:
    for n_seq_max in (1, 4):
        with Llama(tiny_path, n_ctx=256 * n_seq_max, n_seq_max=n_seq_max, n_threads=1, verbose=False) as llm:
            expected = {str(i): llm.generate(str(i), 20, GREEDY) for i in range(8)}
            with ThreadPoolExecutor(8) as threads:
                answers = list(threads.map(lambda prompt, llm=llm: llm.generate(prompt, 20, GREEDY), expected))
            assert answers == list(expected.values())


def test_an_empty_appended_prompt_goes_on_with_the_last_answer(llm: Llama) -> None:
    whole = llm.generate_result("hello", 30, GREEDY)
    first = llm.generate_result("hello", 10, GREEDY)
    second, third = (llm.generate_result(prompt, 10, GREEDY, reset_kv_cache=False) for prompt in ("", []))
    assert first.token_ids + second.token_ids + third.token_ids == whole.token_ids
    streamed = llm.generate_stream("hello", 30, GREEDY)
    begun = next(streamed) + next(streamed)
    streamed.close()
    rest = llm.generate("", 28, GREEDY, reset_kv_cache=False)
    assert begun + rest == whole.text


def test_a_stream_in_pieces_is_the_whole_text(llm: Llama) -> None:
    for seed in range(20):
        sampling = SamplingParams(temperature=0.5 + seed / 10)
        whole = llm.generate("a", 40, sampling, seed=seed, stop=["b", " to"])
        assert "".join(llm.generate_stream("a", 40, sampling, seed=seed, stop=["b", " to"])) == whole
        assert "".join(llm.generate("a", 40, sampling, seed=seed, stop=["b", " to"], stream=True)) == whole  # type: ignore[arg-type]
        echoed = llm.generate("a", 40, sampling, seed=seed, stop=["b", " to"], stream=True, echo=True)
        assert "".join(echoed) == "a" + whole  # type: ignore[arg-type]


def test_prompts_of_text_and_of_token_ids_are_the_same(llm: Llama) -> None:
    tokens = llm.tokenize("the quick brown")
    plain = llm.generate("the quick brown", 10, GREEDY)
    for prompt in (tokens, tuple(tokens)):
        assert llm.generate(prompt, 10, GREEDY) == plain
    assert llm.generate(llm.tokenize("hello", add_special=False), 5, GREEDY) != llm.generate("hello", 5, GREEDY)


def test_without_a_limit_the_context_is_the_limit(llm: Llama) -> None:
    full = llm.generate("a", None, GREEDY)
    assert llm.generate("a", -1, GREEDY) == full
    assert llm.generate_result("a", None, GREEDY).usage.total_tokens == 256 + 1  # the last one is not computed


def test_stops_of_every_kind_together(llm: Llama) -> None:
    plain = llm.generate_result("a", 30, GREEDY)
    fifth, tenth = plain.token_ids[5], llm.token_to_piece(plain.token_ids[10])
    by_token = llm.generate_result("a", 30, GREEDY, stop=[tenth, fifth])
    assert (by_token.stop_reason, by_token.token_ids) == (fifth, plain.token_ids[:5])
    by_text = llm.generate_result("a", 30, GREEDY, stop=[tenth])
    assert (by_text.stop_reason, by_text.finish_reason) == (tenth, "stop")
    assert plain.text.startswith(by_text.text + tenth)


def test_the_smallest_context(tiny_path: Path) -> None:
    with Llama(tiny_path, n_ctx=1, n_threads=1, verbose=False) as llm:
        assert llm.n_ctx() == 1
        assert len(llm.generate_result("", None, GREEDY).token_ids) == 1
        with pytest.raises(ContextFullError):
            llm.generate("a")


def test_what_the_config_says_of_prompts(tiny_path: Path) -> None:
    text = "<|im_start|>"
    with Llama(tiny_path, n_ctx=256, n_threads=1, verbose=False) as llm:
        plain, special = llm.tokenize(text, False), llm.tokenize(text, False, True)
        assert len(special) == 1 < len(plain)
        assert llm.token_to_piece(special[0]) == text
        expected = {
            (bos, parse): llm.generate([1] * bos + (special if parse else plain), 5, GREEDY)
            for bos in (True, False)
            for parse in (True, False)
        }
    for (bos, parse), answer in expected.items():
        config = {"add_bos": bos, "parse_special": parse}
        with Llama(tiny_path, n_ctx=256, n_threads=1, verbose=False, **config) as llm:
            assert llm.generate(text, 5, GREEDY) == answer
    assert len(set(expected.values())) == 4


def test_metadata_can_be_replaced(tiny_path: Path) -> None:
    overrides = {"tokenizer.ggml.add_bos_token": False, "llama.rope.freq_base": 500.0}
    with Llama(tiny_path, n_ctx=256, n_threads=1, verbose=False) as llm:
        plain = llm.generate([1, *range(40, 80)], 20, GREEDY)
        assert llm.tokenize("a")[0] == llm.token_bos()
    with Llama(tiny_path, n_ctx=256, n_threads=1, verbose=False, kv_overrides=overrides) as llm:
        assert llm.token_bos() not in llm.tokenize("a")
        assert llm.generate([1, *range(40, 80)], 20, GREEDY) != plain


@pytest.mark.parametrize(
    "fields",
    [
        {"type_k": "q8_0"},
        {"type_v": "q8_0"},
        {"type_k": "bf16", "type_v": "bf16"},
        {"flash_attn": 0},
        {"rope_freq_base": 500.0},
        {"rope_freq_scale": 0.25},
        {"rope_scaling_type": "linear", "rope_freq_scale": 0.5},
        {"rope_scaling_type": "yarn", "rope_freq_scale": 0.5, "yarn_orig_ctx": 64, "yarn_ext_factor": 1.0},
        {"attention_type": "non-causal"},
    ],
    ids=lambda fields: "-".join(map(str, fields.items())),
)
def test_settings_of_the_context_reach_it(make_tiny: MakeTiny, fields: dict[str, object]) -> None:
    path = make_tiny(n_head=2, n_head_kv=1)  # 32 numbers in a head, as quantized types need
    prompt = [1, *range(40, 140)]
    logprobs = []
    for changed in ({}, fields):
        with Llama(path, n_ctx=256, n_threads=1, verbose=False, **changed) as llm:
            result = llm.generate_result(prompt, 1, GREEDY, logprobs=20)
            assert result.logprobs is not None
            logprobs.append(result.logprobs["top_logprobs"][0])
    assert logprobs[0] != logprobs[1]


def test_what_the_model_is(tiny_path: Path) -> None:
    with Llama(tiny_path, n_ctx=256, n_threads=1, verbose=False) as llm:
        assert (llm.n_ctx(), llm.n_vocab(), llm.n_embd(), llm.n_layer()) == (256, 2000, 64, 2)
        shared = 2 * 64 + 64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 128
        assert llm.n_params() == 2 * 2000 * 64 + 64 + 2 * shared
        assert llm.model_size() == 4 * llm.n_params()
        assert (llm.token_bos(), llm.token_eos()) == (1, 2)
        assert llm.token_to_piece(llm.token_eot()) == "<|im_end|>"
        assert llm.metadata["llama.block_count"] == "2"
        assert llm.metadata["tokenizer.ggml.model"] == "llama"
        assert llm.get_chat_template() == llm.get_chat_template("tool_use") == ""


def test_chat_templates_by_name(make_tiny: MakeTiny) -> None:
    path = make_tiny(chat_template="{{ messages }}", metadata={"tokenizer.chat_template.tool_use": "{{ tools }}"})
    with Llama(path, n_ctx=256, n_threads=1, verbose=False) as llm:
        assert llm.get_chat_template() == "{{ messages }}"
        assert llm.get_chat_template("tool_use") == "{{ tools }}"
        assert llm.get_chat_template("other") == ""


@pytest.mark.parametrize(
    ("metadata", "config"),
    [
        ({}, {"attention_type": "non-causal"}),
        ({}, {"kv_overrides": {"llama.attention.causal": False}}),
        ({"llama.attention.causal": False}, {}),
    ],
)
def test_a_prompt_of_several_batches_that_attends_to_what_follows(
    make_tiny: MakeTiny, metadata: dict[str, Any], config: dict[str, Any]
) -> None:
    with load(make_tiny(metadata=metadata), n_batch=64, n_ubatch=16, **config) as llm:
        assert len(llm.generate_result([1, *range(300, 400)], 5, GREEDY).token_ids) == 5


ASK = [{"role": "user", "content": "a"}]
STREAMS: dict[str, Callable[[Llama], Any]] = {
    "generate": lambda llm: llm.generate("a", None, stream=True),
    "logprobs": lambda llm: llm.generate("a", None, stream=True, logprobs=1),
    "generate_stream": lambda llm: llm.generate_stream("a", None),
    "completion": lambda llm: llm.create_completion("a", max_tokens=None, stream=True),
    "several": lambda llm: llm.create_completion(["a", "b"], max_tokens=None, stream=True),
    "chat": lambda llm: llm.create_chat_completion(ASK, max_tokens=None, stream=True),
    "openai": lambda llm: llm.create_chat_completion_openai_v1(ASK, max_tokens=None, stream=True),
    "functions": lambda llm: llm.create_chat_completion(ASK, max_tokens=None, stream=True, function_call="none"),
    "rows": lambda llm: llm.iter_batch(["a"] * 1000, max_tokens=20),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_another_thread_may_close_a_stream(make_tiny: MakeTiny, kind: str) -> None:
    endless = SamplingParams(temperature=1.0, logit_bias=dict.fromkeys(range(40, 60), 1e6))
    path = make_tiny(n_ctx_train=100_000)
    with load(path, n_ctx=65536, chat_format="chatml", sampling=endless) as llm:
        stream = STREAMS[kind](llm)
        read: list[object] = []
        begun = threading.Event()

        def go_on() -> None:
            for item in stream:
                read.append(item)
                begun.set()
            read.append("the end")

        reader = threading.Thread(target=go_on)
        reader.start()
        assert begun.wait(20)
        time.sleep(0.05)
        stream.close()
        reader.join(10)
        assert not reader.is_alive()
        assert read[-1] == "the end"
        assert list(stream) == []
        stream.close()
        assert len(llm.generate_result("a", 3).token_ids) == 3
