"""The one channel of a tracker in this process: opened when first needed, replaced when it fails, closed once."""

from __future__ import annotations

import time
from threading import RLock
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from costledger.producers.channel import Channel, OnDelivery, Turn
from costledger.producers.exits import watch_process
from costledger.schemas.errors import Unavailable
from costledger.schemas.kafka_config import ClientConfig

#: A client that failed for good is replaced, but not more often than this.
_REPLACE_INTERVAL_SECONDS: Final = 10.0
#: How long to serve callbacks at a time while waiting for something.
_WAIT_STEP_SECONDS: Final = 0.01


class SenderClosed(Unavailable):
    """Sending after `close`."""


class Sender:
    """Sends messages through a channel of this process. A forked child makes a new one and abandons this."""

    def __init__(self, config: ClientConfig, topic: str, on_delivery: OnDelivery, turn: Turn | None = None) -> None:
        self._config = config
        self._topic = topic
        self._on_delivery = on_delivery
        self._turn = turn
        # Reentrant: a signal handler of the host may track while its own thread is in here.
        self._lock = RLock()
        self._channel: Channel | None = None
        self._closed = False
        self._replaced_at: float | None = None

    def start(self) -> None:
        """Open the channel now rather than with the first message; `SenderClosed` after `close`."""
        self._open()

    def send(self, key: bytes, value: bytes, wait_seconds: float = 0.0, on_delivery: OnDelivery | None = None) -> None:
        """Queue one message; every message queued gets one delivery callback: `on_delivery`, or the sender's.

        Never blocks, except for up to `wait_seconds` while the queue is full; then `BufferError`.
        `SenderClosed` after `close`, `KafkaException` where the client has failed.
        """
        channel = self._channel or self._open()
        try:
            channel.send(key, value, on_delivery)
        except BufferError:
            if wait_seconds <= 0:
                raise
            _send_when_there_is_room(channel, key, value, wait_seconds, on_delivery)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._FATAL:
                raise
            self._replace(channel).send(key, value, on_delivery)

    def flush(self, timeout_seconds: float) -> None:
        """Send what is queued at once, and wait for its callbacks until the time is over."""
        channel = self._channel
        if channel is not None:
            channel.flush(timeout_seconds)

    def serve_waiting(self) -> None:
        """Serve the callbacks that wait: for a thread that sends much (see `Channel.serve_waiting`)."""
        channel = self._channel
        if channel is not None:
            channel.serve_waiting()

    @property
    def within_callback(self) -> bool:
        """Whether this thread is serving callbacks (see `Channel.within_callback`)."""
        channel = self._channel
        return channel is not None and channel.within_callback

    def serve(self) -> None:
        """Serve callbacks for a moment."""
        channel = self._channel
        if channel is not None:
            channel.serve(_WAIT_STEP_SECONDS)

    def close(self, timeout_seconds: float) -> None:
        """Take no more messages, flush, and give up what is left: each message gets its callback. Idempotent."""
        with self._lock:
            self._closed = True
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.flush(timeout_seconds)
            channel.close()

    def abandon(self) -> None:
        """In a forked child: leave the parent's channel alone for good."""
        if self._channel is not None:
            self._channel.abandon()

    def _open(self) -> Channel:
        with self._lock:
            if self._closed:
                raise SenderClosed("the tracker is closed")
            if self._channel is None:
                self._channel = Channel(self._config, self._topic, self._on_delivery, self._turn)
                watch_process()
            return self._channel

    def _replace(self, failed: Channel) -> Channel:
        """A channel in place of one whose client failed for good; the same one if that was only just done."""
        with self._lock:
            now = time.monotonic()
            due = self._replaced_at is None or now - self._replaced_at >= _REPLACE_INTERVAL_SECONDS
            if self._channel is failed and due:
                self._replaced_at = now
                self._channel = None
                failed.retire()
            return self._open()


def _send_when_there_is_room(
    channel: Channel, key: bytes, value: bytes, wait_seconds: float, on_delivery: OnDelivery | None
) -> None:
    """Serve callbacks, each of which frees a place in the queue, until the message fits or the time is over."""
    deadline = time.monotonic() + wait_seconds
    while True:
        channel.serve(_WAIT_STEP_SECONDS)
        try:
            channel.send(key, value, on_delivery)
        except BufferError:
            if time.monotonic() >= deadline:
                raise
        else:
            return
