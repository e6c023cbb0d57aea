"""Objects with the properties that their schema names, and no others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Where one of these stands, what a property may be called is not said in one place.
_SAID_ELSEWHERE = {
    "$dynamicRef",
    "$recursiveRef",
    "allOf",
    "dependencies",
    "dependentSchemas",
    "else",
    "extends",
    "if",
    "not",
    "then",
    "unevaluatedProperties",
}
_SAID_HERE = {"additionalProperties", "patternProperties", "propertyNames", "anyOf", "oneOf", "$ref"}
_OF_NAMES = ("properties", "$defs", "definitions")
_OF_SCHEMAS = ("anyOf", "oneOf", "prefixItems", "items")


def closed(schema: Any) -> Any:
    """Return a schema whose objects have no other properties than those that it names, where it does not say.

    llama.cpp's converter and OpenAI's structured outputs read schemas so. A model that may add properties of its own is
    apt to go on adding them. Every document of the new schema is one of the old. A schema whose parts say together what
    an object has (allOf, if, ...) stays as it is.
    """
    try:
        return schema if _SAID_ELSEWHERE & set(_keywords(schema)) else _closed(schema)
    except (RecursionError, TypeError):  # the compiler says what is wrong with it
        return schema


def _closed(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    for name in _OF_NAMES:
        if isinstance(made.get(name), Mapping):
            made[name] = {key: _closed(inner) for key, inner in made[name].items()}
    for name in _OF_SCHEMAS:
        if isinstance(made.get(name), list):
            made[name] = [_closed(inner) for inner in made[name]]
        elif name in made:
            made[name] = _closed(made[name])
    named = made.get("properties")
    if not isinstance(named, Mapping) or not named or _SAID_HERE & made.keys():
        return made
    required, least = made.get("required") or [], made.get("minProperties", 0)
    if isinstance(required, list) and set(required) <= named.keys() and least <= len(named):
        made["additionalProperties"] = False
    return made


def _keywords(schema: Any) -> Iterator[str]:
    """Give all keys of objects in a schema, whether they are keywords or names."""
    if isinstance(schema, Mapping):
        for key, inner in schema.items():
            yield key
            yield from _keywords(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from _keywords(inner)
