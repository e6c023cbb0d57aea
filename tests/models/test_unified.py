"""UnifiedLLM: every variant's file, prompts and outputs, and the ways of asking, on real llama.cpp."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gguf
import pytest
from openai.types.chat import ChatCompletion

from llama_cpp import (
    ClosedError,
    LlamaConfig,
    LlamaError,
    LlamaGrammar,
    ModelLoadError,
    SamplingParams,
    TemplateError,
    ValidationError,
)
from llama_cpp.unified import ModelConfig, ModelFamily, UnifiedLLM
from llama_cpp.unified.detect import resolve_family
from llama_cpp.unified.families import VARIANTS, Variant
from tests import tiny
from tests.families import ANSWER, FILES, THOUGHT, outputs

if TYPE_CHECKING:
    from llama_cpp.types import ChatCompletionChunk

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
QUESTION = {"role": "user", "content": "Two and two?"}
SYSTEM = "You are a helpful assistant."
PARIS = "What is the capital of France? Answer in English."
GREEDY = SamplingParams(temperature=0, repeat_penalty=1.0)

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)


def write_header(path: Path, variant: str, n_ctx_train: int = 2048) -> Path:
    """Write a file with a variant's metadata and no weights."""
    architecture, name, source = FILES[variant]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_context_length(n_ctx_train)
    writer.add_chat_template(source)
    for key, value in tiny.spm_vocab(600).items():
        if key == "tokenizer.ggml.tokens":
            writer.add_token_list(value)
        elif key == "tokenizer.ggml.scores":
            writer.add_token_scores(value)
        elif key == "tokenizer.ggml.token_type":
            writer.add_token_types(value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def prompt_of(llm: UnifiedLLM, messages: list[dict[str, Any]], thinking: bool = False, **options: Any) -> str:
    """Return the text that a call's prompt is made of."""
    arguments = llm._arguments(messages, None, thinking, None, None, None, None, options)
    _, tokens = llm.llama._chat_prompt(arguments["messages"], [], arguments)
    return llm.llama.detokenize(tokens, remove_special=False, unparse_special=True)


@each_variant
def test_a_file_is_known_and_asked_in_its_form(variant: Variant, tmp_path: Path) -> None:
    path = write_header(tmp_path / "model.gguf", variant.name)
    with UnifiedLLM(path, vocab_only=True) as llm:
        assert (llm.family, llm.variant, llm.config) == (variant.family, variant.name, variant.config)
        assert llm.supports_thinking == variant.supports_thinking
        assert llm.n_ctx() == 2048
        on, off = (prompt_of(llm, [QUESTION], thinking) for thinking in (True, False))
        assert "Two and two?" in on
        assert "Two and two?" in off
        assert (on != off) == (variant.thinking.switch in ("argument", "suffix"))


def pieces_of(text: str) -> list[str]:
    """Cut a text into pieces of four characters, no two of them alike."""
    pieces: list[str] = []
    while text:
        length = 4
        while text[:length] in pieces or 0 < len(text) - length < 4:
            length += 1
        pieces.append(text[:length])
        text = text[length:]
    return pieces


@pytest.fixture
def speak(tmp_path: Path) -> Callable[..., UnifiedLLM]:
    """Return a function that makes a model of a variant that says a text."""

    def make(variant: str, text: str, **arguments: Any) -> UnifiedLLM:
        path = tiny.write_chain_model(
            tmp_path / "model.gguf", pieces_of(text), n_ctx_train=16384, chat_template=FILES[variant][2]
        )
        return UnifiedLLM(path, family=variant, n_threads=1, **arguments)

    return make


@each_variant
def test_what_it_writes_is_read(variant: Variant, speak: Callable[..., UnifiedLLM]) -> None:
    for output in outputs(variant.name):
        if output.kind == "call":
            continue
        thinking = output.kind != "plain"
        expected = {"plain": ("", ANSWER), "thinking": (THOUGHT, ANSWER), "unclosed": (THOUGHT, "")}[output.kind]
        with speak(variant.name, output.text) as llm:
            if thinking:
                assert llm.generate_with_thinking("Two and two?") == expected, output
            assert "".join(llm.generate("Two and two?", thinking=thinking, stream=True)) == expected[1], output
        if not output.text.startswith(THOUGHT):
            assert UnifiedLLM.strip_thinking(output.text) == expected[1], output


@each_variant
def test_its_calls_are_read(variant: Variant, tmp_path: Path) -> None:
    (output,) = [output for output in outputs(variant.name) if output.kind == "call"]
    with UnifiedLLM(write_header(tmp_path / "model.gguf", variant.name), vocab_only=True) as llm:
        kwargs = variant.thinking.template_kwargs(True)
        message = llm.llama.chat_template().parse(output.text, tools=[TOOL], **kwargs)
    (call,) = message["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert message.get("reasoning_content", "") == (THOUGHT if THOUGHT in output.text else "")
    assert not message["content"]


# -- the ways of asking ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smol(smollm2_path: Path) -> Iterator[UnifiedLLM]:
    """SmolLM2 as a model of a family whose form is ChatML as well."""
    with UnifiedLLM(smollm2_path, n_ctx=1024, family=ModelFamily.QWEN3, n_threads=1, sampling=GREEDY) as llm:
        yield llm


def test_smollm2_answers_as_one_of_a_family(smol: UnifiedLLM, smollm2_path: Path) -> None:
    assert (smol.family, smol.supports_thinking, smol.n_ctx()) == (ModelFamily.QWEN3, False, 1024)
    assert isinstance(smol.config, ModelConfig)
    answer = smol.generate(PARIS, SYSTEM, max_tokens=24)
    assert "Paris" in answer
    assert "".join(smol.generate(PARIS, SYSTEM, max_tokens=24, stream=True)) == answer
    assert smol.generate_with_thinking(PARIS, SYSTEM, max_tokens=24) == ("", answer)
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PARIS}]
    response: Any = smol.chat(messages, max_tokens=24)
    ChatCompletion.model_validate(response)
    assert response["choices"][0]["message"]["content"] == answer
    chunks: Any = smol.chat(messages, max_tokens=24, stream=True)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == answer
    assert smol.generate(PARIS, SYSTEM, 24, False, ["Paris"]) == answer.partition("Paris")[0]
    assert smol.n_tokens("hello world") == smol.llama.n_tokens("hello world")
    smol.kv_cache_clear()
    with pytest.raises(ValidationError, match="is unknown: its architecture is 'llama'"):
        UnifiedLLM(smollm2_path)


