"""What a curve is: sizes in, measured rows out; and how rows of several runs become one document. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.growth.drawing import Plot

#: A measured point; values are numbers and short texts.
Row = dict[str, Any]
#: What every row is given besides, when it is written.
STAMPS: Final = ("at", "load", "commit")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where curves are measured: the settings that lead to the services, a folder for logs, and who listens."""

    services: Mapping[str, str]
    folder: Path
    seed: int
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Curve:
    """A curve: the columns that tell its rows apart, the plots of its rows by the name of their file, its rows with
    what only several of them together tell, and a line for each limit that was met or missed.
    """

    name: str
    keys: tuple[str, ...]
    plots: Callable[[Sequence[Row]], dict[str, Plot]]
    compared: Callable[[Sequence[Row]], list[Row]] = list
    verdicts: Callable[[Sequence[Row]], list[str]] = lambda _rows: []


def merged(keys: Sequence[str], before: Sequence[Row], measured: Sequence[Row]) -> list[Row]:
    """The rows of both, sorted; where both have a point, the one measured last. Rows without these keys are of an older form."""
    rows = {tuple(row[key] for key in keys): row for row in [*before, *measured] if row.keys() >= set(keys)}
    return [rows[place] for place in sorted(rows)]


def verdict(what: str, value: float, limit: float, *, at_least: bool = False) -> str:
    """A line that says whether a limit holds."""
    holds = value >= limit if at_least else value <= limit
    return f"{what}: {value:,g}, {'at least' if at_least else 'at most'} {limit:,g}: {'met' if holds else 'MISSED'}"


def series(rows: Sequence[Row], x: str, y: str) -> list[tuple[float, float]]:
    """The points of the rows that have both."""
    return [(row[x], row[y]) for row in rows if row.get(y) is not None]
