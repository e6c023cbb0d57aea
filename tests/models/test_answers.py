"""Answers come back as the model wrote them: a tiny model says a known text, and nothing of it is lost or misread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import Llama, LlamaError
from llama_cpp.compat.chat_formats import CHAT_FORMATS
from llama_cpp.compat.chat_handlers import Jinja2ChatFormatter
from llama_cpp.unified import UnifiedLLM
from tests import tiny
from tests.helpers import load

ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" + ASK
HEADINGS = (
    "{% for m in messages %}### {{ m.role | capitalize }}:\n{{ m.content }}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### Assistant:\n{% endif %}"
)
HI = [{"role": "user", "content": "Hi"}]
MARKER = re.compile(r"<[|\N{FULLWIDTH VERTICAL LINE}][^<>]+>|<[a-z_]+[|]>|\[[A-Z_]+\]")

Speak = Callable[..., Llama]


@pytest.fixture
def speak(tmp_path: Path) -> Iterator[Speak]:
    """Return a function that loads a model which says some pieces, with the template's markers as control tokens."""
    opened: list[Llama] = []

    def make(template: str, *pieces: str, control: Sequence[str] | None = None) -> Llama:
        markers = dict.fromkeys(MARKER.findall(template)) if control is None else control
        path = tmp_path / f"{len(opened)}.gguf"
        tiny.write_chain_model(path, pieces, chat_template=template, control=list(markers), n_ctx_train=8192)
        opened.append(load(path, n_ctx=8192))
        return opened[-1]

    yield make
    for llm in opened:
        llm.close()


def gathered(chunks: Sequence[Any]) -> dict[str, Any]:
    """Put the pieces of a stream together, as the openai package does: texts are appended, but for index and type."""
    message: dict[str, Any] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            _accumulate(message, choice["delta"])
    message.setdefault("content", None)
    return message


