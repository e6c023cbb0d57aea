"""JSON Schema -> llguidance: what can be enforced exactly is, what can't is refused by name."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UnsupportedSchemaError, ValidationError

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

Status = Literal["enforced", "rewritten", "checked afterwards", "refused"]
Schema = Mapping[str, Any] | bool

DRAFT_7 = "http://json-schema.org/draft-07/schema"


@dataclass(frozen=True)
class Report:
    """How one keyword of a schema is dealt with.

    Attributes:
        keyword: its name.
        pointer: JSON pointer of its place in the schema.
        status: "enforced" while the text is generated; "rewritten" to what is enforced; "checked afterwards", when the
            text is complete; "refused".
    """

    keyword: str
    pointer: str
    status: Status


@dataclass(frozen=True)
class CompiledSchema:
    """A schema as llguidance takes it.

    Attributes:
        grammar: in llguidance's notation.
        exact: whether all that it accepts is valid.
        report: of each keyword.
    """

    grammar: str
    exact: bool
    report: tuple[Report, ...]


# Where a keyword's value holds schemas: itself, a list of them, or a mapping to them.
_ONE = {
    "additionalItems",
    "additionalProperties",
    "contains",
    "else",
    "if",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
}
_MANY = {"allOf", "anyOf", "oneOf", "prefixItems"}
_NAMED = {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}

# What llguidance enforces as the specification has it.
_ENFORCED = {
    "$defs",
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "definitions",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "required",
    "type",
}
_FORMATS = {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"}
# What concerns nobody who writes a document.
_ANNOTATIONS = {
    "$anchor",
    "$comment",
    "$id",
    "$schema",
    "$vocabulary",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "deprecated",
    "description",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
}
_KNOWN = (
    _ENFORCED
    | _ANNOTATIONS
    | _ONE
    | _NAMED
    | {
        "$dynamicAnchor",
        "$dynamicRef",
        "$recursiveAnchor",
        "$recursiveRef",
        "dependencies",
        "dependentRequired",
        "format",
        "maxContains",
        "minContains",
        "uniqueItems",
    }
)


def compile_schema(schema: Schema, *, whitespace: str | None = None, strict: bool = True) -> CompiledSchema:
    """Make a grammar of a schema.

    Args:
        schema: of draft 2020-12, or of draft 7 if its $schema says so.
        whitespace: regular expression of the whitespace between JSON tokens; None is any.
        strict: refuse what can't be enforced exactly.

    Raises:
        ValidationError: if it is no valid schema.
        UnsupportedSchemaError: for what can't be enforced.
    """
    check_schema(schema)
    report: list[Report] = []
    rewritten = _rewrite(schema, "", strict, report)
    grammar = _compile(rewritten, whitespace)
    exact = all(entry.status in ("enforced", "rewritten") for entry in report)
    return CompiledSchema(grammar, exact, tuple(report))


def check_schema(schema: Schema) -> None:
    """Refuse what is no schema.

    Raises:
        ValidationError: with the place and the reason.
    """
    import jsonschema

    kind = _validator_class(schema)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        pointer = "".join(f"/{_escape(str(step))}" for step in error.absolute_path)
        raise ValidationError(f"this is no valid JSON Schema: at {pointer or 'its top'}: {error.message}") from None


def check_instance(schema: Schema, text: str) -> str | None:
    """Validate a JSON text; return what is wrong with it, None if nothing is."""
    import jsonschema

    try:
        instance = json.loads(text)
    except ValueError as error:
        return f"it is no JSON: {error}"
    kind = _validator_class(schema)
    failure = jsonschema.exceptions.best_match(kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(instance))
    return None if failure is None else f"at {failure.json_path}: {failure.message}"


def _validator_class(schema: Schema) -> Any:
    import jsonschema

    name = str(schema.get("$schema", "")) if isinstance(schema, Mapping) else ""
    return jsonschema.Draft7Validator if name.rstrip("#") == DRAFT_7 else jsonschema.Draft202012Validator


def _rewrite(schema: Any, pointer: str, strict: bool, report: list[Report]) -> Any:
    """Return a schema that llguidance takes, and note what became of each keyword."""
    if not isinstance(schema, Mapping):
        return schema
    result: dict[str, Any] = {}
    for keyword, value in schema.items():
        place = f"{pointer}/{_escape(keyword)}"
        if keyword in _ANNOTATIONS or keyword not in _KNOWN:
            if keyword in ("$schema", "$id", "$anchor"):
                result[keyword] = value
            continue
        if keyword == "format" and value not in _FORMATS:
            continue  # the specification makes it an annotation
        if keyword not in _ENFORCED and keyword != "format":
            _refuse(keyword, place, strict, report)
            continue
        report.append(Report(keyword, place, "enforced"))
        result[keyword] = _rewrite_inside(keyword, value, place, strict, report)
    return result


def _rewrite_inside(keyword: str, value: Any, place: str, strict: bool, report: list[Report]) -> Any:
    if keyword in _NAMED:
        return {name: _rewrite(inner, f"{place}/{_escape(name)}", strict, report) for name, inner in value.items()}
    if keyword in _MANY or (keyword == "items" and isinstance(value, list)):
        return [_rewrite(inner, f"{place}/{index}", strict, report) for index, inner in enumerate(value)]
    if keyword in _ONE or keyword == "items":
        return _rewrite(value, place, strict, report)
    return value


def _refuse(keyword: str, pointer: str, strict: bool, report: list[Report]) -> None:
    if strict:
        raise UnsupportedSchemaError(
            f"{keyword} at {pointer} can't be enforced exactly; leave it out, or use strict=False, which validates the "
            "finished text instead",
            keyword=keyword,
            pointer=pointer,
        )
    report.append(Report(keyword, pointer, "checked afterwards"))


def _compile(schema: Any, whitespace: str | None) -> str:
    from llguidance import LLMatcher

    options: JsonCompileOptions = {"whitespace_flexible": whitespace is None or bool(whitespace)}
    if whitespace:
        options["whitespace_pattern"] = whitespace
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=options)
    is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    if is_error:
        keyword = _keyword_of(messages[0])
        raise UnsupportedSchemaError(
            f"this schema can't be enforced: {' '.join(messages[0].split())[:300]}", keyword=keyword, pointer=""
        )
    return str(grammar)


def _keyword_of(message: str) -> str:
    """Return the keyword that llguidance complains of, "" if it names none."""
    return next((word for word in re.findall(r"[$A-Za-z]+", message) if word in _KNOWN), "")


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


# -- schemas of Python types -------------------------------------------------------------------------------------------


def schema_of(source: Any) -> Schema:
    """Return the schema that a dict, a JSON text, a bool, a pydantic model or a dataclass type stands for.

    Raises:
        ValidationError: if it is none of them.
    """
    if isinstance(source, bool):
        return source
    if isinstance(source, Mapping):
        return dict(source)
    if isinstance(source, str):
        try:
            value = json.loads(source)
        except ValueError as error:
            raise ValidationError(f"the schema is no JSON: {error}") from None
        if isinstance(value, (dict, bool)):
            return value
    elif callable(getattr(source, "model_json_schema", None)):
        return dict(source.model_json_schema())
    elif isinstance(source, type) and dataclasses.is_dataclass(source):
        return _schema_of_type(source)
    raise ValidationError(
        f"a schema is a dict, a JSON text of an object, a bool, a pydantic model or a dataclass type; got {source!r}"
    )


def _schema_of_type(kind: Any) -> dict[str, Any]:
    """Return the schema of an annotation."""
    simple = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", None: "null"}
    if kind is Any:
        return {}
    if kind in simple:
        return {"type": simple[kind]}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _schema_of_type(arguments[0])
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema_of_type(argument) for argument in arguments]}
    if kind in (list, tuple, set) or origin in (list, set):
        return {"type": "array", **({"items": _schema_of_type(arguments[0])} if arguments else {})}
    if origin is tuple:
        return {
            "type": "array",
            "prefixItems": [_schema_of_type(argument) for argument in arguments],
            "items": False,
            "minItems": len(arguments),
        }
    if kind is dict or origin is dict:
        return {"type": "object", **({"additionalProperties": _schema_of_type(arguments[1])} if arguments else {})}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _schema_of_dataclass(kind)
    raise ValidationError(f"there is no JSON Schema for the annotation {kind!r}")


def _schema_of_dataclass(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    fields = dataclasses.fields(kind)
    missing = dataclasses.MISSING
    return {
        "type": "object",
        "properties": {field.name: _schema_of_type(hints[field.name]) for field in fields},
        "required": [f.name for f in fields if f.default is missing and f.default_factory is missing],
        "additionalProperties": False,
    }
