"""ChatTemplate: messages -> text, as the model's own Jinja template has it, in a sandbox with bounds."""

from __future__ import annotations

import dataclasses
import json
import numbers
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import TemplateError, ValidationError
from .calls import filled_tool, tool_of
from .sandbox import compile_template, run
from .syntax import Syntax, derive

if TYPE_CHECKING:
    from .fit import Plan

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class ChatTemplate:
    """A chat template, compiled once.

    Args:
        source: Jinja source, such as a GGUF's tokenizer.chat_template.
        bos_token, eos_token: texts of the tokens, which templates write.

    Raises:
        TemplateError: if it is no Jinja, or too long.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        self._template = compile_template(source)
        self._lists_functions = "functions" in source and not re.search(r"\btools\b", source)
        self._syntaxes: dict[str, Syntax] = {}
        self._overrides: Mapping[str, Any] = {}
        self.plans: dict[str, Plan] = {}  # of requests that were fitted to it
        self.warned: set[str] = set()  # what was said that it has no place for

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
        documents: Sequence[Mapping[str, Any]] | None = None,
        continue_final_message: bool = False,
        **template_kwargs: Any,
    ) -> str:
        """Write messages as the model wants to read them.

        Args:
            messages: dicts with role and content.
            tools: JSON Schemas in OpenAI's form, or Python functions; where the template fails on what they leave out,
                such as descriptions, that is filled in.
            add_generation_prompt: end with what an answer begins with.
            documents: dicts with title and text, for templates that know them.
            continue_final_message: end within the last message, for the model to go on with it.
            **template_kwargs: what else the template knows, such as `enable_thinking`.

        Raises:
            TemplateError: if the template fails, refuses the messages, takes too long or writes too much.
            ValidationError: if an argument holds what JSON has nothing for, or there is no message to continue.
        """
        if self._lists_functions:
            template_kwargs = {**_functions(tools), **template_kwargs}
        given = {"bos_token": self.bos_token, "eos_token": self.eos_token, **_plain("template_kwargs", template_kwargs)}
        conversation = [_with_reasoning(message) for message in _plain("messages", list(messages))]
        if continue_final_message:
            conversation = _with_mark(conversation)
        given |= {
            "messages": conversation,
            "documents": _plain("documents", documents),
            "add_generation_prompt": add_generation_prompt and not continue_final_message,
        }
        schemas = None if tools is None else _plain("tools", _as_schemas(tools))
        try:
            text = run(self._template, tools=schemas, **given)
        except TemplateError as error:
            if not schemas or not all(isinstance(schema, dict) for schema in schemas):
                raise
            try:  # it may read what OpenAI's schema leaves out
                text = run(self._template, tools=[filled_tool(schema) for schema in schemas], **given)
            except TemplateError:
                raise error from None
        return _before_mark(text) if continue_final_message else text

    def syntax(self, **template_kwargs: Any) -> Syntax:
        """Return how the model writes what it answers, found out when it is first asked for."""
        key = repr(sorted(template_kwargs.items()))
        if key not in self._syntaxes:
            self._syntaxes[key] = dataclasses.replace(derive(self, **template_kwargs), **self._overrides)
        return self._syntaxes[key]

    def override(self, fields: Mapping[str, Any]) -> None:
        """Replace fields of the syntax, for a model that writes what its template does not show."""
        self._overrides = dict(fields)
        self._syntaxes.clear()

    def parse(
        self,
        text: str,
        tools: Sequence[Any] | None = None,
        partial: bool = False,
        continues: str | None = None,
        **template_kwargs: Any,
    ) -> dict[str, Any]:
        """Read back what `render` writes for an assistant's message, and what the model writes.

        Args:
            text: what follows the generation prompt; the end-of-turn marker may be there or not.
            tools: that the model was offered.
            partial: the text may go on: what could still become something else is left out.
            continues: content that the text goes on from, after continue_final_message.
            **template_kwargs: that the prompt was rendered with.

        Returns:
            OpenAI's message: role, content, and reasoning_content and tool_calls where there are any.
        """
        from .parser import parse

        syntax = self.syntax(**template_kwargs)
        return parse(syntax if continues is None else syntax.after(continues), text, tools=tools, partial=partial)

    def __repr__(self) -> str:
        return f"<ChatTemplate of {len(self.source)} characters>"


# -- what templates are given ------------------------------------------------------------------------------------------

_MARK = "THE_MODEL_GOES_ON_HERE "  # its space tells whether the template has trimmed the message


def _plain(name: str, value: Any) -> Any:
    """Copy a value as JSON's own types; a template could call the methods of others, such as Path.unlink."""
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {_plain(name, key): _plain(f"{name}[{key!r}]", inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_plain(f"{name}[{index}]", inner) for index, inner in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if callable(getattr(value, "model_dump", None)):  # a message of the openai package
        return _plain(name, value.model_dump(exclude_none=True))
    raise ValidationError(f"{name} is of type {type(value).__name__}; templates get what JSON has: text, numbers, ...")


def _as_schemas(tools: Sequence[Any]) -> list[Any]:
    return [tool_of(tool) if callable(tool) else tool for tool in tools]


def _functions(tools: Sequence[Any] | None) -> dict[str, str]:
    """Return the variables that FireFunction's template has in the place of tools."""
    listed = [tool["function"] for tool in _as_schemas(tools or [])]
    return {"functions": json.dumps(listed, indent=4), "datetime": time.strftime("%Y-%m-%d")}


def _with_reasoning(message: Any) -> Any:
    """Put an assistant's reasoning under each of the names that templates read it by."""
    if not isinstance(message, dict):
        raise ValidationError(f"messages must be dicts with role and content, got {message!r}")
    names = ("reasoning_content", "thinking", "reasoning")
    reasoning = next((message[name] for name in names if message.get(name) is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _with_mark(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    content = messages[-1].get("content") if messages else None
    if isinstance(content, str):
        return [*messages[:-1], {**messages[-1], "content": content + _MARK}]
    if isinstance(content, list) and content and isinstance(content[-1], dict) and "text" in content[-1]:
        part = {**content[-1], "text": content[-1]["text"] + _MARK}
        return [*messages[:-1], {**messages[-1], "content": [*content[:-1], part]}]
    raise ValidationError("continue_final_message needs a last message with text in its content")


def _before_mark(text: str) -> str:
    before, mark, after = text.rpartition(_MARK.rstrip())
    if not mark:
        raise TemplateError("the chat template does not write the last message, so that it can't be continued")
    return before if after.startswith(" ") else before.rstrip()