def _accumulate(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    for key, value in delta.items():
        if key not in whole or whole[key] is None:
            whole[key] = json.loads(json.dumps(value))
        elif key in ("index", "type"):
            whole[key] = value
        elif isinstance(value, str):
            whole[key] += value
        elif isinstance(value, dict):
            _accumulate(whole[key], value)
        elif isinstance(value, list):
            for one in value:
                place = next((known for known in whole[key] if known["index"] == one["index"]), None)
                if place is None:
                    whole[key].append(json.loads(json.dumps(one)))
                else:
                    _accumulate(place, one)


def told(message: Any) -> tuple[str, str, list[tuple[str, Any]]]:
    """Return a message's content, its reasoning and its calls."""
    calls = [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]
    return message.get("content") or "", message.get("reasoning_content") or "", calls


def answers(llm: Llama, everywhere: bool = False, **options: Any) -> list[tuple[str, str, list[tuple[str, Any]]]]:
    """Ask for a whole answer and for a stream, or in every way that there is, and return what each of them told."""
    options = {"messages": HI, "max_tokens": 200, **options}
    whole: Any = llm.create_chat_completion(**options)
    messages = [
        whole["choices"][0]["message"],
        gathered(list(llm.create_chat_completion(stream=True, **options))),
    ]

    async def awaited() -> list[Any]:
        one: Any = await llm.create_chat_completion_async(**options)
        pieces: Any = await llm.create_chat_completion_async(stream=True, **options)
        return [one["choices"][0]["message"], gathered([chunk async for chunk in pieces])]

    if everywhere:
        messages += [llm.generate_batch([options])[0].message, *asyncio.run(awaited())]  # type: ignore[union-attr]
        with UnifiedLLM(llm.model_path, family="qwen3-instruct-2507", n_threads=1) as family:
            unified: Any = family.chat(**options)
            messages.append(unified["choices"][0]["message"])
    return [told(message) for message in messages]


def test_the_text_of_an_end_marker_ends_nothing(speak: Speak) -> None:
    pieces = ["<p>Price: <s", ">1", "00</", "s", "> now <|im_", "end|> 80</p>"]
    assert set(map(repr, answers(speak(TURNS, *pieces), everywhere=True))) == {repr(("".join(pieces), "", []))}
    # Where the vocabulary has no such token, its text is all that can end a turn.
    assert set(map(repr, answers(speak(TURNS, "Yes.", "<|im_", "end|>", " No.", control=[])))) == {
        repr(("Yes.", "", []))
    }
    # The user's own stops are texts.
    assert {content for content, _, _ in answers(speak(TURNS, *pieces), stop="</s>")} == {"<p>Price: <s>100"}


@pytest.mark.parametrize(
    ("template", "text", "expected"),
    [
        (HEADINGS, "Recipe.\n\n### Steps\nBoil.\n\n### User: none", "Recipe.\n\n### Steps\nBoil.\n\n### User: none"),
        (HEADINGS, "Recipe.\n\n### User:\nAnd then?\n\n### Assistant:\nEat.", "Recipe."),
        (HEADINGS, "Recipe.\n\n### User:", "Recipe."),
        (CHAT_FORMATS["alpaca"].template, "### Instruct yourself\nBoil.", "### Instruct yourself\nBoil."),
        (CHAT_FORMATS["alpaca"].template, "Boil.\n\n### Instruction:\nMore", "Boil."),
        (CHAT_FORMATS["snoozy"].template, "# One\n### Two\nBoil.", "# One\n### Two\nBoil."),
        (CHAT_FORMATS["redpajama-incite"].template, "A <human> is born.\n<human>: Who?", "A <human> is born."),
    ],
)
def test_a_turn_ends_where_the_next_one_begins(speak: Speak, template: str, text: str, expected: str) -> None:
    pieces = re.findall(r"[\s\S]{1,7}", text)
    assert {content for content, _, _ in answers(speak(template, *dict.fromkeys(pieces)))} == {expected}


def test_the_text_of_a_format_s_end_ends_nothing(speak: Speak) -> None:
    for name in ("zephyr", "vicuna", "mistrallite"):
        llm = speak(CHAT_FORMATS[name].template, "<p><s", ">1", "00</", "s", "> 80</p>")
        assert {content for content, _, _ in answers(llm)} == {"<p><s>100</s> 80</p>"}
    handler = Jinja2ChatFormatter(CHAT_FORMATS["zephyr"].template, "</s>", "<s>").to_chat_handler()
    answer: Any = handler(llama=llm, messages=HI)
    assert answer["choices"][0]["message"]["content"] == "<p><s>100</s> 80</p>"


GPT_OSS = "openai-gpt-oss-120b"


def from_file(vendored: Path, name: str) -> str:
    return (vendored / "models" / "templates" / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A plain answer.", ("A plain answer.", "")),
        ("<|channel|>final<|message|>Say <|end|> and <|return|> there.", ("Say <|end|> and <|return|> there.", "")),
        ("<|channel|>analysis<|message|>Hm <|end|><|start|>assistant<|channel|>final<|message|>Yes.", ("Yes.", "Hm")),
        ("<|channel|>analysis<|message|>Hm", ("", "Hm")),
        ("final<|message|>Yes.", ("Yes.", "")),
    ],
)
def test_text_is_content_where_no_channel_says_otherwise(
    speak: Speak, vendored: Path, text: str, expected: tuple[str, str]
) -> None:
    pieces = dict.fromkeys(re.findall(r"[\s\S]{1,9}", text))
    found = {
        (content, thought)
        for content, thought, _ in answers(speak(from_file(vendored, GPT_OSS), *pieces), everywhere=True)
    }
    assert found == {expected}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "a city"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
PARIS = {"city": "Paris", "days": 3}
LLAMA, QWEN, CODER, KIMI, GEMMA = (
    "meta-llama-Llama-3.1-8B-Instruct",
    "Qwen-Qwen3-0.6B",
    "Qwen3-Coder",
    "Kimi-K2-Instruct",
    "google-gemma-4-31B-it",
)
PYTHONIC = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.tool_calls %}["
    "{% for c in m.tool_calls %}{{ c.function.name }}("
    '{% for k, v in c.function.arguments.items() %}{{ k }}={{ v | tojson }}{{ ", " if not loop.last }}{% endfor %})'
    '{{ ", " if not loop.last }}{% endfor %}]{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}' + ASK
)
NAME_LAST = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"arguments": {{ c.function.arguments | tojson }}, "name": "{{ c.function.name }}"}\n</tool_call>{% endfor %}'
    "<|im_end|>\n{% endfor %}" + ASK
)


