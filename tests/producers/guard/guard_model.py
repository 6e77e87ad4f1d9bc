"""What the guard's scripts must come to, as plain dictionaries: holds, settled amounts, totals, floors. One user.

Amounts are 1e-12 USD, times Unix microseconds of the simulated Redis.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from costledger.producers.guard.outstanding import ANY_MONTH, NO_KEY, Item, Kind
from costledger.producers.guard.scripts import Status

SECOND = 1_000_000
MONTHS = ("2026-09", "2026-10", "2026-11", "2026-12")
#: How long ids that have ended are remembered.
DONE_US = 3600 * SECOND


@dataclass
class Held:
    """What is known of an id: held (H), settled (S) or done (D: `how` settled, released or expired)."""

    kind: str
    amount: int
    month: str
    key: str
    ends: int
    how: str = ""


class Shown(NamedTuple):
    """A month's total as the stream has written it, with the offset up to which it is complete."""

    total: int
    offset: int


@dataclass
class GuardModel:
    """The user's state in Redis, and beside it what the stream has written there."""

    budget: int
    now: int = 0
    items: dict[str, Held] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    #: By month and id: where the last event of a settled amount lies.
    offsets: dict[tuple[str, str], int] = field(default_factory=dict)
    shown: dict[str, Shown] = field(default_factory=dict)
    seen: tuple[str, Shown] | None = None
    #: Month, amount, and until when it counts beside the stream's own total.
    base: tuple[str, int, int] = ("", 0, 0)

    def spent(self, month: str) -> int:
        """The month to date."""
        known, is_fresh = self._known(month)
        base_month, base, until = self.base
        if base_month == month and (not is_fresh or self.now < until):
            return max(known.total, base)
        return known.total

    def reserved(self, month: str) -> int:
        """What is held, and what is settled and not yet seen in the month's total."""
        self._sweep(month)
        live = [held for held in self.items.values() if held.kind in "HS"]
        return sum(held.amount for held in live if held.month in (ANY_MONTH, month))

    def reserve(self, month: str, new_id: str, key: str, estimate: int, lease: int | None) -> tuple[Status, str | None]:
        """Decide, and hold where it fits and there is a lease (microseconds): the status, and the id it is about."""
        used = self.spent(month) + self.reserved(month)
        known_id = self.keys.get(key, "") if key != NO_KEY else new_id
        known = self.items.get(known_id)
        if known is not None and known.kind == "H":
            return Status.HELD, known_id
        if known is not None and (known.kind == "S" or known.how == "s"):
            return Status.DONE, known_id
        if lease is None or used + estimate > self.budget:
            return Status.REFUSED, None
        self._count(new_id, Held("H", estimate, ANY_MONTH, key, self.now + lease))
        return Status.HELD, new_id

    def apply(self, month: str, item: Item, ends: str) -> None:
        """Tell of an item; `ends` absolute, or `+` and microseconds from now. Once, twice, late: as it comes."""
        known, _ = self._known(month)
        expires = self.now + int(ends[1:]) if ends.startswith("+") else int(ends)
        held = self.items.get(item.reservation_id)
        if item.kind is Kind.HELD:
            self._hold(item, held, expires)
        elif item.kind is Kind.SETTLED:
            self._settle(month, item, held, expires)
        elif held is None or held.kind == "H" or held.how == "x":
            self._finish(item.reservation_id, "r", held.key if held else NO_KEY)
        self._sweep_to(month, known.offset)

    def _hold(self, item: Item, held: Held | None, expires: int) -> None:
        if held is None or held.how == "x":
            if expires > self.now:
                self._count(item.reservation_id, Held("H", item.amount, ANY_MONTH, item.key, expires))
        elif held.kind == "H":
            held.ends = max(held.ends, expires)

    def _settle(self, month: str, item: Item, held: Held | None, expires: int) -> None:
        if held is not None and held.how == "s":
            return
        if held is None or held.kind != "S":
            key = held.key if held is not None and held.key != NO_KEY else item.key
            if item.amount == 0 or expires <= self.now:
                self._finish(item.reservation_id, "s", key)
                return
            self._count(item.reservation_id, Held("S", item.amount, item.month, key, expires))
        if item.offset is not None:
            self.offsets[month, item.reservation_id] = item.offset

    def show(self, events: list[tuple[str, int]], offset: int) -> None:
        """The stream writes the totals of every month up to an event's offset."""
        for month in MONTHS:
            amounts = [amount for at, (its, amount) in enumerate(events) if its == month and at <= offset]
            if amounts:
                self.shown[month] = Shown(sum(amounts), offset)

    def lose(self) -> None:
        """Everything of the guard's that is not the offsets of some month."""
        self.items.clear()
        self.keys.clear()
        self.seen = None
        self.base = ("", 0, 0)

    def _known(self, month: str) -> tuple[Shown, bool]:
        """The month's total, never less than was seen of it before; whether it is the stream's own."""
        seen = self.seen[1] if self.seen is not None and self.seen[0] == month else None
        shown = self.shown.get(month)
        if shown is not None and (seen is None or shown.offset >= seen.offset):
            if self.seen is None or month >= self.seen[0]:
                self.seen = (month, shown)
            return shown, True
        return seen or Shown(0, -1), False

    def _count(self, name: str, held: Held) -> None:
        self.items[name] = held
        if held.key != NO_KEY:
            self.keys[held.key] = name

    def _finish(self, name: str, how: str, key: str) -> None:
        self.items[name] = Held("D", 0, ANY_MONTH, key, self.now + DONE_US, how)

    def _sweep(self, month: str) -> None:
        self._sweep_to(month, self._known(month)[0].offset)

    def _sweep_to(self, month: str, offset: int) -> None:
        """End what has expired, and what the month's total has by now; forget what ended long ago."""
        for name, held in list(self.items.items()):
            if held.kind in "HS" and held.ends <= self.now:
                self._finish(name, "x" if held.kind == "H" else "s", held.key)
        for (its, name), at in list(self.offsets.items()):
            if its == month and at <= offset:
                del self.offsets[its, name]
                held = self.items.get(name)
                if held is not None and held.kind == "S" and held.month == month:
                    self._finish(name, "s", held.key)
        for name, held in list(self.items.items()):
            if held.kind == "D" and held.ends <= self.now:
                del self.items[name]
                if self.keys.get(held.key) == name:
                    del self.keys[held.key]
