"""A curve as SVG: series over one axis of sizes, evenly or by powers of ten. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.fixtures.svg import Canvas, round_step

WIDTH: Final = 760
HEIGHT: Final = 330
LEFT: Final = 80
RIGHT: Final = 190
TOP: Final = 60
BOTTOM: Final = 52
_LIMIT: Final = "limit"


@dataclass(frozen=True, slots=True)
class Plot:
    """One picture: (x, y) by name of the series; `limit` is a value of y that must not be passed, or be reached.

    `ranges` are (x, lowest y, highest y) by name of the series.
    """

    title: str
    x_title: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    limit: float | None = None
    is_logarithmic: bool = False
    y_title: str = field(default="", kw_only=True)
    ranges: Mapping[str, Sequence[tuple[float, float, float]]] = field(default_factory=dict, kw_only=True)

    def has_points(self) -> bool:
        """Whether there is anything to be drawn."""
        return any(self.series.values())


def draw(plot: Plot) -> str:
    """The picture; the y axis begins at 0. On a logarithmic x axis, 0 stands where 1 does."""
    points = [point for series in plot.series.values() for point in series]
    sizes = sorted({x for x, _ in points})
    ends = [high for ranges in plot.ranges.values() for _, _, high in ranges]
    highest = max([*(y for _, y in points), *ends, plot.limit or 0.0, 1e-9])
    step = round_step(highest)
    top_value = step * math.ceil(highest * 1.02 / step)
    right, below = WIDTH - RIGHT, HEIGHT - BOTTOM

    def scaled(value: float) -> float:
        return math.log10(max(value, 1.0)) if plot.is_logarithmic else value

    first, last = scaled(sizes[0]), scaled(sizes[-1])

    def x(value: float) -> float:
        share = (scaled(value) - first) / (last - first) if last > first else 0.5
        return round(LEFT + (right - LEFT) * share, 1)

    def y(value: float) -> float:
        return round(below - (below - TOP) * value / top_value, 1)

    canvas = Canvas()
    canvas.text(LEFT, 26, plot.title, size=14, fill="#000")
    canvas.text(LEFT - 6, TOP - 14, plot.y_title, "end")
    for tick in range(round(top_value / step) + 1):
        canvas.line(LEFT, y(tick * step), right, y(tick * step))
        canvas.text(LEFT - 6, y(tick * step) + 4, f"{tick * step:,g}", "end")
    for size in sizes:
        canvas.line(x(size), below, x(size), below + 4, "#333")
        canvas.text(x(size), below + 17, f"{size:,g}" if size < 1e6 else f"{size / 1e6:g} M", "middle", 10)
    canvas.text((LEFT + right) / 2, below + 38, plot.x_title, "middle")
    if plot.limit is not None:
        canvas.line(LEFT, y(plot.limit), right, y(plot.limit), "#d00")
        canvas.text(right + 8, y(plot.limit) + 4, f"{_LIMIT} {plot.limit:,g}", fill="#d00")
    for number, (name, series) in enumerate(plot.series.items()):
        colour = canvas.colour(name)
        ordered = sorted(series)
        for a, low, high in plot.ranges.get(name, ()):
            canvas.line(x(a), y(low), x(a), y(high), colour)
        canvas.path([f"{'L' if index else 'M'}{x(a)} {y(b)}" for index, (a, b) in enumerate(ordered)], colour)
        for a, b in ordered:
            canvas.parts.append(f'<circle cx="{x(a)}" cy="{y(b)}" r="3" fill="{colour}"/>')
        canvas.text(right + 8, HEIGHT - BOTTOM + 8 + number * 15 - len(plot.series) * 15, name, fill=colour)
    return canvas.document(WIDTH, HEIGHT)
