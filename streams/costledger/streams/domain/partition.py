"""One partition's share of the work: its users, its recent events, and what a flush writes.

Everything here is a pure function of the records in their order. A state record is (key, value); keys are
`u`, `d`, `m` or `i`, then NUL-separated parts: profile of a user, day, month, and a chunk of recent event ids.
All records of one user that change together are one group, which must land together: the fence of a user
says "the state holds every event up to here", and that must be true of all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from costledger.schemas.alerts import CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.codec import encode_stored_budget
from costledger.schemas.events import EventRecord
from costledger.schemas.periods import PeriodKind
from costledger.streams.domain.amounts import Operation
from costledger.streams.domain.buckets import QUARTER_MICROSECONDS
from costledger.streams.domain.decisions import Cause
from costledger.streams.domain.dormant import StoredUser
from costledger.streams.domain.recent import RecentEvents
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules
from costledger.streams.domain.user import UserTotals
from costledger.streams.domain.users import Users
from costledger.streams.domain.views import PeriodView, all_views, changed_views, gone_views, views_of

StateChange = tuple[bytes, bytes | None]

_PROFILE: Final = b"u"
_PROFILE_KEY: Final = _PROFILE + b"\x00"
_DAY: Final = b"d"
_MONTH: Final = b"m"
_RECENT: Final = b"i"
#: How many users without new events are looked at for old periods in each flush.
_PRUNED_USERS_MAX: Final = 50
#: How much longer than the horizon periods are kept: a broker's clock that is set back would otherwise let
#: events in whose periods, and what was told of them, are gone.
_KEPT_BEYOND_US: Final = 2 * DAY_MICROSECONDS


class Outcome(Enum):
    """What became of an event."""

    APPLIED = auto()
    UNPRICED = auto()
    REPLAYED = auto()
    REPEATED = auto()
    HISTORY = auto()


@dataclass(slots=True)
class PartitionFlush:
    """What a flush writes: alerts first, then state, then the views of the periods that changed.

    Each of `groups` must land together. `source_offset` is the last event of this life of the partition
    (-1: none yet): everything up to it is in the state.
    """

    source_offset: int
    alerts: list[CostAlert] = field(default_factory=list)
    groups: list[list[StateChange]] = field(default_factory=list)
    views: list[PeriodView] = field(default_factory=list)


class PartitionTotals:
    """The totals of all users of one partition of `cost.events`."""

    def __init__(self, rules: Rules) -> None:
        self.users = Users(rules)
        self._rules = rules
        self._recent = RecentEvents(rules.recent_events_max)
        self._touched: dict[str, UserTotals] = {}
        self._last_offset = -1
        self._clock_us = 0
        self._occurred_us = 0
        self._received_us = 0
        self._to_prune: list[str] = []

    def restore(self, records: Iterable[tuple[bytes, int, bytes]]) -> None:
        """Take back state records (key, source offset, value), in any order."""
        users: dict[str, StoredUser] = {}
        for key, source_offset, value in records:
            kind, _, rest = key.partition(b"\x00")
            if kind == _RECENT:
                self._recent.restore(int(rest), value)
                continue
            name, _, label = rest.decode().partition("\x00")
            user = users.get(name)
            if user is None:
                user = users[name] = StoredUser()
            user.fence = max(user.fence, source_offset)
            if kind == _PROFILE:
                user.budget_offset, user.budget = int.from_bytes(value[:8], "big", signed=True), value[8:]
            elif kind == _DAY:
                user.days[label] = value
            else:
                user.months[label] = value
        self.users.restore(users)

    def add_event(self, record: EventRecord, offset: int, received_at_us: int) -> Outcome:
        """Apply one valid event, given as its record; see `add`."""
        return self.add(
            record["event_id"],
            record["user_id"],
            (record["service"], record["operation"]),
            record["amount"],
            record["occurred_at"],
            record["reverses_event_id"] is not None,
            offset,
            received_at_us,
        )

    def add(
        self,
        event_id: str,
        user_id: str,
        operation: Operation,
        amount: int | None,
        occurred_at_us: int,
        takes_back: bool,
        offset: int,
        received_at_us: int,
    ) -> Outcome:
        """Apply one valid event; an event that the state has already, or that is history, changes nothing.

        `takes_back`: it reverses another event. Times are Unix microseconds, the amount is in 1e-12 USD.
        """
        self._last_offset = offset
        self._clock_us = max(self._clock_us, received_at_us)
        if occurred_at_us < received_at_us - self._rules.horizon_us:
            return Outcome.HISTORY
        repeated = self._recent.is_repeat(event_id, offset)
        user = self._touched.get(user_id)
        if user is None:
            user = self._touched[user_id] = self.users.wake(user_id)
        if offset <= user.fence:
            return Outcome.REPLAYED
        quarter = occurred_at_us // QUARTER_MICROSECONDS
        if repeated:
            user.show_again(quarter)
            return Outcome.REPEATED
        self._occurred_us, self._received_us = occurred_at_us, received_at_us
        if amount is not None:
            user.add(quarter, operation, amount, occurred_at_us, received_at_us)
            return Outcome.APPLIED
        if takes_back:
            # It takes back an unpriced event, which is in no total: nothing is left to be told.
            user.show_again(quarter)
            return Outcome.APPLIED
        user.add_unpriced(quarter, operation, Cause(occurred_at_us, received_at_us))
        return Outcome.UNPRICED

    def skip_event(self, offset: int) -> None:
        """Note an event that was refused: the state is complete up to its offset without it."""
        self._last_offset = offset

    def apply_budget(self, user_id: str, budget: Budget | None, offset: int, received_at_us: int) -> None:
        """Put a budget in force, or with None the default again."""
        user = self._touched[user_id] = self.users.wake(user_id)
        user.apply_budget(budget, offset, Cause(received_at_us, received_at_us))

    def renew(self, keys: Iterable[bytes]) -> None:
        """Have the next flush list these state records as they are here, and as deleted where they are not here."""
        for key in keys:
            kind, _, rest = key.partition(b"\x00")
            if kind == _RECENT:
                self._recent.renew(int(rest))
                continue
            name, _, label = rest.decode().partition("\x00")
            user = self._touched[name] = self.users.wake(name)
            if kind == _PROFILE:
                user.profile_changed = True
            elif kind == _DAY:
                user.calendar.changed_days.add(label)
            else:
                user.calendar.changed_months.add(label)

    @property
    def touched(self) -> int:
        """How many users had an event or a budget since the last flush."""
        return len(self._touched)

    def flush(self) -> PartitionFlush:
        """Settle what waits and list everything that must be written; afterwards nothing waits."""
        result = PartitionFlush(self._last_offset)
        for user in self._touched.values():
            self._flush_user(user, result, self._changes)
        for user_id in self._users_to_prune():
            self._flush_user(self.users.wake(user_id), result, self._last_changes)
        self.users.rest(self._touched)
        self._touched.clear()
        for slot, data in self._recent.changed_chunks():
            result.groups.append([(_key(_RECENT, f"{slot:05d}"), data)])
        return result

    def views(self) -> Iterator[list[PeriodView]]:
        """Every period of every user: one list a user, made when it is asked for."""
        for user_id in list(self.users):
            if user_id in self.users:
                yield list(all_views(self.users[user_id]))

    def periods(self, user_id: str, labels: Iterable[tuple[PeriodKind, str]]) -> list[PeriodView]:
        """Of a user the periods with these labels; without amounts those that there are no more."""
        user = self.users.get(user_id)
        return list(gone_views(user_id, labels) if user is None else views_of(user, labels))

    def _flush_user(
        self, user: UserTotals, result: PartitionFlush, changes_of: Callable[[UserTotals], list[StateChange]]
    ) -> None:
        user.settle(Cause(self._occurred_us, self._received_us))
        result.alerts += user.alerts
        user.alerts.clear()
        user.calendar.forget_before(self._kept_from_us)
        # Every event up to the last one is in it; so is what an earlier life of this partition applied.
        fence = max(user.fence, self._last_offset)
        result.views += changed_views(user, fence)
        changes = changes_of(user)
        if changes:
            user.fence = fence
            result.groups.append(changes)
        if user.is_empty:
            self.users.forget(user.user_id)

    @property
    def _kept_from_us(self) -> int:
        """Periods that ended before this instant are dropped, Unix microseconds."""
        return self._clock_us - self._rules.horizon_us - _KEPT_BEYOND_US

    def _users_to_prune(self) -> list[str]:
        """Of the next few users, in turn, those that may have old periods, so that the quiet ones lose theirs as well."""
        if not self._to_prune:
            self._to_prune = list(self.users)
        names = self._to_prune[-_PRUNED_USERS_MAX:]
        del self._to_prune[-_PRUNED_USERS_MAX:]
        return [name for name in self.users.due(names, self._kept_from_us) if name not in self._touched]

    def _last_changes(self, user: UserTotals) -> list[StateChange]:
        """The changes of a user without new events; the place of a deleted budget goes with the last period.

        Not at once: a record that guards against older budgets must outlast a replay of them.
        """
        if user.is_forgettable and user.budget_offset >= 0:
            user.budget_offset = -1
            user.profile_changed = False
            return [*self._changes(user), (_key(_PROFILE, user.user_id), None)]
        return self._changes(user)

    def _changes(self, user: UserTotals) -> list[StateChange]:
        calendar, name = user.calendar, user.user_id
        changes: list[StateChange] = []
        if user.profile_changed:
            stored = encode_stored_budget(user.budget) if user.budget.version else b""
            place = user.budget_offset.to_bytes(8, "big", signed=True)
            changes.append((_key(_PROFILE, name), place + stored if user.budget_offset >= 0 else None))
            user.profile_changed = False
        for label in sorted(calendar.changed_days):
            day = calendar.days.get(label)
            changes.append((_key(_DAY, name, label), None if day is None else day.stored()))
        for label in sorted(calendar.changed_months):
            month = calendar.months.get(label)
            changes.append((_key(_MONTH, name, label), None if month is None else month.stored()))
        calendar.pack_days()
        calendar.changed_days.clear()
        calendar.changed_months.clear()
        calendar.retired.clear()
        return changes


def order_of(key: bytes, value: bytes) -> int | None:
    """Which of two states of a profile is the newer: the one whose budget stands further on the budgets topic.

    By the event's offset that a state record was written at it cannot be told: the other may have read more events, and fewer
    budgets. None for all other records.
    """
    return int.from_bytes(value[:8], "big", signed=True) if key.startswith(_PROFILE_KEY) else None


def _key(kind: bytes, *parts: str) -> bytes:
    return b"\x00".join((kind, *(part.encode() for part in parts)))
