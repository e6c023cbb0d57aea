"""What the schema of a tool's parameter allows, one form after the other: models write texts and other values apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ..errors import ValidationError

Schema = Mapping[str, Any]

_MAX_DEPTH = 8  # of references and alternatives in each other
_NOTES = {"title", "description", "default", "examples", "$comment", "deprecated"}


def forms(schema: Any, root: Schema, depth: int = _MAX_DEPTH) -> Iterator[Schema]:
    """Yield schemas of which a value must fit one, each with a single "type", or an "enum" of texts or of others.

    What can't be taken apart comes as it is.

    Args:
        schema: of the parameter.
        root: of all arguments, which has the definitions that it refers to.
        depth: references and alternatives to follow.
    """
    if not isinstance(schema, Mapping) or not depth:
        yield schema if isinstance(schema, Mapping) else {}
        return
    rest = {key: value for key, value in schema.items() if key not in _NOTES}
    reference = rest.pop("$ref", None)
    if isinstance(reference, str):
        rest = _merged([_definition(reference, root), rest])
        yield from forms(rest, root, depth - 1) if rest else [schema]
        return
    for key in ("anyOf", "oneOf"):
        if isinstance(rest.get(key), Sequence):
            several = rest.pop(key)
            alternatives = [_merged([one, rest]) for one in several]
            if all(alternatives):
                for one in alternatives:
                    yield from forms(one, root, depth - 1)
                return
            yield schema
            return
    if isinstance(rest.get("allOf"), Sequence):
        several = rest.pop("allOf")
        merged = _merged([*several, rest])
        yield from forms(merged, root, depth - 1) if merged else [schema]
        return
    if "const" in rest:
        rest["enum"] = [rest.pop("const")]
    if "enum" in rest:
        for texts in (True, False):
            values = [value for value in rest["enum"] if isinstance(value, str) == texts]
            if "type" in rest:
                values = [value for value in values if is_of(value, rest["type"])]
            if values:
                yield {"enum": values}
        return
    kinds = rest.get("type")
    if isinstance(kinds, Sequence) and not isinstance(kinds, str):
        yield from ({**rest, "type": kind} for kind in kinds)
    else:
        yield rest


def kinds_of(schema: Any, root: Schema) -> frozenset[str]:
    """Return the JSON types that a parameter may be of, none if its schema does not say."""
    kinds: set[str] = set()
    for form in forms(schema, root):
        found = [kind_of(value) for value in form["enum"]] if "enum" in form else [form.get("type")]
        if not all(isinstance(kind, str) for kind in found):
            return frozenset()
        kinds.update(kind for kind in found if kind)
    return frozenset(kinds)


def kind_of(value: Any) -> str:
    """Return the JSON type of a value."""
    kinds = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", type(None): "null"}
    return kinds.get(type(value), "object")


def is_of(value: Any, kinds: str | Collection[str]) -> bool:
    """Tell whether a value is of one of some JSON types: 5 is a number, too, and 5.0 an integer."""
    kind, kinds = kind_of(value), [kinds] if isinstance(kinds, str) else kinds
    if kind == "integer":
        return "integer" in kinds or "number" in kinds
    return kind in kinds or (kind == "number" and "integer" in kinds and bool(value.is_integer()))


def _definition(reference: str, root: Schema) -> Any:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _merged(schemas: Sequence[Any]) -> dict[str, Any]:
    """Return a schema that says what several do; empty if that needs more than putting them together."""
    merged: dict[str, Any] = {}
    for schema in schemas:
        if not isinstance(schema, Mapping):
            return {}
        for key, value in schema.items():
            if key in _NOTES:
                continue
            known = merged.get(key, value)
            if key in ("properties", "$defs", "definitions") and isinstance(known, Mapping):
                value = {**known, **value} if isinstance(value, Mapping) else value
                if any(known[name] != value[name] for name in known):
                    return {}
            elif key == "required" and isinstance(known, Sequence) and isinstance(value, Sequence):
                value = list(dict.fromkeys([*known, *value]))
            elif known != value:
                return {}
            merged[key] = value
    if merged.get("additionalProperties") is False and sum("properties" in schema for schema in schemas) > 1:
        return {}  # it is of one of them
    return merged


# -- the arguments of a tool -------------------------------------------------------------------------------------------


def without_nulls(schema: Any) -> Any:
    """Return a schema without the keywords that are null, as some programs write what they do not set."""
    if isinstance(schema, Mapping):
        return {
            key: _without_nulls_in(key, value)
            for key, value in schema.items()
            if value is not None or key in ("const", "default", "example")
        }
    return [without_nulls(one) for one in schema] if isinstance(schema, (list, tuple)) else schema


def _without_nulls_in(key: str, value: Any) -> Any:
    if key in ("const", "default", "enum", "example", "examples", "required", "type"):
        return value
    if key in _NAMED and isinstance(value, Mapping):
        return {name: {} if one is None else without_nulls(one) for name, one in value.items()}
    return without_nulls(value)


_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
APPLICATORS = ("$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "if", "dependentSchemas")


def objects_of(parameters: Schema) -> list[dict[str, Any]]:
    """Return what the schema of a tool's arguments allows as plain objects, of which a call must fit one.

    Properties that are required have a schema, and others than those that are named are left out. Alternatives that
    can't be taken apart stay in the schema, which is then open.

    Raises:
        ValidationError: for properties or required that are none.
    """
    found = []
    for form in forms(parameters, parameters):
        properties, required = form.get("properties", {}), form.get("required", [])
        if not isinstance(properties, Mapping) or not isinstance(required, Sequence) or isinstance(required, str):
            raise ValidationError(f"this is no valid JSON Schema: properties {properties!r}, required {required!r}")
        named = {**{key: {} for key in required if isinstance(key, str)}, **properties}
        is_open = any(key in form for key in APPLICATORS)
        schema = {**({} if is_open else {"additionalProperties": False}), **form, "type": form.get("type", "object")}
        if required and not is_open:
            schema["properties"] = {**properties, **{key: named[key] for key in named if key not in properties}}
        found.append(schema)
    return found


def kinds_of_arguments(parameters: Any) -> Mapping[str, frozenset[str]]:
    """Return the JSON types that each argument of a tool may be of, none for those that the schema does not say."""
    if not isinstance(parameters, Mapping):
        return {}
    kinds: dict[str, frozenset[str]] = {}
    for form in forms(parameters, parameters):
        properties = form.get("properties")
        for key, schema in properties.items() if isinstance(properties, Mapping) else ():
            of_form = kinds_of(schema, parameters)
            both = kinds.get(key, of_form)
            kinds[key] = both | of_form if both and of_form else frozenset()
    return kinds


def keys_of(schema: Any) -> frozenset[str]:
    """Return all names of properties in a schema, those of inner objects too."""
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        own = frozenset(properties) if isinstance(properties, Mapping) else frozenset()
        return own.union(*map(keys_of, schema.values()))
    return frozenset().union(*map(keys_of, schema)) if isinstance(schema, (list, tuple)) else frozenset()
