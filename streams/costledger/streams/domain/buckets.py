"""Where an instant falls: the hour, day and month of a user's own time zone, by quarter of an hour.

Every time zone in use is a whole number of quarters of an hour away from UTC, so all instants of one quarter
fall into the same hour, day and month. The stream therefore adds up by quarter and rolls up afterwards,
and this table is asked once per quarter and zone, not once per event.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from costledger.schemas.periods import Period, PeriodKind, period_at, period_of_label

QUARTER_MICROSECONDS: Final = 900_000_000
QUARTERS_PER_HOUR: Final = 4


class Buckets(NamedTuple):
    """The three periods that hold a quarter; `hour.start_us // QUARTER_MICROSECONDS` is an hour's key."""

    hour: Period
    day: Period
    month: Period

    @property
    def hour_key(self) -> int:
        """The quarter in which the hour begins."""
        return self.hour.start_us // QUARTER_MICROSECONDS


def quarter_of(instant_us: int) -> int:
    """The quarter of an hour, counted from the epoch, that holds the instant (Unix microseconds)."""
    return instant_us // QUARTER_MICROSECONDS


@lru_cache(maxsize=65_536)
def buckets_of(quarter: int, time_zone: str) -> Buckets:
    """The hour, day and month that hold a quarter in a zone."""
    instant_us = quarter * QUARTER_MICROSECONDS
    return Buckets(
        period_at(PeriodKind.HOUR, instant_us, time_zone),
        period_at(PeriodKind.DAY, instant_us, time_zone),
        period_at(PeriodKind.MONTH, instant_us, time_zone),
    )


@lru_cache(maxsize=4096)
def hour_keys_of(day_labels: tuple[str, ...], hour: str, time_zone: str) -> tuple[int | None, ...]:
    """`hour_key_of` for several days."""
    return tuple(hour_key_of(label, hour, time_zone) for label in day_labels)


def hour_key_of(day_label: str, hour: str, time_zone: str) -> int | None:
    """The key of the hour called `hour` ("00" to "23") of a day in a zone; None where clocks skip it.

    Where a zone has it twice, the first of the two.
    """
    label = f"{day_label}T{hour}"
    period = period_of_label(PeriodKind.HOUR, label, time_zone)
    return period.start_us // QUARTER_MICROSECONDS if period.label == label else None


@lru_cache(maxsize=4096)
def labelled(kind: PeriodKind, label: str, time_zone: str) -> Period:
    """The period of a label in a zone."""
    return period_of_label(kind, label, time_zone)


@lru_cache(maxsize=4096)
def labels_before(day_label: str, days: int) -> tuple[str, ...]:
    """The labels of so many days before a day, the nearest first."""
    day = date.fromisoformat(day_label)
    return tuple((day - timedelta(days=back)).isoformat() for back in range(1, days + 1))
