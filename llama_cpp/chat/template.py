"""ChatTemplate: messages -> text, as the model's own Jinja template has it, in a sandbox with bounds."""

from __future__ import annotations

import datetime
import functools
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import LlamaError, TemplateError
from .syntax import Syntax, derive

if TYPE_CHECKING:
    from jinja2 import Template

MAX_SECONDS = 0.6  # of this thread's own time
MAX_LENGTH = 10_000_000  # characters of a text, items of a list

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

        Args:
            messages: dicts with role and content.
            tools: JSON Schemas in OpenAI's form.
            add_generation_prompt: end with what an answer begins with.
            **template_kwargs: what else the template knows, such as `enable_thinking` and `documents`.

        Raises:
            TemplateError: if the template fails, refuses the messages, takes too long or writes too much.
        """
        _budget.until = time.thread_time() + MAX_SECONDS
        pieces: list[str] = []
        length = 0
        try:
            for piece in self._template.generate(
                messages=list(messages),
                tools=list(tools) if tools else None,
                add_generation_prompt=add_generation_prompt,
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                **template_kwargs,
            ):
                length += len(piece)
                _check_length(length)
                pieces.append(piece)
        except LlamaError:
            raise
        except Exception as error:  # a template can come to anything that Python does
            raise TemplateError(f"the chat template failed: {type(error).__name__}: {error}") from None
        return "".join(pieces)

    def syntax(self, **template_kwargs: Any) -> Syntax:
        """Return how the model writes what it answers, found out when it is first asked for."""
        key = repr(sorted(template_kwargs.items()))
        if key not in self._syntaxes:
            self._syntaxes[key] = derive(self, **template_kwargs)
        return self._syntaxes[key]

    def parse(
        self, text: str, tools: Sequence[Any] | None = None, partial: bool = False, **template_kwargs: Any
    ) -> dict[str, Any]:
        """Read back what `render` writes for an assistant's message, and what the model writes.

        Args:
            text: what follows the generation prompt; the end-of-turn marker may be there or not.
            tools: that the model was offered.
            partial: the text may go on: what could still become something else is left out.
            **template_kwargs: that the prompt was rendered with.

        Returns:
            OpenAI's message: role, content, and reasoning_content and tool_calls where there are any.
        """
        from .parser import parse

        return parse(self, text, tools=tools, partial=partial, **template_kwargs)

    def __repr__(self) -> str:
        return f"<ChatTemplate of {len(self.source)} characters>"


# -- the sandbox -------------------------------------------------------------------------------------------------------

_budget = threading.local()
_WIDE = re.compile(r"\d{6,}|\*")  # a width in a format that makes a text of megabytes, or takes one from its arguments


def _tick() -> None:
    if time.thread_time() > _budget.until:
        raise TemplateError(f"the chat template did not come to its end in {MAX_SECONDS} s")


def _check_length(length: float) -> None:
    _tick()
    if length > MAX_LENGTH:
        raise TemplateError(f"the chat template made something longer than {MAX_LENGTH} characters or items")


def _check_binary(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result would be too large, before it is computed."""
    if operator == "*":
        for one, times in ((left, right), (right, left)):
            if isinstance(times, int) and hasattr(one, "__len__"):
                _check_length(len(one) * times)
        if isinstance(left, int) and isinstance(right, int):
            _check_length(left.bit_length() + right.bit_length())
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        _check_length(left.bit_length() * abs(right))
    elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
        _check_length(len(left) + len(right))
    elif operator == "%" and isinstance(left, str):
        _check_method("format", left, right if isinstance(right, tuple) else (right,))


