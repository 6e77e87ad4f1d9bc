"""Trackers in the mode `spool` without Kafka: real files, a client that answers when it is told to, processes that die.

All processes live in this one; the death of one leaves its files byte for byte as they were at that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from confluent_kafka import KafkaError

from costledger.producers.counters import Counters
from costledger.producers.reporting import Reporter
from costledger.producers.sender import SenderClosed
from costledger.producers.spool import Spool, SpoolOptions
from costledger.producers.spool.errors import SpoolFull
from costledger.producers.spool.file import SpoolFile
from costledger.producers.spool.source import Source

CLIENT_MESSAGES_MAX = 8
HELD_MAX = 6
#: Enough for some hundred events: a file may reach its bound as well.
BYTES_MAX = 64 * 1024
#: More than a file of `BYTES_MAX` can have.
FILE_ROWS_MAX = 2000
#: A process dies here, never the machine: nothing needs to wait for the disk.
UNSYNCED: Any = "off"

Callback = Callable[[Any, Any], None]


@dataclass
class Surroundings:
    """What is outside of the processes: clocks, the disk, and what the broker has, by event."""

    directory: Path
    now: float = 1000.0
    wall_ns: int = 1_795_000_000 * 10**9
    is_full: bool = False
    broker: Counter[int] = field(default_factory=Counter)
    tracked: set[int] = field(default_factory=set)
    #: Events that may be missing: told as dropped, or in the memory alone of a process that died.
    excused: set[int] = field(default_factory=set)
    #: Events that may be on the broker more than once: it had them, and the process did not get to know it or note it.
    repeatable: set[int] = field(default_factory=set)

    def time_module(self) -> SimpleNamespace:
        """In place of `time`."""
        return SimpleNamespace(monotonic=lambda: self.now, time_ns=lambda: self.wall_ns)


def key_of(event: int) -> bytes:
    """The key of an event."""
    return b"user-%d" % (event % 7)


def value_of(event: int) -> bytes:
    """The payload of an event: as long as one, and its own."""
    return b"%08d" % event + b"." * 150


@dataclass
class Waiting:
    """A message that the client has."""

    event: int
    callback: Callback
    is_in_memory: bool


class Client:
    """A producer's queue. Every message gets one callback, when the simulation says so."""

    def __init__(self, outside: Surroundings, on_delivery: Callback) -> None:
        self._outside = outside
        self._on_delivery = on_delivery
        self.waiting: list[Waiting] = []
        #: Events from a file that the process was told are on the broker.
        self.acknowledged: set[int] = set()
        self.is_closed = False

    def send(self, key: bytes, value: bytes, _wait: float = 0.0, on_delivery: Callback | None = None) -> None:
        """Queue a message, which must be an event that was tracked, as it was."""
        event = int(value[:8])
        assert event in self._outside.tracked
        assert (key, value) == (key_of(event), value_of(event))
        if self.is_closed:
            raise SenderClosed
        if len(self.waiting) >= CLIENT_MESSAGES_MAX:
            raise BufferError("queue full")
        self.waiting.append(Waiting(event, on_delivery or self._on_delivery, on_delivery is None))

    def serve_waiting(self) -> None:
        """Callbacks come when a rule has them come."""

    def answer(self, numbers: Collection[int], code: int | None, *, is_stored: bool) -> None:
        """Call back for some of the messages: acknowledged (no code), or failed, though the broker may have stored it."""
        chosen = [each for number, each in enumerate(self.waiting) if number in numbers]
        self.waiting = [each for number, each in enumerate(self.waiting) if number not in numbers]
        for each in chosen:
            if code is None or is_stored:
                self._outside.broker[each.event] += 1
            if code is not None and is_stored:
                self._outside.repeatable.add(each.event)
            if code is None and not each.is_in_memory:
                self.acknowledged.add(each.event)
            key, value = key_of(each.event), value_of(each.event)
            message = SimpleNamespace(key=lambda key=key: key, value=lambda value=value: value)
            each.callback(None if code is None else KafkaError(code), message)


def events_of(source: Source) -> list[int]:
    """The events that are in a file, by its rows."""
    rows = [] if source.broken is not None else source.file.read_range(0, 2**62, FILE_ROWS_MAX)
    assert len(rows) < FILE_ROWS_MAX
    return [int(value[:8]) for _, _, value in rows]


