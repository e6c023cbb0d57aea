"""Conjunctions of schemas in normal form: what remains to be written, kind by kind.

A node is the set of all schemas that one value has to satisfy, or not to satisfy. Its arrays and objects are
alternatives of shapes whose parts are nodes again, so that recursive schemas become recursive rules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import numeric, strings
from .formula import (
    FALSE,
    TRUE,
    And,
    Endless,
    Formula,
    Leaf,
    Not,
    Or,
    Term,
    TooLarge,
    Unknown,
    Unsupported,
    absorbed,
    alternatives,
    conj,
    disj,
    leaves_of,
    negate,
    without,
)
from .keywords import KINDS, Kind, Schemas
from .strings import Format, Length, Texts
from .structure import (
    Contains,
    Count,
    Has,
    Item,
    Literal,
    Properties,
    Property,
    Repeated,
    Rest,
    Size,
    SomeProperty,
    Unique,
)

MAX_STEPS = 500  # conjunctions that one formula may lead to
MAX_WORK = 5000  # and all of them
MAX_CELLS = 64  # kinds of property names that one object may tell apart
MAX_STATES = 400  # of an array whose items are counted

Conjunction = tuple[Literal, ...]  # in the order in which the schema names them, which decides that of properties


@dataclass(frozen=True)
class ArrayShape:
    """Arrays.

    Attributes:
        prefix: what the first items satisfy.
        rest: what all others do.
        low, high: how many there are.
        contains: how many of them satisfy other schemas.
        unique: whether they must differ.
        repeated: whether two must be equal.
    """

    prefix: tuple[Conjunction, ...]
    rest: Conjunction
    low: int
    high: int | None
    contains: tuple[Contains, ...]
    unique: Unique | None
    repeated: Repeated | None


@dataclass(frozen=True)
class ObjectShape:
    """Objects.

    Attributes:
        names: properties in the order in which they are written: name, whether it must be there, what it satisfies.
        rest: other properties: formula of their names, what they satisfy. The formulas exclude each other.
        last: one of these must come last.
        known: names that no other property has.
        low, high: how many properties there are.
        distinct: the leaf that needs all names to differ, where only a check at their end can tell.
    """

    names: tuple[tuple[str, bool, Conjunction], ...]
    rest: tuple[tuple[Formula, Conjunction], ...]
    last: tuple[tuple[Formula, Conjunction], ...]
    known: tuple[str, ...]
    low: int
    high: int | None
    distinct: Count | None

    def ordered(self, order: Mapping[str, int]) -> ObjectShape:
        """Return the shape with its names in an order."""
        names = sorted(self.names, key=lambda one: order.get(one[0], len(order)))
        return replace(self, names=tuple(names), known=tuple(sorted(self.known)))


@dataclass
class Node:
    """The values that satisfy a conjunction of schemas."""

    constants: list[str] = field(default_factory=list)
    numbers: list[Term] = field(default_factory=list)
    strings: Formula = FALSE
    arrays: list[ArrayShape] = field(default_factory=list)
    objects: list[ObjectShape] = field(default_factory=list)


class Shapes:
    """Makes nodes out of schemas.

    Attributes:
        schemas: the schemas.
        ignored: leaves that are checked afterwards.
    """

    def __init__(self, schemas: Schemas) -> None:
        self.schemas = schemas
        schemas.satisfiable = self.satisfiable
        self.ignored: set[Leaf] = set()
        self._empty: dict[frozenset[Literal], bool] = {}
        self._objects_made: dict[Any, list[ObjectShape]] = {}
        self._formulas: dict[tuple[Conjunction, Kind], Formula] = {}
        self._work = 0

    def node(self, literals: Conjunction) -> Node:
        """Return the node of a conjunction."""
        node = Node()
        for kind in self.schemas.kinds(literals):
            formula = self._formula(literals, kind)
            if formula == FALSE:
                continue
            if kind == "string":
                node.strings = self._strings(formula)
            elif kind == "number":
                node.numbers = absorbed(self._terms(formula, kind))
            elif kind == "array":
                arrays = list(dict.fromkeys(map(self._array, absorbed(self._terms(formula, kind)))))
                node.arrays = [shape for shape in arrays if shape.repeated is None] or arrays
            elif kind == "object":
                shapes = (shape for term in absorbed(self._terms(formula, kind)) for shape in self._objects(term))
                order = {name: place for place, name in enumerate(_names(leaves_of(formula)))}
                node.objects = list(dict.fromkeys(shape.ordered(order) for shape in shapes))
            else:
                node.constants.append(kind)
        return node

    def _strings(self, formula: Formula) -> Formula:
        """Return a formula of strings without what lacks a format, which nothing tells, unless that is all of it."""
        lacking = [leaf for leaf in leaves_of(formula) if isinstance(leaf, Format)]
        for one in (_with_formats(formula), formula) if lacking else (formula,):
            if self.satisfiable(one, "string"):
                return one
        return FALSE

    def _formula(self, literals: Conjunction, kind: Kind) -> Formula:
        if (literals, kind) not in self._formulas:
            formulas = [self.schemas.formula(literal, kind) for literal in literals]
            formula = formulas[0] if len(formulas) == 1 else conj(formulas)
            self._formulas[literals, kind] = without(formula, self.ignored) if self.ignored else formula
        return self._formulas[literals, kind]

    def ignore(self, leaf: Leaf) -> None:
        """Leave out what is checked afterwards."""
        self.ignored.add(leaf)
        self._formulas.clear()

    def _terms(self, formula: Formula, kind: Kind) -> Iterator[Term]:
        return alternatives(formula, lambda term: self._possible(term, kind), MAX_STEPS)

    # -- what can't be -------------------------------------------------------------------------------------------------

    def satisfiable(self, formula: Formula, kind: Kind) -> bool:
        """Tell whether a value of a kind might satisfy a formula; False is certain."""
        if formula == FALSE or kind in ("null", "false", "true"):
            return formula != FALSE
        try:
            return any(True for _ in self._terms(formula, kind))
        except (TooLarge, RecursionError):
            return True

    def empty(self, literals: Conjunction) -> bool:
        """Tell whether no value satisfies a conjunction; True is certain."""
        if len(literals) < 2:  # what is wrong with a schema alone is a dead end of the grammar, and found there
            return any(self.schemas.is_true(literal.negated()) for literal in literals)
        key = frozenset(literals)
        if key not in self._empty:
            self._empty[key] = False  # it may contain itself: of that, nothing is certain
            with contextlib.suppress(Endless):  # it is asked about while its formula is made
                self._empty[key] = not any(self.satisfiable(self._formula(literals, kind), kind) for kind in KINDS)
        return self._empty[key]

    def _possible(self, term: Term, kind: Kind) -> bool:
        if not term:
            return True
        self._count_work()
        if kind == "number":
            return numeric.possible(term)
        if kind == "string":
            return _possible_string(term)
        try:
            if kind == "array":
                return self._possible_array(self._array(term))
            return any(True for _ in self._objects(term))
        except Unsupported:
            return True

    def _count_work(self) -> None:
        self._work += 1
        if self._work > MAX_WORK:
            raise TooLarge

    def _possible_array(self, shape: ArrayShape) -> bool:
        needed = max([shape.low, *(one.low and one.low + one.start for one in shape.contains)])
        if shape.high is not None and needed > shape.high:
            return False
        parts = [*shape.prefix[:needed], *([shape.rest] if needed > len(shape.prefix) else [])]
        return not any(map(self.empty, parts)) and all(
            one.high is None or one.low <= one.high for one in shape.contains
        )

    # -- shapes --------------------------------------------------------------------------------------------------------

    def conjunction(self, literals: Iterable[Literal]) -> Conjunction:
        """Return literals, each once, without those that say nothing."""
        return tuple(dict.fromkeys(literal for literal in literals if not self.schemas.is_true(literal)))

    def _array(self, term: Term) -> ArrayShape:
        sizes = [leaf for leaf in term if isinstance(leaf, Size)]
        items = [leaf for leaf in term if isinstance(leaf, Item)]
        rests = [leaf for leaf in term if isinstance(leaf, Rest)]
        length = max([0, *(item.index + 1 for item in items), *(rest.start for rest in rests)])
        prefix = (
            self.conjunction(
                [
                    *(item.schema for item in items if item.index == index),
                    *(rest.schema for rest in rests if rest.start <= index),
                ]
            )
            for index in range(length)
        )
        return ArrayShape(
            tuple(prefix),
            self.conjunction(rest.schema for rest in rests),
            max((size.low for size in sizes), default=0),
            min((size.high for size in sizes if size.high is not None), default=None),
            tuple(leaf for leaf in term if isinstance(leaf, Contains)),
            next((leaf for leaf in term if isinstance(leaf, Unique)), None),
            next((leaf for leaf in term if isinstance(leaf, Repeated)), None),
        )

    def _objects(self, term: Term, more: Iterable[str] = (), last: SomeProperty | None = None) -> Iterator[ObjectShape]:
        """Yield the shapes of a term: one, or as many as there are places for properties that must be somewhere."""
        names = list(dict.fromkeys([*_names(term), *more]))
        some = next((leaf for leaf in term if isinstance(leaf, SomeProperty)), None)
        if some is None:
            key = (term, tuple(names), last)
            if key not in self._objects_made:
                self._objects_made[key] = self._object(term, names, last)
            yield from self._objects_made[key]
            return
        self._count_work()
        rest = tuple(leaf for leaf in term if leaf != some)
        places = [name for name in names if strings.fits(some.names, name)]
        if self.schemas.is_true(some.schema) and any(Has(name) in term for name in places):
            yield from self._objects(rest, names, last)
            return
        for name in places:
            if Has(name, False) not in term and not self.empty((*self._property(term, name), some.schema)):
                yield from self._objects((*rest, Has(name), Property(name, some.schema)), names, last)
        for shape in self._objects(rest, names, some):
            if last is not None:
                raise Unsupported(some, "several properties that must be there may have any name")
            yield shape

    def _property(self, term: Term, name: str) -> Conjunction:
        """Return what a property satisfies."""
        own = [leaf.schema for leaf in term if isinstance(leaf, Property) and leaf.name == name]
        own += [leaf.schema for leaf in term if isinstance(leaf, Properties) and strings.fits(leaf.names, name)]
        return self.conjunction(own)

    def _object(self, term: Term, known: list[str], last: SomeProperty | None) -> list[ObjectShape]:
        """Return the shape of a term, if there is one."""
        required = {leaf.name for leaf in term if isinstance(leaf, Has) and leaf.present}
        absent = {leaf.name for leaf in term if isinstance(leaf, Has) and not leaf.present}
        classes = [leaf for leaf in term if isinstance(leaf, Properties)]
        names = []
        for name in known:
            value = self._property(term, name)
            if name not in absent and not self.empty(value):
                names.append((name, name in required, value))
            elif name in required:
                return []
        cells = self._cells([(_elsewhere(one.names), one.schema) for one in classes])
        final = []
        if last is not None:
            final = self._cells([(_elsewhere(last.names), last.schema)], cells, only=True)
            if not final:
                return []
        counts = [leaf for leaf in term if isinstance(leaf, Count)]
        low = max((count.low for count in counts), default=0)
        high = min((count.high for count in counts if count.high is not None), default=None)
        if high is not None and (high < low or high < len(required) + bool(final)):
            return []
        distinct = None
        if low > len(names) + bool(cells):
            if not cells:
                return []
            distinct = next(count for count in counts if count.low == low)
        return [ObjectShape(tuple(names), tuple(cells), tuple(final), tuple(known), low, high, distinct)]

    def _cells(
        self,
        classes: list[tuple[Formula, Literal]],
        cells: Iterable[tuple[Formula, Conjunction]] = ((TRUE, ()),),
        only: bool = False,
    ) -> list[tuple[Formula, Conjunction]]:
        """Split names by the classes that they are in, and leave out those that no property may have."""
        cells = list(cells)
        for names, schema in classes:
            split = []
            for formula, value in cells:
                inside = (conj([formula, names]), self.conjunction([*value, schema]))
                outside = (conj([formula, negate(names)]), value)
                split += [inside] if only else [inside, outside]
            cells = [cell for cell in split if cell[0] != FALSE and _possible_name(cell[0]) and not self.empty(cell[1])]
            if len(cells) > MAX_CELLS:
                raise TooLarge
        joined: dict[Conjunction, Formula] = {}
        for formula, value in cells:
            joined[value] = disj([joined.get(value, FALSE), formula])
        return [(formula, value) for value, formula in joined.items()]


def _with_formats(formula: Formula) -> Formula:
    """Return a formula in which nothing lacks a format."""
    if isinstance(formula, And):
        return conj(map(_with_formats, formula.items))
    if isinstance(formula, Or):
        return disj(map(_with_formats, formula.items))
    return FALSE if isinstance(formula, Not) and isinstance(formula.leaf, Format) else formula


def _names(leaves: Iterable[Leaf]) -> list[str]:
    """Return the names of properties in leaves, each once."""
    names: list[str] = []
    for leaf in leaves:
        if isinstance(leaf, (Has, Property)):
            names.append(leaf.name)
        elif isinstance(leaf, (Properties, SomeProperty)):
            names += [name for one in leaves_of(leaf.names) if isinstance(one, Texts) for name in one.texts]
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
    if any(isinstance(leaf, Texts) for leaf in leaves):
        return bool(listed_strings(leaves))
    low = [leaf.low for leaf in leaves if isinstance(leaf, Length)]
    high = [leaf.high for leaf in leaves if isinstance(leaf, Length) and leaf.high is not None]
    return max(low, default=0) <= min(high, default=1 << 62)


def listed_strings(term: Iterable[Leaf]) -> tuple[str, ...] | None:
    """Return the strings that satisfy a term if it lists some, else None; formats are not looked at."""
    leaves = list(term)
    texts = next((leaf.texts for leaf in leaves if isinstance(leaf, Texts)), None)
    return None if texts is None else tuple(text for text in texts if all(_fits(leaf, text) for leaf in leaves))


def _fits(leaf: Any, text: str) -> bool:
    plain: Any = leaf.leaf if isinstance(leaf, Not) else leaf
    return isinstance(plain, (Format, Unknown)) or bool(plain.holds(text)) != isinstance(leaf, Not)
