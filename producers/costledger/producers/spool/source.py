"""One spool file at work: the file, the bookkeeping of its rows, and what the Kafka client says of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, Message

from costledger.producers.spool.book import DELETE_ROWS, RETRY_SECONDS, Book
from costledger.producers.spool.errors import SpoolUnavailable
from costledger.producers.spool.file import Row, SpoolFile
from costledger.schemas.fail_points import reach

#: Acknowledged rows are deleted together: when `DELETE_ROWS` wait, or after this time.
DELETE_INTERVAL_SECONDS: Final = 0.25
#: After an error of the file, it is not read, or not written, for so long: what one cannot do, the other often can.
PAUSE_SECONDS: Final = 1.0
#: What the broker, or the client for it, has against an event for its size or its content.
_REFUSALS: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
    }
)

Acknowledged = Callable[[Message], None]
Item = TypeVar("Item")


class Source:
    """A file whose rows go to Kafka. Callbacks only note what they are told; `settle` acts on it."""

    def __init__(self, file: SpoolFile, book: Book, rows: int, on_acknowledged: Acknowledged) -> None:
        self.file = file
        self.lock = file.lock
        self.book = book
        #: Rows that Kafka is not known to have, as they are counted.
        self.unacknowledged = rows
        #: Why nothing is written to the file or read from it any more.
        self.broken: SpoolUnavailable | None = None
        # Of this thread, for who holds the lock: more than none where a signal handler has interrupted one.
        self._writes = 0
        self._is_closing = False
        self._on_acknowledged = on_acknowledged
        self._acknowledged: deque[int] = deque()
        self._failed: deque[tuple[int, object]] = deque()
        self._deleted_at = 0.0
        self._reads_paused_until = 0.0
        self._deletes_paused_until = 0.0
        self._checkpoints_paused_until = 0.0

    def write(self, key: bytes, value: bytes, held_max: int) -> tuple[int, bool]:
        """Write an event, holding the lock: its row, and whether it is in flight now and to be sent by the caller."""
        book = self.book
        self._writes += 1
        try:
            row = book.reserve()
            self.file.insert(row, key, value)
            self.unacknowledged += 1
            return row, book.written(row, held_max)
        finally:
            self._writes -= 1
            if self._is_closing and not self._writes:
                self.close()

    def is_interrupted_here(self) -> bool:
        """Whether this thread is writing a row: then a signal handler asks."""
        if not self.lock.acquire(blocking=False):
            return False
        try:
            return self._writes > 0
        finally:
            self.lock.release()

    def is_done_with(self) -> bool:
        """Whether nothing waits to be sent, holding the lock, and no row is just being written."""
        return self.broken is None and self.unacknowledged == 0 and not self._writes

    def delivered(self, row: int, error: KafkaError | None, message: Message) -> None:
        """The delivery callback of a row."""
        if error is None:
            self._acknowledged.append(row)
            self._on_acknowledged(message)
        else:
            self._failed.append((row, error))

    def refused(self, row: int, error: Exception) -> None:
        """The client would not take a row."""
        self._failed.append((row, error))

    def settle(self, now: float) -> tuple[int, list[object], SpoolUnavailable | None]:
        """Note what callbacks have told since the last time: how many rows were acknowledged, why others failed, and
        where the file is broken, why: those others are lost then.

        What the client had no room for has not failed, and is not told; but no file is left that it could be read from
        again where that one is broken.
        """
        acknowledged = _drained(self._acknowledged)
        returned = _drained(self._failed)
        if not acknowledged and not returned:
            return 0, [], self.broken
        with self.lock:
            broken = self.broken
            failed = {row: error for row, error in returned if broken is not None or not isinstance(error, BufferError)}
            expired = [row for row, error in failed.items() if _expired(error)]
            known = self.book.acknowledge(acknowledged)
            # These have waited for the whole delivery timeout already.
            self.book.give_back(expired, now + RETRY_SECONDS)
            refused = [row for row, error in failed.items() if _refused(error)]
            self.book.park(refused, now)
            self.book.fail(failed.keys() - {*expired, *refused}, now)
            self.book.give_back([row for row, _ in returned if row not in failed], now)
            self.unacknowledged -= known if broken is None else known + len(failed)
        return known, list(failed.values()), broken

    def give_up(self, error: SpoolUnavailable) -> int:
        """Nothing more can be read from the file. The number of events that are lost by that: all but those in flight."""
        with self.lock:
            self.broken = error
            lost = self.unacknowledged - self.book.in_flight
            self.unacknowledged = self.book.in_flight
        return lost

    def idle(self) -> bool:
        """Whether all that is left of the file is parked."""
        return self.unacknowledged == self.book.parked and self.book.acknowledged == 0

    def finished(self) -> bool:
        """Whether nothing of the file is left to be sent or deleted."""
        return self.unacknowledged == 0 and self.book.acknowledged == 0

    def delete(self, now: float, *, at_once: bool = False) -> None:
        """Delete acknowledged rows, if enough of them wait or enough time has passed."""
        waiting = self.book.acknowledged
        if not waiting:
            return
        due = at_once or waiting >= DELETE_ROWS or now - self._deleted_at >= DELETE_INTERVAL_SECONDS
        if self.broken is not None:
            self.book.deleted()
        elif due and (at_once or now >= self._deletes_paused_until):
            with self.lock:
                self._deleted_at = now
                self._deletes_paused_until = now + PAUSE_SECONDS
                self.file.delete(self.book.deletable())
                reach("spool.after_delete")
                self.book.deleted()
                self._deletes_paused_until = 0.0

    def take(self, now: float, rows_max: int, unread_max: int) -> list[Row]:
        """Rows to be sent now, returned ones first; they are in flight. None for a while after it could not be read.

        Of the `rows_max` at most `unread_max` are unread ones: only these add to what the book holds.
        """
        if self.broken is not None or now < self._reads_paused_until:
            return []
        with self.lock:
            if self._writes:
                # A row that is on disk and not in the book yet would be sent twice.
                return []
            self._reads_paused_until = now + PAUSE_SECONDS
            due = self.book.due(now, rows_max)
            first, end = self.book.unread
            wanted = min(rows_max - len(due), unread_max)
            try:
                rows = self.file.read(due)
                unread = self.file.read_range(first, end, wanted) if wanted > 0 and first < end else []
            except BaseException:
                # The client gets none of them, whichever of the two failed.
                self.book.give_back(due, now)
                raise
            if wanted > 0 and first < end:
                self.book.read([row[0] for row in unread], unread[-1][0] + 1 if len(unread) == wanted else end)
                rows += unread
            self._reads_paused_until = 0.0
        return rows

    def give_back(self, rows: Sequence[Row], due: float) -> None:
        """These rows could not be sent for want of room."""
        with self.lock:
            if self.broken is None:
                self.book.give_back([row[0] for row in rows], due)
            else:
                # It broke after they had been read: `settle` tells of them.
                self._failed.extend((row[0], self.broken) for row in rows)

    def checkpoint(self, now: float) -> None:
        """Shorten the file's log where it is due."""
        if self.broken is None and now >= self._checkpoints_paused_until and self.file.checkpoint_due():
            self.file.sync_log()
            with self.lock:
                self._checkpoints_paused_until = now + PAUSE_SECONDS
                reach("spool.before_checkpoint")
                self.file.checkpoint()
                reach("spool.after_checkpoint")
                self._checkpoints_paused_until = 0.0

    def close(self) -> None:
        """Let the file go; an empty one is deleted. By the write that this thread has interrupted, if it has: at its end."""
        with self.lock:
            self._is_closing = True
            if self._writes or self.broken is not None:
                return
            if self.is_done_with():
                self.file.remove()
            else:
                self.file.close()


def _expired(error: object) -> bool:
    return isinstance(error, KafkaError) and error.code() == KafkaError._MSG_TIMED_OUT


def _refused(error: object) -> bool:
    """Whether Kafka will not have the event as it is, at this time; or others of its batch, which it does not tell."""
    if isinstance(error, KafkaException):
        error = error.args[0]
    return isinstance(error, KafkaError) and error.code() in _REFUSALS


def _drained(items: deque[Item]) -> list[Item]:
    """All that is in the queue now; other threads may add to it meanwhile."""
    return [items.popleft() for _ in range(len(items))]
