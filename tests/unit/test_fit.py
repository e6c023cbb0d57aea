"""Nothing that a request says is missing from the prompt, whatever the template knows."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import ChatTemplate, TemplateError
from llama_cpp.chat import probe
from llama_cpp.chat.calls import check_tools
from llama_cpp.chat.messages import check_messages, render
from llama_cpp.chat.syntax import GENERIC_CALLS
from llama_cpp.chat.writer import read_cut, written_calls
from llama_cpp.compat.chat_formats import CHAT_FORMATS

TEMPLATES = {
    path.stem: path
    for path in sorted((Path(__file__).parents[2] / "vendor/llama.cpp/models/templates").glob("*.jinja"))
}
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|tool_call|>"]
ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TOOLS = check_tools(
    [
        {
            "name": "get_weather",
            "description": "Zabout",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Zcity"},
                    "days": {"type": "integer"},
                    "unit": {"enum": ["Zcelsius", "Zkelvin"]},
                    "at": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "places": {"type": "array", "items": {"type": "object", "properties": {"zip": {"type": "string"}}}},
                },
                "required": ["city"],
            },
        },
        {"name": "noop"},
    ]
)
TOLD = ["get_weather", "Zabout", "city", "Zcity", "days", "unit", "Zcelsius", "Zkelvin", "places", "zip", "noop"]


@functools.cache
def template_of(stem: str) -> ChatTemplate:
    source = TEMPLATES[stem].read_text(encoding="utf-8") if stem in TEMPLATES else CHAT_FORMATS[stem].template
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


def prompt_of(template: ChatTemplate, messages: Any, **arguments: Any) -> str:
    return "".join(render(template, check_messages(messages), SPECIAL, **arguments))


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def answer(content: str | None, *calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **({"tool_calls": list(calls)} if calls else {})}


def call(number: int, name: str = "get_weather", arguments: str | None = None) -> dict[str, Any]:
    given = json.dumps({"city": f"Ztown{number}", "days": 3}) if arguments is None else arguments
    return {"id": f"call_{number}x", "type": "function", "function": {"name": name, "arguments": given}}


def result(number: int, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}x", "content": content}


CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "user": [user("Zu")],
    "parts": [system("Zsys"), user([{"type": "text", "text": "Zp1"}, {"type": "text", "text": "Zp2"}])],
    "turns": [system("Zsys"), user("Zu"), answer("Za"), user("Zv")],
    "call with None": [user("Zu"), answer(None, call(1)), result(1, "Zr")],
    "call with nothing": [system("Zsys"), user("Zu"), answer("", call(1)), result(1, "Zr"), answer("Za"), user("Zv")],
    "call without content": [user("Zu"), {"role": "assistant", "tool_calls": [call(1)]}, result(1, "Zr"), user("Zv")],
    "call and content": [user("Zu"), answer("Zb", call(1)), result(1, "Zr"), answer("Za"), user("Zv")],
    "call without arguments": [user("Zu"), answer(None, call(1, "noop", "{}")), result(1, "Zr")],
    "calls": [system("Zsys"), user("Zu"), answer(None, call(1), call(2)), result(1, "Zr1"), result(2, "Zr2")],
    "results in other order": [user("Zu"), answer("", call(1), call(2)), result(2, "Zr2"), result(1, "Zr1")],
    "rounds": [user("Zu"), answer(None, call(1)), result(1, "Zr1"), answer(None, call(2)), result(2, "Zr2")],
    "cut call": [user("Zu"), answer(None, call(1, arguments='{"city": "Ztow')), result(1, "Zr")],
    "questions in a row": [user("Zu"), user("Zv")],
    "answers in a row": [user("Zu"), answer("Za"), answer("Zb"), user("Zv")],
    "greeting": [answer("Za"), user("Zu")],
    "late system": [user("Zu"), answer("Za"), system("Zsys"), user("Zv")],
    "last system": [user("Zu"), system("Zsys")],
    "two systems": [system("Zs1"), system("Zs2"), user("Zu")],
    "system alone": [system("Zsys")],
}


def said(messages: list[dict[str, Any]]) -> list[str]:
    """Return the words of a conversation."""
    words = []
    for message in messages:
        content = message.get("content")
        words += [part["text"] for part in content] if isinstance(content, list) else [content] if content else []
        for one in message.get("tool_calls", ()):
            words += [one["function"]["name"], *re.findall(r"Z\w+", one["function"]["arguments"])]
    return words


@pytest.mark.parametrize("stem", [*TEMPLATES, *CHAT_FORMATS])
def test_nothing_is_missing(stem: str) -> None:
    template = template_of(stem)
    for name, messages in CONVERSATIONS.items():
        for tools in (None, TOOLS):
            prompt = prompt_of(template, messages, tools=tools)
            missing = [word for word in said(messages) + (TOLD if tools else []) if word not in prompt]
            assert not missing, (name, bool(tools))
            called = [one["function"]["name"] for message in messages for one in message.get("tool_calls", ())]
            for word in set(called):
                assert prompt.count(word) >= called.count(word) + bool(tools), (name, bool(tools))
            assert not [word for word in probe.WORDS if word in prompt], name
            if "Zr2" in prompt:
                assert prompt.index("Zr1") < prompt.index("Zr2"), (name, bool(tools))


@pytest.mark.parametrize("stem", TEMPLATES)
def test_what_the_template_writes_in_full_is_left_alone(stem: str) -> None:
    template = template_of(stem)
    for name in ("user", "turns", "calls"):
        checked = check_messages(CONVERSATIONS[name])
        for tools in (None, TOOLS):
            try:
                plain = template.render(checked, tools=tools)
            except TemplateError:
                continue
            if all(word in plain for word in said(CONVERSATIONS[name]) + (TOLD if tools else [])):
                ids = r"call_\dx|[0-9a-f]{9}|functions\.\w+:\d|name: .*|get_weather|tool"
                ours = prompt_of(template, CONVERSATIONS[name], tools=tools)
                assert re.sub(ids, "", ours) == re.sub(ids, "", plain), (name, bool(tools))


CALLED = {"city": 'Paris "x"', "days": 2, "exact": True, "place": {"x": [1, None]}, "none": None}


SYNTAXES = {stem: template_of(stem).syntax() for stem in TEMPLATES}
AS_TEXT = [stem for stem, syntax in SYNTAXES.items() if syntax.calls is not None and not syntax.harmony]


@pytest.mark.parametrize("stem", AS_TEXT)
def test_calls_that_are_written_are_read(stem: str) -> None:
    syntax = SYNTAXES[stem]
    calls = [call(1, "get_weather", json.dumps(CALLED)), call(2, "noop", "{}")]
    given = check_messages([answer("", *calls)])[0]["tool_calls"]
    for some in (given, given[:1]) if syntax.calls is not None and syntax.calls.parallel else (given[:1],):
        text = written_calls(syntax.calls or GENERIC_CALLS, some)
        assert "qname" not in text
        thought = syntax.think_end if syntax.thinks_already else ""
        schema = {"type": "object", "properties": {name: {} for name in CALLED}}
        tools = check_tools([{"name": "get_weather", "parameters": schema}, {"name": "noop"}])
        read = template_of(stem).parse(thought + text, tools=tools)
        found = [(one["function"]["name"], json.loads(one["function"]["arguments"])) for one in read["tool_calls"]]
        assert found == [("get_weather", CALLED), ("noop", {})][: len(some)], text


# -- the reports' own inputs -------------------------------------------------------------------------------------------


HEAD = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
TAIL = f"<|im_end|>\n{{% endfor %}}{ASK}"
PARTS = "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}"
EITHER = f"{{% if m.content is string %}}{{{{ m.content }}}}{{% else %}}{PARTS}{{% endif %}}"
MIXED = f"{{% if m.role == 'user' %}}{PARTS}{{% else %}}{{{{ m.content }}}}{{% endif %}}"


@pytest.mark.parametrize("content", ["hello", [{"type": "text", "text": "hello"}]], ids=["text", "parts"])
@pytest.mark.parametrize("reads", [PARTS, EITHER, MIXED, "{{ m.content[0]['text'] }}", "{{ m.content[0].text }}"])
def test_texts_are_given_as_the_template_reads_them(reads: str, content: Any) -> None:
    messages = [{"role": role, "content": content} for role in ("system", "user", "assistant", "user", "tool")]
    prompt = prompt_of(ChatTemplate(HEAD + reads + TAIL), messages)
    assert (
        prompt
        == "".join(f"<|im_start|>{role}\nhello<|im_end|>\n" for role in ("system", "user", "assistant", "user", "tool"))
        + "<|im_start|>assistant\n"
    )


def test_a_text_that_no_form_of_it_shows_is_an_error() -> None:
    with pytest.raises(TemplateError, match=r"leaves out.*text of the user"):
        prompt_of(ChatTemplate(HEAD + "{% if m.role != 'user' %}{{ m.content }}{% endif %}" + TAIL), [user("hello")])


def test_the_last_message_goes_on_where_texts_are_lists_of_parts() -> None:
    messages = [user("hello"), answer("The sky")]
    prompt = prompt_of(ChatTemplate(HEAD + PARTS + TAIL), messages, continue_final_message=True)
    assert prompt == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\nThe sky"


def test_tools_are_told_in_the_form_of_the_template() -> None:
    prompt = prompt_of(template_of("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"), [user("Hi")], tools=TOOLS)
    calls = SYNTAXES["deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"].calls
    assert calls is not None
    assert f"{calls.section_start}{calls.prefix}<function-name>{calls.after_name}<args-json-object>" in prompt
    assert prompt.index("get_weather") < prompt.index("Hi")


TOLD_AS_BEFORE = """<|im_start|>system
Be brief.

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
NOOP
</tools>