def source_of(vendored: Path, template: str) -> str:
    return template if "{" in template else from_file(vendored, template)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (LLAMA, 'Here is the person: {"name": "Alice", "age": 33} as you asked.'),
        (LLAMA, '{"name": "Alice", "parameters": {"age": 33}}'),
        (LLAMA, '{"name": "get_weather", "age": 33}'),
        (LLAMA, "get_weather is a function."),
        (PYTHONIC, "[get_weather] needs get_weather(city), I say."),
        (PYTHONIC, "Ask get_weather(city='Paris') of it."),
        (QWEN, "Write <tool_call> and </tool_call> around it."),
        (QWEN, '<tool_call>\n{"name": "my_tool"} is what I would write.'),
        (CODER, "Use <function=name> with <parameter=city>, or <tool_call>."),
        (KIMI, "A call begins with <|tool_call_begin|>functions. and a name."),
        ("GLM-4.6", "<tool_call>get_weather is how it begins."),
        ("Mistral-Small-3.2-24B-Instruct-2506", "[TOOL_CALLS] is what get_weather needs."),
        (GPT_OSS, "<|channel|>final<|message|>I would write to=functions.get_weather there."),
    ],
)
def test_what_resembles_a_call_is_free(speak: Speak, vendored: Path, template: str, text: str) -> None:
    pieces = dict.fromkeys(re.findall(r"[\s\S]{1,11}", text))
    expected = text.removeprefix("<|channel|>final<|message|>")
    found = answers(speak(source_of(vendored, template), *pieces), tools=[WEATHER])
    assert set(map(repr, found)) == {repr((expected, "", []))}


JSON_CALL = '{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}'
CODER_CALL = (
    "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>"
)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (PYTHONIC, '[get_weather(city="Paris", days=3)]'),
        (LLAMA, '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}'),
        (LLAMA, '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}'),
        (QWEN, f"<tool_call>{JSON_CALL}</tool_call>"),
        (QWEN, f"<tool_call>\n{JSON_CALL}"),
        (QWEN, f"{JSON_CALL}\n</tool_call>"),
        (QWEN, f"```json\n{JSON_CALL}\n```"),
        (QWEN, f"<tool_call>\n{CODER_CALL}\n</tool_call>"),
        (CODER, f"<tool_call>\n{CODER_CALL}\n</tool_call>"),
        (CODER, f"{CODER_CALL}\n</tool_call>"),
        (CODER, CODER_CALL),
        (CODER, f"<tool_call>{CODER_CALL}</tool_call>".replace("\n", "")),
        (CODER, f"<tool_call>\n{JSON_CALL}\n</tool_call>"),
        (
            KIMI,
            "<|tool_call_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
            '{"city": "Paris", "days": 3}<|tool_call_end|><|tool_call_section_end|>',
        ),
        (
            KIMI,
            '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"city": "Paris", "days": 3}'
            "<|tool_call_end|>",
        ),
        ("Mistral-Small-3.2-24B-Instruct-2506", f"[TOOL_CALLS] [{JSON_CALL}]"),
        ("Mistral-Small-3.2-24B-Instruct-2506", '[TOOL_CALLS]get_weather{"city": "Paris", "days": 3}'),
        (GEMMA, '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>,days:3}<tool_call|>'),
        (
            GPT_OSS,
            '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris", "days": 3}',
        ),
        (
            "GLM-4.6",
            "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>days</arg_key>"
            "\n<arg_value>3</arg_value>\n</tool_call>",
        ),
        (
            "MiniMax-M2",
            '</think><invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n'
            '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
        ),
    ],
)
def test_calls_are_read_with_the_slips_that_models_make(speak: Speak, vendored: Path, template: str, text: str) -> None:
    """The whole call is one token, since what a grammar forces is written by the package."""
    llm = speak(source_of(vendored, template), text)
    found = answers(llm, everywhere=template in (PYTHONIC, CODER), tools=[WEATHER], parallel_tool_calls=False)
    assert set(map(repr, found)) == {repr(("", "", [("get_weather", PARIS)]))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "<think>\nI could write <tool_call> here, but no.\n</think>\n\nHello!",
            ("Hello!", "I could write <tool_call> here, but no.", []),
        ),
        (
            f"<think>\nSay <tool_call>\n{JSON_CALL}\n</tool_call> now?\n</think>\n\nHello!",
            ("Hello!", f"Say <tool_call>\n{JSON_CALL}\n</tool_call> now?", []),
        ),
        (f"<think>\nI look.\n<tool_call>\n{JSON_CALL}\n</tool_call>", ("", "I look.", [("get_weather", PARIS)])),
        (
            f"<think>\nI look.\n<tool_call>\n{JSON_CALL}\n</tool_call>\n</think>",
            ("", "I look.", [("get_weather", PARIS)]),
        ),
    ],
)
def test_thinking_is_free(speak: Speak, vendored: Path, text: str, expected: Any) -> None:
    pieces = dict.fromkeys(re.findall(r"[\s\S]{1,11}", text))
    found = answers(speak(from_file(vendored, QWEN), *pieces), everywhere=True, tools=[WEATHER])
    assert set(map(repr, found)) == {repr(expected)}
    (required, *_) = answers(
        speak(from_file(vendored, QWEN), f"<tool_call>\n{JSON_CALL}\n</tool_call>"),
        tools=[WEATHER],
        tool_choice="required",
    )
    assert required == ("", "", [("get_weather", PARIS)])


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "get_weather"}}])
def test_the_name_of_a_call_may_come_last(speak: Speak, choice: Any) -> None:
    call = '<tool_call>\n{"arguments": {"city": "Paris", "days": 3}, "name": "get_weather"}\n</tool_call>'
    found = answers(
        speak(NAME_LAST, call, control=["<|im_start|>", "<|im_end|>", "<tool_call>"]),
        tools=[WEATHER],
        tool_choice=choice,
        everywhere=True,
    )
    assert set(map(repr, found)) == {repr(("", "", [("get_weather", PARIS)]))}


