"""Python types -> JSON Schema, for tools that are functions and for answers of a type; and JSON texts -> values."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from .errors import ValidationError

Schema = dict[str, Any]

_SCALARS: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
_ARRAYS = (list, tuple, set, frozenset, Sequence)
_OBJECTS = (dict, Mapping)
_WRAPPERS = ("Annotated", "Required", "NotRequired", "ReadOnly")


def schema_of_type(kind: Any, *, exact: bool) -> Schema:
    """Return the schema of an annotation.

    Args:
        kind: one of JSON's own types, a list, tuple, set, dict, Literal, Enum, union, dataclass, TypedDict or pydantic
            model.
        exact: say all of it, for a grammar: that None may stand in a place, how long a tuple is, and that objects have
            no other keys than their type's (but pydantic models with extra="allow"). Otherwise it is said as
            transformers says it, which models were trained on: "nullable", and no length.

    Raises:
        ValidationError: for an annotation that JSON has nothing for.
    """
    writer = _Writer(exact)
    schema = writer.schema(kind)
    return {**schema, "$defs": writer.definitions} if writer.definitions else schema


def schemas_of_types(kinds: Mapping[str, Any], *, exact: bool) -> Schema:
    """Return the schema of an object whose properties have these annotations, with the definitions they share.

    Raises:
        ValidationError: as `schema_of_type` has it.
    """
    writer = _Writer(exact)
    properties = {name: writer.schema(kind) for name, kind in kinds.items()}
    return {"type": "object", "properties": properties, **({"$defs": writer.definitions} if writer.definitions else {})}


def reader_of_type(kind: Any) -> Callable[[str], Any]:
    """Return a function that reads a JSON text as a value of a type, with pydantic.

    The function raises ValueError (pydantic's ValidationError is one) if the text is no such value.

    Raises:
        ValidationError: if pydantic is not installed, or can't read values of this type.
    """
    try:
        from pydantic import TypeAdapter
        from pydantic.errors import PydanticUserError
    except ImportError:
        raise ValidationError(
            "pydantic reads answers as values of a type, and is not installed: pip install pydantic, or give the schema"
            ' as {"type": "json_schema", ...} and read the text yourself'
        ) from None
    try:
        return TypeAdapter(kind).validate_json
    except PydanticUserError as error:
        raise ValidationError(f"pydantic can't read values of {kind!r}: {error}") from error


def hints_of(annotated: Any) -> dict[str, Any]:
    """Return the annotations of a function or class.

    Raises:
        ValidationError: if one of them names what is not there.
    """
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise ValidationError(f"the annotations of {annotated!r} can't be read: {error}") from None


def is_object_type(kind: Any) -> bool:
    """Tell whether a type is a dataclass, a TypedDict or a pydantic model."""
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or _is_typed_dict(kind) or _is_pydantic(kind))


def _is_typed_dict(kind: Any) -> bool:
    return hasattr(kind, "__required_keys__")


def _is_pydantic(kind: Any) -> bool:
    return callable(getattr(kind, "model_json_schema", None))


def _wrapper(kind: Any) -> str:
    """Return the name of what is around another annotation and changes nothing of its schema, "" for none."""
    origin = typing.get_origin(kind)
    name = str(getattr(origin, "_name", None) or getattr(origin, "__name__", ""))
    return name if name in _WRAPPERS else ""


def _closed_objects() -> Any:
    """Return pydantic's writer of schemas, with models that have no other keys, unless they say that they have."""
    from pydantic.json_schema import GenerateJsonSchema

    class ClosedObjects(GenerateJsonSchema):
        def model_schema(self, schema: Any) -> Any:
            written = super().model_schema(schema)
            return written if "$ref" in written else {"additionalProperties": False, **written}

    return ClosedObjects


class _Writer:
    """Writes schemas.

    Attributes:
        definitions: of types that refer to themselves, and of pydantic models.
    """

    def __init__(self, exact: bool) -> None:
        self.definitions: dict[str, Any] = {}
        self._exact = exact
        self._open: list[Any] = []  # types that are being written
        self._recursive: set[Any] = set()

    def schema(self, kind: Any) -> Schema:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if kind is Any:
            return {}
        if kind is None or kind in _SCALARS:
            return {"type": _SCALARS[type(None) if kind is None else kind]}
        if _wrapper(kind):
            return self.schema(arguments[0])
        if origin is Literal:
            return self._choice(kind, arguments)
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments)
        if kind in _ARRAYS or origin in _ARRAYS:
            return self._array(origin, arguments)
        if kind in _OBJECTS or origin in _OBJECTS:
            values = {"additionalProperties": self.schema(arguments[1])} if arguments else {}
            return {"type": "object", **values}
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return self._choice(kind, [member.value for member in kind])
        if is_object_type(kind):
            return self._object(kind)
        raise ValidationError(f"there is no JSON Schema for the annotation {kind!r}")

    def _choice(self, kind: Any, values: Sequence[Any]) -> Schema:
        if not values or not all(type(value) in _SCALARS for value in values):
            raise ValidationError(f"{kind!r} must have texts, numbers, bools or None to choose from, and one at least")
        names = list(dict.fromkeys(_SCALARS[type(value)] for value in values))
        return {"type": names[0] if len(names) == 1 else names, "enum": list(values)}

    def _union(self, arguments: Sequence[Any]) -> Schema:
        branches = [self.schema(one) for one in arguments if self._exact or one is not type(None)]
        if len(branches) == 1:
            schema = branches[0]
        elif all(branch.keys() == {"type"} and isinstance(branch["type"], str) for branch in branches):
            names = sorted({branch["type"] for branch in branches})
            schema = {"type": names[0] if len(names) == 1 else names}
        else:
            schema = {"anyOf": branches}
        if not self._exact and type(None) in arguments:
            schema["nullable"] = True
        return schema

    def _array(self, origin: Any, arguments: Sequence[Any]) -> Schema:
        if origin is not tuple or arguments[1:] == (...,):
            return {"type": "array", **({"items": self.schema(arguments[0])} if arguments else {})}
        length = {"items": False, "minItems": len(arguments)} if self._exact else {}
        return {"type": "array", "prefixItems": [self.schema(one) for one in arguments], **length}

    def _object(self, kind: Any) -> Schema:
        name = kind.__name__
        if _is_pydantic(kind):
            schema: Schema = kind.model_json_schema(**({"schema_generator": _closed_objects()} if self._exact else {}))
            for key, definition in schema.pop("$defs", {}).items():
                self._define(key, definition)
            return schema
        if kind in self._open:
            self._recursive.add(kind)
            return {"$ref": f"#/$defs/{name}"}
        self._open.append(kind)
        hints = hints_of(kind)
        if _is_typed_dict(kind):
            # What the class itself knows of them is wrong where annotations are texts.
            said = {key: _wrapper(hint) for key, hint in hints.items()}
            required = [
                key
                for key in hints
                if said[key] == "Required" or (key in kind.__required_keys__ and said[key] != "NotRequired")
            ]
        else:
            fields, missing = dataclasses.fields(kind), dataclasses.MISSING
            hints = {field.name: hints[field.name] for field in fields}
            required = [one.name for one in fields if one.default is missing and one.default_factory is missing]
        written = {
            "type": "object",
            "properties": {key: self.schema(hint) for key, hint in hints.items()},
            "required": required,
            "additionalProperties": False,
        }
        self._open.pop()
        if kind not in self._recursive:
            return written
        self._define(name, written)
        return {"$ref": f"#/$defs/{name}"}

    def _define(self, name: str, schema: Any) -> None:
        if self.definitions.setdefault(name, schema) != schema:
            raise ValidationError(f"two different types are called {name!r}; give one of them another name")
