"""Messages and the rows that they become. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from costledger.schemas.errors import DecodeError, InvalidEvent, Unavailable
from costledger.schemas.event_reading import ReadEvent, read_event
from costledger.schemas.twins import twin_of
from costledger.sinks.packing import pack_read

#: A run of messages: the place in the list of the first one behind it, the bytes of its values, and the error where that
#: first one has a schema that cannot be had now.
Run = tuple[int, int, Unavailable | None]

#: `read_run` of the compiled twin, or None; it is given the class of rows at the end.
_compiled: Callable[[str, int, int, Sequence[Message], int, list[Row], type[Row]], Run] | None = twin_of(
    __name__, "read_run"
)

_MICROSECONDS_PER_MILLISECOND: Final = 1_000
_NO_TIMESTAMP: Final = 0


class Message(Protocol):
    """What is needed of a Kafka message (a subset of `confluent_kafka.Message`)."""

    def error(self) -> Any | None: ...
    def partition(self) -> int | None: ...
    def offset(self) -> int | None: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...
    def timestamp(self) -> tuple[int, int]: ...


class Row(NamedTuple):
    """An event on its way into the ledger; `packed` is the row in binary COPY format."""

    partition: int
    offset: int
    event: ReadEvent
    packed: bytes
    message: Message

    @property
    def event_id(self) -> str:
        """The event's id."""
        return self.event[0]


def received_us(message: Message) -> int | None:
    """When the broker stored the message (Unix microseconds); None where it carries no time."""
    kind, milliseconds = message.timestamp()
    return None if kind == _NO_TIMESTAMP else milliseconds * _MICROSECONDS_PER_MILLISECOND


def read_run(topic: str, partition: int, offset: int, messages: Sequence[Message], start: int, rows: list[Row]) -> Run:
    """Add the rows of the messages from `start` on that follow one another in this partition, the first at `offset`.

    It ends before whatever needs a closer look: another partition or offset, an error of the client, no value, a value
    that is no event, or cannot be read now.
    """
    if _compiled is not None:
        return _compiled(topic, partition, offset, messages, start, rows, Row)
    payload_bytes = 0
    for place in range(start, len(messages)):
        message = messages[place]
        if message.error() is not None or message.offset() != offset or message.partition() != partition:
            return place, payload_bytes, None
        payload = message.value()
        if not payload:
            return place, payload_bytes, None
        stored_us = received_us(message)
        try:
            event = read_event(payload, stored_us)
        except (DecodeError, InvalidEvent):
            return place, payload_bytes, None
        except Unavailable as away:
            return place, payload_bytes, away
        rows.append(Row(partition, offset, event, pack_read(topic, partition, offset, stored_us, event), message))
        payload_bytes += len(payload)
        offset += 1
    return len(messages), payload_bytes, None
