"""llama.cpp's GBNF: parsed as llama.cpp parses it, so that what is wrong is found here and never there.

A grammar becomes rules of alternatives of symbols, with repetitions unfolded as src/llama-grammar.cpp unfolds them.
What llama.cpp takes and this module refuses: a rule that is defined twice (the last one would win), `{0,3000}` (which
would mean `{0,}`), empty character classes, ranges that are the wrong way round, characters that no text has, and what
llama.cpp would crash or hang on.

Texts are matched by GLL without a parse forest (Scott and Johnstone, 2010), with tail calls: in polynomial time for any
grammar, in linear time for those that people write.
"""

from __future__ import annotations

import functools
import graphlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ..errors import GrammarError

MAX_REPETITIONS = 2000  # MAX_REPETITION_THRESHOLD of llama-grammar.cpp
MAX_LENGTH = 1_000_000  # characters
MAX_SYMBOLS = 200_000  # repetitions copy what they repeat
MAX_NESTING = 100  # of parentheses; llama.cpp recurses, and so does this parser
MAX_CHAIN = 2000  # rules that begin with each other; llama.cpp recurses into them
MAX_VISITS = 1_000_000  # of rules, where llama.cpp looks for left recursion: 0.1 s
MAX_STACKS = 1000  # llama.cpp tries each for each token: 3 s or more where a vocabulary has 128,000
MAX_PATHS = 5_000_000  # ways to read one token, all of which llama.cpp tries before it rejects it: 5 s
MAX_WORD_PATHS = 300_000  # likewise, for a word, of which there are thousands: 3 s

# What vocabularies have: runs of one character, on their own or before another one, and words.
_RUNS = " \t\n-=*#_./"
_RUN = 80
_RUN_BEFORE = {"\n": 80, "\r": 24}
_WORD = 16
_EFFORT = 400_000  # steps of the search for ambiguity: 0.3 s

_BLANK = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NAME = re.compile(r"[A-Za-z0-9-]+")
_NUMBER = re.compile(r"[0-9]+")
_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_HEX = {"x": 2, "u": 4, "U": 8}
_HINTS = {
    "|": "; a rule goes on in the next line only after | and inside parentheses",
    ":": "; a rule that ends with | goes on in the next line",
    "'": '; text stands in "double quotes"',
    "_": "; names are of letters, digits and -",
}


