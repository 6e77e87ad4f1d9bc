"""Spikes of one user: which hour breaks a rule, whether a spike goes on, and when it is over.

A spike begins with an hour that breaks the rule, goes on through the following hours as long as none falls
below the clearing level, and is told once. Its end is told with the first event of a later hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from costledger.schemas.alerts import CostAlert
from costledger.schemas.budgets import Budget, BudgetLimits
from costledger.streams.domain import decisions
from costledger.streams.domain.buckets import Buckets
from costledger.streams.domain.calendar import Calendar
from costledger.streams.domain.days import DayTotals
from costledger.streams.domain.decisions import Cause
from costledger.streams.domain.hours import END_TOLD_SHIFT, OVER_LIMIT, OVER_USUAL, HourTotals
from costledger.streams.domain.rules import Rules


class SpikeWatch:
    """Watches the hours of one user's calendar against the hourly limit and the usual hour."""

    __slots__ = ("_calendar", "_rules", "open")

    def __init__(self, calendar: Calendar, rules: Rules) -> None:
        self._calendar = calendar
        self._rules = rules
        #: The latest hour that broke a rule and whose end was not told, by flag.
        self.open: dict[int, int] = {}

    def take_back(self, flagged: Iterable[tuple[int, int, DayTotals]]) -> None:
        """After recovery, or when the hours have moved: find the spikes whose end was not told among all hours with flags."""
        self.open.clear()
        for key, flags, _ in flagged:
            for flag in (OVER_LIMIT, OVER_USUAL):
                if _is_untold(flags, flag):
                    self.open[flag] = max(self.open.get(flag, 0), key)

    def begin_hour(self, hour_key: int) -> HourTotals:
        """A new hour, with the user's usual hour as it is now."""
        usual = decisions.usual_hour(self._calendar.week_before(hour_key), self._rules)
        return HourTotals(usual=usual)

    def room(self, hour: HourTotals, limits: BudgetLimits) -> int | None:
        """How much may be added before a rule that the hour has not broken yet is broken, at least 0; None if there is none."""
        least = min((least for flag, least in self._least(hour, limits) if not hour.flags & flag), default=None)
        return None if least is None else max(0, least - hour.total)

    def decide(self, buckets: Buckets, limits: BudgetLimits, budget: Budget, cause: Cause) -> Iterator[CostAlert]:
        """Mark the rules that the hour breaks by now; the alerts of the spikes that begin with it."""
        hour = self._calendar.days[buckets.day.label].hour(buckets.hour_key)
        for flag, least in self._least(hour, limits):
            if hour.flags & flag or hour.total < least:
                continue
            if not self._goes_on(self._calendar.hour_before(buckets.hour_key), flag, limits):
                limit = least - 1 if flag == OVER_LIMIT else least
                yield decisions.spike_alert(budget, buckets.hour, hour.total, limit, flag, self._rules, cause)
            hour.mark(flag)
            self.open[flag] = max(self.open.get(flag, 0), buckets.hour_key)

    def ends(self, new_hour_key: int, limits: BudgetLimits, budget: Budget, cause: Cause) -> Iterator[CostAlert]:
        """With the first event of a new hour: the alerts that say that the spikes before it are over."""
        for flag, spike_key in list(self.open.items()):
            before, hour = self._calendar.hour_before(new_hour_key), self._calendar.hour(spike_key)
            # One that is too old to be looked at stays open: a broker's clock may be set back.
            if hour is None or spike_key >= before or self._goes_on(before, flag, limits):
                continue
            del self.open[flag]
            self._mark_end(flag)
            period = self._calendar.buckets(spike_key).hour
            yield decisions.spike_over(budget, period, hour.total, flag, self._rules, cause)

    def _mark_end(self, flag: int) -> None:
        """Note in every hour of the spike that its end is told: a recovery finds none that is open."""
        for key, flags, day in self._calendar.flagged():
            if _is_untold(flags, flag):
                day.hour(key).mark(flag << END_TOLD_SHIFT)
                self._calendar.changed_days.add(self._calendar.buckets(key).day.label)

    def _least(self, hour: HourTotals, limits: BudgetLimits) -> list[tuple[int, int]]:
        """(flag, least total that breaks the rule) of the rules that this hour can break."""
        least = [(OVER_LIMIT, limits.hourly_spike + 1)]
        relative = decisions.relative_limit(hour.usual, self._rules)
        if relative is not None:
            least.append((OVER_USUAL, relative))
        return least

    def _goes_on(self, hour_key: int, flag: int, limits: BudgetLimits) -> bool:
        """Whether the hour belongs to a spike: it broke the rule, or follows such an hour without clearing."""
        hour = self._calendar.hour(hour_key)
        while hour is not None:
            if hour.flags & flag:
                # Once its end is told it is over, whatever comes late or under another limit: what follows is another one.
                return not hour.flags & (flag << END_TOLD_SHIFT)
            least = dict(self._least(hour, limits)).get(flag)
            if least is None or hour.total < decisions.clearing_level(least, self._rules):
                return False
            hour_key = self._calendar.hour_before(hour_key)
            hour = self._calendar.hour(hour_key)
        return False


def _is_untold(flags: int, flag: int) -> bool:
    """Whether an hour broke the rule, and the end of that spike was not told."""
    return bool(flags & flag) and not flags & (flag << END_TOLD_SHIFT)
