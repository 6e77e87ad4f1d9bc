"""Which periods an answer is about: pure arithmetic on instants (Unix microseconds) and IANA zones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from costledger.schemas.errors import InvalidValue
from costledger.schemas.periods import Period, PeriodKind, period_at

#: How many periods a history has, the running one included.
HISTORY_PERIODS: Final[Mapping[PeriodKind, int]] = {PeriodKind.DAY: 7, PeriodKind.WEEK: 4, PeriodKind.MONTH: 12}


@dataclass(frozen=True, slots=True)
class Interval:
    """The half-open interval [start_us, end_us), in Unix microseconds."""

    start_us: int
    end_us: int


def period_bounds(kind: PeriodKind, now_us: int, time_zone: str = "UTC") -> Period:
    """The running day, week (ISO, from Monday) or month in a zone; `InvalidValue` for another kind."""
    _check_kind(kind)
    return period_at(kind, now_us, time_zone)


def history_periods(kind: PeriodKind, now_us: int, time_zone: str = "UTC") -> list[Period]:
    """7 days, 4 weeks or 12 months, oldest first, without gaps; the last is the running one."""
    _check_kind(kind)
    return list(_back_from(period_at(kind, now_us, time_zone), HISTORY_PERIODS[kind]))


def days_until(last: Period, days: int) -> list[Period]:
    """So many days of the period's zone, oldest first, the last one being `last` (a day)."""
    return list(_back_from(last, days))


def same_point_before(running: Period, now_us: int) -> Interval:
    """The previous period from its start for as long as the running one has lasted, but not beyond its own end.

    Lengths are of time passed: after a change of clocks the same point is an hour earlier or later on the wall.
    """
    previous = running.previous()
    passed = max(0, now_us - running.start_us)
    return Interval(previous.start_us, min(previous.start_us + passed, previous.end_us))


@lru_cache(maxsize=1024)
def _back_from(last: Period, count: int) -> tuple[Period, ...]:
    periods = [last]
    while len(periods) < count:
        periods.append(periods[-1].previous())
    return tuple(periods[::-1])


def _check_kind(kind: PeriodKind) -> None:
    if kind not in HISTORY_PERIODS:
        raise InvalidValue("period", str(kind), f"one of {', '.join(HISTORY_PERIODS)}")