@dataclass(frozen=True)
class Characters:
    """One character out of ranges of code points, or one that is in none of them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False

    def has(self, code: int) -> bool:
        """Tell whether a code point is among them."""
        return any(low <= code <= high for low, high in self.ranges) != self.negated

    def __str__(self) -> str:
        if self == ANY:
            return "any character"
        if len(self.ranges) == 1 and self.ranges[0][0] == self.ranges[0][1] and not self.negated:
            return repr(chr(self.ranges[0][0]))
        shown = (_shown(low) if low == high else f"{_shown(low)}-{_shown(high)}" for low, high in self.ranges)
        return f"[{'^' if self.negated else ''}{''.join(shown)}]"


@dataclass(frozen=True)
class Token:
    """One token of the vocabulary, by its id or its text, or any but that one; no text can stand for it."""

    literal: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{'any token but' if self.negated else 'the token'} {self.literal}"


@dataclass(frozen=True)
class Reference:
    """Another rule."""

    rule: int


ANY = Characters((), True)
Symbol = Characters | Token | Reference
Alternative = tuple[Symbol, ...]


@dataclass(frozen=True)
class Rule:
    """A rule, or a part of one that was in parentheses or repeated; `name` is that of the rule then, too."""

    name: str
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class Gbnf:
    """A parsed grammar; a value, which any number of threads may use.

    Attributes:
        text: its source.
        root: name of the rule that a text begins with.
        rules: each rule and its parts; a `Reference` is an index into them.
        start: index of the root.
        token_literals: each token that it names, such as "<think>" and "<[128001]>"; the vocabulary must have them all.
    """

    text: str
    root: str
    rules: tuple[Rule, ...] = field(repr=False)
    start: int = field(repr=False)
    token_literals: frozenset[str] = frozenset()

    def accepts(self, text: str) -> bool:
        """Tell whether a complete text is in the language."""
        return self.explain(text)[0]

    def explain(self, text: str) -> tuple[bool, int, str]:
        """Tell whether a complete text is in the language, where it leaves it, and what could stand there."""
        bottom = _Caller(-1)
        expand = functools.cache(self._expand)  # the same place, again and again, in a text such as a long string
        waiting, complete = expand(frozenset((item, bottom) for item in self._items.starts[self.start]))
        for offset, character in enumerate(text):
            following = self._following(waiting, ord(character))
            if not following or _IMPOSSIBLE.match(character):
                allowed = self._allowed(waiting, complete)
                return False, offset, f"{character!r} can't stand at offset {offset}; {allowed}"
            waiting, complete = expand(following)
        if complete:
            return True, len(text), "the text is in the language"
        return False, len(text), f"the text ends too early; {self._allowed(waiting, complete)}"

    def _following(self, waiting: Iterable[_Position], code: int) -> frozenset[_Position]:
        """Read a character, and leave the rules that end with it."""
        symbols = self._items.symbols
        following = set()
        for item, caller in waiting:
            symbol = symbols[item]
            if isinstance(symbol, Characters) and symbol.has(code):
                following.add((item + 1, caller))
        while ended := [position for position in following if symbols[position[0]] is None and position[1].below]:
            following.difference_update(ended)
            following.update((caller.item, below) for _, caller in ended for below in caller.below)
        return frozenset(following)

    def _expand(self, positions: frozenset[_Position]) -> tuple[list[_Position], bool]:
        """Enter and leave rules until each position is before a character or a token; tell whether a text may end."""
        symbols, starts = self._items.symbols, self._items.starts
        waiting: list[_Position] = []
        complete = False
        seen = set(positions)
        todo = list(positions)
        calls: dict[int, _Caller] = {}
        left: set[_Caller] = set()  # callers whose rule was empty
        while todo:
            item, caller = todo.pop()
            symbol = symbols[item]
            reached: list[_Position] = []
            if symbol is None:
                complete |= caller.item < 0
                left.add(caller)
                reached = [(caller.item, below) for below in caller.below]
            elif isinstance(symbol, Reference):
                if symbols[item + 1] is not None:  # or else it is a tail call, which returns to where this rule does
                    below, caller = caller, calls.setdefault(item + 1, _Caller(item + 1))
                    caller.below.add(below)
                    if caller in left:
                        reached.append((item + 1, below))
                reached += [(start, caller) for start in starts[symbol.rule]]
            else:
                waiting.append((item, caller))
            todo += (position for position in reached if position not in seen)
            seen.update(reached)
        return waiting, complete

    def _allowed(self, waiting: list[_Position], complete: bool) -> str:
        names = sorted({str(self._items.symbols[item]) for item, _ in waiting} | ({"the end"} if complete else set()))
        return f"allowed is {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"

    @functools.cached_property
    def _items(self) -> _Items:
        symbols: list[Symbol | None] = []
        starts = []
        for rule in self.rules:
            begin = []
            for alternative in rule.alternatives:
                begin.append(len(symbols))
                symbols += (*alternative, None)
            starts.append(tuple(begin))
        return _Items(tuple(symbols), tuple(starts))


@dataclass(frozen=True)
class _Items:
    """A grammar as one sequence of symbols, None after each alternative, and where the alternatives of a rule start."""

    symbols: tuple[Symbol | None, ...]
    starts: tuple[tuple[int, ...], ...]


@dataclass(eq=False)
class _Caller:
    """Where a rule returns to: an item, and the callers of the rule that this one is in; the lowest has item -1."""

    item: int
    below: set[_Caller] = field(default_factory=set)


_Position = tuple[int, _Caller]


@functools.lru_cache(maxsize=64)
def parse(text: str, root: str = "root") -> Gbnf:
    """Parse a grammar.

    Raises:
        GrammarError: with the place and the rule.
    """
    return _Parser(text).parse(root)


class _Parser:
    """Reads a grammar from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.rule = ""
        self.nesting = 0
        self.n_symbols = 0
        self.token_literals: set[str] = set()  # llama.cpp looks each up, even in x{0}
        self.ids: dict[str, int] = {}
        # Where a rule is defined or, if it is not, first used: in which rule, and the position.
        self.places: dict[str, tuple[str, int]] = {}
        self.names: list[str] = []
        self.rules: list[tuple[Alternative, ...]] = []  # () is one that is not defined yet

    def parse(self, root: str) -> Gbnf:
        if len(self.text) > MAX_LENGTH:
            raise self._error(f"the grammar has {len(self.text)} characters, and can have {MAX_LENGTH}", 0)
        if impossible := _IMPOSSIBLE.search(self.text):
            raise self._error(f"a grammar can't have the character {impossible[0]!r}", impossible.start())
        self._skip(_BLANK_LINES)
        while self.position < len(self.text):
            self._parse_rule()
        self.rule = ""
        if not self.ids:
            raise self._error('the grammar is empty; it needs a rule such as root ::= "yes" | "no"', 0)
        for name, index in self.ids.items():
            if not self.rules[index]:
                raise self._error_at(name, f"the rule {name!r} is used and never defined")
        if root not in self.ids:
            known = ", ".join(list(self.ids)[:8])
            raise self._error(f"there is no rule {root!r}, which a text would begin with; known are {known}", 0)
        self._refuse_left_recursion()
        rules = tuple(map(Rule, self.names, self.rules))
        grammar = Gbnf(self.text, root, rules, self.ids[root], frozenset(self.token_literals))
        if found := _Ambiguity(grammar).find():
            rule, ways = found
            raise self._error_at(
                self.names[rule],
                f"{ways}, and llama.cpp would try each of them for each token; let common beginnings stand once, "
                "and don't repeat next to each other what can begin with the same characters",
            )
        return grammar

    def _error(self, reason: str, position: int | None = None) -> GrammarError:
        position = self.position if position is None else position
        line = len(re.findall(r"\r\n?|\n", self.text[:position])) + 1
        begin = max(self.text.rfind("\n", 0, position), self.text.rfind("\r", 0, position)) + 1
        column = position - begin + 1
        where = f"line {line}, column {column}" + (f", in rule {self.rule!r}" if self.rule else "")
        begin = max(begin, position - 60)
        source = re.split(r"[\r\n]", self.text[begin : position + 60] + "\n")[0].replace("\t", " ")
        caret = " " * (position - begin) + "^"
        return GrammarError(f"{where}: {reason}\n    {source}\n    {caret}", line=line, column=column, rule=self.rule)

    def _error_at(self, name: str, reason: str) -> GrammarError:
        self.rule, position = self.places[name]
        return self._error(reason, position)

    # -- characters ----------------------------------------------------------------------------------------------------

    def _peek(self, length: int = 1) -> str:
        return self.text[self.position : self.position + length]

    def _found(self) -> str:
        character = self._peek()
        return f"{character!r}{_HINTS.get(character, '')}" if character else "the end"

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.position)
        if match is None:
            return ""
        self.position = match.end()
        return match[0]

    def _space(self, nested: bool) -> None:
        self._skip(_BLANK_LINES if nested else _BLANK)

    def _expect(self, wanted: str, why: str) -> None:
        if self._peek(len(wanted)) != wanted:
            raise self._error(f"expected {wanted!r} {why}, found {self._found()}")
        self.position += len(wanted)

    def _number(self) -> int:
        digits = self._skip(_NUMBER)
        if not digits:
            raise self._error(f"expected a number, found {self._found()}")
        return int(digits.lstrip("0")[:20] or "0")  # longer ones are refused as well

    def _character(self, kind: str, closing: str) -> int:
        """Read one character of a text or a class, or its escape."""
        begin = self.position
        character = self._peek()
        if not character:
            raise self._error(f"the {kind} is not closed: {closing} is missing")
        self.position += 1
        if character != "\\":
            return ord(character)
        escape = self._peek()
        self.position += 1
        if escape in _ESCAPES:
            return ord(_ESCAPES[escape])
        if escape not in _HEX:
            raise self._error(f"unknown escape \\{escape}; a backslash itself is \\\\", begin)
        digits = self._peek(_HEX[escape])
        self.position += len(digits)
        if not re.fullmatch(rf"[0-9A-Fa-f]{{{_HEX[escape]}}}", digits):
            raise self._error(f"\\{escape} needs {_HEX[escape]} hexadecimal digits", begin)
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._error(f"U+{code:04X} is no character that a text could have", begin)
        return code

    # -- rules ---------------------------------------------------------------------------------------------------------

    def _refer(self, name: str, position: int) -> Reference:
        if name not in self.ids:
            self.ids[name] = self._add(name).rule
            self.places[name] = (self.rule, position)
        return Reference(self.ids[name])

    def _add(self, name: str, alternatives: tuple[Alternative, ...] = ()) -> Reference:
        self.names.append(name)
        self.rules.append(alternatives)
        return Reference(len(self.rules) - 1)

    def _parse_rule(self) -> None:
        begin = self.position
        self.rule = ""
        name = self._skip(_NAME)
        if not name:
            raise self._error(f"expected the name of a rule, found {self._found()}")
        self.rule = name
        self._space(False)
        self._expect("::=", "after the name of a rule")
        index = self._refer(name, begin).rule
        if self.rules[index]:
            raise self._error(f"the rule {name!r} is defined twice", begin)
        self.places[name] = (name, begin)
        self._space(True)
        self.rules[index] = self._alternatives(False)
        if self._peek() and self._peek() not in "\r\n":
            raise self._error(f"expected the end of the rule, found {self._found()}")
        self._space(True)

    def _alternatives(self, nested: bool) -> tuple[Alternative, ...]:
        found = [self._sequence(nested)]
        while self._peek() == "|":
            self.position += 1
            self._space(True)
            found.append(self._sequence(nested))
        return tuple(found)

    def _sequence(self, nested: bool) -> Alternative:
        symbols: list[Symbol] = []
        last = 0  # where what a repetition is of begins
        weight = 1  # rules that it stands for
        while character := self._peek():
            begin = self.position
            if character in "*+?{":
                least, most = self._bounds(nested)
                if last == len(symbols):
                    raise self._error(f"{character!r} repeats what stands before it, and there is nothing", begin)
                weight = self._repeat(symbols, last, weight, least, most, begin)
                continue
            n_rules = len(self.rules)
            item = self._item(character)
            if item is None:
                break
            self._space(nested)
            weight = max(1, len(self.rules) - n_rules) if character == "(" else 1
            last = len(symbols)
            self._count(len(item), begin)
            symbols += item
        return tuple(symbols)

    def _item(self, character: str) -> list[Symbol] | None:
        """Read a text, a class, a token, a group or a rule's name; None if there is none of them."""
        if character == '"':
            return [*self._literal()]
        if character == "[":
            return [self._class()]
        if character in "<!":
            return [self._token()]
        if character == "(":
            return [self._group()]
        if character == ".":
            self.position += 1
            return [ANY]
        begin = self.position
        name = self._skip(_NAME)
        return [self._refer(name, begin)] if name else None

    def _literal(self) -> list[Characters]:
        self.position += 1
        found = []
        while self._peek() != '"':
            begin = self.position
            code = self._character("text", '"')
            if code == 0:
                raise self._error("NUL is no character that a text could have", begin)
            found.append(Characters(((code, code),)))
        self.position += 1
        return found

    def _class(self) -> Characters:
        begin = self.position
        self.position += 1
        negated = self._peek() == "^"
        self.position += negated
        ranges = []
        while self._peek() != "]":
            place = self.position
            low = high = self._character("character class", "]")
            if self._peek() == "-" and self._peek(2) != "-]":
                self.position += 1
                high = self._character("character class", "]")
            if high < low:
                raise self._error(f"the range {_shown(low)}-{_shown(high)} is the wrong way round", place)
            ranges.append((low, high))
        self.position += 1
        if not ranges:
            raise self._error("the character class is empty; ] itself is \\]", begin)
        if not negated and all(high == 0 for _, high in ranges):
            raise self._error("NUL is no character that a text could have", begin)
        return Characters(tuple(ranges), negated)

    def _token(self) -> Token:
        negated = self._peek() == "!"
        self.position += negated
        begin = self.position
        self._expect("<", "to begin a token")
        if self._peek() == "[":
            self.position += 1
            if self._number() >= 2**31:
                raise self._error("no token has such an id", begin)
            self._expect("]>", "after a token id")
        else:
            end = self.text.find(">", self.position)
            self.position = len(self.text) if end < 0 else end
            self._expect(">", "to end a token")
        token = Token(self.text[begin : self.position], negated)
        self.token_literals.add(token.literal)
        return token

    def _group(self) -> Reference:
        if self.nesting == MAX_NESTING:
            raise self._error(f"more than {MAX_NESTING} parentheses are open; give the inner ones a rule of their own")
        self.nesting += 1
        self.position += 1
        self._space(True)
        reference = self._add(self.rule)
        self.rules[reference.rule] = self._alternatives(True)
        self._expect(")", "to close the group")
        self.nesting -= 1
        return reference

    # -- repetitions ---------------------------------------------------------------------------------------------------

    def _bounds(self, nested: bool) -> tuple[int, int | None]:
        """Read a repetition: the least and the greatest number."""
        begin = self.position
        kind = self._peek()
        self.position += 1
        self._space(nested)
        if kind != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[kind]
        least = self._number()
        self._space(nested)
        most: int | None = least
        if self._peek() == ",":
            self.position += 1
            self._space(nested)
            most = None if self._peek() == "}" else self._number()
            self._space(nested)
        self._expect("}", "to end a repetition")
        self._space(nested)
        if most is not None and most < least:
            raise self._error(f"the repetition {{{least},{most}}} is the wrong way round", begin)
        if max(least, most or 0) > MAX_REPETITIONS:
            raise self._error(
                f"llama.cpp repeats up to {MAX_REPETITIONS} times; without an upper bound write {{n,}}", begin
            )
        return least, most

    def _repeat(self, symbols: list[Symbol], last: int, weight: int, least: int, most: int | None, begin: int) -> int:
        """Unfold a repetition of the symbols from `last` on, as llama.cpp does; return how many rules it stands for."""
        weight *= most or max(least, 1)
        if weight > MAX_REPETITIONS:
            raise self._error(
                f"nested repetitions come to {weight} rules, and llama.cpp takes {MAX_REPETITIONS}; "
                "leave out an upper bound, or give what is repeated a rule of its own",
                begin,
            )
        unit = tuple(symbols[last:])
        self._count(len(unit) * max(least, most or 1), begin)
        symbols[last:] = unit * least
        if most is None:
            loop = self._add(self.rule)
            self.rules[loop.rule] = ((*unit, loop), ())
            symbols.append(loop)
        else:
            rest: tuple[Reference, ...] = ()
            for _ in range(most - least):
                rest = (self._add(self.rule, ((*unit, *rest), ())),)
            symbols += rest
        return weight

    def _count(self, n_symbols: int, begin: int) -> None:
        self.n_symbols += n_symbols
        if self.n_symbols > MAX_SYMBOLS:
            raise self._error(
                f"the grammar comes to more than {MAX_SYMBOLS} characters and names, repetitions unfolded", begin
            )

    # -- what llama.cpp can't run --------------------------------------------------------------------------------------

    def _refuse_left_recursion(self) -> None:
        """Refuse rules that llama.cpp calls left recursive, and those that it misses and never comes back from.

        It takes a rule for one that can be empty only if an alternative is written as nothing.
        """
        empty = {index for index, rule in enumerate(self.rules) if () in rule}
        nullable = _nullable(self.rules)
        followed = [list(_leading(rule, empty)) for rule in self.rules]  # by llama.cpp
        edges = {}
        for index, rule in enumerate(self.rules):
            if index in empty:  # x ::= y x | "" where y can be empty as well: llama.cpp notices that it is back at x
                rule = tuple(each[:-1] if each[-1:] == (Reference(index),) else each for each in rule)
            edges[index] = {*_leading(rule, nullable), *followed[index]}
        try:
            callees_first = list(graphlib.TopologicalSorter(edges).static_order())
        except graphlib.CycleError as error:
            raise self._left_recursion(error.args[1][::-1]) from None  # it gives who is begun with first
        visits, depth = [0] * len(self.rules), [0] * len(self.rules)
        for index in callees_first:
            visits[index] = 1 + sum(visits[inner] for inner in followed[index])
            depth[index] = 1 + max((depth[inner] for inner in followed[index]), default=0)
            if visits[index] > MAX_VISITS or depth[index] > MAX_CHAIN:
                raise self._error_at(
                    self.names[index], "too many rules can stand at its beginning, one within the other"
                )

    def _left_recursion(self, cycle: Sequence[int]) -> GrammarError:
        names = list(dict.fromkeys(self.names[index] for index in cycle))
        if len(names) > 1 or cycle[0] in self.ids.values():
            circle = " -> ".join([*names, names[0]])
            reason = f'{circle} comes back with nothing before it; turn it round, such as list ::= item ("," item)*'
        else:
            reason = "what is repeated can be empty; write (a | b)* and not (a | b?)*"
        return self._error_at(names[0], f"left recursion: {reason}")


