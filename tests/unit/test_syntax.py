"""How models write calls is found out from their templates, and a grammar holds them to it."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from llguidance import LLMatcher, LLTokenizer

from llama_cpp import ChatTemplate, LlamaGrammar, TemplateError, UnsupportedSchemaError, ValidationError
from llama_cpp.chat.call_grammar import answer_mark, call_grammar
from llama_cpp.chat.calls import check_tools
from llama_cpp.chat.syntax import GENERIC_CALLS, CallSyntax, Syntax, derive
from llama_cpp.chat.template import CHATML
from llama_cpp.chat_completions import compiled_arguments, tool_grammar
from llama_cpp.grammar.constraint import Vocabulary
from llama_cpp.grammar.trigger import Watch

BAR = "\N{FULLWIDTH VERTICAL LINE}"  # of DeepSeek's tokens

TEMPLATES = {
    path.stem: path
    for path in sorted((Path(__file__).parents[2] / "vendor/llama.cpp/models/templates").glob("*.jinja"))
}
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "exact": {"type": "boolean"},
        "place": {
            "type": "object",
            "properties": {"x": {"enum": [1, 2]}},
            "required": ["x"],
            "additionalProperties": False,
        },
    },
    "required": ["city", "place"],
    "additionalProperties": False,
}
NOTHING: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
FILE: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
SCHEMAS = {"get_weather": WEATHER, "noop": NOTHING, "write": FILE}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d", "parameters": schema}}
    for name, schema in SCHEMAS.items()
]
USER = [{"role": "user", "content": "Hi"}]


@functools.cache
def template_of(stem: str) -> ChatTemplate:
    return ChatTemplate(TEMPLATES[stem].read_text(encoding="utf-8"), bos_token="<s>", eos_token="</s>")


WITH_CALLS = [stem for stem in TEMPLATES if template_of(stem).syntax().calls is not None]


# -- what is found out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "kwargs", "thinking"),
    [
        ("Qwen-Qwen3-0.6B", {}, ("<think>", "</think>", False)),
        ("Qwen3.5-4B", {}, ("<think>", "</think>", True)),
        ("Qwen3.5-4B", {"enable_thinking": False}, ("<think>", "</think>", False)),
        ("deepseek-ai-DeepSeek-V3.1", {"thinking": True}, ("<think>", "</think>", True)),
        ("mistralai-Ministral-3-14B-Reasoning-2512", {}, ("[THINK]", "[/THINK]", False)),
        ("ByteDance-Seed-OSS", {}, ("<seed:think>", "</seed:think>", False)),
        ("google-gemma-4-31B-it", {"enable_thinking": True}, ("<|channel>thought", "<channel|>", False)),
        ("Apriel-1.6-15b-Thinker-fixed", {}, ("", "[BEGIN FINAL RESPONSE]", True)),
        ("upstage-Solar-Open-100B", {}, ("<|think|>", "<|end|><|begin|>assistant", False)),
        ("Qwen-Qwen2.5-7B-Instruct", {}, ("", "", False)),
    ],
)
def test_reasoning_is_found_out(stem: str, kwargs: dict[str, Any], thinking: tuple[str, str, bool]) -> None:
    syntax = template_of(stem).syntax(**kwargs)
    assert (syntax.think_start, syntax.think_end, syntax.thinks_already) == thinking


@pytest.mark.parametrize(
    ("stem", "end"),
    [
        ("Qwen-Qwen3-0.6B", "<|im_end|>"),
        ("meta-llama-Llama-3.1-8B-Instruct", "<|eot_id|>"),
        ("mistralai-Mistral-Nemo-Instruct-2407", "</s>"),
        ("GLM-4.6", "<|user|>"),
        ("meetkai-functionary-medium-v3.1", "<|eom_id|>"),
        ("openai-gpt-oss-120b", "<|return|>"),
    ],
)
def test_the_end_of_a_turn_is_found_out(stem: str, end: str) -> None:
    assert end in template_of(stem).syntax().end


@pytest.mark.parametrize(
    ("stem", "kind", "trigger"),
    [
        ("Qwen-Qwen3-0.6B", "json", "<tool_call>"),
        ("meta-llama-Llama-3.1-8B-Instruct", "json", ""),
        ("mistralai-Mistral-Nemo-Instruct-2407", "json", "[TOOL_CALLS]["),
        ("Apertus-8B-Instruct", "json", "<|tools_prefix|>["),
        ("CohereForAI-c4ai-command-r7b-12-2024-tool_use", "json", "<|START_ACTION|>["),
        ("CohereForAI-c4ai-command-r-plus-tool_use", "json", "Action:\n```json\n["),
        ("ibm-granite-granite-3.3-2B-Instruct", "json", "<|tool_call|>["),
        ("unsloth-mistral-Devstral-Small-2507", "named_json", "[TOOL_CALLS]"),
        ("deepseek-ai-DeepSeek-V3.1", "named_json", f"<{BAR}tool▁calls▁begin{BAR}><{BAR}tool▁call▁begin{BAR}>"),
        ("Kimi-K2-Instruct", "named_json", "<|tool_calls_section_begin|><|tool_call_begin|>"),
        ("meetkai-functionary-medium-v3.2", "named_json", ""),
        ("openai-gpt-oss-120b", "named_json", "<|channel|>commentary to=functions."),
        ("Qwen3-Coder", "parameters", "<tool_call>\n<function="),
        ("GLM-4.6", "parameters", "<tool_call>"),
        ("MiniMax-M2", "parameters", '<minimax:tool_call>\n<invoke name="'),
        ("deepseek-ai-DeepSeek-V3.2", "parameters", f'<{BAR}DSML{BAR}function_calls>\n<{BAR}DSML{BAR}invoke name="'),
        ("LFM2.5-8B-A1B", "python", "<|tool_call_start|>["),
        ("google-gemma-4-31B-it", "bare", "<|tool_call>call:"),
    ],
)
def test_calls_are_found_out(stem: str, kind: str, trigger: str) -> None:
    syntax = template_of(stem).syntax()
    assert syntax.calls is not None
    assert (syntax.calls.kind, syntax.calls.trigger) == (kind, trigger)


@pytest.mark.parametrize("stem", ["google-gemma-2-2b-it", "microsoft-Phi-3.5-mini-instruct", "llama-cpp-rwkv-world"])
def test_templates_without_tools_are_found_out(stem: str) -> None:
    assert template_of(stem).syntax().calls is None


@pytest.mark.parametrize(("stem", "as_text"), [("meetkai-functionary-medium-v3.2", True), ("Qwen-Qwen3-0.6B", False)])
def test_whether_arguments_must_be_texts_is_found_out(stem: str, as_text: bool) -> None:
    assert template_of(stem).syntax().string_arguments is as_text


def test_a_template_that_was_never_seen_is_found_out() -> None:
    source = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls or [] %}"
        "%%{{ c.function.name }}=>{{ c.function.arguments | tojson }}%%{% endfor %}</{{ m.role }}>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    template = ChatTemplate(source)
    assert template.syntax() == Syntax(
        end=("</assistant>",), calls=CallSyntax("named_json", prefix="%%", after_name="=>", suffix="%%")
    )
    found = template.parse('x%%noop=>{}%%%%write=>{"text": "%%"}%%</assistant>', tools=TOOLS)
    assert [call["function"]["arguments"] for call in found["tool_calls"]] == ["{}", '{"text": "%%"}']


def test_a_syntax_is_found_out_once() -> None:
    template = template_of("Qwen-Qwen3-0.6B")
    assert template.syntax() is template.syntax()
    assert derive(template) == template.syntax()


# -- the grammar of calls ----------------------------------------------------------------------------------------------


def matcher_of(syntax: Syntax, tools: Any = TOOLS, parallel: bool = True, triggered: bool = False) -> LLMatcher:
    source = call_grammar(
        syntax, tools, parallel=parallel, triggered=triggered, special={}, compiled=compiled_arguments
    )
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(source), log_level=0)
    assert matcher.get_error() == ""
    return matcher


def accepts(matcher: LLMatcher, text: str) -> bool:
    data = text.encode()
    return bool(matcher.try_consume_tokens(list(data)) == len(data) and matcher.is_accepting())


def made_up(matcher: LLMatcher, chance: random.Random, eos: int = 256, likely: bytes = b"") -> bytes:
    """Write what a grammar allows, at random, with some characters more often than others."""
    data = bytearray()
    while len(data) < 20_000:
        if matcher.is_accepting() and (matcher.is_stopped() or chance.random() < 0.3):
            return bytes(data)
        allowed = [token for token, bias in enumerate(matcher.compute_logit_bias()) if bias and token < eos]
        if not allowed:
            break
        solid = [token for token in allowed if chr(token) not in " \n\t" and token < 128]
        often = [token for token in allowed if token in likely]
        choice = often if often and chance.random() < 0.3 else solid if solid and chance.random() < 0.8 else allowed
        data.append(chance.choice(choice))
        assert matcher.consume_token(data[-1])
    raise AssertionError(f"no end of {bytes(data)!r}")


@pytest.mark.parametrize("stem", WITH_CALLS)
def test_what_the_grammar_allows_is_read_and_valid(stem: str) -> None:
    template = template_of(stem)
    chance = random.Random(stem)
    for _ in range(2):
        text = made_up(matcher_of(template.syntax(), TOOLS[:2]), chance).decode()
        start = template.syntax().think_end if template.syntax().thinks_already else ""
        calls = template.parse(start + text, tools=TOOLS[:2]).get("tool_calls", [])
        assert calls, text
        for call in calls:
            jsonschema.validate(json.loads(call["function"]["arguments"]), SCHEMAS[call["function"]["name"]])


# What MCP servers and programs call their tools and arguments, and what is in the arguments.
ODD_NAMES = ("do-it", "ns:tool/v1.2", "größe", "call", "2fast")
ODD_KEYS = ("$filter", "@odata.type", "a b", "x:y", "a=b", "it's", "a>b", "日本", "a,b", "class", "name", "arguments")
ODD_VALUES = (
    "#include <stdio.h>",
    'say "hi"',
    "it's",
    "a, b=(1), c: {2}]",
    "<b>&amp;</b>",
    "日本\n\n line",
    "\\n \\",
    "</",
    "True",
    "12",
    "[1, 2]",
    "<|x|>",
)


def odd_tool(name: str, chance: random.Random) -> dict[str, Any]:
    """Describe a tool whose arguments have odd names, and one of a few values each."""
    keys = chance.sample(ODD_KEYS, 3)
    kinds = [
        {"type": "string", "enum": chance.sample(ODD_VALUES, 3)},
        {"type": "string", "minLength": 1, "maxLength": 30},
        {"type": "object", "properties": {chance.choice(ODD_KEYS): {"enum": [1, "x"]}}, "additionalProperties": False},
    ]
    schema = {"type": "object", "properties": dict(zip(keys, kinds, strict=True)), "required": keys}
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": schema}}


@pytest.mark.parametrize("stem", WITH_CALLS)
def test_the_parser_reads_what_the_grammar_allows(stem: str) -> None:
    """Both forms of the grammar: the template's own, and the one that holds a call which a model has begun freely."""
    template, chance = template_of(stem), random.Random(stem)
    syntax = template.syntax()
    assert syntax.calls is not None
    for name in chance.sample(ODD_NAMES, 2):
        tools = [odd_tool(name, chance)]
        schema = tools[0]["function"]["parameters"]
        strict = made_up(matcher_of(syntax, tools, parallel=False), chance, likely=b"#<>\"'.a b").decode()
        head = (syntax.calls.section_start + syntax.calls.prefix).lstrip().replace("qcallid1x", "abcdef123")
        if syntax.harmony and syntax.calls.kind == "named_json":
            head = "<|channel|>commentary to=functions."
        elif syntax.harmony:
            head = f" to={name}<|message|>{head}"
        body = syntax.calls.body.partition("qnameq")[0].replace("qindexq", "0")
        free = made_up(matcher_of(syntax, tools, parallel=False, triggered=True), chance, likely=b"#<>\"'.a b").decode()
        start = syntax.think_end if syntax.thinks_already else ""
        for text in (strict, head + body + free):
            found = template.parse(start + text, tools=tools)
            assert [call["function"]["name"] for call in found.get("tool_calls", ())] == [name], text
            assert not found["content"], text
            arguments = json.loads(found["tool_calls"][0]["function"]["arguments"])
            assert jsonschema.Draft202012Validator(schema).is_valid(arguments), (text, arguments)


