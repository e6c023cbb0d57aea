"""What stands in the files of each variant of a family, and what its models write.

`FILES` has the architecture, the name in the metadata and the chat template: llama.cpp's copy of the real one where
there is one, else one in the form that the model card documents. `OUTPUTS` has answers in each family's syntax.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from llama_cpp.chat.template import CHATML
from llama_cpp.unified.detect import resolve_family

_TEMPLATES = Path(__file__).parents[1] / "vendor/llama.cpp/models/templates"


@functools.cache
def template(name: str) -> str:
    """Return one of llama.cpp's copies of chat templates."""
    return (_TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def _turns(turn: str, prompt: str, head: str = "") -> str:
    """Make a template of the form of a turn, and of what begins an answer."""
    return f"{head}{{% for m in messages %}}{turn}{{% endfor %}}{{% if add_generation_prompt %}}{prompt}{{% endif %}}"


_QWEN3 = template("Qwen-Qwen3-0.6B")
_SWITCH = _QWEN3[_QWEN3.rindex("    {%- if enable_thinking is defined") : _QWEN3.rindex("{%- endif %}")]
_QWEN3_NEVER = _QWEN3.replace(_SWITCH, "")
_QWEN3_ALWAYS = _QWEN3.replace(_SWITCH, "    {{- '<think>\\n' }}\n")

_MISTRAL = _turns(
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == 'assistant' %} {{ m.content }}"
    "{{ eos_token }}{% endif %}",
    "",
    "{{ bos_token }}",
)
_MISTRAL_SMALL = template("Mistral-Small-3.2-24B-Instruct-2506")
_PHI4_MINI = _turns("<|{{ m.role }}|>{{ m.content }}<|end|>", "<|assistant|>")
_PHI4 = _turns("<|im_start|>{{ m.role }}<|im_sep|>{{ m.content }}<|im_end|>", "<|im_start|>assistant<|im_sep|>")
_PHI4_REASONING = "<|im_start|>system<|im_sep|>Write <think> {Thought} </think> {Solution}.<|im_end|>" + _PHI4
_GLM4 = _turns("<|{{ m.role }}|>\n{{ m.content }}", "<|assistant|>\n", "[gMASK]<sop>")
_GLM_Z1 = _turns("<|{{ m.role }}|>\n{{ m.content.split('</think>')[-1] }}", "<|assistant|>\n<think>\n", "[gMASK]<sop>")
_GLM45 = template("GLM-4.6").replace("visible_text(m.content) }}", "visible_text(m.content) }}{# /nothink #}", 1)
_GRANITE = _turns(
    "<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}<|end_of_text|>\n",
    "<|start_of_role|>assistant<|end_of_role|>",
)
_GRANITE_3_2 = (
    "{% if thinking %}<|start_of_role|>system<|end_of_role|>Write your thoughts after 'Here is my thought process:' "
    "and your response after 'Here is my response:'.<|end_of_text|>\n{% endif %}" + _GRANITE
)
_GEMMA = template("google-gemma-2-2b-it")
_AYA = _turns(
    "<|START_OF_TURN_TOKEN|>{{ {'system': '<|SYSTEM_TOKEN|>', 'user': '<|USER_TOKEN|>'}.get(m.role, "
    "'<|CHATBOT_TOKEN|>') }}{{ m.content }}<|END_OF_TURN_TOKEN|>",
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    "{{ bos_token }}",
)