class Process:
    """A tracker: what `CostTracker` does with an event in the mode `spool`."""

    def __init__(self, outside: Surroundings) -> None:
        self.outside = outside
        self.counters = Counters()
        options = SpoolOptions(outside.directory, "t", BYTES_MAX, UNSYNCED, HELD_MAX)
        self.spool = Spool(options, self.counters, Reporter(None), lambda _message: None, lambda: True)
        self.client = Client(outside, self._on_delivery)
        self.log_bytes = (0, 0)

    def track(self, event: int) -> None:
        """Spool and send; in memory where it cannot be spooled, dropped where there is no room for it either."""
        self.outside.tracked.add(event)
        before = self._log_bytes()
        is_spooled = self.spool.put(key_of(event), value_of(event), self.client, unpriced=False)
        self.log_bytes = (before, self._log_bytes())
        if is_spooled:
            return
        self.counters.track(unpriced=False)
        try:
            self.client.send(key_of(event), value_of(event))
        except (BufferError, SenderClosed):
            self._drop(event)

    def turn(self) -> None:
        """What the serving thread does."""
        self.spool.turn(self.client)

    def serve(self, rounds: int) -> None:
        """Some seconds in which nothing goes wrong: what is sent is acknowledged, and deleted."""
        for _ in range(rounds):
            self.outside.now += 1.0
            self.turn()
            self.client.answer(range(CLIENT_MESSAGES_MAX), None, is_stored=True)

    def readable(self) -> list[Source]:
        """The files at work, without those that are to be deleted as a whole."""
        own, sources = self.spool._own, self.spool._sources
        return [one for one in sources if one.broken is None and (one is own or not one.finished())]

    def close(self) -> None:
        """In good order: what the client still has is purged and stays on disk."""
        self.turn()
        self.client.is_closed = True
        self.client.answer(range(len(self.client.waiting)), KafkaError._PURGE_QUEUE, is_stored=False)
        if self.outside.is_full:
            # What was acknowledged cannot be deleted now: who finds the file sends it again.
            self._may_repeat()
        self.spool.finish()

    def die(self, stored: Collection[int], cut: float | None = None) -> None:
        """As by SIGKILL. Of what the client had, the broker gets `stored`; `cut` is the share of the last write to the
        log that was not done any more: then its event is nobody's yet."""
        for number, each in enumerate(self.client.waiting):
            if each.is_in_memory:
                self.outside.excused.add(each.event)
            if number in stored:
                self.outside.broker[each.event] += 1
        self._may_repeat()
        left = []
        for source in self.spool._sources:
            log = source.file._wal_path
            left += [(path, path.read_bytes()) for path in (source.file.path, log) if path.exists()]
            source.file.close()
        before, after = self.log_bytes
        for path, content in left:
            is_cut = cut is not None and path == self._own_log() and 0 < before < after
            path.write_bytes(content[: after - int(cut * (after - before))] if is_cut else content)

    def _may_repeat(self) -> None:
        # Acknowledged, and not deleted yet; or on its way: what is gone from the files is not sent again by anybody.
        for source in self.spool._sources:
            self.outside.repeatable |= set(events_of(source))

    def _own_log(self) -> Path | None:
        return None if self.spool._own is None else self.spool._own.file._wal_path

    def _log_bytes(self) -> int:
        path = self._own_log()
        return path.stat().st_size if path is not None and path.exists() else 0

    def _on_delivery(self, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self.counters.acknowledge()
        elif not self.spool.rescue(message.key(), message.value()):
            self._drop(int(message.value()[:8]))

    def _drop(self, event: int) -> None:
        self.counters.drop()
        self.outside.excused.add(event)


def disk_of(outside: Callable[[], Surroundings], name: str) -> Callable[..., Any]:
    """A method of `SpoolFile` on a disk that is full at times."""
    method = getattr(SpoolFile, name)

    def on_disk(self: SpoolFile, *given: Any) -> Any:
        if outside().is_full:
            raise SpoolFull(f"the spool {self.path}: database or disk is full")
        return method(self, *given)

    return on_disk