FORM = {"type": "json_object", "schema": {"type": "object", "properties": {"html": {"type": "string"}}}}


@pytest.mark.parametrize("template", [QWEN, CODER, LLAMA, TURNS])
def test_an_answer_in_a_form_beside_tools_is_whole(speak: Speak, vendored: Path, template: str) -> None:
    """Whatever its texts hold: an end marker, or what a call begins with."""
    for html in ("<s>100</s> and <|im_end|>", f"<function=get_weather> {CODER_CALL}", f"<tool_call>\n{JSON_CALL}"):
        text = json.dumps({"html": html})
        llm = speak(source_of(vendored, template), text)
        for content, thought, calls in answers(llm, tools=[WEATHER], response_format=FORM):
            assert (json.loads(content), thought, calls) == ({"html": html}, "", [])
        choice: Any = llm.create_chat_completion(HI, tools=[WEATHER], response_format=FORM)["choices"][0]  # type: ignore[index]
        assert choice["matches_grammar"] is True


def coder_call(name: str, **arguments: Any) -> str:
    written = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{written}</function>\n</tool_call>"


@pytest.mark.parametrize("choice", ["auto", "required", {"type": "function", "function": {"name": "write"}}])
def test_any_text_but_the_closing_tag_stands_under_bounds(speak: Speak, vendored: Path, choice: Any) -> None:
    schema = {"type": "object", "properties": {"code": {"type": "string", "minLength": 1, "maxLength": 40}}}
    tool = {"type": "function", "function": {"name": "write", "description": "d", "parameters": schema}}
    code = "#include <stdio.h>\n\nint a = 1 < 2;"
    llm = speak(from_file(vendored, CODER), coder_call("write", code=code))
    found = answers(llm, tools=[tool], tool_choice=choice, parallel_tool_calls=False)
    assert set(map(repr, found)) == {repr(("", "", [("write", {"code": code})]))}
    long = answers(speak(from_file(vendored, CODER), coder_call("write", code="<" * 41)), tools=[tool], max_tokens=8)
    assert {repr(calls) for _, _, calls in long} == {"[]"}


