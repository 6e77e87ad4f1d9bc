"""What a reader sees of a user's totals: one view per period, absolute, so that writing it twice is harmless."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from costledger.schemas.periods import PeriodKind
from costledger.streams.domain.totals import Amounts
from costledger.streams.domain.user import UserTotals


@dataclass(frozen=True, slots=True)
class PeriodView:
    """The totals of one user and period, in 1e-12 USD by (service, operation).

    `amounts` is the live dictionary of the state, and None where the period no longer exists.
    """

    user_id: str
    kind: PeriodKind
    label: str
    amounts: Amounts | None


def changed_views(user: UserTotals) -> Iterator[PeriodView]:
    """The periods that changed since the last flush; to be asked before the changes are stored."""
    calendar, name = user.calendar, user.user_id
    for label in calendar.changed_days:
        day = calendar.days.get(label)
        if day is None:
            continue
        yield PeriodView(name, PeriodKind.DAY, label, day.amounts)
        for key, hour in day.hours.items():
            if hour.is_changed:
                yield PeriodView(name, PeriodKind.HOUR, calendar.buckets(key).hour.label, hour.amounts)
    for label in calendar.changed_months:
        month = calendar.months.get(label)
        if month is not None:
            yield PeriodView(name, PeriodKind.MONTH, label, month.amounts)
    for kind, label in calendar.retired:
        yield PeriodView(name, kind, label, None)


def all_views(user: UserTotals) -> Iterator[PeriodView]:
    """Every period that the state holds."""
    calendar, name = user.calendar, user.user_id
    for label, day in calendar.days.items():
        yield PeriodView(name, PeriodKind.DAY, label, day.amounts)
    for key, hour in calendar.hours():
        yield PeriodView(name, PeriodKind.HOUR, calendar.buckets(key).hour.label, hour.amounts)
    for label, month in calendar.months.items():
        yield PeriodView(name, PeriodKind.MONTH, label, month.amounts)
