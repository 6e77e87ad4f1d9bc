"""Reading topics from beginning to end, past all proxies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

READ_SECONDS_MAX = 20.0
_MESSAGES_AT_ONCE = 5_000
_CONSUME_SECONDS = 0.1
#: What a broker says while it reads its topic of offsets.
_COORDINATOR_MOVES = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
_COORDINATOR_PAUSE_SECONDS = 0.2


class TopicReader:
    """Reads whole topics; joins no group that anybody else is in."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": "fault-harness",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                # A broker tells the end of a partition only after it has waited so long for more.
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )

    def ends(self, topic: str) -> dict[int, int]:
        """The end of each partition."""
        partitions = self._consumer.list_topics(topic, timeout=READ_SECONDS_MAX).topics[topic].partitions
        return {
            partition: self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=READ_SECONDS_MAX)[
                1
            ]
            for partition in sorted(partitions)
        }

    def count(self, topic: str) -> dict[int, int]:
        """How many messages each partition has: fewer than offsets, where there are places without one."""
        return Counter(message.partition() or 0 for message in self.read(topic))

    def read(self, topic: str) -> Iterator[Message]:
        """Every message, in the order of offsets within each partition; AssertionError where they stop coming."""
        left = {partition for partition, end in self.ends(topic).items() if end > 0}
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
        heard_at = time.monotonic()
        while left:
            # The client waits for as many as were asked for.
            messages = self._consumer.consume(_MESSAGES_AT_ONCE, _CONSUME_SECONDS)
            if any(_is_heard(message) for message in messages):
                heard_at = time.monotonic()
            silent_seconds = time.monotonic() - heard_at
            assert silent_seconds < READ_SECONDS_MAX, (
                f"{topic}: nothing for {silent_seconds:.0f} s, {sorted(left)} left"
            )
            for message in messages:
                error = message.error()
                if error is None:
                    yield message
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition() or 0)
        self._consumer.unassign()

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


def _is_heard(message: Message) -> bool:
    """Whether it is a message or the end of a partition. What else the client tells is no sign of life."""
    error = message.error()
    return error is None or error.code() == KafkaError._PARTITION_EOF


def committed(bootstrap_servers: str, group: str, topic: str, partitions: int) -> dict[int, int]:
    """The offsets that a group has committed; 0 where none. A broker that has just come back is waited for."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "log_level": 0})
    places = [TopicPartition(topic, one) for one in range(partitions)]
    deadline = time.monotonic() + READ_SECONDS_MAX
    try:
        while True:
            try:
                found = consumer.committed(places, timeout=READ_SECONDS_MAX)
            except KafkaException as error:
                if error.args[0].code() not in _COORDINATOR_MOVES or time.monotonic() > deadline:
                    raise
                time.sleep(_COORDINATOR_PAUSE_SECONDS)
            else:
                return {one.partition: max(0, one.offset) for one in found}
    finally:
        consumer.close()


def rewind(bootstrap_servers: str, group: str, topic: str, partitions: int) -> None:
    """Set a group, of which no member is there, back to the beginning of a topic."""
    places = [TopicPartition(topic, one, 0) for one in range(partitions)]
    client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    request = ConsumerGroupTopicPartitions(group, places)
    for done in client.alter_consumer_group_offsets([request]).values():
        for place in done.result(READ_SECONDS_MAX).topic_partitions:
            assert place.error is None, place


def produce_again(bootstrap_servers: str, topic: str, messages: Iterable[Message]) -> int:
    """Produce messages once more, each to the partition that it came from; how many."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, "linger.ms": 5})
    count = 0
    for message in messages:
        producer.produce(topic, message.value(), message.key(), message.partition() or 0)
        producer.poll(0)
        count += 1
    assert producer.flush(READ_SECONDS_MAX) == 0
    return count
