"""Where an amount is drawn, and which ticks an axis has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

TICKS_MAX: Final = 6
_NICE: Final = (Decimal(1), Decimal(2), Decimal(5), Decimal(10))
#: About the width of a digit at the charts' size of text (12 units).
CHARACTER_WIDTH: Final = 6.8


@dataclass(frozen=True, slots=True)
class Frame:
    """The size of a drawing, in units of its view box. `name` tells several drawings of one chart apart."""

    name: str
    width: float
    height: float


#: Every chart is drawn twice, and the style sheet shows one: text keeps its size on a phone.
WIDE: Final = Frame("wide", 720, 260)
NARROW: Final = Frame("narrow", 320, 220)


@dataclass(frozen=True, slots=True)
class Plot:
    """The part of a drawing inside its axes."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Right less left."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Bottom less top."""
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Scale:
    """Amounts from `low` to `high` on a line from `start` to `end`; what lies outside is put on the nearer end."""

    low: Decimal
    high: Decimal
    start: float
    end: float

    def at(self, amount: Decimal) -> float:
        """Where an amount is."""
        if amount <= self.low:
            return self.start
        if amount >= self.high:
            return self.end
        share = float((amount - self.low) / (self.high - self.low))
        return round(self.start + share * (self.end - self.start), 2)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis."""

    position: float
    text: str


def nice_ticks(low: Decimal, high: Decimal, ticks_max: int = TICKS_MAX) -> tuple[Decimal, ...]:
    """Ascending multiples of 1, 2 or 5 times a power of ten, of which the first is at most `low` and the last at least
    `high`; 0 is one of them. At most `ticks_max` (3 or more), or two more where both signs are there.
    """
    low, high = min(low, Decimal(0)), max(high, Decimal(0))
    if low == high:
        high = Decimal(1)
    step = _nice_step((high - low) / (ticks_max - 1))
    first = int((low / step).to_integral_value(ROUND_FLOOR))
    last = int((high / step).to_integral_value(ROUND_CEILING))
    return tuple(step * index for index in range(first, last + 1))


def _nice_step(least: Decimal) -> Decimal:
    """The smallest of 1, 2, 5 times a power of ten that is at least `least`."""
    power = Decimal(1).scaleb(least.adjusted())
    return next(nice * power for nice in _NICE if nice * power >= least)


def without_overlaps(ticks: Sequence[Tick], gap: float = 6.0) -> list[Tick]:
    """The ticks whose centred texts do not touch; of two that do, the later in `ticks` is left out."""
    kept: list[Tick] = []
    for tick in ticks:
        half = text_width(tick.text) / 2
        if all(abs(tick.position - other.position) >= half + text_width(other.text) / 2 + gap for other in kept):
            kept.append(tick)
    return sorted(kept, key=lambda tick: tick.position)


def text_width(text: str) -> float:
    """About how wide a text is drawn."""
    return len(text) * CHARACTER_WIDTH
