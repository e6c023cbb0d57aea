"""Two sides measured in turns, and what their medians say about a target.

The speed of a machine drifts, and other programs use it too. Both hit the two measurements of a pair alike, so what is
judged is the median of the comparisons within pairs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

Side = Callable[[], float]

# The threads of a ggml pool poll for more work for about 0.2 s, and would take a CPU from the other side.
SETTLE_SECONDS = 0.3


class Unavailable(Exception):
    """What a row is to be compared with can't be had here."""


@dataclass(frozen=True)
class MinRatio:
    """Ours should be at least this share of the reference."""

    ratio: float

    def compare(self, ours: float, reference: float) -> float:
        return ours / reference

    def is_met(self, value: float) -> bool:
        return value >= self.ratio

    def show(self, value: float) -> str:
        return f"{value:.1%}"

    def __str__(self) -> str:
        return f">= {self.ratio:.0%}"


@dataclass(frozen=True)
class MaxRatio:
    """Ours should be at most this many times the reference."""

    ratio: float

    def compare(self, ours: float, reference: float) -> float:
        return ours / reference

    def is_met(self, value: float) -> bool:
        return value <= self.ratio

    def show(self, value: float) -> str:
        return f"{value:.1%}"

    def __str__(self) -> str:
        return f"<= {self.ratio:.0%}"


@dataclass(frozen=True)
class MaxExcess:
    """Ours should exceed the reference by at most this, in the row's unit."""

    excess: float

    def compare(self, ours: float, reference: float) -> float:
        return ours - reference

    def is_met(self, value: float) -> bool:
        return value <= self.excess

    def show(self, value: float) -> str:
        return f"{value:+.1f}"

    def __str__(self) -> str:
        return f"<= {self.excess:+.0f}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is measured.
        unit: of both sides' numbers.
        reference: what ours is compared with.
        target: how the two should compare.
        sides: opens our side and the reference's; a call of one is a measurement.
    """

    name: str
    unit: str
    reference: str
    target: MinRatio | MaxRatio | MaxExcess
    sides: Callable[[], AbstractContextManager[tuple[Side, Side]]]

    def measure(self, n_pairs: int) -> list[tuple[float, float]]:
        """Return pairs of ours and the reference; which of the two goes first alternates."""
        pairs = []
        with self.sides() as (ours, reference):
            for index in range(n_pairs):
                values = {}
                for side in (reference, ours) if index % 2 else (ours, reference):
                    time.sleep(SETTLE_SECONDS)
                    values[side] = side()
                pairs.append((values[ours], values[reference]))
        return pairs


def heading() -> str:
    """Return the table's first line."""
    return _line("", "unit", "ours", "other", "which is", "compared (spread)", "target", "met")


def summary(row: Row, pairs: Sequence[tuple[float, float]]) -> str:
    """Return the table's line for a row: medians, and the median, least and largest comparison within a pair."""
    ours, reference = (median(side) for side in zip(*pairs, strict=True))
    compared = [row.target.compare(*pair) for pair in pairs]
    middle, low, high = (row.target.show(value) for value in (median(compared), min(compared), max(compared)))
    return _line(
        row.name,
        row.unit,
        f"{ours:.1f}",
        f"{reference:.1f}",
        row.reference,
        f"{middle:>7} ({low} .. {high})",
        str(row.target),
        "yes" if row.target.is_met(median(compared)) else "NO",
    )


def unavailable(row: Row, reason: Unavailable) -> str:
    """Return the table's line for a row that can't be measured."""
    return f"{row.name:38} {row.unit:8} {'-':>8} {'-':>8} {row.reference:16} {' '.join(str(reason).split())}"


def _line(name: str, unit: str, ours: str, other: str, which: str, compared: str, target: str, met: str) -> str:
    return f"{name:38} {unit:8} {ours:>8} {other:>8} {which:16} {compared:28} {target:7} {met}".rstrip()
