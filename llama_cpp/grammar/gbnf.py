"""llama.cpp's GBNF: parsed as llama.cpp parses it, so that what is wrong is found here and never there.

A grammar becomes rules of alternatives of symbols, repetitions unfolded as llama.cpp unfolds them. A text is matched by
a set of stacks of what may follow, each of them a linked list whose nodes are shared.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import GrammarError

MAX_REPETITIONS = 2000  # MAX_REPETITION_THRESHOLD of llama-grammar.cpp
MAX_STACKS = 2000  # llama.cpp looks at each of them for every token of the vocabulary

_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_HEX = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True)
class Characters:
    """One character out of ranges of code points, or one that is in none of them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False

    def has(self, code: int) -> bool:
        """Tell whether a code point is among them."""
        return any(low <= code <= high for low, high in self.ranges) != self.negated

    def __str__(self) -> str:
        shown = "".join(chr(low) if low == high else f"{chr(low)}-{chr(high)}" for low, high in self.ranges)
        if len(self.ranges) == 1 and self.ranges[0][0] == self.ranges[0][1] and not self.negated:
            return repr(shown)
        return "any character" if self == ANY else f"[{'^' if self.negated else ''}{shown}]"


@dataclass(frozen=True)
class Token:
    """One token of the vocabulary, by its id or its text, or any but that one; no text can stand for it."""

    literal: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{'!' if self.negated else ''}{self.literal}"


@dataclass(frozen=True)
class Reference:
    """Another rule."""

    rule: int


ANY = Characters((), True)
Symbol = Characters | Token | Reference
Alternative = tuple[Symbol, ...]


