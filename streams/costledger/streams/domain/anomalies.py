"""Anomalies of one user: a service that costs unusually much in an hour, whether that goes on, and when it is over.

The baseline of a service in an hour is found once, at the service's first event in it, and stays with the hour:
what comes later, in this hour or late in an earlier one, does not move it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from costledger.schemas.alerts import CostAlert
from costledger.streams.domain import decisions
from costledger.streams.domain.amounts import spent_by_service
from costledger.streams.domain.baselines import Past, known_weeks, service_baseline
from costledger.streams.domain.buckets import Buckets, quarter_of
from costledger.streams.domain.calendar import Calendar
from costledger.streams.domain.days import DayTotals
from costledger.streams.domain.decisions import Cause
from costledger.streams.domain.hours import HAS_ANOMALY, Baselines, HourTotals
from costledger.streams.domain.rules import Rules

#: Services of one hour that are watched, the first ones met.
SERVICES_MAX: Final = 32


class AnomalyWatch:
    """Watches the services in the hours of one user's calendar against the user's own history."""

    __slots__ = ("_baselines", "_calendar", "_hour", "_past", "_rules", "_user_id", "open")

    def __init__(self, user_id: str, calendar: Calendar, rules: Rules) -> None:
        self._user_id = user_id
        self._calendar = calendar
        self._rules = rules
        #: The latest anomalous hour of each service whose end was not told.
        self.open: dict[str, int] = {}
        #: The hour looked at last, with its baselines unpacked.
        self._hour: HourTotals | None = None
        self._baselines: Baselines = {}
        #: The history of the day looked at last, with that day and the oldest one that may be looked at.
        self._past: tuple[str, str, Past] | None = None

    def take_back(self, flagged: Iterable[tuple[int, int, DayTotals]]) -> None:
        """After recovery, or when the hours have moved: find the anomalies whose end was not told among all hours with flags."""
        self.open.clear()
        self._hour = None
        self._past = None
        for key, flags, day in flagged:
            hour = day.read_hour(key) if flags & HAS_ANOMALY else None
            for service, found in hour.baselines.items() if hour else ():
                if found is not None and found.is_anomalous and not found.is_end_told:
                    self.open[service] = max(self.open.get(service, 0), key)

    def begin_day(self) -> None:
        """A day is about to have its first hour: the weeks of history may be others."""
        self._past = None

    def changed(self, day_label: str) -> None:
        """Totals of a day have changed: also what is known of the days after it."""
        if self._past is not None and day_label < self._past[0]:
            self._past = None

    def met(self, hour: HourTotals) -> Baselines:
        """The services met in the hour so far; `meet` adds to it as long as no other hour is asked about."""
        if hour is not self._hour:
            self._hour, self._baselines = hour, hour.baselines
        return self._baselines

    def meet(self, hour: HourTotals, buckets: Buckets, service: str, cause: Cause) -> None:
        """A service's first event in an hour: find what is usual. Totals of other days must be complete."""
        baselines = self.met(hour)
        past = self._past_before(buckets.day.label, cause.received_at)
        baselines[service] = service_baseline(past, buckets.hour.label[-2:], service, self._rules)
        hour.set_baselines(baselines)

    def room(self, hour: HourTotals) -> int | None:
        """How much may be added before a service can pass its limit, at least 0; None where none has one that it has not passed."""
        room, spent = None, None
        for service, found in self.met(hour).items():
            if found is not None and not found.is_anomalous:
                if spent is None:
                    spent = spent_by_service(hour.amounts)
                left = found.limit + 1 - spent.get(service, 0)
                if room is None or left < room:
                    room = left
        return None if room is None else max(0, room)

    def decide(self, buckets: Buckets, cause: Cause) -> Iterator[CostAlert]:
        """Mark the services that have passed their limits by now; the alerts of the anomalies that begin with it."""
        hour = self._calendar.days[buckets.day.label].hour(buckets.hour_key)
        baselines = self.met(hour)
        for service, found in baselines.items():
            if found is None or found.is_anomalous:
                continue
            spent = hour.spent_on(service)
            if spent <= found.limit:
                continue
            if not self._goes_on(self._calendar.hour_before(buckets.hour_key), service):
                yield decisions.anomaly_alert(self._user_id, buckets.hour, service, spent, found, cause)
            found.is_anomalous = True
            hour.set_baselines(baselines)
            hour.mark(HAS_ANOMALY)
            self.open[service] = max(self.open.get(service, 0), buckets.hour_key)

    def ends(self, new_hour_key: int, cause: Cause) -> Iterator[CostAlert]:
        """With the first event of a new hour: the alerts that say that the anomalies before it are over."""
        before = self._calendar.hour_before(new_hour_key) if self.open else 0
        for service, key in sorted(self.open.items()):
            hour = self._calendar.hour(key)
            # One that is too old to be looked at stays open: a broker's clock may be set back.
            if hour is None or key >= before or self._goes_on(before, service):
                continue
            del self.open[service]
            self._mark_end(service)
            period = self._calendar.buckets(key).hour
            yield decisions.anomaly_over(self._user_id, period, service, hour.spent_on(service), cause)

    def _mark_end(self, service: str) -> None:
        """Note in every hour of the anomaly that its end is told: a recovery finds none that is open."""
        for key, flags, day in self._calendar.flagged():
            hour = day.read_hour(key) if flags & HAS_ANOMALY else None
            baselines = hour.baselines if hour else {}
            found = baselines.get(service)
            if found is not None and found.is_anomalous and not found.is_end_told:
                found.is_end_told = True
                day.hour(key).set_baselines(baselines)
                self._hour = None
                self._calendar.changed_days.add(self._calendar.buckets(key).day.label)

    def _goes_on(self, hour_key: int, service: str) -> bool:
        """Whether the hour belongs to an anomaly: it is one, or follows one without coming halfway back to the usual."""
        hour = self._calendar.hour(hour_key)
        while hour is not None:
            found = hour.baselines.get(service)
            if found is None:
                return False
            if found.is_anomalous:
                # Once its end is told it is over, whatever comes late: what follows is another one.
                return not found.is_end_told
            if 2 * hour.spent_on(service) < found.usual + found.limit:
                return False
            hour_key = self._calendar.hour_before(hour_key)
            hour = self._calendar.hour(hour_key)
        return False

    def _past_before(self, day: str, received_at_us: int) -> Past:
        oldest = self._calendar.buckets(quarter_of(received_at_us - self._rules.horizon_us)).day.label
        if self._past is not None and self._past[:2] == (day, oldest):
            return self._past[2]
        past = Past(self._calendar, known_weeks(self._calendar, day, oldest), self._rules)
        self._past = day, oldest, past
        return past


def is_unmet(met: Baselines, service: str) -> bool:
    """Whether the service has no event in the hour yet, and is to be watched from its first one on."""
    return service not in met and len(met) < SERVICES_MAX
