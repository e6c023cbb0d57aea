"""Messages -> the pieces of text that are tokenized, so that no user can write a special token."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ValidationError

if TYPE_CHECKING:
    from .template import ChatTemplate

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
FOREIGN = ("user", "tool", "function")  # whose texts are somebody else's


def check_messages(messages: Any) -> list[dict[str, Any]]:
    """Return messages as templates expect them: texts in one piece, arguments as dicts.

    Raises:
        ValidationError: naming the index and what is wrong there.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise ValidationError(f"messages must be a list of dicts with at least one in it, got {messages!r}")
    return [_check_message(f"messages[{index}]", message) for index, message in enumerate(messages)]


def _check_message(name: str, message: Any) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise ValidationError(f"{name} must be a dict, got {message!r}")
    if message.get("role") not in ROLES:
        raise ValidationError(f"{name} must have one of the roles {', '.join(ROLES)}; got {message.get('role')!r}")
    checked = {key: value for key, value in message.items() if value is not None or key == "content"}
    checked["content"] = _text_of(name, message.get("content"))
    if message["role"] == "developer":
        checked["role"] = "system"
    if checked.get("tool_calls"):
        checked["tool_calls"] = [_check_call(name, call) for call in checked["tool_calls"]]
    else:
        checked.pop("tool_calls", None)
    if checked["content"] is None:
        if message["role"] != "assistant":
            raise ValidationError(f"{name} of role {message['role']!r} has no content")
        checked["content"] = ""
    return checked


def _text_of(name: str, content: Any) -> str | None:
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise ValidationError(f"the content of {name} must be a str or a list of parts, got {content!r}")
    texts = []
    for part in content:
        if not isinstance(part, Mapping) or part.get("type") not in ("text", "refusal"):
            kind = part.get("type") if isinstance(part, Mapping) else part
            raise ValidationError(f"{name} has a part of type {kind!r}; this model reads text alone")
        texts.append(str(part.get("text", part.get("refusal", ""))))
    return "".join(texts)


def _check_call(name: str, call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValidationError(f'a tool call of {name} needs {{"function": {{"name": ..., "arguments": ...}}}}')
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            raise ValidationError(f"the arguments of a tool call of {name} are no JSON: {arguments!r}") from None
    return {**call, "type": "function", "function": {**function, "arguments": arguments}}


def render(
    template: ChatTemplate, messages: Sequence[Mapping[str, Any]], special: Collection[str], **arguments: Any
) -> list[str]:
    """Render messages, cut wherever a user's text has the text of a special token.

    Each piece can be tokenized with special tokens on: those that stand in users' and tools' texts, and in documents,
    are cut in two. To find them again behind the template, a character that nobody uses is put in them before.

    Args:
        template: the template.
        messages: as `check_messages` returns them.
        special: texts of the vocabulary's special tokens.
        **arguments: of ChatTemplate.render.
    """
    pattern = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
    everything = json.dumps([messages, arguments], ensure_ascii=False, default=str)
    mark = next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in everything)

    def guard(value: Any) -> Any:
        if isinstance(value, str):
            return pattern.sub(lambda found: found[0][0] + mark + found[0][1:], value)
        if isinstance(value, Mapping):
            return {key: guard(inner) for key, inner in value.items()}
        return [guard(inner) for inner in value] if isinstance(value, list) else value

    guarded = [
        {**message, "content": guard(message["content"])} if message["role"] in FOREIGN else message
        for message in messages
    ]
    if arguments.get("documents"):
        arguments["documents"] = guard(arguments["documents"])
    return template.render(guarded, **arguments).split(mark)
