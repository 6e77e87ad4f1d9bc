"""One Kafka producer of one process, and the thread that serves its callbacks."""

from __future__ import annotations

import ctypes
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from costledger.producers.rate_limited_log import RateLimitedLog
from costledger.schemas.errors import SettingsError, Unavailable, UnknownSchema
from costledger.schemas.kafka_config import ClientConfig, client_config
from costledger.schemas.registry import use_registry
from costledger.schemas.settings import Settings
from costledger.schemas.topics import PARTITIONER

_LOGGER: Final = logging.getLogger("costledger.producers")
_LIBRARY_LOGGER: Final = logging.getLogger("costledger.producers.librdkafka")
#: How long the serving thread waits for the next callback; also how soon it notices that it should end.
_POLL_SECONDS: Final = 0.1
#: While threads that send serve, the serving thread has its turn this often.
_TURN_SECONDS: Final = 0.02
#: Waiting for other threads to serve callbacks: how often it is looked, and after how long without any it is enough.
_LOOK_SECONDS: Final = 0.01
_STILL_SECONDS: Final = 0.5
_JOIN_SECONDS_MAX: Final = 2.0
#: The queue is bounded in events by `queue_events_max` and in bytes by this.
_QUEUE_KILOBYTES_MAX: Final = 512 * 1024

OnDelivery = Callable[[KafkaError | None, Message], None]
#: Work of the serving thread besides callbacks; returns whether there is more to do at once.
Turn = Callable[[], bool]


def producer_config(settings: Settings) -> ClientConfig:
    """The configuration of the SDK's producers: idempotent, acknowledged by all replicas, bounded."""
    return {
        **client_config(settings, f"costledger-{settings.source}"),
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "zstd",
        "partitioner": PARTITIONER,
        "linger.ms": settings.linger_ms,
        "queue.buffering.max.messages": settings.queue_events_max,
        "queue.buffering.max.kbytes": _QUEUE_KILOBYTES_MAX,
        # 0 would mean for ever.
        "message.timeout.ms": max(1, int(settings.delivery_timeout_seconds * 1000)),
        # Critical messages alone: what goes wrong with a broker comes through the error callback too.
        "log_level": 2,
    }


def check_config(config: ClientConfig) -> None:
    """Let librdkafka judge a configuration without connecting; raises `SettingsError`."""
    try:
        Producer({**config, "logger": _LIBRARY_LOGGER})
    except (KafkaException, ValueError, TypeError) as error:
        raise SettingsError(f"the Kafka client refuses its settings: {error}") from error


def use_registry_if_set(settings: Settings) -> None:
    """Where a schema registry is configured: write its wire format. Without it every reader can read the other."""
    try:
        use_registry(settings)
    except (Unavailable, UnknownSchema) as error:
        _LOGGER.warning("the schema registry cannot be used, events are written in single-object encoding: %s", error)