FORMS: dict[str, dict[str, Any]] = {
    "reference": {"$ref": "#/$defs/Unit"},
    "all of one": {"allOf": [{"$ref": "#/$defs/Unit"}], "description": "d", "default": "celsius"},
    "constant": {"type": "string", "const": "now"},
    "bare constant": {"const": "now"},
    "optional text": {"anyOf": [{"type": "string", "maxLength": 6}, {"type": "null"}], "default": None},
    "optional choice": {"anyOf": [{"enum": ["a", "b"], "type": "string"}, {"type": "null"}]},
    "optional constant": {"anyOf": [{"const": "a"}, {"type": "null"}]},
    "types with choices": {"type": ["string", "null"], "enum": ["a", "b", None]},
    "mixed choices": {"enum": ["a", 5, None, "b"]},
    "one of": {"oneOf": [{"type": "integer", "minimum": 3}, {"type": "string", "maxLength": 4}]},
    "numbers": {"anyOf": [{"type": "integer", "maximum": 9}, {"type": "boolean"}]},
    "list": {"type": "array", "items": {"$ref": "#/$defs/Unit"}, "minItems": 1, "maxItems": 2},
}


@pytest.mark.parametrize("stem", WITH_CALLS)
def test_arguments_of_every_form_are_valid(stem: str) -> None:
    template = template_of(stem)
    chance = random.Random(stem)
    for name, form in FORMS.items():
        schema = {
            "type": "object",
            "$defs": {"Unit": {"enum": ["celsius", 'say "F"'], "type": "string"}},
            "properties": {"x": form, "n": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["x", "n"],
            "additionalProperties": False,
        }
        tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}}
        for _ in range(3):
            text = made_up(matcher_of(template.syntax(), [tool], False), chance).decode()
            start = template.syntax().think_end if template.syntax().thinks_already else ""
            (call,) = template.parse(start + text, tools=[tool])["tool_calls"]
            jsonschema.validate(json.loads(call["function"]["arguments"]), schema), (name, text)


