"""What schemas say of arrays and objects: leaves of formulas whose parts are other schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .formula import Compound, Formula, Leaf, conj, disj, outside


class Literal(NamedTuple):
    """A schema, by its number, that a value satisfies or does not."""

    schema: int
    positive: bool = True

    def negated(self) -> Literal:
        """Return the opposite."""
        return Literal(self.schema, not self.positive)


@dataclass(frozen=True)
class Size(Compound):
    """An array has a number of items."""

    low: int
    high: int | None

    def negation(self) -> Formula:
        """Return that it has fewer or more."""
        return outside(Size, self.low, self.high)


@dataclass(frozen=True)
class Item(Compound):
    """An array has no item at an index, or one that satisfies a schema."""

    index: int
    schema: Literal

    def negation(self) -> Formula:
        """Return that it has one that does not."""
        return conj([Size(self.index + 1, None), Item(self.index, self.schema.negated())])


@dataclass(frozen=True)
class Rest(Compound):
    """All items of an array from an index on satisfy a schema."""

    start: int
    schema: Literal

    def negation(self) -> Formula:
        """Return that one does not."""
        return Contains(self.schema.negated(), 1, None, self.start)


@dataclass(frozen=True)
class Contains(Compound):
    """From an index on, so many items of an array satisfy a schema."""

    schema: Literal
    low: int
    high: int | None
    start: int = 0

    def negation(self) -> Formula:
        """Return that fewer or more do."""
        if self.low == 1 and self.high is None:
            return Rest(self.start, self.schema.negated())
        below = [Contains(self.schema, 0, self.low - 1, self.start)] if self.low > 0 else []
        above = [] if self.high is None else [Contains(self.schema, self.high + 1, None, self.start)]
        return disj([*below, *above])


@dataclass(frozen=True)
class Unique(Compound):
    """No two items of an array are equal; the place of the keyword tells its leaves apart."""

    pointer: str

    def negation(self) -> Formula:
        """Return that two are equal."""
        return Repeated(self.pointer)


@dataclass(frozen=True)
class Repeated(Compound):
    """Two items of an array are equal, which nothing asks for; the place of the keyword tells its leaves apart."""

    pointer: str

    def negation(self) -> Formula:
        """Return that no two are."""
        return Unique(self.pointer)


@dataclass(frozen=True)
class Has(Leaf):
    """An object has a property, or has not."""

    name: str
    present: bool = True

    def opposite(self) -> Has:
        """Return the opposite."""
        return Has(self.name, not self.present)

    def negation(self) -> Formula:
        """Return the opposite."""
        return Has(self.name, not self.present)


@dataclass(frozen=True)
class Property(Compound):
    """An object has no property of a name, or one that satisfies a schema."""

    name: str
    schema: Literal

    def negation(self) -> Formula:
        """Return that it has one that does not."""
        return conj([Has(self.name), Property(self.name, self.schema.negated())])


@dataclass(frozen=True)
class Properties(Compound):
    """All properties whose names satisfy a formula satisfy a schema."""

    names: Formula
    schema: Literal

    def negation(self) -> Formula:
        """Return that one does not."""
        return SomeProperty(self.names, self.schema.negated())


@dataclass(frozen=True)
class SomeProperty(Compound):
    """A property whose name satisfies a formula satisfies a schema."""

    names: Formula
    schema: Literal

    def negation(self) -> Formula:
        """Return that none does."""
        return Properties(self.names, self.schema.negated())


@dataclass(frozen=True)
class Count(Compound):
    """An object has a number of properties."""

    low: int
    high: int | None

    def negation(self) -> Formula:
        """Return that it has fewer or more."""
        return outside(Count, self.low, self.high)
