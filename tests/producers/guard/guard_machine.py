"""Guards of several processes on one Redis: messages are lost, doubled, late; processes die, clocks jump, Redis forgets."""

from __future__ import annotations

from typing import ClassVar, NamedTuple
from uuid import UUID

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.producers.guard.guard_model import MONTHS, SECOND, GuardModel

from costledger.producers.guard.outstanding import ANY_MONTH, NO_KEY, Item, Kind
from costledger.producers.guard.scripts import Scripts, Status, Times
from costledger.schemas.periods import PeriodKind
from costledger.schemas.redis_keys import guard_keys, totals_key

USER = "ann"
LARGE = 10**13
BUDGET = 40 * LARGE
TIMES = Times(reservation_seconds=100, settled_hold_seconds=150, recovery_seconds=5)
LEASE = 100 * SECOND
PROCESSES = 3
#: So many messages may be said again.
REMEMBERED_MAX = 60

KEYS = st.sampled_from([NO_KEY, NO_KEY, "a" * 64, "b" * 64])
AMOUNTS = st.one_of(st.integers(1, 12 * LARGE), st.integers(1, 3), st.just(10 * LARGE))
NUMBERS = st.integers(0, 40)
HOLDERS = st.integers(0, PROCESSES - 1)
#: What becomes of what a process says: it arrives once, twice, later, or never.
FATES = st.sampled_from(["once", "once", "once", "twice", "later", "never"])


class Message(NamedTuple):
    """An item as it is told: the month that the step is called for, and the end of its time."""

    month: str
    item: Item
    ends: str


