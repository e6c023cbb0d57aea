"""What a template writes for an assistant's message, the parser reads back: for every template that can express it."""

from __future__ import annotations

import functools
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import ChatTemplate, LlamaGrammar, TemplateError
from llama_cpp.chat.call_grammar import answer_grammar, answer_mark
from llama_cpp.chat.calls import check_tools
from llama_cpp.chat.parser import StreamParser, message_of, new_call_id, parse
from llama_cpp.chat.reasoning import split_thinking, strip_thinking
from llama_cpp.chat.syntax import GENERIC_CALLS, Syntax

TEMPLATES = sorted((Path(__file__).parents[2] / "vendor/llama.cpp/models/templates").glob("*.jinja"))
STEMS = [path.stem for path in TEMPLATES]
TYPES = {"city": "string", "days": "integer", "ok": "boolean", "opts": "object", "f": "number", "tags": "array"}
TOOLS = check_tools(
    [
        {
            "name": "get_weather",
            "description": "d",
            "parameters": {
                "type": "object",
                "properties": {
                    **{name: {"type": kind} for name, kind in TYPES.items()},
                    "x": {"type": ["null", "string"]},
                },
            },
        },
        {
            "name": "write_file",
            "description": "d",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
            },
        },
        {"name": "noop", "description": "d"},
    ]
)
NESTED = {
    "city": "Zürich \"old\" 'town'\nline \\ 日本",
    "days": -3,
    "ok": True,
    "opts": {"a": [1, {"b": None}], "s": 'it\'s "ok"'},
    "x": None,
    "f": 1.5,
    "tags": ["a", "b\n"],
}
CODE = {"path": "12", "text": "def f():\n    return {'a': [1, 2]}\n\n# end </x>\n"}
USER = [{"role": "user", "content": "Hi"}]
FORMS: list[dict[str, Any]] = [{}, {"enable_thinking": True, "thinking": True}, {"enable_thinking": False}]


def call(name: str, arguments: Any, call_id: str = "abcdef123") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


PARIS = call("get_weather", {"city": "Paris", "days": 2})
MESSAGES: dict[str, dict[str, Any]] = {
    "content": {"content": 'Hello *world*.\n\nSecond <b>line</b> {"a": [1]}'},
    "reasoning": {"content": "The answer", "reasoning_content": "let me think\nabout it"},
    "reasoning and form": {"content": '{"city": "Paris"}', "reasoning_content": "let me think\nabout it"},
    "one call": {"content": "", "tool_calls": [PARIS]},
    "nested": {"content": "", "tool_calls": [call("get_weather", NESTED)]},
    "code": {"content": "", "tool_calls": [call("write_file", CODE)]},
    "no arguments": {"content": "", "tool_calls": [call("noop", {})]},
    "parallel": {"content": "", "tool_calls": [PARIS, call("noop", {}, "abcdef124"), {**PARIS, "id": "abcdef125"}]},
    "content and call": {"content": "I look.", "tool_calls": [PARIS]},
    "reasoning and call": {"content": "", "reasoning_content": "I need it", "tool_calls": [PARIS]},
    "all": {"content": "I look.", "reasoning_content": "I need it", "tool_calls": [PARIS]},
}
# What is not read back, and why.
KNOWN = {
    "MiniMax-M3": {"nested"},  # objects as tags in tags, without their types and without null
    "NVIDIA-Nemotron-Nano-v2": {"content", "content and call"},  # writes content where the reasoning was opened
    "openai-gpt-oss-120b": {"content and call"},  # writes content as reasoning
}


@functools.cache
def template_of(stem: str) -> ChatTemplate:
    source = TEMPLATES[STEMS.index(stem)].read_text(encoding="utf-8")
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>")


