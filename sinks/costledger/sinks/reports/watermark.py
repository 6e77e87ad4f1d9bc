"""Whether the ledger has all that Kafka had received by a time.

Kafka is asked for the first message of each partition that came at that time or later; the sink must have passed all
before it. What comes later is late, and in no report of the period (see README).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from costledger.schemas.settings import Settings
from costledger.schemas.times import MICROSECONDS_PER_SECOND
from costledger.sinks.consuming import reader_config
from costledger.sinks.database import Connection
from costledger.sinks.queries import query
from costledger.sinks.reports.content import Watermark

logger = logging.getLogger(__name__)

_TIMEOUT_SECONDS: Final = 5.0
_MICROSECONDS_PER_MILLISECOND: Final = MICROSECONDS_PER_SECOND // 1000


class Watermarks:
    """Watermarks for one piece of work: once Kafka could not be asked, it is asked no more.

    Without Kafka each question takes up to 10 seconds, and the next answer would be no other.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._problem: str | None = None

    def read(self, connection: Connection, until_us: int) -> Watermark:
        """How far the ledger is, and whether it has what Kafka received before `until_us` (by the broker's clock).

        Where Kafka cannot be asked, nobody knows: not complete, and `problem` says why.
        """
        topic = self._settings.topics.events
        needed = None
        if self._problem is None:
            needed, self._problem = _needed(self._settings, topic, until_us)
        # Asked after Kafka: the sink may only be further by now, which is right for who reads the figures next.
        written: dict[int, int] = dict(connection.execute(query("written_offsets"), {"topic": topic}).fetchall())
        missing = None if needed is None else missing_offsets(needed, written)
        positions = tuple(sorted(written.items()))
        return Watermark(complete=missing == 0, missing=missing, positions=positions, problem=self._problem)


def read_watermark(connection: Connection, settings: Settings, until_us: int) -> Watermark:
    """One watermark (`Watermarks.read`). Takes some milliseconds, or 10 seconds without Kafka."""
    return Watermarks(settings).read(connection, until_us)


def missing_offsets(needed: Mapping[int, tuple[int, int]], written: Mapping[int, int]) -> int:
    """How many offsets the sink has not written of those that it should have: by partition (low, end)."""
    return sum(max(0, end - max(written.get(partition, 0), low)) for partition, (low, end) in needed.items())


def _needed(settings: Settings, topic: str, until_us: int) -> tuple[dict[int, tuple[int, int]] | None, str | None]:
    """By partition, the offsets [low, end) that were there at the time; or None and why nobody knows."""
    # Rounded up: a message of the last millisecond belongs to what was there.
    until_ms = -(-until_us // _MICROSECONDS_PER_MILLISECOND)
    try:
        with _consumer(settings) as consumer:
            found = consumer.list_topics(topic, timeout=_TIMEOUT_SECONDS).topics[topic]
            if found.error is not None:
                return None, f"Kafka: {found.error}"
            places = [TopicPartition(topic, partition, until_ms) for partition in sorted(found.partitions)]
            ends = consumer.offsets_for_times(places, timeout=_TIMEOUT_SECONDS)
            needed = {}
            for place in ends:
                if place.error is not None:
                    return None, f"Kafka, partition {place.partition}: {place.error}"
                low, high = consumer.get_watermark_offsets(
                    TopicPartition(topic, place.partition), timeout=_TIMEOUT_SECONDS
                )
                # Negative: no message came at that time or later.
                needed[place.partition] = (low, place.offset if place.offset >= 0 else high)
            return needed, None
    except KafkaException as error:
        return None, f"Kafka cannot be asked: {error}"


@contextmanager
def _consumer(settings: Settings) -> Iterator[Consumer]:
    consumer = Consumer(reader_config(settings, "costledger-reports", f"{settings.sink_group}-reports"), logger=logger)
    try:
        yield consumer
    finally:
        consumer.close()
