"""What programs written for llama-cpp-python do; known values are those of llama-cpp-python 0.3.36."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

import llama_cpp
from llama_cpp import (
    ContextFullError,
    GenerationError,
    Llama,
    LlamaGrammar,
    LlamaWarning,
    SamplingParams,
    ValidationError,
)
from llama_cpp.compat.chat_formats import CHAT_FORMATS
from llama_cpp.llama_chat_format import (
    ChatFormatterResponse,
    Jinja2ChatFormatter,
    LlamaChatCompletionHandlerRegistry,
    get_chat_completion_handler,
    register_chat_completion_handler,
    register_chat_format,
)
from llama_cpp.llama_tokenizer import BaseLlamaTokenizer
from tests import tiny
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load

PROMPT = b"The capital of France is"
PROMPT_IDS = [504, 3575, 282, 4649, 314]
GREEDY_IDS = [7042, 30, 198, 198, 504, 1797, 1918, 553]
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France? Answer in English."},
]
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "city",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 8}},
            "required": ["name"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(scope="module")
def smol(smollm2_path: Path) -> Iterator[Llama]:
    """Return the real model, loaded as programs load it."""
    llm = Llama(model_path=str(smollm2_path), n_ctx=512, n_threads=1, verbose=False, n_gpu_layers=-1, seed=4294967295)
    yield llm
    llm.close()


@pytest.fixture(scope="module")
def llm(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path, logits_all=True) as llm:
        yield llm


@pytest.fixture(scope="module")
def chatty(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path, n_ctx=1024, chat_format="chatml-function-calling") as llm:
        yield llm


# -- the constructor ---------------------------------------------------------------------------------------------------


def test_every_keyword_of_the_constructor_is_taken(make_tiny: MakeTiny) -> None:
    path = str(make_tiny(n_ctx_train=96))
    with Llama(
        model_path=path, n_gpu_layers=0, split_mode=1, main_gpu=0, tensor_split=None, vocab_only=False, use_mmap=True,
        use_mlock=False, kv_overrides=None, seed=0xFFFFFFFF, n_ctx=0, n_batch=64, n_ubatch=64, n_threads=1,
        n_threads_batch=0, rope_scaling_type=-1, pooling_type=-1, attention_type=-1, rope_freq_base=0.0,
        rope_freq_scale=0.0, yarn_ext_factor=-1.0, yarn_attn_factor=1.0, yarn_beta_fast=32.0, yarn_beta_slow=1.0,
        yarn_orig_ctx=0, logits_all=False, embedding=False, offload_kqv=True, flash_attn=False, op_offload=None,
        swa_full=None, no_perf=False, last_n_tokens_size=32, lora_base=None, lora_scale=1.0, lora_path=None, numa=False,
        chat_format=None, chat_handler=None, draft_model=None, tokenizer=None, type_k=None, type_v=1, spm_infill=False,
        verbose=False,
    ) as llm:  # fmt: skip
        assert (llm.n_ctx(), llm.n_batch, llm.verbose) == (96, 64, False)
        assert llm.context_params.n_ctx == 96
        assert llm.context_params.flash_attn_type == 0
        assert llm.model_params.n_gpu_layers == 0
        assert llm.last_n_tokens_size == llm.sampling.repeat_last_n == 32
        assert llm.model_path == path
        assert isinstance(llm.metadata, dict)
        assert llm.generate("the people", 4)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"n_parts": -1}, "no argument 'n_parts'"),
        ({"f16_kv": True}, "no argument 'f16_kv'"),
        ({"device": None}, "no argument 'device'"),
        ({"stop": []}, "no argument 'stop'"),
        ({"kwargs": {}}, "no argument 'kwargs'"),
        ({"chat_handler_class": None}, "did you mean 'chat_handler'"),
        ({"lora_base": "base.gguf"}, "lora_base='base.gguf' has no effect"),
        ({"no_perf": True}, "no_perf=True has no effect"),
        ({"n_batch": 512}, r"n_batch \(512\) is lowered to n_ctx \(256\)"),
        ({"n_batch": 64, "n_ubatch": 128}, r"n_ubatch \(128\) is lowered to n_batch \(64\)"),
        ({"draft_model": max}, "draft_model=.* is not used"),
    ],
)
def test_what_means_nothing_is_warned_about(tiny_path: Path, keywords: dict[str, Any], message: str) -> None:
    with pytest.warns(LlamaWarning, match=message) as caught, load(tiny_path, **keywords) as other:
        assert other.n_batch == keywords.get("n_batch", 256) or other.n_batch == 256
    assert len(caught) == 1


def test_flags_may_be_numbers_or_none(tiny_path: Path) -> None:
    with load(tiny_path, verbose=0, embedding=None, logits_all=1, offload_kqv=None) as other:
        config = other.config
        assert (config.verbose, config.embeddings, config.logits_all, config.offload_kqv) == (False, False, True, True)


def test_both_batch_sizes_are_lowered_to_the_context(tiny_path: Path) -> None:
    with pytest.warns(LlamaWarning) as caught, load(tiny_path, n_batch=512, n_ubatch=512) as other:
        assert (other.context_params.n_batch, other.context_params.n_ubatch) == (256, 256)
    assert [str(warning.message) for warning in caught] == [
        "n_batch (512) is lowered to n_ctx (256)",
        "n_ubatch (512) is lowered to n_batch (256)",
    ]


def test_a_warning_points_at_the_program(tiny_path: Path) -> None:
    with pytest.warns(LlamaWarning) as caught:
        Llama(tiny_path, n_ctx=64, n_threads=1, verbose=False, n_parts=1).close()
    assert caught[0].filename == __file__


@pytest.mark.parametrize("n_ctx", [0, None])
def test_the_context_is_as_large_as_the_model_was_trained_for(make_tiny: MakeTiny, n_ctx: int | None) -> None:
    path = make_tiny(n_ctx_train=96)
    with load(path, n_ctx=n_ctx) as other:
        assert other.n_ctx() == 96
        assert pickle.loads(pickle.dumps(other)).n_ctx() == 96
    with (
        pytest.warns(LlamaWarning, match=r"n_batch \(512\) is lowered to n_ctx \(96\)"),
        load(path, n_ctx=n_ctx, n_batch=512),
    ):
        pass


def test_what_cannot_be_made_raises_value_errors(tmp_path: Path, smollm2_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.gguf"):
        Llama(model_path=str(tmp_path / "nowhere.gguf"))
    with pytest.raises(ValueError, match="lower n_ctx"):
        Llama(model_path=str(smollm2_path), n_ctx=2**30, verbose=False)


def test_a_prompt_that_is_too_long_is_a_value_error(llm: Llama) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        llm("the people " * 300)
    assert issubclass(ContextFullError, ValueError)


def test_an_adapter_of_the_constructor_acts(tiny_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "adapter.gguf"
    tiny.write_lora(path, tiny_path)
    with load(tiny_path) as plain, load(tiny_path, lora_path=str(path), lora_scale=4.0) as adapted:
        adapter = plain.load_lora(path, 4.0)
        assert adapted.generate("the", 8, GREEDY) == plain.generate("the", 8, GREEDY)
        plain.remove_lora(adapter)
        assert adapted.generate("the", 8, GREEDY) != plain.generate("the", 8, GREEDY)
        copy = pickle.loads(pickle.dumps(adapted))
        assert copy.generate("the", 8, GREEDY) == adapted.generate("the", 8, GREEDY)
        copy.close()


def test_prompt_lookup_is_the_engines_own(tiny_path: Path) -> None:
    lookup = llama_cpp.llama_speculative.LlamaPromptLookupDecoding(num_pred_tokens=5)
    with load(tiny_path, draft_model=lookup) as other, load(tiny_path) as plain:
        prompt = [5, 6, 7, 8] * 12
        guessed = other.generate_result(prompt, 24, GREEDY)
        assert guessed.usage.drafted_tokens > 0
        assert guessed.text == plain.generate(prompt, 24, GREEDY)
    assert lookup(np.array([1, 2, 3, 9, 1, 2], dtype=np.intc)).tolist() == [3, 9, 1, 2]
    assert lookup(np.array([1, 2, 3], dtype=np.intc)).tolist() == []


def test_settings_can_be_read_and_some_be_set(tiny_path: Path) -> None:
    lookup = llama_cpp.LlamaPromptLookupDecoding(num_pred_tokens=5)
    with load(tiny_path, tensor_split=[1.0]) as other:
        assert (other.lora_path, other.lora_base, other.lora_scale, other.numa) == (None, None, 1.0, False)
        assert (other.tensor_split, other.draft_model) == ([1.0], None)
        other.draft_model = lookup
        assert other.draft_model.num_pred_tokens == 5
        assert other.generate_result([5, 6, 7, 8] * 12, 24, GREEDY).usage.drafted_tokens > 0
        other.draft_model = None
        assert other.draft_model is None
        assert other.generate_result([5, 6, 7, 8] * 12, 24, GREEDY).usage.drafted_tokens == 0
        other.last_n_tokens_size = 0
        assert other.sampling.repeat_last_n == other.last_n_tokens_size == 0
        other.verbose = 0
        assert other.config.verbose is other.verbose is False
        for name, value in (("verbose", "yes"), ("last_n_tokens_size", -2), ("draft_model", max)):
            with pytest.raises(ValidationError, match=name):
                setattr(other, name, value)


def test_a_tokenizer_of_the_caller_makes_prompts(tiny_path: Path) -> None:
    class Fixed(BaseLlamaTokenizer):
        def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
            return [1] * add_bos + [300, 301]

        def detokenize(self, tokens: list[int], prev_tokens: list[int] | None = None, special: bool = False) -> bytes:
            return b"fixed"

    with load(tiny_path, tokenizer=Fixed()) as other:
        assert other.tokenize(b"whatever") == [1, 300, 301]
        assert other.detokenize(other.tokenize(b"whatever")) == b"fixed"
        assert other.generate("whatever", 6, GREEDY) == other.generate([1, 300, 301], 6, GREEDY)


def test_gaps_are_filled_with_the_suffix_first_if_the_model_wants_that(make_tiny: MakeTiny) -> None:
    fim = {f"tokenizer.ggml.fim_{name}_token_id": 300 + index for index, name in enumerate(("pre", "suf", "mid"))}
    path = make_tiny("llama", metadata=fim)
    with load(path, spm_infill=True) as other:
        one, two = (other.tokenize(text, add_special=False) for text in ("one", " two"))
        made: Any = other.create_completion("one", suffix=" two", max_tokens=4, sampling=GREEDY)
        ids = [*other.tokenize(""), 301, *two, 300, *one, 302]
        assert made["choices"][0]["text"] == other.generate(ids, 4, GREEDY)


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_bytes_give_bytes(smol: Llama) -> None:
    ids = smol.tokenize(PROMPT)
    assert ids == PROMPT_IDS
    assert smol.tokenize(PROMPT, False, True) == smol.tokenize(PROMPT, add_bos=False, special=True) == PROMPT_IDS
    assert smol.detokenize(ids) == PROMPT
    assert type(smol.detokenize(ids)) is bytes
    assert b"".join(smol.detokenize([token]) for token in ids) == PROMPT
    text = "naïve <|im_end|>".encode()
    assert smol.tokenize(text, add_bos=False, special=True) == [3546, 46494, 216, 2]
    assert smol.tokenize(text, add_bos=False) == [3546, 46494, 2067, 108, 306, 79, 486, 108, 46]
    special = smol.tokenize(text, special=True)
    assert (smol.detokenize(special), smol.detokenize(special, special=True)) == ("naïve ".encode(), text)
    part = smol.tokenize("😀".encode())
    with pytest.raises(UnicodeDecodeError):
        smol.detokenize(part[:1]).decode()
    assert smol.detokenize(part).decode() == "😀"


def test_text_gives_text_that_has_its_bytes(smol: Llama) -> None:
    text = smol.detokenize(smol.tokenize("naïve"))
    assert isinstance(text, str)
    assert text == "naïve"
    assert (text.decode("utf-8"), bytes(text), b"> " + text) == ("naïve", "naïve".encode(), b"> na\xc3\xafve")
    assert "> " + text == "> naïve"
    assert pickle.loads(pickle.dumps(text)).decode() == "naïve"
    part = [int(token) for token in smol.tokenize("😀".encode())][:1]
    assert smol.detokenize(part) == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        smol.detokenize(part).decode()
    assert smol.detokenize(part).decode("utf-8", errors="ignore") == ""
    assert smol.detokenize(PROMPT_IDS, special=False) == smol.detokenize(PROMPT_IDS, [5, 6]) == PROMPT
    with pytest.raises(ValidationError, match="spezial"):
        smol.detokenize(PROMPT_IDS, spezial=True)
    assert smol.detokenize(smol.tokenize(b"a\0b", add_bos=False)) == b"a\0b"


def test_the_tokenizer_is_an_object_too(smol: Llama, smollm2_path: Path) -> None:
    tokenizer = smol.tokenizer()
    assert tokenizer.tokenize(PROMPT) == PROMPT_IDS
    assert tokenizer.detokenize([int(token) for token in PROMPT_IDS]) == PROMPT
    assert tokenizer.decode(tokenizer.encode("naïve")) == "naïve"
    assert tokenizer.detokenize([3546, 2], special=True) == b"na<|im_end|>"
    assert llama_cpp.LlamaTokenizer.from_ggml_file(str(smollm2_path)).encode("naïve") == tokenizer.encode("naïve")
    assert (smol.token_bos(), smol.token_eos(), smol.token_nl()) == (1, 2, 198)


def test_a_space_before_the_text_goes_with_the_bos(llm: Llama) -> None:
    ids = llm.tokenize(b"the people")
    assert ids[0] == llm.token_bos()
    assert llm.detokenize(ids) == b"the people"
    assert llm.detokenize(ids[1:]) == b" the people"


def test_numbers_and_arrays_of_numpy_are_taken(llm: Llama) -> None:
    ids = llm.tokenize("the people")
    array = np.array(ids)
    llm.reset()
    llm.eval(array)
    token = np.argmax(llm.scores[llm.n_tokens - 1])
    assert type(token) is np.int64
    assert llm.detokenize([token]) == llm.detokenize([int(token)])
    assert llm.detokenize(llm.input_ids) == llm.detokenize(ids)
    text = llm.generate(ids, 4, GREEDY)
    assert llm.generate(array, 4, GREEDY) == llm.generate([np.int32(token) for token in ids], 4, GREEDY) == text
    many: Any = llm.generate_batch([array, {"prompt": array}], max_tokens=np.int64(4), sampling=GREEDY)
    assert [row.text for row in many] == [text, text]
    assert all(type(token) is int for row in many for token in row.token_ids)
    steps: Any = llm.generate(array, temp=np.float32(0.0))
    assert llm.detokenize(list(itertools.islice(steps, 4))) == text.encode()
    for prompt in (array, [array], np.array([ids])):
        made: Any = llm(prompt, max_tokens=np.int64(4), sampling=GREEDY, logprobs=np.int64(1), stop=[np.int64(0)])
        assert json.loads(json.dumps(made))["choices"][0]["text"] == text
    assert type(llm.generate_result(array, 1, seed=np.int64(5)).seed) is int
    assert llm.detokenize(array, prev_tokens=array) == b"the people"
    for wrong in (np.array([1.0]), np.array([True]), np.array([ids]), np.array(5)):
        with pytest.raises(ValidationError, match="tokens"):
            llm.detokenize(wrong)


# -- one step at a time ------------------------------------------------------------------------------------------------


def test_generate_gives_token_ids_for_ever(smol: Llama) -> None:
    stream = smol.generate(smol.tokenize(PROMPT), temp=0.0)
    ids = list(itertools.islice(stream, 8))
    assert ids == GREEDY_IDS
    assert smol.detokenize(ids) == b" Paris.\n\nThe United States has"
    assert smol.n_tokens == len(PROMPT_IDS) + 7  # the last one is not computed
    assert (
        list(smol.generate(PROMPT_IDS, temp=0.0, stopping_criteria=lambda ids, logits: len(ids) == 7)) == GREEDY_IDS[:2]
    )
    with pytest.raises(ValidationError, match="nope"):
        smol.generate(PROMPT_IDS, temp=0.0, nope=1)  # type: ignore[call-arg]
    text = smol.generate(PROMPT_IDS, 8, SamplingParams(temperature=0, repeat_penalty=1.0))
    assert text == " Paris.\n\nThe United States has"


def test_generate_goes_past_the_end_and_takes_what_is_sent(tmp_path: Path) -> None:
    path = tiny.write_chain_model(tmp_path / "chain.gguf", ["one ", "two ", "three"])
    with load(path) as chain:
        stream: Any = chain.generate(chain.tokenize(b"go"), temp=0.0)
        ids = [next(stream) for _ in range(6)]
        assert chain.detokenize(ids[:3]) == b"one two three"
        assert ids[3] == chain.token_eos()
        assert len(ids) == 6
        stream = chain.generate(chain.tokenize(b"go"), temp=0.0)
        one = next(stream)
        two = ids[1]
        assert stream.send([two]) == ids[2]
        assert chain.input_ids.tolist()[-2:] == [one, two]


def test_seeds_grammars_and_processors_reach_every_step(llm: Llama) -> None:
    prompt = llm.tokenize(b"the people")
    first, again, other = (list(itertools.islice(llm.generate(prompt, seed=seed), 12)) for seed in (1, 1, 2))
    assert first == again != other
    for grammar in (LlamaGrammar.from_string('root ::= "yes"'), LlamaGrammar.from_choices(["yes"])):
        ids = list(llm.generate(prompt, grammar=grammar, stopping_criteria=lambda ids, _: ids[-1] == llm.token_eos()))
        assert llm.detokenize(ids) == b"yes"
    seen: list[int] = []

    def only_300(ids: Any, scores: Any) -> Any:
        seen.append(len(ids))
        scores[:] = -np.inf
        scores[300] = 0.0
        return scores

    assert next(llm.generate(prompt, logits_processor=llama_cpp.LogitsProcessorList([only_300]))) == 300
    assert seen == [len(prompt)]
    banned = llm.sample(temp=0.0)
    for arguments in ({"temp": -1.0}, {"mirostat_mode": 1}, {"mirostat_mode": 2}, {"repeat_penalty": 1.5}):
        assert 0 <= llm.sample(seed=1, **arguments) < llm.n_vocab()
    assert (
        llm.sample(
            temp=0.0, logits_processor=lambda ids, scores: np.where(np.arange(len(scores)) == banned, -9e9, scores)
        )
        != banned
    )
    assert llm.sample(40, 0.95, 0.05, 1.0, 0.0, 1.0) == llm.sample(temp=0.0)
    with pytest.raises(ValidationError, match="idx"):
        llm.sample(idx=0)
    with pytest.raises(ValidationError, match="top_p"):
        llm.sample(top_p=2.0)


def test_penalties_see_the_tokens_that_were_chosen_before(llm: Llama) -> None:
    llm.reset()
    llm.eval(llm.tokenize(b"the people"))
    best = llm.sample(temp=0.0)
    llm.eval([best])
    again = llm.sample(temp=0.0)
    assert llm.sample(temp=0.0, presence_penalty=1e5) != best
    llm.reset()
    llm.eval([*llm.tokenize(b"the people"), best])  # now a part of the prompt
    assert llm.sample(temp=0.0, presence_penalty=1e5) == again
    llm.eval([again])
    assert llm.n_tokens == len(llm.tokenize(b"the people")) + 2
    assert llm.sample(temp=0.0, presence_penalty=1e5) != again


def test_eval_and_scores_are_what_the_model_says(llm: Llama) -> None:
    ids = llm.tokenize(b"the people of the world")
    llm.reset()
    with pytest.raises(ValidationError, match="eval"):
        llm.sample()
    assert (int(llm.n_tokens), llm.input_ids.tolist(), len(llm.eval_logits)) == (0, [], 0)
    llm.eval(ids[:2])
    llm.eval(ids[2:])
    llm.eval([])
    assert llm.n_tokens == len(ids)
    assert llm.input_ids.dtype == np.intc
    assert llm.input_ids.tolist() == llm._input_ids.tolist() == list(llm.eval_tokens) == ids
    assert llm.detokenize(llm.eval_tokens) == b"the people of the world"
    scores = np.asarray(llm.scores)
    assert scores.shape == llm.scores.shape == (len(ids), llm.n_vocab())
    assert np.allclose(llm._scores[-1], scores[-1], atol=1e-3)
    assert np.allclose(llm.scores[len(ids) - 1, :5], scores[-1, :5], atol=1e-3)
    assert np.array_equal(llm.scores[:2], scores[:2])
    assert np.allclose(llm.eval_logits[-1], scores[-1])
    assert len(llm.eval_logits) == len(ids)
    logprobs = Llama.logits_to_logprobs(scores)
    expected = llm.logprobs(ids).token_logprobs
    found = [None, *(float(logprobs[index, token]) for index, token in enumerate(ids[1:]))]
    assert found[1:] == pytest.approx(expected[1:], abs=1e-3)
    assert llm.sample(temp=0.0) == int(np.argmax(scores[-1]))


def test_the_memory_can_be_emptied_as_programs_do(llm: Llama) -> None:
    llm.eval([5, 6, 7])
    llm._ctx.kv_cache_clear()
    assert llm.n_tokens == 0
    assert llm._ctx.ctx is llm.ctx


def test_scores_have_what_arrays_have(llm: Llama) -> None:
    llm.reset()
    llm.eval(llm.tokenize(b"the people"))
    scores, array = llm.scores, np.asarray(llm.scores)
    assert (scores.dtype, scores.ndim, scores.size) == (array.dtype, array.ndim, array.size)
    assert np.array_equal(scores.argmax(axis=-1), array.argmax(axis=-1))
    assert np.array_equal(scores.copy(), array)
    with pytest.raises(AttributeError, match="nothing"):
        _ = scores.nothing


def test_logits_are_those_of_the_adapters_in_use(tiny_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "adapter.gguf"
    tiny.write_lora(path, tiny_path)
    with load(tiny_path) as other:
        other.eval(other.tokenize(b"the people"))
        plain = other.scores[-1]
        adapter = other.load_lora(path, 4.0)
        assert np.allclose(other.scores[-1], np.asarray(other.scores)[-1], atol=1e-3)
        assert not np.allclose(other.scores[-1], plain, atol=1e-3)
        other.remove_lora(adapter)
        assert np.allclose(other.scores[-1], plain, atol=1e-3)
        other.set_control_vector(np.ones((other.n_layer() - 1, other.n_embd()), dtype=np.float32), 4.0)
        assert not np.allclose(other.scores[-1], plain, atol=1e-3)
        other.set_control_vector(None)
        assert np.allclose(other.scores[-1], plain, atol=1e-3)


def test_scores_of_more_tokens_than_a_batch_has_rows_for(tiny_path: Path) -> None:
    with load(tiny_path) as other:
        ids = [5 + index % 90 for index in range(150)]
        other.eval(ids)
        scores = np.asarray(other.scores)
        assert scores.shape == (150, other.n_vocab())
        assert np.allclose(scores[-1], other.scores[-1], atol=0.05)
        assert len(other.eval_logits) == 1  # without logits_all=True, as there


@pytest.mark.parametrize("arch", ["llama", "mamba"])
def test_the_number_of_tokens_can_be_set(make_tiny: MakeTiny, arch: str) -> None:
    with load(make_tiny(arch)) as other:
        ids = other.tokenize(b"the people of the world")
        other.eval(ids)
        expected = other.sample(temp=0.0)
        other.eval([300, 301])
        other.n_tokens = len(ids)  # type: ignore[assignment]
        assert other.sample(temp=0.0) == expected
        assert other.n_tokens("the people") == 2
        assert other.n_tokens("the people", add_special=True) == other.n_tokens("the people", True) == 3
        with pytest.raises(ValidationError, match="n_tokens"):
            other.n_tokens = 100  # type: ignore[assignment]
        other.reset()
        assert other.n_tokens == 0


def test_other_calls_may_come_between_eval_and_sample(llm: Llama) -> None:
    llm.reset()
    llm.eval(llm.tokenize(b"the people"))
    llm.generate("something else", 5, GREEDY)
    ids = llm.input_ids.tolist()
    expected = llm.sample(temp=0.0)
    llm.reset()
    llm.eval(ids)
    assert llm.sample(temp=0.0) == expected


# -- states and caches -------------------------------------------------------------------------------------------------


def test_a_state_is_an_object_without_a_path(llm: Llama, tmp_path: Path) -> None:
    ids = llm.tokenize(b"the people of the world")
    llm.reset()
    llm.eval(ids)
    expected = llm.sample(temp=0.0)
    llm.set_seed(11)
    state: Any = llm.save_state()
    assert isinstance(state, llama_cpp.LlamaState)
    assert (state.n_tokens, state.input_ids.tolist(), state.seed) == (len(ids), ids, 11)
    assert state.llama_state_size == len(state.llama_state)
    llm.reset()
    llm.set_seed(-1)
    llm.load_state(pickle.loads(pickle.dumps(state)))
    assert llm.input_ids.tolist() == ids
    assert llm.sample(temp=0.0) == expected
    assert llm.config.seed == 11
    llm.set_seed(-1)
    assert llm.save_state(tmp_path / "state") is None
    llm.load_state(tmp_path / "state")


def test_set_seed_makes_calls_repeat_in_their_order(llm: Llama) -> None:
    llm.set_seed(3)
    texts = [llm.generate("the people", 8) for _ in range(3)]
    assert len(set(texts)) == 3
    llm.set_seed(3)
    assert [llm.generate("the people", 8) for _ in range(3)] == texts
    llm.set_seed(-1)


@pytest.mark.parametrize("kind", ["LlamaRAMCache", "LlamaDiskCache", "LlamaCache"])
def test_a_cache_lets_calls_go_on_from_what_is_there(tiny_path: Path, kind: str) -> None:
    with load(tiny_path) as other:
        head = other.tokenize(b"the people of the world and more of them")
        other.set_cache(getattr(llama_cpp, kind)())
        for ids in (head, [*head, 300]):
            other.create_completion(ids, max_tokens=2, sampling=GREEDY)
        assert other.perf()["n_p_eval"] <= len(head) + 2
        stream = other.generate([*head, 301], temp=0.0)
        assert next(stream) >= 0
        assert other.perf()["n_p_eval"] <= len(head) + 3
        other.set_cache(None)
        other.create_completion(head, max_tokens=2, sampling=GREEDY)
        assert other.perf()["n_p_eval"] >= 2 * len(head)


def test_caches_keep_states_by_their_tokens() -> None:
    cache = llama_cpp.llama_cache.LlamaRAMCache(capacity_bytes=10)
    state = llama_cpp.LlamaState(np.array([1, 2]), None, 2, b"1234", 4, None)
    cache[[1, 2]] = state
    assert cache[[1, 2, 3]] is state
    assert [1] in cache
    assert [2] not in cache
    with pytest.raises(KeyError):
        cache[[5]]
    cache[[5]] = state
    cache[[1, 2]]
    cache[[6]] = state
    assert [[key] in cache for key in (1, 5, 6)] == [True, False, True]
    assert cache.cache_size == 8


# -- completions -------------------------------------------------------------------------------------------------------


def test_completions_take_the_arguments_of_programs(smol: Llama) -> None:
    common: dict[str, Any] = {
        "suffix": None, "temperature": 0, "top_p": 0.95, "min_p": 0.0, "typical_p": 1.0, "logprobs": None, "stop": [],
        "frequency_penalty": 0.0, "presence_penalty": 0.0, "repeat_penalty": 1.0, "top_k": 40, "seed": -1, "tfs_z": 1.0,
        "mirostat_mode": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1, "model": None, "stopping_criteria": None,
        "logits_processor": None, "grammar": None, "logit_bias": None,
    }  # fmt: skip
    response: Any = smol("The capital of France is", max_tokens=6, echo=True, **common)
    assert isinstance(response, dict)
    assert response["choices"] == [
        {
            "text": "The capital of France is Paris.\n\nThe United",
            "index": 0,
            "logprobs": None,
            "finish_reason": "length",
        }
    ]
    assert response["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    assert smol.create_completion(PROMPT_IDS, max_tokens=6, **common)["choices"][0]["text"] == " Paris.\n\nThe United"
    chunks: list[Any] = list(smol("The capital of France is", max_tokens=3, stream=True, **common))
    assert [chunk["choices"][0]["text"] for chunk in chunks] == [" Paris", ".", "\n", ""]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, None, "length"]
    assert all(isinstance(chunk, dict) and {"id", "model", "created"} <= chunk.keys() for chunk in chunks)
    unlimited: Any = smol("The capital of France is", **{**common, "max_tokens": -1, "stop": "\n"})
    assert unlimited["choices"][0]["text"] == " Paris."
    assert (
        smol(prompt="The capital of France is", max_tokens=None, **{**common, "stop": ["\n"]})["choices"]
        == unlimited["choices"]
    )
    scored: Any = smol("The capital of France is", max_tokens=2, **{**common, "logprobs": 2})
    assert scored["choices"][0]["logprobs"]["tokens"] == [" Paris", "."]
    scored = smol("The capital of France is", max_tokens=1, echo=0, stream=None, temperature=0, logprobs=True)
    assert list(scored["choices"][0]["logprobs"]["top_logprobs"][0]) == [" Paris"]
    plain: Any = next(iter(smol("The capital of France is", max_tokens=1, echo=1, stream=1, logprobs=False)))
    assert plain["choices"][0]["logprobs"] is None
    assert plain["choices"][0]["text"] == "The capital of France is"
    with pytest.raises(ValidationError, match="stream"):
        smol("a", stream=2)


def test_a_completion_of_nothing_begins_with_bos(smol: Llama) -> None:
    assert smol.tokenize("") == []
    nothing: Any = smol.create_completion(echo=True, max_tokens=4, sampling=GREEDY)
    assert nothing["choices"][0]["text"] == smol.generate([smol.token_bos()], 4, GREEDY)
    assert nothing["usage"]["prompt_tokens"] == 1
    goes_on: Any = smol("", reset_kv_cache=False, max_tokens=1, sampling=GREEDY)
    begun = nothing["choices"][0]["text"]
    assert begun + goes_on["choices"][0]["text"] == smol.generate([smol.token_bos()], 5, GREEDY)
    with pytest.raises(ValidationError, match="the prompt is empty"):
        smol.generate("")
    with pytest.warns(LlamaWarning, match="tfs_z=0.5 has no effect"):
        smol("a", max_tokens=1, tfs_z=0.5)


def test_stopping_criteria_end_a_completion(llm: Llama) -> None:
    n_prompt = len(llm.tokenize("the people"))
    calls: list[int] = []

    def after_three(ids: Any, logits: Any) -> bool:
        calls.append(len(ids))
        assert logits.shape == (llm.n_vocab(),)
        return len(ids) == n_prompt + 3

    for criteria in (after_three, [after_three], llama_cpp.StoppingCriteriaList([after_three])):
        response: Any = llm("the people", max_tokens=20, sampling=GREEDY, stopping_criteria=criteria)
        assert response["choices"][0]["finish_reason"] == "stop"
        assert response["choices"][0]["text"] == llm.generate("the people", 3, GREEDY)
        assert response["usage"]["completion_tokens"] == 3
    assert calls == [*range(n_prompt, n_prompt + 4)] * 3
    with pytest.raises(ValidationError, match="stopping_criteria"):
        llm("the people", stopping_criteria=[5])
    with pytest.raises(GenerationError, match="stopping criterion raised ZeroDivisionError"):
        llm("the people", stopping_criteria=lambda ids, logits: 1 / 0)


def test_stopping_criteria_end_what_may_not_end(llm: Llama) -> None:
    n_prompt = len(llm.tokenize("the people"))
    common: dict[str, Any] = {"max_tokens": 20, "temperature": 0, "logits_processor": lambda ids, scores: scores}

    def after_three(ids: Any, logits: Any) -> bool:
        return len(ids) == n_prompt + 3

    for held in (
        {"grammar": LlamaGrammar.from_string("root ::= [a-z]+ [0-9]")},
        {"grammar": LlamaGrammar.from_regex("[a-z]{50}")},
        {"logit_bias": {llm.token_eos(): -math.inf}},
    ):
        free: Any = llm("the people", **{**common, "max_tokens": 3}, **held)
        response: Any = llm("the people", **common, **held, stopping_criteria=after_three)
        assert response["choices"][0] == {**free["choices"][0], "finish_reason": "stop"}
        chunks: list[Any] = list(llm("the people", **common, **held, stopping_criteria=after_three, stream=True))
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == free["choices"][0]["text"]


def test_logits_processors_may_be_plain_lists(llm: Llama) -> None:
    def only(token: int) -> Any:
        def process(ids: Any, scores: Any) -> Any:
            assert (ids.dtype, scores.dtype) == (np.intc, np.float32)
            changed = np.full_like(scores, -np.inf)
            changed[token] = 0.0
            return changed

        return process

    expected = llm.detokenize([300, 300], special=True).decode()
    for processors in ([only(300)], llama_cpp.LogitsProcessorList([only(299), only(300)])):
        response: Any = llm("the people", max_tokens=2, logits_processor=processors)
        assert response["choices"][0]["text"].strip() == expected.strip()


def test_a_processor_can_ask_for_enough_tokens(llm: Llama) -> None:
    def end_at_once(ids: Any, scores: Any) -> None:
        scores[:] = -np.inf
        scores[[llm.token_eos(), 300]] = (1.0, 0.0)

    enough = llama_cpp.llama.MinTokensLogitsProcessor(3, llm.token_eos())
    for processors in ([end_at_once, enough], llama_cpp.LogitsProcessorList([end_at_once, enough])):  # type: ignore[list-item]
        enough._n_prompt = None
        response: Any = llm("the", max_tokens=9, sampling=GREEDY, logits_processor=processors)
        assert response["usage"]["completion_tokens"] == 3
        assert response["choices"][0]["finish_reason"] == "stop"


# -- embeddings --------------------------------------------------------------------------------------------------------


def test_embeddings_come_as_rows(make_tiny: MakeTiny) -> None:
    path = make_tiny("bert", pooling=gguf.PoolingType.MEAN)
    with Llama(model_path=str(path), embedding=True, n_ctx=128, n_threads=1, verbose=False) as other:
        row = other.embed("the people")
        assert len(row) == other.n_embd()
        rows, count = other.embed(["the people", "of"], normalize=True, truncate=True, return_count=True)
        assert count == sum(len(other.tokenize(text)) for text in ("the people", "of"))
        assert np.linalg.norm(rows[1]) == pytest.approx(1.0)
        assert other.embed(["the people", "of"], True, True, True) == (rows, count)
        response: Any = other.create_embedding(["the people", "of"])
        assert response["data"][0]["embedding"] == pytest.approx(row, abs=1e-5)
    none = llama_cpp.LLAMA_POOLING_TYPE_NONE
    with Llama(model_path=str(path), embedding=True, pooling_type=none, n_ctx=128, n_threads=1, verbose=False) as other:
        assert other.pooling_type() == none
        texts = ["the people", "of"]
        each = [other.embed(text) for text in texts]
        assert [len(rows) for rows in each] == [len(other.tokenize(text)) for text in texts]
        for one, together in zip(each, other.embed(texts), strict=True):
            assert np.allclose(one, together, atol=1e-5)


# -- chat --------------------------------------------------------------------------------------------------------------


def test_chats_take_the_arguments_of_programs(smol: Llama) -> None:
    common: dict[str, Any] = {
        "functions": None, "function_call": None, "tools": [], "tool_choice": None, "temperature": 0, "top_p": 0.95,
        "top_k": 40, "min_p": 0.0, "typical_p": 1.0, "stop": None, "seed": None, "response_format": None,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "repeat_penalty": 1.0, "tfs_z": 1.0, "mirostat_mode": 0,
        "mirostat_tau": 5.0, "mirostat_eta": 0.1, "model": None, "logits_processor": None, "grammar": None,
        "logit_bias": None, "logprobs": None, "top_logprobs": None,
    }  # fmt: skip
    response: Any = smol.create_chat_completion(messages=MESSAGES, max_tokens=None, stream=False, **common)
    assert isinstance(response, dict)
    assert response["choices"][0]["message"] == {"role": "assistant", "content": "The capital of France is Paris."}
    assert response["choices"][0]["finish_reason"] == "stop"
    chunks: list[Any] = list(smol.create_chat_completion(messages=MESSAGES, max_tokens=3, stream=True, **common))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert [delta["content"] for delta in deltas if delta.get("content")] == ["The", " capital", " of"]
    assert deltas[-1] == {}
    assert all(value is not None for delta in deltas for value in delta.values())
    assert all(isinstance(chunk, dict) and {"id", "model", "created"} <= chunk.keys() for chunk in chunks)
    scored: Any = smol.create_chat_completion(MESSAGES, max_tokens=2, temperature=0, logprobs=True, top_logprobs=1)
    assert len(scored["choices"][0]["logprobs"]["content"]) == 2
    plain: Any = smol.create_chat_completion(MESSAGES, max_tokens=1, stream=None, logprobs=False, top_logprobs=0)
    assert plain["choices"][0]["logprobs"] is None
    first = next(iter(smol.create_chat_completion(MESSAGES, max_tokens=1, stream=1, logprobs=0)))
    assert first["object"] == "chat.completion.chunk"


def test_openais_objects_are_made(smol: Llama) -> None:
    answer = smol.create_chat_completion_openai_v1(messages=MESSAGES, max_tokens=3, temperature=0)
    assert isinstance(answer, ChatCompletion)
    assert answer.choices[0].message.content == "The capital of"
    chunks = list(smol.create_chat_completion_openai_v1(MESSAGES, max_tokens=3, temperature=0, stream=True))
    assert all(isinstance(chunk, ChatCompletionChunk) for chunk in chunks)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "The capital of"


@pytest.mark.parametrize("choice", [TOOL, {"type": "function", "function": {"name": "city"}}, True])
def test_tools_are_called(chatty: Llama, choice: Any) -> None:
    response: Any = chatty.create_chat_completion(
        MESSAGES, tools=[TOOL], tool_choice=choice, max_tokens=64, temperature=0, parallel_tool_calls=False
    )
    (call,) = response["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "city"
    for none in (None, False, "none", "auto"):
        assert chatty.create_chat_completion(MESSAGES, tools=[TOOL], tool_choice=none, max_tokens=2)


def test_older_functions_are_called_too(chatty: Llama) -> None:
    arguments: dict[str, Any] = {
        "functions": [TOOL["function"]], "function_call": {"name": "city"}, "max_tokens": 64, "temperature": 0,
    }  # fmt: skip
    message: Any = chatty.create_chat_completion(MESSAGES, **arguments)["choices"][0]["message"]
    assert message["function_call"] == message["tool_calls"][0]["function"]
    chunks: list[Any] = list(chatty.create_chat_completion(MESSAGES, stream=True, **arguments))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    written = "".join(delta["function_call"]["arguments"] for delta in deltas if "function_call" in delta)
    assert written.startswith(message["function_call"]["arguments"])
    arguments["function_call"] = "none"
    assert "function_call" not in chatty.create_chat_completion(MESSAGES, **arguments)["choices"][0]["message"]


def test_a_chat_handler_answers_in_place_of_the_package(llm: Llama) -> None:
    given: dict[str, Any] = {}

    class Handler:
        def __call__(self, *, llama: Any, messages: Any, **more: Any) -> Any:
            given.update(more)
            made = llama.create_completion(prompt=messages[-1]["content"], max_tokens=3, stream=more["stream"])
            return llama_cpp.llama_chat_format._convert_completion_to_chat(made, stream=more["stream"])

    llm.chat_handler = Handler()
    try:
        answer: Any = llm.create_chat_completion(MESSAGES, temperature=0.5, my_option=1)
        assert answer["object"] == "chat.completion"
        assert given["temperature"] == 0.5
        assert (given["top_k"], given["tools"], given["my_option"]) == (40, None, 1)
        chunks = list(llm.create_chat_completion(MESSAGES, stream=True))
        for chunk in chunks:
            ChatCompletionChunk.model_validate(chunk)
        ChatCompletion.model_validate(answer)
    finally:
        llm.chat_handler = None
    with pytest.raises(ValidationError, match="chat_handler"):
        load(llm.model_path, chat_handler=5)


def test_formats_and_handlers_can_be_registered(llm: Llama) -> None:
    @register_chat_format("test-format")
    def formatter(messages: Any, **more: Any) -> ChatFormatterResponse:
        return ChatFormatterResponse(prompt=messages[-1]["content"], stop=[" "])

    @register_chat_completion_handler("test-handler")
    def handler(**arguments: Any) -> Any:
        return {"choices": [], "stop": arguments["stop"]}

    registry = LlamaChatCompletionHandlerRegistry()
    try:
        llm.chat_format = "test-format"
        answer: Any = llm.create_chat_completion(MESSAGES, max_tokens=20, temperature=0)
        assert " " not in answer["choices"][0]["message"]["content"]
        llm.chat_format = "test-handler"
        assert llm.create_chat_completion(MESSAGES, stop=["x"]) == {"choices": [], "stop": ["x"]}
        with pytest.raises(ValueError, match="there already"):
            register_chat_format("test-format")(formatter)
        with pytest.raises(ValueError, match="there already"):
            register_chat_format("chatml")(formatter)
        registry.register_chat_completion_handler("test-format", handler, overwrite=True)
        assert get_chat_completion_handler("test-format") is handler
    finally:
        llm.chat_format = None
        registry.unregister_chat_handler("test-format")
        registry.unregister_chat_handler("test-handler")
    with pytest.raises(ValueError, match="test-format"):
        registry.unregister_chat_handler("test-format")
    with pytest.raises(Exception, match="known are: alpaca"):
        get_chat_completion_handler("test-format")


def test_a_handler_can_be_made_of_a_formatter(smol: Llama) -> None:
    template = smol.metadata["tokenizer.chat_template"]
    formatter = Jinja2ChatFormatter(template, "<|im_end|>", "<|im_start|>", stop_token_ids=[2])
    made = formatter(messages=MESSAGES)
    assert made.prompt.endswith("What is the capital of France? Answer in English.<|im_end|>\n<|im_start|>assistant\n")
    assert (made.stop, made.added_special) == (["<|im_end|>"], True)
    handler = formatter.to_chat_handler()
    answer: Any = handler(llama=smol, messages=MESSAGES, temperature=0, max_tokens=20)
    assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."
    assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("name", ["chatml-function-calling", "llama-2", "mistral-instruct", "zephyr"])
def test_a_handler_of_a_name_answers_as_the_format_does(tiny_path: Path, name: str) -> None:
    said: dict[str, Any] = {"messages": MESSAGES, "tools": [TOOL], "max_tokens": 40, "temperature": 0}
    with (
        load(tiny_path, n_ctx=1024, chat_handler=get_chat_completion_handler(name)) as handled,
        load(tiny_path, n_ctx=1024, chat_format=name) as named,
    ):
        answers: list[Any] = [
            handled.create_chat_completion(**said, top_p=0.95, min_p=0.05, repeat_penalty=1.0),
            named.create_chat_completion(**said, top_p=0.95, min_p=0.05, repeat_penalty=1.0),
        ]
        assert answers[0]["choices"] == answers[1]["choices"]
        assert answers[0]["usage"] == answers[1]["usage"]
        assert handled.input_ids.tolist() == named.input_ids.tolist()
        named.create_chat_completion(MESSAGES, max_tokens=1, chat_format="openchat")
        assert "GPT4 Correct Assistant:" in named.detokenize(named.input_ids)
        with pytest.raises(ValidationError, match="chat_format"):
            named.create_chat_completion(MESSAGES, chat_format=5)


def test_a_handler_of_a_formatter_calls_tools(chatty: Llama) -> None:
    handler = Jinja2ChatFormatter(CHAT_FORMATS["zephyr"].template, "</s>", "<s>").to_chat_handler()
    called: Any = handler(llama=chatty, messages=MESSAGES, tools=[TOOL], tool_choice=TOOL, temperature=0, max_tokens=40)
    ChatCompletion.model_validate(called)
    assert called["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "city"
    chunks = list(handler(llama=chatty, messages=MESSAGES, tools=[TOOL], tool_choice=TOOL, stream=True, max_tokens=40))
    calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())]
    assert [(call["id"] is None, call["function"]["name"] is None) for call in calls[1:]] == [(True, True)] * (
        len(calls) - 1
    )
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    held: Any = handler(llama=chatty, messages=MESSAGES, response_format={"type": "json_object"}, max_tokens=40)
    assert held["choices"][0]["message"]["content"].startswith("{")


@pytest.mark.parametrize("name", ["chatml", "ChatML", "chatml-function-calling", "qwen"])
def test_chatml_has_several_names(llm: Llama, name: str) -> None:
    llm.chat_format = name
    try:
        assert llm.chat_template().render(MESSAGES[1:]) == (
            "<|im_start|>user\nWhat is the capital of France? Answer in English.<|im_end|>\n<|im_start|>assistant\n"
        )
    finally:
        llm.chat_format = None


def test_texts_that_end_a_format_end_the_answer(tmp_path: Path) -> None:
    path = tiny.write_chain_model(tmp_path / "chain.gguf", ["hello", "<end", "_of_", "turn>", "more"])
    with load(path, chat_format="gemma") as gemma:
        answer: Any = gemma.create_chat_completion([{"role": "user", "content": "go"}], temperature=0)
        assert answer["choices"][0]["message"]["content"] == "hello"


# -- the rest ----------------------------------------------------------------------------------------------------------


def test_addresses_are_what_ctypes_takes(llm: Llama) -> None:
    vocab = llama_cpp.llama_model_get_vocab(llm.model)
    assert llama_cpp.llama_vocab_n_tokens(vocab) == llm.n_vocab()
    assert llama_cpp.llama_token_is_eog(llm._model.vocab, llm.token_eos())
    assert llama_cpp.llama_n_ctx(llm.ctx) >= llm.n_ctx()
    llm.reset()
    llm.eval(llm.tokenize(b"the people"))
    pointer = llama_cpp.llama_get_logits(llm.ctx)
    row = np.ctypeslib.as_array(pointer, shape=(llm.n_vocab(),))
    assert np.array_equal(row, llm.scores[-1])


def test_a_pickled_instance_has_the_same_options(tiny_path: Path) -> None:
    lookup = llama_cpp.LlamaPromptLookupDecoding(num_pred_tokens=3)
    options: dict[str, Any] = {"chat_handler": print, "spm_infill": True, "logits_all": True, "last_n_tokens_size": 7}
    with load(tiny_path, draft_model=lookup, **options) as one, pickle.loads(pickle.dumps(one)) as two:
        assert two.chat_handler is print
        assert (two.spm_infill, two.last_n_tokens_size) == (True, 7)
        assert two._options == one._options


# -- as llama-cpp-python's own tests have it ---------------------------------------------------------------------------


def test_guesses_can_be_asked_for_without_an_object() -> None:
    find = llama_cpp.llama_speculative.LlamaPromptLookupDecoding.find_candidate_pred_tokens
    assert find(np.array([1, 2, 3] * 3), max_ngram_size=3, num_pred_tokens=2).tolist() == [1, 2]
    assert find(np.arange(9), max_ngram_size=3, num_pred_tokens=2).tolist() == []


def test_formats_are_functions_too() -> None:
    module: Any = llama_cpp.llama_chat_format
    messages = [
        {"role": "user", "content": "Instruction"},
        {"role": "assistant", "content": "Answer"},
        {"role": "user", "content": "More"},
    ]
    made = module.format_mistral_instruct(messages=messages)
    prompt = made.prompt if made.added_special else f"<s>{made.prompt}"
    assert prompt == "<s>[INST] Instruction [/INST]Answer</s>[INST] More [/INST]"
    assert module.format_chatml(messages).prompt.startswith("<|im_start|>user\nInstruction<|im_end|>\n")
    assert module.format_llama3(messages).prompt.startswith("<|begin_of_text|>")
    assert module.format_open_orca(messages, tools=None).stop == ["<|end_of_turn|>"]
    for name in ("alpaca", "baichuan2", "llama2", "oasst_llama", "redpajama_incite", "zephyr", "phind"):
        assert "More" in getattr(module, f"format_{name}")(messages).prompt
    assert module.MISTRAL_INSTRUCT_CHAT_TEMPLATE
    with pytest.raises(AttributeError, match="format_none"):
        _ = module.format_none


def test_a_vocabulary_alone_has_an_inner_context(tiny_path: Path) -> None:
    with load(tiny_path, vocab_only=True) as vocabulary:
        assert vocabulary._ctx.ctx is not None
        assert vocabulary.tokenize(b"the people") == vocabulary.tokenize(b"the people", add_bos=True)
