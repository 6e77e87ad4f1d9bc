"""The stream app without Kafka and Faust: topics and changelog as lists, workers that may die at any moment.

The pure parts are the real ones: `PartitionTotals`, the changelog's format and recovery, and the fences of its offsets.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

from costledger.schemas.alerts import CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.event_reading import Charge, Pricing, ReadEvent, Tail
from costledger.streams.domain.adding import add_events
from costledger.streams.domain.partition import PartitionTotals, order_of
from costledger.streams.domain.rules import Rules
from costledger.streams.domain.views import PeriodView
from costledger.streams.transport.acks import Fences
from costledger.streams.transport.table import RecoveredPartition, encode_change

Totals = dict[tuple[str, str], int]
Row = tuple[bytes, bytes | None, list[tuple[str, bytes]]]


class Place(NamedTuple):
    """Of an event: `timestamp` is the broker's clock in Unix milliseconds."""

    offset: int
    timestamp: int


class Places(NamedTuple):
    """Positions on the two topics, *next to read*."""

    event: int
    budget: int


class Appended(NamedTuple):
    """A record of `cost.events`; None where it can never be valid. Received at a whole millisecond, as brokers know no less."""

    record: dict[str, Any] | None
    received: int


class Setting(NamedTuple):
    """A record of `cost.budgets`; None deletes."""

    user: str
    budget: Budget | None
    received: int


@dataclass
class Written:
    """What one flush writes, on its way: alerts first, then the groups, then the places."""

    alerts: list[CostAlert]
    groups: list[list[Row]]
    places: Places
    views: list[tuple[PeriodView, Totals | None]]


@dataclass
class World:
    """One partition: what the brokers hold, and what Redis shows."""

    rules: Rules
    events: list[Appended] = field(default_factory=list)
    budgets: list[Setting] = field(default_factory=list)
    changelog: list[Any] = field(default_factory=list)
    committed: Places = field(default_factory=lambda: Places(0, 0))
    alerts: list[CostAlert] = field(default_factory=list)
    shown: dict[tuple[str, str, str], Totals] = field(default_factory=dict)

    def land_group(self, group: list[Row]) -> None:
        """One record batch of the changelog: all of it or nothing."""
        for key, value, headers in group:
            row = SimpleNamespace(
                topic="c", partition=0, offset=len(self.changelog), key=key, value=value, headers=headers
            )
            self.changelog.append(row)

    def land(
        self, written: Written, *, alerts: Collection[int] | None = None, groups: Collection[int] | None = None
    ) -> None:
        """What of a flush arrives, by number; None: all of it."""
        self.alerts += [one for number, one in enumerate(written.alerts) if alerts is None or number in alerts]
        for number, group in enumerate(written.groups):
            if groups is None or number in groups:
                self.land_group(group)

    def commit(self, written: Written) -> None:
        """The offsets arrive, and Redis is written."""
        self.committed = written.places
        self.show(written.views)

    def show(self, views: list[tuple[PeriodView, Totals | None]]) -> None:
        """Each view replaces what Redis has of its period."""
        for view, amounts in views:
            key = (view.user_id, str(view.kind), view.label)
            if amounts is None:
                self.shown.pop(key, None)
            else:
                self.shown[key] = amounts

    def compact(self) -> None:
        """Of each key the latest record is left; deletions stay, as they do for a day."""
        latest = {row.key: row for row in self.changelog}
        self.changelog = [row for row in self.changelog if latest[row.key] is row]


class Worker:
    """One owner of the partition, from its recovery on."""

    def __init__(self, world: World) -> None:
        self.world = world
        recovered = RecoveredPartition(order_of)
        recovered.apply(world.changelog)
        self.totals = PartitionTotals(world.rules)
        self.totals.restore(recovered.state())
        self._fences = Fences(world.committed.event, recovered.offsets())
        for key, offset, value in recovered.repairs():
            world.land_group([(key, *encode_change(offset, value))])
        self.places = world.committed
        self.under_way: Written | None = None
        world.show([copied(view) for views in self.totals.views() for view in views])
        self.read_budgets()

    def read_budgets(self) -> None:
        """Everything that the budgets topic has."""
        for offset in range(self.places.budget, len(self.world.budgets)):
            self.totals.apply_budget(*self.world.budgets[offset][:2], offset, self.world.budgets[offset].received)
        self.places = self.places._replace(budget=len(self.world.budgets))

    def read_events(self, count: int) -> None:
        """The next events, at most so many."""
        end = min(self.places.event + count, len(self.world.events))
        events = self.world.events[self.places.event : end]
        places = [Place(offset, event.received // 1000) for offset, event in enumerate(events, self.places.event)]
        add_events(self.totals, places, [None if event.record is None else read_of(event.record) for event in events])
        self.places = self.places._replace(event=end)

    def begin_flush(self) -> Written:
        """Hand over what has changed; what is read meanwhile belongs to the next flush."""
        flush = self.totals.flush()
        groups: list[list[Row]] = []
        if flush.alerts or flush.groups:
            self._fences.pass_by(flush.source_offset)
            for group in flush.groups:
                rows = [(key, *encode_change(self._fences.stored_offset(key), value)) for key, value in group]
                groups.append(rows)
        self.under_way = Written(flush.alerts, groups, self.places, [copied(view) for view in flush.views])
        return self.under_way


def read_of(record: dict[str, Any]) -> ReadEvent:
    """A record as the codec's short way gives it; totals look at neither quantity nor price."""
    charge = Charge(record["service"], record["operation"], "USAGE")
    tail = Tail("simulation", record["reverses_event_id"], {})
    return (
        *(record["event_id"], record["user_id"], charge, b"\x00", Pricing("unit", None, None)),
        *(record["amount"], record["occurred_at"], tail),
    )


def copied(view: PeriodView) -> tuple[PeriodView, Totals | None]:
    """A view with its totals as they are now."""
    return view, None if view.amounts is None else dict(view.amounts)
