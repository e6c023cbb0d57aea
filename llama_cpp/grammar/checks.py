"""Checks at the end of a value: what no grammar can say, but can be decided while a text is written.

The items of an array that must differ, names of properties that must differ so that enough of them are there, and
numbers that must be multiples. A grammar holds the text to everything else; a tracker follows it, and tells whether a
value may end where it does.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

_BLANKS = b" \t\n\r"
_SPACED = re.compile(rb'("(?:[^"\\]|\\.)*"?)|[ \t\n\r]+', re.DOTALL)

Nodes = tuple[int, ...]


class Node(NamedTuple):
    """What is checked of a value at a place, and which nodes stand for its parts.

    Attributes:
        unique: its items must differ.
        distinct: the names of its properties must.
        multiples: divisors of it, and whether it must be a multiple of each or must not.
        prefix: nodes of its first items.
        items: of the others.
        names: nodes of properties, by name.
        rest: of other properties.
    """

    unique: bool
    distinct: bool
    multiples: tuple[tuple[float, bool], ...]
    prefix: tuple[Nodes, ...]
    items: Nodes
    names: dict[str, Nodes]
    rest: Nodes


class Frame(NamedTuple):
    """An array or an object that is being written.

    Attributes:
        opened: its first byte.
        nodes: that it may stand for; what any of them checks is checked.
        start: offset of that byte.
        done: items so far; of an object, 1 after a name and 0 before it.
        seen: items or names so far, where they must differ.
        texts: of those items, without blank space.
        child: nodes of the value that is written.
    """

    opened: int
    nodes: Nodes
    start: int
    done: int
    seen: frozenset[Any]
    texts: tuple[bytes, ...]
    child: Nodes


class State(NamedTuple):
    """Where in a text a tracker is.

    Attributes:
        text: so far.
        stack: what is open.
        mode: "v" between values, "s" in a string, "e" after a backslash in it, "n" in a number or literal.
        start: offset where the string, number or literal begins.
    """

    text: bytes
    stack: tuple[Frame, ...]
    mode: str
    start: int


class Violation(Exception):
    """A value ends that must not end there.

    Attributes:
        offset: bytes before its end.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(reason)
        self.offset = offset


