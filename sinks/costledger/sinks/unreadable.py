"""Record batches that the Kafka client cannot inflate (compression bombs): which they are, and where they end.

For every consumer of the ledger. The client reports the first offset of such a batch and would read it again for ever. A position behind the first
offset gives the same report as long as it is in the same batch: so its end is found by halves, by a consumer of its own
that is no member of the group.
"""

from __future__ import annotations

import logging
import time
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from costledger.schemas.errors import Unavailable
from costledger.schemas.settings import Settings
from costledger.sinks.consuming import reader_config

logger = logging.getLogger(__name__)

#: Longer than the three dozen looks that the longest batch takes.
SEARCH_SECONDS_MAX: Final = 20.0
_WATERMARK_TIMEOUT_SECONDS: Final = 5.0


class UnreadableBatch(NamedTuple):
    """A record batch that cannot be inflated: the offsets [first, end) of a partition."""

    partition: int
    first: int
    end: int

    @property
    def reason(self) -> str:
        """Why none of its messages is kept, for the row of each in quarantine."""
        return (
            f"the record batch of the message (offsets {self.first} to {self.end - 1}) cannot be inflated within the limits "
            "of the Kafka client, and is not kept"
        )


def first_unreadable(message: Message) -> int | None:
    """The first offset of the unreadable batch that this message of the client reports, or None."""
    error = message.error()
    is_unreadable = error is not None and error.code() == KafkaError._BAD_COMPRESSION
    return message.offset() if is_unreadable and message.partition() is not None else None


def unreadable_batch(settings: Settings, topic: str, partition: int, first_offset: int) -> UnreadableBatch:
    """The batch that begins there, looked for on the topic; raises `Unavailable` where Kafka is away."""
    batch = UnreadableBatch(partition, first_offset, _end_of_batch(settings, topic, partition, first_offset))
    logger.error(
        "partition %d of %s: offsets %d to %d are one record batch that cannot be inflated",
        partition,
        topic,
        batch.first,
        batch.end - 1,
    )
    return batch


def _end_of_batch(settings: Settings, topic: str, partition: int, first_offset: int) -> int:
    config = reader_config(settings, "costledger-sink-unreadable", f"{settings.sink_group}-unreadable")
    consumer = Consumer({**config, "enable.partition.eof": True, "fetch.error.backoff.ms": 1}, logger=logger)
    deadline = time.monotonic() + SEARCH_SECONDS_MAX

    def is_inside(offset: int) -> bool:
        consumer.assign([TopicPartition(topic, partition, offset)])
        while time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                return False
            if error.code() == KafkaError._BAD_COMPRESSION:
                return message.offset() == first_offset
            logger.info("looking for the end of an unreadable batch: %s", error)
        raise Unavailable(f"the end of the record batch at {partition}/{first_offset} was not found in time")

    try:
        place = TopicPartition(topic, partition)
        _, high = consumer.get_watermark_offsets(place, timeout=_WATERMARK_TIMEOUT_SECONDS)
        step = 1
        while first_offset + step < high and is_inside(first_offset + step):
            step *= 2
        inside, outside = first_offset + step // 2, min(first_offset + step, high)
        while outside - inside > 1:
            middle = (inside + outside) // 2
            if is_inside(middle):
                inside = middle
            else:
                outside = middle
    except KafkaException as error:
        raise Unavailable(
            f"the end of the record batch at {partition}/{first_offset} cannot be found: {error}"
        ) from error
    finally:
        consumer.close()
    return outside
