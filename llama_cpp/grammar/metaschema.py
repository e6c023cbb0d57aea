"""A quick look at whether a schema is well formed; jsonschema takes a hundred times as long for the same answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def is_well_formed(schema: Any, validator: Any) -> bool:
    """Tell whether a schema certainly satisfies its meta-schema; False means that nothing is known.

    Args:
        schema: any JSON value.
        validator: jsonschema's class for its draft.
    """
    waiting, checks = [schema], _CHECKS if "prefixItems" in validator.VALIDATORS else _CHECKS | _DRAFT_7
    while waiting:
        one = waiting.pop()
        if isinstance(one, bool):
            continue
        if not isinstance(one, dict):
            return False
        for keyword, value in one.items():
            if keyword in _ONE and not isinstance(value, list):
                waiting.append(value)
            elif keyword in checks:
                if not checks[keyword](value):
                    return False
                waiting += value.values() if keyword in _NAMED else value if keyword in _SEVERAL else ()
            elif keyword in _UNSURE or not isinstance(keyword, str):
                return False
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, OverflowError, RecursionError):
        return False
    return True


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value))


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


_ONE = frozenset(
    {"additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"}
    | {"propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"}
)
_SEVERAL = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_NAMED = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})
_UNSURE = frozenset({"$anchor", "$dynamicAnchor", "$recursiveAnchor", "$recursiveRef", "$vocabulary", "dependencies"})
_CHECKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("$comment", "$id", "$schema", "$ref", "$dynamicRef", "description", "format", "title"), _is_text),
    **dict.fromkeys(("contentEncoding", "contentMediaType"), _is_text),
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), _is_number),
    **dict.fromkeys(("maxContains", "maxItems", "maxLength", "maxProperties"), _is_count),
    **dict.fromkeys(("minContains", "minItems", "minLength", "minProperties"), _is_count),
    **dict.fromkeys(("deprecated", "readOnly", "uniqueItems", "writeOnly"), lambda value: isinstance(value, bool)),
    **dict.fromkeys(("$defs", "definitions", "dependentSchemas", "properties"), _is_mapping),
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), _is_list),
    "$id": lambda value: _is_text(value) and "#" not in value,
    "dependentRequired": lambda value: _is_mapping(value) and all(map(_are_texts, value.values())),
    "enum": lambda value: isinstance(value, list),
    "examples": lambda value: isinstance(value, list),
    "items": lambda value: False,  # of draft 2020-12 it is one schema
    "multipleOf": lambda value: _is_number(value) and value > 0,
    "pattern": lambda value: _is_text(value) and _is_pattern(value),
    "patternProperties": lambda value: _is_mapping(value) and all(map(_is_pattern, value)),
    "required": _are_texts,
    "type": lambda value: (
        value in _TYPES if _is_text(value) else _are_texts(value) and _TYPES.issuperset(value) and value
    ),
}
_DRAFT_7: dict[str, Callable[[Any], bool]] = {"$id": _is_text, "items": _is_list}
