"""What a template writes for an assistant's message, the parser reads back: for every template that can express it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from llama_cpp import ChatTemplate, TemplateError, ValidationError
from llama_cpp.chat.calls import call_grammar, check_tool_choice, check_tools, tool_of, with_generic_tools
from llama_cpp.chat.parser import StreamParser, message_of, parse
from llama_cpp.chat.template import CHATML

TEMPLATES = sorted((Path(__file__).parents[2] / "vendor/llama.cpp/models/templates").glob("*.jinja"))
TYPES = {"city": "string", "days": "integer", "ok": "boolean", "opts": "object", "f": "number", "tags": "array"}
PROPERTIES: dict[str, Any] = {
    **{name: {"type": kind} for name, kind in TYPES.items()},
    "x": {"type": ["null", "string"]},
}
TOOLS = check_tools(
    [
        {"name": "get_weather", "description": "d", "parameters": {"type": "object", "properties": PROPERTIES}},
        {"name": "noop", "description": "d"},
    ]
)
NESTED = {
    "city": 'Zürich "old"\nline 日本',
    "days": 3,
    "ok": True,
    "opts": {"a": [1, {"b": None}]},
    "x": None,
    "f": 1.5,
    "tags": ["a", "b"],
}
USER = [{"role": "user", "content": "Hi"}]


def call(name: str, arguments: dict[str, Any], call_id: str = "abcdef123") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


MESSAGES: dict[str, dict[str, Any]] = {
    "content": {"content": "Hello *world*.\n\nSecond line"},
    "reasoning": {"content": "The answer", "reasoning_content": "let me think\nabout it"},
    "one call": {"content": "", "tool_calls": [call("get_weather", {"city": "Paris"})]},
    "nested": {"content": "", "tool_calls": [call("get_weather", NESTED)]},
    "no arguments": {"content": "", "tool_calls": [call("noop", {})]},
    "parallel": {"content": "", "tool_calls": [call("get_weather", {"city": "A"}), call("noop", {}, "abcdef124")]},
    "content and call": {"content": "I look.", "tool_calls": [call("get_weather", {"city": "Paris", "days": 2})]},
}
# What is not read back yet, and why. Where a prompt has opened the reasoning already and the template leaves its
# closing tag out of earlier turns, the text is one that the model would not write.
KNOWN = {
    "Apriel-1.6-15b-Thinker-fixed": ["reasoning"],  # no tag opens the reasoning
    "Cohere2MoE": ["content"],  # opened reasoning
    "GigaChat3-10B-A1.8B": [
        "one call",
        "nested",
        "no arguments",
        "content and call",
    ],  # calls begin like the end of a turn
    "Kimi-K3": ["reasoning", "one call", "nested", "no arguments", "parallel", "content and call"],  # so do these
    "MiniMax-M2": ["content", "content and call"],  # opened reasoning
    "MiniMax-M3": ["one call", "nested", "no arguments", "parallel", "content and call"],  # arguments nested as tags
    "NVIDIA-Nemotron-Nano-v2": ["content", "content and call"],  # opened reasoning
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": ["content"],  # opened reasoning
    "google-gemma-4-31B-it": [
        "nested",
        "content and call",
    ],  # values that are no strings are written as in no other format
    "google-gemma-4-31B-it-interleaved": ["nested", "content and call"],
    "llama-cpp-deepseek-r1": ["content"],  # opened reasoning
    "openai-gpt-oss-120b": ["content and call"],  # writes content as reasoning
    "openbmb-MiniCPM5-1B": ["nested"],  # CDATA
    "tencent-Hy3": ["reasoning"],  # no tag opens the reasoning
}


def written(template: ChatTemplate, message: dict[str, Any]) -> str | None:
    """Return what a template writes for a message after the generation prompt, None if it can't express it."""
    tools = TOOLS if "tool_calls" in message else None
    try:
        prompt = template.render(USER, tools=tools)
        full = template.render([*USER, {"role": "assistant", **message}], tools=tools, add_generation_prompt=False)
    except TemplateError:
        return None
    n = next((i for i, (a, b) in enumerate(zip(full, prompt, strict=False)) if a != b), min(len(full), len(prompt)))
    while n < len(prompt) and full[:n].rfind("<") > full[:n].rfind(">"):
        n -= 1
    text = full[n:]
    wanted = [message["content"], message.get("reasoning_content", "")]
    names = [one["function"]["name"] for one in message.get("tool_calls", ())]
    return text if all(part in text for part in (*wanted, *names)) else None


def simple(message: dict[str, Any]) -> tuple[Any, ...]:
    calls = [
        (one["function"]["name"], json.loads(one["function"]["arguments"] or "null"))
        for one in message.get("tool_calls", ())
    ]
    return message["content"] or "", message.get("reasoning_content", ""), calls


