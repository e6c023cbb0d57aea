"""Messages -> the pieces of text that are tokenized, so that no user can write a special token."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ValidationError

if TYPE_CHECKING:
    from .template import ChatTemplate

# Arguments of ChatTemplate.render that no template gets as its own.
REQUEST = ("tools", "documents", "add_generation_prompt", "continue_final_message")
ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def check_messages(messages: Any) -> list[dict[str, Any]]:
    """Return messages as templates expect them: texts in one piece, arguments as dicts, or as text if that is no JSON.

    Raises:
        ValidationError: naming the index and what is wrong there.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence) or not messages:
        raise ValidationError(f"messages must be a list of dicts with at least one in it, got {messages!r}")
    return [_check_message(f"messages[{index}]", message) for index, message in enumerate(messages)]


def check_template_kwargs(kwargs: Any) -> dict[str, Any]:
    """Return a request's arguments for the template.

    Raises:
        ValidationError: for no dict of names, or a name that the request itself has.
    """
    if kwargs is not None and (not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs)):
        raise ValidationError(f"chat_template_kwargs must be a dict of names and values, got {kwargs!r}")
    for name in kwargs or ():
        if name in ("messages", *REQUEST):
            raise ValidationError(f"chat_template_kwargs can't have {name!r}; it is an argument of the request itself")
    return dict(kwargs or {})


def check_documents(documents: Any) -> list[dict[str, Any]] | None:
    """Return the documents of a request, None for none.

    Raises:
        ValidationError: if they are no list of dicts.
    """
    if documents is None:
        return None
    if not isinstance(documents, (list, tuple)) or not all(isinstance(one, Mapping) for one in documents):
        raise ValidationError(f"documents must be a list of dicts with title and text, got {documents!r}")
    return list(documents) or None


def _check_message(name: str, message: Any) -> dict[str, Any]:
    if callable(getattr(message, "model_dump", None)):  # of the openai package, and of others made with pydantic
        message = message.model_dump()
    if not isinstance(message, Mapping):
        raise ValidationError(f"{name} must be a dict, got {message!r}")
    if message.get("role") not in ROLES:
        raise ValidationError(f"{name} must have one of the roles {', '.join(ROLES)}; got {message.get('role')!r}")
    checked = {key: value for key, value in message.items() if value is not None or key == "content"}
    checked["content"] = _text_of(name, message.get("content"))
    checked["role"] = {"developer": "system", "function": "tool"}.get(message["role"], message["role"])
    if checked["content"] is None and isinstance(message.get("refusal"), str):
        checked["content"] = message["refusal"]
    function = checked.pop("function_call", None)
    if function is not None and not checked.get("tool_calls"):  # OpenAI's form before there were tools
        checked["tool_calls"] = [{"function": function}]
    if not isinstance(checked.get("tool_calls", []), (list, tuple)):
        raise ValidationError(f"the tool_calls of {name} must be a list, got {checked['tool_calls']!r}")
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
        except ValueError:  # the call was cut, by max_tokens for instance; the model sees it as it was
            return {**call, "type": "function", "function": dict(function)}
    if not isinstance(arguments, Mapping):
        raise ValidationError(f"the arguments of a tool call of {name} must be an object, got {arguments!r}")
    return {**call, "type": "function", "function": {**function, "arguments": arguments}}


