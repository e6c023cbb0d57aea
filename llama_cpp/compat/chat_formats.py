"""Chat formats by llama-cpp-python's names, as Jinja, after the cards of the models that they are named for."""

from __future__ import annotations

from dataclasses import dataclass

from ..chat.template import CHATML


@dataclass(frozen=True)
class ChatFormat:
    """One way of writing messages.

    Attributes:
        template: Jinja source.
        stop: texts that end an answer, for models whose vocabulary does not know them as ends.
    """

    template: str
    stop: tuple[str, ...] = ()


def _turns(
    user: str, assistant: str, *, system: str = "@\n", ask: str, head: str = "", stop: tuple[str, ...] = ()
) -> ChatFormat:
    """Make a format of what stands around messages.

    Args:
        user, assistant, system: a message of that role, with @ where its content goes.
        ask: what an answer begins with.
        head: what stands before everything.
        stop: texts that end an answer.
    """

    def written(text: str) -> str:
        before, _, after = text.partition("@")
        return f"{_literal(before)}{{{{ message.content }}}}{_literal(after)}"

    return ChatFormat(
        f"{_literal(head)}{{% for message in messages %}}"
        f"{{% if message.role == 'system' %}}{written(system)}"
        f"{{% elif message.role == 'assistant' %}}{written(assistant)}"
        f"{{% else %}}{written(user)}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{_literal(ask)}{{% endif %}}",
        stop,
    )


def _literal(text: str) -> str:
    """Write text so that Jinja neither trims nor reads it."""
    return f"{{{{ {text!r} }}}}" if text else ""


_SYSTEM_IN_FIRST_TURN = (
    "{% if messages[0].role == 'system' %}{% set lead = OPEN %}{% set turns = messages[1:] %}"
    "{% else %}{% set lead = '' %}{% set turns = messages %}{% endif %}"
)

_LLAMA_2 = (
    _SYSTEM_IN_FIRST_TURN.replace("OPEN", "'<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n'")
    + "{% for message in turns %}{% if message.role == 'assistant' %}"
    "{{ ' ' + message.content + ' ' + eos_token }}"
    "{% else %}{{ bos_token + '[INST] ' + (lead if loop.first else '') + message.content + ' [/INST]' }}{% endif %}"
    "{% endfor %}"
)
_MISTRAL = (
    _SYSTEM_IN_FIRST_TURN.replace("OPEN", "messages[0].content + '\\n\\n'")
    + "{{ bos_token }}{% for message in turns %}{% if message.role == 'assistant' %}"
    "{{ message.content + eos_token }}"
    "{% else %}{{ '[INST] ' + (lead if loop.first else '') + message.content + ' [/INST]' }}{% endif %}"
    "{% endfor %}"
)
_GEMMA = (
    _SYSTEM_IN_FIRST_TURN.replace("OPEN", "messages[0].content + '\\n\\n'")
    + "{{ bos_token }}{% for message in turns %}"
    "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\\n' }}"
    "{{ (lead if loop.first else '') + message.content + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
_LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

_CHATML = ChatFormat(CHATML, ("<|im_end|>",))

CHAT_FORMATS = {
    "alpaca": _turns(
        "### Instruction:\n@\n\n",
        "### Response:\n@\n\n",
        system="@\n\n",
        ask="### Response:\n",
        stop=("\n### Instruction:\n",),
    ),
    "baichuan": _turns("<reserved_102>@", "<reserved_103>@", system="@", ask="<reserved_103>"),
    "baichuan-2": _turns("<reserved_106>@", "<reserved_107>@", system="@", ask="<reserved_107>"),
    "chatglm3": _turns(
        "<|user|>\n@", "<|assistant|>\n@", system="<|system|>\n@", ask="<|assistant|>\n", stop=("<|user|>",)
    ),
    "chatml": _CHATML,
    "chatml-function-calling": _CHATML,
    "gemma": ChatFormat(_GEMMA, ("<end_of_turn>",)),
    "intel": _turns(
        "### User:\n@\n",
        "### Assistant:\n@\n",
        system="### System:\n@\n",
        ask="### Assistant:\n",
        stop=("\n### User:\n",),
    ),
    "llama-2": ChatFormat(_LLAMA_2),
    "llama-3": ChatFormat(_LLAMA_3, ("<|eot_id|>",)),
    "mistral-instruct": ChatFormat(_MISTRAL),
    "mistrallite": _turns(
        "<|prompter|>@</s>", "<|assistant|>@</s>", system="<|system|>@</s>", ask="<|assistant|>", stop=("</s>",)
    ),
    "oasst_llama": _turns(
        "<|prompter|>@</s>", "<|assistant|>@</s>", system="<|system|>@</s>", ask="<|assistant|>", stop=("</s>",)
    ),
    "open-orca": _turns(
        "User: @<|end_of_turn|>\n",
        "Assistant: @<|end_of_turn|>\n",
        system="@<|end_of_turn|>\n",
        ask="Assistant:",
        stop=("<|end_of_turn|>",),
    ),
    "openbuddy": _turns("User: @\n", "Assistant: @\n", system="@\n\n", ask="Assistant:", stop=("\nUser:",)),
    "openchat": _turns(
        "GPT4 Correct User: @<|end_of_turn|>",
        "GPT4 Correct Assistant: @<|end_of_turn|>",
        system="@<|end_of_turn|>",
        ask="GPT4 Correct Assistant:",
        stop=("<|end_of_turn|>",),
    ),
    "phind": _turns(
        "### User Message\n@\n\n",
        "### Assistant\n@\n\n",
        system="### System Prompt\n@\n\n",
        ask="### Assistant\n",
        stop=("\n### User Message\n",),
    ),
    "pygmalion": _turns("<|user|>@", "<|model|>@", system="<|system|>@", ask="<|model|>", stop=("<|user|>",)),
    "qwen": ChatFormat(CHATML, ("<|im_end|>", "<|endoftext|>")),
    "redpajama-incite": _turns("<human>: @\n", "<bot>: @\n", ask="<bot>:", stop=("\n<human>:",)),
    "saiga": _turns("<s>user\n@</s>\n", "<s>bot\n@</s>\n", system="<s>system\n@</s>\n", ask="<s>bot\n", stop=("</s>",)),
    "snoozy": _turns(
        "### Prompt:\n@\n",
        "### Response:\n@\n",
        system="### Instruction:\n@\n",
        ask="### Response:\n",
        stop=("\n### Prompt:\n",),
    ),
    "vicuna": _turns("USER: @ ", "ASSISTANT: @</s>", system="@ ", ask="ASSISTANT:", stop=("</s>", "USER:")),
    "zephyr": _turns(
        "<|user|>\n@</s>\n",
        "<|assistant|>\n@</s>\n",
        system="<|system|>\n@</s>\n",
        ask="<|assistant|>\n",
        stop=("</s>",),
    ),
}


# What BOS is called where a format is put into text without a model; "<s>" where it is not among these.
BOS_TEXTS = {"gemma": "<bos>", "llama-3": "<|begin_of_text|>"}


def chat_format_of(name: str | None) -> ChatFormat | None:
    """Return the format of that name, in whatever case; None if there is none."""
    return None if name is None else CHAT_FORMATS.get(name.lower())
