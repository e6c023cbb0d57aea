"""The drafts of JSON Schema, and what their words mean in the one dialect that is compiled: that of draft 2020-12."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from referencing import Specification
from referencing.jsonschema import DRAFT4, DRAFT6, DRAFT7, DRAFT201909, DRAFT202012

logger = logging.getLogger("llama_cpp")


@dataclass(frozen=True, eq=False)
class Draft:
    """A draft.

    Attributes:
        year: 4, 6, 7, 2019 or 2020.
        uri: what $schema says.
        specification: where its resources and references are.
        validator: name of the class of the jsonschema package.
        lenient: old forms that mean only one thing are read as what they mean.
    """

    year: int
    uri: str
    specification: Specification[Any]
    validator: str
    lenient: bool = False


def _subresources(contents: Any) -> Iterator[Any]:
    """Yield the schemas in a schema of draft 2020-12, or in the old forms that are read as such."""
    if not isinstance(contents, Mapping):
        return
    modern = {
        keyword: value for keyword, value in contents.items() if not isinstance(value, list) or keyword != "items"
    }
    yield from DRAFT202012.subresources_of(modern)
    yield from contents["items"] if isinstance(contents.get("items"), list) else ()
    dependencies = contents.get("dependencies")
    if isinstance(dependencies, Mapping):
        yield from (one for one in dependencies.values() if not isinstance(one, list))
    if "additionalItems" in contents:
        yield contents["additionalItems"]


_LENIENT: Specification[Any] = Specification(  # type: ignore[call-arg]
    name="none",
    id_of=DRAFT202012.id_of,
    subresources_of=_subresources,
    anchors_in=lambda specification, contents: DRAFT202012.anchors_in(contents),
    maybe_in_subresource=DRAFT202012.maybe_in_subresource,
)
DRAFTS = (
    Draft(4, "http://json-schema.org/draft-04/schema#", DRAFT4, "Draft4Validator"),
    Draft(6, "http://json-schema.org/draft-06/schema#", DRAFT6, "Draft6Validator"),
    Draft(7, "http://json-schema.org/draft-07/schema#", DRAFT7, "Draft7Validator"),
    Draft(2019, "https://json-schema.org/draft/2019-09/schema", DRAFT201909, "Draft201909Validator"),
    Draft(2020, "https://json-schema.org/draft/2020-12/schema", DRAFT202012, "Draft202012Validator"),
)
UNNAMED = Draft(2020, DRAFTS[-1].uri, _LENIENT, "Draft202012Validator", lenient=True)


def _plain(uri: str) -> str:
    return uri.strip().rstrip("#").partition("://")[2].removeprefix("www.")


_BY_URI = {_plain(draft.uri): draft for draft in DRAFTS}
_BY_URI["json-schema.org/schema"] = UNNAMED  # "the newest one", as schemas of before 2019 name it


def draft_of(schema: Any, default: Draft = UNNAMED) -> Draft:
    """Return the draft that a schema's $schema names, with http or https, and with or without a fragment.

    Args:
        schema: any JSON value.
        default: what it is without one, or with one that is unknown.
    """
    name = schema.get("$schema") if isinstance(schema, Mapping) else None
    return _BY_URI.get(_plain(name), default) if isinstance(name, str) else default


def warn_of_unknown_draft(schema: Any) -> None:
    """Warn if a schema names a draft that is not known."""
    name = schema.get("$schema") if isinstance(schema, Mapping) else None
    if isinstance(name, str) and _plain(name) not in _BY_URI:
        logger.warning("$schema is %r, which is no known draft: the schema is read as draft 2020-12", name)


# Where schemas are in a schema of any draft.
IN_VALUE = frozenset(
    {"additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"}
    | {"propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"}
)
IN_LIST = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
IN_VALUES = frozenset({"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"})

# -- the one dialect ---------------------------------------------------------------------------------------------------

_SINCE = {  # the year of keywords that not all drafts have
    **dict.fromkeys(("const", "contains", "propertyNames"), 6),
    **dict.fromkeys(("if", "then", "else"), 7),
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "maxContains", "minContains", "$recursiveRef"), 2019),
    **dict.fromkeys(("unevaluatedItems", "unevaluatedProperties"), 2019),
    **dict.fromkeys(("prefixItems", "$dynamicRef"), 2020),
}
_UNTIL = {"additionalItems": 2019, "dependencies": 7, "$recursiveRef": 2019}  # as a keyword with a meaning of its own


@dataclass(frozen=True)
class Words:
    """A schema in the one dialect.

    Attributes:
        keywords: its keywords, each with its value.
        origins: the keywords of the schema that others came from, where they have another name there.
    """

    keywords: Mapping[str, Any]
    origins: Mapping[str, str]

    def origin(self, keyword: str) -> str:
        """Return the schema's own name of a keyword."""
        return self.origins.get(keyword, keyword)


def in_one_dialect(contents: Mapping[str, Any], draft: Draft) -> Words:
    """Return a schema's keywords in the words of draft 2020-12; schemas in it stay as they are.

    Args:
        contents: a well-formed schema.
        draft: that it is written in.
    """
    if draft.year <= 7 and "$ref" in contents:
        return Words({"$ref": contents["$ref"]}, {})  # these drafts ignore what stands beside it
    words = dict(contents)
    origins: dict[str, str] = {}
    for keyword in contents:
        if _SINCE.get(keyword, 0) > draft.year or (_UNTIL.get(keyword, draft.year) < draft.year and not draft.lenient):
            del words[keyword]
    _read_items(words, origins)
    both = words.pop("dependencies", None)
    if isinstance(both, Mapping):
        for keyword, wanted in (("dependentRequired", True), ("dependentSchemas", False)):
            some = {name: one for name, one in both.items() if isinstance(one, list) == wanted}
            if some:
                words[keyword] = {**some, **words.get(keyword, {})}
                origins[keyword] = "dependencies"
    for keyword, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(words.get(keyword), bool) and words.pop(keyword) and plain in words:
            words[keyword] = words.pop(plain)
            origins[keyword] = plain
    return Words(words, origins)


def _read_items(words: dict[str, Any], origins: dict[str, str]) -> None:
    """Read `items` as an array, with `additionalItems`."""
    if isinstance(words.get("items"), list):
        words["prefixItems"] = words.pop("items")
        origins["prefixItems"] = "items"
        if "additionalItems" in words:
            words["items"] = words["additionalItems"]
            origins["items"] = "additionalItems"
    words.pop("additionalItems", None)


def modernized(schema: Any) -> Any:
    """Return a schema without $schema whose old forms, at any depth, are those of draft 2020-12."""
    if not isinstance(schema, Mapping) or draft_of(schema) is not UNNAMED:
        return schema
    result: dict[str, Any] = {}
    for keyword, value in in_one_dialect(schema, UNNAMED).keywords.items():
        if keyword in IN_VALUE:
            result[keyword] = modernized(value)
        elif keyword in IN_LIST and isinstance(value, list):
            result[keyword] = [modernized(one) for one in value]
        elif keyword in IN_VALUES and isinstance(value, Mapping):
            result[keyword] = {name: modernized(one) for name, one in value.items()}
        else:
            result[keyword] = value
    return result