def test_smollm2_calls_a_tool(smol: UnifiedLLM) -> None:
    question = [{"role": "user", "content": "What is the weather in Paris?"}]
    response: Any = smol.chat(question, max_tokens=60, tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    ChatCompletion.model_validate(response)
    call = response["choices"][0]["message"]["tool_calls"][0]
    assert response["choices"][0]["finish_reason"] == "tool_calls"
    assert "Paris" in json.loads(call["function"]["arguments"])["city"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
    history = [*question, response["choices"][0]["message"], result]
    chunks: Any = smol.chat(history, max_tokens=4, tools=[TOOL], stream=True)
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] in ("length", "stop")


def test_smollm2_answers_asyncio_and_batches(smol: UnifiedLLM) -> None:
    async def ask() -> tuple[Any, list[str]]:
        stream: Any = await smol.generate_async(PARIS, SYSTEM, 24, stream=True)
        return await smol.generate_async(PARIS, SYSTEM, 24), [text async for text in stream]

    answer, pieces = asyncio.run(ask())
    assert "Paris" in answer
    assert "".join(pieces) == answer
    answers = smol.generate_batch([PARIS, "What is the capital of Italy? Answer in English."], SYSTEM, 24, n_parallel=2)
    assert "Paris" in str(answers[0])
    assert "Ital" in str(answers[1])
    failed, fine = smol.generate_batch(["word " * 2000, PARIS], SYSTEM, 24, on_error="return")
    assert isinstance(failed, LlamaError)
    assert "Paris" in str(fine)
    for prompts, reason in [(PARIS, "prompts must be a list"), ([PARIS, 7], r"prompts\[1\] must be a str")]:
        with pytest.raises(ValidationError, match=reason):
            smol.generate_batch(prompts)  # type: ignore[arg-type]


def test_what_only_chat_can_answer_is_refused_elsewhere(smol: UnifiedLLM) -> None:
    for options in ({"n": 2}, {"tools": [TOOL]}, {"logprobs": True}, {"messages": []}):
        with pytest.raises(ValidationError, match=f"takes no {next(iter(options))}; use chat"):
            smol.generate("Hi", **options)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="takes no stream; use chat"):
        smol.generate_with_thinking("Hi", stream=True)
    with pytest.raises(ValidationError, match="did you mean 'temperature'"):
        smol.generate("Hi", temprature=1)
    with pytest.raises(ValidationError, match="thinking must be True or False"):
        smol.generate("Hi", thinking="yes")  # type: ignore[arg-type]
    for prompts in ((7, None), ("Hi", 7)):
        with pytest.raises(ValidationError, match="prompt must be a str"):
            smol.generate(*prompts)  # type: ignore[arg-type]


