"""The sandbox that chat templates run in: Jinja with transformers' settings, and bounds on time and size."""

from __future__ import annotations

import datetime
import functools
import itertools
import json
import re
import string
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import LlamaError, TemplateError

if TYPE_CHECKING:
    from jinja2 import Template

MAX_SECONDS = 0.4  # of this thread's own time; as much again for each million characters of what is rendered
MAX_SOURCE = 100_000  # characters of a template; the longest ones known have 20,000
MAX_SIZE = 10_000_000  # characters of one value, see _size
MAX_TOTAL = 200_000_000  # characters of all values that a rendering makes

# -- bounds ------------------------------------------------------------------------------------------------------------

# A template comes with the model, from a stranger. Python code can be interrupted by nothing but itself, so each loop,
# call, filter and test looks at the clock, and what could take long inside of C is refused before, by its size.

_ITEM = 50  # characters that an item of a list counts as, by the time that it takes to go over it
_CONTAINERS: tuple[Any, ...] = (list, tuple, set, dict, type({}.keys()), type({}.values()), type({}.items()))
_BITS = 10_000  # of an int
_TICKS = 30  # between two looks at the clock
_SLOW_TEXT = 50_000  # characters for a filter that is slow or quadratic
_SLOW = {"pprint", "striptags", "title", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"}
_ITERATING = {"batch", "groupby", "list", "map", "max", "min", "slice", "sort", "sum", "unique"}
_CHANGING = {"append", "clear", "extend", "insert", "pop", "popitem", "remove", "reverse", "setdefault", "update"}
_PRINTF = re.compile(r"%(?:\([^()]*\))?[-+ #0]*(\*|\d*)(?:\.(\*|\d*))?")


class _Budget(threading.local):
    """What the rendering in this thread may still take.

    Attributes:
        until: the thread's time at which it is over.
        ticks: until the next look at the clock, which costs more than most of what a template does.
        left: characters that it may still make.
        sizes: values and their sizes by id; that they are held here keeps the ids theirs.
        own: by id, what the template has made itself and may change, with the values that hold it, once for each time
            that they do: their sizes change with its own. Once something holds it that is not known here, it stays as
            it is, with all that is in it.
    """

    def __init__(self) -> None:
        self.sizes: dict[int, tuple[Any, int]] = {}
        self.own: dict[int, tuple[Any, list[Any]]] = {}
        self.begin()

    def begin(self) -> None:
        self.ticks = 0
        self.left = MAX_TOTAL
        self.clear()
        self.until = time.thread_time() + MAX_SECONDS

    def clear(self) -> None:
        """Let go of the values."""
        self.sizes.clear()
        self.own.clear()


_budget = _Budget()


def _tick(cost: int = 1) -> None:
    _budget.ticks -= cost
    if _budget.ticks < 0:
        _budget.ticks = _TICKS
        if time.thread_time() > _budget.until:
            raise TemplateError(
                f"the chat template did not come to its end in {MAX_SECONDS} s for a million characters"
            )


def _reserve(size: int) -> None:
    """Refuse a value that is larger than any chat needs."""
    _tick(1 + size // 10_000)
    if size > MAX_SIZE:
        raise TemplateError(f"the chat template makes a text or list of {size} characters, the most are {MAX_SIZE}")


def _check_bits(bits: int) -> None:
    if bits > _BITS:
        raise TemplateError(f"the chat template computes a number of {bits} bits, the most are {_BITS}")


def _size(value: Any) -> int:
    """Return about how many characters a value is written with: what a list holds twice counts twice."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if not isinstance(value, _CONTAINERS):
        return 1
    if len(value) * _ITEM > MAX_SIZE:
        return len(value) * _ITEM
    known = _budget.sizes.get(id(value))
    if known is None:
        _tick()
        items = itertools.chain(value, value.values()) if isinstance(value, dict) else value
        known = _budget.sizes[id(value)] = (value, sum(_ITEM + _size(item) for item in items))
    return known[1]


def _made(value: Any) -> Any:
    """Count what a template has made."""
    if isinstance(value, GeneratorType):
        return _ticking(value)
    if id(value) not in _budget.own:
        if _budget.own and isinstance(value, _CONTAINERS):
            _freeze(_items(value))
        _count(value)
    return value


def _count(value: Any) -> None:
    if isinstance(value, int):
        _check_bits(value.bit_length())
    size = _size(value)
    _reserve(size)
    _budget.left -= size
    if _budget.left < 0:
        raise TemplateError(f"the chat template makes more than {MAX_TOTAL} characters on its way")


def _own(value: Any) -> Any:
    """Count a value that nothing holds yet, and let the template change it if it is a list or dict."""
    _made(value)
    if isinstance(value, (list, dict)):
        _budget.own[id(value)] = (value, [])
    return value


def _literal(context: Any, value: Any) -> Any:
    """Count what a template has written as a list, tuple or dict, and let it change that and what is in it."""
    for item in _items(value):
        if id(item) in _budget.own:
            _budget.own[id(item)][1].append(value)
    _count(value)
    _budget.own[id(value)] = (value, [])
    return value


def _items(value: Any) -> Iterable[Any]:
    return itertools.chain(value, value.values()) if isinstance(value, dict) else value


def _freeze(values: Iterable[Any]) -> None:
    """Let values stay as they are, with all that is in them."""
    for value in values:
        if _budget.own.pop(id(value), None) is not None:
            _freeze(_items(value))


def _change(method: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call a method that changes one of the template's own lists or dicts."""
    value = method.__self__
    if id(value) not in _budget.own:
        raise TemplateError(
            f"the chat template changes a {type(value).__name__} by {method.__name__}, which it may only do to what it "
            "has made itself"
        )
    if method.__name__ in ("extend", "update"):
        args = [one if isinstance(one, dict) else list(_ticking(one)) for one in args]
        _freeze(itertools.chain.from_iterable(map(_items, args)))
    given = (*args, *kwargs.values())
    for one in given:
        if id(one) in _budget.own:
            if _holds(one, value):
                raise TemplateError("the chat template puts a list or dict into itself")
            _budget.own[id(one)][1].append(value)
    growth = _ITEM * len(given) + sum(map(_size, given))
    _grow(value, growth)
    _budget.left -= growth
    return method(*args, **kwargs)


def _holds(one: Any, value: Any) -> bool:
    """Tell whether a value is, or is in, one of the template's own."""
    _tick()
    return value is one or any(_holds(one, holder) for holder in _budget.own.get(id(value), (value, []))[1])


def _grow(value: Any, growth: int) -> None:
    """Add to a value's size, and to the sizes of all that hold it; what is taken out of it stays counted."""
    size = _size(value) + growth
    _reserve(size)
    _budget.sizes[id(value)] = (value, size)
    for holder in _budget.own.get(id(value), (value, []))[1]:
        _grow(holder, growth)


def _ticking(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _tick()
        yield item


def _joined(parts: Iterable[Any]) -> str:
    texts = [str(part) for part in _ticking(parts)]
    _reserve(sum(map(len, texts)))
    text: str = _made("".join(texts))
    return text


def _check_binary(operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result would be too large."""
    if isinstance(left, int) and isinstance(right, int):
        if operator == "*":
            _check_bits(left.bit_length() + right.bit_length())
        elif operator == "**":
            _check_bits(left.bit_length() * abs(right))
    elif operator == "*":
        sequence, times = (right, left) if isinstance(left, int) else (left, right)
        if isinstance(times, int):
            _reserve(_size(sequence) * times)
    elif operator == "+":
        _reserve(_size(left) + _size(right))
    elif operator == "%" and isinstance(left, (str, bytes)):
        _check_printf(left, right if isinstance(right, tuple) else (right,))


def _check_growth(name: str, value: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse a filter, or a method of a text or number, that would make too much of it.

    Args:
        name: of the filter or method.
        value: what it is applied to.
        args, kwargs: its arguments.
    """
    given = (*args, *kwargs.values())
    if name in _SLOW and _size(value) > _SLOW_TEXT:
        raise TemplateError(f"the chat template applies {name} to more than {_SLOW_TEXT} characters")
    if name in ("format", "format_map"):
        _check_format(value, given)
    elif name == "replace":
        _check_replace(value, *args[:2], **kwargs)
    elif name == "join":
        _reserve(_size(args[0]) + _size(value) * len(args[0]))
    elif name in ("encode", "decode"):
        if not {str(codec).lower() for codec in given} <= {"utf-8", "utf8", "ascii", "strict", "ignore", "replace"}:
            raise TemplateError(f"the chat template uses the codec {given!r}; some take forever, known is utf-8")
    elif name == "round":
        _check_bits(max((4 * abs(digits) for digits in given if isinstance(digits, int)), default=0))
    else:
        places = _places(name, value)
        if places and given:
            _reserve(_size(value) + places * max(map(_width, given)))


def _places(name: str, value: Any) -> int:
    """Return how often a filter or method writes its widest argument."""
    if name in ("batch", "center", "ljust", "rjust", "slice", "to_bytes", "zfill"):
        return 1
    if name == "indent":
        return 1 + str(value).count("\n")
    if name in ("expandtabs", "translate", "wordwrap"):
        return len(value)
    if name in ("strip", "lstrip", "rstrip", "trim", "rfind", "rindex", "rpartition", "rsplit"):
        return len(str(value)) // 16  # these compare their argument at every place
    return 0


def _width(argument: Any) -> int:
    return abs(argument) if isinstance(argument, int) else _size(argument)


def _check_replace(text: Any, old: Any = "", new: Any = "", *_: Any, **kwargs: Any) -> None:
    text, old, new = (one if isinstance(one, (str, bytes)) else str(one) for one in (text, old, new))
    times = len(text) + 1 if kwargs or not old else text.count(old)
    _reserve(len(text) + times * max(len(new), *map(_size, kwargs.values()), 0))


def _check_printf(text: str | bytes, values: Sequence[Any]) -> None:
    """Refuse `%` where its fields are too wide, or too many for what is written into them."""
    shape = text.decode("latin-1") if isinstance(text, bytes) else text
    found = list(_PRINTF.finditer(shape))
    if shape.count("%(") > sum(match[0].startswith("%(") for match in found):
        raise TemplateError(f"the chat template has a name with parentheses in the format {shape[:80]!r}")
    _check_fields(shape, values, [width for match in found for width in match.groups(default="")])


def _check_format(text: str, values: Sequence[Any]) -> None:
    """Refuse `str.format` where its fields are too wide, or too many for what is written into them."""
    fields = [(field, spec or "") for _, field, spec, _ in string.Formatter().parse(text) if field is not None]
    if any("." in field or "{" in spec for field, spec in fields):
        raise TemplateError(f"the chat template has an attribute or a computed width in the format {text[:80]!r}")
    _check_fields(text, values, [max(re.findall(r"\d+", spec), key=int, default="") for _, spec in fields])


def _check_fields(text: str, values: Sequence[Any], widths: Sequence[str]) -> None:
    """Check widths of fields: texts of numbers, "*" for one of the values, or "" for none."""
    given = max((_width(value) for value in values), default=0) if "*" in widths else 0
    wide = sum(given if width == "*" else int(width or 0) for width in widths)
    _reserve(len(text) + wide + len(widths) * max(map(_size, values), default=0))


# -- the sandbox -------------------------------------------------------------------------------------------------------


@functools.cache
def _environment() -> Any:
    """Make the environment that all templates are compiled in: transformers' settings, and the bounds."""
    from jinja2 import nodes, pass_context
    from jinja2.compiler import CodeGenerator
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.runtime import Macro
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace
    from jinja2.visitor import NodeTransformer

    class Generation(Extension):
        """{% generation %}: what is in it was written by the model, which matters where models are trained."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    class Bounds(NodeTransformer):
        """Puts filters that count around what no hook of the sandbox sees."""

        def visit_For(self, node: Any) -> Any:
            self.generic_visit(node)
            node.iter = self._filtered(node.iter, "_ticking")
            return node

        def visit_Concat(self, node: Any) -> Any:
            self.generic_visit(node)
            return self._filtered(nodes.List(node.nodes, lineno=node.lineno), "_joined")

        def visit_List(self, node: Any) -> Any:
            self.generic_visit(node)
            is_target = isinstance(node, nodes.Tuple) and node.ctx != "load"
            return node if is_target else self._filtered(node, "_literal")

        visit_Tuple = visit_Dict = visit_List

        def visit_Getitem(self, node: Any) -> Any:
            self.generic_visit(node)
            return self._filtered(node, "_own") if isinstance(node.arg, nodes.Slice) else node

        def _filtered(self, node: Any, name: str) -> Any:
            return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    class TickingParser(Parser):
        def parse_unary(self, with_filter: bool = True) -> Any:
            _tick()
            return super().parse_unary(with_filter)

    class TickingGenerator(CodeGenerator):
        def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
            _tick()
            return super().visit(node, *args, **kwargs)

    class Names(Namespace):
        """Jinja's namespace(); it writes nothing of what it holds, which no size is known of."""

        def __setitem__(self, name: str, value: Any) -> None:
            if name.startswith("_"):
                raise SecurityError(f"a namespace has no attribute {name!r}")
            super().__setitem__(name, value)

        def __repr__(self) -> str:
            return "<Namespace>"

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**", "+", "%"})
        code_generator_class = TickingGenerator
        concat = staticmethod(_joined)

        def _parse(self, source: str, name: Any, filename: Any) -> Any:
            return Bounds().visit(TickingParser(self, source, name, filename).parse())

        def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
            if attribute.startswith("_"):
                raise SecurityError(f"access to {attribute!r} of a {type(obj).__name__}")
            return super().unsafe_undefined(obj, attribute)

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            _check_binary(operator, left, right)
            return _own(super().call_binop(context, operator, left, right))

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            is_own = attr in _CHANGING and id(obj) in _budget.own
            return is_own or super().is_safe_attribute(obj, attr, value)

        def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            method = getattr(function, "__wrapped__", function)  # Jinja wraps str.format
            owner = getattr(method, "__self__", None)
            if isinstance(owner, (list, dict)) and method.__name__ in _CHANGING:
                named = {name: value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars")}
                return _change(method, args, named)
            is_macro = isinstance(function, Macro) and not (function.catch_varargs or function.catch_kwargs)
            if not is_macro and function is not Names:
                _freeze((*args, *kwargs.values()))
            if isinstance(owner, (str, bytes, int)):
                if method.__name__ == "join" and args:
                    args = (list(_ticking(args[0])), *args[1:])
                _check_growth(method.__name__, owner, args, kwargs)
            else:
                _reserve(sum(map(_size, (*args, *kwargs.values()))))  # a macro has them as one list, varargs
            made = super().call(context, function, *args, **kwargs)
            return _own(made) if isinstance(owner, str) or function is environment.globals["dict"] else _made(made)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation])
    environment.filters["tojson"] = _tojson
    environment.filters = {name: _bounded(name, original) for name, original in environment.filters.items()}
    own = {"_literal": pass_context(_literal), "_own": _own}  # in a context, they are not called at compile time
    environment.filters.update({"_ticking": _ticking, "_joined": _joined, **own})
    environment.tests = {name: _timed(test) for name, test in environment.tests.items()}
    environment.globals.update(
        dict=lambda *args, **kwargs: dict(*args, **kwargs),  # without the type's own methods, which change dicts
        namespace=Names,
        raise_exception=_raise_exception,
        strftime_now=_strftime_now,
    )
    del environment.globals["lipsum"]  # writes any number of random words
    return environment


def _bounded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter of Jinja's in the bounds."""
    n_passed = 1 if hasattr(original, "jinja_pass_arg") else 0

    @functools.wraps(original)
    def run(*args: Any, **kwargs: Any) -> Any:
        passed, value, given = args[:n_passed], args[n_passed], args[n_passed + 1 :]
        if name not in ("d", "default"):  # which may return what it is given
            _freeze((*given, *kwargs.values()))
        if name == "join":
            value, given, kwargs = _join_arguments(passed[0], value, *given, **kwargs)
            _check_growth(name, given[0], (value,), {})
        else:
            _check_growth(name, value, given, kwargs)
        if name in _ITERATING and isinstance(value, (str, list, tuple)):
            value = _ticking(value)
        made = original(*passed, value, *given, **kwargs)
        return _own(made) if name == "list" else _made(made)

    return run


def _join_arguments(context: Any, value: Any, d: Any = "", attribute: Any = None) -> tuple[list[Any], Any, Any]:
    from jinja2.filters import make_attrgetter

    items = _ticking(value)
    if attribute is not None:
        items = map(make_attrgetter(context.environment, attribute), items)
    return list(items), (str(d),), {}


def _timed(original: Any) -> Any:
    @functools.wraps(original)
    def run(*args: Any, **kwargs: Any) -> Any:
        _tick()
        return original(*args, **kwargs)

    return run


def run(template: Template, **variables: Any) -> str:
    """Render a compiled template.

    Raises:
        TemplateError: if it fails, refuses the messages, takes too long or writes too much.
    """
    pieces: list[str] = []
    length = 0
    try:
        _budget.begin()
        _budget.until += MAX_SECONDS * _size(variables) / 1e6
        for piece in template.generate(**variables):
            length += len(piece)
            _reserve(length)
            pieces.append(piece)
    except LlamaError:
        raise
    except Exception as error:  # a template can come to anything that Python does
        raise TemplateError(f"the chat template failed: {type(error).__name__}: {error}") from None
    finally:
        _budget.clear()
    return "".join(pieces)


def compile_template(source: str) -> Template:
    """Compile a template's source.

    Raises:
        TemplateError: if it is no Jinja, or too long.
    """
    from jinja2 import TemplateSyntaxError

    if len(source) > MAX_SOURCE:
        raise TemplateError(f"the chat template has {len(source)} characters, the most are {MAX_SOURCE}")
    environment = _environment()
    _budget.begin()
    try:
        template: Template = environment.from_string(source)
    except TemplateSyntaxError as error:
        raise TemplateError(f"this is no Jinja template: line {error.lineno}: {error.message}") from None
    except LlamaError:
        raise
    except Exception as error:  # what Jinja lets through is refused by Python, such as loops in 20 loops
        raise TemplateError(f"this chat template can't be compiled: {type(error).__name__}: {error}") from None
    return template


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    if max(map(_width, (indent, *(separators or ())))) > 100:
        raise TemplateError("the chat template writes JSON with an indent or separator of more than 100 characters")
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    if indent is None:
        return encoder.encode(value)
    return _joined(_bounded_pieces(encoder.iterencode(value)))


def _bounded_pieces(pieces: Iterable[str]) -> Iterator[str]:
    length = 0
    for piece in pieces:
        length += len(piece)
        _reserve(length)
        yield piece


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(f"the chat template refuses these messages: {message}")


def _strftime_now(format: str) -> str:
    _reserve(256 * len(format))  # what Python tries until it gives up
    return datetime.datetime.now().strftime(format)