# By variant: general.architecture, general.name, chat template.
FILES: dict[str, tuple[str, str, str]] = {
    "qwen3-hybrid": ("qwen3", "Qwen3 8B", _QWEN3),
    "qwen3-thinking-2507": ("qwen3moe", "Qwen3 30B A3B Thinking 2507", _QWEN3_ALWAYS),
    "qwen3-instruct-2507": ("qwen3moe", "Qwen3 30B A3B Instruct 2507", _QWEN3_NEVER),
    "qwen3-coder": ("qwen3moe", "Qwen3 Coder 30B A3B Instruct", template("Qwen3-Coder")),
    "qwen3-soft-switch": ("qwen3", "Qwen3 8B", CHATML),
    "qwen3-next-instruct": ("qwen3next", "Qwen3 Next 80B A3B Instruct", _QWEN3_NEVER),
    "qwen3-next-thinking": ("qwen3next", "Qwen3 Next 80B A3B Thinking", _QWEN3_ALWAYS),
    "qwen3-coder-next": ("qwen3next", "Qwen3 Coder Next", template("Qwen3-Coder")),
    "qwen3.5": ("qwen35", "Qwen3.5 4B", template("Qwen3.5-4B")),
    "mistral-7b": ("llama", "Mistral 7B Instruct v0.3", _MISTRAL),
    "mistral-nemo": ("llama", "Mistral Nemo Instruct 2407", template("mistralai-Mistral-Nemo-Instruct-2407")),
    "mistral-small": ("llama", "Mistral Small 3.2 24B Instruct 2506", _MISTRAL_SMALL),
    "ministral-2410": ("llama", "Ministral 8B Instruct 2410", template("mistralai-Mistral-Nemo-Instruct-2407")),
    "ministral-3": ("mistral3", "Ministral 3 3B Instruct 2512", _MISTRAL_SMALL),
    "ministral-3-reasoning": (
        "mistral3",
        "Ministral 3 14B Reasoning 2512",
        template("mistralai-Ministral-3-14B-Reasoning-2512"),
    ),
    "magistral": ("llama", "Magistral Small 2509", template("mistralai-Ministral-3-14B-Reasoning-2512")),
    "magistral-2506": ("llama", "Magistral Small 2506", _MISTRAL_SMALL),
    "devstral": ("llama", "Devstral Small 2507", template("unsloth-mistral-Devstral-Small-2507")),
    "phi-4-mini": ("phi3", "Phi 4 Mini Instruct", _PHI4_MINI),
    "phi-4-mini-reasoning": ("phi3", "Phi 4 Mini Reasoning", _PHI4_MINI),
    "phi-4": ("phi3", "Phi 4", _PHI4),
    "phi-4-reasoning": ("phi3", "Phi 4 Reasoning Plus", _PHI4_REASONING),
    "phi-3.5": ("phi3", "Phi 3.5 Mini Instruct", template("microsoft-Phi-3.5-mini-instruct")),
    "phi-3": ("phi3", "Phi 3 Mini 4k Instruct", template("microsoft-Phi-3.5-mini-instruct")),
    "glm-4": ("glm4", "GLM 4 9B 0414", _GLM4),
    "glm-z1": ("glm4", "GLM Z1 9B 0414", _GLM_Z1),
    "glm-4.5": ("glm4moe", "GLM 4.5 Air", _GLM45),
    "glm-4.6": ("glm4moe", "GLM 4.6", template("GLM-4.6")),
    "glm-4.7": ("glm4moe", "GLM 4.7", template("GLM-4.7-Flash")),
    "glm-4.7-flash": ("deepseek2", "GLM 4.7 Flash", template("GLM-4.7-Flash")),
    "granite-4.1": ("granite", "Granite 4.1 8B", template("ibm-granite-granite-4.1")),
    "granite-4.0": ("granitehybrid", "Granite 4.0 H Tiny", template("ibm-granite-granite-4.0")),
    "granite-3.3": ("granite", "Granite 3.3 8B Instruct", template("ibm-granite-granite-3.3-2B-Instruct")),
    "granite-3.2": ("granite", "Granite 3.2 8B Instruct", _GRANITE_3_2),
    "granite-3.1": ("granitemoe", "Granite 3.1 3B A800M Instruct", _GRANITE),
    "gemma-3": ("gemma3", "Gemma 3 4b It", _GEMMA),
    "gemma-3n": ("gemma3n", "Gemma 3n E4B It", _GEMMA),
    "gemma-4": ("gemma4", "Gemma 4 31B It", template("google-gemma-4-31B-it")),
    "gemma-2": ("gemma2", "Gemma 2 9b It", _GEMMA),
    "minicpm4": ("minicpm", "MiniCPM4 8B", CHATML),
    "minicpm4.1": ("minicpm", "MiniCPM4.1 8B", _QWEN3),
    "minicpm5": ("llama", "MiniCPM5 1B", template("openbmb-MiniCPM5-1B")),
    "minicpm3": ("minicpm3", "MiniCPM3 4B", CHATML),
    "aya-expanse": ("command-r", "Aya Expanse 8b", _AYA),
    "aya-23": ("command-r", "Aya 23 8B", _AYA),
    "gpt-oss-20b": ("gpt-oss", "Gpt Oss 20b", template("openai-gpt-oss-120b")),
    "gpt-oss-120b": ("gpt-oss", "Gpt Oss 120b", template("openai-gpt-oss-120b")),
}