def test_a_stream_that_is_closed_ends(smol: UnifiedLLM) -> None:
    stream: Any = smol.generate("Tell me a long story.", stream=True)
    assert next(stream)
    stream.close()
    assert smol.generate(PARIS, SYSTEM, max_tokens=4)


def test_thinking_without_thought_is_said_once(smollm2_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with UnifiedLLM(smollm2_path, n_ctx=512, family="qwen3-instruct-2507", n_threads=1) as llm:
        caplog.clear()
        for _ in range(2):
            assert llm.generate("Hi", max_tokens=2, thinking=True, max_thinking_tokens=1)
    said = [record for record in caplog.records if "can't think" in record.message]
    assert [record.levelno for record in said] == [logging.WARNING]


def test_what_a_call_says_wins_over_the_instance_and_that_over_the_family(speak: Callable[..., UnifiedLLM]) -> None:
    def params(llm: UnifiedLLM, thinking: bool = False, **options: Any) -> SamplingParams:
        arguments = llm._arguments([QUESTION], None, thinking, None, options.pop("sampling", None), 5, None, options)
        _, (request,) = llm.llama._chat(arguments.pop("messages"), arguments)
        assert (request.seed, request.max_tokens) == (5, -1)
        return request.sampling

    with speak("qwen3-hybrid", ANSWER) as llm:
        assert params(llm) == resolve_family("qwen3-hybrid").sampling_params(False)
        assert params(llm, True) == resolve_family("qwen3-hybrid").sampling_params(True)
        assert params(llm, sampling=GREEDY) == GREEDY
        assert params(llm, temperature=0.25).temperature == 0.25
    with speak("qwen3-hybrid", ANSWER, sampling=GREEDY) as llm:
        assert params(llm, True) == GREEDY
        assert params(llm, sampling=SamplingParams(top_k=3)).top_k == 3


def test_the_family_s_stops_stand_beside_the_caller_s(speak: Callable[..., UnifiedLLM]) -> None:
    with speak("glm-4", "Four it is.<|user|>And five?") as llm:
        assert llm.generate("Two and two?") == "Four it is."
        assert llm.generate("Two and two?", stop="it") == "Four "
        assert llm.generate("Two and two?", stop=["five", "is"]) == "Four it "
        with pytest.raises(ValidationError, match="stop must be"):
            llm.generate("Two and two?", stop=7)  # type: ignore[arg-type]


# -- thinking ----------------------------------------------------------------------------------------------------------

LONG = (
    "<think>\nOne more than one is two, three is one more than that, so that in the end it is four.\n</think>\n\nFour."
)


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        ("qwen3-hybrid", LONG),
        ("qwen3-thinking-2507", LONG.removeprefix("<think>\n")),
        ("ministral-3-reasoning", LONG.replace("<think>\n", "[THINK]").replace("\n</think>\n\n", "[/THINK]")),
        ("gpt-oss-20b", "<|channel|>analysis<|message|>" + LONG[8:]),
    ],
)
def test_thinking_has_a_budget(variant: str, text: str, speak: Callable[..., UnifiedLLM]) -> None:
    """The chain starts anew after what was forced on it, so that the answer is the text once more."""
    farewell = resolve_family(variant).thinking.farewell
    with speak(variant, text) as llm:
        whole, _ = llm.generate_with_thinking("Two and two?", system_prompt="Think.", max_tokens=200)
        thinking, answer = llm.generate_with_thinking(
            "Two and two?", system_prompt="Think.", max_tokens=200, max_thinking_tokens=12
        )
        thinking = thinking.replace("\u2581", " ")  # of which this vocabulary has no token
        assert thinking.endswith(farewell.strip())
        body = thinking.removesuffix(farewell.strip()).rstrip()
        assert whole.startswith(body)
        assert 8 < len(body) < 56
        assert answer
        assert (
            llm.generate("Two and two?", "Think.", max_tokens=200, thinking=True, max_thinking_tokens=12, stream=False)
            == llm.generate_batch(["Two and two?"], "Think.", max_tokens=200, thinking=True, max_thinking_tokens=12)[0]
        )
        assert llm.generate_with_thinking("Two and two?", "Think.", max_thinking_tokens=500, max_tokens=200)[0] == whole
        with pytest.raises(ValidationError, match="leave out n"):
            llm.chat([QUESTION], thinking=True, max_thinking_tokens=3, n=2)


