"""What the schema of a tool's parameter allows, one form after the other: models write texts and other values apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

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
        said = {key: value for key, value in schema.items() if key not in _NOTES}
        if any(merged[key] != said[key] for key in merged.keys() & said.keys()):
            return {}
        merged |= said
    return merged
