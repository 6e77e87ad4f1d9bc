"""The scripts against a naive model, in any order of steps, with losses, on a real Redis with a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from costledger.producers.guard.outstanding import Item, Kind
from costledger.producers.guard.scripts import Scripts, Status, Times
from costledger.schemas.periods import PeriodKind
from costledger.schemas.redis_keys import totals_key

USER = "ann"
MONTHS = ["2026-09", "2026-10", "2026-11", "2026-12"]
LARGE = 10**13
BUDGET = 40 * LARGE
SECOND = 1_000_000
TIMES = Times(reservation_seconds=100, settled_hold_seconds=150, recovery_seconds=5)
#: Ended ids are remembered for an hour: a run stays within it.
ADVANCED_SECONDS_MAX = 3000

KEYS = st.sampled_from(["-", "-", "a" * 64, "b" * 64])
AMOUNTS = st.one_of(st.integers(1, 12 * LARGE), st.integers(1, 3), st.just(10 * LARGE))


@dataclass
class Held:
    """What the model knows of an id: kind H, S or D (D: `how` s or r)."""

    kind: str
    amount: int
    month: str
    key: str
    ends: int = 0
    offset: int | None = None
    how: str = ""


def machine_on(client: redis.Redis) -> type[RuleBasedStateMachine]:
    """The machine, on this Redis."""

    class GuardMachine(RuleBasedStateMachine):
        """One user, told of by any number of processes."""

        @initialize()
        def begin(self) -> None:
            client.flushdb()
            self.now = 1_795_000_000 * SECOND
            self.scripts = Scripts(client, TIMES, lambda: self.now)
            self.month = 1
            self.items: dict[str, Held] = {}
            self.made = 0
            self.events: list[tuple[str, int]] = []  # by offset: month, amount
            self.shown: dict[str, tuple[int, int]] = {}  # month -> total, offset
            self.seen: tuple[str, int, int] | None = None
            self.base = ("", 0, 0)
            self.advanced = 0
            self.is_begun = False
            self.scripts.epoch()
            self.advance(10)
            self._begin_state()

        # What happens

        @rule(key=KEYS, estimate=AMOUNTS, hold=st.booleans())
        def reserve(self, key: str, estimate: int, hold: bool) -> None:
            reservation_id = self._new_id()
            spent, reserved = self._spent(), self._reserved()
            answer = self._ask(reservation_id, key, estimate, hold)
            known = self._by_key(key)
            if known is not None and self.items[known].kind == "H":
                assert (answer.status, answer.held_id) == (Status.HELD, known)
                assert answer.held_amount == self.items[known].amount
                assert answer.reserved == reserved - answer.held_amount
                return
            if known is not None and (self.items[known].kind == "S" or self.items[known].how == "s"):
                assert (answer.status, answer.held_id) == (Status.DONE, known)
                return
            assert (answer.month_to_date, answer.reserved) == (spent, reserved)
            if hold and spent + reserved + estimate <= BUDGET:
                assert (answer.status, answer.held_id) == (Status.HELD, reservation_id)
                assert answer.expires_at_us == self.now + 100 * SECOND
                self.items[reservation_id] = Held("H", estimate, "-", key, self.now + 100 * SECOND)
            else:
                assert answer.status is Status.REFUSED

        @rule(
            number=st.integers(0, 40),
            actual=st.one_of(st.just(0), AMOUNTS),
            back=st.integers(0, 1),
            how=st.integers(0, 2),
        )
        def settle(self, number: int, actual: int, back: int, how: int) -> None:
            """With its event acknowledged, not yet acknowledged, or not known at all."""
            reservation_id = self._some_id(number)
            month = MONTHS[self.month - back] if how else "-"
            offset = None
            if how and actual:
                self.events.append((month, actual))
                offset = len(self.events) - 1 if how == 2 else None
            item = self._item(reservation_id, Kind.SETTLED, actual, month, offset)
            self._apply(item, f"+{150 * SECOND}")
            held = self.items.get(reservation_id)
            if held is not None and (held.kind == "S" or held.how == "s"):
                if held.kind == "S" and held.month == month and offset is not None:
                    # An acknowledgement that came later.
                    held.offset = offset
                return
            key = held.key if held is not None else "-"
            done = actual == 0
            self.items[reservation_id] = Held(
                "D" if done else "S", actual, month, key, self.now + 150 * SECOND, offset, "s" if done else ""
            )

        @rule(number=st.integers(0, 40))
        def release(self, number: int) -> None:
            reservation_id = self._some_id(number)
            self._apply(self._item(reservation_id, Kind.RELEASED, 0, "-", None), "+0")
            held = self.items.get(reservation_id)
            if held is None or held.kind == "H":
                self.items[reservation_id] = Held("D", 0, "-", held.key if held else "-", how="r")

        @rule(number=st.integers(0, 40), estimate=AMOUNTS)
        def renew(self, number: int, estimate: int) -> None:
            """A holder says again what it holds; what has expired meanwhile is held again."""
            reservation_id = self._some_id(number)
            held = self.items.get(reservation_id)
            amount, key = (held.amount, held.key) if held and held.kind == "H" else (estimate, "-")
            self._apply(self._item(reservation_id, Kind.HELD, amount, "-", None, key), f"+{100 * SECOND}")
            if held is None or held.kind == "H":
                self.items[reservation_id] = Held("H", amount, "-", key, self.now + 100 * SECOND)

        @rule(up_to=st.integers(0, 50))
        def the_stream_writes(self, up_to: int) -> None:
            """Totals of every month up to some event; never fewer than before."""
            before = max((offset for _, offset in self.shown.values()), default=-1)
            offset = max(before, min(up_to, len(self.events) - 1))
            self._show(offset)

        @rule(seconds=st.integers(1, 130))
        def advance(self, seconds: int) -> None:
            if self.advanced + seconds <= ADVANCED_SECONDS_MAX:
                self.advanced += seconds
                self.now += seconds * SECOND

        @precondition(lambda self: self.month < len(MONTHS) - 1)
        @rule()
        def the_month_turns(self) -> None:
            self.month += 1

        @rule()
        def totals_are_lost(self) -> None:
            """The stream's keys alone: evicted, or deleted by somebody."""
            for month in MONTHS:
                client.delete(totals_key(USER, PeriodKind.MONTH, month))
            self.shown.clear()

        @rule(shown_again=st.booleans(), what=st.sampled_from(["all", "guard", "items", "expiry"]))
        def redis_is_lost(self, shown_again: bool, what: str) -> None:
            """Everything, or one of the guard's keys; holders say again what they hold."""
            if what == "all":
                client.flushdb()
                self.shown.clear()
                self.seen = None
            else:
                keys = {"guard": f"costledger:guard:{{{USER}}}", "items": f"costledger:guard:{{{USER}}}:items"}
                if not client.delete(keys.get(what, f"costledger:guard:{{{USER}}}:expiry")):
                    return  # nothing was in it, so nothing is lost
            self.seen = None
            assert self._ask(self._new_id(), "-", 1, hold=True).status is Status.UNKNOWN
            for reservation_id, held in list(self.items.items()):
                if held.kind == "D":
                    del self.items[reservation_id]
                    continue
                item = self._item(reservation_id, Kind(held.kind), held.amount, held.month, held.offset, held.key)
                self._apply(item, str(held.ends))
            self._begin_state(known=True)
            assert self._ask(self._new_id(), "-", 1, hold=True).status is Status.RECOVERING
            self.now += 5 * SECOND
            if shown_again:
                self._show(len(self.events) - 1)

        # What must be true

        @invariant()
        def the_figures_are_those_of_the_model(self) -> None:
            if not self.is_begun:
                return
            answer = self._ask(self._new_id(), "-", 1, hold=False)
            assert answer.status is Status.REFUSED
            assert (answer.month_to_date, answer.reserved) == (self._spent(), self._reserved())

        # The model

        def _spent(self) -> int:
            month = MONTHS[self.month]
            shown = self.shown.get(month)
            if shown is not None and (self.seen is None or month >= self.seen[0]):
                self.seen = (month, *shown)
            known = shown or (self.seen[1:] if self.seen is not None and self.seen[0] == month else (0, -1))
            base_month, base, until = self.base
            if base_month == month and (shown is None or self.now < until):
                return max(known[0], base)
            return known[0]

        def _reserved(self) -> int:
            month = MONTHS[self.month]
            offset = self.shown.get(month, (0, -1))[1]
            if month not in self.shown and self.seen is not None and self.seen[0] == month:
                offset = self.seen[2]
            for reservation_id, held in list(self.items.items()):
                if held.kind in "HS" and held.ends <= self.now:
                    if held.kind == "H":
                        del self.items[reservation_id]
                    else:
                        held.kind, held.how = "D", "s"
                elif held.kind == "S" and held.month == month and held.offset is not None and held.offset <= offset:
                    held.kind, held.how = "D", "s"
            live = [held for held in self.items.values() if held.kind in "HS"]
            return sum(held.amount for held in live if held.month in ("-", month))

        def _by_key(self, key: str) -> str | None:
            found = [each for each, held in self.items.items() if held.key == key != "-"]
            return found[-1] if found else None

        def _show(self, offset: int) -> None:
            for month in MONTHS:
                of_month = [amount for at, (its, amount) in enumerate(self.events) if its == month and at <= offset]
                if of_month:
                    self.shown[month] = (sum(of_month), offset)
                    fields = {"total": str(sum(of_month)), "offset": str(offset)}
                    client.hset(totals_key(USER, PeriodKind.MONTH, month), mapping=fields)

        def _begin_state(self, *, known: bool = False) -> None:
            month = MONTHS[self.month]
            generation = self.scripts.open(USER, month, lost=known)
            floor = sum(amount for its, amount in self.events if its == month)
            since_us = self.scripts.epoch().since_us
            assert self.scripts.base(USER, month, None, generation=generation, floor=floor, since_us=since_us)
            self.base = (month, floor, self.now + 150 * SECOND)
            self.is_begun = True

        def _ask(self, reservation_id: str, key: str, estimate: int, hold: bool):
            return self.scripts.reserve(
                USER,
                MONTHS[self.month],
                None,
                reservation_id=reservation_id,
                key=key,
                estimate=estimate,
                budget=BUDGET,
                hold=hold,
            )

        def _apply(self, item: Item, ends: str) -> None:
            month = MONTHS[self.month] if item.month == "-" else item.month
            self.scripts.apply(USER, month, None, [(item, ends)])

        def _item(
            self, reservation_id: str, kind: Kind, amount: int, month: str, offset: int | None, key: str = "-"
        ) -> Item:
            return Item(
                user_id=USER,
                reservation_id=reservation_id,
                kind=kind,
                amount=amount,
                month=month,
                offset=offset,
                key=key,
            )

        def _new_id(self) -> str:
            self.made += 1
            return UUID(int=self.made).hex

        def _some_id(self, number: int) -> str:
            """One that was reserved, settled or released before, or a new one."""
            known = list(self.items)
            return known[number] if number < len(known) else self._new_id()

    return GuardMachine


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    """A client of the test's own database."""
    return redis.Redis.from_url(redis_url, decode_responses=True)


def test_the_scripts_do_what_a_naive_model_does(client: redis.Redis) -> None:
    """Month-to-date and what is reserved, after every step: to the last 1e-12 USD, also after losses."""
    run_state_machine_as_test(
        machine_on(client),
        settings=settings(
            max_examples=120,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    client.close()
