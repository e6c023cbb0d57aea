"""What a request says is in the prompt by every way in: whole, streamed, asynchronous, in batch rows, in UnifiedLLM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import Llama, TemplateError
from llama_cpp.chat.calls import check_tools
from llama_cpp.chat.messages import check_messages, render
from llama_cpp.unified import UnifiedLLM
from tests import tiny
from tests.helpers import load

ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endfor %}" + ASK
)
LAST_TURN = (  # in the manner of vLLM's for Mistral with several calls
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if loop.last and tools and m.role == 'user' %}{{ tools | tojson }}\n{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n{{ c.function | tojson }}\n</tool_call>{% endfor %}<|im_end|>\n"
    "{% endfor %}" + ASK
)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
CUT = {**CALL, "function": {"name": "get_weather", "arguments": '{"city": "Par'}}
SYSTEM, USER = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "It rains."}
HISTORY = [SYSTEM, USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT]
CUT_HISTORY = [USER, {"role": "assistant", "content": None, "tool_calls": [CUT]}, RESULT]
REQUESTS: dict[str, dict[str, Any]] = {
    "system": {"messages": [SYSTEM, USER]},
    "tools": {"messages": [USER], "tools": [WEATHER]},
    "history": {"messages": HISTORY, "tools": [WEATHER]},
    "history alone": {"messages": HISTORY},
    "cut call": {"messages": CUT_HISTORY, "tools": [WEATHER]},
}

Speak = Callable[..., Path]


@pytest.fixture
def speak(tmp_path: Path, vendored: Path) -> Speak:
    """Return a function that writes a model which says a text after any prompt, with a template or the name of one."""

    def write(template: str, *pieces: str) -> Path:
        if "{" not in template:
            template = (vendored / "models" / "templates" / f"{template}.jinja").read_text(encoding="utf-8")
        return tiny.write_chain_model(tmp_path / "model.gguf", pieces, n_ctx_train=8192, chat_template=template)

    return write


def n_tokens(llm: Llama, messages: Any, tools: Any = None) -> int:
    """Count the tokens of a prompt that has all of a request, as the tests of chat/fit.py show."""
    pieces = render(llm.chat_template(), check_messages(messages), (), tools=check_tools(tools) or None)
    for word in ("Hi", "Be brief." if SYSTEM in messages else "", "It rains." if RESULT in messages else ""):
        assert word in "".join(pieces)
    tokens = llm.tokenize("".join(pieces), add_special=False, parse_special=True)
    return len(tokens) + (tokens[0] != llm.token_bos())


@pytest.mark.parametrize(
    "template",
    [
        PARTS,
        "google-gemma-2-2b-it",
        "ibm-granite-granite-3.3-2B-Instruct",
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
        "Kimi-K2-Instruct",
        "CohereForAI-c4ai-command-r-plus-tool_use",
        "mistralai-Mistral-Nemo-Instruct-2407",
    ],
    ids=lambda template: "parts" if "{" in template else template,
)
def test_every_way_in_has_the_same_prompt(speak: Speak, template: str) -> None:
    path = speak(template, "Good", " day")
    with load(path, n_ctx=8192) as llm, UnifiedLLM(path, 8192, family="qwen3", n_threads=1) as unified:

        async def asked(request: Any) -> tuple[Any, list[Any]]:
            whole = await llm.create_chat_completion_async(**request, max_tokens=1)
            pieces = await llm.create_chat_completion_async(**request, **streamed)
            return whole, [piece async for piece in pieces]  # type: ignore[union-attr]

        streamed: dict[str, Any] = {"max_tokens": 1, "stream": True, "stream_options": {"include_usage": True}}
        for name, request in REQUESTS.items():
            whole: Any = llm.create_chat_completion(**request, max_tokens=1)
            pieces: Any = list(llm.create_chat_completion(**request, **streamed))
            late, late_pieces = asyncio.run(asked(request))
            row = llm.generate_batch([{**request, "max_tokens": 1}])[0]
            chat: Any = unified.chat(**request, max_tokens=1)
            counts = [one["usage"]["prompt_tokens"] for one in (whole, pieces[-1], late, late_pieces[-1], chat)]
            assert counts == [n_tokens(llm, **request)] * 5, name
            assert row.usage.prompt_tokens == counts[0], name  # type: ignore[union-attr]


def test_a_system_prompt_goes_where_the_template_takes_it(speak: Speak) -> None:
    with UnifiedLLM(speak("google-gemma-2-2b-it", "Good", " day"), 2048, family="gemma", n_threads=1) as llm:
        assert llm.generate("Hi", system_prompt="Be brief.") == "Good day"
        assert llm.generate_batch(["Hi", "Ho"], system_prompt="Be brief.") == ["Good day"] * 2
        assert "".join(llm.generate("Hi", system_prompt="Be brief.", stream=True)) == "Good day"
        assert asyncio.run(llm.generate_async("Hi", system_prompt="Be brief.")) == "Good day"


def test_what_no_form_shows_ends_its_own_row_alone(speak: Speak) -> None:
    deaf = "{% for m in messages %}{% if messages | length < 2 %}{{ m.content }}{% endif %}{% endfor %}"
    with load(speak(deaf, "Good", " day")) as llm:
        rows: Any = llm.generate_batch([[USER, {**USER, "role": "assistant"}, USER], [USER]], on_error="return")
        assert isinstance(rows[0], TemplateError)
        assert rows[1].text == "Good day"


CALLED = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.mark.parametrize(
    "choice",
    ["auto", "required", {"type": "function", "function": {"name": "get_weather"}}],
    ids=["auto", "must", "named"],
)
def test_calls_are_read_where_tools_are_in_the_last_turn(speak: Speak, choice: Any) -> None:
    options: dict[str, Any] = {"tools": [WEATHER], "tool_choice": choice, "max_tokens": 40, "temperature": 0}
    with load(speak(LAST_TURN, CALLED), n_ctx=2048) as llm:
        whole: Any = llm.create_chat_completion([USER], **options)
        message = whole["choices"][0]["message"]
        assert [call["function"]["name"] for call in message["tool_calls"]] == ["get_weather"]
        assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"city": "Paris"}
        assert not message["content"]
        chunks: Any = llm.create_chat_completion([USER], stream=True, **options)
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        assert any(delta.get("tool_calls") for delta in deltas)
        assert not any(delta.get("content") for delta in deltas)


def test_what_was_given_can_be_sent_back(speak: Speak) -> None:
    with load(speak(LAST_TURN, CALLED), n_ctx=2048) as llm:
        answer = llm.create_chat_completion_openai_v1([USER], tools=[WEATHER], tool_choice="required", max_tokens=40)
        messages: list[Any] = [
            USER,
            answer.choices[0].message,
            {**RESULT, "tool_call_id": answer.choices[0].message.tool_calls[0].id},
        ]
        whole: Any = llm.create_chat_completion(messages, tools=[WEATHER], max_tokens=1)
        plain = [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT]
        same: Any = llm.create_chat_completion(plain, tools=[WEATHER], max_tokens=1)
        assert whole["usage"]["prompt_tokens"] == same["usage"]["prompt_tokens"]
        row: Any = llm.generate_batch([messages], max_tokens=1)[0]
        assert row.usage.prompt_tokens > 100
