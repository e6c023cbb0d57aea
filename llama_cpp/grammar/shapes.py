"""Conjunctions of schemas in normal form: what remains to be written, kind by kind.

A node is the set of all schemas that one value has to satisfy, or not to satisfy. Its arrays and objects are
alternatives of shapes whose parts are nodes again, so that recursive schemas become recursive rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from . import numeric, strings
from .formula import (
    FALSE,
    TRUE,
    And,
    Formula,
    Leaf,
    Not,
    Or,
    Term,
    TooLarge,
    Unsupported,
    alternatives,
    conj,
    disj,
    holds,
    leaves_of,
    negate,
)
from .keywords import KINDS, Kind, Schemas
from .strings import Format, Length, Texts
from .structure import Contains, Count, Has, Item, Literal, Properties, Property, Rest, Size, SomeProperty, Unique

MAX_STEPS = 1000  # conjunctions that one formula may lead to
MAX_WORK = 20_000  # and all of them
MAX_CELLS = 64  # kinds of property names that one object may tell apart
MAX_STATES = 400  # of an array whose items are counted

Conjunction = frozenset[Literal]


@dataclass(frozen=True)
class ArrayShape:
    """Arrays.

    Attributes:
        prefix: what the first items satisfy.
        rest: what all others do.
        low, high: how many there are.
        contains: how many of them satisfy other schemas.
        unique: whether they differ.
    """

    prefix: tuple[Conjunction, ...]
    rest: Conjunction
    low: int
    high: int | None
    contains: tuple[Contains, ...]
    unique: bool


@dataclass(frozen=True)
class ObjectShape:
    """Objects.

    Attributes:
        names: properties in the order in which they are written: name, whether it must be there, what it satisfies.
        rest: other properties: formula of their names, what they satisfy. The formulas exclude each other.
        last: one of these must come last.
        known: names that no other property has.
        low, high: how many properties there are.
    """

    names: tuple[tuple[str, bool, Conjunction], ...]
    rest: tuple[tuple[Formula, Conjunction], ...]
    last: tuple[tuple[Formula, Conjunction], ...]
    known: frozenset[str]
    low: int
    high: int | None


@dataclass
class Node:
    """The values that satisfy a conjunction of schemas."""

    constants: list[str] = field(default_factory=list)
    numbers: list[Term] = field(default_factory=list)
    strings: Formula = FALSE
    arrays: list[ArrayShape] = field(default_factory=list)
    objects: list[ObjectShape] = field(default_factory=list)


class Shapes:
    """Makes nodes out of schemas."""

    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas
        schemas.satisfiable = self.satisfiable
        self._empty: dict[Conjunction, bool] = {}
        self._work = 0

    def node(self, literals: Conjunction) -> Node:
        """Return the node of a conjunction."""
        node = Node()
        for kind in KINDS:
            formula = self._formula(literals, kind)
            if kind == "string":
                node.strings = formula
            elif kind == "number":
                node.numbers = self._alternatives(formula, kind)
            elif kind == "array":
                node.arrays = [self._array(term) for term in self._alternatives(formula, kind)]
            elif kind == "object":
                order = {name: index for index, name in enumerate(_names(leaves_of(formula)))}
                terms = self._alternatives(formula, kind)
                node.objects = [shape for term in terms for shape in self._objects(term, order)]
            elif formula != FALSE:
                node.constants.append(kind)
        return node

    def _formula(self, literals: Conjunction, kind: Kind) -> Formula:
        return conj(self.schemas.formula(literal, kind) for literal in sorted(literals))

    def _alternatives(self, formula: Formula, kind: Kind) -> list[Term]:
        return alternatives(formula, lambda term: self._possible(term, kind), MAX_STEPS)

    # -- what can't be -------------------------------------------------------------------------------------------------

    def satisfiable(self, formula: Formula, kind: Kind) -> bool:
        """Tell whether a value of a kind might satisfy a formula; False is certain."""
        if isinstance(formula, Or) and not formula.items:
            return False
        if kind in ("null", "false", "true"):
            return True
        try:
            return bool(self._alternatives(formula, kind))
        except TooLarge:
            return True

    def empty(self, literals: Conjunction) -> bool:
        """Tell whether no value satisfies a conjunction; True is certain."""
        if literals not in self._empty:
            self._empty[literals] = False  # it may contain itself: of that, nothing is certain
            self._empty[literals] = not any(self.satisfiable(self._formula(literals, kind), kind) for kind in KINDS)
        return self._empty[literals]

    def _possible(self, term: Term, kind: Kind) -> bool:
        self._work += 1
        if self._work > MAX_WORK:
            raise TooLarge
        if kind == "number":
            return numeric.possible(term)
        if kind == "string":
            return _possible_string(term)
        try:
            if kind == "array":
                return self._possible_array(self._array(term))
            return bool(self._objects(term, {}))
        except Unsupported:
            return True

    def _possible_array(self, shape: ArrayShape) -> bool:
        needed = max([shape.low, *(one.low and one.low + one.start for one in shape.contains)])
        if shape.high is not None and needed > shape.high:
            return False
        parts = [*shape.prefix[:needed], *([shape.rest] if needed > len(shape.prefix) else [])]
        return not any(map(self.empty, parts)) and all(one.high is None or one.low <= one.high for one in shape.contains)

    # -- shapes --------------------------------------------------------------------------------------------------------

    def _conjunction(self, literals: Iterable[Literal]) -> Conjunction:
        return frozenset(literal for literal in literals if not self.schemas.is_true(literal))

    def _array(self, term: Term) -> ArrayShape:
        sizes = [leaf for leaf in term if isinstance(leaf, Size)]
        items = [leaf for leaf in term if isinstance(leaf, Item)]
        rests = [leaf for leaf in term if isinstance(leaf, Rest)]
        length = max([0, *(item.index + 1 for item in items), *(rest.start for rest in rests)])
        prefix = (
            self._conjunction(
                [
                    *(item.schema for item in items if item.index == index),
                    *(rest.schema for rest in rests if rest.start <= index),
                ]
            )
            for index in range(length)
        )
        return ArrayShape(
            tuple(prefix),
            self._conjunction(rest.schema for rest in rests),
            max((size.low for size in sizes), default=0),
            min((size.high for size in sizes if size.high is not None), default=None),
            tuple(leaf for leaf in term if isinstance(leaf, Contains)),
            Unique() in term,
        )

    def _objects(self, term: Term, order: dict[str, int], last: SomeProperty | None = None) -> list[ObjectShape]:
        """Return the shapes of a term: one, or as many as there are places for properties that must be somewhere."""
        some = next((leaf for leaf in term if isinstance(leaf, SomeProperty)), None)
        if some is None:
            shape = self._object(term, order, last)
            return [] if shape is None else [shape]
        others = tuple(leaf for leaf in term if leaf != some)
        # Its names are known ones: _object() has to leave them out of the rest, whichever of them it is.
        mention = Properties(some.names, self.schemas.number(True, self.schemas.resolver, ""))
        shapes = []
        for name in _names([*others, mention]):
            if holds(some.names, lambda leaf: leaf.holds(name)):
                shapes += self._objects((*others, mention, Has(name), Property(name, some.schema)), order, last)
        if last is not None and self._objects((*others, mention), order, some):
            raise Unsupported(some, "several properties that must be there may have any name")
        if last is None:
            shapes += self._objects((*others, mention), order, some)
        return shapes

    def _object(self, term: Term, order: dict[str, int], last: SomeProperty | None) -> ObjectShape | None:
        required = {leaf.name for leaf in term if isinstance(leaf, Has) and leaf.present}
        absent = {leaf.name for leaf in term if isinstance(leaf, Has) and not leaf.present}
        classes = [leaf for leaf in term if isinstance(leaf, Properties)]
        known = sorted(_names(term), key=lambda name: order.get(name, len(order)))
        names = []
        for name in known:
            own = [leaf.schema for leaf in term if isinstance(leaf, Property) and leaf.name == name]
            own += [one.schema for one in classes if holds(one.names, lambda leaf: leaf.holds(name))]
            value = self._conjunction(own)
            if name not in absent and not self.empty(value):
                names.append((name, name in required, value))
            elif name in required:
                return None
        cells = self._cells([(_elsewhere(one.names), one.schema) for one in classes])
        final = []
        if last is not None:
            final = self._cells([(_elsewhere(last.names), last.schema)], cells, only=True)
            if not final:
                return None
        counts = [leaf for leaf in term if isinstance(leaf, Count)]
        low = max((count.low for count in counts), default=0)
        high = min((count.high for count in counts if count.high is not None), default=None)
        if high is not None and (high < low or high < len(required) + bool(final)):
            return None
        if low > len(names) + bool(cells):
            if cells:
                raise Unsupported(
                    next(count for count in counts if count.low == low), "nothing keeps free names from being equal"
                )
            return None
        return ObjectShape(tuple(names), tuple(cells), tuple(final), frozenset(known), low, high)

    def _cells(
        self,
        classes: list[tuple[Formula, Literal]],
        cells: Iterable[tuple[Formula, Conjunction]] = ((TRUE, frozenset()),),
        only: bool = False,
    ) -> list[tuple[Formula, Conjunction]]:
        """Split names by the classes that they are in, and leave out those that no property may have."""
        cells = list(cells)
        for names, schema in classes:
            split = []
            for formula, value in cells:
                inside = (conj([formula, names]), self._conjunction([*value, schema]))
                outside = (conj([formula, negate(names)]), value)
                split += [inside] if only else [inside, outside]
            cells = [cell for cell in split if cell[0] != FALSE and _possible_name(cell[0]) and not self.empty(cell[1])]
            if len(cells) > MAX_CELLS:
                raise TooLarge
        joined: dict[Conjunction, Formula] = {}
        for formula, value in cells:
            joined[value] = disj([joined.get(value, FALSE), formula])
        return [(formula, value) for value, formula in joined.items()]


def _names(leaves: Iterable[Leaf]) -> list[str]:
    """Return the names of properties in leaves, each once."""
    names: list[str] = []
    for leaf in leaves:
        if isinstance(leaf, (Has, Property)):
            names.append(leaf.name)
        elif isinstance(leaf, (Properties, SomeProperty)):
            names += [name for one in leaves_of(leaf.names) if isinstance(one, Texts) for name in sorted(one.texts)]
    return list(dict.fromkeys(names))


def _elsewhere(names: Formula) -> Formula:
    """Return what a formula says of names that are none of the known ones."""
    if isinstance(names, And):
        return conj(map(_elsewhere, names.items))
    if isinstance(names, Or):
        return disj(map(_elsewhere, names.items))
    if isinstance(names, Not):
        return negate(_elsewhere(names.leaf))
    return FALSE if isinstance(names, Texts) else names


def _possible_name(formula: Formula) -> bool:
    return not isinstance(formula, And) or _possible_string(formula.items)


def _possible_string(term: Iterable[Any]) -> bool:
    """Tell whether a string might satisfy all leaves of a term."""
    leaves = [leaf for leaf in term if isinstance(leaf, Leaf)]
    texts = next((leaf.texts for leaf in leaves if isinstance(leaf, Texts)), None)
    if texts is not None:
        return any(all(_fits(leaf, text) for leaf in leaves) for text in texts)
    low = [leaf.low for leaf in leaves if isinstance(leaf, Length)]
    high = [leaf.high for leaf in leaves if isinstance(leaf, Length) and leaf.high is not None]
    return max(low, default=0) <= min(high, default=1 << 62)


def _fits(leaf: Any, text: str) -> bool:
    plain = leaf.leaf if isinstance(leaf, Not) else leaf
    if isinstance(plain, Format):
        return True
    return bool(plain.holds(text)) != isinstance(leaf, Not)