@pytest.mark.parametrize("stem", WITH_CALLS)
def test_an_answer_in_a_form_may_begin_as_a_call_does(stem: str) -> None:
    for values in ({"name": "Joe"}, {"name": "noop"}, {"city": "Paris"}):
        answer = LlamaGrammar.from_json_schema({"const": values}).llguidance
        for syntax in (template_of(stem).syntax(), template_of(stem).syntax().after("")):
            source = call_grammar(
                syntax,
                TOOLS[1:2],
                parallel=True,
                triggered=False,
                special={},
                compiled=compiled_arguments,
                answer=answer,
            )
            before = "" if syntax.continues else answer_mark(syntax, False)
            assert LlamaGrammar.from_lark(source).accepts(before + json.dumps(values)), (syntax, before)


# Where the grammar writes the same call otherwise than the template: an empty line too many.
WRITTEN_OTHERWISE = {"deepseek-ai-DeepSeek-V4": {"noop"}, "deepseek-ai-DeepSeek-V4-Flash-0731": {"noop"}}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "get_weather": {"city": "Paris", "days": 2, "exact": True, "place": {"x": 1}},
    "noop": {},
    "write": {"text": 'say "hi" to 日本 <b>\'s </b>'},
}
# Objects that are no JSON, and texts with quotes that are not escaped.
NOT_JSON = ["ByteDance-Seed-OSS", "openbmb-MiniCPM5-1B", "MiniMax-M3", "google-gemma-4-31B-it"]
NOT_ESCAPED = ["LFM2.5-8B-A1B"]


