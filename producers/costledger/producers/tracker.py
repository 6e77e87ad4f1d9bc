"""`CostTracker`: what services import to say what their users' work costs.

It never blocks and never raises into its host (unless `strict`): an event that cannot be kept is counted as
dropped, logged at a bounded rate, and given to `on_error`. In the mode `memory`, events wait in memory until
Kafka has acknowledged them: a crash of the host loses those, and a full queue drops the newest. In the mode
`spool` they wait on the local disk; what cannot be written there goes on as in `memory`, loudly.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from confluent_kafka import KafkaError, KafkaException, Message

from costledger.producers.channel import check_config, producer_config
from costledger.producers.counters import Counters, Stats
from costledger.producers.errors import CLOSED, DELIVERY_FAILED, INVALID, QUEUE_FULL, EventDropped, Reason
from costledger.producers.exits import forget, watch
from costledger.producers.prices.book import PriceBook
from costledger.producers.records import (
    ChatDraft,
    Draft,
    Exact,
    Metadata,
    Quantity,
    build_chat_records,
    build_record,
    caller_clock_us,
)
from costledger.producers.reporting import OnError, Reporter
from costledger.producers.sender import Sender, SenderClosed
from costledger.producers.services import ServiceMethods
from costledger.producers.spool import Spool, spool_options
from costledger.schemas.codec import decode_event, encode_event
from costledger.schemas.errors import SettingsError, Unavailable, UnknownSchema
from costledger.schemas.events import Category, CostEvent, EventRecord
from costledger.schemas.ids import new_event_id
from costledger.schemas.registry import use_registry
from costledger.schemas.settings import Settings, load_settings

logger = logging.getLogger(__name__)

#: How long after its start a tracker that has sent nothing looks for what others have left.
_RESUME_SECONDS: Final = 1.0
#: How long `flush` serves callbacks at a time where events wait on disk, too.
_FLUSH_STEP_SECONDS: Final = 0.05

#: Called with an event's id, partition and offset once Kafka has acknowledged it.
Listener = Callable[[UUID, int, int], None]


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
        _refuse_unavailable(settings)
        self._config = producer_config(settings)
        check_config(self._config)
        _use_registry(settings)
        self._book = PriceBook.load(*settings.price_files) if price_book is None else price_book
        self._source = settings.source
        self._flush_timeout_seconds = settings.flush_timeout_seconds
        self._topic = settings.topics.events if topic is None else topic
        self._spool_options = spool_options(settings, self._topic)
        self._strict = strict
        self._on_error = on_error
        self._listeners: tuple[Listener, ...] = ()
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

    def track(
        self,
        user_id: str,
        service: str,
        operation: str,
        quantity: Quantity,
        *,
        unit: str | None = None,
        unit_price: Exact | None = None,
        amount: Exact | None = None,
        category: str = Category.USAGE,
        occurred_at: datetime | None = None,
        metadata: Metadata | None = None,
        event_id: UUID | str | None = None,
        reverses_event_id: UUID | str | None = None,
    ) -> UUID:
        """Publish one event and return its id at once.

        `quantity` in units of the price book (or of `unit`); `unit_price` in USD per unit and `amount` in USD
        replace the price book's: exact numbers, no floats, an amount with at most 12 decimals. `occurred_at`
        is an aware datetime, by default now. `event_id`, a UUIDv7 with the time of `occurred_at`, makes the
        call repeatable: the ledger keeps the first event of an id.
        """
        return self._track(
            Draft(
                user_id=user_id,
                service=service,
                operation=operation,
                quantity=quantity,
                unit=unit,
                unit_price=unit_price,
                amount=amount,
                category=category,
                occurred_at=occurred_at,
                metadata=metadata,
                event_id=event_id,
                reverses_event_id=reverses_event_id,
            )
        )

    def emit(self, event: CostEvent, wait_seconds: float = 0.0) -> UUID:
        """Publish an event that is complete, as importers make it.

        A full queue is waited for up to `wait_seconds` (0: never) before the event is dropped.
        """
        try:
            record = event.to_record()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the event, the host must live
            return self._reject(error, None)
        return self._send(event.event_id, record, wait_seconds)

    def emit_record(self, record: EventRecord, wait_seconds: float = 0.0) -> UUID:
        """The same for an event's record (times in Unix microseconds, ids as text)."""
        try:
            event_id = UUID(record["event_id"])
        except Exception as error:  # noqa: BLE001 - as above
            return self._reject(error, record)
        return self._send(event_id, record, wait_seconds)

    def subscribe(self, listener: Listener) -> None:
        """Have `listener(event_id, partition, offset)` called when Kafka has acknowledged an event of this process.

        From the delivery thread, or from one that flushes: it should be quick. What it raises is logged.
        """
        self._listeners = (*self._listeners, listener)

    def stats(self) -> Stats:
        """The counts at this moment, in events of this process; `tracked = acked + spooled + queued + dropped`."""
        return self._counters.stats()

    def flush(self, timeout_seconds: float | None = None) -> int:
        """Wait until every event is acknowledged or given up; returns how many are not yet.

        Blocks for up to `timeout_seconds` (default: the setting `flush_timeout_seconds`): in asyncio, call it
        with `asyncio.to_thread`.
        """
        timeout = self._flush_timeout_seconds if timeout_seconds is None else max(0.0, timeout_seconds)
        deadline = time.monotonic() + timeout
        if self._spool is None:
            self._sender.flush(timeout)
        # The delivery thread may still be counting what it has taken out of the client's queue, or sending what
        # waits on disk.
        while self._counters.waiting() and time.monotonic() < deadline:
            self._turn()
            self._sender.flush(_FLUSH_STEP_SECONDS)
            self._sender.serve()
        return self._counters.waiting()

    def close(self) -> None:
        """Flush within `flush_timeout_seconds`; what is queued after that is dropped and counted. Idempotent.

        What is spooled stays on disk, for the next process that uses the directory. Events tracked afterwards are
        dropped.
        """
        forget(self)
        if self._spool is None:
            self._sender.close(self._flush_timeout_seconds)
        else:
            self.flush()
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
        self._begin()

    def _begin(self) -> None:
        self._counters = Counters()
        self._reporter = Reporter(self._on_error)
        options = self._spool_options
        self._spool = None if options is None else Spool(options, self._counters, self._reporter, self._on_acknowledged)
        turn = None if self._spool is None else self._turn
        self._sender = Sender(self._config, self._topic, self._on_delivery, turn)

    def _resume(self) -> None:
        try:
            self._sender.start()
        except SenderClosed:
            pass
        except Exception:
            logger.exception("events that another process has left cannot be sent now")

    def _turn(self) -> bool:
        return self._spool is not None and self._spool.turn(self._sender)

    def _track(self, draft: Draft) -> UUID:
        try:
            event_id, record = build_record(draft, self._book, self._source)
        except Exception as error:  # noqa: BLE001 - a wrong argument must not stop the host
            return self._reject(error, None)
        return self._send(event_id, record)

    def _track_chat(self, draft: ChatDraft) -> list[UUID]:
        try:
            built = build_chat_records(draft, self._book, self._source)
        except Exception as error:  # noqa: BLE001 - as above
            return [self._reject(error, None)]
        return [self._send(event_id, record) for event_id, record in built]

    def _send(self, event_id: UUID, record: EventRecord, wait_seconds: float = 0.0) -> UUID:
        try:
            value = encode_event(record)
            key = record["user_id"].encode()
        except Exception as error:  # noqa: BLE001 - as above
            return self._reject(error, record, event_id)
        unpriced = record["amount"] is None
        if self._spool is not None and self._spool.put(key, value, self._sender, unpriced=unpriced):
            return event_id
        # Counted before it is sent: the acknowledgement may come at once.
        counters = self._counters
        counters.track(unpriced)
        try:
            self._sender.send(key, value, wait_seconds)
        except BufferError as error:
            return self._drop(event_id, QUEUE_FULL, error, record)
        except SenderClosed as error:
            return self._drop(event_id, CLOSED, error, record)
        except Exception as error:  # noqa: BLE001 - whatever the client raises, the host must live
            return self._drop(event_id, DELIVERY_FAILED, error, record)
        except BaseException:
            counters.drop()
            raise
        return event_id

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._counters.acknowledge()
            self._on_acknowledged(message)
            return
        key, value = message.key(), message.value()
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            raise TypeError(f"a message without key or value came back: {message!r}")
        if self._spool is not None and self._spool.rescue(key, value):
            return
        record = decode_event(value)
        self._drop(UUID(record["event_id"]), DELIVERY_FAILED, KafkaException(error), record, may_raise=False)

    def _on_acknowledged(self, message: Message) -> None:
        if self._listeners:
            self._tell_listeners(message)

    def _tell_listeners(self, message: Message) -> None:
        value, partition, offset = message.value(), message.partition(), message.offset()
        if not isinstance(value, bytes) or partition is None or offset is None:
            raise TypeError(f"an acknowledged event without value, partition or offset: {message!r}")
        event_id = UUID(decode_event(value)["event_id"])
        for listener in self._listeners:
            try:
                listener(event_id, partition, offset)
            except Exception:
                logger.exception("a listener failed for %s", event_id)

    def _reject(self, error: Exception, record: EventRecord | None, event_id: UUID | None = None) -> UUID:
        """Count an event with wrong arguments; its id is made up where the arguments gave none."""
        self._counters.reject()
        event_id = new_event_id(caller_clock_us()) if event_id is None else event_id
        return self._tell(event_id, INVALID, error, record, may_raise=True)

    def _drop(
        self, event_id: UUID, reason: Reason, error: Exception, record: EventRecord | None, *, may_raise: bool = True
    ) -> UUID:
        self._counters.drop()
        return self._tell(event_id, reason, error, record, may_raise)

    def _tell(
        self, event_id: UUID, reason: Reason, error: Exception, record: EventRecord | None, may_raise: bool
    ) -> UUID:
        dropped = EventDropped(event_id, reason, f"{type(error).__name__}: {error}", record)
        dropped.__cause__ = error
        self._reporter.report(dropped)
        if self._strict and may_raise:
            raise dropped
        return event_id


def _use_registry(settings: Settings) -> None:
    """Where a schema registry is configured: write its wire format. Without it every reader can read the other."""
    try:
        use_registry(settings)
    except (Unavailable, UnknownSchema) as error:
        logger.warning("the schema registry cannot be used, events are written in single-object encoding: %s", error)


def _refuse_unavailable(settings: Settings) -> None:
    if settings.durability == "outbox":
        raise SettingsError(
            "COSTLEDGER_DURABILITY is 'outbox', which is not available in this release; it must be 'memory' or 'spool'"
        )
