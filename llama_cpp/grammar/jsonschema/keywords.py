"""The keywords of JSON Schema as formulas, one for each kind of value.

References are resolved by the `referencing` package, as jsonschema resolves them. What a schema says of parts of a
value (items, properties) stays a number, its literal; what it says of the value itself (allOf, $ref, if, ...) is
expanded.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from typing import Literal as Choice

from referencing.exceptions import Unresolvable
from referencing.jsonschema import lookup_recursive_ref

from ...errors import UnsupportedSchemaError, ValidationError
from . import numeric
from .drafts import UNNAMED, Draft, Words, draft_of, in_one_dialect
from .ecma import PatternError, PatternSyntaxError
from .formats import FORMATS
from .formula import (
    FALSE,
    TRUE,
    UNKNOWN,
    And,
    Endless,
    Formula,
    Leaf,
    Or,
    TooLarge,
    Unsupported,
    conj,
    disj,
    leaves_of,
    negate,
)
from .metaschema import check_schema, escape
from .numeric import Above, Integer, Multiple, Numbers
from .report import Status
from .strings import Format, Length, Pattern, Texts, literal, pattern_terminal
from .structure import Contains, Count, Has, Item, Literal, Properties, Property, Rest, Size, SomeProperty, Unique

Kind = Choice["null", "false", "true", "number", "string", "array", "object"]
KINDS: tuple[Kind, ...] = ("null", "false", "true", "number", "string", "array", "object")

_KINDS_OF: dict[str, tuple[Kind, ...]] = {
    **{kind: (kind,) for kind in KINDS},
    "boolean": ("false", "true"),
    "integer": ("number",),
}

MAX_OUTCOMES = 64  # ways in which a schema can pass, each with other properties or items that it has looked at

_REWRITTEN = frozenset(
    {"contains", "dependentRequired", "dependentSchemas", "else", "if", "maxContains", "minContains", "not", "oneOf"}
    | {"propertyNames", "then", "unevaluatedItems", "unevaluatedProperties", "uniqueItems", "$dynamicRef"}
    | {"$recursiveRef"}
)
_DYNAMIC = ('"$dynamicAnchor"', '"$recursiveAnchor"', "json-schema.org/draft/")  # in a schema whose surroundings matter
_PARTS = frozenset({"else", "maxContains", "minContains", "then"})  # of other keywords
# The first ones decide most. Objects are written in the order of "properties", what it lacks comes last.
_ORDER = {"type": 0, "const": 0, "enum": 0, "properties": 1, "required": 3}
_ORDER |= {"unevaluatedItems": 4, "unevaluatedProperties": 4}


@dataclass(frozen=True)
class Seen:
    """What a schema has looked at, for the unevaluated* keywords beside it."""

    names: frozenset[str] = frozenset()
    patterns: Formula = FALSE
    prefix: int = 0
    matching: frozenset[Literal] = frozenset()
    everything: bool = False

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            self.names | other.names,
            disj([self.patterns, other.patterns]),
            max(self.prefix, other.prefix),
            self.matching | other.matching,
            self.everything or other.everything,
        )


Outcome = tuple[Formula, Seen]


@dataclass(frozen=True, eq=False)
class Subschema:
    """A schema at its place.

    Attributes:
        contents: the schema in the one dialect: a bool, or keywords with their values.
        draft: that it is written in.
        words: its keywords and where they came from.
        resolver: of its references.
        pointer: JSON pointer of its place in the root.
    """

    contents: Any
    draft: Draft
    words: Words
    resolver: Any
    pointer: str

    def place(self, keyword: str, *steps: str | int) -> str:
        """Return the pointer of a keyword in it, or of what is below that."""
        return "".join(f"/{escape(str(step))}" for step in (self.words.origin(keyword), *steps))


class Schemas:
    """All schemas that a root leads to, and what they say.

    Args:
        root: the schema.
        draft: that it is written in.
        registry: of the schemas that references may lead to.
        strict: raise on what can't be enforced.

    Raises:
        ValidationError: for what is no schema, here and in the methods that make literals.
    """

    def __init__(self, root: Any, draft: Draft, registry: Any, strict: bool) -> None:
        self.strict = strict
        self.report: dict[tuple[str, str], Status] = {}
        self.satisfiable: Callable[[Formula, Kind], bool] = lambda formula, kind: True
        text = json.dumps(root)
        self._dynamic = any(
            word in text for word in ('"$dynamicAnchor"', '"$recursiveAnchor"', "json-schema.org/draft/")
        )
        self._pointers = dict(_pointers(root))
        self._checked = check_schema(root, draft)
        self._subschemas: list[Subschema] = []
        self._numbers: dict[Any, int] = {}
        self._drafts: dict[str, Draft] = {}  # of resources, by their addresses
        self._texts: dict[int, str] = {}
        self._formulas: dict[tuple[int, Kind], Formula] = {}
        self._running: set[tuple[int, Kind]] = set()
        self._origins: dict[Leaf, tuple[str, str]] = {}
        resource = draft.specification.create_resource(root)
        self.root = self.number(root, registry.resolver_with_root(resource), "", draft, inside=False)

    # -- numbering -----------------------------------------------------------------------------------------------------

    def number(self, contents: Any, resolver: Any, pointer: str, draft: Draft, *, inside: bool = True) -> Literal:
        """Return the literal of a schema; equal ones in equal surroundings have the same.

        Args:
            contents: the schema.
            resolver: of the references around it.
            pointer: where it stands.
            draft: of what is around it.
            inside: whether that resolver does not know yet of an identifier in it.
        """
        if id(contents) not in self._checked:  # what references lead to may be no schema
            self._checked |= check_schema(contents, draft)
        if isinstance(contents, Mapping):
            draft = draft_of(contents, draft)
            if inside and draft.specification.id_of(contents) is not None:
                resolver = resolver.in_subresource(draft.specification.create_resource(contents))
        self._drafts.setdefault(resolver._base_uri, draft)
        scope = tuple(dict.fromkeys(uri for uri, _ in resolver.dynamic_scope())) if self._dynamic else ()
        key = (self._text(contents), resolver._base_uri, scope, draft)
        if key not in self._numbers:
            self._numbers[key] = len(self._subschemas)
            words = in_one_dialect(contents, draft) if isinstance(contents, Mapping) else Words({}, {})
            plain = words.keywords if isinstance(contents, Mapping) else contents
            self._subschemas.append(Subschema(plain, draft, words, resolver, pointer))
        return Literal(self._numbers[key])

    def _text(self, contents: Any) -> str:
        if id(contents) not in self._pointers:
            return json.dumps(contents)
        if id(contents) not in self._texts:  # a part of the root, which stays where it is
            self._texts[id(contents)] = json.dumps(contents)
        return self._texts[id(contents)]

    def child(self, parent: Subschema, contents: Any, keyword: str, *steps: str | int) -> Literal:
        """Return the literal of a schema inside of another one."""
        return self.number(contents, parent.resolver, parent.pointer + parent.place(keyword, *steps), parent.draft)

    def pointer(self, literal: Literal) -> str:
        """Return where a schema stands."""
        return self._subschemas[literal.schema].pointer

    def is_true(self, literal: Literal) -> bool:
        """Tell whether every value satisfies a literal, as far as can be seen at once."""
        contents = self._subschemas[literal.schema].contents
        always = contents is True or (isinstance(contents, Mapping) and not self._keywords(contents))
        return always if literal.positive else contents is False

    def _target(self, schema: Subschema, keyword: str) -> Literal | None:
        """Return what a reference leads to, None if that is not in the schema, which is checked afterwards."""
        reference = schema.contents[keyword]
        try:
            recursive = keyword == "$recursiveRef"
            resolved = lookup_recursive_ref(schema.resolver) if recursive else schema.resolver.lookup(reference)
        except (Unresolvable, ValueError):
            self.give_up(keyword, schema.pointer + schema.place(keyword), _leads_nowhere(reference))
            return None
        where = self._pointers.get(id(resolved.contents), reference)
        draft, base = schema.draft, resolved.resolver._base_uri
        if base != schema.resolver._base_uri:
            draft = draft_of(_resource(resolved.resolver), self._drafts.get(base, draft))
        return self.number(resolved.contents, resolved.resolver, where, draft, inside=False)

    def _keywords(self, contents: Mapping[str, Any]) -> list[str]:
        """Return the keywords that say something, in the order of their formulas."""
        known = [keyword for keyword in contents if keyword in _KEYWORDS or keyword in _PARTS]
        if "format" in known and contents["format"] not in FORMATS:
            known.remove("format")  # the specification makes an unknown one an annotation
        return sorted(known, key=lambda keyword: _ORDER.get(keyword, 2))

    # -- what can't be enforced ----------------------------------------------------------------------------------------

    def error(self, keyword: str, pointer: str, reason: str) -> UnsupportedSchemaError:
        """Return the error about a keyword."""
        return UnsupportedSchemaError(
            f"{keyword or 'the schema'} at {pointer or 'the top'} can't be enforced: {reason}; change it, or use "
            "strict=False, which validates the finished text instead",
            keyword=keyword,
            pointer=pointer,
        )

    def give_up(self, keyword: str, pointer: str, reason: str) -> Formula:
        """Return the formula of what can't be enforced, which is checked afterwards.

        Raises:
            UnsupportedSchemaError: if strict.
        """
        if self.strict:
            raise self.error(keyword, pointer, reason)
        self.report[keyword, pointer] = "checked afterwards"
        return UNKNOWN

    def give_up_leaf(self, problem: Unsupported, pointer: str = "") -> Formula:
        """Return the formula of a leaf that can't be enforced, found somewhere below a pointer; see `give_up`."""
        leaf = problem.leaf
        if isinstance(leaf, SomeProperty):  # the negation of one that a keyword made
            leaf = Properties(leaf.names, leaf.schema.negated())
        return self.give_up(*self._origins.get(leaf, ("", pointer)), problem.reason)

    # -- formulas ------------------------------------------------------------------------------------------------------

    def formula(self, literal: Literal, kind: Kind) -> Formula:
        """Return what a literal says of a value of a kind.

        Raises:
            UnsupportedSchemaError: if strict, for what can't be enforced; always for references that go in circles.
        """
        formula = self._positive(literal.schema, kind)
        return formula if literal.positive else self.negate(formula)

    def negate(self, formula: Formula) -> Formula:
        """Negate a formula."""
        try:
            return negate(formula)
        except Unsupported as problem:
            return self.give_up_leaf(problem)

    def _positive(self, number: int, kind: Kind) -> Formula:
        key = (number, kind)
        contents = self._subschemas[number].contents
        if contents is False or (isinstance(contents, Mapping) and self._excludes(contents, kind)):
            return FALSE
        if key not in self._formulas:
            with self._once(key):
                schema = self._subschemas[number]
                keywords = self._keywords(schema.contents) if isinstance(schema.contents, Mapping) else []
                if {"unevaluatedItems", "unevaluatedProperties"}.isdisjoint(keywords):
                    formula: Formula = self._all_keywords(schema, keywords, kind)
                else:
                    formula = self._with_unevaluated(number, kind)
                self._formulas[key] = formula
        return self._formulas[key]

    def _all_keywords(self, schema: Subschema, keywords: list[str], kind: Kind) -> Formula:
        formulas: list[Formula] = []
        for keyword in keywords:
            formulas.append(self._keyword(schema, keyword, kind))
            if formulas[-1] == FALSE:
                return FALSE
        return conj(formulas)

    def kinds(self, literals: Iterable[Literal]) -> tuple[Kind, ...]:
        """Return the kinds of values that literals may be satisfied by, as far as can be seen at once."""
        for one in literals:
            contents = self._subschemas[one.schema].contents
            if one.positive and isinstance(contents, Mapping) and isinstance(contents.get("type"), str):
                return _KINDS_OF.get(contents["type"], KINDS)
        return KINDS

    def _excludes(self, contents: Mapping[str, Any], kind: Kind) -> bool:
        """Tell whether a schema has a type that values of a kind have not, which is so most of the time."""
        name = contents.get("type")
        if not isinstance(name, str):
            return False
        return kind != {"boolean": kind if kind in ("true", "false") else "", "integer": "number"}.get(name, name)

    def _with_unevaluated(self, number: int, kind: Kind) -> Formula:
        try:
            return disj(formula for formula, _ in self._outcomes(number, kind))
        except (TooLarge, PatternError):
            schema = self._subschemas[number]
            keywords = self._keywords(schema.contents)
            known = self._all_keywords(schema, keywords, kind)
            which = next(one for one in keywords if one.startswith("unevaluated"))
            place = schema.pointer + schema.place(which)
            return conj([known, self.give_up(which, place, "too many cases decide what it applies to")])

    def _once(self, key: tuple[int, Kind]) -> _Running:
        if key in self._running:
            raise Endless
        return _Running(self._running, key)

    def _keyword(self, schema: Subschema, keyword: str, kind: Kind) -> Formula:
        place, name = schema.pointer + schema.place(keyword), schema.words.origin(keyword)
        self.report.setdefault((name, place), "rewritten" if keyword in _REWRITTEN else "enforced")
        handler = _KEYWORDS.get(keyword)
        if handler is None:
            return TRUE  # part of another keyword
        try:
            formula = handler(self, schema, schema.contents[keyword], kind)
        except PatternSyntaxError as problem:
            raise ValidationError(f"this is no valid JSON Schema: at {place}: {problem}") from None
        except PatternError as problem:
            return self.give_up(name, place, f"it needs {problem}")
        except TooLarge:
            return self.give_up(name, place, "it has too many cases")
        for leaf in formula.items if isinstance(formula, (And, Or)) else [formula]:
            if isinstance(leaf, Leaf):
                self._origins.setdefault(leaf, (name, place))
        return formula

    # -- keywords of any kind ------------------------------------------------------------------------------------------

    def _type(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        types = [value] if isinstance(value, str) else value
        name = "boolean" if kind in ("true", "false") else kind
        if name in types:
            return TRUE
        return Integer() if kind == "number" and "integer" in types else FALSE

    def _enum(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        same = [one for one in value if kind_of(one) == kind]
        if kind in ("null", "false", "true"):
            return TRUE if same else FALSE
        if not same:
            return FALSE
        if kind == "number":
            return Numbers(frozenset(same))
        if kind == "string":
            for text in same:
                literal(text)
            return Texts(tuple(dict.fromkeys(same)))
        equal = self._equal_array if kind == "array" else self._equal_object
        return disj(equal(schema, one) for one in same)

    def _const(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return self._enum(schema, [value], kind)

    def _equal(self, schema: Subschema, value: Any) -> Literal:
        """Return the literal of one value."""
        return self.number({"const": value}, schema.resolver, f"{schema.pointer}/const", UNNAMED)

    def _equal_array(self, schema: Subschema, value: list[Any]) -> Formula:
        items = (Item(index, self._equal(schema, one)) for index, one in enumerate(value))
        return conj([Size(len(value), len(value)), *items])

    def _equal_object(self, schema: Subschema, value: dict[str, Any]) -> Formula:
        parts: list[Formula] = []
        for name, one in value.items():
            parts += [Property(name, self._equal(schema, one)), Has(name)]
        others: Formula = negate(Texts(tuple(value))) if value else TRUE
        return conj([*parts, Properties(others, self.child(schema, False, "const"))])

    def _all_of(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return conj(self._branches(schema, "allOf", kind))

    def _any_of(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return disj(self._branches(schema, "anyOf", kind))

    def _one_of(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return disj(self._only(self._branches(schema, "oneOf", kind), kind))

    def _branches(self, schema: Subschema, keyword: str, kind: Kind) -> list[Formula]:
        literals = (self.child(schema, one, keyword, index) for index, one in enumerate(schema.contents[keyword]))
        return [self.formula(literal, kind) for literal in literals]

    def _only(self, branches: list[Formula], kind: Kind) -> Iterator[Formula]:
        """Yield each branch without what another one has in common with it."""
        for index, branch in enumerate(branches):
            others = (other for place, other in enumerate(branches) if place != index)
            yield conj([branch, *(self.negate(other) for other in others if self._overlap(branch, other, kind))])

    def _overlap(self, one: Formula, other: Formula, kind: Kind) -> bool:
        return self.satisfiable(conj([one, other]), kind)

    def _not(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return self.formula(self.child(schema, value, "not").negated(), kind)

    def _if(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        if not {"then", "else"} & schema.contents.keys():
            return TRUE
        condition, then, otherwise = (self._part(schema, keyword, kind) for keyword in ("if", "then", "else"))
        return disj([conj([condition, then]), conj([self.negate(condition), otherwise])])

    def _part(self, schema: Subschema, keyword: str, kind: Kind) -> Formula:
        return self.formula(self.child(schema, schema.contents.get(keyword, True), keyword), kind)

    def _ref(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        target = self._target(schema, "$ref")
        return UNKNOWN if target is None else self.formula(target, kind)

    def _dynamic_ref(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        target = self._target(schema, "$dynamicRef")
        return UNKNOWN if target is None else self.formula(target, kind)

    def _recursive_ref(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        target = self._target(schema, "$recursiveRef")
        return UNKNOWN if target is None else self.formula(target, kind)

    # -- keywords of numbers and strings -------------------------------------------------------------------------------

    def _minimum(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Above(numeric.decimal(value), False) if kind == "number" else TRUE

    def _exclusive_minimum(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Above(numeric.decimal(value), True) if kind == "number" else TRUE

    def _maximum(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return negate(Above(numeric.decimal(value), True)) if kind == "number" else TRUE

    def _exclusive_maximum(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return negate(Above(numeric.decimal(value), False)) if kind == "number" else TRUE

    def _multiple_of(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Multiple(value) if kind == "number" else TRUE

    def _min_length(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Length(int(value), None) if kind == "string" and value else TRUE

    def _max_length(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Length(0, int(value)) if kind == "string" else TRUE

    def _pattern(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return _found(value) if kind == "string" else TRUE

    def _format(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Format(value) if kind == "string" else TRUE

    # -- keywords of arrays --------------------------------------------------------------------------------------------

    def _min_items(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Size(int(value), None) if kind == "array" and value else TRUE

    def _max_items(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Size(0, int(value)) if kind == "array" else TRUE

    def _unique_items(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Unique(schema.pointer) if kind == "array" and value else TRUE

    def _prefix_items(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        if kind != "array":
            return TRUE
        literals = [self.child(schema, one, "prefixItems", index) for index, one in enumerate(value)]
        return conj(Item(index, one) for index, one in enumerate(literals) if not self.is_true(one))

    def _items(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        if kind != "array":
            return TRUE
        return self._rest(len(schema.contents.get("prefixItems", ())), self.child(schema, value, "items"))

    def _rest(self, start: int, literal: Literal) -> Formula:
        return TRUE if self.is_true(literal) else Rest(start, literal)

    def _contains(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        if kind != "array":
            return TRUE
        low, high = schema.contents.get("minContains", 1), schema.contents.get("maxContains")
        literal = self.child(schema, value, "contains")
        if self.is_true(literal):
            return Size(int(low), high)
        return TRUE if not low and high is None else Contains(literal, int(low), None if high is None else int(high))

    # -- keywords of objects -------------------------------------------------------------------------------------------

    def _min_properties(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Count(int(value), None) if kind == "object" and value else TRUE

    def _max_properties(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return Count(0, int(value)) if kind == "object" else TRUE

    def _required(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        return conj(Has(name) for name in value) if kind == "object" else TRUE

    def _properties(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        if kind != "object":
            return TRUE
        return conj(Property(name, self.child(schema, one, "properties", name)) for name, one in value.items())

    def _pattern_properties(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        if kind != "object":
            return TRUE
        literals = ((name, self.child(schema, one, "patternProperties", name)) for name, one in value.items())
        return conj(Properties(_found(name), one) for name, one in literals if not self.is_true(one))

    def _additional_properties(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        literal = self.child(schema, value, "additionalProperties")
        if kind != "object" or self.is_true(literal):
            return TRUE
        names, patterns = schema.contents.get("properties", ()), schema.contents.get("patternProperties", ())
        return Properties(_neither(names, disj(map(_found, patterns))), literal)

    def _property_names(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        if kind != "object":
            return TRUE
        wrong = self.formula(self.child(schema, value, "propertyNames").negated(), "string")
        if UNKNOWN in leaves_of(wrong):
            return UNKNOWN
        return TRUE if wrong == FALSE else Properties(wrong, self.child(schema, False, "propertyNames"))

    def _dependent_required(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        if kind != "object":
            return TRUE
        return conj(disj([conj(map(Has, [name, *names])), Has(name, False)]) for name, names in value.items())

    def _dependent_schemas(self, schema: Subschema, value: Any, kind: Kind) -> Formula:
        if kind != "object":
            return TRUE
        literals = ((name, self.child(schema, one, "dependentSchemas", name)) for name, one in value.items())
        return conj(
            disj([Has(name, False), conj([Has(name), self.formula(literal, kind)])]) for name, literal in literals
        )

    # -- what has not been looked at -----------------------------------------------------------------------------------

    def _outcomes(self, number: int, kind: Kind) -> list[Outcome]:
        """Return the ways in which a schema can pass, with what each has looked at."""
        schema = self._subschemas[number]
        if not isinstance(schema.contents, Mapping):
            return [(FALSE if schema.contents is False else TRUE, Seen())]
        outcomes: list[Outcome] = [(TRUE, Seen())]
        for keyword in self._keywords(schema.contents):
            if keyword in ("unevaluatedItems", "unevaluatedProperties"):
                outcomes = [self._unevaluated(schema, keyword, outcome, kind) for outcome in outcomes]
            else:
                outcomes = self._product([outcomes, self._outcomes_of(schema, keyword, kind)])
        return outcomes

    def _product(self, several: Iterable[list[Outcome]]) -> list[Outcome]:
        result: list[Outcome] = [(TRUE, Seen())]
        for outcomes in several:
            pairs = itertools.product(result, outcomes)
            joined = ((conj([one, other]), seen + more) for (one, seen), (other, more) in pairs)
            result = [(formula, seen) for formula, seen in joined if formula != FALSE]
            if len(result) > MAX_OUTCOMES:
                raise TooLarge
        return result

    def _outcomes_of(self, schema: Subschema, keyword: str, kind: Kind) -> list[Outcome]:
        value = schema.contents[keyword]
        if keyword in ("allOf", "anyOf", "oneOf"):
            branches = [self.child(schema, one, keyword, index) for index, one in enumerate(value)]
            return self._outcomes_of_branches(keyword, branches, kind)
        if keyword in ("$ref", "$dynamicRef", "$recursiveRef"):
            target = self._target(schema, keyword)
            return [(UNKNOWN, Seen(everything=True))] if target is None else self._guarded(target, kind)
        if keyword == "if":
            condition, then, otherwise = (
                self.child(schema, schema.contents.get(part, True), part) for part in ("if", "then", "else")
            )
            passed = self._product([self._guarded(condition, kind), self._guarded(then, kind)])
            failed = [(self.formula(condition.negated(), kind), Seen())]
            return passed + self._product([failed, self._guarded(otherwise, kind)])
        if keyword == "dependentSchemas" and kind == "object":
            return self._product(
                [(Has(name, False), Seen()), *self._product([[(Has(name), Seen())], self._guarded(child, kind)])]
                for name, child in ((name, self.child(schema, one, keyword, name)) for name, one in value.items())
            )
        return [(self._keyword(schema, keyword, kind), self._looked_at(schema, keyword, value, kind))]

    def _guarded(self, literal: Literal, kind: Kind) -> list[Outcome]:
        with self._once((literal.schema, kind)):
            return self._outcomes(literal.schema, kind)

    def _outcomes_of_branches(self, keyword: str, branches: list[Literal], kind: Kind) -> list[Outcome]:
        passing = [self._guarded(branch, kind) for branch in branches]
        if keyword == "allOf":
            return self._product(passing)
        failing = [[(self.formula(branch.negated(), kind), Seen())] for branch in branches]
        if keyword == "oneOf":
            return [
                outcome
                for index, outcomes in enumerate(passing)
                for outcome in self._product([*failing[:index], outcomes, *failing[index + 1 :]])
            ]
        # Of the branches that look at something, all that pass count; the others need only be there.
        plain = [index for index, outcomes in enumerate(passing) if all(seen == Seen() for _, seen in outcomes)]
        rest = [index for index in range(len(branches)) if index not in plain]
        either = [failing[index] + passing[index] for index in rest]
        one = disj(self.formula(branches[index], kind) for index in plain)
        every = self._product(either)
        none = conj(failing[index][0][0] for index in rest)
        return [
            *self._product([[(one, Seen())], every]),
            *self._product(
                [[(self.negate(one), Seen())], [(conj([formula, self.negate(none)]), seen) for formula, seen in every]]
            ),
        ]

    def _looked_at(self, schema: Subschema, keyword: str, value: Any, kind: Kind) -> Seen:
        if keyword == "properties":
            return Seen(names=frozenset(value))
        if keyword == "patternProperties":
            return Seen(patterns=disj(map(_found, value)))
        if keyword in ("additionalProperties", "items"):
            return Seen(everything=kind == ("array" if keyword == "items" else "object"))
        if keyword == "prefixItems":
            return Seen(prefix=len(value))
        if keyword == "contains" and schema.draft.year == 2020:
            return Seen(matching=frozenset({self.child(schema, value, "contains")}))
        return Seen()

    def _unevaluated(self, schema: Subschema, keyword: str, outcome: Outcome, kind: Kind) -> Outcome:
        formula, seen = outcome
        if kind != ("array" if keyword == "unevaluatedItems" else "object"):
            return outcome
        self._keyword(schema, keyword, kind)
        value = schema.contents[keyword]
        if kind == "object" and not seen.everything:
            more: Formula = Properties(_neither(seen.names, seen.patterns), self.child(schema, value, keyword))
        elif kind == "array" and not seen.everything:
            contained = [self._subschemas[one.schema] for one in seen.matching]
            if any(one.resolver._base_uri != schema.resolver._base_uri for one in contained):
                raise TooLarge
            matching = [one.contents for one in contained]
            more = self._rest(
                seen.prefix, self.child(schema, {"anyOf": [*matching, value]} if matching else value, keyword)
            )
        else:
            more = TRUE
        return conj([formula, more]), replace(seen, everything=True)


class _Running:
    """Notes that the formula of a schema is being made."""

    def __init__(self, running: set[tuple[int, Kind]], key: tuple[int, Kind]) -> None:
        self._set, self._key = running, key

    def __enter__(self) -> None:
        self._set.add(self._key)

    def __exit__(self, *_: object) -> None:
        self._set.discard(self._key)


def kind_of(value: Any) -> Kind:
    """Return the kind of a JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _found(pattern: str) -> Pattern:
    """Return the leaf of a pattern, which both its terminals exist for."""
    pattern_terminal(pattern)
    pattern_terminal(pattern, True)
    return Pattern(pattern)


def _neither(names: Iterable[str], patterns: Formula) -> Formula:
    """Return the formula of other names."""
    texts = tuple(sorted(names))
    return conj([*([negate(Texts(texts))] if texts else []), negate(patterns)])


def _leads_nowhere(reference: str) -> str:
    if reference.startswith("#"):
        return f"{reference!r} leads nowhere in it"
    return f"{reference!r} leads out of it; nothing is fetched: resources={{uri: schema}} may give what is meant"


def _resource(resolver: Any) -> Any:
    """Return the contents of the resource that a resolver is in, None if there are none."""
    try:
        return resolver.lookup("").contents
    except (Unresolvable, ValueError):
        return None


def _pointers(root: Any) -> Iterator[tuple[int, str]]:
    """Yield the identity and the pointer of everything in a schema."""
    waiting = [(root, "")]
    while waiting:
        value, pointer = waiting.pop()
        if isinstance(value, (dict, list)):
            yield id(value), pointer
            steps = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += [(inner, f"{pointer}/{escape(str(step))}") for step, inner in steps]


_KEYWORDS: dict[str, Callable[[Schemas, Subschema, Any, Kind], Formula] | None] = {
    "$dynamicRef": Schemas._dynamic_ref,
    "$recursiveRef": Schemas._recursive_ref,
    "$ref": Schemas._ref,
    "additionalProperties": Schemas._additional_properties,
    "allOf": Schemas._all_of,
    "anyOf": Schemas._any_of,
    "const": Schemas._const,
    "contains": Schemas._contains,
    "dependentRequired": Schemas._dependent_required,
    "dependentSchemas": Schemas._dependent_schemas,
    "enum": Schemas._enum,
    "exclusiveMaximum": Schemas._exclusive_maximum,
    "exclusiveMinimum": Schemas._exclusive_minimum,
    "format": Schemas._format,
    "if": Schemas._if,
    "items": Schemas._items,
    "maxItems": Schemas._max_items,
    "maxLength": Schemas._max_length,
    "maxProperties": Schemas._max_properties,
    "maximum": Schemas._maximum,
    "minItems": Schemas._min_items,
    "minLength": Schemas._min_length,
    "minProperties": Schemas._min_properties,
    "minimum": Schemas._minimum,
    "multipleOf": Schemas._multiple_of,
    "not": Schemas._not,
    "oneOf": Schemas._one_of,
    "pattern": Schemas._pattern,
    "patternProperties": Schemas._pattern_properties,
    "prefixItems": Schemas._prefix_items,
    "properties": Schemas._properties,
    "propertyNames": Schemas._property_names,
    "required": Schemas._required,
    "type": Schemas._type,
    "unevaluatedItems": None,
    "unevaluatedProperties": None,
    "uniqueItems": Schemas._unique_items,
}