@pytest.mark.parametrize("stem", WITH_CALLS)
def test_the_grammar_takes_what_the_template_writes(stem: str) -> None:
    template = template_of(stem)
    syntax = template.syntax()
    calls = syntax.calls
    assert calls is not None
    refused = set()
    for name, arguments in ARGUMENTS.items():
        given: Any = json.dumps(arguments) if syntax.string_arguments else arguments
        call = {"id": "abcdef123", "type": "function", "function": {"name": name, "arguments": given}}
        try:
            full = template.render([*USER, {"role": "assistant", "content": "", "tool_calls": [call]}], TOOLS, False)
        except TemplateError:
            continue
        start = (calls.section_start + calls.prefix).lstrip().partition("qcallid1x")[0] or calls.body[:8] or name
        if syntax.harmony:
            start = "to=functions." if calls.kind == "named_json" else calls.trigger
        if start not in full or name not in full.rpartition(start)[2]:
            continue  # it knows no way to write calls
        text = full.rpartition(start)[2] if syntax.harmony else full[full.rindex(start) :]
        for end in (*syntax.end, "<|START_OF_TURN_TOKEN|>"):  # Command R+ writes no end behind calls
            text = text.partition(end)[0]
        if not any(accepts(matcher_of(syntax, triggered=syntax.harmony), text.rstrip() + end) for end in ("", "\n")):
            refused.add(name)
    known = WRITTEN_OTHERWISE.get(stem, set())
    known |= {"get_weather"} if stem.startswith(tuple(NOT_JSON)) else set()
    known |= {"write"} if stem in NOT_ESCAPED else set()
    assert refused == known