@dataclass(frozen=True)
class Checks:
    """What is checked in texts of a schema."""

    nodes: tuple[Node, ...]

    def dumps(self) -> str:
        """Return a text that `checks_of` makes it of again."""
        return json.dumps(self.nodes, ensure_ascii=False)

    @property
    def start(self) -> State:
        """Where every text begins."""
        return State(b"", (), "v", 0)

    def after(self, state: State, more: bytes) -> State:
        """Return the state after more of a text that a grammar accepts.

        Raises:
            Violation: if a value ends in it that must not.
        """
        text = state.text + more
        stack, mode, start, position = state.stack, state.mode, state.start, len(state.text)
        while position < len(text):
            byte = text[position]
            if mode == "s":
                if byte == 0x22:
                    stack, mode = self._ended(stack, text, start, position + 1), "v"
                elif byte == 0x5C:
                    mode = "e"
            elif mode == "e":
                mode = "s"
            elif mode == "n" and byte not in b",]} \t\n\r":
                pass
            else:
                if mode == "n":
                    stack, mode = self._ended(stack, text, start, position), "v"
                if byte in b"{[":
                    nodes = self._value_nodes(stack)
                    stack = (*stack, Frame(byte, nodes, position, 0, frozenset(), (), self._item(nodes, 0)))
                elif byte in b"}]":
                    opened = stack[-1].start
                    stack = self._ended(stack[:-1], text, opened, position + 1)
                elif byte == 0x22:
                    mode, start = "s", position
                elif byte not in b",:" and byte not in _BLANKS:
                    mode, start = "n", position
            position += 1
        return State(text, stack, mode, start)

    def ended(self, state: State) -> None:
        """Note that a text ends.

        Raises:
            Violation: if it must not.
        """
        if state.mode == "n":
            self._ended(state.stack, state.text, state.start, len(state.text))

    def is_risky(self, state: State) -> bool:
        """Tell whether what is in progress may become a value that must not end where it does."""
        for place, frame in enumerate(state.stack):
            if frame.texts:
                start = state.start if place + 1 == len(state.stack) else state.stack[place + 1].start
                item = state.text[start:] if place + 1 < len(state.stack) or state.mode in "sne" else b""
                compact = _compact(item)
                if item and any(text.startswith(compact) for text in frame.texts):
                    return True
        if state.mode not in "sn":
            return False
        try:
            if state.mode == "s":
                self._ended(state.stack, state.text + b'"', state.start, len(state.text) + 1)
            else:
                self._ended(state.stack, state.text, state.start, len(state.text))
        except Violation:
            return True
        except ValueError:  # it is not complete
            return False
        return False

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _any(self, nodes: Nodes, what: str) -> bool:
        return any(getattr(self.nodes[node], what) for node in nodes)

    def _value_nodes(self, stack: tuple[Frame, ...]) -> Nodes:
        return stack[-1].child if stack else (0,)

    def _item(self, nodes: Nodes, index: int) -> Nodes:
        every = (self.nodes[node] for node in nodes)
        return _joined(node.prefix[index] if index < len(node.prefix) else node.items for node in every)

    def _ended(self, stack: tuple[Frame, ...], text: bytes, start: int, end: int) -> tuple[Frame, ...]:
        """Return the stack after a value, or a name, has ended."""
        if not stack:
            self._check_number((0,), text, start, end)
            return stack
        frame = stack[-1]
        if frame.opened == 0x7B and frame.done == 0:
            return (*stack[:-1], self._after_name(frame, text, start, end))
        self._check_number(frame.child, text, start, end)
        if frame.opened == 0x7B:
            return (*stack[:-1], frame._replace(done=0))
        seen, texts = frame.seen, frame.texts
        if self._any(frame.nodes, "unique"):
            key = _comparable(json.loads(text[start:end]))
            if key in seen:
                raise Violation(end - 1, "the array has an equal item already")
            seen |= {key}
            texts = (*texts, _compact(text[start:end]))
        done = frame.done + 1
        return (*stack[:-1], frame._replace(done=done, seen=seen, texts=texts, child=self._item(frame.nodes, done)))

    def _after_name(self, frame: Frame, text: bytes, start: int, end: int) -> Frame:
        name, seen = json.loads(text[start:end]), frame.seen
        if self._any(frame.nodes, "distinct"):
            if name in seen:
                raise Violation(end - 1, "the object has a property of this name already")
            seen |= {name}
        every = (self.nodes[node] for node in frame.nodes)
        return frame._replace(done=1, seen=seen, child=_joined(node.names.get(name, node.rest) for node in every))

    def _check_number(self, nodes: Nodes, text: bytes, start: int, end: int) -> None:
        if text[start] not in b"-0123456789" or not self._any(nodes, "multiples"):
            return
        value = json.loads(text[start:end])
        for divisor, positive in (one for node in nodes for one in self.nodes[node].multiples):
            if is_multiple(value, divisor) != positive:
                which = "a" if not positive else "no"
                raise Violation(end - 1, f"{value} is {which} multiple of {divisor}")


@functools.lru_cache(32)
def checks_of(text: str) -> Checks:
    """Return the checks that `Checks.dumps` has written."""
    nodes = []
    for unique, distinct, multiples, prefix, items, names, rest in json.loads(text):
        by_name = {name: tuple(some) for name, some in names.items()}
        divisors = tuple((divisor, positive) for divisor, positive in multiples)
        nodes.append(Node(unique, distinct, divisors, tuple(map(tuple, prefix)), tuple(items), by_name, tuple(rest)))
    return Checks(tuple(nodes))


def is_multiple(value: float, divisor: float) -> bool:
    """Tell whether a number is a multiple of another, by the arithmetic of the jsonschema package."""
    if isinstance(divisor, int):
        return value % divisor == 0
    try:
        quotient = value / divisor
        return int(quotient) == quotient
    except (OverflowError, ValueError):
        return False


def _compact(text: bytes) -> bytes:
    """Return JSON, or the beginning of some, without blank space."""
    return _SPACED.sub(rb"\1", text)


def _joined(several: Iterable[Nodes]) -> Nodes:
    return tuple(dict.fromkeys(node for nodes in several for node in nodes))


def _comparable(value: Any) -> Any:
    """Return something hashable that is equal for equal JSON values alone."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("array", *map(_comparable, value))
    if isinstance(value, dict):
        return frozenset((name, _comparable(one)) for name, one in value.items())
    return value