def as_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with its text as a list of parts."""
    content = message.get("content")
    return {**message, "content": [{"type": "text", "text": content}] if content else content}


def render(
    template: ChatTemplate, messages: Sequence[Mapping[str, Any]], special: Collection[str], **arguments: Any
) -> list[str]:
    """Render messages, fitted to the template, and cut where what a request says has the text of a special token.

    Each piece can be tokenized with special tokens on: those that stand in texts of the request, or at the border of
    two of them, are cut in two, and only the template's own are left whole. To find them behind the template, a
    character that nobody uses is put into them before. Of an assistant's earlier answers, the tags of reasoning stay
    whole, since templates look for them.

    Args:
        template: the template.
        messages: as `check_messages` returns them.
        special: texts of the vocabulary's special tokens.
        **arguments: of ChatTemplate.render.
    """
    everything = json.dumps([messages, arguments], ensure_ascii=False, default=str) + template.source
    mark = next((chr(code) for code in range(0xE000, 0xF900) if chr(code) not in everything), None)
    if mark is None:
        raise ValidationError("the messages hold every character of Unicode's private use area, one of which is needed")
    from .fit import fitted
    from .probe import WORDS

    texts = [text for text in special if len(text) > 1 and not text[0].isalnum()]
    syntax = template.syntax(**{key: value for key, value in arguments.items() if key not in REQUEST})
    thinking = (syntax.think_start, syntax.think_end)
    tokens, spoken = _tokens(tuple(texts)), _tokens(tuple(text for text in texts if text not in thinking))
    guarded = [_guard(message, mark, spoken if message["role"] == "assistant" else tokens) for message in messages]
    for name in ("tools", "documents"):
        if arguments.get(name):
            arguments[name] = _guard(arguments[name], mark, tokens)
    escaped = f"\\u{ord(mark):04x}"  # what tojson(ensure_ascii=true) writes
    guarded, arguments = fitted(template, syntax, guarded, arguments)
    text = template.render(guarded, **arguments).replace(escaped, mark)
    assert all(word not in text or word in everything for word in WORDS), "a word of a probe is in the prompt"
    return _cut(text, mark, tokens)


class _Tokens:
    """Finds the texts of special tokens, of which a vocabulary may have thousands.

    Attributes:
        heads, tails: what they begin and end with.
        longest: length of the longest.
    """

    def __init__(self, texts: Collection[str]) -> None:
        self._texts = frozenset(texts)
        self._lengths = sorted({len(text) for text in texts})
        self._begun = re.compile(f"(?={'|'.join(sorted({re.escape(text[:2]) for text in texts})) or '(?!)'})")
        self.heads = frozenset(text[:length] for text in texts for length in range(1, len(text)))
        self.tails = frozenset(text[-length:] for text in texts for length in range(1, len(text)))
        self.longest = max(self._lengths, default=0)

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Give the beginning and the end of each, those in others too."""
        for begun in self._begun.finditer(text):
            at = begun.start()
            for length in self._lengths:
                if at + length <= len(text) and text[at : at + length] in self._texts:
                    yield at, at + length


_tokens = functools.lru_cache(maxsize=16)(_Tokens)


def _guard(value: Any, mark: str, special: _Tokens) -> Any:
    """Put a mark into every special token's text, and into what could become one beside another text."""
    if isinstance(value, str):
        return _guard_text(value, mark, special)
    if isinstance(value, Mapping):
        return {
            _guard(key, mark, special): inner if _is_word(key, inner) else _guard(inner, mark, special)
            for key, inner in value.items()
        }
    return [_guard(inner, mark, special) for inner in value] if isinstance(value, (list, tuple)) else value


def _is_word(key: str, value: Any) -> bool:
    """Tell whether a value is a plain word that templates compare, such as a role or the type of a schema."""
    return key in ("role", "type") and isinstance(value, str) and value.isidentifier()


def _guard_text(text: str, mark: str, special: _Tokens) -> str:
    places = {begin + 1 for begin, _ in special.find(text)}
    for length in range(1, min(special.longest, len(text) + 1)):
        if text[-length:] in special.heads:
            places.add(len(text) - length + 1)
        if text[:length] in special.tails:
            places.add(length - 1)
    for place in sorted(places, reverse=True):
        text = text[:place] + mark + text[place:]
    return text


def _cut(text: str, mark: str, special: _Tokens) -> list[str]:
    """Take the marks out of a text, and cut it at those that a special token's text spans."""
    parts = text.split(mark)
    whole = "".join(parts)
    pieces, begin, position = [], 0, 0
    for part in parts[:-1]:
        position += len(part)
        start = max(0, position - special.longest)
        around = whole[start : position + special.longest]
        if any(start + first < position < start + last for first, last in special.find(around)):
            pieces.append(whole[begin:position])
            begin = position
    return [*pieces, whole[begin:]]