@dataclass
class Gbnf:
    """A parsed grammar.

    Attributes:
        rules: alternatives of each rule; the ones that groups and repetitions made are among them.
        root: index of the first rule.
    """

    rules: list[list[Alternative]]
    root: int
    _nodes: dict[tuple[Alternative, int, int], int] = field(default_factory=dict)
    _stacks: list[tuple[Alternative, int, int]] = field(default_factory=list)

    def tokens(self) -> set[str]:
        """Return the literals of tokens, such as "<think>" and "<[128001]>"."""
        symbols = (symbol for rule in self.rules for alternative in rule for symbol in alternative)
        return {symbol.literal for symbol in symbols if isinstance(symbol, Token)}

    def accepts(self, text: str) -> bool:
        """Tell whether a complete text is in the language."""
        return self.explain(text)[0]

    def explain(self, text: str) -> tuple[bool, int, str]:
        """Tell whether a complete text is in the language, where it leaves it, and why."""
        stacks = self._advance(self.start())
        for offset, character in enumerate(text):
            following = self._step(stacks, ord(character))
            if not following:
                return False, offset, f"{character!r} can't stand at offset {offset}; {self._allowed(stacks)}"
            stacks = self._advance(following)
        if -1 in stacks:
            return True, len(text), "the text is in the language"
        return False, len(text), f"the text ends too early; {self._allowed(stacks)}"

    def start(self) -> set[int]:
        """Return the stacks that a text begins with."""
        return {self._node(alternative, 0, -1) for alternative in self.rules[self.root]}

    def _node(self, alternative: Alternative, dot: int, below: int) -> int:
        """Return the number of a stack: what follows in an alternative, on top of another stack; -1 is empty."""
        if dot == len(alternative):
            return below
        key = (alternative, dot, below)
        if key not in self._nodes:
            self._nodes[key] = len(self._stacks)
            self._stacks.append(key)
        return self._nodes[key]

    def _advance(self, stacks: set[int]) -> set[int]:
        """Replace rules on top of stacks by their alternatives, until characters or tokens are on top."""
        done: set[int] = set()
        seen = set(stacks)
        todo = list(stacks)
        while todo:
            stack = todo.pop()
            symbol = self._stacks[stack][0][self._stacks[stack][1]] if stack >= 0 else None
            if not isinstance(symbol, Reference):
                done.add(stack)
                if len(done) > MAX_STACKS:
                    raise GrammarError(
                        f"the grammar can be read in more than {MAX_STACKS} ways at once, which would take seconds for "
                        "each token; make it less ambiguous, for example by nesting fewer optional parts"
                    )
                continue
            alternative, dot, below = self._stacks[stack]
            rest = self._node(alternative, dot + 1, below)
            for inner in self.rules[symbol.rule]:
                new = self._node(inner, 0, rest)
                if new not in seen:
                    seen.add(new)
                    todo.append(new)
        return done

    def _step(self, stacks: set[int], code: int) -> set[int]:
        following = set()
        for stack in stacks:
            if stack < 0:
                continue
            alternative, dot, below = self._stacks[stack]
            symbol = alternative[dot]
            if isinstance(symbol, Characters) and symbol.has(code):
                following.add(self._node(alternative, dot + 1, below))
        return following

    def _allowed(self, stacks: set[int]) -> str:
        names = {"the end" if stack < 0 else str(self._stacks[stack][0][self._stacks[stack][1]]) for stack in stacks}
        shown = sorted(names)[:8]
        return f"allowed is {', '.join(shown)}{', ...' if len(names) > len(shown) else ''}"


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
        self.names: dict[str, int] = {}
        self.uses: dict[str, int] = {}  # where a rule is first named
        self.rules: list[list[Alternative]] = []

    def parse(self, root: str) -> Gbnf:
        self._space(True)
        while self.position < len(self.text):
            self._parse_rule()
        for name, index in self.names.items():
            if not self.rules[index]:
                raise self._error(f"the rule {name!r} is used and never defined", self.uses[name])
        self.rule = ""
        if not self.names:
            raise self._error('the grammar is empty; it needs a rule such as root ::= "yes" | "no"', 0)
        if root not in self.names:
            raise self._error(f"there is no rule {root!r}; known are {', '.join(self.names)}", 0)
        self._refuse_left_recursion()
        grammar = Gbnf(self.rules, self.names[root])
        grammar._advance(grammar.start())
        return grammar

    def _error(self, reason: str, position: int | None = None) -> GrammarError:
        position = self.position if position is None else position
        line = self.text.count("\n", 0, position) + 1
        begin = self.text.rfind("\n", 0, position) + 1
        source = self.text[begin:].split("\n", 1)[0]
        column = position - begin + 1
        where = f"line {line}, column {column}" + (f", in rule {self.rule!r}" if self.rule else "")
        caret = " " * (column - 1) + "^"
        return GrammarError(f"{where}: {reason}\n    {source}\n    {caret}", line=line, column=column, rule=self.rule)

    # -- characters ----------------------------------------------------------------------------------------------------

    def _peek(self, length: int = 1) -> str:
        return self.text[self.position : self.position + length]

    def _space(self, newline_ok: bool) -> None:
        while (character := self._peek()) and (character in " \t#" or (newline_ok and character in "\r\n")):
            if character == "#":
                while self._peek() and self._peek() not in "\r\n":
                    self.position += 1
            else:
                self.position += 1

    def _expect(self, wanted: str, why: str) -> None:
        if self._peek(len(wanted)) != wanted:
            found = repr(self._peek()) if self._peek() else "the end"
            raise self._error(f"expected {wanted!r} {why}, found {found}")
        self.position += len(wanted)

    def _name(self) -> str:
        begin = self.position
        while self._peek() and _is_word(self._peek()):
            self.position += 1
        if begin == self.position:
            found = repr(self._peek()) if self._peek() else "the end"
            raise self._error(f"expected the name of a rule (letters, digits and -), found {found}")
        return self.text[begin : self.position]

    def _number(self) -> int:
        begin = self.position
        while self._peek() and self._peek() in "0123456789":
            self.position += 1
        if begin == self.position:
            raise self._error("expected a number")
        return int(self.text[begin : self.position])

    def _character(self, closing: str) -> int:
        """Read one character of a text or a class, or its escape."""
        begin = self.position
        character = self._peek()
        if not character:
            raise self._error(
                f"the {'text' if closing == chr(34) else 'character class'} is not closed: {closing} is missing"
            )
        self.position += 1
        if character != "\\":
            return ord(character)
        kind = self._peek()
        self.position += 1
        if kind in _ESCAPES and kind:
            return ord(_ESCAPES[kind])
        if kind not in _HEX or not kind:
            raise self._error(f"unknown escape \\{kind}; a backslash itself is \\\\", begin)
        digits = self._peek(_HEX[kind])
        self.position += len(digits)
        if len(digits) != _HEX[kind] or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
            raise self._error(f"\\{kind} needs {_HEX[kind]} hexadecimal digits", begin)
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._error(f"U+{code:04X} is no character that a text could have", begin)
        return code

    # -- rules ---------------------------------------------------------------------------------------------------------

    def _id(self, name: str) -> int:
        if name not in self.names:
            self.names[name] = len(self.rules)
            self.rules.append([])
        return self.names[name]

    def _generate(self, alternatives: list[Alternative]) -> Reference:
        self.rules.append(alternatives)
        return Reference(len(self.rules) - 1)

    def _parse_rule(self) -> None:
        begin = self.position
        self.rule = ""
        name = self._name()
        self.rule = name
        index = self._id(name)
        self.uses.setdefault(name, begin)
        self._space(False)
        self._expect("::=", "after the name of a rule")
        self._space(True)
        if self.rules[index]:
            raise self._error(f"the rule {name!r} is defined twice", begin)
        self.rules[index] = self._alternatives(False)
        if self._peek() and self._peek() not in "\r\n":
            raise self._error(f"{self._peek()!r} can't stand here")
        self._space(True)

    def _alternatives(self, nested: bool) -> list[Alternative]:
        found = [self._sequence(nested)]
        while self._peek() == "|":
            self.position += 1
            self._space(True)
            found.append(self._sequence(nested))
        return found

    def _sequence(self, nested: bool) -> Alternative:
        symbols: list[Symbol] = []
        last = 0  # where what a repetition is of begins
        weight = 1  # rules that it stands for
        while character := self._peek():
            if character in "*+?{":
                begin = self.position
                bounds = self._bounds(nested)
                if last == len(symbols):
                    raise self._error(f"{character!r} repeats what stands before it, and there is nothing", begin)
                weight = self._repeat(symbols, last, weight, bounds, begin)
                continue
            rules_before = len(self.rules)
            symbol = self._symbols(character, nested)
            if symbol is None:
                break
            weight = max(1, len(self.rules) - rules_before) if character == "(" else 1
            last = len(symbols)
            symbols += symbol
        return tuple(symbols)

    def _symbols(self, character: str, nested: bool) -> list[Symbol] | None:
        """Read a text, a class, a token, a group or a rule's name; None if there is none of them."""
        found: list[Symbol]
        begin = self.position
        if character == '"':
            self.position += 1
            found = []
            while self._peek() != '"':
                code = self._character('"')
                found.append(Characters(((code, code),)))
            self.position += 1
        elif character == "[":
            found = [self._class()]
        elif character in "<!":
            found = [self._token()]
        elif character == ".":
            self.position += 1
            found = [ANY]
        elif character == "(":
            self.position += 1
            self._space(True)
            reference = self._generate([])
            self.rules[reference.rule] = self._alternatives(True)
            self._expect(")", "to close the group")
            found = [reference]
        elif _is_word(character):
            name = self._name()
            self.uses.setdefault(name, begin)
            found = [Reference(self._id(name))]
        else:
            return None
        self._space(nested)
        return found

    def _class(self) -> Characters:
        self.position += 1
        negated = self._peek() == "^"
        self.position += negated
        ranges = []
        while self._peek() != "]":
            begin = self.position
            low = high = self._character("]")
            if self._peek() == "-" and self._peek(2) != "-]":
                self.position += 1
                high = self._character("]")
            if high < low:
                raise self._error(f"the range {chr(low)}-{chr(high)} is the wrong way round", begin)
            ranges.append((low, high))
        self.position += 1
        if not ranges:
            raise self._error("the character class is empty", self.position - 2)
        return Characters(tuple(ranges), negated)

    def _token(self) -> Token:
        begin = self.position
        negated = self._peek() == "!"
        self.position += negated
        start = self.position
        self._expect("<", "to begin a token")
        if self._peek() == "[":
            self.position += 1
            number = self._number()
            if number >= 2**31:
                raise self._error(f"{number} is no token id", begin)
            self._expect("]>", "after a token id")
        else:
            while self._peek() and self._peek() != ">":
                self.position += 1
            self._expect(">", "to end a token")
        return Token(self.text[start : self.position], negated)

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
            most = None
            if self._peek() and self._peek() in "0123456789":
                most = self._number()
                self._space(nested)
        self._expect("}", "to end a repetition")
        self._space(nested)
        if most is not None and most < least:
            raise self._error(f"the repetition {{{least},{most}}} is the wrong way round", begin)
        if max(least, most or 0) > MAX_REPETITIONS:
            raise self._error(f"llama.cpp repeats up to {MAX_REPETITIONS} times", begin)
        return least, most

    def _repeat(self, symbols: list[Symbol], last: int, weight: int, bounds: tuple[int, int | None], begin: int) -> int:
        """Unfold a repetition of the symbols from `last` on, as llama.cpp does; return how many rules it stands for."""
        least, most = bounds
        total = most if most else max(least, 1)
        if weight * total > MAX_REPETITIONS:
            raise self._error(
                f"nested repetitions come to {weight * total} rules, and llama.cpp takes {MAX_REPETITIONS}", begin
            )
        if most == 0:
            raise self._error("what is repeated 0 times can be left out", begin)
        unit = tuple(symbols[last:])
        symbols[last:] = unit * least
        if most is None:
            reference = self._generate([])
            self.rules[reference.rule] = [(*unit, reference), ()]
            symbols.append(reference)
        elif most > least:
            rest: tuple[Symbol, ...] = ()
            for _ in range(most - least):
                rest = (self._generate([(*unit, *rest), ()]),)
            symbols += rest
        return weight * total

    # -- what llama.cpp can't run --------------------------------------------------------------------------------------

    def _refuse_left_recursion(self) -> None:
        nullable = self._nullable()
        first = [set(self._leading(rule, nullable)) for rule in self.rules]
        names = {index: name for name, index in self.names.items()}
        state = [0] * len(self.rules)  # 1: being looked at, 2: done
        for start in range(len(self.rules)):
            stack: list[tuple[int, Iterator[int]]] = []
            if state[start] == 0:
                state[start] = 1
                stack.append((start, iter(first[start])))
            while stack:
                rule, inner = stack[-1]
                following = next(inner, None)
                if following is None:
                    state[rule] = 2
                    stack.pop()
                elif state[following] == 1:
                    members = [names[index] for index, _ in stack if index in names]
                    self.rule = names.get(following, members[-1] if members else "")
                    raise self._error(
                        "left recursion: the rule can begin with itself, without anything before it; turn it round, "
                        'such as list ::= item ("," item)*',
                        self.uses.get(self.rule, 0),
                    )
                elif state[following] == 0:
                    state[following] = 1
                    stack.append((following, iter(first[following])))

    def _nullable(self) -> set[int]:
        """Return the rules that can be empty."""
        nullable: set[int] = set()
        changed = True
        while changed:
            changed = False
            for index, rule in enumerate(self.rules):
                if index not in nullable and any(
                    all(isinstance(symbol, Reference) and symbol.rule in nullable for symbol in alternative)
                    for alternative in rule
                ):
                    nullable.add(index)
                    changed = True
        return nullable

    @staticmethod
    def _leading(rule: list[Alternative], nullable: set[int]) -> Iterator[int]:
        """Give the rules that a rule can begin with."""
        for alternative in rule:
            for symbol in alternative:
                if not isinstance(symbol, Reference):
                    break
                yield symbol.rule
                if symbol.rule not in nullable:
                    break


def _is_word(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "-")