def _check_method(name: str, text: str, arguments: Sequence[Any]) -> None:
    """Refuse a text's method that would make it too long."""
    if name in ("center", "ljust", "rjust", "zfill", "expandtabs", "indent", "wordwrap"):
        widths = [argument for argument in arguments if isinstance(argument, int)]
        lines = 1 + text.count("\n") + (text.count("\t") if name == "expandtabs" else 0)
        _check_length(len(text) + lines * max(widths, default=0))
    elif name in ("format", "format_map"):
        numbers = [argument for argument in arguments if isinstance(argument, int) and abs(argument) > MAX_LENGTH]
        if _WIDE.search(text) or (numbers and "{:{" in text):
            raise TemplateError("the chat template formats something wider than a chat could need")
    elif name == "replace" and len(arguments) >= 2:
        old, new = str(arguments[0]), str(arguments[1])
        _check_length(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    elif name == "join" and arguments and hasattr(arguments[0], "__len__"):
        _check_length(sum(len(str(item)) + len(text) for item in arguments[0]))


class _Counted:
    """What a loop goes over; each turn looks at the clock."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        for item in self._items:
            _tick()
            yield item


class _CountedSized(_Counted):
    def __len__(self) -> int:
        return len(self._items)  # type: ignore[arg-type]


def _counted(items: Any) -> Any:
    return _CountedSized(items) if hasattr(items, "__len__") else _Counted(items)


def _concatenated(items: list[Any]) -> str:
    texts = [str(item) for item in items]
    _check_length(sum(map(len, texts)))
    return "".join(texts)


@functools.cache
def _environment() -> Any:
    """Make the environment that all templates are compiled in: transformers' settings, and the bounds."""
    from jinja2 import filters, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.visitor import NodeTransformer

    class Generation(Extension):
        """{% generation %}: what is in it was written by the model, which matters where models are trained."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Bounds(NodeTransformer):
        """Puts counters into loops, and in the place of `~`, which no sandbox sees."""

        def visit_For(self, node: Any) -> Any:
            self.generic_visit(node)
            node.iter = nodes.Filter(node.iter, "_counted", [], [], None, None, lineno=node.lineno)
            return node

        def visit_Concat(self, node: Any) -> Any:
            self.generic_visit(node)
            items = nodes.List(node.nodes, lineno=node.lineno)
            return nodes.Filter(items, "_concatenated", [], [], None, None, lineno=node.lineno)

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**", "+", "%"})

        def _parse(self, source: str, name: Any, filename: Any) -> Any:
            return Bounds().visit(super()._parse(source, name, filename))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_binary(operator, left, right)
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
            _tick()
            if isinstance(getattr(obj, "__self__", None), str):
                _check_method(obj.__name__, obj.__self__, (*args, *kwargs.values()))
            return super().call(context, obj, *args, **kwargs)

    def bounded(name: str) -> Any:
        """Wrap a filter of Jinja's that can make a text much longer."""
        original = filters.FILTERS[name]

        @functools.wraps(original)
        def run(*args: Any, **kwargs: Any) -> Any:
            given = args[1:] if hasattr(original, "jinja_pass_arg") else args
            if name == "join":
                _check_method(name, str(given[1] if len(given) > 1 else ""), (list(given[0]),))
            else:
                _check_method(name, str(given[0]), (*given[1:], *kwargs.values()))
            return original(*args, **kwargs)

        return run

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    environment.filters.update({name: bounded(name) for name in ("center", "format", "indent", "replace")})
    environment.filters.update({"_counted": _counted, "_concatenated": _concatenated, "tojson": _tojson})
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _compile(source: str) -> Template:
    from jinja2 import TemplateSyntaxError

    _budget.until = time.thread_time() + MAX_SECONDS  # constants are folded while compiling
    try:
        template: Template = _environment().from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"this is no Jinja template: line {error.lineno}: {error.message}") from None
    except (RecursionError, MemoryError, OverflowError) as error:
        raise TemplateError(f"this chat template can't be compiled: {type(error).__name__}") from None
    return template


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    if isinstance(indent, int):
        _check_length(1000 * indent)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(f"the chat template refuses these messages: {message}")


def _strftime_now(format: str) -> str:
    return datetime.datetime.now().strftime(format)
