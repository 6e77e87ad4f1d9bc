"""Topics for the benchmarks: made, filled, and how far a group has committed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # documented place

from costledger.schemas.topics import PARTITIONER

PARTITIONS = 4
_TIMEOUT_SECONDS = 60.0
#: While the broker makes its topic of offsets; whoever asks, asks again, within a deadline of their own.
_COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
_logger = logging.getLogger(__name__)


def create_topic(bootstrap: str, name: str) -> None:
    """Make a topic with the settings that events have."""
    config = {"message.timestamp.type": "LogAppendTime"}
    topic = NewTopic(name, num_partitions=PARTITIONS, replication_factor=1, config=config)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    admin.create_topics([topic])[name].result(_TIMEOUT_SECONDS)


def fill(bootstrap: str, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> None:
    """Put keys and values on a topic, as our SDK would; `TimeoutError` unless all are acknowledged."""
    config: dict[str, str | int] = {
        "bootstrap.servers": bootstrap,
        "partitioner": PARTITIONER,
        "acks": "all",
        "enable.idempotence": "true",
        "compression.type": "zstd",
        "linger.ms": 10,
        "log_level": 3,
    }
    producer = Producer(config)
    for key, value in messages:
        while True:
            try:
                producer.produce(topic, value, key)
            except BufferError:
                producer.poll(1.0)
            else:
                break
    if left := producer.flush(_TIMEOUT_SECONDS):
        raise TimeoutError(f"{left} events of {topic} were not acknowledged within {_TIMEOUT_SECONDS:g} s")


def committed_by(bootstrap: str, group: str, topic: str, closing: ExitStack) -> Callable[[], int]:
    """A function that gives the sum of a group's committed offsets, as anybody outside can see them."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 3}
    )
    closing.callback(consumer.close)
    places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]

    known = 0

    def committed() -> int:
        nonlocal known
        try:
            # What has no offset yet has a negative one.
            known = sum(max(0, place.offset) for place in consumer.committed(places, _TIMEOUT_SECONDS))
        except KafkaException as error:
            if error.args[0].code() not in _COORDINATOR_MOVES:
                raise
            _logger.warning("the offsets of %s cannot be had yet: %s", group, error)
        return known

    return committed
