"""JSON Schema -> llguidance: what can be enforced exactly is, what can't is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import UnsupportedSchemaError, ValidationError
from ..json_types import is_object_type, schema_of_type
from .matching import byte_tokenizer, empty_terminals, error_of, new_matcher
from .metaschema import is_well_formed
from .report import Report

Schema = Mapping[str, Any] | bool

_DRAFTS = {
    "https://json-schema.org/draft/2020-12/schema": "Draft202012Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
}
NOTHING = "start: NOTHING\nNOTHING: /a/ & /b/"  # for schemas that no document satisfies
LARGE = 100_000  # characters of a grammar that llguidance may refuse


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


def compile_schema(schema: Schema, *, whitespace: str | None = None, strict: bool = True) -> CompiledSchema:
    """Make a grammar of a schema.

    Args:
        schema: of draft 2020-12, or of draft 7 if its $schema says so.
        whitespace: regular expression of the whitespace between JSON tokens; None is any.
        strict: refuse what can't be enforced exactly.

    Raises:
        ValidationError: if it is no valid schema, or the whitespace is something else.
        UnsupportedSchemaError: for what can't be enforced.
    """
    from .keywords import Schemas
    from .lark import Grammar
    from .shapes import Shapes

    check_schema(schema, strict=strict)
    _check_whitespace(whitespace)
    try:
        schemas = Schemas(schema, _validator_class(schema), strict)
        text = Grammar(Shapes(schemas), whitespace).text([schemas.root])
    except RecursionError:
        raise UnsupportedSchemaError("this schema can't be enforced: its parts are nested too deeply") from None
    grammar = NOTHING if text is None else text
    if len(grammar) > LARGE:
        _check_size(grammar)
    report = tuple(Report(keyword, pointer, status) for (keyword, pointer), status in schemas.report.items())
    exact = all(entry.status != "checked afterwards" for entry in report)
    return CompiledSchema(grammar, exact, report)


def _check_size(grammar: str) -> None:
    matcher = new_matcher(byte_tokenizer(), grammar)
    if matcher.is_error():
        raise UnsupportedSchemaError(f"this schema can't be enforced: {error_of(matcher)}")


def check_schema(schema: Schema, *, strict: bool = True) -> None:
    """Refuse what is no schema.

    Args:
        schema: anything.
        strict: refuse patterns that Python's re can't read, which another validator may be able to.

    Raises:
        UnsupportedSchemaError: for such a pattern.
        ValidationError: with the place and the reason.
    """
    import jsonschema

    kind = _validator_class(schema)
    try:
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()  # neither NaN nor lone surrogates
        if not is_well_formed(schema, kind):
            kind.check_schema(schema, kind.FORMAT_CHECKER if strict else jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        pointer = "".join(f"/{_escape(str(step))}" for step in error.absolute_path)
        if error.validator == "format":
            reason = (
                f"Python's re can't read the pattern {error.instance!r}; write \\p{{...}} as ranges, [A-Za-zÀ-ÿ] say"
            )
            raise UnsupportedSchemaError(f"{pointer}: {reason}", keyword="pattern", pointer=pointer) from None
        raise ValidationError(f"this is no valid JSON Schema: at {pointer or 'its top'}: {error.message}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"this is no valid JSON Schema: {error}") from None


def check_instance(schema: Schema, text: str) -> str | None:
    """Validate a JSON text; return what is wrong with it, None if nothing is."""
    import jsonschema
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable

    try:
        instance = json.loads(text)
    except ValueError as error:
        return f"it is no JSON: {error}"
    kind = _validator_class(schema)
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER, registry=REGISTRY)  # which fetches nothing
    try:
        failure = jsonschema.exceptions.best_match(validator.iter_errors(instance))
    except Unresolvable as error:
        return f"it can't be validated: {error.ref!r} leads nowhere in the schema"
    except re.error as error:
        return f"it can't be validated: Python's re can't read the pattern {error.pattern!r}"
    return None if failure is None else f"at {failure.json_path}: {failure.message}"


def _validator_class(schema: Schema) -> Any:
    import jsonschema

    name = schema.get("$schema", next(iter(_DRAFTS))) if isinstance(schema, Mapping) else next(iter(_DRAFTS))
    draft = _DRAFTS.get(name.rstrip("#")) if isinstance(name, str) else None
    if draft is None:
        raise UnsupportedSchemaError(
            f"$schema is {name!r}, but the drafts that are known are {' and '.join(_DRAFTS)}",
            keyword="$schema",
            pointer="/$schema",
        )
    return getattr(jsonschema, draft)


def _check_whitespace(whitespace: str | None) -> None:
    """Refuse a pattern that matches something else than whitespace.

    Raises:
        ValidationError: if it does, or is no pattern.
    """
    from llguidance import LLMatcher

    if not whitespace:
        return
    pattern = whitespace.replace("/", r"\/")
    grammar = LLMatcher.grammar_from_lark(f"start: WHITESPACE\nWHITESPACE: /{pattern}/")
    matcher = new_matcher(byte_tokenizer(), grammar)
    if matcher.is_error():
        raise ValidationError(f"whitespace is no regular expression: {error_of(matcher)}")
    if not empty_terminals({"OTHER": rf"/{pattern}/ & ~(/[ \t\n\r]*/)"}):
        raise ValidationError(f"whitespace={whitespace!r} matches more than blanks, tabs and newlines")


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def schema_of(source: Any) -> Schema:
    """Return the schema that a dict, a JSON text, a bool, or the type of a dataclass, TypedDict or pydantic model says.

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
    elif is_object_type(source):
        return schema_of_type(source, exact=True)
    raise ValidationError(
        "a schema is a dict, a JSON text of an object, a bool, a pydantic model, or the type of a dataclass or "
        f"TypedDict; got {source!r}"
    )
