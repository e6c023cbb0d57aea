"""Chat templates render what transformers renders, and what is hostile in them ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import ChatTemplate, TemplateError
from llama_cpp.chat.messages import check_messages
from llama_cpp.errors import ValidationError

TEMPLATES = sorted((Path(__file__).parents[2] / "vendor/llama.cpp/models/templates").glob("*.jinja"))
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "c"}}, "required": ["city"]}
# transformers refuses what the first ones do to their own lists, and has not the variables of the last one.
OURS_ALONE = ["Kimi-K2-Instruct", "Kimi-K2-Thinking", "fireworks-ai-llama-3-firefunction-v2"]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "Do <b> & 'é'", "parameters": PARAMETERS}}]
USER = {"role": "user", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "Hello."}
RESULT = {"role": "tool", "content": '{"t": 3}', "tool_call_id": "abcdefgh1", "name": "f"}


def calling(*cities: str) -> dict[str, Any]:
    calls = [
        {"id": f"abcdefgh{index + 1}", "type": "function", "function": {"name": "f", "arguments": {"city": city}}}
        for index, city in enumerate(cities)
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], Any]] = {
    "plain": ([USER], None),
    "system": ([SYSTEM, USER], None),
    "multi-turn": ([SYSTEM, USER, ANSWER, USER], None),
    "tools": ([USER], TOOLS),
    "call": ([USER, calling('Köln "x"\n')], TOOLS),
    "result": ([USER, calling("Köln"), RESULT], TOOLS),
    "parallel": ([USER, calling("A", "B"), RESULT, {**RESULT, "tool_call_id": "abcdefgh2"}], TOOLS),
    "reasoning": ([USER, {**ANSWER, "reasoning_content": "Hm."}, USER], None),
    "think": ([USER, {**ANSWER, "content": "<think>hm</think>yes"}, USER], None),
    "unicode": ([{"role": "user", "content": "naïve 🙂 \u2028 <&>'\""}], None),
    "reasoned call": ([USER, {**calling("A"), "reasoning_content": "Hm."}, RESULT], TOOLS),
    "thinking": ([USER, {**calling("A"), "thinking": "Hm."}, RESULT], TOOLS),
    "no tools": ([USER], []),
}


def rendered(render: Any) -> str | None:
    try:
        return str(render())
    except Exception:
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_rendering_is_transformers(path: Path) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    source = path.read_text(encoding="utf-8")
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>")
    for name, (messages, tools) in CONVERSATIONS.items():
        checked = check_messages(messages)
        for prompt in (True, False):
            theirs = rendered(
                lambda checked=checked, tools=tools, prompt=prompt: render_jinja_template(
                    conversations=[checked],
                    tools=tools,
                    chat_template=source,
                    add_generation_prompt=prompt,
                    bos_token="<s>",
                    eos_token="</s>",
                )[0][0]
            )
            ours = rendered(
                lambda checked=checked, tools=tools, prompt=prompt: template.render(
                    checked, tools=tools, add_generation_prompt=prompt
                )
            )
            if path.stem in OURS_ALONE and theirs is None:
                assert ours is not None, (name, prompt)
            else:
                assert ours == theirs, (name, prompt)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("content", ["The sky", " The sky ", [{"type": "text", "text": "The sky is "}]])
def test_final_messages_are_continued_as_transformers_does(content: Any) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    messages = [USER, {"role": "assistant", "content": content}]
    for path in TEMPLATES:
        source = path.read_text(encoding="utf-8")
        theirs = rendered(
            lambda source=source: render_jinja_template(
                conversations=[messages], chat_template=source, continue_final_message=True, bos_token="", eos_token=""
            )[0][0]
        )
        ours = rendered(lambda source=source: ChatTemplate(source).render(messages, continue_final_message=True))
        if path.stem in OURS_ALONE and theirs is None:
            assert ours is not None
        else:
            assert ours == theirs, path.stem


DOUBLED = "{% set ns = namespace(x=[1]) %}{% for i in range(40) %}{% set ns.x = EXPRESSION %}{% endfor %}"
GROWING = (  # a list whose text grows by that of 1,000 characters each time, wherever it is held
    "{% set x = [] %}{% set n = namespace(y=x) %}HOLD"
    "{% for i in range(9999) %}{% set _ = x.append('y' * 1000) %}{% endfor %}{{ n.y }}"
)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 10**9 * 'x' }}",
        "{{ [0] * 10**9 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ (('f' * 2400000) | int(0, 16)) // (('e' * 1200000) | int(0, 16)) }}",
        "{{ 1.5 | round(10**9, 'ceil') }}",
        "{{ (5).to_bytes(10**9, 'big') }}",
        "{{ 'x'.center(10**9) }}",
        "{{ 'x'.ljust(width=10**9) }}",
        "{{ 'x'.encode().center(10**9) }}",
        "{{ 'x' | center(10**9) }}",
        "{{ '\n' * 1000000 | indent(1000000) }}",
        "{{ ('x' * 10000).translate({120: 'y' * 1000000}) }}",
        "{{ ('a' * 5000000).strip('b' * 5000000 ~ 'a') }}",
        "{{ ('a' * 5000000).rfind('ab' + 'a' * 2500000) }}",
        "{{ (('é' * 50 ~ '.') * 100000).encode('idna') }}",
        "{{ ('y' * 1000000).replace('y', 'z' * 1000000) }}",
        "{{ ('y' * 1000000) | replace('y', 'z' * 1000000) }}",
        "{{ ('y' * 1000000) | replace(new='z' * 1000000, old='y') }}",
        "{{ ('y' * 1000000).join(range(99999) | map('string')) }}",
        "{{ range(99999) | join('y' * 1000000) }}",
        "{% set n = namespace(x='y' * 9999999) %}{{ ([n] * 999) | join(attribute='x') }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%(a(b)c)1000000000d' % {'a(b)c': 1} }}",
        "{{ '%1000000000d'.encode() % 1 }}",
        "{{ ('%(a)s' * 100000) % {'a': 'y' * 1000000} }}",
        "{{ '%s' * 100000 | format(*(['y' * 100] * 100000)) }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ ('{0}' * 100000).format('y' * 1000000) }}",
        "{% set n = namespace(x='y' * 9999999) %}{{ ('{0.x}' * 9999).format(n) }}",
        "{{ ('{:1000000000}' | attr('format'))(1) }}",
        "{{ [1] | batch(10**9, 0) | list }}",
        "{{ [1] | slice(10**9) | list }}",
        "{{ ([[1]] * 99999) | sum(start=[]) }}",
        "{{ ('x' * 9999999) | sort }}",
        "{{ ('<!---->' * 1000000) | striptags }}",
        "{{ range(99999) | list | select('in', range(99999) | list) | list }}",
        "{{ range(99999) | list | tojson(indent='y' * 1000000) }}",
        "{{ range(99999) | list | tojson(separators=('y' * 1000000, ':')) }}",
        "{{ lipsum(n=10**8) }}",
        "{{ strftime_now('%c' * 4000000) }}",
        DOUBLED.replace("EXPRESSION", "[ns.x, ns.x]") + "{{ ns.x | tojson }}",
        DOUBLED.replace("EXPRESSION", "(ns.x, ns.x)") + "{{ ns.x }}",
        DOUBLED.replace("EXPRESSION", "{'a': ns.x, 'b': ns.x}") + "{{ ns.x == 1 }}",
        DOUBLED.replace("EXPRESSION", "dict(a=ns.x, b=ns.x)") + "{{ ns.x }}",
        DOUBLED.replace("EXPRESSION", "[{'a': ns.x}.values(), {'a': ns.x}.values()]") + "{{ ns.x }}",
        DOUBLED.replace("EXPRESSION", "[ns.x] | batch(2, ns.x) | list") + "{{ ns.x }}",
        DOUBLED.replace("EXPRESSION", "[{'k': ns.x}] | groupby('k')") + "{{ ns.x }}",
        DOUBLED.replace("EXPRESSION", "cycler(ns.x, ns.x).items") + "{{ ns.x }}",
        DOUBLED.replace("EXPRESSION", "ns.x ~ ns.x"),
        DOUBLED.replace("EXPRESSION", "ns.x + ns.x"),
        "{% set ns = namespace(x=1) %}{% macro f() %}{% set ns.x = varargs %}{% endmacro %}"
        "{% for i in range(40) %}{{ f(ns.x, ns.x) }}{% endfor %}{{ ns.x }}",
        "{% set a = 'x' * 9999999 %}{% set b %}{% for i in range(99) %}{{ a }}{% endfor %}{% endset %}",
        "{% set a = 'x' * 9999999 %}{% macro m() %}{% for i in range(99) %}{{ a }}{% endfor %}{% endmacro %}{{ m() }}",
        "".join(f"{{% set a{i} = 'x' * 9999999 %}}" for i in range(100)),
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
        "{% for a in [1] %}" * 25 + "{% endfor %}" * 25,
        "{{ " + "9" * 5000 + " }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ a.b.c[1] ~ 2 }}" * 5000,
        "{{ a }}" * 100_000,
        "{{ ''.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ '' | attr('__class__') }}",
        "{{ dict.update(messages[0], a=1) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(a=1) }}",
        "{{ (messages | default([])).append(1) }}",
        "{{ (messages | list)[0].pop('role') }}",
        "{{ [messages][0].clear() }}",
        "{% set x = [] %}{% set _ = x.append(x) %}",
        "{% set x = [] %}{% set y = {'a': [x]} %}{% set _ = x.append(y) %}",
        "{% set x = [1] %}{% for i in x %}{% set _ = x.append(i) %}{% endfor %}",
        "{% set x = [1] %}{% for i in range(99) %}{% set _ = x.extend(x) %}{% endfor %}",
        "{% set x = [1] %}{% for i in range(30) %}{% set _ = x.extend(x | map('string')) %}{% endfor %}",
        GROWING.replace("HOLD", "{% for i in range(12) %}{% set n.y = [n.y, n.y] %}{% endfor %}"),
        GROWING.replace("HOLD", "{% for i in range(12) %}{% set n.y = {'a': n.y, 'b': (n.y,)} %}{% endfor %}"),
        GROWING.replace("HOLD", "{% set n.y = [] %}{% for i in range(9999) %}{% set _ = n.y.append(x) %}{% endfor %}"),
        GROWING.replace("HOLD", "{% set n.y = [x] * 9999 %}"),
        GROWING.replace("HOLD", "{% set n.y = [[x]] * 9999 %}"),
        GROWING.replace("HOLD", "{% set n.y = dict(a=[x, x]) %}"),
        GROWING.replace("HOLD", "{% set f = x.append %}{% set n.y = [x] * 9999 %}").replace("x.append(", "f("),
        "{% set x = [] %}{% macro f() %}{% set _ = varargs[0].append('y' * 9999999) %}{{ varargs }}{% endmacro %}"
        "{{ f(x, x, x) }}",
        "{% set x = [] %}{% for i in range(99999) %}{% for i in range(99999) %}{% set _ = x.insert(0, 1) %}"
        "{% endfor %}{% endfor %}",
        "{% set d = {} %}{% for i in range(99999) %}{% for j in range(99999) %}{% set _ = d.update({j: j}) %}"
        "{% endfor %}{% endfor %}",
        "{{ raise_exception('no') }}",
        "{{ messages[7].content }}",
        "{{ 1 / 0 }}",
    ],
    ids=lambda source: source[:60],
)
def test_what_does_not_end_well_ends_soon(source: str) -> None:
    begin = time.thread_time()
    with pytest.raises(TemplateError):
        ChatTemplate(source).render([USER])
    assert time.thread_time() - begin < 1.0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ '**%s** 1234567' % 'a' }}{{ '%05.1f' % 3 }}", "**a** 1234567003.0"),
        ("{{ '* {} {:>3} 1234567'.format('a', 1) }}{{ '**%s**' | format('b') }}", "* a   1 1234567**b**"),
        ("{{ [['a', 'b'], ['c']] | sum(start=[]) | join(', ') }}", "a, b, c"),
        ("{{ [{'a': 1}, {'a': 2}] | join('-', attribute='a') }}", "1-2"),
        ("{{ undefined | join }}{{ none | map('upper') | list }}", "[]"),
        ("{% for a in 'ab' %}{{ loop.index }}/{{ loop.length }}{{ loop.nextitem }}{% endfor %}", "1/2b2/2"),
        ("{% set a, b = 1, [2, 3] %}{{ a ~ b }}{{ (1, 2)[1] }}{{ {'x': [1]}.x }}", "1[2, 3]2[1]"),
        ("{% macro f(obj, function) %}{{ obj }}{{ function }}{% endmacro %}{{ f(obj=1, function=2) }}", "12"),
        (
            "{% set q = namespace(ids=[]) %}{% for i in 'ab' %}{% set _ = q.ids.append(i) %}{% endfor %}"
            "{{ q.ids.pop(0) }}{{ q.ids }}",
            "a['b']",
        ),
        ("{% set g = [] %}{% set _ = g.append([]) %}{% set _ = g[-1].append(1) %}{{ g }}", "[[1]]"),
        (
            "{% set d = {'a': 1} %}{% set _ = d.update(b=2) %}{% set _ = d.setdefault('c', []).append(3) %}{{ d }}",
            "{'a': 1, 'b': 2, 'c': [3]}",
        ),
        ("{% macro add(l, x) %}{% set _ = l.append(x) %}{% endmacro %}{% set l = [] %}{{ add(l, 1) }}{{ l }}", "[1]"),
        ("{% set m = messages | list %}{% set _ = m.append(1) %}{{ m | length }}{{ messages | length }}", "21"),
        ("{% set m = messages[1:] %}{% set _ = m.insert(0, 1) %}{{ m }}{{ messages | length }}", "[1]1"),
        (
            "{% set l = ['a'] + 'b c'.split() %}{% set _ = l.extend(['d']) %}{% set _ = l.reverse() %}{{ l | join }}",
            "dcba",
        ),
        ("{% set l = nothing | default([]) %}{% set _ = l.append(1) %}{{ l }}", "[1]"),
        ("{{ documents is none }}{{ tools is none }}", "TrueTrue"),
    ],
)
def test_bounds_leave_templates_alone(source: str, expected: str) -> None:
    assert ChatTemplate(source).render([USER]) == expected


def test_long_conversations_have_more_time() -> None:
    messages = [{"role": "user", "content": "x" * 400}, {"role": "assistant", "content": "y" * 400}] * 2500
    path = next(path for path in TEMPLATES if path.stem == "Qwen-Qwen3-0.6B")
    assert len(ChatTemplate(path.read_text(encoding="utf-8")).render(messages)) > 2_000_000


def test_templates_reach_no_method_of_what_messages_hold(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValidationError, match=r"messages\[0\]\['file'\].*PosixPath"):
        ChatTemplate("{{ messages[0].file.unlink() }}").render([{**USER, "file": file}])
    assert file.exists()


def test_functions_are_tools() -> None:
    def get_weather(city: str) -> str:
        """Get the weather."""
        return city

    rendered = ChatTemplate("{{ tools[0].function | tojson }}").render([USER], tools=[get_weather])
    assert '"name": "get_weather"' in rendered
    assert '"required": ["city"]' in rendered


def test_syntax_errors_name_the_line() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        ChatTemplate("\n{% if %}")


def test_templates_know_the_date_and_their_arguments() -> None:
    template = ChatTemplate("{{ strftime_now('%Y') }}{{ extra }}{{ bos_token }}", bos_token="<s>")
    assert template.render([USER], extra=" and more ") == time.strftime("%Y") + " and more <s>"
