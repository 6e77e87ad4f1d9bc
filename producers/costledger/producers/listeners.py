"""Those who want to know when Kafka has an event."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

from confluent_kafka import Message

from costledger.schemas.codec import decode_event

logger = logging.getLogger(__name__)

#: Called with an event's id, partition and offset once Kafka has acknowledged it.
Listener = Callable[[UUID, int, int], None]


class Listeners:
    """A listener that raises is logged, and keeps the others from nothing."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()

    def __len__(self) -> int:
        return len(self._listeners)

    def add(self, listener: Listener) -> None:
        """Tell it of what is acknowledged from now on."""
        self._listeners = (*self._listeners, listener)

    def remove(self, listener: Listener) -> None:
        """Tell it no more; nothing where it was not added."""
        self._listeners = tuple(each for each in self._listeners if each != listener)

    def tell(self, message: Message) -> None:
        """This message is acknowledged."""
        if self._listeners:
            self._tell_all(message)

    def _tell_all(self, message: Message) -> None:
        value, partition, offset = message.value(), message.partition(), message.offset()
        if not isinstance(value, bytes) or partition is None or offset is None:
            raise TypeError(f"an acknowledged event without value, partition or offset: {message!r}")
        event_id = UUID(decode_event(value)["event_id"])
        for listener in self._listeners:
            try:
                listener(event_id, partition, offset)
            except Exception:
                logger.exception("a listener failed for %s", event_id)
