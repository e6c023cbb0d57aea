"""Whether a schema is one: a quick look, or jsonschema's, which takes a hundred times as long, where that is unsure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import ValidationError
from .drafts import IN_LIST, IN_VALUE, IN_VALUES, Draft, draft_of, modernized

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


def escape(step: str) -> str:
    """Return a step of a JSON pointer."""
    return step.replace("~", "~0").replace("/", "~1")


def check_schema(schema: Any, draft: Draft) -> set[int]:
    """Refuse what is no schema.

    Args:
        schema: any JSON value.
        draft: that it is written in.

    Returns:
        The identities of all schemas in it.

    Raises:
        ValidationError: with the place and the reason.
    """
    checked: set[int] = set()
    if _is_well_formed(schema, draft, checked):
        return checked
    import jsonschema

    kind = getattr(jsonschema, draft.validator)
    errors = kind(kind.META_SCHEMA).iter_errors(modernized(schema) if draft.lenient else schema)
    error = jsonschema.exceptions.best_match(one for one in errors if _ANNOTATIONS.isdisjoint(list(one.path)[-1:]))
    if error is not None:
        pointer = "".join(f"/{escape(str(step))}" for step in error.absolute_path)
        raise ValidationError(f"this is no valid JSON Schema: at {pointer or 'its top'}: {error.message}")
    return checked


def _is_well_formed(schema: Any, draft: Draft, checked: set[int]) -> bool:
    """Tell whether a schema certainly satisfies its meta-schema; False means that nothing is known."""
    waiting, sure = [(schema, draft)], True
    while waiting:
        one, draft = waiting.pop()
        if isinstance(one, bool):
            continue
        if not isinstance(one, dict):
            sure = False
            continue
        checked.add(id(one))
        draft = draft_of(one, draft)
        for keyword, value in one.items():
            parts = _parts(keyword, value, draft)
            sure = sure and parts is not None
            waiting += [(part, draft) for part in parts or ()]
    return sure


def _parts(keyword: Any, value: Any, draft: Draft) -> list[Any] | None:
    """Return the schemas below a keyword, None if its value is not certainly right."""
    old = draft.year < 2020 or draft.lenient
    if keyword in IN_LIST and isinstance(value, list):
        return value if value and (keyword != "items" or old) else None
    if keyword in IN_VALUE:
        return [value]
    if keyword in IN_VALUES:
        if not _is_mapping(value):
            return None
        if keyword == "dependencies":
            return [one for one in value.values() if not _are_texts(one)]
        return list(value.values())
    if keyword in _UNSURE or not isinstance(keyword, str):
        return None
    if keyword.startswith("exclusive") and isinstance(value, bool):
        return [] if draft.year == 4 or draft.lenient else None
    if keyword == "$id" and draft.year > 7 and "#" in str(value):
        return None
    return [] if keyword not in _CHECKS or _CHECKS[keyword](value) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value))


_UNSURE = frozenset({"$anchor", "$dynamicAnchor", "$recursiveAnchor", "$recursiveRef", "$vocabulary", "allOf", "anyOf"})
_UNSURE |= {"oneOf", "prefixItems"}  # those that are no lists
# What says nothing about values may be anything.
_ANNOTATIONS = frozenset({"$comment", "default", "deprecated", "description", "examples", "readOnly", "title"})
_ANNOTATIONS |= {"contentEncoding", "contentMediaType", "writeOnly"}
_CHECKS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("$dynamicRef", "$id", "$ref", "$schema", "format", "id", "pattern"), _is_text),
    **dict.fromkeys(("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"), _is_number),
    **dict.fromkeys(("maxContains", "maxItems", "maxLength", "maxProperties"), _is_count),
    **dict.fromkeys(("minContains", "minItems", "minLength", "minProperties"), _is_count),
    "uniqueItems": lambda value: isinstance(value, bool),
    "dependentRequired": lambda value: _is_mapping(value) and all(map(_are_texts, value.values())),
    "enum": lambda value: isinstance(value, list),
    "multipleOf": lambda value: _is_number(value) and value > 0,
    "required": _are_texts,
    "type": lambda value: (
        value in _TYPES if _is_text(value) else _are_texts(value) and _TYPES.issuperset(value) and value
    ),
}
