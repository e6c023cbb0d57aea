"""Boolean formulas over what a schema says of one kind of JSON value.

A formula is a leaf, an `And` or an `Or`. Negation is pushed down to the leaves at once: each knows its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar


class Leaf:
    """One statement about a value; leaves are compared and hashed by value."""

    def opposite(self) -> Leaf | None:
        """Return the leaf that holds exactly where this does not, None if that takes more than one."""
        return Not(self)

    def negation(self) -> Formula:
        """Return the formula that holds exactly where this does not."""
        return Not(self)


class Compound(Leaf):
    """A leaf whose negation is no leaf."""

    def opposite(self) -> Leaf | None:
        """Return nothing."""
        return None


@dataclass(frozen=True)
class Not(Leaf):
    """A leaf that does not hold."""

    leaf: Leaf

    def opposite(self) -> Leaf:
        """Return the leaf."""
        return self.leaf

    def negation(self) -> Formula:
        """Return the leaf."""
        return self.leaf


@dataclass(frozen=True)
class Unknown(Leaf):
    """What can't be enforced and is checked afterwards: it may hold or not, and so may its negation."""

    def opposite(self) -> None:
        """Return nothing."""

    def negation(self) -> Formula:
        """Return itself."""
        return self


@dataclass(frozen=True)
class And:
    """All of them hold."""

    items: tuple[Formula, ...]


@dataclass(frozen=True)
class Or:
    """One of them holds, or more."""

    items: tuple[Formula, ...]


Formula: TypeAlias = Leaf | And | Or
Term: TypeAlias = tuple[Leaf, ...]
F = TypeVar("F", And, Or)

TRUE = And(())
FALSE = Or(())
UNKNOWN = Unknown()


class TooLarge(Exception):
    """A formula has more alternatives than it may have."""


class Endless(Exception):
    """The formula of a schema needs itself."""


class Unsupported(Exception):
    """A leaf can't be enforced.

    Attributes:
        leaf: which one.
        reason: why, in words.
    """

    def __init__(self, leaf: Leaf, reason: str) -> None:
        super().__init__(reason)
        self.leaf = leaf
        self.reason = reason


def negate(formula: Formula) -> Formula:
    """Return the formula that holds exactly where another one does not."""
    if isinstance(formula, And):
        return disj(negate(item) for item in formula.items)
    if isinstance(formula, Or):
        return conj(negate(item) for item in formula.items)
    return formula.negation()


def outside(leaf: Callable[[int, int | None], Leaf], low: int, high: int | None) -> Formula:
    """Return the formula of the numbers below and above a range, of a leaf that takes a range."""
    below = [leaf(0, low - 1)] if low > 0 else []
    return disj([*below, *([] if high is None else [leaf(high + 1, None)])])


def disj(formulas: Iterable[Formula]) -> Formula:
    """Join formulas by "or"."""
    items = dict.fromkeys(_flat(formulas, Or))
    if TRUE in items or any(isinstance(item, Leaf) and item.opposite() in items for item in items):
        return TRUE
    return next(iter(items)) if len(items) == 1 else Or(tuple(items))


def conj(formulas: Iterable[Formula]) -> Formula:
    """Join formulas by "and"; what the leaves among them decide is taken out of the rest."""
    items = dict.fromkeys(_flat(formulas, And))
    while FALSE not in items:
        leaves = {item for item in items if isinstance(item, Leaf)}
        wrong = {opposite for leaf in leaves if (opposite := leaf.opposite()) is not None}
        if not wrong.isdisjoint(leaves):
            break
        simpler = items
        if len(leaves) < len(items):
            simpler = dict.fromkeys(_flat((_without(item, wrong) for item in items if not _implied(item, leaves)), And))
        if simpler == items:
            return next(iter(items)) if len(items) == 1 else And(tuple(items))
        items = simpler
    return FALSE


def _flat(formulas: Iterable[Formula], kind: type[F]) -> Iterator[Formula]:
    for formula in formulas:
        if isinstance(formula, kind):
            yield from formula.items
        else:
            yield formula


def _implied(item: Formula, leaves: set[Leaf]) -> bool:
    return isinstance(item, Or) and not leaves.isdisjoint(item.items)


def _without(item: Formula, wrong: set[Leaf]) -> Formula:
    if isinstance(item, Or) and not wrong.isdisjoint(item.items):
        return disj(part for part in item.items if part not in wrong)
    return item


def holds(formula: Formula, test: Callable[[Any], bool]) -> bool:
    """Tell whether a formula holds, given which of its leaves do."""
    if isinstance(formula, And):
        return all(holds(item, test) for item in formula.items)
    if isinstance(formula, Or):
        return any(holds(item, test) for item in formula.items)
    if isinstance(formula, Not):
        return not test(formula.leaf)
    return formula == UNKNOWN or test(formula)


def without(formula: Formula, unknown: Collection[Leaf]) -> Formula:
    """Return a formula in which some leaves are unknown."""
    if isinstance(formula, And):
        return conj(without(item, unknown) for item in formula.items)
    if isinstance(formula, Or):
        return disj(without(item, unknown) for item in formula.items)
    plain = formula.leaf if isinstance(formula, Not) else formula
    return UNKNOWN if plain in unknown else formula


def leaves_of(formula: Formula) -> Iterator[Leaf]:
    """Yield the leaves of a formula, those under a `Not` without it."""
    if isinstance(formula, (And, Or)):
        for item in formula.items:
            yield from leaves_of(item)
    else:
        yield formula.leaf if isinstance(formula, Not) else formula


def alternatives(formula: Formula, possible: Callable[[Term], bool], limit: int) -> Iterator[Term]:
    """Yield the disjunctive normal form of a formula.

    Args:
        formula: any.
        possible: tells of a conjunction of leaves whether a value might satisfy it; others are left out.
        limit: of the conjunctions that are looked at.

    Raises:
        TooLarge: if there are more.
    """
    waiting = [formula]
    while waiting:
        limit -= 1
        if limit < 0:
            raise TooLarge
        items = tuple(_flat([waiting.pop()], And))
        leaves = tuple(item for item in items if isinstance(item, Leaf) and item != UNKNOWN)
        choices = [item for item in items if isinstance(item, Or)]
        if (choices and not choices[0].items) or not possible(leaves):
            continue
        if choices:
            # What is chosen here decides much of the other choices: conj() takes it out of them.
            choice = min(choices, key=lambda item: len(item.items))
            rest = [item for item in items if item is not choice]
            waiting += [conj([*rest, part]) for part in reversed(choice.items)]
        else:
            yield leaves


def absorbed(terms: Iterable[Term]) -> list[Term]:
    """Return terms without those that others contain."""
    found: dict[frozenset[Leaf], Term] = {}
    for term in terms:
        key = frozenset(term)
        if not any(other <= key for other in found):
            found = {other: old for other, old in found.items() if not key < other}
            found[key] = term
    return list(found.values())
