"""ChatTemplate: messages -> text, as the model's own Jinja template has it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import TemplateError

if TYPE_CHECKING:
    from jinja2 import Template


class ChatTemplate:
    """A chat template, compiled once.

    Args:
        source: Jinja source, such as a GGUF's tokenizer.chat_template.
        bos_token, eos_token: texts of the tokens, which templates write.

    Raises:
        TemplateError: if it is no Jinja.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        self._template = _compile(source)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Any] | None = None,
        add_generation_prompt: bool = True,
        **template_kwargs: Any,
    ) -> str:
        """Write messages as the model wants to read them.

        Raises:
            TemplateError: if the template fails.
        """
        from jinja2 import TemplateError as JinjaError

        try:
            return self._template.render(
                messages=list(messages),
                tools=list(tools) if tools else None,
                add_generation_prompt=add_generation_prompt,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                **template_kwargs,
            )
        except (JinjaError, TypeError, ValueError, AttributeError, LookupError) as error:
            raise TemplateError(f"the chat template failed: {error}") from None

    def parse(self, text: str, tools: Sequence[Any] | None = None, partial: bool = False, **kwargs: Any) -> Any:
        """Read a message back."""
        from .parser import parse

        return parse(self, text, tools=tools, partial=partial, **kwargs)


def _compile(source: str) -> Template:
    from jinja2 import TemplateSyntaxError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    try:
        return environment.from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"this is no Jinja template: line {error.lineno}: {error.message}") from None


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(f"the chat template refuses these messages: {message}")


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)
