"""A plot as SVG, by hand: panels one below the other over the same time, and bars for what was done meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.fixtures.svg import Canvas, round_step

WIDTH: Final = 1200
LEFT: Final = 80
RIGHT: Final = 170
PANEL_HEIGHT: Final = 190
PANEL_GAP: Final = 46
TOP: Final = 60
LEGEND_LINE: Final = 15
LEGEND_COLUMNS: Final = 3
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """A line; a gap of more than `gap_seconds` between points breaks it."""

    name: str
    points: Sequence[Point]
    gap_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over one axis that begins at 0."""

    title: str
    unit: str
    series: Sequence[Series]


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that lasted from `from_seconds` to `to_seconds`."""

    name: str
    from_seconds: float
    to_seconds: float


@dataclass(slots=True)
class _TimeCanvas(Canvas):
    """A canvas whose width is a span of time."""

    seconds: float = 1.0

    def x(self, seconds: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds, 1)


def draw(title: str, panels: Sequence[Panel], bars: Sequence[Bar]) -> str:
    """The whole picture. Bars are numbered; their names are below the panels."""
    latest = [point[0] for panel in panels for series in panel.series for point in series.points]
    canvas = _TimeCanvas(seconds=max([*latest, *(bar.to_seconds for bar in bars), 1.0]))
    canvas.text(LEFT, 26, title, size=15, fill="#000")
    below = TOP
    for panel in panels:
        _draw_panel(canvas, panel, bars, below)
        below += PANEL_HEIGHT + PANEL_GAP
    lines = -(-len(bars) // LEGEND_COLUMNS)
    for number, bar in enumerate(bars):
        column, line = divmod(number, lines)
        x = LEFT + column * (WIDTH - LEFT) / LEGEND_COLUMNS
        label = f"{number + 1}  {bar.name} ({bar.from_seconds / 60:.1f} min)"
        canvas.text(x, below + line * LEGEND_LINE, label)
    height = below + lines * LEGEND_LINE + 20
    return canvas.document(WIDTH, height)


def _draw_panel(canvas: _TimeCanvas, panel: Panel, bars: Sequence[Bar], top: float) -> None:
    highest = max((point[1] for series in panel.series for point in series.points), default=0.0)
    step = round_step(highest or 1.0)
    limit = step * (int(highest / step) + 1)
    bottom = top + PANEL_HEIGHT

    def y(value: float) -> float:
        return round(bottom - PANEL_HEIGHT * value / limit, 1)

    for number, bar in enumerate(bars):
        x, to = canvas.x(bar.from_seconds), canvas.x(bar.to_seconds)
        width = round(max(1.0, to - x), 1)
        canvas.parts.append(
            f'<rect x="{x}" y="{top}" width="{width}" height="{PANEL_HEIGHT}" fill="#d55e00" opacity="0.16"/>'
        )
        canvas.text(x, top - 3, str(number + 1), size=8, fill="#a04000")
    canvas.text(LEFT, top - 14, f"{panel.title} ({panel.unit})", size=12, fill="#000")
    for tick in range(int(limit / step) + 1):
        canvas.line(LEFT, y(tick * step), WIDTH - RIGHT, y(tick * step))
        canvas.text(LEFT - 6, y(tick * step) + 4, f"{tick * step:,g}", "end")
    minutes = canvas.seconds / 60
    minute_step = round_step(minutes)
    for tick in range(int(minutes / minute_step) + 1):
        x = canvas.x(tick * minute_step * 60)
        canvas.line(x, bottom, x, bottom + 4, "#333")
        canvas.text(x, bottom + 15, f"{tick * minute_step:g} min", "middle", 9)
    for number, series in enumerate(panel.series):
        colour = canvas.colour(series.name)
        canvas.path(_path(canvas, series, y), colour)
        canvas.text(WIDTH - RIGHT + 10, top + 12 + number * LEGEND_LINE, series.name, fill=colour)


def _path(canvas: _TimeCanvas, series: Series, y: object) -> list[str]:
    assert callable(y)
    commands, before = [], None
    for seconds, value in series.points:
        broken = before is None or seconds - before > series.gap_seconds
        commands.append(f"{'M' if broken else 'L'}{canvas.x(seconds)} {y(value)}")
        before = seconds
    return commands