def test_gpt_oss_ends_its_analysis_with_its_own_tokens(tmp_path: Path) -> None:
    """<|end|> ends a message and not the generation, and the answer's channel is opened behind it."""
    heads = ["<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final<|message|>"]
    pieces = [heads[0], "One and ", "one more.", "<|end|>", heads[1], "It is four.", "<|return|>", "<|call|>"]
    path = tiny.write_chain_model(
        tmp_path / "model.gguf", pieces, n_ctx_train=4096, chat_template=FILES["gpt-oss-20b"][2]
    )
    with UnifiedLLM(path, 4096, family="gpt-oss", n_threads=1) as llm:
        assert llm.generate_with_thinking("Hi") == ("One and one more.", "It is four.")
        thinking, answer = llm.generate_with_thinking("Hi", max_thinking_tokens=2)
        assert thinking == "One and"
        assert answer.endswith("It is four.")


def test_a_budget_leaves_an_answer_without_thinking_alone(speak: Callable[..., UnifiedLLM]) -> None:
    with speak("qwen3-hybrid", "Four, and not a thought of it, nor of anything else.") as llm:
        assert llm.generate("Two and two?", max_thinking_tokens=2).startswith("Four, and not a thought of it, nor")
        seen: list[int] = []
        llm.generate("Hi", max_thinking_tokens=2, logits_processor=lambda ids, logits: seen.append(len(ids)))
        assert seen


CITY = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
FORM = {"type": "json_object", "schema": {**CITY, "additionalProperties": False}}


def test_a_grammar_leaves_no_thinking_to_be_ended(smollm2_path: Path) -> None:
    with UnifiedLLM(smollm2_path, n_ctx=512, family="qwen3-thinking-2507", n_threads=1, sampling=GREEDY) as llm:
        answer = llm.generate(
            PARIS, SYSTEM, max_thinking_tokens=0, max_tokens=60, grammar=LlamaGrammar.from_choices(["Paris", "Rome"])
        )
        assert answer == "Paris"