def _leading(rule: Iterable[Alternative], nullable: set[int]) -> Iterator[int]:
    """Give the rules that a rule can begin with, as often as it can."""
    for alternative in rule:
        for symbol in alternative:
            if not isinstance(symbol, Reference):
                break
            yield symbol.rule
            if symbol.rule not in nullable:
                break


def _nullable(rules: Sequence[tuple[Alternative, ...]]) -> set[int]:
    """Return the rules that can be empty."""
    found: set[int] = set()
    todo: list[int] = []
    waiting: dict[int, list[tuple[int, set[int]]]] = {}
    for index, rule in enumerate(rules):
        for alternative in rule:
            missing = {symbol.rule for symbol in alternative if isinstance(symbol, Reference)}
            if not alternative:
                todo.append(index)
            elif all(isinstance(symbol, Reference) for symbol in alternative):
                for inner in missing:
                    waiting.setdefault(inner, []).append((index, missing))
    while todo:
        rule_found = todo.pop()
        if rule_found in found:
            continue
        found.add(rule_found)
        for index, missing in waiting.get(rule_found, ()):
            missing.discard(rule_found)
            if not missing:
                todo.append(index)
    return found


class _TooManyWays(Exception):
    """A text can be read in more ways than llama.cpp has time for."""


class _Ambiguity:
    """Looks for tokens that llama.cpp would read in too many ways: it tries each way before it rejects a token.

    It follows llama.cpp's stacks, with the number of ways to each, over long runs of one character and over words. The
    search is bounded; a grammar in which it finds nothing may still be slow.
    """

    def __init__(self, grammar: Gbnf) -> None:
        self.symbols, self.starts = grammar._items.symbols, grammar._items.starts
        self.ids: dict[tuple[int, int], int] = {}
        self.stacks: list[tuple[int, int]] = []  # an item, and the stack below it; -1 is the empty one
        self.expanded: dict[int, tuple[int, ...]] = {}
        self.moves: dict[tuple[int, int], tuple[int, ...]] = {}
        self.searched: set[tuple[int, int | None]] = set()
        self.effort = _EFFORT
        sets = {symbol for symbol in self.symbols if isinstance(symbol, Characters)}
        # One probe for all characters that the grammar does not tell apart; the first of _RUNS is kept.
        probes = {tuple(each.has(ord(probe)) for each in sets): ord(probe) for probe in "a0" + _RUNS[::-1]}
        self.codes = {each: [code for code in probes.values() if each.has(code)] for each in sets}
        for each, codes in self.codes.items():
            if not (codes or each.negated):
                codes.append(each.ranges[0][0])

    def find(self) -> tuple[int, str] | None:
        """Return a rule that is too ambiguous, and where it is; None if none is known to be."""
        for rule, stacks in self._beginnings():
            try:
                self._search({reached for stack in stacks for reached in self._expand(stack)})
            except _TooManyWays as error:
                return rule, str(error)
            if self.effort < 0:
                break
        return None

    def _beginnings(self) -> Iterator[tuple[int, list[int]]]:
        """Give stacks of each rule's start, then those of each place before and after a rule in another one."""
        for rule, starts in reversed([*enumerate(self.starts)]):  # x{0,3} comes before the x{0,2} in it
            yield rule, [self._push(start, -1) for start in starts]
        for rule, starts in enumerate(self.starts):
            for item in starts:
                while (symbol := self.symbols[item]) is not None:
                    item += 1
                    if isinstance(symbol, Reference) or isinstance(self.symbols[item], Reference):
                        yield rule, [self._push(item, -1)]

    def _search(self, stacks: set[int]) -> None:
        if len(stacks) > MAX_STACKS:
            raise _TooManyWays(f"it can begin in {len(stacks)} ways")
        for code in (*self._codes(stacks), None):
            if any((stack, code) not in self.searched for stack in stacks):
                self._walk(dict.fromkeys(stacks, 1), code)

    def _codes(self, stacks: Iterable[int]) -> list[int]:
        tops = {self.symbols[self.stacks[stack][0]] for stack in stacks if stack >= 0}
        return sorted({code for top in tops if isinstance(top, Characters) for code in self.codes[top]})[:16]

    def _walk(self, ways: dict[int, int], run: int | None) -> None:
        """Read a run of a character, or else a word of those that can be read in the most ways."""
        is_word = run is None or chr(run).isalnum()
        longest, limit = (_WORD, MAX_WORD_PATHS) if is_word else (_RUN, MAX_PATHS)
        text = ""
        total = 0
        while ways and len(text) < longest and self.effort >= 0:
            if len(text) <= longest // 2:
                self.searched.update((stack, run) for stack in ways)
            codes = self._codes(ways) if run is None else [run]
            read = [(self._read(ways, code), code) for code in codes]
            following, code = max(read, key=lambda each: sum(each[0].values()), default=({}, 0))
            if following == ways:
                break
            ways = following
            text += chr(code)
            total += sum(ways.values())
            shown = repr(text) if run is None else f"{chr(run)!r} * {len(text)}"
            if len(ways) > MAX_STACKS:
                raise _TooManyWays(f"it can go on in {len(ways)} ways after {shown}")
            if total > limit and (not ways or self._is_rejected(ways, len(text))):
                raise _TooManyWays(f"it can read {shown} in {total} ways")

    def _is_rejected(self, ways: dict[int, int], n_read: int) -> bool:
        """Tell whether vocabularies have a token that goes on in a way that is not allowed."""
        return n_read <= _WORD or any(
            n_read <= longest and not self._read(ways, ord(character)) for character, longest in _RUN_BEFORE.items()
        )

    def _read(self, ways: dict[int, int], code: int) -> dict[int, int]:
        following: dict[int, int] = {}
        for stack, count in ways.items():
            for reached in self._move(stack, code):
                following[reached] = following.get(reached, 0) + count
        self.effort -= len(ways) + len(following)
        return following

    def _move(self, stack: int, code: int) -> tuple[int, ...]:
        """Return the stacks that a character leads to."""
        key = (stack, code)
        if key not in self.moves:
            item, below = self.stacks[stack] if stack >= 0 else (-1, -1)
            symbol = self.symbols[item]
            matches = isinstance(symbol, Characters) and symbol.has(code)
            self.moves[key] = self._expand(self._push(item + 1, below)) if matches else ()
        return self.moves[key]

    def _push(self, item: int, below: int) -> int:
        if self.symbols[item] is None:
            return below
        key = (item, below)
        if key not in self.ids:
            self.ids[key] = len(self.stacks)
            self.stacks.append(key)
        return self.ids[key]

    def _expand(self, stack: int) -> tuple[int, ...]:
        """Return the stacks that llama.cpp makes of one whose top may be a rule."""
        if stack in self.expanded:
            return self.expanded[stack]
        reached = []
        seen = {stack}
        todo = [stack]
        while todo:
            top = todo.pop()
            item, below = self.stacks[top] if top >= 0 else (-1, -1)
            symbol = self.symbols[item]
            if not isinstance(symbol, Reference):
                reached.append(top)
                continue
            rest = self._push(item + 1, below)
            new = {self._push(start, rest) for start in self.starts[symbol.rule]} - seen
            seen |= new
            todo += new
            if len(seen) > 10 * MAX_STACKS:
                raise _TooManyWays(f"it can begin in more than {len(seen)} ways")
        self.effort -= len(seen)
        self.expanded[stack] = tuple(reached)
        return self.expanded[stack]


def _shown(code: int) -> str:
    """Return a character as it would be written in a class."""
    character = chr(code)
    if character in "\\]-":
        return f"\\{character}"
    return character if character.isprintable() else repr(character)[1:-1]
