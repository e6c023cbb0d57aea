"""Probes compare like with like, and give templates what they read."""

from __future__ import annotations

import pytest

from llama_cpp import ChatTemplate
from llama_cpp.chat.syntax import CallSyntax

ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CALLS = "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}"
TOOLS = {
    "in the last turn, before the text": "{{ tools | tojson if last }}{{ m.content }}",
    "in the last turn, behind the text": "{{ m.content }}{{ tools | tojson if last }}",
    "in the last turn, around the text": "{{ tools | tojson if last }}{{ m.content }}{{ tools | tojson if last }}",
    "in every user's turn": "{{ tools | tojson if tools and m.role == 'user' }}{{ m.content }}",
    "as lists of parts": "{% for p in m.content %}{{ p.text }}{% endfor %}{{ tools | tojson if last }}",
}


@pytest.mark.parametrize("turn", TOOLS.values(), ids=TOOLS)
def test_tools_may_be_shown_in_a_turn_of_the_users(turn: str) -> None:
    template = ChatTemplate(
        "{% for m in messages %}{% set last = loop.last and tools and m.role == 'user' %}"
        f"<|im_start|>{{{{ m.role }}}}\n{turn}{CALLS}<|im_end|>\n{{% endfor %}}{ASK}"
    )
    syntax = template.syntax()
    assert isinstance(syntax.calls, CallSyntax)
    assert (syntax.calls.section_start + syntax.calls.prefix, syntax.calls.suffix) == ("<call>", "</call>")
    assert (syntax.end, syntax.content_start) == (("<|im_end|>",), "")


def test_reasoning_is_found_out_where_texts_are_lists_of_parts() -> None:
    template = ChatTemplate(
        "{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
        "{% endif %}{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}<end>"
        "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    syntax = template.syntax()
    assert (syntax.think_start, syntax.think_end, syntax.end) == ("<think>", "</think>", ("<end>",))
