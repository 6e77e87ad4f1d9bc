"""What this process has reserved and settled and Redis may yet forget: kept here to be told again.

No I/O; safe to share between threads. Everything is bounded.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from threading import RLock
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from costledger.producers.guard.acknowledgements import Acknowledgements

#: Items of one process; with more, holds are refused and the oldest settled amounts are told no more.
ITEMS_MAX: Final = 20_000
#: Users whose month's total is remembered.
USERS_MAX: Final = 10_000
#: The month of an item whose events are not known: it counts in every month.
ANY_MONTH: Final = "-"
NO_KEY: Final = "-"


Value = TypeVar("Value")


class Kind(StrEnum):
    """What an item is: an estimate held, an amount settled, or a hold to be ended."""

    HELD = "H"
    SETTLED = "S"
    RELEASED = "R"


class Seen(NamedTuple):
    """A month's total as the stream had written it: label, 1e-12 USD, and the offset up to which it is complete."""

    month: str
    total: int
    offset: int


@dataclass(slots=True, kw_only=True)
class Item:
    """One reservation of this process. Amounts in 1e-12 USD.

    `month` is the label of the month of a settled item's events, `offset` that of the last of them once all are
    acknowledged. `ends_at_us` is when a hold ends on Redis's clock (None: it is renewed), `since` when the item began
    on this process's monotonic clock. `told`: Redis has it as it is.
    """

    user_id: str
    reservation_id: str
    kind: Kind
    amount: int
    month: str = ANY_MONTH
    key: str = NO_KEY
    offset: int | None = None
    ends_at_us: int | None = None
    since: float = 0.0
    told: bool = False
    awaited: set[UUID] = field(default_factory=set)


