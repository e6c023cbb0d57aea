"""JSON Schema -> llguidance: what can be enforced exactly is, what can't is refused by name."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import UnsupportedSchemaError, ValidationError
from ...json_types import is_object_type, schema_of_type
from ..matching import byte_tokenizer, empty_terminals, error_of, new_matcher
from .drafts import IN_LIST, IN_VALUE, IN_VALUES, draft_of, modernized, warn_of_unknown_draft
from .ecma import PatternError, python_pattern
from .report import Report

Schema = Mapping[str, Any] | bool

NOTHING = "start: NOTHING\nNOTHING: /a/ & /b/"  # for schemas that no document satisfies
LARGE = 100_000  # characters of a grammar that llguidance may refuse
MAX_TEXT = 2_000_000  # characters of a schema
MAX_COMPILED = 256  # schemas that are kept


@dataclass(frozen=True)
class CompiledSchema:
    """A schema as llguidance takes it.

    Attributes:
        grammar: in llguidance's notation.
        checks: what is checked at the ends of values in a text, as `Checks.dumps` writes it; None if nothing is.
        exact: whether all that both accept is valid.
        report: of each keyword.
    """

    grammar: str
    checks: str | None
    exact: bool
    report: tuple[Report, ...]


def compile_schema(
    schema: Schema,
    *,
    whitespace: str | None = None,
    strict: bool = True,
    resources: Mapping[str, Schema] | None = None,
    checked: bool = False,
) -> CompiledSchema:
    """Make a grammar of a schema; the last ones are kept, by their contents.

    Args:
        schema: of draft 4, 6, 7, 2019-09 or 2020-12, as its $schema says.
        whitespace: regular expression of the whitespace between JSON tokens; None is that of tidy documents.
        strict: refuse what can't be enforced exactly.
        resources: schemas that references lead to, by their URIs; nothing else is looked up.
        checked: whether the ends of values can be checked while a text is written; else what would need that can't be
            enforced.

    Raises:
        ValidationError: if it is no valid schema, or the whitespace is something else.
        UnsupportedSchemaError: for what can't be enforced.
    """
    warn_of_unknown_draft(schema)
    return _compiled(text_of(schema), whitespace, strict, resources_text(resources), checked)


@functools.lru_cache(MAX_COMPILED)
def _compiled(text: str, whitespace: str | None, strict: bool, resources: str | None, checked: bool) -> CompiledSchema:
    from .lark import MAX_RULES

    _check_whitespace(whitespace)
    schema = json.loads(text)
    for max_rules in (MAX_RULES, MAX_RULES // 4, MAX_RULES // 16):
        try:
            made, problem = _written(schema, whitespace, strict, _registry(resources), checked, max_rules)
        except RecursionError:
            raise UnsupportedSchemaError("this schema can't be enforced: its parts are nested too deeply") from None
        if problem is None:
            return made
        if strict:
            break  # else, more of it is checked afterwards
    raise UnsupportedSchemaError(f"this schema can't be enforced: {problem}; split it, or simplify it")


def _written(
    schema: Schema, whitespace: str | None, strict: bool, registry: Any, checked: bool, max_rules: int
) -> tuple[CompiledSchema, str | None]:
    """Return a compiled schema, and what is wrong with its size."""
    from .keywords import Schemas
    from .lark import Grammar
    from .shapes import Shapes

    schemas = Schemas(schema, draft_of(schema), registry, strict)
    writer = Grammar(Shapes(schemas), whitespace, checked, max_rules)
    lines, checks = writer.text([schemas.root]), writer.checks()
    grammar = NOTHING if lines is None else lines
    report = tuple(Report(keyword, pointer, status) for (keyword, pointer), status in schemas.report.items())
    exact = all(entry.status != "checked afterwards" for entry in report)
    made = CompiledSchema(grammar, None if checks is None else checks.dumps(), exact, report)
    return made, _problem(grammar) if len(grammar) > LARGE else None


def _problem(grammar: str) -> str | None:
    """Return why llguidance refuses a grammar, None if it does not."""
    matcher = new_matcher(byte_tokenizer(), grammar)
    if not matcher.is_error():
        return None
    reason = error_of(matcher)
    return "it takes more rules than llguidance reads" if reason.startswith("panic") else reason


def text_of(schema: Any) -> str:
    """Return the JSON text of a schema.

    Raises:
        ValidationError: for what no JSON text stands for, and for schemas that are larger than any in use.
    """
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
        text.encode()  # without lone surrogates
        _check_keys(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"this is no valid JSON Schema: {error}") from None
    return _checked_size(text)


def _checked_size(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise ValidationError(f"the schema has {len(text):,} characters, but at most {MAX_TEXT:,} are read; split it")
    return text


def _check_keys(schema: Any) -> None:
    """Refuse keys that are no str, which json.dumps turns into some."""
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            for key in one:
                if not isinstance(key, str):
                    raise TypeError(f"its keys must be str, got {key!r}")
            waiting += one.values()
        elif isinstance(one, (list, tuple)):
            waiting += one


def resources_text(resources: Mapping[str, Schema] | None) -> str | None:
    """Return the JSON text of resources.

    Raises:
        ValidationError: if they are none.
    """
    if not resources:
        return None
    if not isinstance(resources, Mapping) or not all(isinstance(uri, str) for uri in resources):
        raise ValidationError("resources must be a dict of schemas by their URIs")
    return text_of(resources)


def _registry(resources: str | None) -> Any:
    """Return what references may lead to: the meta-schemas, and resources."""
    from jsonschema_specifications import REGISTRY

    if resources is None:
        return REGISTRY
    pairs = ((uri.rstrip("#"), schema) for uri, schema in json.loads(resources).items())
    return REGISTRY.with_resources(
        (uri, draft_of(schema).specification.create_resource(schema)) for uri, schema in pairs
    )


def check_instance(schema: str, resources: str | None, text: str) -> str | None:
    """Validate a JSON text.

    Args:
        schema: the JSON text of the schema.
        resources: that of what its references lead to.
        text: to validate.

    Returns:
        What is wrong with it, None if nothing is.
    """
    import jsonschema
    from referencing.exceptions import Unresolvable

    try:
        instance = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error}"
    try:
        failure = jsonschema.exceptions.best_match(_validator(schema, resources).iter_errors(instance))
    except Unresolvable as error:
        return f"it can't be validated: {error.ref!r} leads nowhere in the schema"
    except re.error as error:
        return f"it can't be validated: Python's re can't read the pattern {error.pattern!r}"
    except RecursionError:
        return "it can't be validated: it, or the schema, is nested too deeply"
    return None if failure is None else f"at {failure.json_path}: {failure.message}"


@functools.lru_cache(MAX_COMPILED)
def _validator(text: str, resources: str | None) -> Any:
    import jsonschema

    schema = json.loads(text)
    draft = draft_of(schema)
    kind = getattr(jsonschema, draft.validator)
    registry = _registry(resources)  # which fetches nothing
    schema = _with_python_patterns(modernized(schema) if draft.lenient else schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER, registry=registry)


def _with_python_patterns(schema: Any) -> Any:
    """Return a schema whose regular expressions are those of Python's `re`, with which jsonschema validates."""
    if not isinstance(schema, Mapping):
        return schema
    result: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "pattern":
            result[keyword] = _python_pattern(value)
        elif keyword in IN_LIST and isinstance(value, list):
            result[keyword] = [_with_python_patterns(one) for one in value]
        elif keyword in IN_VALUES:
            names = map(_python_pattern, value) if keyword == "patternProperties" else value
            result[keyword] = dict(zip(names, map(_with_python_patterns, value.values()), strict=True))
        else:
            result[keyword] = _with_python_patterns(value) if keyword in IN_VALUE else value
    return result


def _python_pattern(pattern: str) -> str:
    try:
        return python_pattern(pattern)
    except PatternError:
        return pattern  # nothing may have to be validated with it


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
            value = json.loads(_checked_size(source))
        except (ValueError, RecursionError) as error:
            raise ValidationError(f"the schema is no JSON: {error}") from None
        if isinstance(value, (dict, bool)):
            return value
    elif is_object_type(source):
        return schema_of_type(source, exact=True)
    raise ValidationError(
        "a schema is a dict, a JSON text of an object, a bool, a pydantic model, or the type of a dataclass or "
        f"TypedDict; got {source!r}"
    )