class Channel:
    """Sends messages to one topic. `send` never blocks; `on_delivery` is called once for each message sent.

    Its thread serves the callbacks, and gives `turn` a turn after each round of them; so do threads that flush or call
    `serve_waiting`.
    Belongs to the process that made it: after a fork the child must call `abandon` and use one of its own.
    """

    def __init__(self, config: ClientConfig, topic: str, on_delivery: OnDelivery, turn: Turn | None = None) -> None:
        self._topic = topic
        self._turn = turn
        # Per thread: whether it is serving callbacks. To begin to within one would abort the whole process: so a handler
        # of a signal that flushes or closes, or a callback of the host that does.
        self._served_by = threading.local()
        self._served_by_sender_at = -math.inf
        self._ending = threading.Event()
        self._drained_only = threading.Event()
        self._log = RateLimitedLog(_LOGGER)
        callbacks: dict[str, Any] = {
            "on_delivery": on_delivery,
            "error_cb": self._log_client_error,
            "logger": _LIBRARY_LOGGER,
        }
        self._producer = Producer({**config, **callbacks})
        self._thread = threading.Thread(target=self._serve, name="costledger-delivery", daemon=True)
        self._thread.start()

    def send(self, key: bytes, value: bytes, on_delivery: OnDelivery | None = None) -> None:
        """Queue one message, with a callback of its own where one is given.

        `BufferError`: the queue is full. `KafkaException`: the client has failed.
        """
        if on_delivery is None:
            self._producer.produce(self._topic, value, key)
        else:
            self._producer.produce(self._topic, value, key, on_delivery=on_delivery)

    def serve_waiting(self) -> None:
        """Serve the callbacks that wait, in the thread of a caller that sends much; the serving thread keeps out of its way.

        Each callback takes the interpreter's lock by itself. A thread of its own that does so, while the sender gives
        the lock away and takes it back for every event it writes to disk, costs more than all that either does.
        """
        if not self.within_callback:
            self._served_by_sender_at = time.monotonic()
            self.serve(0.0)

    def flush(self, timeout_seconds: float) -> None:
        """Send what is queued without lingering, and serve callbacks until all are served or the time is over.

        From within a callback: wait for other threads to do so, as long as anything is served. What the interrupted
        thread has taken to serve can only come when this returns.
        """
        if self.within_callback:
            if threading.current_thread() is not self._thread:
                self._wait_for_others(timeout_seconds)
        else:
            with self._serving_here():
                self._producer.flush(timeout_seconds)

    def serve(self, timeout_seconds: float) -> None:
        """Serve callbacks in the caller's thread, for at most this long; from within a callback: only wait."""
        if self.within_callback:
            time.sleep(timeout_seconds)
        else:
            with self._serving_here():
                self._producer.poll(timeout_seconds)

    def retire(self) -> None:
        """Send no more; the thread ends by itself when every message has been accounted for."""
        self._drained_only.set()

    def close(self) -> None:
        """Give up what is still queued (each message gets its callback with an error), and end the thread."""
        self._producer.purge(in_queue=True, in_flight=True)
        self.flush(_JOIN_SECONDS_MAX)
        self._ending.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_SECONDS_MAX)

    def abandon(self) -> None:
        """In a forked child: never touch the parent's producer again, and never let it be freed.

        Freeing it would end and join threads that are the parent's: a pause of a second at best.
        """
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._producer))

    @property
    def within_callback(self) -> bool:
        """Whether this thread is serving callbacks, so that one of them, or a handler that has interrupted it, asks."""
        return getattr(self._served_by, "this_thread", False)

    def _wait_for_others(self, timeout_seconds: float) -> None:
        left, now = len(self._producer), time.monotonic()
        deadline, still_since = now + timeout_seconds, now
        while left and now < deadline and now - still_since < _STILL_SECONDS:
            time.sleep(min(_LOOK_SECONDS, deadline - now))
            before, left, now = left, len(self._producer), time.monotonic()
            if left != before:
                still_since = now

    @contextmanager
    def _serving_here(self) -> Iterator[None]:
        try:
            self._served_by.this_thread = True
            yield
        finally:
            self._served_by.this_thread = False

    def _serve(self) -> None:
        more = False
        with self._serving_here():
            while not self._ending.is_set():
                if self._drained_only.is_set() and len(self._producer) == 0:
                    return
                try:
                    self._serve_once(at_once=more)
                    more = self._turn is not None and self._turn()
                except Exception:
                    # A defect in a callback must not end the thread: later events would never be accounted for.
                    _LOGGER.exception("a delivery callback failed")
            # Closed from within a callback of this thread: the others that were given up have theirs to come.
            try:
                self._producer.flush(_JOIN_SECONDS_MAX)
            except Exception:
                _LOGGER.exception("a delivery callback failed")

    def _serve_once(self, *, at_once: bool) -> None:
        if time.monotonic() - self._served_by_sender_at < _POLL_SECONDS:
            self._ending.wait(0.0 if at_once else _TURN_SECONDS)
        else:
            self._producer.poll(0.0 if at_once else _POLL_SECONDS)

    def _log_client_error(self, error: KafkaError) -> None:
        """Each kind of error once per interval: while a broker is away, the client reports every attempt."""
        if error.fatal():
            text = f"the Kafka client failed for good and will be replaced: {error}"
            self._log.say(logging.ERROR, f"fatal {error.code()}", text)
        else:
            self._log.say(logging.WARNING, str(error.code()), f"Kafka: {error}")