class Outstanding:
    """The items by reservation id, the acknowledgements they wait for, and the latest totals seen.

    `on_overflow` is called, with a lock held, for each settled item that had to make way, `on_unclaimed` for each
    event that was expected and had to. A user may have `holds_of_user_max` holds here; None: as many as there is room for.
    """

    def __init__(
        self,
        on_overflow: Callable[[], None],
        on_unclaimed: Callable[[], None],
        items_max: int = ITEMS_MAX,
        clock: Callable[[], float] = time.monotonic,
        holds_of_user_max: int | None = None,
    ) -> None:
        self._on_overflow = on_overflow
        self._items_max = items_max
        self._holds_of_user_max = holds_of_user_max
        self._clock = clock
        # Reentrant: a signal handler that closes the tracker comes in here, while its own thread may be inside.
        self._lock = RLock()
        self._items: OrderedDict[tuple[str, str], Item] = OrderedDict()
        self._by_key: dict[tuple[str, str], Item] = {}
        self._holds: Counter[str] = Counter()
        self._waiting: dict[UUID, Item] = {}
        self._acknowledged = Acknowledgements(on_unclaimed)
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._generations: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def has_room(self, user_id: str) -> bool:
        """Whether one more hold may be made for a user; settled amounts make way."""
        with self._lock:
            most = self._holds_of_user_max
            return (most is None or self._holds[user_id] < most) and self._make_room()

    def hold(self, item: Item) -> bool:
        """Remember a hold; False: it was settled here before."""
        with self._lock:
            before = self._items.get((item.user_id, item.reservation_id))
            if before is not None and before.kind is Kind.SETTLED:
                return False
            self._put(item)
            return True

    def held_by_key(self, user_id: str, key: str) -> Item | None:
        """The hold of a key, if this process has it."""
        with self._lock:
            return self._by_key.get((user_id, key))

    def kind_of(self, user_id: str, reservation_id: str) -> Kind | None:
        """What an item of this process is; None where it has none of this id."""
        item = self._items.get((user_id, reservation_id))
        return None if item is None else item.kind

    def settle(
        self, user_id: str, reservation_id: str, amount: int, month: str, event_ids: Sequence[UUID]
    ) -> Item | None:
        """Make an item settled, with the offset of its events if all are acknowledged; None: it was settled before."""
        with self._lock:
            before = self._items.get((user_id, reservation_id))
            if before is not None and before.kind is Kind.SETTLED:
                return None
            key = NO_KEY if before is None else before.key
            item = Item(
                user_id=user_id, reservation_id=reservation_id, kind=Kind.SETTLED, amount=amount, month=month, key=key
            )
            known = self._acknowledged.claim(event_ids)
            item.awaited = {event_id for event_id, offset in zip(event_ids, known, strict=True) if offset is None}
            item.offset = max((offset for offset in known if offset is not None), default=None)
            if before is not None:
                self._discard(before)
            if self._make_room():
                self._put(item)
                self._waiting.update(dict.fromkeys(item.awaited, item))
            return _as_told(item)

    def release(self, user_id: str, reservation_id: str) -> Item | None:
        """Turn a hold into the wish to end it; None: it was settled."""
        with self._lock:
            before = self._items.get((user_id, reservation_id))
            if before is not None and before.kind is Kind.SETTLED:
                return None
            if before is not None:
                self._discard(before)
            item = Item(user_id=user_id, reservation_id=reservation_id, kind=Kind.RELEASED, amount=0)
            if self._make_room():
                self._put(item)
            return item

    def expect(self, event_ids: Sequence[UUID]) -> None:
        """These events will be settled."""
        with self._lock:
            self._acknowledged.expect(event_ids)

    def awaits(self) -> bool:
        """Whether some settled item still waits for its events."""
        return bool(self._waiting)

    def acknowledge(self, event_id: UUID, offset: int) -> bool:
        """Note where an event lies on the topic; True when a settled item is complete by it and is to be told."""
        with self._lock:
            item = self._waiting.pop(event_id, None)
            if item is None:
                self._acknowledged.note(event_id, offset)
                return False
            item.awaited.discard(event_id)
            item.offset = offset if item.offset is None else max(item.offset, offset)
            if item.awaited:
                return False
            item.told = False
            return True

    def to_tell(self, settled_hold_seconds: float, renewed_seconds_max: float, *, only_untold: bool) -> list[Item]:
        """Copies of the items that Redis is to hear of (again); those whose time is over are forgotten first.

        They count as told from now on: `untold` takes that back.
        """
        now = self._clock()
        with self._lock:
            for item in list(self._items.values()):
                kept = renewed_seconds_max if item.kind is Kind.HELD else settled_hold_seconds
                if now - item.since >= kept:
                    self._discard(item)
            chosen = [item for item in self._items.values() if not (only_untold and item.told)]
            for item in chosen:
                item.told = True
            return [_as_told(item) for item in chosen]

    def told(self, items: Iterable[Item], gone: frozenset[str]) -> None:
        """Redis has heard of these; those `gone` need no telling any more."""
        with self._lock:
            for item in items:
                held = self._items.get((item.user_id, item.reservation_id))
                if held is None or held.kind is not item.kind:
                    continue
                if item.reservation_id in gone or item.kind is Kind.RELEASED:
                    self._discard(held)
                elif item.offset == _confirmed(held):
                    held.told = True

    def untold(self, items: Iterable[Item]) -> None:
        """Redis has not heard of these."""
        with self._lock:
            for item in items:
                held = self._items.get((item.user_id, item.reservation_id))
                if held is not None:
                    held.told = False

    def seconds_left(self, item: Item, seconds: float) -> float:
        """How much is left of an item's time."""
        return seconds - (self._clock() - item.since)

    def note_seen(self, user_id: str, generation: str, seen: Seen | None) -> bool:
        """Remember what Redis has shown; True when the user's state is another one than was known."""
        with self._lock:
            known, _ = self._generations.get(user_id, (None, 0.0))
            _put_bounded(self._generations, user_id, (generation, self._clock()))
            before = self._seen.get(user_id)
            if seen is not None and (before is None or (seen.month, seen.offset) >= (before.month, before.offset)):
                _put_bounded(self._seen, user_id, seen)
            return known is not None and known != generation

    def seen(self, user_id: str) -> Seen | None:
        """The latest total seen of a user."""
        return self._seen.get(user_id)

    def knows(self, user_id: str, within_seconds: float) -> bool:
        """Whether this process has met the user's state in Redis so recently that it must still be there."""
        known = self._generations.get(user_id)
        return known is not None and self._clock() - known[1] < within_seconds

    def _make_room(self) -> bool:
        if len(self._items) < self._items_max:
            return True
        others = [item for item in self._items.values() if item.kind is not Kind.HELD]
        if not others:
            return False
        # What Redis knows is only missed if it is lost; what it does not know is missed for certain.
        self._discard(next((item for item in others if item.told), others[0]))
        self._on_overflow()
        return True

    def _put(self, item: Item) -> None:
        item.since = self._clock()
        before = self._items.get((item.user_id, item.reservation_id))
        if before is not None:
            self._discard(before)
        self._items[item.user_id, item.reservation_id] = item
        if item.kind is Kind.HELD:
            self._holds[item.user_id] += 1
        if item.key != NO_KEY and item.kind is Kind.HELD:
            self._by_key[item.user_id, item.key] = item

    def _discard(self, item: Item) -> None:
        # It may have been replaced under its id meanwhile: then that one stays.
        if self._items.get((item.user_id, item.reservation_id)) is item:
            del self._items[item.user_id, item.reservation_id]
            if item.kind is Kind.HELD:
                self._holds[item.user_id] -= 1
                if not self._holds[item.user_id]:
                    del self._holds[item.user_id]
        if self._by_key.get((item.user_id, item.key)) is item:
            del self._by_key[item.user_id, item.key]
        for event_id in item.awaited:
            self._waiting.pop(event_id, None)


def _confirmed(item: Item) -> int | None:
    return None if item.awaited else item.offset


def _as_told(item: Item) -> Item:
    """A copy that another thread may read: its offset is there once all of its events are acknowledged."""
    return replace(item, offset=_confirmed(item), awaited=set())


def _put_bounded(mapping: OrderedDict[str, Value], key: str, value: Value) -> None:
    mapping[key] = value
    mapping.move_to_end(key)
    while len(mapping) > USERS_MAX:
        mapping.popitem(last=False)
