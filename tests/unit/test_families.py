"""The values of the families: consistent with each other, with llama.cpp and with the templates."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from llama_cpp.chat.template import ChatTemplate
from llama_cpp.unified import ModelConfig, ModelFamily, detect_model_family
from llama_cpp.unified.detect import detect, resolve_family
from llama_cpp.unified.families import REASONING_LEVELS, VARIANTS, Variant

LLAMA_CPP = Path(__file__).parents[2] / "vendor/llama.cpp"

# Variants of which llama.cpp has the template.
TEMPLATES = {
    "qwen3-hybrid": "Qwen-Qwen3-0.6B",
    "qwen3-coder": "Qwen3-Coder",
    "qwen3.5": "Qwen3.5-4B",
    "mistral-nemo": "mistralai-Mistral-Nemo-Instruct-2407",
    "mistral-small": "Mistral-Small-3.2-24B-Instruct-2506",
    "ministral-3-reasoning": "mistralai-Ministral-3-14B-Reasoning-2512",
    "devstral": "unsloth-mistral-Devstral-Small-2507",
    "phi-3.5": "microsoft-Phi-3.5-mini-instruct",
    "glm-4.6": "GLM-4.6",
    "glm-4.7-flash": "GLM-4.7-Flash",
    "granite-3.3": "ibm-granite-granite-3.3-2B-Instruct",
    "granite-4.0": "ibm-granite-granite-4.0",
    "granite-4.1": "ibm-granite-granite-4.1",
    "gemma-2": "google-gemma-2-2b-it",
    "gemma-4": "google-gemma-4-31B-it",
    "minicpm5": "openbmb-MiniCPM5-1B",
    "gpt-oss-20b": "openai-gpt-oss-120b",
}
THINKERS = [name for name in TEMPLATES if resolve_family(name).supports_thinking]

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)


def template_of(name: str) -> str:
    return (LLAMA_CPP / "models/templates" / f"{TEMPLATES[name]}.jinja").read_text()


def render(name: str, messages: list[dict[str, Any]] | None = None, **kwargs: Any) -> str:
    template = ChatTemplate(template_of(name), bos_token="<s>", eos_token="</s>")
    return template.render(messages or [{"role": "user", "content": "Hello"}], **kwargs)


def test_the_families_are_the_nine_of_the_reference() -> None:
    names = "AYA GEMMA GLM4 GRANITE MINICPM PHI MISTRAL QWEN3 GPT_OSS"
    assert {family.name for family in ModelFamily} == set(names.split())
    assert {variant.family for variant in VARIANTS} == set(ModelFamily)


def test_every_name_means_one_value() -> None:
    names = [variant.name for variant in VARIANTS] + [family.value for family in ModelFamily]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and "_" not in name for name in names)


def test_llama_cpp_knows_the_architectures_and_chat_formats() -> None:
    architectures = set(re.findall(r'LLM_ARCH_\w+,\s*"([^"]+)"', (LLAMA_CPP / "src/llama-arch.cpp").read_text()))
    formats = set(re.findall(r'\{ "([^"]+)",\s+LLM_CHAT_TEMPLATE_', (LLAMA_CPP / "src/llama-chat.cpp").read_text()))
    for variant in VARIANTS:
        assert variant.architectures <= architectures, variant.name
        assert variant.chat_format in formats | {None}, variant.name


@each_variant
def test_a_value_is_frozen_and_has_a_public_face(variant: Variant) -> None:
    config = variant.config
    assert (config.family, config.variant, config.max_ctx) == (variant.family, variant.name, variant.max_ctx)
    assert config.supports_thinking == (variant.thinking.switch != "never")
    assert config.stop_sequences == variant.stop
    for value in (config, variant, variant.sampling, variant.thinking):
        with pytest.raises(dataclasses.FrozenInstanceError):
            value.family = None  # type: ignore[union-attr, misc]
    assert isinstance(hash(variant), int)


@each_variant
def test_sampling_is_valid_and_the_caller_s_own(variant: Variant) -> None:
    plain, thinking = variant.sampling_params(False), variant.sampling_params(True)
    assert (plain.temperature, plain.top_p, plain.top_k, plain.min_p) == (
        variant.config.temperature,
        variant.config.top_p,
        variant.config.top_k,
        variant.config.min_p,
    )
    assert (plain == thinking) == (variant.thinking_sampling in (None, variant.sampling))
    assert variant.thinking_sampling is None or variant.thinking.switch in ("argument", "suffix")
    plain.temperature = 9.0
    assert variant.sampling_params(False).temperature != 9.0


@each_variant
def test_a_variant_is_found_by_each_of_its_names(variant: Variant) -> None:
    if variant.name != "qwen3-soft-switch":  # which only the template tells
        for pattern in variant.names:
            assert detect({}, f"{pattern.replace('*', 'large')} q8.gguf") is variant


def test_the_cards_numbers() -> None:
    hybrid = resolve_family("qwen3-hybrid")
    assert hybrid.sampling_params(True).temperature == 0.6
    assert (hybrid.sampling_params(True).top_p, hybrid.sampling_params(True).top_k) == (0.95, 20)
    assert (hybrid.sampling_params(False).temperature, hybrid.sampling_params(False).top_p) == (0.7, 0.8)
    assert resolve_family("qwen3-coder").sampling_params(False).repeat_penalty == 1.05
    assert resolve_family("qwen3.5").sampling_params(True).presence_penalty == 1.5
    assert resolve_family("gpt-oss").sampling_params(True).repeat_penalty == 1.0


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_is_one_of_the_variant_s(name: str) -> None:
    variant, source = resolve_family(name), template_of(name)
    assert [text for text in variant.template_has if text not in source] == []
    assert [text for text in variant.template_lacks if text in source] == []


@pytest.mark.parametrize("name", THINKERS)
def test_the_switch_reaches_the_template(name: str) -> None:
    thinking = resolve_family(name).thinking
    on, off = (render(name, **thinking.template_kwargs(enabled)) for enabled in (True, False))
    assert (on != off) == (thinking.switch == "argument")


@pytest.mark.parametrize("name", THINKERS)
def test_the_template_knows_the_tags(name: str) -> None:
    start, end = resolve_family(name).thinking.tags
    assert start in template_of(name)
    assert end in template_of(name)


def test_the_level_reaches_the_template() -> None:
    thinking = resolve_family("gpt-oss").thinking
    for level in REASONING_LEVELS:
        assert f"Reasoning: {level}" in render("gpt-oss-20b", **thinking.template_kwargs(True, level))


@pytest.mark.parametrize("name", [name for name in THINKERS if resolve_family(name).thinking.strip_history])
def test_templates_forget_thinking_where_the_card_says_so(name: str) -> None:
    answer = {"role": "assistant", "content": "Four.", "reasoning_content": "Secret.", "thinking": "Secret."}
    question = {"role": "user", "content": "Two and two?"}
    text = render(name, [question, answer, question])
    assert "Four." in text
    assert "Secret." not in text


def test_the_reference_s_example() -> None:
    config = detect_model_family("models/Qwen3-30B-A3B-Instruct-2507-Q4_K_S.gguf")
    assert isinstance(config, ModelConfig)
    assert config.family is ModelFamily.QWEN3
    assert not config.supports_thinking
    with pytest.raises(ValueError, match=r"is unknown: its file is called 'model\.gguf'"):
        detect_model_family("/home/maya/model.gguf")
