"""The stream's state and alerts, simulated: whatever dies, comes late, twice or by a wrong clock, against a naive replay."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fault.simulation.naive_periods import day_of, hour_of, month_of
from tests.fault.simulation.naive_stream import Content, Decision, NaiveStream, decision_of
from tests.fault.simulation.profiles import TIMEOUT_SECONDS, Bounds, simulate
from tests.fault.simulation.stream_world import Appended, Setting, Worker, World, Written, copied
from tests.streams.domain.test_domain_unusual import KINDS, row_of

from costledger.schemas.budgets import Budget
from costledger.schemas.ids import derived_event_id
from costledger.schemas.times import parse_time, to_microseconds
from costledger.streams.domain import recent
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules

pytestmark = [pytest.mark.fault, pytest.mark.timeout(TIMEOUT_SECONDS)]

USD = 10**12
MINUTE = 60_000_000
HOUR = 60 * MINUTE
AHEAD_MAX = 10 * MINUTE
CHUNK_EVENTS = 8
#: Repeats are recognised among so many of the latest events.
RECENT_EVENTS = 40
RULES = Rules(recent_events_max=RECENT_EVENTS, usual_hours_min=3, active_users_max=1)
#: Ends of a month, a year and daylight saving in one zone or another lie within days of these.
BEGINNINGS = [
    to_microseconds(parse_time(text))
    for text in ("2026-10-24T20:30:00Z", "2026-10-31T22:00:00Z", "2026-12-31T09:50:00Z", "2027-02-28T23:55:00Z")
]
#: Whole hours apart: a user may move between them.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Pacific/Kiritimati", "America/Los_Angeles")
#: Users who stay in one zone: half an hour off, half an hour of daylight saving, clocks that go back over midnight.
SETTLED = {"kol": "Asia/Kolkata", "lor": "Australia/Lord_Howe", "bea": "Asia/Beirut"}
USERS = ("ann", "bob", *SETTLED)
OPERATIONS = (("openai", "input"), ("openai", "output"), ("aws-s3", "put"))

AMOUNTS = st.one_of(
    st.none(),
    st.sampled_from([0, 1, -1, 3 * USD, 15 * USD // 2, 5 * USD, 10 * USD, 20 * USD, 20 * USD + 1]),
    st.integers(-8 * USD, 30 * USD),
)
AGES = st.one_of(
    st.integers(-AHEAD_MAX, 0),
    st.integers(0, 3 * HOUR),
    st.integers(0, 39 * DAY_MICROSECONDS),
    st.integers(34 * DAY_MICROSECONDS, 41 * DAY_MICROSECONDS),
)
SOME = st.sets(st.integers(0, 12))
BUDGETS = st.builds(
    dict,
    monthly_budget=st.sampled_from([None, 0, 5 * USD, 20 * USD, 37 * USD + 1, 100 * USD]),
    tier=st.sampled_from(["free", "premium", "default"]),
    alert_thresholds=st.sampled_from([None, (Decimal(0), Decimal("33.3333"), Decimal(120)), (Decimal(50),)]),
    hourly_spike_limit=st.sampled_from([None, 0, 3 * USD, 8 * USD + 1]),
)


class StreamMachine(RuleBasedStateMachine):
    """One partition: its topics, the worker that owns it, and what former owners have still on its way."""

    @initialize(beginning=st.sampled_from(BEGINNINGS))
    def begin(self, beginning: int) -> None:
        self.world = World(RULES)
        self.naive = NaiveStream(RULES)
        self.now = self.latest = whole(beginning)
        self.made = 0
        self.first_at: dict[str, int] = {}
        self.versions = dict.fromkeys(USERS, 0)
        #: Users whose budget changed while events before it could still be read again: their alerts are not compared.
        self.unordered: set[str] = set()
        #: Users who have moved to another zone: what Redis has of their old one may outlive a worker that dies.
        self.moved: set[str] = set()
        self.zombies: list[Written] = []
        self.was_harmed = False
        self.told: dict[Decision, Content] = {}
        self.ids: dict[Any, Decision] = {}
        self.looked_at = 0
        self.worker = Worker(self.world)
        for user, zone in SETTLED.items():
            self._set_budget(user, {"time_zone": zone})

    # --- what services and people do

    @rule(user=st.sampled_from(USERS), operation=st.sampled_from(OPERATIONS), amount=AMOUNTS, age=AGES)
    def an_event(self, user: str, operation: tuple[str, str], amount: int | None, age: int) -> None:
        self._append(user, operation, amount, self.now - age)

    @rule(
        user=st.sampled_from(USERS),
        amount=AMOUNTS,
        kind=st.sampled_from([hour_of, day_of, month_of]),
        back=st.sampled_from([0, 0, 1, 2]),
        beside=st.sampled_from([-1, 0, 1]),
    )
    def an_event_at_a_border(self, user: str, amount: int | None, kind: Any, back: int, beside: int) -> None:
        """To the microsecond where an hour, day or month of the user's own zone begins, this one or one before it."""
        zone = self.naive.person(user).zone
        span = kind(self.now + AHEAD_MAX, zone)
        for _ in range(back):
            span = kind(span.start_us - 1, zone)
        self._append(user, OPERATIONS[0], amount, min(span.start_us + beside, self.now + AHEAD_MAX))

    @rule(seed=st.integers(0, 2**32), user=st.sampled_from(USERS), days=st.sampled_from([0, 0, 3, 25]))
    def many_events(self, seed: int, user: str, days: int) -> None:
        """A burst within hours, or the history of some weeks at a few hours of the day."""
        chance = random.Random(seed)
        ages = [chance.randrange(8 * HOUR) for _ in range(20)]
        if days:
            ages += [day * DAY_MICROSECONDS + chance.choice((0, 5)) * HOUR for day in range(days) for _ in range(2)]
        for age in sorted(ages, reverse=True):
            amount = chance.choice((USD // 5, USD // 4, USD // 3, 2 * USD, -USD // 7))
            self._append(user, chance.choice(OPERATIONS), amount, self.now - age)

    @rule(back=st.integers(1, RECENT_EVENTS), other_amount=st.booleans())
    def an_event_is_sent_again(self, back: int, other_amount: bool) -> None:
        """The id of one of the latest events, whole or with another amount; what matters is where it was counted."""
        if back > len(self.world.events) or (record := self.world.events[-back].record) is None:
            return
        if len(self.world.events) - self.first_at[record["event_id"]] <= RECENT_EVENTS:
            self._append_record({**record, "amount": 7 * USD} if other_amount else record)

    @rule()
    def an_event_that_is_refused(self) -> None:
        self.world.events.append(Appended(None, self.now))

    @rule(user=st.sampled_from(USERS), changes=BUDGETS, zone=st.sampled_from(ZONES), is_deleted=st.booleans())
    def a_budget_is_set(self, user: str, changes: dict[str, Any], zone: str, is_deleted: bool) -> None:
        """With everything before it read and stored: the order of events and budget is a fact."""
        self._rest()
        person = self.naive.person(user)
        if user in SETTLED:
            zone = SETTLED[user]
        elif any(start < self.latest - 39 * DAY_MICROSECONDS for start in person.hours):
            zone = person.zone  # hours that are dropped do not move
        if is_deleted and person.zone == "UTC":
            self._set_budget(user, None)
        else:
            if zone != person.zone:
                self.moved.add(user)
            self._set_budget(user, {**changes, "time_zone": zone})

    @rule(user=st.sampled_from(USERS), changes=BUDGETS)
    def a_budget_is_set_meanwhile(self, user: str, changes: dict[str, Any]) -> None:
        """Events before it may be read again after it: then totals hold, and alerts may differ by it."""
        if self.worker.places.event > self.world.committed.event or self.zombies or self._unread():
            self.unordered.add(user)
        self._set_budget(user, {**changes, "time_zone": self.naive.person(user).zone})

    @rule(user=st.sampled_from(USERS))
    def a_budget_is_told_again(self, user: str) -> None:
        """An older version changes nothing, whatever it says."""
        version = self.naive.person(user).budget.version
        if version:
            self._put_budget(user, Budget(user_id=user, version=version, monthly_budget=1, time_zone="Asia/Tokyo"))

    # --- what time does

    @rule(
        ahead=st.one_of(
            st.integers(0, 2 * HOUR), st.integers(0, 3 * DAY_MICROSECONDS), st.integers(0, 45 * DAY_MICROSECONDS)
        )
    )
    def the_clock_goes_on(self, ahead: int) -> None:
        self.now += whole(ahead)
        self.latest = max(self.latest, self.now)

    @rule(back=st.integers(0, DAY_MICROSECONDS))
    def the_clock_is_set_back(self, back: int) -> None:
        """A broker's clock, by a day at most."""
        self.now = max(self.now - whole(back), self.latest - DAY_MICROSECONDS)

    # --- what the worker does

    @rule(count=st.integers(1, 60))
    def read(self, count: int) -> None:
        self.worker.read_events(count)

    @precondition(lambda self: self.worker.under_way is None)
    @rule()
    def begin_to_flush(self) -> None:
        self.worker.begin_flush()

    @precondition(lambda self: self.worker.under_way is not None)
    @rule(is_committed=st.booleans())
    def end_the_flush(self, is_committed: bool) -> None:
        """Everything is acknowledged; without a commit, a later one commits."""
        written = self.worker.under_way
        self.worker.under_way = None
        self.world.land(written)
        self.world.show(written.views)
        if is_committed:
            self.world.commit(written)

    # --- harm

    @rule(alerts=SOME, groups=SOME, stage=st.sampled_from(["alerts", "state", "offsets"]))
    def die(self, alerts: set[int], groups: set[int], stage: str) -> None:
        """At any place of a flush, if there is one; whoever comes recovers what had arrived."""
        written = self.worker.under_way
        if written is not None and stage == "alerts":
            self.world.land(written, alerts=alerts, groups=())
        elif written is not None and stage == "state":
            self.world.land(written, groups=groups)
        elif written is not None:
            self.world.land(written)
        self._next_worker()

    @rule(seed=st.integers(0, 2**32), user=st.sampled_from(USERS), groups=SOME, is_all=st.booleans())
    def die_with_state_ahead_of_the_offsets(self, seed: int, user: str, groups: set[int], is_all: bool) -> None:
        """After the state, or some of it, was written and before the offsets were: by chance alone hardly ever met."""
        self._begin_a_flush_of(seed, user)
        self.die(alerts=set(), groups=groups, stage="offsets" if is_all else "state")

    @rule(seed=st.integers(0, 2**32), user=st.sampled_from(USERS), alerts=SOME, groups=SOME, is_noticed=st.booleans())
    def be_replaced_and_write_late(
        self, seed: int, user: str, alerts: set[int], groups: set[int], is_noticed: bool
    ) -> None:
        """The next worker has read, written and committed more by then."""
        self._begin_a_flush_of(seed, user)
        self.be_suspended()
        self.many_events(seed=seed + 1, user=user, days=0)
        self._rest()
        self.a_late_write_arrives(alerts=alerts, groups=groups | {0}, is_noticed=is_noticed)

    @rule(seed=st.integers(0, 2**32), user=st.sampled_from(USERS), older=BUDGETS, newer=BUDGETS)
    def be_replaced_by_one_that_takes_a_budget(
        self, seed: int, user: str, older: dict[str, Any], newer: dict[str, Any]
    ) -> None:
        """Who writes late has read more events and an older budget; who took the newer one dies before it notices."""
        self._rest()
        self.a_budget_is_set_meanwhile(user=user, changes=older)
        self.many_events(seed=seed, user=user, days=0)
        self.worker.read_events(len(self.world.events))
        self.worker.begin_flush()
        self.be_suspended()
        self.a_budget_is_set_meanwhile(user=user, changes=newer)
        self._store()
        self.a_late_write_arrives(alerts=set(), groups=set(range(len(USERS))), is_noticed=False)
        self._next_worker()

    @precondition(lambda self: self.worker.under_way is not None)
    @rule()
    def be_suspended(self) -> None:
        """Another worker takes over; what this one was writing may arrive at any later time."""
        self.zombies.append(self.worker.under_way)
        self._next_worker()

    @precondition(lambda self: self.zombies)
    @rule(alerts=SOME, groups=SOME, is_noticed=st.booleans())
    def a_late_write_arrives(self, alerts: set[int], groups: set[int], is_noticed: bool) -> None:
        """Of a former owner: in part, after what the present one has written, which notices, or dies before it does."""
        written = self.zombies.pop(0)
        late = {number: [key for key, _, _ in group] for number, group in enumerate(written.groups) if number in groups}
        self.world.land(written, alerts=alerts, groups=late)
        if is_noticed:
            self.worker.totals.renew(key for keys in late.values() for key in keys)
            self._rest()

    @rule()
    def hand_over(self) -> None:
        """In good order: written and committed, then recovered by another worker."""
        self._store()
        self.worker = Worker(self.world)

    @precondition(lambda self: not self.zombies)
    @rule()
    def compact(self) -> None:
        """After a recovery has put last what must stand last."""
        self._store()
        self.worker = Worker(self.world)
        self.world.compact()

    @rule()
    def rest(self) -> None:
        self._rest()
        self._compare()

    # --- what must be true

    @invariant()
    def an_alert_says_one_thing(self) -> None:
        """The same id is the same decision in the same words; told twice only where a worker was lost."""
        for alert in self.world.alerts[self.looked_at :] if hasattr(self, "world") else ():
            decision, content = decision_of(alert)
            assert self.ids.setdefault(alert.alert_id, decision) == decision
            if alert.user_id not in self.unordered:
                assert decision not in self.told or self.was_harmed, ("told twice", decision)
                assert self.told.setdefault(decision, content) == content, decision
        self.looked_at = len(self.world.alerts) if hasattr(self, "world") else 0

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.rest()
            self._next_worker()
            self._compare()

    def _compare(self) -> None:
        self.an_alert_says_one_thing()
        expected = dict(self.naive.totals())
        held = self._flat((str(view.kind), view, totals) for view, totals in self._views())
        assert self._recent(held) == self._recent(expected)
        assert all(expected.get(key) == amount for key, amount in held.items())
        shown = self._recent(self._flat_shown())
        if self.was_harmed:
            shown = {key: amount for key, amount in shown.items() if key in expected or key[0] not in self.moved}
        assert shown == self._recent(expected)
        for user, person in self.naive.people.items():
            assert user not in self.worker.totals.users or self.worker.totals.users[user].budget == person.budget
        alerts = [alert for alert in self.world.alerts if alert.user_id not in self.unordered]
        told = dict(decision_of(alert) for alert in alerts if alert.kind not in KINDS)
        assert told == {each: said for each, said in self.naive.told.items() if each.user not in self.unordered}
        for user, person in self.naive.people.items():
            if user not in self.unordered:
                rows = {row_of(alert) for alert in alerts if alert.kind in KINDS and alert.user_id == user}
                assert rows == set(person.unusual.told), user

    def _views(self) -> list[Any]:
        return [copied(view) for views in self.worker.totals.views() for view in views]

    @staticmethod
    def _flat(views: Any) -> dict[Any, int]:
        """By (user, kind, label, operation), without zeros. Two hours of one label are shown as one, twice."""
        return {
            (view.user_id, kind, view.label, operation): amount
            for kind, view, totals in views
            for operation, amount in totals.items()
            if amount
        }

    def _flat_shown(self) -> dict[Any, int]:
        return {
            (*key, operation): amount
            for key, totals in self.world.shown.items()
            for operation, amount in totals.items()
            if amount
        }

    def _recent(self, totals: dict[Any, int]) -> dict[Any, int]:
        """Those of periods that cannot be gone from the state yet: by label, a day more than the horizon."""
        oldest = day_of(self.latest - RULES.horizon_us + DAY_MICROSECONDS, "UTC").label
        return {key: amount for key, amount in totals.items() if key[2] >= oldest[: len(key[2])]}

    # --- how it is done

    def _append(self, user: str, operation: tuple[str, str], amount: int | None, at: int) -> None:
        self.made += 1
        self._append_record(
            {
                "event_id": str(derived_event_id(at, str(self.made))),
                "user_id": user,
                "service": operation[0],
                "operation": operation[1],
                "amount": amount,
                "occurred_at": at,
                "reverses_event_id": None,
            }
        )

    def _append_record(self, record: dict[str, Any]) -> None:
        if record["occurred_at"] <= self.now + AHEAD_MAX:
            self.first_at.setdefault(record["event_id"], len(self.world.events))
            self.world.events.append(Appended(record, self.now))
            self.naive.add(record, self.now)

    def _set_budget(self, user: str, changes: dict[str, Any] | None) -> None:
        self.versions[user] += 1
        budget = None if changes is None else Budget(user_id=user, version=self.versions[user], **changes)
        self._put_budget(user, budget)

    def _put_budget(self, user: str, budget: Budget | None) -> None:
        self.world.budgets.append(Setting(user, budget, self.now))
        self.naive.set_budget(user, budget, self.now)
        self.worker.read_budgets()

    def _unread(self) -> bool:
        return self.worker.places.event < len(self.world.events)

    def _begin_a_flush_of(self, seed: int, user: str) -> None:
        self._rest()
        self.many_events(seed=seed, user=user, days=0)
        self.worker.read_events(len(self.world.events))
        self.worker.begin_flush()

    def _next_worker(self) -> None:
        self.was_harmed = True
        self.worker = Worker(self.world)

    def _store(self) -> None:
        """Write and commit what was read."""
        for _ in range(2):
            if self.worker.under_way is None:
                self.worker.begin_flush()
            self.end_the_flush(is_committed=True)

    def _rest(self) -> None:
        """Read, write and commit everything."""
        self.worker.read_events(len(self.world.events))
        self._store()


def whole(us: int) -> int:
    """Down to the millisecond: a broker's clock knows no less."""
    return us // 1000 * 1000


def test_the_stream_does_what_a_naive_replay_does(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals of every user, period and operation, and every alert with its words: exactly, whatever happened."""
    monkeypatch.setattr(recent, "CHUNK_EVENTS", CHUNK_EVENTS)
    simulate(StreamMachine, seed, quick=Bounds(60, 40), full=Bounds(450, 80))