GENERIC = Syntax(calls=GENERIC_CALLS)
PARIS = '{"name": "get_weather", "arguments": {"city": "Paris", "place": {"x": 1}}}'


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (f"<tool_call>\n{PARIS}\n</tool_call>", True),
        (f"<tool_call>\n{PARIS}\n</tool_call>\n<tool_call>\n{PARIS}\n</tool_call>", True),
        (f"<tool_call>\n{PARIS}", False),
        (f"<tool_call>\n{PARIS.replace('Paris', 'London')}\n</tool_call>", False),
        (f"<tool_call>\n{PARIS.replace('get_weather', 'get_wealth')}\n</tool_call>", False),
        ('<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>', False),
        ('<tool_call>\n{"name": "noop", "arguments": {"x": 1}}\n</tool_call>', False),
        ("text", False),
    ],
)
def test_the_grammar_holds_to_names_and_schemas(text: str, good: bool) -> None:
    assert accepts(matcher_of(GENERIC), text) is good


def test_the_grammar_can_hold_to_one_call() -> None:
    call = f"<tool_call>\n{PARIS}\n</tool_call>"
    assert accepts(matcher_of(GENERIC, parallel=False), call)
    assert not accepts(matcher_of(GENERIC, parallel=False), f"{call}\n{call}")


def test_the_grammar_can_begin_with_a_tool_s_name() -> None:
    begun = PARIS.removeprefix('{"name": "')
    assert accepts(matcher_of(GENERIC, triggered=True), f"{begun}\n</tool_call>")
    assert accepts(matcher_of(GENERIC, triggered=True), f"{begun}</tool_call>\n".replace(', "arg', ',"arg'))
    assert not accepts(matcher_of(GENERIC, triggered=True), f"{begun}\n")


@pytest.mark.parametrize(
    ("text", "n_calls"),
    [
        ("all\nThe answer is 42.", 0),
        ("all\n>>> print(1)\n>>>bash\n", 0),
        ("noop\n{}", 1),
        ("noop\n{}>>>noop\n{}", 2),
        ("all\nLet me see.>>>noop\n{}", 1),
        ("all\nLet me see.>>>noop\n{}>>>write\n" + '{"text": "x"}', 2),
        ("noop\n[]", 0),
        ("nope\n{}", 0),
        ("all\nLet me see.>>>noop\n[]", 0),
        ("The answer is 42.", 0),
    ],
)
def test_a_grammar_may_begin_where_a_call_does_alone(text: str, n_calls: int) -> None:
    template = template_of("meetkai-functionary-medium-v3.2")
    for parallel in (True, False):
        held = held_part(tool_grammar(template.syntax(), TOOLS, (), required=False, parallel=parallel), text)
        assert held is None if not n_calls else held is (parallel or n_calls < 2)
    assert len(template.parse(text, TOOLS).get("tool_calls", ())) == n_calls
    begun = tool_grammar(template.syntax().after(""), TOOLS, (), required=False, parallel=True)
    assert held_part(begun, text.removeprefix("all\n")) is (True if ">>>" in text and n_calls else None)