def written(template: ChatTemplate, message: dict[str, Any], kwargs: dict[str, Any]) -> str | None:
    """Return what a template writes for a message after the generation prompt, None if it can't express it."""
    tools = TOOLS if "tool_calls" in message else None
    thought = message.get("reasoning_content", "")
    for key in ("reasoning_content", "thinking", "reasoning") if thought else ("content",):
        given = {**message, **({key: thought} if thought else {})}
        try:
            prompt = template.render(USER, tools=tools, **kwargs)
            full = template.render([*USER, {"role": "assistant", **given}], tools, False, **kwargs)
        except TemplateError:
            continue
        n = next((i for i, (a, b) in enumerate(zip(full, prompt, strict=False)) if a != b), min(len(full), len(prompt)))
        if n < len(prompt) and full[:n].rfind("<") > full[:n].rfind(">"):
            n = full[:n].rfind("<")
        text = full[n:]
        # Where the prompt has opened reasoning that earlier turns leave out, a model writes something else.
        forced = prompt[n:].strip() and not text.startswith("</")
        wanted = [message["content"], thought, *(one["function"]["name"] for one in message.get("tool_calls", ()))]
        if not forced and all(part in text for part in wanted):
            return text
    return None


@functools.cache
def expressible(stem: str) -> list[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    """Return the messages that a template can express, with what it writes and the arguments that it was given."""
    found = []
    seen = set()
    for kwargs in FORMS:
        for name, message in MESSAGES.items():
            text = written(template_of(stem), message, kwargs)
            if text is not None and (name, text, repr(template_of(stem).syntax(**kwargs))) not in seen:
                seen.add((name, text, repr(template_of(stem).syntax(**kwargs))))
                found.append((name, message, text, kwargs))
    return found


def simple(message: dict[str, Any]) -> tuple[Any, ...]:
    calls = [one["function"] for one in message.get("tool_calls") or ()]
    read = [json.loads(one["arguments"]) if isinstance(one["arguments"], str) else one["arguments"] for one in calls]
    names = [one["name"] for one in calls]
    return message["content"] or "", message.get("reasoning_content", ""), names, read


def tools_of(message: dict[str, Any]) -> Any:
    return TOOLS if "tool_calls" in message else None


@pytest.mark.parametrize("stem", STEMS)
def test_messages_are_read_back(stem: str) -> None:
    failed = {
        name
        for name, message, text, kwargs in expressible(stem)
        if simple(template_of(stem).parse(text, tools=tools_of(message), **kwargs)) != simple(message)
    }
    assert failed == KNOWN.get(stem, set())


def test_97_percent_of_what_templates_can_express_is_read_back() -> None:
    n = sum(len(expressible(stem)) for stem in STEMS)
    assert n >= 500
    assert sum(len(names) for names in KNOWN.values()) <= 0.03 * n


@pytest.mark.parametrize("stem", STEMS)
def test_pieces_make_the_same_message(stem: str) -> None:
    chance = random.Random(stem)
    for name, message, text, kwargs in expressible(stem):
        parser = StreamParser(template_of(stem).syntax(**kwargs), tools_of(message))
        deltas, begin = [], 0
        while begin < len(text):
            end = begin + chance.randint(1, 6)
            deltas += parser.feed(text[begin:end])
            begin = end
        whole = template_of(stem).parse(text, tools=tools_of(message), **kwargs)
        if name not in KNOWN.get(stem, set()):
            assert simple(message_of(deltas + parser.finish())) == simple(whole)


def texts(message: dict[str, Any]) -> list[str]:
    calls = [one["function"] for one in message.get("tool_calls", ())]
    return [message.get("reasoning_content", ""), message["content"] or "", *(one["arguments"] for one in calls)]


@pytest.mark.parametrize("stem", STEMS)
def test_more_text_only_ever_adds(stem: str) -> None:
    for name in ("all", "parallel"):
        text = written(template_of(stem), MESSAGES[name], {})
        if text is None:
            continue
        tools = tools_of(MESSAGES[name])
        before: list[str] = []
        for end in range(1, len(text) + 1):
            now = texts(template_of(stem).parse(text[:end], tools=tools, partial=True))
            assert len(now) >= len(before)
            assert all(new.startswith(old) for old, new in zip(before, now, strict=False))
            before = now


QWEN, QWEN_CODER, LLAMA, MISTRAL = (
    "Qwen-Qwen3-0.6B",
    "Qwen3-Coder",
    "meta-llama-Llama-3.1-8B-Instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
)
NOOP = ("", "", ["noop"], [{}])
BAR = "\N{FULLWIDTH VERTICAL LINE}"  # of DeepSeek's tokens


@pytest.mark.parametrize(
    ("stem", "text", "expected"),
    [
        (QWEN, "  indented\n", ("  indented\n", "", [], [])),
        (QWEN, "<think>", ("", "", [], [])),
        (QWEN, "<think>\nhm", ("", "hm", [], [])),
        (QWEN, "<think>a</think>b<|im_end|>c", ("b", "a", [], [])),
        (QWEN, "a < b and <tool", ("a < b and <tool", "", [], [])),
        (QWEN, "say <tool_call> and </tool_call>", ("say <tool_call> and </tool_call>", "", [], [])),
        (QWEN, '<tool_call>{"arguments": {}, "name": "noop"}</tool_call>', NOOP),
        (QWEN, '<tool_call>\n{"name": "noop"}\n</tool_call>', NOOP),
        (QWEN, '<tool_call>{"name": "noop", "arguments": "{}"}', NOOP),
        (QWEN, '<think>hm<tool_call>{"name": "noop", "arguments": {}}</tool_call>', ("", "hm", ["noop"], [{}])),
        (QWEN, '<tool_call>{"name": "noop", "arguments": {}}</tool_call>\nDone.', ("Done.", "", ["noop"], [{}])),
        (LLAMA, '{"name": "noop", "parameters": {}}', NOOP),
        (LLAMA, '{"type": "function", "name": "noop", "parameters": {}}', NOOP),
        (LLAMA, '{"name": "Bob", "parameters": {}}', ('{"name": "Bob", "parameters": {}}', "", [], [])),
        (LLAMA, '{"answer": 1}', ('{"answer": 1}', "", [], [])),
        (QWEN_CODER, "<tool_call>\n<function=noop>\n</function>\n</tool_call>", NOOP),
        (MISTRAL, '[TOOL_CALLS][{"name": "noop", "arguments": {}}]', NOOP),
        (MISTRAL, "[TOOL_CALLS]noop{}", NOOP),
        (
            LLAMA,
            '{"name": "noop", "arguments": {}}; {"name": "noop", "arguments": {}}',
            ("", "", ["noop"] * 2, [{}, {}]),
        ),
        (QWEN, '<tool_call>\n{"name": "Bob"} said so', ('<tool_call>\n{"name": "Bob"} said so', "", [], [])),
        ("ibm-granite-granite-3.3-2B-Instruct", '<tool_call>[{"name": "noop", "arguments": {}}]', NOOP),
        (
            "deepseek-ai-DeepSeek-V3.1",
            f"<{BAR}tool_calls_begin{BAR}><{BAR}tool▁call▁begin{BAR}>noop<{BAR}tool▁sep{BAR}>{{}}<{BAR}tool▁call▁end{BAR}>",
            NOOP,
        ),
        (
            "deepseek-ai-DeepSeek-V3.1",
            f"<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>function<{BAR}tool▁sep{BAR}>noop\n```json\n{{}}\n```"
            f"<{BAR}tool▁call▁end{BAR}><{BAR}tool▁calls▁end{BAR}>",
            NOOP,
        ),
        ("GLM-4.7-Flash", "</think><tool_call>noop</tool_call>", NOOP),
        (
            "openai-gpt-oss-120b",
            "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.noop "
            "<|constrain|>json<|message|>{}<|call|>",
            ("I look.", "", ["noop"], [{}]),
        ),
        (
            "GLM-4.7-Flash",
            "<tool_call>get_weather\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
            ("", "", ["get_weather"], [{"days": 3}]),
        ),
    ],
)
def test_what_models_write_otherwise_is_read_too(stem: str, text: str, expected: tuple[Any, ...]) -> None:
    assert simple(template_of(stem).parse(text, tools=TOOLS)) == expected


def test_a_call_that_was_cut_off_keeps_what_there_is() -> None:
    (found,) = template_of(QWEN).parse('<tool_call>{"name": "write_file", "arguments": {"path": "a', tools=TOOLS)[
        "tool_calls"
    ]
    assert found["function"] == {"name": "write_file", "arguments": '{"path": "a'}


@pytest.mark.parametrize("rest", ["\n</tool", "\n</tool_call>\n<tool_"])
def test_a_call_that_was_cut_off_is_no_content(rest: str) -> None:
    text = '<tool_call>\n{"name": "noop", "arguments": {}}' + rest
    assert simple(template_of(QWEN).parse(text, tools=TOOLS)) == NOOP


@pytest.mark.parametrize("before", ["", '<tool_call>\n{"name": "noop", "arguments": {}}\n</tool_call>\n'])
def test_a_call_whose_head_was_cut_is_no_content(before: str) -> None:
    syntax = template_of(QWEN).syntax()
    text = before + '<tool_call>\n{"name": "write_f'
    whole = parse(syntax, text, tools=TOOLS, cut=True)
    assert not whole["content"]
    assert len(whole.get("tool_calls", ())) == bool(before)
    parser = StreamParser(syntax, TOOLS)
    deltas = [delta for character in text for delta in parser.feed(character)]
    assert texts(message_of(deltas + parser.finish(cut=True))) == texts(whole)
    spoken = "A <tool_call> begins a call, and here"
    assert parse(syntax, spoken, tools=TOOLS, cut=True)["content"] == spoken


@pytest.mark.parametrize("stem", STEMS)
def test_no_text_is_too_much_for_the_parser(stem: str) -> None:
    chance = random.Random(stem)
    junk = ["", "\\u12", "\\", '"', "{[", "\\ud83d", "<", "</", "[" * 3000]
    for _, _, text, kwargs in expressible(stem):
        begin, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        broken = text[:begin] + chance.choice([*junk, text[begin:end] * 2]) + text[end:]
        whole = template_of(stem).parse(broken, tools=TOOLS, **kwargs)
        json.dumps(whole, ensure_ascii=False).encode()
        parser = StreamParser(template_of(stem).syntax(**kwargs), TOOLS)
        deltas = [delta for at in range(0, len(broken), 3) for delta in parser.feed(broken[at : at + 3])]
        assert texts(message_of(deltas + parser.finish())) == texts(whole)


def test_nothing_is_a_call_where_there_are_no_tools() -> None:
    text = '<tool_call>{"name": "noop", "arguments": {}}</tool_call>'
    assert simple(template_of(QWEN).parse(text, tools=[])) == (text, "", [], [])


def test_schemas_tell_texts_from_numbers() -> None:
    body = "<parameter=path>\n12\n</parameter>\n<parameter=other>\n12\n</parameter>\n<parameter=more>\nab\n</parameter>"
    text = f"<tool_call>\n<function=write_file>\n{body}\n</function>\n</tool_call>"
    assert simple(template_of(QWEN_CODER).parse(text, tools=TOOLS))[3] == [{"path": "12", "other": 12, "more": "ab"}]


def test_deltas_are_openais() -> None:
    parser = StreamParser(template_of(QWEN).syntax(), TOOLS)
    deltas = [
        delta
        for piece in ("<think>\nh", "m</think>\n\na", '<tool_call>{"name": "noop", "arg', 'uments": {', "}}")
        for delta in parser.feed(piece)
    ]
    assert deltas[:3] == [{"reasoning_content": "h"}, {"reasoning_content": "m"}, {"content": "a"}]
    (first,), *others = [delta["tool_calls"] for delta in deltas[3:]]
    assert first == {**first, "index": 0, "type": "function", "function": {"name": "noop", "arguments": ""}}
    assert others == [[{"index": 0, "function": {"arguments": text}}] for text in ("{", "}")]


def test_ids_differ_and_please_mistral() -> None:
    ids = {new_call_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(len(one) == 9 and one.isalnum() for one in ids)


def test_the_cost_of_a_token_does_not_grow_with_the_text() -> None:
    def seconds(n: int, text: str) -> float:
        parser = StreamParser(template_of(QWEN).syntax(), TOOLS)
        begin = time.thread_time()
        for _ in range(n):
            parser.feed(text)
        return (time.thread_time() - begin) / n

    for text in ("a word ", "\n"):
        assert min(seconds(20_000, text) for _ in range(3)) < 4 * min(seconds(2000, text) for _ in range(3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", ("", "plain")),
        ("<think>\na\n</think>\n\nb", ("a", "b")),
        ("a</think>b", ("a", "b")),
        ("<think>a", ("a", "")),
        ("x <think>a</think> y <think>b</think> z", ("a\n\nb", "x  y  z")),
        ("[THINK]a[/THINK]b", ("a", "b")),
        ("<|channel>thought\na<channel|>b", ("a", "b")),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", ("a", "b")),
        ("Here is my thought process: a\n\nHere is my response: b", ("a", "b")),
        ("<think>a</think><response>b</response>", ("a", "b")),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", ("a", "b")),
        ("<|channel|>analysis<|message|>a", ("a", "")),
        ("<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>", ("", "")),
        ("say </response> 2 < 3", ("", "say  2 < 3")),
    ],
)
def test_reasoning_is_told_apart_without_a_template(text: str, expected: tuple[str, str]) -> None:
    assert split_thinking(text) == expected
    assert strip_thinking(text) == expected[1]


@pytest.mark.parametrize(
    ("stem", "begun", "text", "expected"),
    [
        (QWEN, "The answer", " is <think> 42<|im_end|>", (" is <think> 42", "")),
        (QWEN, "<think>\nSo", " it is 42.\n</think>\n\n42<|im_end|>", ("42", " it is 42.")),
        (QWEN, "<think>\nSo\n</think>\n", "It is 42.", ("It is 42.", "")),
        ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "The answer", " is 42.", (" is 42.", "")),
        ("openai-gpt-oss-120b", "The answer", " is 42.<|return|>", (" is 42.", "")),
    ],
)
def test_an_answer_goes_on_with_what_has_begun(stem: str, begun: str, text: str, expected: tuple[str, str]) -> None:
    message = template_of(stem).parse(text, continues=begun)
    assert (message["content"], message.get("reasoning_content", "")) == expected
    called = template_of(QWEN).parse(
        ' will.\n<tool_call>\n{"name": "noop", "arguments": {}}\n</tool_call>', TOOLS, continues="I"
    )
    assert (called["content"], called["tool_calls"][0]["function"]["name"]) == (" will.", "noop")


@pytest.mark.parametrize("stem", STEMS)
def test_an_answer_after_thinking_is_held_to_its_form(stem: str) -> None:
    form = LlamaGrammar.from_json_schema({"const": {"city": "Paris"}}).llguidance
    for name, message, text, kwargs in expressible(stem):
        syntax = template_of(stem).syntax(**kwargs)
        if name != "reasoning and form" or not syntax.thinks_first({**kwargs, "enable_thinking": True}):
            continue
        grammar = LlamaGrammar.from_lark(answer_grammar(syntax, form or "", {}))
        before, answer, _ = text.partition(message["content"])
        assert grammar.accepts(before + answer), (text, kwargs)
        for wrong in (answer, before, before + "Paris", f"{before}{answer} {answer}", before + '{"city": "Rome"}'):
            assert not grammar.accepts(wrong), (wrong, kwargs)
        assert answer_mark(syntax, True) in before


def test_a_call_with_which_an_answer_in_a_form_begins_is_one() -> None:
    syntax = Syntax(calls=GENERIC_CALLS)
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    for text in (call, " " + call, call + "\n" + call):
        message = parse(syntax, text, tools=TOOLS, in_form=True)
        assert message["content"] is None
        assert {one["function"]["name"] for one in message["tool_calls"]} == {"get_weather"}
    quoted = json.dumps({"text": call})
    assert parse(syntax, quoted, tools=TOOLS, in_form=True) == {"role": "assistant", "content": quoted}
