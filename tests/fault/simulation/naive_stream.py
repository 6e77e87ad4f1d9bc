"""What the stream must come to: totals and alerts from the plain list of records, one after the other.

Written from the rules in streams/README.md, with periods of its own (`naive_periods`); nothing of the stream's domain is
used. Money is integers of 1e-12 USD, times are Unix microseconds. Anomalies and forecasts are `NaiveUser`'s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import ceil
from statistics import median_low
from typing import Any, NamedTuple

from tests.fault.simulation.naive_periods import Span, day_of, day_start, hour_of, month_of
from tests.streams.domain.naive_unusual import NaiveUser

from costledger.schemas.alerts import CostAlert
from costledger.schemas.budgets import Budget
from costledger.streams.domain.rules import Rules

USD = 10**12
WEEK_US = 7 * 86_400_000_000
MONTHLY_USD = {"free": 5, "premium": 50, "ultimate": 200}

Operation = tuple[str, str]


class Decision(NamedTuple):
    """What makes an alert this alert and no other."""

    kind: str
    state: str
    user: str
    scope: str
    version: int | None
    start_us: int
    end_us: int
    percent: Decimal | None


class Content(NamedTuple):
    """What an alert says of its decision."""

    actual: int
    limit: int | None
    occurred_us: int
    raised_us: int
    late: bool


def decision_of(alert: CostAlert) -> tuple[Decision, Content]:
    """An alert of the stream in these terms."""
    percent = alert.threshold_percent
    return (
        Decision(
            alert.kind,
            alert.state,
            alert.user_id,
            alert.scope,
            alert.budget_version,
            alert.period_start,
            alert.period_end,
            None if percent is None else percent.normalize(),
        ),
        Content(alert.actual, alert.limit, alert.occurred_at, alert.raised_at, alert.late),
    )


@dataclass
class Hour:
    """One hour: amounts by operation, the usual hour when it began, the rules it broke and those whose end was told."""

    span: Span
    usual: int | None
    amounts: dict[Operation, int] = field(default_factory=lambda: defaultdict(int))
    broken: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        """The sum of all operations."""
        return sum(self.amounts.values())


@dataclass
class Month:
    """The budget that a month is held against, and the amounts at which its thresholds were told."""

    version: int = 0
    thresholds: tuple[tuple[Decimal, int], ...] | None = None
    told: dict[Decimal, int] = field(default_factory=dict)


@dataclass
class Person:
    """One user: the budget in force and everything that was counted."""

    budget: Budget
    unusual: NaiveUser
    hours: dict[int, Hour] = field(default_factory=dict)
    months: dict[str, Month] = field(default_factory=dict)
    unpriced: set[tuple[str, Operation]] = field(default_factory=set)

    @property
    def zone(self) -> str:
        """The zone of the user's periods."""
        return self.budget.time_zone

    def month_total(self, label: str) -> int:
        """Everything that was counted in the month."""
        return sum(hour.total for start, hour in self.hours.items() if month_of(start, self.zone).label == label)


def monthly_of(budget: Budget) -> int:
    """The monthly budget with the tier's default."""
    return MONTHLY_USD.get(budget.tier, 10) * USD if budget.monthly_budget is None else budget.monthly_budget


def thresholds_of(budget: Budget) -> tuple[tuple[Decimal, int], ...]:
    """(percent, least amount that reaches it)."""
    percents = (Decimal(75), Decimal(90), Decimal(100)) if budget.alert_thresholds is None else budget.alert_thresholds
    return tuple((percent, ceil(Fraction(percent) * monthly_of(budget) / 100)) for percent in percents)


def hourly_of(budget: Budget) -> int:
    """The hourly limit with its default."""
    return 20 * USD if budget.hourly_spike_limit is None else budget.hourly_spike_limit