def held_part(grammar: LlamaGrammar, text: str) -> bool | None:
    """Tell whether a text is what a grammar allows, from where that begins; None if it does not begin."""
    assert grammar.trigger is not None
    watch, data = Watch(grammar.trigger), text.encode()
    for at in range(len(data)):
        begun = watch.add(data[at : at + 1])
        if begun is not None:
            return grammar.accepts((begun + data[at + 1 :]).decode())
    return None


def test_schemas_are_compiled_by_whom_the_caller_names() -> None:
    source = call_grammar(
        GENERIC, TOOLS, parallel=False, triggered=True, special={}, compiled=lambda schema, strict: 'start: "7"'
    )
    matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(source), log_level=0)
    assert accepts(matcher, 'noop", "arguments": 7}\n</tool_call>')


def tool_with(schema: Any, strict: bool) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": schema, "strict": strict}}


def test_arguments_one_by_one_need_plain_properties(caplog: pytest.LogCaptureFixture) -> None:
    schema: dict[str, Any] = {"properties": {"a": {"type": "integer"}}, "not": {"required": ["b"]}}
    qwen_coder = template_of("Qwen3-Coder").syntax()
    with pytest.raises(UnsupportedSchemaError, match=r"'f' can't be held to its parameters: .* 'not'"):
        matcher_of(qwen_coder, [tool_with(schema, True)])
    call = "<tool_call>\n<function=f>\n<parameter=a>\n{}\n</parameter>\n</function>\n</tool_call>"
    loose = matcher_of(qwen_coder, [tool_with(schema, False)])
    assert "can't follow 'not'" in caplog.text
    assert accepts(loose.deep_copy(), call.format(12))
    assert not accepts(loose, call.format("x"))
    pattern = {"properties": {"a": {"type": "string", "pattern": "^x"}}}
    with pytest.raises(UnsupportedSchemaError, match=r"'f' can't be held to its parameters: .* pattern of 'a'"):
        matcher_of(qwen_coder, [tool_with(pattern, True)])
    assert accepts(matcher_of(qwen_coder, [tool_with(pattern, False)]), call.format("y"))
    short = matcher_of(qwen_coder, [tool_with({"properties": {"a": {"type": "string", "maxLength": 3}}}, True)])
    for text, good in [("a\nb", True), ("<b>", True), ("", True), ("abcd", False), ("</parameter>", False)]:
        assert accepts(short.deep_copy(), call.format(text)) is good


R = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
NODE = {"type": "object", "properties": {"a": {"type": "integer"}, "next": {"$ref": "#/$defs/R"}}}


@pytest.mark.parametrize(
    "stem", ["Qwen-Qwen3-0.6B", "Qwen3-Coder", "GLM-4.6", "google-gemma-4-31B-it", "LFM2.5-8B-A1B"]
)
@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"$ref": "#/$defs/R", "$defs": {"R": R}}, {"a": 1}, {}),
        ({"$ref": "#/definitions/R", "definitions": {"R": R}}, {"a": 1}, {"a": "x"}),
        ({"$ref": "#/$defs/R", "$defs": {"R": NODE}}, {"a": 1}, {"a": "x"}),
        ({"allOf": [R, {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}]}, {"a": 1, "b": True}, {"a": 1}),
        ({"anyOf": [R, {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}]}, {"b": True}, {"b": 1}),
        ({"oneOf": [R, {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}]}, {"a": 3}, {"a": 1, "b": True}),
        ({**R, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1}, {}),
        ({"type": "object", "properties": {}, "required": ["b"]}, {"b": 5}, {}),
        ({**R, "required": None, "description": None}, {}, {"a": "x"}),
        ({"type": "objekt"}, {}, None),
        ({"$schema": "http://json-schema.org/draft-04/schema#", **R}, {"a": 1}, {}),
    ],
)
def test_the_schema_of_a_tool_may_be_any(stem: str, schema: Any, good: Any, bad: Any) -> None:
    (tool,) = check_tools([tool_with(schema, False)])
    template = template_of(stem)
    for arguments in (good, bad):
        if arguments is None:
            continue
        call = {"id": "abcdef123", "type": "function", "function": {"name": "f", "arguments": arguments}}
        full = template.render([*USER, {"role": "assistant", "content": "", "tool_calls": [call]}], [tool], False)
        calls = template.syntax().calls
        assert calls is not None
        text = full[full.rindex((calls.section_start + calls.prefix).strip()) :]
        for end in template.syntax().end:
            text = text.partition(end)[0]
        allowed = any(accepts(matcher_of(template.syntax(), [tool]), text.rstrip() + end) for end in ("", "\n"))
        assert allowed is (arguments is good), text


