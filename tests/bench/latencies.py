"""From what was sent and what was seen to latencies. Pure: no clock, no service.

Times are nanoseconds of one monotonic clock that all processes of a machine share.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

#: The backlog may grow by this share of the events that come in, as noise. More of it is a queue that gets longer.
GROWTH_MAX = 0.02
#: A generator that sent fewer events a second than this share of what it should have did not keep its own rate.
PACE_SHARE_MIN = 0.99
#: The series of what can never be seen: an event without a row, say.
NOWHERE = "nowhere"
_NANOSECONDS = 1e9


class Timeline:
    """How far something was seen to be: levels that only rise, each with the time at which it was first seen."""

    def __init__(self) -> None:
        self._levels: list[int] = []
        self._seen_ns: list[int] = []

    @property
    def level(self) -> int:
        """The highest level seen; 0 before any."""
        return self._levels[-1] if self._levels else 0

    def note(self, seen_ns: int, level: int) -> None:
        """It is at this level now; what is no rise is no news."""
        if level > self.level:
            self._levels.append(level)
            self._seen_ns.append(seen_ns)

    def reached_ns(self, level: int) -> int | None:
        """When this level or a higher one was first seen; None where it never was."""
        place = bisect_left(self._levels, level)
        return self._seen_ns[place] if place < len(self._levels) else None


@dataclass(frozen=True, slots=True)
class Probe:
    """A sampled event: it was due to be sent at `due_ns`, and is visible as soon as `series` has reached `level`."""

    series: str
    level: int
    due_ns: int


@dataclass(frozen=True, slots=True)
class Sample:
    """How long after it was due an event was visible, in seconds; None: it was not seen."""

    due_ns: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What is reported of one way to be seen, at one rate.

    `p50_ms` and `p99_ms` are over all samples, those that were not seen counted as longer than any other: None where
    the percentile is one of these. `growth`: the share of the events coming in by which the backlog grew.
    """

    rate: int
    samples: int
    unseen: int
    p50_ms: float | None
    p99_ms: float | None
    growth: float | None

    @property
    def keeps_up(self) -> bool:
        """Whether everything was seen, and the backlog did not grow during the load."""
        return not self.unseen and self.growth is not None and self.growth <= GROWTH_MAX

    @property
    def rate_sustained(self) -> float | None:
        """Events per second that came out at the other end during the load; None where that cannot be said."""
        return None if self.growth is None else self.rate * (1 - min(1.0, max(0.0, self.growth)))

    def verdict(self) -> str:
        """In words for the table."""
        if self.unseen == self.samples:
            return "nothing became visible"
        if self.keeps_up:
            return "keeps up"
        unseen = f", {self.unseen} not visible in time" if self.unseen else ""
        bend = "" if self.rate_sustained is None else f": about {self.rate_sustained:,.0f}/s came out"
        return f"does not keep up{bend}{unseen}"


def samples_of(probes: Iterable[Probe], timelines: Mapping[str, Timeline]) -> list[Sample]:
    """A sample of each probe, in the order in which they were due."""
    samples = []
    for probe in sorted(probes, key=lambda each: each.due_ns):
        timeline = timelines.get(probe.series)
        seen_ns = None if timeline is None else timeline.reached_ns(probe.level)
        samples.append(Sample(probe.due_ns, None if seen_ns is None else (seen_ns - probe.due_ns) / _NANOSECONDS))
    return samples


def figures_of(rate: int, samples: Sequence[Sample], counted_from_ns: int) -> Figures:
    """What the samples say, in the order in which they were due; earlier ones are the warm-up, and only part of the backlog."""
    counted = [sample for sample in samples if sample.due_ns >= counted_from_ns]
    return Figures(
        rate,
        len(counted),
        sum(sample.seconds is None for sample in counted),
        percentile_ms(counted, 50),
        percentile_ms(counted, 99),
        growth_of(samples, counted_from_ns),
    )


def percentile_ms(samples: Iterable[Sample], percent: int) -> float | None:
    """The least latency, in ms, that so many percent of all samples do not exceed; None where that one was not seen."""
    latencies = sorted(math.inf if sample.seconds is None else sample.seconds for sample in samples)
    if not latencies:
        return None
    found = latencies[max(0, math.ceil(len(latencies) * percent / 100) - 1)]
    return None if math.isinf(found) else round(found * 1000, 1)


def growth_of(samples: Sequence[Sample], counted_from_ns: int) -> float | None:
    """The share of the events coming in that stayed behind: 0 where as many came out, 1 where none did.

    By the backlog (due and not seen) at each due time, averaged over the first and the last third of the load, so that
    where a batch ends does not count. None for fewer than six samples.
    """
    seen_ns = sorted(sample.due_ns + sample.seconds * _NANOSECONDS for sample in samples if sample.seconds is not None)
    backlog = [
        number - bisect_right(seen_ns, sample.due_ns)
        for number, sample in enumerate(samples, 1)
        if sample.due_ns >= counted_from_ns
    ]
    third = len(backlog) // 3
    if third < 2:
        return None
    return (fmean(backlog[-third:]) - fmean(backlog[:third])) / (len(backlog) - third)
