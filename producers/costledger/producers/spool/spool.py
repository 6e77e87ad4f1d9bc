"""The mode `spool`: an event is on the local disk before it is sent, and stays there until Kafka has it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import RLock
from typing import Final, Protocol
from uuid import UUID

from costledger.producers.channel import OnDelivery
from costledger.producers.counters import Counters
from costledger.producers.errors import SPOOL_LOST, EventDropped
from costledger.producers.reporting import Reporter
from costledger.producers.sender import SenderClosed
from costledger.producers.spool.adoption import Adoption
from costledger.producers.spool.book import Book
from costledger.producers.spool.directory import others
from costledger.producers.spool.errors import SpoolCorrupt, SpoolUnavailable
from costledger.producers.spool.file import Row, SpoolFile
from costledger.producers.spool.options import SpoolOptions
from costledger.producers.spool.source import Acknowledged, Source
from costledger.schemas.fail_points import reach

#: `put` waits no longer than this for a thread that has the file.
_WAIT_SECONDS_MAX: Final = 0.5
#: After an event could not be spooled, others are not tried, or do not wait for a thread that has the file, for so long.
RETRY_SECONDS: Final = 1.0
#: Rows of one file that are sent in one go.
_FEED_ROWS_MAX: Final = 500
#: A thread that tracks serves callbacks after so many events.
_SERVE_EVENTS: Final = 64
#: How soon rows for which the client's queue has no room are tried again.
_ROOM_SECONDS: Final = 0.05
#: How often it is looked whether the file is still there.
_LOOK_SECONDS: Final = 1.0
_FINISH_SECONDS_MAX: Final = 2.0


class Sends(Protocol):
    """What the spool needs of the sender."""

    def send(self, key: bytes, value: bytes, wait_seconds: float = 0.0, on_delivery: OnDelivery | None = None) -> None:
        """Queue one message, with its own callback."""
        ...

    def serve_waiting(self) -> None:
        """Run the callbacks that wait."""
        ...


class Spool:
    """The spool files of one tracker in one process: its own, and those it has adopted.

    `put` is called from any thread, `turn` from the thread that serves the client's callbacks and from those that
    flush. Nothing here raises for what the file system or Kafka does.
    """

    def __init__(
        self,
        options: SpoolOptions,
        counters: Counters,
        reporter: Reporter,
        on_acknowledged: Acknowledged,
        may_serve: Callable[[], bool],
    ) -> None:
        """`may_serve`: whether callbacks may run in a thread that tracks."""
        self._options = options
        self._may_serve = may_serve
        self._counters = counters
        self._reporter = reporter
        self._on_acknowledged = on_acknowledged
        self._adoption = Adoption(options, counters, reporter, on_acknowledged)
        # Reentrant: a signal handler of the host may track or close while its thread is in here.
        self._lock = RLock()
        self._turn = RLock()
        # A handler that flushes must not begin a turn within another one of its thread. Changed with the lock held.
        self._is_turning = False
        self._own: Source | None = None
        self._sources: tuple[Source, ...] = ()
        self._direct_max = options.held_max
        self._unserved = 0
        self._retry_at = 0.0
        self._stalled_until = 0.0
        self._looked_at = 0.0
        self._closed = False

    def put(self, key: bytes, value: bytes, sender: Sends, *, unpriced: bool) -> bool:
        """Write an event to disk, count it and, unless others wait before it, send it.

        False where it cannot be written now: then nothing is counted but `unspooled`, and the event is the caller's.
        """
        own = self._own
        if own is None or self._retry_at:
            own = self._open()
            if own is None:
                return self._unspooled()
        lock = own.lock
        reach("spool.before_put")
        if not lock.acquire(False) and not self._wait_for(own):
            return self._unspooled()
        try:
            try:
                stalled_until = self._stalled_until
                if own is not self._own:
                    raise SpoolUnavailable(f"the spool {own.file.path} has just been closed")
                row, direct = own.write(key, value, self._direct_max)
                self._was_written(stalled_until)
                # Before anybody can read the row and have it acknowledged.
                self._counters.spool(unpriced)
            finally:
                lock.release()
        except SpoolUnavailable as error:
            self._pause(error)
            return self._unspooled()
        reach("spool.after_put")
        if direct:
            try:
                sender.send(key, value, 0.0, partial(own.delivered, row))
            except Exception as error:  # noqa: BLE001 - it is on disk: the next attempt is the feeder's
                own.refused(row, error)
            else:
                reach("spool.after_send")
                self._unserved += 1  # two threads may lose one of theirs: no harm
                if self._unserved >= _SERVE_EVENTS:
                    self._unserved = 0
                    if self._may_serve():
                        sender.serve_waiting()
        return True

    def rescue(self, key: bytes, value: bytes) -> bool:
        """Write a queued event to disk whose delivery has failed; whether that could be done."""
        own = self._open()
        if own is None:
            return False
        reach("spool.before_rescue")
        # A callback, perhaps in a thread that tracks: it waits no longer than that.
        if not own.lock.acquire(False) and not self._wait_for(own):
            return False
        try:
            try:
                stalled_until = self._stalled_until
                if own is not self._own:
                    return False
                # In flight at most 0 rows: it is read from disk later, since the client has just failed with it.
                own.write(key, value, 0)
                self._was_written(stalled_until)
                self._counters.rescue()
            finally:
                own.lock.release()
        except SpoolUnavailable as error:
            self._pause(error)
            return False
        reach("spool.after_rescue")
        return True

    def anything_left(self) -> bool:
        """Whether there are files that another process may have left."""
        try:
            return bool(others(self._options.directory))
        except OSError:
            return False

    def turn(self, sender: Sends) -> bool:
        """Act on what callbacks told, send what waits, look after the files; whether there is more to send at once.

        Does nothing while another thread is at it, or this one, which a signal handler has interrupted.
        """
        if not self._turn.acquire(blocking=False):
            return False
        try:
            if self._is_turning:
                return False
            self._is_turning = True
            try:
                now = time.monotonic()
                self._settle(now)
                more = self._feed(now, sender)
                self._look_after(now)
                return more
            finally:
                self._is_turning = False
        finally:
            self._turn.release()

    def is_interrupted_here(self) -> bool:
        """Whether this thread is within a turn or a write, so that a signal handler asks: what waits for it is in vain."""
        if self._turn.acquire(blocking=False):
            try:
                if self._is_turning:
                    return True
            finally:
                self._turn.release()
        own = self._own
        return own is not None and own.is_interrupted_here()

    def finish(self) -> None:
        """After the sender is closed: delete what was acknowledged, and let the files go with the rest in them."""
        taken = self._turn.acquire(timeout=0 if self.is_interrupted_here() else _FINISH_SECONDS_MAX)
        try:
            with self._lock:
                self._closed, self._own = True, None
            self._settle(time.monotonic(), at_once=True)
            for source in self._sources:
                source.close()
            self._sources = ()
        finally:
            if taken:
                self._turn.release()

    def abandon(self) -> None:
        """In a forked child: leave the parent's files alone for good."""
        for source in self._sources:
            source.file.abandon()

    def _open(self) -> Source | None:
        """The file to write to, made if need be; None where there can be none now."""
        with self._lock:
            if self._closed or time.monotonic() < self._retry_at:
                return None
            self._retry_at = 0.0
            if self._own is None:
                options = self._options
                try:
                    file = SpoolFile.create(options.directory, options.topic, options.bytes_max, options.synchronous)
                except SpoolUnavailable as error:
                    self._pause(error)
                    return None
                if self._closed:
                    # By a signal handler, meanwhile.
                    file.remove()
                    return None
                own = Source(file, Book(), 0, self._on_acknowledged)
                self._sources = (*self._sources, own)
                self._own = own
            return self._own

    def _wait_for(self, own: Source) -> bool:
        """Wait for the thread that has the file, unless another has just done so in vain; whether the lock is held now.

        The next write says whether the stall is over: a moment's stall costs the events of that moment.
        """
        if time.monotonic() < self._stalled_until:
            return False
        if own.lock.acquire(timeout=_WAIT_SECONDS_MAX):
            return True
        self._stalled_until = time.monotonic() + RETRY_SECONDS
        busy = f"the spool {own.file.path} was busy for {_WAIT_SECONDS_MAX:g} s"
        self._reporter.announce("unspooled", f"cost events wait in memory alone: {busy}")
        return False

    def _was_written(self, stalled_until: float) -> None:
        # Unless somebody has waited in vain for this very write: then the disk is slow, and others should not wait.
        if self._stalled_until == stalled_until:
            self._stalled_until = 0.0

    def _pause(self, error: SpoolUnavailable) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self._reporter.announce("unspooled", f"cost events wait in memory alone: {error}")
        own = self._own
        if own is not None and isinstance(error, SpoolCorrupt):
            self._retire(own, error)

    def _unspooled(self) -> bool:
        if not self._closed:
            self._counters.unspool()
        return False

    def _retire(self, source: Source, error: SpoolUnavailable) -> None:
        """Write no more to this file; the next event gets another one."""
        with self._lock, source.lock:
            if self._own is source:
                self._own = None
        if isinstance(error, SpoolCorrupt) and source.broken is None:
            lost = source.give_up(error)
            try:
                where = f"put aside as {source.file.put_aside()}"
            except SpoolUnavailable as failed:
                where = f"it cannot be put aside: {failed}"
            self._lose(lost, f"{error}; {where}")

    def _lose(self, events: int, explanation: str) -> None:
        self._counters.lose_spooled(events)
        self._reporter.report(EventDropped(UUID(int=0), SPOOL_LOST, f"{events} events: {explanation}", None))

    def _failed(self, source: Source, error: SpoolUnavailable) -> None:
        if isinstance(error, SpoolCorrupt):
            self._retire(source, error)
        else:
            self._reporter.announce("spool", f"tried again later: {error}")

    def _settle(self, now: float, *, at_once: bool = False) -> None:
        for source in self._sources:
            acknowledged, errors, broken = source.settle(now)
            if acknowledged:
                reach("spool.acknowledged")
                self._counters.acknowledge_spooled(acknowledged)
            if errors and broken is not None:
                self._lose(len(errors), f"{broken}; Kafka: {errors[-1]}")
            elif errors:
                kept = f"{len(errors)} cost events stay in the spool and are sent again later"
                if parked := sum(each.book.parked for each in self._sources):
                    kept += f", {parked} in all are parked as Kafka refuses them, and are tried rarely"
                self._reporter.announce("returned", f"{kept}; Kafka: {errors[-1]}")
            try:
                source.delete(now, at_once=at_once)
            except SpoolUnavailable as error:
                self._failed(source, error)
                self._make_room(source)

    def _make_room(self, source: Source) -> None:
        """A disk that is full refuses deletes, too: a file with nothing left to send is deleted as a whole."""
        with self._lock, source.lock:
            if source.is_done_with():
                self._own = None if self._own is source else self._own
                source.book.deleted()
            elif source.broken is None:
                # The log may begin anew, and then takes no more of the disk than it has.
                with suppress(SpoolUnavailable):
                    source.file.checkpoint()

    def _feed(self, now: float, sender: Sends) -> bool:
        """Send rows that wait on disk, as many as there is room for; whether there may be more."""
        more = False
        for source in self._sources:
            room = self._options.held_max - sum(each.book.held for each in self._sources)
            try:
                rows = source.take(now, _FEED_ROWS_MAX, max(0, room))
            except SpoolUnavailable as error:
                self._failed(source, error)
                continue
            if not self._send_all(source, rows, now, sender):
                return False
            if rows:
                reach("spool.after_feed")
            more |= len(rows) == _FEED_ROWS_MAX
        return more

    def _send_all(self, source: Source, rows: list[Row], now: float, sender: Sends) -> bool:
        """Send rows; False where the client has no room for all."""
        for number, (row, key, value) in enumerate(rows):
            try:
                sender.send(key, value, 0.0, partial(source.delivered, row))
            except (BufferError, SenderClosed):
                source.give_back(rows[number:], now + _ROOM_SECONDS)
                return False
            except Exception as error:  # noqa: BLE001 - whatever the client raises, the event stays on disk
                source.refused(row, error)
        return True

    def _look_after(self, now: float) -> None:
        """Logs that have become long, files that are worked off or gone, files that others have left."""
        for source in self._sources:
            try:
                source.checkpoint(now)
            except SpoolUnavailable as error:
                self._failed(source, error)
        own = self._own
        if own is not None and now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            if not own.file.in_place():
                gone = SpoolUnavailable(
                    f"the spool {own.file.path} was removed; its events are sent, but would not survive"
                )
                self._reporter.announce("removed", str(gone))
                self._retire(own, gone)
        for source in self._sources:
            if source is not self._own and source.finished():
                source.close()
                self._adoption.hasten()
                self._forget(source)
        busy = sum(not source.idle() for source in self._sources)
        adopted = self._adoption.adopt(now, busy, len(self._sources))
        if adopted:
            with self._lock:
                self._sources = (*adopted, *self._sources)
        others_held = sum(source.book.held for source in self._sources if source is not self._own)
        self._direct_max = max(1, self._options.held_max - others_held)

    def _forget(self, finished: Source) -> None:
        with self._lock:
            self._sources = tuple(source for source in self._sources if source is not finished)