THOUGHT, ANSWER = "Two and two make four, I count.", "The answer: 4."


@dataclass(frozen=True)
class Output:
    """What a model writes after the generation prompt.

    Attributes:
        text: the raw text.
        kind: "plain", "thinking", "unclosed" (thinking that was cut off) or "call" of get_weather(city="Paris").
    """

    text: str
    kind: str


_JSON_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
_XML_CALL = "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"
_GLM_CALL = "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>"
_ARGS_CALL = '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}'

# By the beginning of a variant's name, the longest that fits.
_CALLS = {
    "": _JSON_CALL,
    "qwen3-coder": _XML_CALL,
    "qwen3.5": _XML_CALL,
    "mistral-nemo": '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "abcdef123"}]',
    "mistral-small": '[TOOL_CALLS]get_weather[CALL_ID]abcdef123[ARGS]{"city": "Paris"}',
    "ministral-2410": '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}, "id": "abcdef123"}]',
    "ministral-3": '[TOOL_CALLS]get_weather[CALL_ID]abcdef123[ARGS]{"city": "Paris"}',
    "ministral-3-reasoning": _ARGS_CALL,
    "magistral": _ARGS_CALL,
    "magistral-2506": '[TOOL_CALLS]get_weather[CALL_ID]abcdef123[ARGS]{"city": "Paris"}',
    "devstral": _ARGS_CALL,
    "glm-4.": _GLM_CALL,
    "glm-4.7": _GLM_CALL.replace("\n", ""),
    "granite-3.3": '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]',
    "gemma-4": '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
    "minicpm5": '<function name="get_weather"><param name="city">Paris</param></function>',
    "gpt-oss": '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris"}<|call|>',
}


def outputs(variant: str) -> list[Output]:
    """Return what a variant's models write, in each of the ways that they know."""
    call = _CALLS[max((name for name in _CALLS if variant.startswith(name)), key=len)]
    thinking = resolve_family(variant).thinking
    if thinking.switch == "level":
        analysis, final = f"<|channel|>analysis<|message|>{THOUGHT}", f"<|channel|>final<|message|>{ANSWER}<|return|>"
        return [
            Output(final, "plain"),
            Output(f"{analysis}<|end|><|start|>assistant{final}", "thinking"),
            Output(analysis, "unclosed"),
            Output(call, "call"),
        ]
    if not thinking.is_possible:
        return [Output(ANSWER, "plain"), Output(call, "call")]
    start, end = thinking.tags
    answer = ANSWER.join(thinking.answer_tags)
    opened = FILES[variant][2].rstrip().endswith(("<think>\n{% endif %}", "'<think>\\n' }}\n{%- endif %}"))
    head = "" if opened or variant in ("qwen3.5", "glm-4.7", "glm-4.7-flash", "minicpm5") else f"{start}\n"
    return [
        Output(f"{head}{THOUGHT}\n{end}\n\n{answer}", "thinking"),
        Output(f"{head}{THOUGHT}", "unclosed"),
        Output(f"{head}{THOUGHT}\n{end}\n\n{call}", "call"),
        *([] if opened else [Output(ANSWER, "plain")]),
    ]