class GuardMachine(RuleBasedStateMachine):
    """One user, told of by any number of processes."""

    client: ClassVar[redis.Redis]

    @initialize()
    def begin(self) -> None:
        self.client.flushdb()
        self.model = GuardModel(BUDGET, now=1_795_000_000 * SECOND)
        self.scripts = Scripts(self.client, TIMES, lambda: self.model.now)
        self.month = 1
        self.made = 0
        self.events: list[tuple[str, int]] = []  # by offset: month, amount
        #: Who would say an id again after a loss, and who has died.
        self.holder: dict[str, int] = {}
        self.dead: set[int] = set()
        self.said: list[Message] = []
        self.late: list[Message] = []
        self.scripts.epoch()
        self.model.now += 10 * SECOND
        self._begin_state(is_lost=False)

    # --- what processes do

    @rule(key=KEYS, estimate=AMOUNTS, hold=st.booleans(), holder=HOLDERS)
    def reserve(self, key: str, estimate: int, hold: bool, holder: int) -> None:
        name, month = self._new_id(), MONTHS[self.month]
        if self._is_recovering():
            assert self._ask(name, key, estimate, hold).status is Status.RECOVERING
            return
        spent, reserved = self.model.spent(month), self.model.reserved(month)
        answer = self._ask(name, key, estimate, hold)
        status, held_id = self.model.reserve(month, name, key, estimate, LEASE if hold else None)
        assert (answer.status, answer.held_id) == (status, held_id)
        is_held_before = status is Status.HELD and held_id != name
        held_before = self.model.items[held_id].amount if is_held_before and held_id else 0
        assert (answer.month_to_date, answer.reserved) == (spent, reserved - held_before)
        if status is Status.HELD and held_id is not None:
            assert (answer.held_amount, answer.expires_at_us) == (
                self.model.items[held_id].amount,
                self.model.items[held_id].ends,
            )
            self.holder.setdefault(held_id, holder)

    @rule(
        number=NUMBERS, actual=st.one_of(st.just(0), AMOUNTS), back=st.integers(0, 1), how=st.integers(0, 2), fate=FATES
    )
    def settle(self, number: int, actual: int, back: int, how: int, fate: str) -> None:
        """With its event acknowledged, not yet acknowledged, or not known at all."""
        month = MONTHS[self.month - back] if how else ANY_MONTH
        offset = None
        if how and actual:
            self.events.append((month, actual))
            offset = len(self.events) - 1 if how == 2 else None
        self._say(self._item(self._some_id(number), Kind.SETTLED, actual, month, offset), f"+{150 * SECOND}", fate)

    @rule(number=NUMBERS, fate=FATES)
    def release(self, number: int, fate: str) -> None:
        self._say(self._item(self._some_id(number), Kind.RELEASED, 0), "+0", fate)

    @precondition(lambda self: self._settled())
    @rule(number=NUMBERS)
    def release_what_is_settled(self, number: int) -> None:
        """Too late: what was spent stays counted, and the estimate was given back before."""
        settled = self._settled()
        self._say(self._item(settled[number % len(settled)], Kind.RELEASED, 0), "+0", "once")

    @rule(number=NUMBERS, estimate=AMOUNTS, fate=FATES)
    def renew(self, number: int, estimate: int, fate: str) -> None:
        """A holder says again what it holds; what has expired meanwhile is held again."""
        name = self._some_id(number)
        held = self.model.items.get(name)
        amount, key = (held.amount, held.key) if held is not None and held.kind == "H" else (estimate, NO_KEY)
        self._say(self._item(name, Kind.HELD, amount, key=key), f"+{LEASE}", fate)

    # --- what messages do

    @precondition(lambda self: self.late)
    @rule(number=NUMBERS)
    def a_late_message_arrives(self, number: int) -> None:
        """In any order."""
        self._deliver(self.late.pop(number % len(self.late)))

    @precondition(lambda self: self.said)
    @rule(number=NUMBERS)
    def an_old_message_arrives_again(self, number: int) -> None:
        self._deliver(self.said[number % len(self.said)])

    # --- what the others do

    @rule(up_to=st.integers(0, 50))
    def the_stream_writes(self, up_to: int) -> None:
        """Totals of every month up to some event; never fewer than before, unless it was lost."""
        before = max((shown.offset for shown in self.model.shown.values()), default=-1)
        self._show(max(before, min(up_to, len(self.events) - 1)))

    @rule(seconds=st.one_of(st.integers(1, 130), st.integers(1, 4000)))
    def the_clock_goes_on(self, seconds: int) -> None:
        self.model.now += seconds * SECOND

    @rule(seconds=st.integers(1, 130))
    def the_clock_is_set_back(self, seconds: int) -> None:
        """A replica that takes over may be behind."""
        self.model.now -= seconds * SECOND

    @precondition(lambda self: self.month < len(MONTHS) - 1)
    @rule()
    def the_month_turns(self) -> None:
        self.month += 1
        self._give_base()

    # --- harm

    @rule(holder=HOLDERS)
    def a_process_dies(self, holder: int) -> None:
        """What it holds expires; after a loss of Redis nobody says it again."""
        self.dead.add(holder)

    @rule()
    def totals_are_lost(self) -> None:
        """The stream's keys alone: evicted, or deleted by somebody."""
        for month in MONTHS:
            self.client.delete(totals_key(USER, PeriodKind.MONTH, month))
        self.model.shown.clear()

    @rule(shown_again=st.booleans(), lost=st.sampled_from(["all", 0, 1, 2]))
    def redis_is_lost(self, shown_again: bool, lost: str | int) -> None:
        """Everything, or one of the guard's keys; the holders who live say again what they hold."""
        month = MONTHS[self.month]
        self.model.reserved(month)
        self._ask(self._new_id(), NO_KEY, 1, hold=False)  # what has ended is cleared away in both
        known_offsets = dict(self.model.offsets)
        if lost == "all":
            self.client.flushdb()
            self.model.shown.clear()
            self.model.offsets.clear()
        elif not self.client.delete(guard_keys(USER, month)[int(lost)]):
            return  # nothing was in it, so nothing is lost
        held = dict(self.model.items)
        self.model.lose()
        assert self._ask(self._new_id(), NO_KEY, 1, hold=True).status is Status.UNKNOWN
        self._begin_state(is_lost=True)
        for name, one in held.items():
            if one.kind != "D" and self.holder.get(name, 0) not in self.dead:
                offset = known_offsets.get((one.month, name))
                item = self._item(name, Kind(one.kind), one.amount, one.month, offset, one.key)
                self._deliver(Message(self._label(item), item, str(one.ends)))
        assert self._ask(self._new_id(), NO_KEY, 1, hold=True).status is Status.RECOVERING
        self.model.now += 5 * SECOND
        if shown_again:
            self._show(len(self.events) - 1)

    # --- what must be true

    @invariant()
    def the_figures_are_those_of_the_model(self) -> None:
        if hasattr(self, "model"):
            month = MONTHS[self.month]
            answer = self._ask(self._new_id(), NO_KEY, 1, hold=False)
            assert answer.status is (Status.RECOVERING if self._is_recovering() else Status.REFUSED)
            assert (answer.month_to_date, answer.reserved) == (self.model.spent(month), self.model.reserved(month))

    # --- how it is done

    def _say(self, item: Item, ends: str, fate: str) -> None:
        message = Message(self._label(item), item, ends)
        self.said = [*self.said, message][-REMEMBERED_MAX:]
        if fate == "later":
            self.late.append(message)
        for _ in range({"once": 1, "twice": 2}.get(fate, 0)):
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        self.scripts.apply(USER, message.month, None, [(message.item, message.ends)])
        self.model.apply(message.month, message.item, message.ends)

    def _label(self, item: Item) -> str:
        return MONTHS[self.month] if item.month == ANY_MONTH else item.month

    def _show(self, offset: int) -> None:
        self.model.show(self.events, offset)
        for month, shown in self.model.shown.items():
            fields = {"total": str(shown.total), "offset": str(shown.offset)}
            self.client.hset(totals_key(USER, PeriodKind.MONTH, month), mapping=fields)

    def _begin_state(self, *, is_lost: bool) -> None:
        self.generation = self.scripts.open(USER, MONTHS[self.month], lost=is_lost)
        if is_lost:
            # Of other months they stay, where single keys were lost.
            gone = [place for place in self.model.offsets if place[0] == MONTHS[self.month]]
            for place in gone:
                del self.model.offsets[place]
        self._give_base()

    def _give_base(self) -> None:
        """The ledger's total is the floor of a month of which nothing was seen yet."""
        month = MONTHS[self.month]
        floor = sum(amount for its, amount in self.events if its == month)
        since_us = self.scripts.epoch().since_us
        assert self.scripts.base(USER, month, None, generation=self.generation, floor=floor, since_us=since_us)
        self.model.base = (month, floor, self.model.now + 150 * SECOND)

    def _is_recovering(self) -> bool:
        until = self.client.hget(guard_keys(USER, "")[0], "until")
        return self.model.now < int(until or 0)

    def _ask(self, name: str, key: str, estimate: int, hold: bool):
        return self.scripts.reserve(
            USER,
            MONTHS[self.month],
            None,
            reservation_id=name,
            key=key,
            estimate=estimate,
            budget=BUDGET,
            hold=hold,
        )

    @staticmethod
    def _item(
        name: str, kind: Kind, amount: int, month: str = ANY_MONTH, offset: int | None = None, key: str = NO_KEY
    ) -> Item:
        return Item(user_id=USER, reservation_id=name, kind=kind, amount=amount, month=month, offset=offset, key=key)

    def _settled(self) -> list[str]:
        """What counts as settled, and is not yet seen in the totals."""
        return [name for name, one in self.model.items.items() if one.kind == "S"]

    def _new_id(self) -> str:
        self.made += 1
        return UUID(int=self.made).hex

    def _some_id(self, number: int) -> str:
        """One that was reserved, settled or released before, or a new one."""
        known = list(self.model.items)
        place = number % (len(known) + 1)
        return known[place] if place < len(known) else self._new_id()