REFERENCE = {"$ref": "#/$defs/R", "$defs": {"R": WEATHER["function"]["parameters"]}}  # type: ignore[index]


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize(
    ("parameters", "is_odd"),
    [
        (REFERENCE, False),
        ({**WEATHER["function"]["parameters"], "required": None}, False),  # type: ignore[index]
        ({"$schema": "http://json-schema.org/draft-04/schema#", **WEATHER["function"]["parameters"]}, False),  # type: ignore[index]
        ({"type": "object", "properties": {"city": {"type": "strin"}, "days": {"type": "integer"}}}, True),
        ({"anyOf": [WEATHER["function"]["parameters"], {"required": ["all"]}]}, False),  # type: ignore[index]
    ],
)
def test_an_odd_tool_does_not_end_the_request(
    speak: Speak, vendored: Path, caplog: pytest.LogCaptureFixture, choice: str, parameters: Any, is_odd: bool
) -> None:
    good = {"type": "function", "function": {"name": "noop", "description": "d"}}
    odd = {"type": "function", "function": {"name": "odd", "description": "d", "parameters": parameters}}
    for template, text in (
        (QWEN, '<tool_call>\n{"name": "odd", "arguments": {"city": "Paris", "days": 3}}\n</tool_call>'),
        (CODER, coder_call("odd", city="Paris", days=3)),
    ):
        caplog.clear()
        llm = speak(from_file(vendored, template), text)
        found = answers(llm, tools=[good, odd], tool_choice=choice, parallel_tool_calls=False)
        assert set(map(repr, found)) == {repr(("", "", [("odd", PARIS)]))}
        assert ("the tool 'odd'" in caplog.text) is is_odd
    with pytest.raises(LlamaError) if is_odd else contextlib.nullcontext():
        strict = {"type": "function", "function": {**odd["function"], "strict": True}}  # type: ignore[dict-item]
        llm.create_chat_completion(HI, tools=[good, strict], max_tokens=1)


def test_names_of_arguments_need_be_no_words(speak: Speak, vendored: Path) -> None:
    schema = {"type": "object", "properties": {"$filter": {"type": "string"}}, "required": ["$filter"]}
    tool = {"type": "function", "function": {"name": "do_it", "description": "d", "parameters": schema}}
    call = '<|tool_call>call:do_it{$filter:<|"|>x<|"|>}<tool_call|>'
    for choice in ("auto", "required"):
        llm = speak(from_file(vendored, GEMMA), call)
        found = answers(llm, tools=[tool], tool_choice=choice, parallel_tool_calls=False)
        assert set(map(repr, found)) == {repr(("", "", [("do_it", {"$filter": "x"})]))}


def test_tools_may_be_shown_in_the_last_turn(speak: Speak) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if loop.last and tools and m.role == 'user' %}{{ tools | tojson }}{% endif %}{{ m.content }}"
        "{% for c in m.tool_calls or [] %}<tool_call>\n"
        '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
        "<|im_end|>\n{% endfor %}" + ASK
    )
    for choice in ("auto", "required"):
        llm = speak(template, f"<tool_call>\n{JSON_CALL}\n</tool_call>")
        found = answers(llm, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
        assert set(map(repr, found)) == {repr(("", "", [("get_weather", PARIS)]))}


def test_a_token_that_is_nothing_else_begins_a_call(speak: Speak, vendored: Path) -> None:
    """From Mistral's [TOOL_CALLS] on, as a token, a tool's name must come; as text it is text."""
    template = from_file(vendored, "Mistral-Small-3.2-24B-Instruct-2506")
    said = answers(
        speak(template, "[TOOL_CALLS]", "other", "[ARGS]", control=["[TOOL_CALLS]"]), tools=[WEATHER], max_tokens=4
    )
    assert {content for content, _, _ in said} <= {"", "[TOOL_CALLS]get_weather"}
    text = answers(speak(template, "[TOOL", "_CALLS]", "other", control=["[TOOL_CALLS]"]), tools=[WEATHER])
    assert {content for content, _, _ in text} == {"[TOOL_CALLS]other"}


def test_the_pieces_of_a_call_suit_openai_and_who_reads_each(speak: Speak, vendored: Path) -> None:
    from openai.lib.streaming.chat._completions import ChatCompletionStreamState
    from openai.types.chat import ChatCompletionChunk

    calls = [f'<tool_call>\n{{"name": "{name}", "arguments": {{"n": 1}}}}\n</tool_call>\n' for name in "ab"]
    number = {"type": "object", "properties": {"n": {"type": "integer"}}}
    tools = [{"type": "function", "function": {"name": name, "parameters": number}} for name in "ab"]
    llm = speak(from_file(vendored, QWEN), "".join(calls))
    chunks: Any = list(llm.create_chat_completion(HI, tools=tools, stream=True, max_tokens=50))
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    found = state.get_final_completion().choices[0].message.tool_calls or []
    ids = [
        piece["id"]
        for chunk in chunks
        for choice in chunk["choices"]
        for piece in choice["delta"].get("tool_calls", ())
    ]
    assert [call.id for call in found] == [one for one in ids if one is not None]
    assert [(call.function.name, call.function.arguments) for call in found] == [("a", '{"n": 1}'), ("b", '{"n": 1}')]
    assert len({call.id for call in found}) == 2
