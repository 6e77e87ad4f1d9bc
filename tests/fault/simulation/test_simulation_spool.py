"""The spool, simulated: acknowledgements in any order, failures, full disks, deaths at any byte; nothing is lost."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from threading import Event

import pytest
from confluent_kafka import KafkaError
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.fault.simulation.profiles import TIMEOUT_SECONDS, Bounds, simulate
from tests.fault.simulation.spool_world import CLIENT_MESSAGES_MAX, Process, Surroundings, disk_of, events_of

from costledger.producers.spool import directory, spool
from costledger.producers.spool.file import SpoolFile

pytestmark = [pytest.mark.fault, pytest.mark.timeout(TIMEOUT_SECONDS)]

PROCESSES = 2
ROUNDS_MAX = 400

NUMBERS = st.integers(0, PROCESSES - 1)
PICKS = st.sets(st.integers(0, CLIENT_MESSAGES_MAX - 1))
CODES = st.sampled_from([KafkaError._MSG_TIMED_OUT, KafkaError._PURGE_QUEUE, KafkaError.MSG_SIZE_TOO_LARGE])


class SpoolMachine(RuleBasedStateMachine):
    """Two processes that share a directory."""

    #: Of the run that is going on, for what stands in for disk and clocks.
    outside: Surroundings
    parent: Path

    @initialize()
    def begin(self) -> None:
        made = Path(mkdtemp(dir=SpoolMachine.parent))
        self.outside = SpoolMachine.outside = Surroundings(made)
        spool.time = directory.time = self.outside.time_module()
        self.processes = [Process(self.outside) for _ in range(PROCESSES)]
        self.made = 0

    # --- what happens

    @rule(number=NUMBERS, count=st.one_of(st.integers(1, 8), st.integers(1, 60)))
    def track(self, number: int, count: int) -> None:
        for _ in range(count):
            self.made += 1
            self.processes[number].track(self.made)

    @rule(number=NUMBERS)
    def turn(self, number: int) -> None:
        self.processes[number].turn()

    @rule(number=NUMBERS, rounds=st.integers(1, 6))
    def serve(self, number: int, rounds: int) -> None:
        """Without it rows are deleted almost only at the very end, when nobody dies any more."""
        self.processes[number].serve(rounds)

    @rule(number=NUMBERS, picks=PICKS)
    def acknowledge(self, number: int, picks: set[int]) -> None:
        self.processes[number].client.answer(picks, None, is_stored=True)

    @rule(number=NUMBERS, picks=PICKS, code=CODES, is_stored=st.booleans())
    def fail(self, number: int, picks: set[int], code: int, is_stored: bool) -> None:
        """A message that timed out may have been stored, and one that was refused was not."""
        is_stored &= code != KafkaError.MSG_SIZE_TOO_LARGE
        self.processes[number].client.answer(picks, code, is_stored=is_stored)

    @rule(seconds=st.one_of(st.floats(0.01, 2), st.floats(1, 700)))
    def time_passes(self, seconds: float) -> None:
        self.outside.now += seconds

    @rule(seconds=st.integers(-86_400, 86_400))
    def the_wall_clock_jumps(self, seconds: int) -> None:
        self.outside.wall_ns += seconds * 10**9

    @rule(is_full=st.booleans())
    def the_disk(self, is_full: bool) -> None:
        self.outside.is_full = is_full

    @rule(number=NUMBERS, stored=PICKS)
    def die(self, number: int, stored: set[int]) -> None:
        self.processes[number].die(stored)
        self.processes[number] = Process(self.outside)

    @rule(number=NUMBERS, stored=PICKS, cut=st.floats(0, 1))
    def die_within_a_write(self, number: int, stored: set[int], cut: float) -> None:
        """`put` has not returned: the event may be there or not, and nothing else is harmed."""
        process = self.processes[number]
        self.made += 1
        process.track(self.made)
        self.outside.excused.add(self.made)
        process.die(stored, cut)
        self.processes[number] = Process(self.outside)

    @rule(number=NUMBERS)
    def close(self, number: int) -> None:
        self.processes[number].close()
        self.processes[number] = Process(self.outside)

    # --- what must be true

    @invariant()
    def counts_add_up(self) -> None:
        """tracked = acked + spooled + queued + dropped, none of them negative."""
        for process in getattr(self, "processes", ()):
            stats = process.counters.stats()
            parts = [stats["acked"], stats["spooled"], stats["queued"], stats["dropped"]]
            assert stats["tracked"] == sum(parts), stats
            assert min(parts) >= 0, stats
            in_memory = sum(each.is_in_memory for each in process.client.waiting)
            assert stats["queued"] == in_memory

    @invariant()
    def nothing_is_sent_again_without_need(self) -> None:
        outside = getattr(self, "outside", None)
        if outside is not None:
            again = {event for event, count in outside.broker.items() if count > 1}
            assert again <= outside.repeatable

    @invariant()
    def files_have_what_is_not_known_to_be_acknowledged(self) -> None:
        """And beside that only rows that wait to be deleted: not one more or less goes with them."""
        for process in getattr(self, "processes", ()):
            for source in process.readable():
                events = events_of(source)
                acknowledged = sum(event in process.client.acknowledged for event in events)
                assert acknowledged == source.book.acknowledged + len(source._acknowledged)
                assert len(events) - acknowledged == source.unacknowledged - len(source._acknowledged)

    def teardown(self) -> None:
        """In peace, everything arrives that was not told as dropped."""
        if not hasattr(self, "processes"):
            return
        self.outside.is_full = False
        for _ in range(ROUNDS_MAX):
            self.outside.now += 40.0
            for process in self.processes:
                process.turn()
                process.client.answer(range(CLIENT_MESSAGES_MAX), None, is_stored=True)
                process.turn()
            self.files_have_what_is_not_known_to_be_acknowledged()
            if not any(process.counters.waiting() for process in self.processes) and not self._files():
                break
        self.counts_add_up()
        assert [process.counters.waiting() for process in self.processes] == [0] * PROCESSES
        missing = self.outside.tracked - set(self.outside.broker)
        assert missing <= self.outside.excused
        for process in self.processes:
            process.close()
        assert self._files() == []

    def _files(self) -> list[str]:
        """What others would find; the file that a process writes to is there as long as it is."""
        own = {process.spool._own.file.path for process in self.processes if process.spool._own is not None}
        found = self.outside.directory.iterdir() if self.outside.directory.exists() else ()
        return sorted(path.name for path in found if path not in own and not path.name.endswith("-wal"))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Clocks and a disk of the simulation's own; what the spool says of them is not looked at."""
    caplog.set_level(logging.CRITICAL + 1, "costledger.producers")
    SpoolMachine.parent = tmp_path
    monkeypatch.setattr(spool, "time", spool.time)
    monkeypatch.setattr(directory, "time", directory.time)
    for name in ("insert", "delete"):
        monkeypatch.setattr(SpoolFile, name, disk_of(lambda: SpoolMachine.outside, name))