def test_what_cannot_be_enforced_is_refused_of_strict_tools(caplog: pytest.LogCaptureFixture) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": r"(.)\1"}}, "required": ["a"]}
    with pytest.raises(UnsupportedSchemaError, match="'f' can't be held") as caught:
        matcher_of(GENERIC, [tool_with(schema, True)])
    assert (caught.value.keyword, caught.value.pointer) == ("pattern", "/properties/a/pattern")
    call = '<tool_call>\n{"name": "f", "arguments": {"a": "x"}}\n</tool_call>'
    assert accepts(matcher_of(GENERIC, [tool_with(schema, False)]), call)
    assert "not held to pattern at /properties/a/pattern" in caplog.text
    nothing = {"type": "object", "required": ["a"], "properties": {"a": False}}
    for wrong, reason in [(nothing, "nothing satisfies"), ({"type": "objekt"}, "no valid JSON Schema")]:
        with pytest.raises((UnsupportedSchemaError, ValidationError), match=f"the tool 'f'.*{reason}"):
            matcher_of(GENERIC, [tool_with(wrong, True)])
        assert accepts(matcher_of(GENERIC, [tool_with(wrong, False)]), call)
        assert f"{reason}" in caplog.text


@pytest.mark.parametrize(
    ("stem", "tokens"),
    [
        ("Qwen-Qwen3-0.6B", ["<tool_call>", "</tool_call>"]),
        ("Kimi-K3", ["<|open|>", "<|close|>", "<|sep|>"]),
        ("deepseek-ai-DeepSeek-V3.2", [f"{BAR}DSML{BAR}"]),
        ("google-gemma-4-31B-it", ["<|tool_call>", "<tool_call|>", '<|"|>']),
        ("openai-gpt-oss-120b", ["<|channel|>", "<|constrain|>", "<|message|>"]),
    ],
)
def test_control_tokens_are_written_as_tokens(stem: str, tokens: list[str]) -> None:
    pieces = [bytes([byte]) for byte in range(256)] + [token.encode() for token in tokens] + [b""]
    special = {token: 256 + index for index, token in enumerate(tokens)}
    vocabulary = Vocabulary(pieces, list(special.values()), [len(pieces) - 1], list)
    template = template_of(stem)
    tools = TOOLS[2:]
    source = call_grammar(
        template.syntax(), tools, parallel=False, triggered=False, special=special, compiled=compiled_arguments
    )
    matcher = LLMatcher(vocabulary.native, LLMatcher.grammar_from_lark(source), log_level=0)
    assert matcher.get_error() == ""
    chance, written = random.Random(stem), []
    while not matcher.is_accepting():
        allowed = [
            token for token, bias in enumerate(matcher.compute_logit_bias()) if bias and token < 256 + len(tokens)
        ]
        plain = [token for token in allowed if 96 < token < 123]
        controls = [token for token in allowed if token >= 256]
        closing = [token for token in allowed if chr(token) in '"}]</>' + "'"]
        wanted = (controls or closing or plain) if len(written) > 150 else (plain or controls)
        choice = chance.choice(wanted or allowed)
        written.append(choice)
        assert matcher.consume_token(choice)
        assert len(written) < 2000
    text = b"".join(pieces[token] for token in written).decode()
    start = template.syntax().think_end if template.syntax().thinks_already else ""
    (call,) = template.parse(start + text, tools=tools)["tool_calls"]
    jsonschema.validate(json.loads(call["function"]["arguments"]), FILE)


def test_the_generic_form_is_for_templates_without_tools() -> None:
    assert ChatTemplate(CHATML).syntax() == Syntax(end=("<|im_end|>",))
