"""UnifiedLLM: every variant's file, prompts and outputs, and the ways of asking, on real llama.cpp."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import pytest
from openai.types.chat import ChatCompletion

from llama_cpp import ClosedError, LlamaConfig, ModelLoadError, SamplingParams, ValidationError
from llama_cpp.unified import ModelConfig, ModelFamily, UnifiedLLM
from llama_cpp.unified.detect import resolve_family
from llama_cpp.unified.families import VARIANTS, Variant
from tests import tiny
from tests.families import ANSWER, FILES, THOUGHT, outputs, template

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
PARIS = "What is the capital of France?"
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
