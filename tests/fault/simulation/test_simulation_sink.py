"""Sinks, simulated: gaps, repeats, stale messages, rebalances, zombies and lost replies; every offset once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fault.simulation.profiles import TIMEOUT_SECONDS, Bounds, simulate
from tests.fault.simulation.sink_world import PARTITIONS, Away, ModelTable, Process, Slot, Table, reading

from costledger.sinks import batch, rows
from costledger.sinks.batch import Batch
from costledger.sinks.positions import Fenced

pytestmark = [pytest.mark.fault, pytest.mark.timeout(TIMEOUT_SECONDS)]

SINKS = 3
EVENTS_MAX = 400
KINDS = ("good", "good", "good", "good", "repeat", "bad", "conflict", "gap", "later")

NUMBERS = st.integers(0, SINKS - 1)
PLACES = st.integers(0, PARTITIONS - 1)
FATES = st.sampled_from(["done", "done", "lost", "failed"])
OWNERS = st.lists(NUMBERS, min_size=PARTITIONS, max_size=PARTITIONS)
#: How far from its place a client goes on after an assignment or a pause, by partition; 0 mostly.
STRAYS = st.lists(st.sampled_from([0, 0, 0, -3, -1, 1, 2, 7]), min_size=PARTITIONS, max_size=PARTITIONS)


class SinkMachine(RuleBasedStateMachine):
    """Three sinks of one group on a topic of three partitions."""

    is_registry_away = False

    @staticmethod
    def make_table() -> Table:
        """Where the sinks write."""
        return ModelTable()

    @initialize(is_away=st.booleans())
    def begin(self, is_away: bool) -> None:
        self.table = self.make_table()
        self.topic: list[list[Slot]] = [[] for _ in range(PARTITIONS)]
        self.sinks = [Process(self.table, self.topic) for _ in range(SINKS)]
        self.owners: list[int | None] = [None] * PARTITIONS
        #: Batches of processes that died: a server may yet execute what it had been sent.
        self.late: list[Batch] = []
        self.made = 0
        # Met at once: by chance alone hardly any run has such a message before a reader while the registry is away.
        SinkMachine.is_registry_away = is_away
        for partition in range(PARTITIONS):
            self.produce(partition, ["good", "gap", "good", "later", "bad", "repeat", "good"] * 3, 1)
        # One of them has two, so that a batch may have messages of a partition that stays and of one that goes.
        self.rebalance([partition // 2 for partition in range(PARTITIONS)], [0] * PARTITIONS, ["done"] * SINKS)

    # --- the topic

    @rule(partition=PLACES, kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=12), back=st.integers(0, 30))
    def produce(self, partition: int, kinds: list[str], back: int) -> None:
        for kind in kinds:
            event = None
            if kind == "good" and self.made < EVENTS_MAX:
                event, self.made = self.table.first_event + self.made, self.made + 1
            elif kind in ("repeat", "conflict") and self.made:
                event = self.table.first_event + max(0, self.made - 1 - back)
            if kind == "repeat" or (kind in ("good", "conflict") and event is None):
                kind = "good" if event is not None else "gap"  # noqa: PLW2901 - what it comes to
            self.topic[partition].append(Slot(event, kind))

    @rule(is_away=st.booleans())
    def the_registry(self, is_away: bool) -> None:
        SinkMachine.is_registry_away = is_away

    # --- the sinks

    @rule(number=NUMBERS, count=st.integers(1, 15))
    def deliver(self, number: int, count: int) -> None:
        if not self.sinks[number].is_asleep:
            for partition in range(PARTITIONS):
                self.sinks[number].deliver(partition, count)

    @rule(number=NUMBERS)
    def seek_and_look_for_ends(self, number: int) -> None:
        if not self.sinks[number].is_asleep:
            self.sinks[number].seek()
            for partition in range(PARTITIONS):
                self.sinks[number].reach_end(partition)

    @rule(number=NUMBERS, fate=FATES)
    def write(self, number: int, fate: str) -> None:
        """A sleeping process writes as well: its statement was on its way, or it has just woken up."""
        self._write(number, fate)

    @rule(number=NUMBERS, strays=STRAYS)
    def pause_and_resume(self, number: int, strays: list[int]) -> None:
        """The client drops what it had fetched, and may go on at another place."""
        sink = self.sinks[number]
        if not sink.is_asleep:
            sink.gatherer.doubt()
            self._stray(sink, sink.gatherer.positions(), strays)
            self.deliver(number, 2)

    # --- harm

    @rule(owners=OWNERS, strays=STRAYS, fates=st.lists(FATES, min_size=SINKS, max_size=SINKS))
    def rebalance(self, owners: Sequence[int | None], strays: list[int], fates: list[str]) -> None:
        """Who is awake writes what it has, if it can, before it gives up its partitions; who is not is not asked."""
        for number, sink in enumerate(self.sinks):
            gone = {one for one in range(PARTITIONS) if self.owners[one] == number != owners[one]}
            if gone and not sink.is_asleep:
                for _ in range(3):
                    self._write(number, fates[number])
                self.sinks[number].let_go(gone)
        for number in range(SINKS):
            taken = [one for one in range(PARTITIONS) if owners[one] == number != self.owners[one]]
            sink = self.sinks[number]
            if sink.is_asleep:
                for partition in taken:
                    self.owners[partition] = None
            elif taken:
                sink.assign(taken)
                for partition in taken:
                    self.owners[partition] = number
                positions = sink.gatherer.positions()
                self._stray(sink, {one: positions[one] for one in taken}, strays)

    @rule(number=NUMBERS, other=NUMBERS, place=PLACES)
    def take_one_over_while_nothing_can_be_written(self, number: int, other: int, place: int) -> None:
        """A batch has messages of a partition that stays and of one that goes."""
        owned = self._owned(number)
        if other != number and len(owned) > 1 and not (self.sinks[number].is_asleep or self.sinks[other].is_asleep):
            self.deliver(number, 3)
            owners = list(self.owners)
            owners[owned[place % len(owned)]] = other
            self.rebalance(owners, [0] * PARTITIONS, ["failed"] * SINKS)
            self._write(number, "done")

    @rule(number=NUMBERS, is_late=st.booleans())
    def kill(self, number: int, is_late: bool) -> None:
        """What it was writing is lost, or arrives later."""
        if is_late and (batch := self.sinks[number].writing) is not None:
            self.late.append(batch)
        self._restart(number)

    @precondition(lambda self: self.late)
    @rule()
    def a_late_write_arrives(self) -> None:
        with suppress(Fenced, Away):
            self.table.write(self.late.pop(0), "done")

    @rule(number=NUMBERS)
    def suspend(self, number: int) -> None:
        """Its partitions are another's at the next rebalance."""
        self.sinks[number].is_asleep = True
        self.owners = [None if owner == number else owner for owner in self.owners]

    @precondition(lambda self: any(sink.is_asleep for sink in self.sinks))
    @rule(number=NUMBERS, is_told=st.booleans())
    def wake(self, number: int, is_told: bool) -> None:
        """Told that it has lost everything, or writing first."""
        sink = self.sinks[number]
        if sink.is_asleep:
            if not is_told:
                self._write(number, "done")
            sink = self.sinks[number]
            sink.is_asleep = False
            sink.let_go(set(range(PARTITIONS)))

    # --- what must be true

    @invariant()
    def every_offset_is_accounted_for_once(self) -> None:
        if hasattr(self, "table"):
            self.check()

    def check(self) -> None:
        """Counters, entries and quarantine against the topic up to the positions."""
        entries, aside = self.table.entries(), self.table.quarantined()
        held: Counter[int] = Counter()
        for partition, slots in enumerate(self.topic):
            counts = self.table.counters().get(partition, Counter())
            read = slots[: counts["consumed"]]
            assert len(read) == counts["consumed"]
            named = ("inserted", "duplicates", "quarantined", "skipped")
            assert counts["consumed"] == sum(counts[name] for name in named), counts
            assert counts["skipped"] == sum(slot.kind == "gap" for slot in read)
            for offset, slot in enumerate(slots):
                place = (partition, offset)
                assert entries[place] + aside[place] <= (offset < len(read))
                if offset < len(read) and slot.kind in ("bad", "later"):
                    assert aside[place] == 1
                if entries[place] and slot.event is not None:
                    held[slot.event] += 1
            places = Counter({name: counts[name] for name in ("inserted", "quarantined")})
            assert sum(count for (one, _), count in entries.items() if one == partition) == places["inserted"]
            assert sum(count for (one, _), count in aside.items() if one == partition) == places["quarantined"]
        assert set(held.values()) <= {1}
        read_events = {
            slot.event
            for partition, slots in enumerate(self.topic)
            for slot in slots[: self.table.counters().get(partition, Counter())["consumed"]]
            if slot.event is not None
        }
        assert set(held) == read_events

    def teardown(self) -> None:
        """In peace, everything is read."""
        if not hasattr(self, "table"):
            return
        SinkMachine.is_registry_away = False
        for number in range(SINKS):
            self.wake_up(number)
        self.rebalance([number % SINKS for number in range(PARTITIONS)], [0] * PARTITIONS, ["done"] * SINKS)
        longest = max(len(slots) for slots in self.topic)
        for _ in range(2 * longest + 4):
            for number, sink in enumerate(list(self.sinks)):
                for partition in range(PARTITIONS):
                    sink.seek()
                    sink.deliver(partition, longest)
                    sink.reach_end(partition)
                self._write(number, "done")
            if all(self._consumed(partition) == len(slots) for partition, slots in enumerate(self.topic)):
                break
        self.check()
        assert [self._consumed(partition) for partition in range(PARTITIONS)] == [len(slots) for slots in self.topic]

    def wake_up(self, number: int) -> None:
        """Wake a process that sleeps; it is told."""
        if self.sinks[number].is_asleep:
            self.sinks[number].is_asleep = False
            self.sinks[number].let_go(set(range(PARTITIONS)))

    # --- how it is done

    def _consumed(self, partition: int) -> int:
        return self.table.counters().get(partition, Counter())["consumed"]

    def _write(self, number: int, fate: str) -> None:
        sink = self.sinks[number]
        if not sink.write(fate):
            assert sink.is_asleep or not self._owned(number), "an owner was fenced"
            self._restart(number)

    def _owned(self, number: int) -> list[int]:
        return [partition for partition, owner in enumerate(self.owners) if owner == number]

    def _restart(self, number: int) -> None:
        self.sinks[number] = Process(self.table, self.topic)
        self.owners = [None if owner == number else owner for owner in self.owners]

    def _stray(self, sink: Process, positions: dict[int, int], strays: list[int]) -> None:
        for partition, position in positions.items():
            sink.reads_on[partition] = min(max(0, position + strays[partition]), len(self.topic[partition]))


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema registry that is away while the machine says so."""
    reader = reading(lambda: SinkMachine.is_registry_away)
    for module in (batch, rows, *filter(None, [sys.modules.get("costledger.sinks._rows")])):
        monkeypatch.setattr(module, "read_event", reader)


def test_sinks_account_for_every_offset_once(seed: int) -> None:
    """Inserted, duplicate, quarantined and skipped are what was consumed, whoever wrote it and how often."""
    simulate(SinkMachine, seed, quick=Bounds(150, 50), full=Bounds(1200, 80))
