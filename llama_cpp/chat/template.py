"""ChatTemplate: messages -> text, as the model's own Jinja template has it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import LlamaError, TemplateError
from .syntax import Syntax, derive

if TYPE_CHECKING:
    from jinja2 import Template


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
        TemplateError: if it is no Jinja.
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self.source = source
        self.bos_token = bos_token
        self.eos_token = eos_token
        self._template = _compile(source)
        self._syntaxes: dict[str, Syntax] = {}

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
        try:
            return self._template.render(
                messages=list(messages),
                tools=list(tools) if tools else None,
                add_generation_prompt=add_generation_prompt,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                **template_kwargs,
            )
        except LlamaError:
            raise
        except Exception as error:  # a template can come to anything that Python does
            raise TemplateError(f"the chat template failed: {type(error).__name__}: {error}") from None

    def syntax(self, **template_kwargs: Any) -> Syntax:
        """Return how the model writes what it answers, found out when it is first asked for."""
        key = repr(sorted(template_kwargs.items()))
        if key not in self._syntaxes:
            self._syntaxes[key] = derive(self, **template_kwargs)
        return self._syntaxes[key]

    def parse(self, text: str, tools: Sequence[Any] | None = None, partial: bool = False, **kwargs: Any) -> Any:
        """Read a message back."""
        from .parser import parse

        return parse(self, text, tools=tools, partial=partial, **kwargs)


def _compile(source: str) -> Template:
    from jinja2 import TemplateSyntaxError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """{% generation %}: what is in it was written by the model, which matters where models are trained."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
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
