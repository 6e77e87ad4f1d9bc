"""Everything the stream knows of one user: the calendar of totals, the budget, and what waits to be added.

Adding an event is one dictionary update. Totals are rolled up, and rules looked at, only when they have to
be: at a flush, or as soon as what waits could have reached the nearest limit (`_room`). So every alert is
decided at exactly the event that calls for it, wherever batches begin and end, and a replay decides the same.
"""

from __future__ import annotations

from typing import Any, Final

from costledger.schemas.alerts import CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import Period, PeriodKind
from costledger.streams.domain import decisions
from costledger.streams.domain.amounts import Amounts, Operation
from costledger.streams.domain.anomalies import AnomalyWatch, is_unmet
from costledger.streams.domain.buckets import Buckets
from costledger.streams.domain.calendar import Calendar
from costledger.streams.domain.decisions import Cause
from costledger.streams.domain.forecasts import ForecastWatch, is_untold
from costledger.streams.domain.hours import Baselines, HourTotals
from costledger.streams.domain.months import MonthTotals
from costledger.streams.domain.rules import Rules
from costledger.streams.domain.spikes import SpikeWatch

_UNLIMITED: Final = 1 << 200


class UserTotals:
    """One user's state.

    `fence` is the offset of the last event that the state holds, `budget_offset` that of the last budget.
    `alerts` are the decisions not yet handed on; the calendar says what must be stored again, and
    `profile_changed` whether the budget must be.
    """

    __slots__ = (
        "_anomalies",
        "_forecasts",
        "_hours",
        "_met",
        "_pending",
        "_pending_day",
        "_room",
        "_rules",
        "_spikes",
        "_unsettled",
        "alerts",
        "budget",
        "budget_offset",
        "calendar",
        "fence",
        "limits",
        "profile_changed",
        "user_id",
    )

    def __init__(self, user_id: str, rules: Rules, fence: int = -1) -> None:
        self.user_id = user_id
        self.fence = fence
        self.calendar = Calendar()
        self.alerts: list[CostAlert] = []
        self.profile_changed = False
        self.budget_offset = -1
        self._rules = rules
        self._spikes = SpikeWatch(self.calendar, rules)
        self._anomalies = AnomalyWatch(user_id, self.calendar, rules)
        self._forecasts = ForecastWatch(self.calendar, rules)
        #: What waits, by quarter; the quarters of one hour have one object.
        self._pending: dict[int, Amounts] = {}
        #: By quarter of what waits: the services of its hour whose limits are in `_room`.
        self._met: dict[int, Baselines] = {}
        #: The hours of what waits, by key, each with the quarter that it was begun with.
        self._hours: dict[int, tuple[Buckets, int]] = {}
        self._unsettled = 0
        self._room = _UNLIMITED
        #: The day of all that waits, or None where it is of several.
        self._pending_day: str | None = None
        self._set_budget(Budget(user_id=user_id))

    def add(self, quarter: int, operation: Operation, amount: int, occurred_at: int, received_at: int) -> None:
        """Add one event's amount (1e-12 USD, any sign) in its quarter of an hour; its times in Unix microseconds."""
        amounts = self._pending.get(quarter)
        before = None if amounts is None else amounts.get(operation)
        if amounts is None or before is None:
            if amounts is None or operation[0] not in self._met[quarter]:
                amounts = self._gather(quarter, operation[0], Cause(occurred_at, received_at))
            # Another quarter of the hour may have had it.
            before = amounts.get(operation, 0)
        amounts[operation] = before + amount
        if amount > 0:
            # Only what was added counts: a credit in between may not hide that a limit was reached.
            self._unsettled += amount
        if self._unsettled >= self._room:
            self.settle(Cause(occurred_at, received_at))

    def add_unpriced(self, quarter: int, operation: Operation, cause: Cause) -> None:
        """Note an event without an amount: it is in no total, and told once a day."""
        period = self.calendar.buckets(quarter).day
        day = self.calendar.day(period.label)
        if operation not in day.unpriced:
            day.unpriced.add(operation)
            self.calendar.changed_days.add(period.label)
            self.alerts.append(decisions.unpriced_alert(self.user_id, period, operation, cause))
        self.show_again(quarter)

    def show_again(self, quarter: int) -> None:
        """An event of this quarter changed no total: write its month again, whose readers wait for its offset."""
        label = self.calendar.buckets(quarter).month.label
        if label in self.calendar.months:
            self.calendar.changed_months.add(label)

    def settle(self, cause: Cause) -> None:
        """Roll up what waits and take the decisions that it calls for. `cause` is the last event added."""
        self._look_back(cause)
        # What is told of anomalies and forecasts can only have come about where the room was used up.
        is_due = self._unsettled >= self._room
        # In order of time, so that a replay lists the alerts in the same order.
        hours = [self._hours[key] for key in sorted(self._hours)]
        for buckets, quarter in hours:
            amounts = self._pending[quarter]
            self.calendar.days[buckets.day.label].add(buckets.hour_key, amounts)
            self._month(buckets.month, cause).add(amounts)
            self.calendar.changed_days.add(buckets.day.label)
            self.calendar.changed_months.add(buckets.month.label)
            self._forecasts.changed(buckets.day.label)
            self._anomalies.changed(buckets.day.label)
        self._pending.clear()
        self._met.clear()
        self._hours.clear()
        self._unsettled = 0
        self._room = _UNLIMITED
        for buckets, _ in hours:
            self._decide_budget(buckets.month, cause)
            self.alerts.extend(self._spikes.decide(buckets, self.limits, self.budget, cause))
            if is_due:
                self.alerts.extend(self._anomalies.decide(buckets, cause))
        if is_due:
            self._decide_forecast(cause)

    def apply_budget(self, budget: Budget | None, offset: int, cause: Cause) -> None:
        """Put a budget in force (None: the default again) and evaluate it at once.

        `offset` is its place on the budgets topic; one that the state has already is ignored, and so is a
        version that is not newer.
        """
        if offset <= self.budget_offset:
            return
        self.budget_offset = offset
        self.profile_changed = True
        if budget is not None and budget.version <= self.budget.version:
            return
        self.settle(cause)
        self._set_budget(Budget(user_id=self.user_id) if budget is None else budget)
        if self.budget.time_zone != self.calendar.time_zone:
            self.calendar.move_to_zone(self.budget.time_zone)
            self.taken_back()
        for label in sorted(self.calendar.months):
            period = self.calendar.period(PeriodKind.MONTH, label)
            if cause.received_at < period.end_us:
                self._month(period, cause)
                self._decide_budget(period, cause)
        self._decide_forecast(cause)

    def take_back(self, budget: Budget | None, budget_offset: int) -> None:
        """Before the periods of a recovery are put into the calendar: the stored budget."""
        self.budget_offset = budget_offset
        self._set_budget(Budget(user_id=self.user_id) if budget is None else budget)
        self.calendar.time_zone = self.budget.time_zone

    def taken_back(self) -> None:
        """After the periods of a recovery were put into the calendar, or have moved."""
        flagged = self.calendar.flagged()
        self._spikes.take_back(flagged)
        self._anomalies.take_back(flagged)
        self._forecasts.forget()

    def found(self) -> list[Any]:
        """What was found out about the periods, in plain values; for `take_findings`, when nothing waits."""
        return [self._spikes.open, self._anomalies.open, self._forecasts.found()]

    def take_findings(self, found: list[Any]) -> None:
        """After the same periods were put back into the calendar: what `found` gave."""
        self._spikes.open, self._anomalies.open, forecast = found
        self._forecasts.take_findings(forecast)

    @property
    def is_forgettable(self) -> bool:
        """Whether no total and no budget is left."""
        nothing_held = not self.calendar.days and not self.calendar.months and not self._pending
        return nothing_held and self.budget.version == 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left, not even the place of a deleted budget."""
        return self.is_forgettable and self.budget_offset < 0

    def _set_budget(self, budget: Budget) -> None:
        self.budget = budget
        rules = self._rules
        self.limits = budget.limits(rules.defaults) if budget.version else rules.default_limits

    def _gather(self, quarter: int, service: str, cause: Cause) -> Amounts:
        """Begin to gather for a quarter and service: find how much may be added before a rule must be looked at."""
        amounts = self._pending.get(quarter)
        if amounts is not None and not is_unmet(self._met[quarter], service):
            return amounts
        buckets = self.calendar.buckets(quarter)
        if amounts is None and buckets.hour_key in self._hours:
            # Nothing that room depends on has changed since the hour's first quarter.
            first = self._hours[buckets.hour_key][1]
            amounts = self._pending[quarter] = self._pending[first]
            self._met[quarter] = self._met[first]
            if not is_unmet(self._met[quarter], service):
                return amounts
        hour = self._hour(buckets, cause)
        if is_unmet(self._anomalies.met(hour), service):
            if self._pending and self._pending_day != buckets.day.label:
                # What is usual is found in the totals of other days: they must be complete.
                self.settle(cause)
            self._anomalies.meet(hour, buckets, service, cause)
        amounts = self._pending.get(quarter)
        if amounts is None:
            amounts = self._open(quarter, buckets, hour, cause)
        self._met[quarter] = self._anomalies.met(hour)
        self._narrow(self._anomalies.room(hour))
        return amounts

    def _open(self, quarter: int, buckets: Buckets, hour: HourTotals, cause: Cause) -> Amounts:
        """Begin to gather for a quarter: the room that the rules of all services together leave."""
        self._narrow(self._spikes.room(hour, self.limits))
        self._narrow(decisions.room_in_month(self._month(buckets.month, cause)))
        self._pending_day = buckets.day.label if not self._pending or self._pending_day == buckets.day.label else None
        amounts = self._pending[quarter] = {}
        self._hours[buckets.hour_key] = buckets, quarter
        outlook = self._forecasts.outlook(cause.received_at)
        if outlook is not None:
            self._narrow(self._forecasts.room(outlook, self.limits.monthly, self._pending_day))
        return amounts

    def _narrow(self, room: int | None) -> None:
        """No more than this may be added before the rules are looked at; None: as far as one of them goes, anything."""
        if room is not None and room < self._room:
            self._room = room

    def _hour(self, buckets: Buckets, cause: Cause) -> HourTotals:
        day = self.calendar.day(buckets.day.label)
        if not day.has_hour(buckets.hour_key):
            if self._pending:
                # A new hour looks back at the totals of the hours before it: they must be complete.
                self.settle(cause)
            if not day.has_hours:
                self._anomalies.begin_day()
            self._forecasts.changed(buckets.day.label)
            self._look_back(cause)
            day.begin(buckets.hour_key, self._spikes.begin_hour(buckets.hour_key))
            self.alerts.extend(self._spikes.ends(buckets.hour_key, self.limits, self.budget, cause))
            self.alerts.extend(self._anomalies.ends(buckets.hour_key, cause))
        return day.hour(buckets.hour_key)

    def _look_back(self, cause: Cause) -> None:
        """No further than the horizon: what is older may be gone from the state, now or in a replay."""
        self.calendar.look_back_to(cause.received_at - self._rules.horizon_us)

    def _month(self, period: Period, cause: Cause) -> MonthTotals:
        """The month; while it is open, held against the budget now in force, afterwards against its last."""
        month = self.calendar.month(period.label)
        in_force = (self.budget.version, self.limits.thresholds)
        if (cause.received_at < period.end_us or not month.thresholds) and in_force != (
            month.version,
            month.thresholds,
        ):
            month.version, month.thresholds = in_force
            self.calendar.changed_months.add(period.label)
        return month

    def _decide_budget(self, period: Period, cause: Cause) -> None:
        month = self.calendar.months[period.label]
        for percent, amount in decisions.thresholds_reached(month):
            month.tell(percent, amount)
            self.calendar.changed_months.add(period.label)
            self.alerts.append(decisions.budget_alert(self.user_id, period, month, percent, amount, cause))

    def _decide_forecast(self, cause: Cause) -> None:
        outlook = self._forecasts.outlook(cause.received_at)
        budget = self.limits.monthly
        if outlook is None:
            return
        month, projected = self._forecasts.month(outlook), self._forecasts.projected(outlook)
        if projected <= budget or not is_untold(month, budget):
            return
        month.forecast = budget
        self.calendar.changed_months.add(outlook.month.label)
        # Who has reached the budget needs no forecast of it, now or later.
        if month.total < budget:
            self.alerts.append(
                decisions.forecast_alert(
                    self.user_id, outlook.month, month.total, projected, budget, self.budget.version, cause
                )
            )
