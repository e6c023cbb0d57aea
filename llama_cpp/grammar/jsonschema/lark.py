"""Nodes as a grammar in llguidance's Lark dialect.

Rules are kept as a plain context-free grammar until the end, so that what nothing can be derived from is taken out: a
generation must not be led to a place where it can't go on.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..checks import Checks
from ..checks import Node as CheckedNode
from ..matching import empty_terminals
from . import numeric, strings
from .formula import (
    FALSE,
    And,
    Endless,
    Formula,
    Not,
    Term,
    TooLarge,
    Unsupported,
    alternatives,
    conj,
    leaves_of,
    negate,
)
from .numeric import Integer, Multiple
from .shapes import MAX_STATES, ArrayShape, Conjunction, Node, ObjectShape, Shapes, listed_strings
from .strings import Format, Pattern, Texts
from .structure import Literal, Unique

MAX_RULES = 12_000  # llguidance takes 65,000 symbols
MAX_REPEAT = 1_000_000  # nobody writes longer arrays
MAX_DOMAIN = 62  # llguidance's parameters of rules have 64 bits

# What may stand beside a token where tidy documents have blanks. They belong to the tokens that they stand beside: what
# llguidance ignores, it takes any number of times.
_LINE = r"\n(?: {0,40}|\t{0,10})"
_BEFORE = frozenset({'","', '":"', '"]"', '"}"'})
_AFTER = frozenset({'","', '":"', '"["', '"{"'})


_TOKEN_NAMES = {
    '","': "COMMA",
    '":"': "COLON",
    '"["': "OPEN_ARRAY",
    '"]"': "CLOSE_ARRAY",
    '"{"': "OPEN_OBJECT",
    '"}"': "CLOSE_OBJECT",
    '"[]"': "EMPTY_ARRAY",
    '"{}"': "EMPTY_OBJECT",
}


def _tokens(whitespace: str | None) -> dict[str, str]:
    """Return the terminals of JSON's punctuation, with the whitespace beside it."""
    if whitespace is None:
        return {
            '","': f"/,(?: |{_LINE})?/",
            '":"': "/: ?/",
            '"["': rf"/\[(?:{_LINE})?/",
            '"{"': rf"/\{{(?:{_LINE})?/",
            '"]"': rf"/(?:{_LINE})?\]/",
            '"}"': rf"/(?:{_LINE})?\}}/",
            '"[]"': '"[]"',
            '"{}"': '"{}"',
        }
    blanks = f"(?:{whitespace})?" if whitespace else ""
    tokens = {'"[]"': rf"/\[{blanks}\]/", '"{}"': rf"/\{{{blanks}\}}/"}
    for token in _BEFORE | _AFTER:
        before, after = (blanks if token in some else "" for some in (_BEFORE, _AFTER))
        tokens[token] = rf"/{before}\{token[1]}{after}/"
    return tokens


@dataclass
class _Place:
    """What is checked at the end of a value, and the names of the nodes of its parts; see `checks.Node`."""

    unique: bool = False
    distinct: bool = False
    multiples: list[tuple[float, bool]] = field(default_factory=list)
    prefix: list[list[str]] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)


class Repeat(NamedTuple):
    """A symbol that is written some times."""

    symbol: str
    low: int
    high: int | None

    def __str__(self) -> str:
        if self.high is None:
            return f"{self.symbol}*" if self.low == 0 else f"{self.symbol}{{{self.low},}}"
        return f"{self.symbol}{{{self.low},{self.high}}}"


class Maybe(NamedTuple):
    """Symbols that are written, or are not."""

    symbols: tuple[Any, ...]


Symbol = str | Repeat | Maybe
Alternative = tuple[Symbol, ...]