class NaiveStream:
    """The records in order; `told` is every alert but those of anomalies and forecasts, once each."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.people: dict[str, Person] = {}
        self.seen: set[str] = set()
        self.told: dict[Decision, Content] = {}

    def person(self, user: str) -> Person:
        """The user, with the default budget if there is no other."""
        if user not in self.people:
            budget = Budget(user_id=user)
            self.people[user] = Person(budget, NaiveUser(budget, self.rules))
        return self.people[user]

    def add(self, record: dict[str, Any], received: int) -> None:
        """One valid event."""
        at, person = record["occurred_at"], self.person(record["user_id"])
        if at < received - self.rules.horizon_us or record["event_id"] in self.seen:
            return
        self.seen.add(record["event_id"])
        operation = (record["service"], record["operation"])
        if record["amount"] is None:
            self._unpriced(person, operation, at, received)
            return
        hour = self._hour(person, at, received)
        hour.amounts[operation] += record["amount"]
        month = month_of(at, person.zone)
        held = person.months.setdefault(month.label, Month())
        if received < month.end_us or held.thresholds is None:
            held.version, held.thresholds = person.budget.version, thresholds_of(person.budget)
        self._thresholds(person, month, at, received)
        for rule, limit, breaks in self._rules_of(person, hour):
            if rule not in hour.broken and hour.total >= breaks:
                if not self._goes_on(person, hour.span, rule, received):
                    late = received >= hour.span.end_us
                    self._tell(person, "ALARM", rule, hour.span, Content(hour.total, limit, at, received, late))
                hour.broken.add(rule)
        person.unusual.add(operation[0], record["amount"], at, received)

    def set_budget(self, user: str, budget: Budget | None, received: int) -> None:
        """A record of the budgets topic."""
        person = self.person(user)
        if budget is not None and budget.version <= person.budget.version:
            return
        before = person.zone
        person.budget = person.unusual.budget = Budget(user_id=user) if budget is None else budget
        for start, hour in person.hours.items():
            hour.span = hour_of(start, person.zone)
            old, new = month_of(start, before).label, month_of(start, person.zone).label
            if old != new:
                person.months.setdefault(old, Month())
                person.months.setdefault(new, Month())
        for label, month in sorted(person.months.items()):
            span = month_of(day_start(date.fromisoformat(f"{label}-01"), person.zone), person.zone)
            if received < span.end_us:
                month.version, month.thresholds = person.budget.version, thresholds_of(person.budget)
                self._thresholds(person, span, received, received)
        if person.hours:
            person.unusual._forecast(received, received)

    def totals(self) -> Iterator[tuple[tuple[str, str, str, Operation], int]]:
        """((user, kind of period, label, (service, operation)), total) of every total that is not zero."""
        sums: dict[tuple[str, str, str, Operation], int] = defaultdict(int)
        for user, person in self.people.items():
            for start, hour in person.hours.items():
                spans = (
                    ("hour", hour.span),
                    ("day", day_of(start, person.zone)),
                    ("month", month_of(start, person.zone)),
                )
                for kind, span in spans:
                    for operation, amount in hour.amounts.items():
                        sums[user, kind, span.label, operation] += amount
        return ((key, amount) for key, amount in sums.items() if amount)

    def _unpriced(self, person: Person, operation: Operation, at: int, received: int) -> None:
        day, (service, name) = day_of(at, person.zone), operation
        if (day.label, operation) not in person.unpriced:
            person.unpriced.add((day.label, operation))
            decision = Decision(
                "UNPRICED_USAGE",
                "ALARM",
                person.budget.user_id,
                f"operation:{service}/{name}",
                None,
                day.start_us,
                day.end_us,
                None,
            )
            self.told[decision] = Content(0, None, at, received, received >= day.end_us)

    def _hour(self, person: Person, at: int, received: int) -> Hour:
        span = hour_of(at, person.zone)
        if span.start_us not in person.hours:
            oldest = self._oldest(person, received)
            week = [
                hour.total
                for start, hour in person.hours.items()
                if span.start_us - WEEK_US <= start < span.start_us and hour.total > 0 and start >= oldest
            ]
            usual = median_low(week) if len(week) >= self.rules.usual_hours_min else None
            person.hours[span.start_us] = Hour(span, usual)
            self._ends(person, span, at, received)
        return person.hours[span.start_us]

    def _ends(self, person: Person, new: Span, at: int, received: int) -> None:
        before = hour_of(new.start_us - 1, person.zone)
        for rule in ("limit", "usual"):
            standing = [hour for hour in person.hours.values() if rule in hour.broken - hour.ended]
            latest = max((hour.span for hour in standing), default=None)
            if latest is None or latest.start_us >= before.start_us or latest.start_us < self._oldest(person, received):
                continue
            if self._goes_on(person, before, rule, received):
                continue
            total = person.hours[latest.start_us].total
            self._tell(person, "OK", rule, latest, Content(total, None, at, received, False))
            for hour in standing:
                hour.ended.add(rule)

    def _rules_of(self, person: Person, hour: Hour) -> list[tuple[str, int, int]]:
        """(rule, its limit, the least total that breaks it)."""
        limit = hourly_of(person.budget)
        rules = [("limit", limit, limit + 1)]
        if hour.usual is not None:
            relative = max(hour.usual * self.rules.usual_factor, self.rules.usual_least)
            rules.append(("usual", relative, relative))
        return rules

    def _oldest(self, person: Person, received: int) -> int:
        """No hour before this instant is looked at: the day of the horizon begins with it."""
        return day_of(received - self.rules.horizon_us, person.zone).start_us

    def _goes_on(self, person: Person, span: Span, rule: str, received: int) -> bool:
        while span.start_us in person.hours and span.start_us >= self._oldest(person, received):
            hour = person.hours[span.start_us]
            if rule in hour.broken:
                return rule not in hour.ended
            limits = {name: limit for name, limit, _ in self._rules_of(person, hour)}
            if rule not in limits or 2 * hour.total < limits[rule]:
                return False
            span = hour_of(span.start_us - 1, person.zone)
        return False

    def _thresholds(self, person: Person, span: Span, at: int, received: int) -> None:
        month, total = person.months[span.label], person.month_total(span.label)
        for percent, amount in month.thresholds or ():
            if total > 0 and total >= amount > month.told.get(percent, -1):
                month.told[percent] = amount
                decision = Decision(
                    "BUDGET_THRESHOLD",
                    "ALARM",
                    person.budget.user_id,
                    "total",
                    month.version,
                    span.start_us,
                    span.end_us,
                    percent.normalize(),
                )
                assert decision not in self.told, decision
                self.told[decision] = Content(total, amount, at, received, received >= span.end_us)

    def _tell(self, person: Person, state: str, rule: str, span: Span, content: Content) -> None:
        percent = None if rule == "limit" else Decimal(100 * self.rules.usual_factor).normalize()
        budget = person.budget
        decision = Decision(
            "HOURLY_SPIKE", state, budget.user_id, "total", budget.version, span.start_us, span.end_us, percent
        )
        assert decision not in self.told, decision
        self.told[decision] = content
