"""What a user's running period has come to, its history, and what came before it: read in one statement, then pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from costledger.schemas.periods import MICROSECONDS_PER_HOUR, Period, PeriodKind
from costledger.sinks.analytics.periods import Interval, history_periods, same_point_before
from costledger.sinks.analytics.totals import Sums, sums_of_intervals
from costledger.sinks.database import Connection


@dataclass(frozen=True, slots=True)
class PeriodCosts:
    """One period with its sums by service and operation; empty where nothing happened. Amounts in 1e-12 USD.

    Only the running period's sums have maxima.
    """

    period: Period
    sums: list[Sums]

    @property
    def total(self) -> int:
        """All priced events, credits included."""
        return sum(one.amount for one in self.sums)

    @property
    def by_service(self) -> dict[str, int]:
        """Service -> amount, in the order of names."""
        amounts: dict[str, int] = {}
        for one in self.sums:
            amounts[one.service] = amounts.get(one.service, 0) + one.amount
        return amounts

    @property
    def by_operation(self) -> dict[str, int]:
        """ "service/operation" -> amount; added up where a slash in a name gives two the same one."""
        amounts: dict[str, int] = {}
        for one in self.sums:
            name = f"{one.service}/{one.operation}"
            amounts[name] = amounts.get(name, 0) + one.amount
        return amounts

    @property
    def unpriced(self) -> int:
        """Events without a price: they are in no amount."""
        return sum(one.unpriced for one in self.sums)


@dataclass(frozen=True, slots=True)
class Costs:
    """A user's history of one kind of period, and the previous one up to the same point, in 1e-12 USD."""

    history: list[PeriodCosts]
    previous_to_date: Fraction

    @property
    def current(self) -> PeriodCosts:
        """The running period."""
        return self.history[-1]

    @property
    def previous(self) -> PeriodCosts:
        """The whole period before it."""
        return self.history[-2]

    @property
    def trend_percent(self) -> Fraction:
        """The change from the whole previous period to the running one so far."""
        return change_percent(Fraction(self.current.total), Fraction(self.previous.total))

    @property
    def trend_to_date_percent(self) -> Fraction:
        """The change from the previous period up to the same point."""
        return change_percent(Fraction(self.current.total), self.previous_to_date)


def read_costs(connection: Connection, user_id: str, kind: PeriodKind, time_zone: str, now_us: int) -> Costs:
    """Everything that `Costs` has, from the roll-ups: one statement (two where a zone's days begin within a UTC hour).

    In the hour in which the previous period's same point is, spending is taken as even: roll-ups know no minutes.
    """
    periods = history_periods(kind, now_us, time_zone)
    point = same_point_before(periods[-1], now_us)
    hours, begun = _split(point, periods[-2].end_us)
    running = len(periods) - 1
    found = sums_of_intervals(connection, user_id, [*periods, hours, begun], with_maximum=(running,))
    to_date, begun_hour = (sum(one.amount for one in sums) for sums in found[-2:])
    length_us = begun.end_us - begun.start_us
    share = Fraction(point.end_us - begun.start_us, length_us) if length_us else Fraction(0)
    history = [PeriodCosts(period, sums) for period, sums in zip(periods, found[:-2], strict=True)]
    return Costs(history, to_date + begun_hour * share)


def change_percent(now: Fraction, before: Fraction) -> Fraction:
    """The change in percent of what was before; 0 where there was nothing.

    A rise is positive also where more had been credited than spent before.
    """
    return (now - before) / abs(before) * 100 if before else Fraction(0)


def average(sums: Sums) -> Fraction | None:
    """USD x 1e-12 per priced event; None where there is none."""
    priced = sums.events - sums.unpriced
    return Fraction(sums.amount, priced) if priced > 0 else None


def _split(to_date: Interval, end_us: int) -> tuple[Interval, Interval]:
    """The full hours of an interval, and the hour (cut off at `end_us`) in which it ends."""
    hour_us = max(to_date.start_us, to_date.end_us - to_date.end_us % MICROSECONDS_PER_HOUR)
    next_us = to_date.end_us - to_date.end_us % MICROSECONDS_PER_HOUR + MICROSECONDS_PER_HOUR
    return Interval(to_date.start_us, hour_us), Interval(hour_us, min(next_us, end_us))