def expected(message: dict[str, Any]) -> tuple[Any, ...]:
    calls = [(one["function"]["name"], one["function"]["arguments"]) for one in message.get("tool_calls", ())]
    return message["content"], message.get("reasoning_content", ""), calls


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_messages_are_read_back(path: Path) -> None:
    template = ChatTemplate(path.read_text(encoding="utf-8"), bos_token="<s>", eos_token="</s>")
    failed = []
    for name, message in MESSAGES.items():
        text = written(template, message)
        if text is None:
            continue
        tools = TOOLS if "tool_calls" in message else None
        if simple(parse(template, text, tools=tools)) != expected(message):
            failed.append(name)
    assert failed == KNOWN.get(path.stem, [])


def test_most_of_what_templates_can_express_is_read_back() -> None:
    expressible = sum(
        written(ChatTemplate(path.read_text(encoding="utf-8"), bos_token="<s>", eos_token="</s>"), message) is not None
        for path in TEMPLATES
        for message in MESSAGES.values()
    )
    assert expressible >= 330
    assert sum(map(len, KNOWN.values())) <= 0.09 * expressible


@pytest.mark.parametrize("path", TEMPLATES[::5], ids=lambda path: path.stem)
def test_reading_piece_by_piece_only_ever_adds(path: Path) -> None:
    template = ChatTemplate(path.read_text(encoding="utf-8"), bos_token="<s>", eos_token="</s>")
    for message in MESSAGES.values():
        text = written(template, message)
        if text is None:
            continue
        tools = TOOLS if "tool_calls" in message else None
        whole = simple_texts(parse(template, text, tools=tools))
        parser = StreamParser(template, tools)
        deltas: list[dict[str, Any]] = []
        before = ""
        for index, character in enumerate(text):
            deltas += parser.feed(character)
            now = simple_texts(message_of(deltas))
            assert now.startswith(before)
            assert now == simple_texts(parse(template, text[: index + 1], tools=tools, partial=True))
            before = now
        assert simple_texts(message_of(deltas + parser.finish())) == whole


def simple_texts(message: dict[str, Any]) -> str:
    """Write a message so that what grows only makes it longer."""
    calls = "".join(
        f"\0{one['function']['name']}\0{one['function']['arguments']}" for one in message.get("tool_calls", ())
    )
    return f"{message.get('reasoning_content', '')}{message['content'] or ''}{calls}"


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_the_grammar_of_calls_takes_what_the_template_writes(path: Path) -> None:
    template = ChatTemplate(path.read_text(encoding="utf-8"), bos_token="<s>", eos_token="</s>")
    syntax = template.syntax()
    if syntax.calls is None:
        return
    source = call_grammar(syntax, TOOLS, parallel=True, triggered=False, special={})
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(source), log_level=0)
    assert matcher.get_error() == ""


def test_models_without_tools_are_asked_in_hermes_form() -> None:
    messages = with_generic_tools(
        [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "tool_calls": [call("noop", {})]},
            {"role": "tool", "content": "sunny"},
        ],
        TOOLS,
    )
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert '"get_weather"' in messages[0]["content"]
    assert '<tool_call>\n{"name": "noop", "arguments": {}}\n</tool_call>' in messages[2]["content"]
    template = ChatTemplate(CHATML)
    found = parse(template, 'ok <tool_call>\n{"name": "noop", "arguments": {}}\n</tool_call>', tools=TOOLS)
    assert simple(found) == ("ok", "", [("noop", {})])


def test_functions_become_tools() -> None:
    def weather(city: str, days: int = 1, unit: str | None = None) -> str:
        """Tell the weather.

        Args:
            city: where
            days (int): how many
        """
        return city

    function = tool_of(weather)["function"]
    assert function["name"] == "weather"
    assert function["description"] == "Tell the weather."
    assert function["parameters"]["required"] == ["city"]
    assert function["parameters"]["properties"]["city"] == {"type": "string", "description": "where"}
    assert function["parameters"]["properties"]["days"]["description"] == "how many"


@pytest.mark.parametrize(
    "tools",
    [
        "f",
        [1],
        [{"type": "web"}],
        [{"function": {"name": "a b"}}],
        [{"name": "f"}, {"name": "f"}],
        [{"name": "f", "parameters": 1}],
    ],
)
def test_wrong_tools_are_refused(tools: Any) -> None:
    with pytest.raises(ValidationError, match="tools"):
        check_tools(tools)


def test_tool_choice_is_openais() -> None:
    assert check_tool_choice(None, TOOLS) == ("auto", TOOLS)
    assert check_tool_choice(None, []) == ("none", [])
    assert check_tool_choice(True, TOOLS)[0] == "required"
    assert check_tool_choice({"type": "function", "function": {"name": "noop"}}, TOOLS) == ("required", TOOLS[1:])
    for choice, tools in [("required", []), ("any", TOOLS), ({"function": {"name": "x"}}, TOOLS), ({}, TOOLS)]:
        with pytest.raises(ValidationError, match="tool_choice"):
            check_tool_choice(choice, tools)