def test_the_spool_loses_nothing(seed: int) -> None:
    """What was spooled arrives, under its own id, whoever dies and whenever; and once, where nobody died."""
    simulate(SpoolMachine, seed, quick=Bounds(40, 40), full=Bounds(300, 60))


def test_an_event_that_failed_is_written_once_a_stalled_file_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One rescue waits in vain for whoever has the file, the next one does not wait; the first one after that is written."""
    monkeypatch.setattr(spool, "_WAIT_SECONDS_MAX", 0.05)
    outside = SpoolMachine.outside = Surroundings(tmp_path)
    spool.time = outside.time_module()
    process = Process(outside)
    process.track(1)
    inner, held, may_go = process.spool, Event(), Event()
    own = inner._own
    assert own is not None

    def hold() -> None:
        with own.lock:
            held.set()
            assert may_go.wait(TIMEOUT_SECONDS)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert held.wait(TIMEOUT_SECONDS)
        for event in (2, 3, 4):
            process.track(event)
        assert [each.event for each in process.client.waiting if each.is_in_memory] == [2, 3, 4]
        process.client.answer({1}, KafkaError._MSG_TIMED_OUT, is_stored=False)
        may_go.set()
        holding.result()
    process.client.answer({1}, KafkaError._MSG_TIMED_OUT, is_stored=False)
    assert outside.excused == {2}
    assert inner._stalled_until == 0
    process.track(5)
    process.serve(6)
    assert dict(outside.broker) == {1: 1, 3: 1, 4: 1, 5: 1}
    stats = process.counters.stats()
    assert (stats["unspooled"], stats["dropped"], stats["acked"]) == (3, 1, 4)
    process.close()
