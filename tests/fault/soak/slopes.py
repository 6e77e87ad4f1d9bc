"""Whether memory is flat: a least-squares line through samples, and how sure its slope is. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Final

HOUR_SECONDS: Final = 3600.0
#: Neighbouring samples of memory are all but the same number: as many as these seconds hold count as one.
BLOCK_SECONDS: Final = 30.0
#: Longer than a worker holds the partitions of a twin that is dead.
LEVEL_SECONDS: Final = 60.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through so many samples. `error_percent_per_hour` is the slope's standard error; infinite for two blocks or fewer."""

    samples: int
    blocks: int
    mean: float
    percent_per_hour: float
    error_percent_per_hour: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def fit_trend(points: Sequence[Point]) -> Trend:
    """The trend of (seconds, value). The slope is that of all points; its error that of a line through the means of blocks.

    ValueError with fewer than two moments.
    """
    slope, mean, _ = _line(points)
    blocks = [_mean(block) for block in _blocks(points, BLOCK_SECONDS)]
    error = math.inf
    if len(blocks) > 2:
        _, _, error = _line(blocks)
    scale = 100 * HOUR_SECONDS / mean
    return Trend(len(points), len(blocks), mean, slope * scale, error * scale)


def levels(points: Sequence[Point]) -> list[Point]:
    """The lowest value of each `LEVEL_SECONDS`: what a burst takes for a moment and gives back is no growth."""
    return [min(block, key=itemgetter(1)) for block in _blocks(points, LEVEL_SECONDS)]


def staying(points: Sequence[Point]) -> list[Point]:
    """Of each point what no later one is below: what is given back some time later is no growth, a leak is all that stays."""
    least, kept = math.inf, []
    for at, value in reversed(points):
        least = min(least, value)
        kept.append((at, least))
    return kept[::-1]


def _line(points: Sequence[Point]) -> tuple[float, float, float]:
    """Slope, mean of the values, standard error of the slope."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count if count else 0.0
    mean_y = sum(y for _, y in points) / count if count else 0.0
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if spread == 0:
        raise ValueError(f"no line through {count} samples of one moment")
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    error = math.sqrt(rest / (count - 2) / spread) if count > 2 else math.inf
    return slope, mean_y, error


def _blocks(points: Sequence[Point], block_seconds: float) -> list[list[Point]]:
    """The samples of each so many seconds, in their order."""
    gathered: dict[int, list[Point]] = {}
    for point in points:
        gathered.setdefault(int(point[0] // block_seconds), []).append(point)
    return [block for _, block in sorted(gathered.items())]


def _mean(block: Sequence[Point]) -> Point:
    return sum(x for x, _ in block) / len(block), sum(y for _, y in block) / len(block)
