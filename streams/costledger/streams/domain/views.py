"""What a reader sees of a user's totals: one view per period, absolute, so that writing it twice is harmless."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from costledger.schemas.periods import PeriodKind
from costledger.streams.domain.amounts import Amounts, add_amounts
from costledger.streams.domain.buckets import quarter_of
from costledger.streams.domain.days import DayTotals
from costledger.streams.domain.hours import HourTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS
from costledger.streams.domain.user import UserTotals


@dataclass(frozen=True, slots=True)
class PeriodView:
    """The totals of one user and period, in 1e-12 USD by (service, operation).

    `amounts` is None where the period no longer exists; else mostly the live dictionary of the state. Every event of
    the user up to `offset` (on the partition of `cost.events`; -1: none yet) is in them: a reader that knows an
    event's offset can tell whether a period has it.
    """

    user_id: str
    kind: PeriodKind
    label: str
    amounts: Amounts | None
    offset: int = -1


def changed_views(user: UserTotals, offset: int) -> Iterator[PeriodView]:
    """The periods that changed since the last flush; to be asked before the changes are stored.

    `offset` is that of the last event that the state holds with these changes.
    """
    calendar, name = user.calendar, user.user_id
    for label in calendar.changed_days:
        day = calendar.days.get(label)
        if day is None:
            continue
        yield PeriodView(name, PeriodKind.DAY, label, day.amounts, offset)
        for key, hour in day.changed_hours():
            yield _hour_view(user, day, key, hour, offset)
    for label in calendar.changed_months:
        month = calendar.months.get(label)
        if month is not None:
            yield PeriodView(name, PeriodKind.MONTH, label, month.amounts, offset)
    if calendar.retired:
        # Since the change of zone a label may have got totals again.
        for kind, label in calendar.retired - calendar.labels():
            yield PeriodView(name, kind, label, None)


def all_views(user: UserTotals) -> Iterator[PeriodView]:
    """Every period that the state holds."""
    calendar, name, offset = user.calendar, user.user_id, user.fence
    for label, day in calendar.days.items():
        yield PeriodView(name, PeriodKind.DAY, label, day.amounts, offset)
        for key, hour in day.read_hours().items():
            yield _hour_view(user, day, key, hour, offset)
    for label, month in calendar.months.items():
        yield PeriodView(name, PeriodKind.MONTH, label, month.amounts, offset)


def views_of(user: UserTotals, labels: Iterable[tuple[PeriodKind, str]]) -> Iterator[PeriodView]:
    """The periods of these labels, as the state has them now; without amounts those that it has not."""
    calendar = user.calendar
    for kind, label in labels:
        if kind is PeriodKind.HOUR:
            yield _hour_view_of(user, label)
        else:
            held = calendar.days.get(label) if kind is PeriodKind.DAY else calendar.months.get(label)
            yield PeriodView(user.user_id, kind, label, None if held is None else held.amounts, user.fence)


def gone_views(user_id: str, labels: Iterable[tuple[PeriodKind, str]]) -> Iterator[PeriodView]:
    """The periods of a user of whom the state has nothing any more."""
    for kind, label in labels:
        yield PeriodView(user_id, kind, label, None)


def _hour_view_of(user: UserTotals, label: str) -> PeriodView:
    """An hour by its label, which since a change of zone may be none; then without amounts."""
    calendar = user.calendar
    period = calendar.period(PeriodKind.HOUR, label)
    first = quarter_of(period.start_us)
    day = calendar.days.get(calendar.buckets(first).day.label)
    if day is not None and period.label == label:
        hour = day.read_hour(first)
        # Where a zone has an hour twice, the second may be all there is.
        for key, found in day.read_hours().items() if hour is None else ((first, hour),):
            if calendar.buckets(key).hour.label == label:
                return _hour_view(user, day, key, found, user.fence)
    return PeriodView(user.user_id, PeriodKind.HOUR, label, None)


def _hour_view(user: UserTotals, day: DayTotals, hour_key: int, hour: HourTotals, offset: int) -> PeriodView:
    """An hour by its label. Where clocks go back, two hours of a day have one label and are shown as one."""
    buckets = user.calendar.buckets(hour_key)
    label, amounts = buckets.hour.label, hour.amounts
    if buckets.day.end_us - buckets.day.start_us > DAY_MICROSECONDS:
        amounts = {}
        for key, one in day.read_hours().items():
            if user.calendar.buckets(key).hour.label == label:
                add_amounts(amounts, one.amounts)
    return PeriodView(user.user_id, PeriodKind.HOUR, label, amounts, offset)