class Grammar:
    """Collects the rules that write what satisfies a conjunction of schemas.

    Args:
        shapes: where the nodes come from.
        whitespace: regular expression of the whitespace between tokens, "" for none, None for that of tidy documents.
        checked: whether the ends of values can be checked while a text is written.
        max_rules: that are made before the rest is given up.
    """

    def __init__(
        self, shapes: Shapes, whitespace: str | None, checked: bool = False, max_rules: int = MAX_RULES
    ) -> None:
        self._max_rules = max_rules
        self._shapes = shapes
        self._checked = checked
        self._places: dict[str, _Place] = {}
        self._tokens = _tokens(whitespace)
        self._rules: dict[str, list[Alternative]] = {}
        self._conditions: dict[tuple[str, Alternative], int] = {}
        self._parametric: set[str] = set()
        self._terminals: dict[str, str] = {}
        self._doubtful: dict[str, str] = {}
        self._nodes: dict[Conjunction, str] = {}
        self._waiting: list[tuple[str, Conjunction]] = []

    def text(self, start: Iterable[Literal]) -> str | None:
        """Return the grammar of a node, None if there is nothing to write."""
        first = self._node(self._shapes.conjunction(start))
        while self._waiting:
            name, literals = self._waiting.pop()
            self._rules[name] = self._value(name, literals)
        rules = self._without_dead_ends()
        if first not in rules:
            return None
        if not self._parametric:  # conditions belong to alternatives as they are
            rules = _joined(rules, first)
        lines = [f"start: {first}", *self._lines(rules, first)]
        used = {symbol for rule in rules.values() for one in rule for symbol in _names(one)}
        lines += [f"{name}: {self._tokens[token]}" for token, name in _TOKEN_NAMES.items() if token in used]
        terminals = [
            f"{name}: {text.replace(strings.STRING, 'STRING')}"
            for text, name in self._terminals.items()
            if name in used
        ]
        lines += [f"STRING: {strings.STRING}", *terminals] if any("STRING" in one for one in terminals) else terminals
        return "\n".join(lines)

    def checks(self) -> Checks | None:
        """Return what is checked at the ends of values in the text, None if nothing is."""
        if not any(place.unique or place.distinct or place.multiples for place in self._places.values()):
            return None
        numbers = {name: number for number, name in enumerate(self._places)}

        def nodes(names: Iterable[str]) -> tuple[int, ...]:
            return tuple(dict.fromkeys(numbers[name] for name in names))

        return Checks(
            tuple(
                CheckedNode(
                    place.unique,
                    place.distinct,
                    tuple(dict.fromkeys(place.multiples)),
                    tuple(map(nodes, place.prefix)),
                    nodes(place.items),
                    {name: nodes(some) for name, some in place.names.items()},
                    nodes(place.rest),
                )
                for place in self._places.values()
            )
        )

    def _value(self, name: str, literals: Conjunction) -> list[Alternative]:
        """Return the alternatives of a node, without what is checked afterwards.

        Raises:
            UnsupportedSchemaError: if nothing may be, and something would have to.
        """
        pointer = self._shapes.schemas.pointer(literals[0]) if literals else ""
        while True:
            try:
                if literals and len(self._rules) > self._max_rules:
                    raise TooLarge
                node, place = self._shapes.node(literals), _Place()
                alternatives = list(self._alternatives(node, place))
            except Unsupported as problem:
                self._shapes.schemas.give_up_leaf(problem, pointer)
                self._shapes.ignore(problem.leaf)
            except TooLarge:
                self._shapes.schemas.give_up("", pointer, "it has too many cases")
                literals = ()
            except Endless:
                raise self._shapes.schemas.error("$ref", pointer, "it refers to itself without an end") from None
            else:
                self._places[name] = place
                return alternatives

    # -- rules ---------------------------------------------------------------------------------------------------------

    def _node(self, literals: Conjunction) -> str:
        if literals not in self._nodes:
            name = f"value{len(self._nodes)}"
            self._nodes[literals] = name
            self._waiting.append((name, literals))
        return self._nodes[literals]

    def _rule(self, name: str, *alternatives: Alternative) -> str:
        """Add a rule, or return the one that is there."""
        self._rules.setdefault(name, list(alternatives))
        return name

    def _terminal(self, text: str, doubtful: bool = False) -> str:
        """Return the name of a terminal, which may be empty if it is doubtful; a rule of llguidance's has none."""
        if text.startswith(("%json ", '"-" %json ')):
            return text
        name = self._terminals.setdefault(text, f"T{len(self._terminals)}")
        if doubtful and "&" in text:
            self._doubtful[name] = text
        return name

    def _alternatives(self, node: Node, place: _Place) -> Iterator[Alternative]:
        for kind in node.constants:
            yield (f'"{kind}"',)
        yield from self._numbers(node.numbers, place)
        if node.strings != FALSE:
            yield (self._string(node.strings),)
        for array in node.arrays:
            if array.repeated is not None:
                raise Unsupported(array.repeated, "that some items are equal can't be demanded")
            place.prefix += [[] for _ in array.prefix[len(place.prefix) :]]
            for several, literals in zip(
                place.prefix, [*array.prefix, *[array.rest] * len(place.prefix)], strict=False
            ):
                several.append(self._node(literals))
            place.items.append(self._node(array.rest))
            yield from self._array(array, place)
        for shape in node.objects:
            for key, _, literals in shape.names:
                place.names.setdefault(key, []).append(self._node(literals))
            place.rest += [self._node(literals) for _, literals in (*shape.rest, *shape.last)]
            if shape.distinct is not None:
                if not self._checked:
                    raise Unsupported(shape.distinct, "nothing keeps free names from being equal")
                place.distinct = True
            if shape.low == 0 and not shape.last and not any(required for _, required, _ in shape.names):
                yield ('"{}"',)
            yield ('"{"', self._object(shape), '"}"')

    def _note_items(self, shape: ArrayShape, place: _Place) -> None:
        rest = self._node(shape.rest)
        place.prefix += [list(place.items) for _ in shape.prefix[len(place.prefix) :]]
        for index, nodes in enumerate(place.prefix):
            nodes.append(self._node(shape.prefix[index]) if index < len(shape.prefix) else rest)
        place.items.append(rest)

    def _numbers(self, terms: list[Term], place: _Place) -> Iterator[Alternative]:
        for term in terms:
            try:
                texts = numeric.alternatives_of(term)
            except Unsupported:
                checked = numeric.checked_multiples(term)
                if not self._checked:
                    raise
                if any((divisor, not positive) in place.multiples for divisor, positive in checked):
                    continue  # one check serves all numbers
                place.multiples += checked
                texts = numeric.unchecked_alternatives(term)
            doubtful = any(isinstance(leaf, Not) and leaf.leaf == Integer() for leaf in term)
            yield from ((self._terminal(text, doubtful),) for text in texts)

    def _string(self, formula: Formula) -> str:
        texts = (
            next((one.texts for one in formula.items if isinstance(one, Texts)), ()) if isinstance(formula, And) else ()
        )
        if texts and not any(isinstance(leaf, Format) for leaf in leaves_of(formula)):
            formula = Texts(tuple(text for text in texts if strings.fits(formula, text)))
        return self._terminal(strings.terminal(formula), _has_pattern(formula))

    # -- arrays --------------------------------------------------------------------------------------------------------

    def _array(self, shape: ArrayShape, place: _Place) -> Iterator[Alternative]:
        high = None if shape.high is None else min(shape.high, MAX_REPEAT)
        if shape.low > MAX_REPEAT:
            raise TooLarge
        if shape.unique and high is not None and high <= 1:
            shape = replace(shape, unique=None)
        if shape.unique:
            try:
                yield from list(self._counted_array(shape, place))
            except (Unsupported, TooLarge):
                if not self._checked:
                    raise
                place.unique = True
                shape = replace(shape, unique=None)
            else:
                return
        if shape.contains:
            yield from self._counted_array(shape, place)
            return
        if shape.low == 0:
            yield ('"[]"',)
        if high != 0:
            items = [self._node(literals) for literals in shape.prefix[:high]] or [self._node(shape.rest)]
            yield ('"["', items[0], self._more_items(shape, items, high), '"]"')

    def _more_items(self, shape: ArrayShape, items: list[str], high: int | None) -> str:
        """Return the rule of what follows the first item: those of the prefix one by one, then the others."""
        rest = self._node(shape.rest)
        name = f"items{len(self._rules)}_"
        count = len(items)
        comma_rest = self._rule(f"more_{rest}", ('","', rest))
        left = None if high is None else high - count
        self._rule(f"{name}{count}", () if left == 0 else (Repeat(comma_rest, max(shape.low - count, 0), left),))
        for index in range(count - 1, 0, -1):
            stop: list[Alternative] = [()] if index >= shape.low else []
            self._rule(f"{name}{index}", *stop, ('","', items[index], f"{name}{index + 1}"))
        return f"{name}1"

    def _counted_array(self, shape: ArrayShape, place: _Place) -> Iterator[Alternative]:
        """Yield the alternatives of an array whose items must be counted or told apart: one rule for each state."""
        for one in shape.contains:
            leaves = leaves_of(self._shapes.schemas.formula(one.schema, "number"))
            if any(isinstance(leaf, Multiple) and not leaf.is_binary for leaf in leaves):
                raise Unsupported(one, "which items are multiples is not known before they end")
        states = self._states(shape)
        for symbol in dict.fromkeys(symbol for _, edges in states.values() for symbol, bit, _ in edges if bit is None):
            for nodes in (*place.prefix, place.items):
                nodes.append(symbol)
        name = f"counted{len(self._rules)}_"
        numbers = {state: number for number, state in enumerate(states)}
        for state, (accepting, edges) in states.items():
            rule = f"{name}{numbers[state]}"
            options: list[Alternative] = [()] if accepting else []
            steps: list[Alternative] = []
            for symbol, bit, target in edges:
                following = f"{name}{numbers[target]}"
                if bit is None:
                    steps.append((symbol, following))
                    continue
                self._parametric.add(rule)
                steps.append((symbol, f"{following}::set_bit({bit})" if states[target][1] else following))
                self._conditions[rule, ('","', *steps[-1])] = bit
            self._rule(rule, *options, *(('","', *step) for step in steps))
            if state == next(iter(states)):
                if accepting:
                    yield ('"[]"',)
                for symbol, bit, target in edges:
                    following = f"{name}{numbers[target]}"
                    if bit is not None and states[target][1]:
                        following += f"::{hex(1 << bit)}"
                    yield ('"["', symbol, following, '"]"')

    def _states(self, shape: ArrayShape) -> dict[Any, tuple[bool, list[tuple[str, int | None, Any]]]]:
        """Return the states of an array: whether it may end there, and the items that lead to others."""
        high, bits = shape.high, {}
        if shape.unique:
            parts = (
                {*shape.prefix[:high], shape.rest}
                if high is None or high > len(shape.prefix)
                else {*shape.prefix[:high]}
            )
            domain = list(dict.fromkeys(text for part in parts for text in self._domain(part, shape.unique)))
            if len(domain) > MAX_DOMAIN:
                raise Unsupported(shape.unique, "its items can have too many values")
            bits = {text: bit for bit, text in enumerate(domain)}
            high = len(domain) if high is None else min(high, len(domain))
        last = max([len(shape.prefix), shape.low, high or 0, *(one.start for one in shape.contains)])
        states: dict[Any, tuple[bool, list[tuple[str, int | None, Any]]]] = {}
        waiting: list[Any] = [(0, (0,) * len(shape.contains))]
        while waiting:
            state = waiting.pop()
            if state in states:
                continue
            if len(states) > MAX_STATES:
                raise TooLarge
            position, counts = state
            accepting = position >= shape.low and all(
                count >= one.low for count, one in zip(counts, shape.contains, strict=True)
            )
            edges: list[tuple[str, int | None, Any]] = []
            if high is None or position < high:
                for literals, following in self._items(shape, position, counts):
                    target = (min(position + 1, last), following)
                    if shape.unique:
                        edges += [
                            (text, bits[text], target) for text in self._domain(literals, shape.unique) if text in bits
                        ]
                    else:
                        edges.append((self._node(literals), None, target))
                    waiting.append(target)
            states[state] = (accepting, edges)
        return states

    def _items(self, shape: ArrayShape, position: int, counts: tuple[int, ...]) -> Iterator[tuple[Conjunction, Any]]:
        """Yield the kinds of items that may come next, told apart by what is counted, and the counts after them."""
        own = shape.prefix[position] if position < len(shape.prefix) else shape.rest
        for choice in itertools.product((True, False), repeat=len(counts)):
            literals, following = list(own), list(counts)
            for index, (one, taken) in enumerate(zip(shape.contains, choice, strict=True)):
                if position < one.start:
                    if not taken:
                        break
                    continue
                literals.append(one.schema if taken else one.schema.negated())
                following[index] = min(counts[index] + taken, (one.low if one.high is None else one.high + 1))
                if one.high is not None and following[index] > one.high:
                    break
            else:
                if not self._shapes.empty(tuple(dict.fromkeys(literals))):
                    yield tuple(dict.fromkeys(literals)), tuple(following)

    def _domain(self, literals: Conjunction, unique: Unique) -> list[str]:
        """Return the terminals of all values of a node, each of one value.

        Raises:
            Unsupported: if they can't be listed.
        """
        node = self._shapes.node(literals)
        texts = [f'"{kind}"' for kind in node.constants]
        listed = [numeric.listed(term) for term in node.numbers]
        formulas = list(alternatives(node.strings, lambda term: True, MAX_STATES))
        words = [listed_strings(term) for term in formulas]
        formats = any(isinstance(leaf, Format) for term in formulas for leaf in term)
        if None in listed or None in words or formats or node.arrays or node.objects:
            raise Unsupported(unique, "the values of its items can't be listed")
        for numbers in listed:
            texts += [self._terminal(numeric.Numbers(frozenset({one})).written()) for one in sorted(numbers or ())]
        for several in words:
            texts += [self._terminal(Texts((one,)).terminal(False)) for one in several or ()]
        return texts

    # -- objects -------------------------------------------------------------------------------------------------------

    def _object(self, shape: ObjectShape) -> str:
        """Return the rule of an object's properties, at least one: named ones in their order, then the others.

        Its rules are named by how many of the named properties have been passed, and how many have been written, as far
        as that matters.
        """
        needed = sum(required for _, required, _ in shape.names)
        counting = shape.low > needed or shape.high is not None
        cap = (max(shape.low, 1) if shape.high is None else shape.high) if counting else 1
        if len(shape.names) * cap > self._max_rules:
            raise TooLarge
        name = f"members{len(self._rules)}_"
        counts = {0}
        for index, (key, required, literals) in enumerate(shape.names):
            pair = (self._terminal(f"/{strings.literal(key)}/"), '":"', self._node(literals))
            after = set()
            for count in counts:
                options: list[Alternative] = []
                if shape.high is None or count < shape.high:
                    comma = ('","',) if count else ()
                    more = min(count + 1, cap)
                    options.append((*comma, *pair, f"{name}{index + 1}_{more}"))
                    after.add(more)
                if not required:
                    options.append((f"{name}{index + 1}_{count}",))
                    after.add(count)
                self._rules[f"{name}{index}_{count}"] = options
            counts = after
        rest = self._pairs(shape.rest, shape.known, name)
        last = self._pairs(shape.last, shape.known, f"{name}last_")
        for count in counts:
            options = list(self._others(shape, count, rest, last, counting))
            self._rules[f"{name}{len(shape.names)}_{count}"] = options
        return f"{name}0_0"

    def _pairs(self, cells: Iterable[tuple[Formula, Conjunction]], known: tuple[str, ...], name: str) -> str | None:
        """Return the rule of one property that is none of the known ones."""
        options: list[Alternative] = []
        for names, literals in cells:
            key = conj([names, *([negate(Texts(known))] if known else [])])
            options.append((self._terminal(strings.terminal(key), _has_pattern(key)), '":"', self._node(literals)))
        return self._rule(f"{name}pair", *options) if options else None

    def _others(
        self, shape: ObjectShape, count: int, rest: str | None, last: str | None, counting: bool
    ) -> Iterator[Alternative]:
        """Yield what may follow the named properties, of which so many were written."""
        low = max(shape.low - count, 0) if counting else 0
        high = None if shape.high is None else shape.high - count
        if last is not None:
            if high is None or high > 0:
                before, least = None if high is None else high - 1, max(low - 1, 0)
                if rest is None or before == 0:
                    if least == 0:
                        yield ('","', last) if count else (last,)
                elif count:
                    more = self._rule(f"{rest}_more", ('","', rest))
                    yield (Repeat(more, least, before), '","', last)
                else:
                    each = self._rule(f"{rest}_each", (rest, '","'))
                    yield (Repeat(each, least, before), last)
            return
        if low == 0 and count:
            yield ()
        if rest is not None and (high is None or high > 0):
            more = self._rule(f"{rest}_more", ('","', rest))
            first: Alternative = ('","', rest) if count else (rest,)
            least = max(low - 1, 0)
            yield first if high == 1 else (*first, Repeat(more, least, None if high is None else high - 1))

    # -- dead ends -----------------------------------------------------------------------------------------------------

    def _without_dead_ends(self) -> dict[str, list[Alternative]]:
        """Return the rules that something can be derived from, without the alternatives that lead nowhere."""
        empty = empty_terminals(self._doubtful)
        users: dict[str, list[tuple[str, int]]] = {}
        missing: dict[tuple[str, int], int] = {}
        ready: list[str] = []
        alive: set[str] = set()

        def needs(alternative: Alternative) -> set[str]:
            names = (name for one in alternative if not _optional(one) for name in _names((one,)))
            return {name for name in names if name in self._rules or name in empty}

        for name, rule in self._rules.items():
            for index, alternative in enumerate(rule):
                needed = needs(alternative)
                missing[name, index] = len(needed)
                for one in needed:
                    users.setdefault(one, []).append((name, index))
                if not needed:
                    ready.append(name)
        while ready:
            name = ready.pop()
            if name not in alive:
                alive.add(name)
                for user in users.get(name, ()):
                    missing[user] -= 1
                    if missing[user] == 0:
                        ready.append(user[0])
        return {
            name: [
                tuple(one for one in alternative if not _optional(one) or alive.issuperset(_names((one,))))
                for index, alternative in enumerate(rule)
                if missing[name, index] == 0
            ]
            for name, rule in self._rules.items()
            if name in alive
        }

    def _lines(self, rules: dict[str, list[Alternative]], first: str) -> Iterator[str]:
        """Yield the rules that are used; those with a parameter say so."""
        waiting, seen = [first], {first}
        while waiting:
            name = waiting.pop()
            options = []
            for alternative in rules[name]:
                text = self._text(alternative) or '""'
                bit = self._conditions.get((name, alternative))
                options.append(text if bit is None else f"{text} %if bit_clear({bit})")
                for rule in _names(alternative):
                    if rule in rules and rule not in seen:
                        seen.add(rule)
                        waiting.append(rule)
            yield f"{name}{'::_' if name in self._parametric else ''}: {' | '.join(options)}"

    def _text(self, symbols: Iterable[Symbol]) -> str:
        return " ".join(
            f"({self._text(one.symbols)})?" if isinstance(one, Maybe) else _TOKEN_NAMES.get(str(one), str(one))
            for one in symbols
        )