@pytest.mark.parametrize("family", ["qwen3-hybrid", "qwen3-thinking-2507", "granite-3.2", "magistral", "gemma-4"])
def test_an_answer_in_a_form_comes_after_thinking(family: str, smollm2_path: Path) -> None:
    with UnifiedLLM(smollm2_path, n_ctx=512, family=family, n_threads=1, sampling=GREEDY) as llm:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PARIS}]
        options: dict[str, Any] = {"max_tokens": 90, "max_thinking_tokens": 12, "response_format": FORM}
        (choice,) = llm.chat(messages, thinking=True, **options)["choices"]  # type: ignore[index]
        assert choice["message"]["reasoning_content"]
        assert json.loads(choice["message"]["content"]) == {"city": "Paris"}
        assert (choice["finish_reason"], choice["matches_grammar"]) == ("stop", True)
        chunks = cast("Iterator[ChatCompletionChunk]", llm.chat(messages, thinking=True, stream=True, **options))
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        assert "".join(delta.get("content") or "" for delta in deltas) == choice["message"]["content"]
        assert "".join(delta.get("reasoning_content", "") for delta in deltas) == choice["message"]["reasoning_content"]
        assert llm.generate_batch([PARIS], SYSTEM, thinking=True, **options) == [choice["message"]["content"]]
        cut = llm.chat(messages, thinking=True, **{**options, "max_tokens": 11})["choices"][0]  # type: ignore[index]
        assert (cut["message"]["content"], cut["finish_reason"], cut["matches_grammar"]) == ("", "length", False)
        soon = {**options, "max_thinking_tokens": 0}
        content = llm.chat(messages, thinking=True, **soon)["choices"][0]["message"]["content"]  # type: ignore[index]
        assert json.loads(content)["city"] in ("Paris", "Rome")
        plain = llm.chat(messages, **options)["choices"][0]["message"]  # type: ignore[index]
        assert json.loads(plain["content"])["city"] in ("Paris", "Rome")
        assert "reasoning_content" not in plain


@pytest.mark.parametrize("n", range(8))
def test_a_budget_ends_thinking_between_characters(n: int, tmp_path: Path) -> None:
    fox = [bytes([byte]) for byte in "\N{FOX FACE}".encode()]
    path = tiny.write_chain_model(
        tmp_path / "model.gguf", [*fox, "?"], n_ctx_train=8192, chat_template=FILES["qwen3-thinking-2507"][2]
    )
    with UnifiedLLM(path, family="qwen3-thinking-2507", n_threads=1) as llm:
        options: dict[str, Any] = {"max_tokens": 3000, "max_thinking_tokens": n, "response_format": FORM}
        (choice,) = llm.chat([QUESTION], **options)["choices"]  # type: ignore[index]
        assert json.loads(choice["message"]["content"])["city"] in ("Paris", "Rome")
        assert "\ufffd" not in choice["message"].get("reasoning_content", "")


@pytest.mark.parametrize("in_content", [False, True])
@pytest.mark.parametrize("variant", ["qwen3-hybrid", "glm-4.6", "gemma-4", "gpt-oss-20b", "ministral-3-reasoning"])
def test_old_thinking_is_left_out_where_the_card_says_so(variant: str, in_content: bool, tmp_path: Path) -> None:
    thinking = resolve_family(variant).thinking
    if in_content:
        start, end = thinking.tags
        answer = {"role": "assistant", "content": f"{start}Old secret.{end}{thinking.answer_start}Four."}
    else:
        answer = {"role": "assistant", "content": "Four.", "reasoning_content": "Old secret."}
    with UnifiedLLM(write_header(tmp_path / "model.gguf", variant), vocab_only=True) as llm:
        text = prompt_of(llm, [QUESTION, answer, QUESTION])
    assert "Four." in text
    assert ("Old secret." in text) != thinking.strip_history


