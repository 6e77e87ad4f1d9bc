"""A plot as SVG, by hand: panels one below the other over the same time, and bars for what was done meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

WIDTH: Final = 1200
LEFT: Final = 80
RIGHT: Final = 170
PANEL_HEIGHT: Final = 190
PANEL_GAP: Final = 46
TOP: Final = 60
LEGEND_LINE: Final = 15
LEGEND_COLUMNS: Final = 3
#: Distinct also for eyes that do not tell red from green.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

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
class _Canvas:
    seconds: float
    parts: list[str] = field(default_factory=list)
    colours: dict[str, str] = field(default_factory=dict)

    def colour(self, name: str) -> str:
        """The same in every panel."""
        return self.colours.setdefault(name, COLOURS[len(self.colours) % len(COLOURS)])

    def x(self, seconds: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds, 1)

    def text(self, x: float, y: float, text: str, anchor: str = "start", size: int = 11, fill: str = "#333") -> None:
        self.parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{fill}">{escape(text)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = "#ddd") -> None:
        self.parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>')


def draw(title: str, panels: Sequence[Panel], bars: Sequence[Bar]) -> str:
    """The whole picture. Bars are numbered; their names are below the panels."""
    latest = [point[0] for panel in panels for series in panel.series for point in series.points]
    canvas = _Canvas(max([*latest, *(bar.to_seconds for bar in bars), 1.0]))
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
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    return "\n".join([head, ground, *canvas.parts, "</svg>"]) + "\n"


def _draw_panel(canvas: _Canvas, panel: Panel, bars: Sequence[Bar], top: float) -> None:
    highest = max((point[1] for series in panel.series for point in series.points), default=0.0)
    step = _step(highest or 1.0)
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
    minute_step = _step(minutes)
    for tick in range(int(minutes / minute_step) + 1):
        x = canvas.x(tick * minute_step * 60)
        canvas.line(x, bottom, x, bottom + 4, "#333")
        canvas.text(x, bottom + 15, f"{tick * minute_step:g} min", "middle", 9)
    for number, series in enumerate(panel.series):
        colour = canvas.colour(series.name)
        path = " ".join(_path(canvas, series, y))
        canvas.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
        canvas.text(WIDTH - RIGHT + 10, top + 12 + number * LEGEND_LINE, series.name, fill=colour)


def _path(canvas: _Canvas, series: Series, y: object) -> list[str]:
    assert callable(y)
    commands, before = [], None
    for seconds, value in series.points:
        broken = before is None or seconds - before > series.gap_seconds
        commands.append(f"{'M' if broken else 'L'}{canvas.x(seconds)} {y(value)}")
        before = seconds
    return commands


def _step(highest: float) -> float:
    """A round distance between marks, so that there are some five."""
    power: float = 10.0 ** (len(str(int(highest))) - 1) if highest >= 1 else 0.1
    for factor in (0.2, 0.25, 0.5, 1.0, 2.0):
        if highest / (power * factor) <= 6:
            return power * factor
    return power * 2
