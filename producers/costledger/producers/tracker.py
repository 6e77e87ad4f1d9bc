"""`CostTracker`: what services import to say what their users' work costs.

It never blocks and never raises into its host (unless `strict`): an event that cannot be kept is counted as
dropped, logged at a bounded rate, and given to `on_error`. In the mode `memory`, events wait in memory until
Kafka has acknowledged them: a crash of the host loses those, and a full queue drops the newest. In the mode
`spool` they wait on the local disk; what cannot be written there goes on as in `memory`, loudly. In the mode
`outbox`, events are rows in the caller's own PostgreSQL transactions (see `using`), and nothing waits in the process.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID

from confluent_kafka import KafkaError, KafkaException, Message

from costledger.producers.channel import check_config, producer_config, use_registry_if_set
from costledger.producers.counters import Stats
from costledger.producers.errors import DELIVERY_FAILED
from costledger.producers.exits import forget, watch
from costledger.producers.fates import Fates, reason_of
from costledger.producers.listeners import Listener, Listeners
from costledger.producers.outbox.costs import ConnectionCosts, GatheredCosts
from costledger.producers.outbox.errors import ConnectionNeeded
from costledger.producers.outbox.statements import require_psycopg
from costledger.producers.prices.book import PriceBook
from costledger.producers.records import ChatDraft, Draft, build_chat_records, build_record
from costledger.producers.reporting import OnError
from costledger.producers.sender import Sender, SenderClosed
from costledger.producers.services import ServiceMethods
from costledger.producers.spool import Spool, spool_options
from costledger.schemas.codec import decode_event, encode_event
from costledger.schemas.events import CostEvent, EventRecord
from costledger.schemas.settings import load_settings

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

logger = logging.getLogger(__name__)

#: How long after its start a tracker that has sent nothing looks for what others have left.
_RESUME_SECONDS: Final = 1.0
#: How long `flush` serves callbacks at a time where events wait on disk, too.
_FLUSH_STEP_SECONDS: Final = 0.05


class CostTracker(ServiceMethods):
    """Publishes cost events. One per process is enough; safe to share between threads and asyncio tasks.

    All arguments default to the settings (`COSTLEDGER_*`). `source` is the name of the emitting service,
    `on_error` is called with an `EventDropped` for every event given up (from any thread, never holding a
    lock), `strict` raises instead for what is known at the call: for tests and tools, not for services.
    `SettingsError` or `PriceError` where the tracker cannot be set up at all.
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        source: str | None = None,
        durability: str | None = None,
        spool_dir: Path | str | None = None,
        queue_events_max: int | None = None,
        on_error: OnError | None = None,
        *,
        delivery_timeout_seconds: float | None = None,
        flush_timeout_seconds: float | None = None,
        linger_ms: int | None = None,
        price_book: PriceBook | None = None,
        topic: str | None = None,
        strict: bool = False,
    ) -> None:
        given = {
            "bootstrap_servers": bootstrap_servers,
            "source": source,
            "durability": durability,
            "spool_dir": spool_dir,
            "queue_events_max": queue_events_max,
            "delivery_timeout_seconds": delivery_timeout_seconds,
            "flush_timeout_seconds": flush_timeout_seconds,
            "linger_ms": linger_ms,
        }
        settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        self._config = producer_config(settings)
        self._outbox_alone = settings.durability == "outbox"
        if self._outbox_alone:
            require_psycopg()  # no producer is opened in this mode
        else:
            check_config(self._config)
        use_registry_if_set(settings)
        self._book = PriceBook.load(*settings.price_files) if price_book is None else price_book
        self._source = settings.source
        self._flush_timeout_seconds = settings.flush_timeout_seconds
        self._topic = settings.topics.events if topic is None else topic
        self._spool_options = spool_options(settings, self._topic)
        self._fates = Fates(on_error, strict=strict)
        self._listeners = Listeners()
        self._outbox_table = settings.outbox_table
        self._queue_events_max = settings.queue_events_max
        self._begin()
        watch(self)
        if self._spool is not None and self._spool.anything_left():
            # What a process that died has left is sent though nothing should ever be tracked here. Not at once: a
            # host that is about to fork should not do so while its client is connecting.
            resume = threading.Timer(_RESUME_SECONDS, self._resume)
            resume.daemon = True
            resume.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def price_book(self) -> PriceBook:
        """The prices that events are given."""
        return self._book

    @property
    def source(self) -> str:
        """The name of the emitting service."""
        return self._source

    @property
    def outbox_only(self) -> bool:
        """True in the mode `outbox`: an event needs a connection (see `using`), and the tracker itself sends none."""
        return self._outbox_alone

    def using(self, connection: Connection[Any]) -> ConnectionCosts:
        """The tracking methods, each of which writes a row of the outbox through a psycopg 3 connection.

        The row is committed or rolled back with the caller's transaction; `costledger outbox relay` brings it to
        Kafka. A write that fails leaves the transaction usable, and its event is dropped (`strict`: it raises, so
        that both stand or fall together). In every mode of durability; `stats` counts the rows as `spooled`.
        """
        return ConnectionCosts(self._fates, self._book, self._source, self._outbox_table, connection)

    def using_async(self, connection: AsyncConnection[Any]) -> GatheredCosts:
        """The same for asyncio: `async with tracker.using_async(connection) as costs:` *inside* the transaction.

        The methods only gather; the rows, at most `queue_events_max`, are written when the block ends, and not at
        all where it raises.
        """
        events_max = self._queue_events_max
        return GatheredCosts(self._fates, self._book, self._source, self._outbox_table, connection, events_max)

    def emit(self, event: CostEvent, wait_seconds: float = 0.0) -> UUID:
        """Publish an event that is complete, as importers make it.

        A full queue is waited for up to `wait_seconds` (0: never) before the event is dropped.
        """
        try:
            record = event.to_record()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the event, the host must live
            return self._fates.reject(error, None)
        return self._send(event.event_id, record, wait_seconds)

    def emit_record(self, record: EventRecord, wait_seconds: float = 0.0) -> UUID:
        """The same for an event's record (times in Unix microseconds, ids as text)."""
        try:
            event_id = UUID(record["event_id"])
        except Exception as error:  # noqa: BLE001 - as above
            return self._fates.reject(error, record)
        return self._send(event_id, record, wait_seconds)

    def reject(self, error: Exception) -> UUID:
        """Count, log and report what could be made no event at all; the adapters say so what they cannot read."""
        return self._fates.reject(error, None)

    def subscribe(self, listener: Listener) -> None:
        """Have `listener(event_id, partition, offset)` called when Kafka has acknowledged an event of this process.

        From the delivery thread, or from one that flushes: it should be quick. What it raises is logged.
        """
        self._listeners.add(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Call it no more; nothing where it was not subscribed."""
        self._listeners.remove(listener)

    def stats(self) -> Stats:
        """The counts at this moment, in events of this process; `tracked = acked + spooled + queued + dropped`."""
        return self._fates.counters.stats()

    def flush(self, timeout_seconds: float | None = None) -> int:
        """Wait until every event is acknowledged or given up; returns how many are not yet.

        Blocks for up to `timeout_seconds` (default: the setting `flush_timeout_seconds`): in asyncio, call it
        with `asyncio.to_thread`.
        """
        timeout = self._flush_timeout_seconds if timeout_seconds is None else max(0.0, timeout_seconds)
        deadline = time.monotonic() + timeout
        if self._spool is None or self._interrupts_itself():
            self._sender.flush(timeout)
        # The delivery thread may still be counting what it has taken out of the client's queue, or sending what
        # waits on disk.
        while self._fates.counters.waiting() and time.monotonic() < deadline and not self._interrupts_itself():
            self._turn()
            self._sender.flush(_FLUSH_STEP_SECONDS)
            self._sender.serve()
        return self._fates.counters.waiting()

    def close(self) -> None:
        """Flush within `flush_timeout_seconds`; what is queued after that is dropped and counted. Idempotent.

        What is spooled stays on disk, for the next process that uses the directory. Events tracked afterwards are
        dropped.
        """
        forget(self)
        self._fates.closed = True
        if self._spool is None:
            self._sender.close(self._flush_timeout_seconds)
        else:
            try:
                self.flush()
            finally:
                self._sender.close(0.0)
                self._spool.finish()

    def start_afresh(self) -> None:
        """In a forked child: begin without a producer and with counts at zero.

        What the parent had queued stays the parent's, and so do its locks, which may be held by threads that
        are not here.
        """
        self._sender.abandon()
        if self._spool is not None:
            self._spool.abandon()
        self._fates.start_afresh()
        self._begin()

    def _begin(self) -> None:
        options, fates = self._spool_options, self._fates
        self._spool = None
        if options is not None:
            # Listeners are the host's, and expect no thread that tracks.
            self._spool = Spool(
                options, fates.counters, fates.reporter, self._listeners.tell, lambda: not self._listeners
            )
        turn = None if self._spool is None else self._turn
        self._sender = Sender(self._config, self._topic, self._on_delivery, turn)

    def _resume(self) -> None:
        try:
            self._sender.start()
        except SenderClosed:
            pass
        except Exception:
            logger.exception("events that another process has left cannot be sent now")

    def _interrupts_itself(self) -> bool:
        """Whether this is a callback, or a signal handler, whose own thread has to go on before all can be accounted for."""
        return self._sender.within_callback or (self._spool is not None and self._spool.is_interrupted_here())

    def _turn(self) -> bool:
        return self._spool is not None and self._spool.turn(self._sender)

    def _track(self, draft: Draft) -> UUID:
        try:
            event_id, record = build_record(draft, self._book, self._source)
        except Exception as error:  # noqa: BLE001 - a wrong argument must not stop the host
            return self._fates.reject(error, None)
        return self._send(event_id, record)

    def _track_chat(self, draft: ChatDraft) -> list[UUID]:
        try:
            built = build_chat_records(draft, self._book, self._source)
        except Exception as error:  # noqa: BLE001 - as above
            return [self._fates.reject(error, None)]
        return [self._send(event_id, record) for event_id, record in built]

    def _send(self, event_id: UUID, record: EventRecord, wait_seconds: float = 0.0) -> UUID:
        try:
            value = encode_event(record)
            key = record["user_id"].encode()
        except Exception as error:  # noqa: BLE001 - as above
            return self._fates.reject(error, record, event_id)
        unpriced = record["amount"] is None
        if self._spool is not None and self._spool.put(key, value, self._sender, unpriced=unpriced):
            return event_id
        # Counted before it is sent: the acknowledgement may come at once.
        counters = self._fates.counters
        counters.track(unpriced)
        try:
            if self._outbox_alone:
                raise ConnectionNeeded
            self._sender.send(key, value, wait_seconds)
        except Exception as error:  # noqa: BLE001 - whatever the client raises, the host must live
            return self._fates.drop(event_id, reason_of(error), error, record)
        except BaseException:
            counters.drop()
            raise
        return event_id

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        try:
            self._account(error, message)
        except Exception:
            # It may run in a thread that tracks, and the host must live.
            logger.exception("a delivery callback failed")

    def _account(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._fates.counters.acknowledge()
            self._listeners.tell(message)
            return
        key, value = message.key(), message.value()
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            raise TypeError(f"a message without key or value came back: {message!r}")
        if self._spool is not None and self._spool.rescue(key, value):
            return
        record = decode_event(value)
        self._fates.drop(UUID(record["event_id"]), DELIVERY_FAILED, KafkaException(error), record, may_raise=False)