def test_thinking_since_the_last_question_goes_on(tmp_path: Path) -> None:
    call = {"id": "abcdef123", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    asked = {"role": "assistant", "content": "", "reasoning_content": "New thought.", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "abcdef123", "content": "rain"}
    for variant in ("qwen3-hybrid", "gpt-oss-20b"):
        with UnifiedLLM(write_header(tmp_path / "model.gguf", variant), vocab_only=True) as llm:
            assert "New thought." in prompt_of(llm, [QUESTION, asked, result])


def test_reasoning_levels(tmp_path: Path) -> None:
    with UnifiedLLM(write_header(tmp_path / "model.gguf", "gpt-oss-20b"), vocab_only=True) as llm:
        assert "Reasoning: medium" in prompt_of(llm, [QUESTION])
        for level in ("low", "high"):
            llm.set_reasoning_level(level)
            assert f"Reasoning: {level}" in prompt_of(llm, [QUESTION], thinking=True)
        assert "Reasoning: low" in prompt_of(llm, [QUESTION], reasoning_effort="low")
        with pytest.raises(ValidationError, match="must be one of low, medium, high; got 'max'"):
            llm.set_reasoning_level("max")
        assert "Reasoning: high" in prompt_of(pickle.loads(pickle.dumps(llm)), [QUESTION])
    other = UnifiedLLM(write_header(tmp_path / "other.gguf", "qwen3-hybrid"), vocab_only=True)
    with other as llm, pytest.raises(ValidationError, match="qwen3-hybrid has no reasoning levels"):
        llm.set_reasoning_level("low")


def test_harmony_s_preamble_is_answer_and_its_call_is_a_call(speak: Callable[..., UnifiedLLM]) -> None:
    preamble = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>I look it up."
    call = (
        "<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{}<|call|>"
    )
    with speak("gpt-oss-20b", preamble + call) as llm:
        message = llm.llama.chat_template().parse(preamble + call, tools=[TOOL])
        assert (message["reasoning_content"], message["content"]) == ("Hm.", "I look it up.")
        assert message["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": "{}"}
        assert llm.generate_with_thinking("Weather?")[0] == "Hm."


# -- making and ending -------------------------------------------------------------------------------------------------


def test_the_context_is_what_the_model_was_trained_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_header(tmp_path / "model.gguf", "qwen3-hybrid", n_ctx_train=600)
    for arguments, n_ctx in [
        ({}, 600),
        ({"n_ctx": 512, "n_batch": 256}, 512),
        ({"n_ctx": 4096, "n_batch": 4096}, 600),
        ({"n_seq_max": 2}, 1200),
        ({"config": LlamaConfig(n_ctx=300)}, 300),
        ({"config": LlamaConfig(n_ctx=300), "n_ctx": 400}, 400),
        ({"config": LlamaConfig(n_ctx=3000, n_seq_max=2)}, 1200),
    ]:
        caplog.clear()
        with UnifiedLLM(path, vocab_only=True, **arguments) as llm:  # type: ignore[arg-type]
            assert llm.n_ctx() == n_ctx, arguments
            config = llm.llama.config
            assert (config.n_ubatch or config.n_batch) <= config.n_batch
        said = [record for record in caplog.records if "trained for 600 tokens" in record.getMessage()]
        assert len(said) == (n_ctx in (600, 1200)), arguments
    unsaid = write_header(tmp_path / "unsaid.gguf", "gemma-2", n_ctx_train=0)
    with UnifiedLLM(unsaid, 100_000, vocab_only=True) as llm:
        assert llm.n_ctx() == resolve_family("gemma-2").max_ctx


def test_signatures_are_the_reference_s() -> None:
    def head(function: Any, n: int) -> list[tuple[str, object]]:
        parameters = list(inspect.signature(function).parameters.values())
        return [(one.name, one.default) for one in parameters if one.name != "self"][:n]

    assert head(UnifiedLLM, 7) == [
        ("model_path", inspect.Parameter.empty),
        ("n_ctx", 8192),
        ("n_batch", 2048),
        ("n_ubatch", 512),
        ("n_gpu_layers", -1),
        ("verbose", False),
        ("family", None),
    ]
    shared = [("prompt", inspect.Parameter.empty), ("system_prompt", None), ("max_tokens", None)]
    assert head(UnifiedLLM.generate, 5) == [*shared, ("thinking", False), ("stop", None)]
    assert head(UnifiedLLM.generate_async, 5) == [*shared, ("thinking", False), ("stop", None)]
    assert head(UnifiedLLM.generate_with_thinking, 4) == [*shared, ("stop", None)]


class NamedUnified(UnifiedLLM):
    """A subclass whose constructor is its own."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, vocab_only=True)
        self.name = name


def test_a_subclass_is_pickled_with_its_attributes(tmp_path: Path) -> None:
    path = write_header(tmp_path / "model.gguf", "gpt-oss-20b")
    with NamedUnified(path, "one") as llm, pickle.loads(pickle.dumps(llm)) as other:
        assert (type(other), other.name, other.variant) == (NamedUnified, "one", "gpt-oss-20b")


def test_a_life(speak: Callable[..., UnifiedLLM], tmp_path: Path) -> None:
    with speak("qwen3-soft-switch", f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}") as llm:
        assert llm.generate_with_thinking("Hi") == (THOUGHT, ANSWER)
        with pickle.loads(pickle.dumps(llm)) as other:
            assert (other.variant, other.n_ctx()) == (llm.variant, llm.n_ctx())
            assert other.generate_with_thinking("Hi") == (THOUGHT, ANSWER)
        assert repr(llm) == f"<UnifiedLLM qwen3-soft-switch, {llm.llama!r}>"
    llm.close()
    assert "closed" in repr(llm)
    with pytest.raises(ClosedError):
        llm.generate("Hi")
    with pytest.raises(ModelLoadError, match="there is no file"):
        UnifiedLLM(tmp_path / "Qwen3-8B-Q8_0.gguf")
    with pytest.raises(ValidationError, match="there is no family 'llama'"):
        UnifiedLLM(tmp_path / "model.gguf", family="llama")
    for arguments in ({"config": {}}, {"sampling": {}}):
        with pytest.raises(ValidationError, match=r"must be a (LlamaConfig|SamplingParams)"):
            UnifiedLLM(tmp_path / "model.gguf", family="qwen3", **arguments)  # type: ignore[arg-type]
    for arguments in ({"n_ctx": 0}, {"n_ctx": None}, {"n_batch": 0}, {"n_ubatch": 0}, {"n_contex": 5}):
        with pytest.raises(ValidationError, match="n_"):
            UnifiedLLM(tmp_path / "model.gguf", family="qwen3", **arguments)  # type: ignore[arg-type]


def test_a_chatml_model_without_a_template_is_given_it(tmp_path: Path) -> None:
    path = tiny.write_model(tmp_path / "Qwen3-8B.gguf", "qwen3", metadata={"general.sampling.temp": 0.05})
    with UnifiedLLM(path, n_ctx=256, n_threads=1, seed=1) as llm:
        assert llm.llama.sampling.temperature == 0.7  # the card's, and not the file's
        assert llm.llama.chat_template().syntax().think_end == "</think>"
        assert prompt_of(llm, [QUESTION]).count("<|im_start|>") == 2
        assert llm.generate("Hi", max_tokens=4)
    path = tiny.write_model(tmp_path / "gpt-oss-20b.gguf", "gpt-oss")
    with UnifiedLLM(path, n_ctx=256, n_threads=1) as llm, pytest.raises(TemplateError, match="no chat template"):
        llm.generate("Hi")


# One variant for each architecture that `tests.tiny` can write; the others have a file without weights above.
OWN_ARCHITECTURES = {FILES[name][0]: name for name in reversed(FILES) if FILES[name][0] in tiny.ARCHITECTURES}


@pytest.mark.parametrize("variant", OWN_ARCHITECTURES.values())
def test_random_weights_of_the_family_s_own_architecture(variant: str, tmp_path: Path) -> None:
    architecture, name, source = FILES[variant]
    path = tiny.write_model(
        tmp_path / "model.gguf", architecture, n_ctx_train=4096, chat_template=source, metadata={"general.name": name}
    )
    with UnifiedLLM(path, n_threads=1) as llm:
        assert (llm.variant, llm.n_ctx()) == (variant, 4096)
        first = llm.generate("Two and two?", max_tokens=8, thinking=llm.supports_thinking, seed=3)
        assert first == llm.generate("Two and two?", max_tokens=8, thinking=llm.supports_thinking, seed=3)
        assert len(llm.generate_batch(["One?", "Two?", "Three?"], max_tokens=4)) == 3
