"""Chat templates render what transformers renders, and what is hostile in them ends."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import ChatTemplate, TemplateError
from llama_cpp.chat.messages import check_messages

TEMPLATES = sorted((Path(__file__).parents[2] / "vendor/llama.cpp/models/templates").glob("*.jinja"))
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "c"}}, "required": ["city"]}
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
            assert ours == theirs, (name, prompt)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 10**9 * 'x' }}",
        "{{ [0] * 10**9 }}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 'x'.center(10**9) }}",
        "{{ 'x'.ljust(width=10**9) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'x' | center(10**9) }}",
        "{{ ('y' * 1000000).replace('y', 'z' * 1000000) }}",
        "{{ (('y' * 1000000) | replace('y', 'z' * 1000000)) }}",
        "{{ '\n' * 1000000 | indent(1000000) }}",
        "{% set ns = namespace(x='x' * 1000) %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='x' * 1000) %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception('no') }}",
        "{{ messages[7].content }}",
        "{{ 1 / 0 }}",
    ],
)
def test_what_does_not_end_well_ends_soon(source: str) -> None:
    begin = time.thread_time()
    with pytest.raises(TemplateError):
        ChatTemplate(source).render([USER])
    assert time.thread_time() - begin < 1.0


def test_syntax_errors_name_the_line() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        ChatTemplate("\n{% if %}")


def test_templates_know_the_date_and_their_arguments() -> None:
    template = ChatTemplate("{{ strftime_now('%Y') }}{{ extra }}{{ bos_token }}", bos_token="<s>")
    assert template.render([USER], extra=" and more ") == time.strftime("%Y") + " and more <s>"
