"""Probing: messages with unmistakable words in them are rendered, and what a template puts around the words is seen.

None of these words may ever reach a prompt, a grammar or an answer; ARGUMENTS, CALL_ID, INDEX, NAME and KEY stand for
something in a CallSyntax, and are replaced wherever that is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import TemplateError
from .messages import as_parts

if TYPE_CHECKING:
    from .template import ChatTemplate

ASKED = "Qaskedq"
CONTENT, THOUGHT, NAME, KEY, VALUE = "Qcontentq", "Qthoughtq", "qnameq", "qkeyq", "qvalueq"
OTHER_KEY, NUMBER = "qotherkeyq", 8150317
ARGUMENTS = "qargumentsq"  # stands for the arguments in CallSyntax.body
CALL_ID = "qcallid1x"  # Mistral's templates want nine letters and digits
INDEX = "qindexq"  # stands for the number of a call, where templates count them
FACT = "qfactq"  # with a number before its last letter, stands for a text of a request
SPEAKER = "qspeakerq"
WORDS = (ASKED, CONTENT, THOUGHT, NAME, KEY, VALUE, OTHER_KEY, ARGUMENTS, CALL_ID, INDEX, FACT[:-1], SPEAKER)

_WORDS = re.compile(
    "|".join((ASKED, CONTENT, THOUGHT, NAME, KEY, VALUE, OTHER_KEY, str(NUMBER), ARGUMENTS, CALL_ID, INDEX))
)

_TOOL = {
    "type": "function",
    "function": {
        "name": NAME,
        "description": "a tool",
        "parameters": {
            "type": "object",
            "properties": {
                KEY: {"type": "string", "description": "a text"},
                OTHER_KEY: {"type": "integer", "description": "a number"},
            },
            "required": [KEY],
        },
    },
}
_USER = {"role": "user", "content": ASKED}

_PARTED = ((), ("user", "assistant"), ("user",), ("assistant",))  # whose texts are tried as lists of parts


def left_over(text: str, given: str = "") -> set[str]:
    """Return the words of probe messages that are in a text where none should be, unless they were given."""
    return {word for word in _WORDS.findall(text) if word not in given}


class Probe:
    """Renders the turns of an assistant.

    Attributes:
        prompt: what stands before such a turn.
        call_end: what ends a turn of calls, where that is not what ends content.
        last_tag: the last tag of the prompt, as far as that was the beginning of the last turn too.
        role_tag: the same for a turn of content alone.
    """

    def __init__(self, template: ChatTemplate, kwargs: Mapping[str, Any]) -> None:
        self._template = template
        self._kwargs = kwargs
        self.source = template.source
        self.prompt = self._render([_USER], True) or ""
        self.call_end = ""
        self.last_tag = self.role_tag = ""

    def _render(self, messages: list[dict[str, Any]], generate: bool, tools: Sequence[Any] | None = None) -> str | None:
        """Render messages, with texts as lists of parts where the template reads those; None if it refuses both."""
        texts = [message["content"] for message in messages if message.get("content")]
        first = None
        for roles in _PARTED:
            given = [as_parts(message) if message["role"] in roles else message for message in messages]
            try:
                text = self._template.render(given, tools=tools, add_generation_prompt=generate, **self._kwargs)
            except TemplateError:
                continue
            if all(word in text for word in texts):
                return text
            first = text if first is None else first
        return first

    def turn(self, message: Mapping[str, Any]) -> str | None:
        """Return what an assistant's message is written as, after the generation prompt."""
        messages = [_USER, {"role": "assistant", **message}]
        for tools in ([_TOOL],) if "tool_calls" in message else (None, [_TOOL]):
            full = self._render(messages, False, tools)
            if full is not None:
                prompts = [self._render([_USER], True, tools), self.prompt]
                return self._after_prompt(full, [prompt for prompt in prompts if prompt])
        return None

    def _after_prompt(self, full: str, prompts: Iterable[str]) -> str:
        """Return what follows the generation prompt, of which a text with a turn behind it has all or the beginning.

        Only what stands behind the user's words is compared: tools may be shown in the last turn, thus in the prompt
        alone. A prompt that opens, or closes, the reasoning for the model is not what is written of earlier turns.
        """
        written = full.rpartition(ASKED)[2]
        shared, begun = "", ""
        for prompt in prompts:
            asked = prompt.rpartition(ASKED)[2]
            common = asked if written.startswith(asked) else common_head(written, asked)
            if not begun or len(common) > len(shared):
                shared, begun = common, asked
        self.last_tag = last_tag(shared)
        return written[len(shared) :].removeprefix(last_tag(begun))

    def around(self, word: str, message: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return what stands before and behind a word in a turn."""
        turn = self.turn(message)
        if turn is None or word not in turn:
            return None
        before, _, after = turn.partition(word)
        return before, after

    def next_turn(self) -> str:
        """Return how a user's turn begins, which ends an assistant's where nothing else does.

        It is a tag that stands by itself, or else all of it: a heading's first word, such as "###", is in many answers.
        """
        full = self._render([_USER, {"role": "assistant", "content": CONTENT}, {**_USER, "content": VALUE}], False)
        between = (full or "").rpartition(CONTENT)[2].partition(VALUE)[0]
        text = between.strip()
        if not text or re.fullmatch(r"<[^<>]+>|\[[^\[\]]+\]", text):
            return text
        before, _, after = between.partition(text)
        return "\n" * ("\n" in before) + text + "\n" * ("\n" in after)

    def opens_thinking(self, start: str, stop: str) -> bool:
        """Tell whether the generation prompt leaves reasoning open."""
        if start:
            return self.prompt.rstrip().endswith(start)
        return not self.prompt.rstrip().endswith(stop)  # some say it in words

    def told(self) -> str:
        """Return what the template tells the model when there are tools."""
        return self._render([_USER], True, [_TOOL]) or ""


def probe_call(as_text: bool, more: bool = False) -> dict[str, Any]:
    """Make a call of the probe's tool, with one argument or two of them, as an object or as text."""
    arguments = {KEY: VALUE, **({OTHER_KEY: NUMBER} if more else {})}
    function = {"name": NAME, "arguments": json.dumps(arguments) if as_text else arguments}
    return {"id": CALL_ID, "type": "function", "function": function}


def first_tag(text: str) -> str:
    """Return the tag that a text begins with, or else its first line: one word of it is in many answers."""
    found = re.match(r"\s*(<[^<>]+>|\[[^\[\]]+\]|\S.*)", text)
    return found[1].rstrip() if found else ""


def last_tag(text: str) -> str:
    """Return the tag that a text ends with; "" if it ends with something else."""
    found = re.search(r"(<[^<>]+>|\[[^\[\]]+\])\s*\Z", text)
    return found[1] if found else ""


def common_head(one: str, other: str) -> str:
    """Return what two texts begin with, without cutting a tag in two."""
    n = next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    head = one[:n]
    begin = head.rfind("<")
    return head[:begin] if begin >= 0 and ">" not in head[begin:] else head


def common_tail(one: str, other: str) -> str:
    """Return what two texts end with, without cutting a tag in two."""
    pairs = enumerate(zip(reversed(one), reversed(other), strict=False))
    n = next((index for index, (a, b) in pairs if a != b), min(len(one), len(other)))
    tail = one[len(one) - n :]
    before = one[: len(one) - n]
    begin = before.rfind("<")
    if begin >= 0 and ">" not in before[begin:] and ">" in tail:
        return tail.partition(">")[2]
    return tail
