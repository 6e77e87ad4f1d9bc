"""Topics for the benchmarks: made, filled, and how far a group has committed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
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


def records_in(bootstrap: str, topic: str) -> int:
    """How many records a topic has ever had, by the ends of its partitions."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-ends", "log_level": 3})
    try:
        partitions = consumer.list_topics(topic, _TIMEOUT_SECONDS).topics[topic].partitions
        places = [TopicPartition(topic, number) for number in partitions]
        return sum(consumer.get_watermark_offsets(place, _TIMEOUT_SECONDS)[1] for place in places)
    finally:
        consumer.close()


def committed_by(
    bootstrap: str, group: str, topic: str, closing: ExitStack, partitions: int = PARTITIONS
) -> Callable[[], int]:
    """A function that gives the sum of a group's committed offsets, as anybody outside can see them."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 3}
    )
    closing.callback(consumer.close)
    places = [TopicPartition(topic, partition) for partition in range(partitions)]

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


def changelog_total(bootstrap: str, topic: str, amount_of: Callable[[bytes], int]) -> int:
    """The sum of what a changelog says last of each key: what the app would have after a restart.

    `TimeoutError` when the topic cannot be read to its end.
    """
    config: dict[str, str | int | bool] = {"bootstrap.servers": bootstrap, "group.id": "bench-changelogs"}
    consumer = Consumer({**config, "enable.auto.commit": False, "enable.partition.eof": True, "log_level": 3})
    try:
        partitions = consumer.list_topics(topic, _TIMEOUT_SECONDS).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        last: dict[tuple[int, bytes], int] = {}
        unread = set(partitions)
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while unread:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the partitions {unread} of {topic} were not read within {_TIMEOUT_SECONDS:g} s")
            for message in consumer.consume(10_000, 0.5):
                _note(message, last, unread, amount_of)
    finally:
        consumer.close()
    return sum(last.values())


def _note(
    message: Message, last: dict[tuple[int, bytes], int], unread: set[int], amount_of: Callable[[bytes], int]
) -> None:
    error, partition = message.error(), message.partition()
    assert partition is not None
    if error is not None:
        if error.code() != KafkaError._PARTITION_EOF:  # its documented name
            raise KafkaException(error)
        unread.discard(partition)
        return
    key, value = message.key(), message.value()
    assert isinstance(key, bytes)
    last[partition, key] = amount_of(value) if isinstance(value, bytes) else 0