def _joined(rules: dict[str, list[Alternative]], first: str) -> dict[str, list[Alternative]]:
    """Return fewer rules that say the same: those with one alternative that are used once become parts of others."""
    rules = {name: _as_maybe(rule) for name, rule in rules.items()}
    uses = Counter(name for rule in rules.values() for one in rule for name in _names(one))
    repeated = {
        symbol.symbol for rule in rules.values() for one in rule for symbol in one if isinstance(symbol, Repeat)
    }

    def is_part(symbol: Symbol) -> bool:
        if not isinstance(symbol, str) or symbol == first or symbol in repeated or len(rules.get(symbol, ())) != 1:
            return False
        only = rules[symbol][0]
        return uses[symbol] == 1 or (len(only) == 1 and isinstance(only[0], str) and only[0] not in rules)

    def expanded(symbols: Alternative) -> Alternative:
        result: list[Symbol] = []
        waiting = list(reversed(symbols))
        while waiting:
            symbol = waiting.pop()
            if is_part(symbol):
                waiting += reversed(rules[str(symbol)][0])
            elif isinstance(symbol, Maybe):
                result.append(Maybe(expanded(symbol.symbols)))
            else:
                result.append(symbol)
        return tuple(result)

    reachable: dict[str, list[Alternative]] = {}
    waiting = [first]
    while waiting:
        name = waiting.pop()
        if name in rules and name not in reachable:
            reachable[name] = [expanded(one) for one in rules[name]]
            waiting += [one for alternative in reachable[name] for one in _names(alternative)]
    return reachable


def _as_maybe(rule: list[Alternative]) -> list[Alternative]:
    """Return one alternative for two of which one only leaves a beginning out."""
    if len(rule) == 2:
        short, long = sorted(rule, key=len)
        rest = len(long) - len(short)
        if rest and long[rest:] == short and len(short) <= 1:
            return [(Maybe(long[:rest]), *short)]
    return rule


def _names(symbols: Iterable[Symbol]) -> Iterator[str]:
    """Yield the names of rules and terminals in symbols."""
    for symbol in symbols:
        if isinstance(symbol, Maybe):
            yield from _names(symbol.symbols)
        else:
            yield _plain(symbol)


def _has_pattern(formula: Formula) -> bool:
    return any(isinstance(leaf, (Pattern, Format)) for leaf in leaves_of(formula))


def _plain(symbol: str | Repeat) -> str:
    """Return the name of a rule or terminal in a symbol."""
    return (symbol.symbol if isinstance(symbol, Repeat) else symbol).split("::")[0]


def _optional(symbol: Symbol) -> bool:
    return isinstance(symbol, Repeat) and symbol.low == 0
