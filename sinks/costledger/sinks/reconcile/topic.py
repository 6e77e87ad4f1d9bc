"""Compare the topic with the ledger: a merge of two streams in the order of partition and offset.

Every message below the ledger's position must be an entry with the same content, or be in quarantine, or be a
repeat of an event that the ledger has with the same content. Every entry in the range that Kafka still holds
must be a message.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from costledger.schemas.codec import decode_event
from costledger.schemas.errors import DecodeError, InvalidEvent, Unavailable, shown
from costledger.schemas.events import EventRecord, check_event
from costledger.schemas.settings import Settings
from costledger.sinks.consuming import reader_config
from costledger.sinks.reconcile.entries import Entry, differing_fields
from costledger.sinks.reconcile.report import EXAMPLES_MAX, Check, PartitionReport
from costledger.sinks.rows import Message, received_us
from costledger.sinks.unreadable import first_unreadable, unreadable_batch

logger = logging.getLogger(__name__)

_MESSAGES_AT_ONCE: Final = 5_000
_SILENCE_SECONDS_MAX: Final = 30.0
_REPEATS_AT_ONCE: Final = 1_000

#: An offset and its record, or the reason why it holds none.
Stored = tuple[int, EventRecord | str]


class TopicReader:
    """Reads ranges of a topic, without a group and without a trace."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._consumer = Consumer(
            {
                **reader_config(settings, "costledger-reconcile", f"{settings.sink_group}-reconcile"),
                "enable.partition.eof": True,
                # Without a broker librdkafka writes a line for each of hundreds of attempts; ours raises once.
                "log_level": 2,
            },
            logger=logger,
        )

    def ranges(self, timeout_seconds: float = 10.0) -> dict[int, tuple[int, int]]:
        """The low and high watermark of every partition; raises `KafkaException`, or `Unavailable` without a topic."""
        found = self._consumer.list_topics(self._topic, timeout=timeout_seconds).topics[self._topic]
        if found.error is not None:
            raise Unavailable(f"{self._topic}: {found.error}")
        return {
            partition: self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=timeout_seconds
            )
            for partition in sorted(found.partitions)
        }

    def read(self, partition: int, low: int, end: int) -> Iterator[Stored]:
        """The messages of a partition with offsets in [low, end); `Unavailable` after 30 s without any.

        A record batch that the client cannot inflate is a reason for each of its offsets, like any message that is no event.
        """
        position = low
        self._consumer.assign([TopicPartition(self._topic, partition, position)])
        while position < end:
            # No more than there are: waiting for further ones would only take time.
            wanted = min(_MESSAGES_AT_ONCE, end - position)
            messages = self._consumer.consume(wanted, 0.5) or self._consumer.consume(1, _SILENCE_SECONDS_MAX)
            if not messages:
                raise Unavailable(f"nothing came from partition {partition} at offset {position} of {end}")
            for message in messages:
                error, offset = message.error(), message.offset()
                if (first := first_unreadable(message)) is not None:
                    batch = unreadable_batch(self._settings, self._topic, partition, first)
                    for one in range(max(position, first), min(batch.end, end)):
                        yield one, batch.reason
                    position = batch.end
                    self._consumer.assign([TopicPartition(self._topic, partition, position)])
                    break
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:
                        return
                    raise KafkaException(error)
                if offset is None or offset >= end:
                    return
                position = offset + 1
                yield offset, _record(message)

    def close(self) -> None:
        """Let the connection go."""
        self._consumer.close()


def _record(message: Message) -> EventRecord | str:
    try:
        record = decode_event(message.value() or b"")
        check_event(record, received_us(message))
    except (DecodeError, InvalidEvent) as error:
        return str(error)
    return record


@dataclass(slots=True)
class PartitionMerge:
    """Merges one partition's messages with its entries.

    `find` gives the entries with some event ids.
    """

    report: PartitionReport
    check: Check
    quarantined: Collection[int]
    find: Callable[[list[str]], dict[str, EventRecord]]
    _repeats: list[tuple[int, EventRecord]] = field(default_factory=list)

    def merge(self, messages: Iterator[Stored], entries: Iterator[Entry]) -> None:
        """Compare all of both; each in the order of offsets."""
        entry = next(entries, None)
        first = True
        for offset, record in messages:
            while entry is not None and entry.offset < offset:
                # Before the first message: expired on Kafka since the watermark was asked for.
                if not first:
                    self._unexpected(entry, "the topic has no such message")
                entry = next(entries, None)
            first = False
            matched = False
            while entry is not None and entry.offset == offset:
                if matched:
                    self._unexpected(entry, "a second entry for one message")
                else:
                    self._compare(entry, record)
                matched = True
                entry = next(entries, None)
            self.report.compared += 1
            self.check.compared += 1
            if not matched:
                self._without_entry(offset, record)
        while entry is not None:
            self._unexpected(entry, "the topic has no such message")
            entry = next(entries, None)
        self._settle_repeats()

    def _compare(self, entry: Entry, record: EventRecord | str) -> None:
        if isinstance(record, str):
            self._unexpected(entry, f"the message is no event ({record})")
        elif names := differing_fields(entry.record, record):
            difference = (entry.record["amount"] or 0) - (record["amount"] or 0)
            self.check.differs(
                f"{self._place(entry.offset)}: ledger and topic differ in {', '.join(names)} "
                f"({', '.join(f'{shown(entry.record[name])} and {shown(record[name])}' for name in names)})",
                difference,
            )

    def _without_entry(self, offset: int, record: EventRecord | str) -> None:
        if offset in self.quarantined:
            self.report.put_aside += 1
            return
        if isinstance(record, str):
            self._missing(offset, f"a bad message that is not in quarantine ({record})", 0)
            return
        self._repeats.append((offset, record))
        if len(self._repeats) >= _REPEATS_AT_ONCE:
            self._settle_repeats()

    def _settle_repeats(self) -> None:
        """What has no entry of its own must be a repeat of an event that has one."""
        if not self._repeats:
            return
        found = self.find([record["event_id"] for _, record in self._repeats])
        for offset, record in self._repeats:
            entry = found.get(record["event_id"])
            if entry is None:
                self._missing(offset, f"event {record['event_id']} is not in the ledger", record["amount"] or 0)
            elif differing_fields(entry, record):
                self._missing(offset, f"event {record['event_id']} is in the ledger with another content", 0)
        self._repeats.clear()

    def _missing(self, offset: int, why: str, picodollars: int) -> None:
        self.report.missing += 1
        if len(self.report.missing_offsets) < EXAMPLES_MAX:
            self.report.missing_offsets.append(offset)
        self.check.differs(f"{self._place(offset)}: {why}", picodollars)

    def _unexpected(self, entry: Entry, why: str) -> None:
        self.check.differs(
            f"{self._place(entry.offset)}: entry {entry.record['event_id']}: {why}", entry.record["amount"] or 0
        )

    def _place(self, offset: int) -> str:
        return f"partition {self.report.partition} offset {offset}"