For each function call, return a JSON object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
<|im_start|>user
Weather?<|im_end|>
<|im_start|>assistant
I look.
<tool_call>
{"name": "noop", "arguments": {}}
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
sunny
</tool_response><|im_end|>
<|im_start|>assistant
""".replace("NOOP", json.dumps(TOOLS[1]))


def test_templates_without_tools_tell_of_them_in_hermes_form() -> None:
    template = ChatTemplate(HEAD + "{{ m.content }}" + TAIL)
    messages = [system("Be brief."), user("Weather?"), answer("I look.", call(1, "noop", "{}")), result(1, "sunny")]
    assert prompt_of(template, messages, tools=TOOLS[1:]) == TOLD_AS_BEFORE
    without = prompt_of(template, messages)
    assert without == re.sub(r"\n\nYou may.*?</tool_call>(?=<\|im_end)", "", TOLD_AS_BEFORE, count=1, flags=re.DOTALL)


def test_a_system_message_may_be_refused() -> None:
    template = template_of("google-gemma-2-2b-it")
    prompt = prompt_of(template, [system("Be brief."), user("Hi")])
    assert prompt == "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
    messages = [user("Hi"), answer(None, call(1), call(2)), result(1, "Zr1"), result(2, "Zr2"), user("And?")]
    prompt = prompt_of(template, messages, tools=TOOLS)
    assert re.findall("<start_of_turn>(.*)", prompt) == ["user", "model", "user", "model"]


@pytest.mark.parametrize("content", [None, "", "absent"])
def test_calls_that_a_template_does_not_write_stand_in_the_text(content: str | None) -> None:
    calling = answer(content, call(1))
    if content == "absent":
        del calling["content"]
    messages = [user("Hi"), calling, result(1, "rain")]
    for tools in (None, TOOLS):
        prompt = prompt_of(template_of("ibm-granite-granite-3.3-2B-Instruct"), messages, tools=tools)
        written = '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Ztown1", "days": 3}}]<|end_of_text|>'
        assert f"<|start_of_role|>assistant<|end_of_role|>{written}" in prompt
        assert "rain" in prompt


@pytest.mark.parametrize("asks", ["m.content is none", "m.content is not defined", "m.content == ''"])
def test_what_stands_for_no_content_is_found_out(asks: str) -> None:
    reads = f"{{% if {asks} %}}{{{{ m.tool_calls | tojson }}}}{{% else %}}{{{{ m.content }}}}{{% endif %}}"
    for content in (None, ""):
        prompt = prompt_of(ChatTemplate(HEAD + reads + TAIL), [user("Hi"), answer(content, call(1)), result(1, "rain")])
        assert '"city": "Ztown1"' in prompt
        assert "None" not in prompt


def test_special_tokens_of_calls_are_whole_and_those_in_arguments_are_not() -> None:
    messages = [user("Hi"), answer(None, call(1, arguments='{"city": "<|tool_call|>"}')), result(1, "<|tool_call|>")]
    pieces = render(template_of("ibm-granite-granite-3.3-2B-Instruct"), check_messages(messages), SPECIAL)
    assert sum(piece.count("<|tool_call|>") for piece in pieces) == 1
    assert "".join(pieces).count("<|tool_call|>") == 3


def test_a_parameter_needs_no_description() -> None:
    rendered = template_of("CohereForAI-c4ai-command-r-plus-tool_use").render([user("Hi")], tools=TOOLS)
    assert "def get_weather(city: str" in rendered
    prompt = prompt_of(template_of("CohereForAI-c4ai-command-r-plus-tool_use"), [user("Hi")], tools=TOOLS)
    assert "def get_weather(city: str" in prompt


def test_ids_are_as_the_template_wants_them() -> None:
    messages = [user("Hi"), answer(None, call(1)), result(1, "rain")]
    prompt = prompt_of(template_of("mistralai-Mistral-Nemo-Instruct-2407"), messages)
    (made,) = set(re.findall(r'"(?:id|call_id)": "(\w+)"', prompt))
    assert len(made) == 9
    assert "functions.get_weather:0" in prompt_of(template_of("moonshotai-Kimi-K2"), messages)


def test_documents_are_told_where_the_template_has_no_place_for_them() -> None:
    documents = [{"title": "Paris", "text": "It rains."}]
    prompt = prompt_of(ChatTemplate(HEAD + "{{ m.content }}" + TAIL), [user("Hi")], documents=documents)
    assert "It rains." in prompt
    granite = template_of("ibm-granite-granite-3.3-2B-Instruct")
    prompt = prompt_of(granite, [user("Hi")], documents=documents)
    assert 'document {"document_id": ""}<|end_of_role|>\nParis\n\nIt rains.<|end_of_text|>' in prompt


def test_a_call_that_was_cut_is_shown_as_it_was() -> None:
    cut = [user("Hi"), answer(None, call(1, arguments='{"city": "Par')), result(1, "cut")]
    raw = "{% for c in m.tool_calls or [] %}<c>{{ c.function.name }}{{ c.function.arguments }}</c>{% endfor %}"
    assert '<c>get_weather{"city": "Par</c>' in prompt_of(ChatTemplate(HEAD + "{{ m.content }}" + raw + TAIL), cut)
    assert '{"name": "get_weather", "arguments": {"city": "Par\n</tool_call>' in prompt_of(
        ChatTemplate(HEAD + "{{ m.content }}" + TAIL), cut
    )
    assert "<parameter=city>\nPar\n</parameter>" in prompt_of(template_of("Qwen3-Coder"), cut)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"city": "Par', {"city": "Par"}),
        ('{"city": "Paris", "da', {"city": "Paris"}),
        ('{"a": [1, {"b": "x\\', {"a": [1, {"b": "x"}]}),
        ('{"n": 12', {"n": 12}),
        ("{", {}),
        ("{'city': 1}", {"arguments": "{'city': 1}"}),
    ],
)
def test_as_much_as_there_is_of_cut_arguments_is_read(text: str, read: dict[str, Any]) -> None:
    assert read_cut(text) == read


def test_the_form_of_a_request_is_looked_at_once() -> None:
    template = ChatTemplate(TEMPLATES["google-gemma-2-2b-it"].read_text(encoding="utf-8"))
    for text in ("one", "two", "three"):
        assert text in prompt_of(template, [system("s"), user(text)])
    assert len(template.plans) == 1


def test_what_the_template_has_no_place_for_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    template = ChatTemplate(HEAD + "{{ m.content }}" + TAIL)
    for _ in range(2):
        prompt_of(template, [{**user("Hi"), "name": "Alice"}], reasoning_effort="low", enable_thinking=True)
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "the chat template does not look at names of who speaks",
        "the chat template does not look at the variable 'reasoning_effort'",
    ]
    caplog.clear()
    prompt_of(template_of("Kimi-K2-Instruct"), [{**user("Hi"), "name": "Alice"}])
    prompt_of(template_of("openai-gpt-oss-120b"), [user("Hi")], reasoning_effort="low")
    assert not caplog.records


@pytest.mark.parametrize(
    "stem", ["Mistral-Small-3.2-24B-Instruct-2506", "openai-gpt-oss-120b", "ibm-granite-granite-3.3-2B-Instruct"]
)
def test_long_conversations_are_fitted_as_short_ones(stem: str) -> None:
    template = ChatTemplate(TEMPLATES[stem].read_text(encoding="utf-8"), bos_token="<s>", eos_token="</s>")
    messages = [system("Zsys")]
    for turn in range(40):
        messages += [user("Zu"), answer("Zb" if turn % 2 else None, call(2 * turn), call(2 * turn + 1))]
        messages += [result(2 * turn, f"Zr{turn}."), result(2 * turn + 1, f"Zs{turn}."), answer("Za")]
    prompt = prompt_of(template, [*messages, user("Zv")], tools=TOOLS)
    assert not [word for word in said(messages) if word not in prompt]
    assert prompt.index("Zr7.") < prompt.index("Zs7.") < prompt.index("Zr8.")
    short, long = template.plans.values()
    assert short == long
    prompt_of(template, [*messages, *messages[1:], user("Zv")], tools=TOOLS)
    assert len(template.plans) == 3


def test_what_a_long_conversation_has_once_is_looked_at() -> None:
    blind = "{% if loop.index == 50 %}{% else %}{{ m.content }}{% endif %}"
    messages = [user("Zu"), answer("Za")] * 30
    with pytest.raises(TemplateError, match="leaves out"):
        prompt_of(ChatTemplate(HEAD + blind + TAIL), messages)
    once = "{% if loop.index == 50 and m.content is string %}{% else %}" + EITHER + "{% endif %}"
    assert prompt_of(ChatTemplate(HEAD + once + TAIL), messages).count("Zu") == 30
