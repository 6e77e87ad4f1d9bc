"""Record batches that the Kafka client cannot inflate (compression bombs): where they end.

The client reports the first offset of such a batch and would read it again for ever. A position behind the first
offset gives the same report as long as it is in the same batch: so its end is found by halves, by a consumer of its own
that is no member of the group.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from costledger.schemas.errors import Unavailable
from costledger.schemas.settings import Settings
from costledger.sinks.consuming import reader_config

logger = logging.getLogger(__name__)

#: Longer than the three dozen looks that the longest batch takes.
SEARCH_SECONDS_MAX: Final = 20.0
_WATERMARK_TIMEOUT_SECONDS: Final = 5.0


def end_of_batch(settings: Settings, topic: str, partition: int, first_offset: int) -> int:
    """The offset after the unreadable batch that begins at `first_offset`; raises `Unavailable` where Kafka is away."""
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
