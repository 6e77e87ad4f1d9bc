"""What the tests of the SDK share: reading a topic to the end, and the partitioner of Java's clients."""

from __future__ import annotations

import time
import uuid

from confluent_kafka import Consumer, Message, TopicPartition
from tests.fixtures.fix_kafka import KafkaServer

from costledger.schemas.codec import decode_cost_event
from costledger.schemas.events import CostEvent

READ_SECONDS_MAX = 30.0


def read_topic(bootstrap_servers: str, topic: str) -> list[Message]:
    """Every message that is in the topic now, each partition in its order."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"reader-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
            for number in partitions
        }
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        messages: list[Message] = []
        deadline = time.monotonic() + READ_SECONDS_MAX
        while len(messages) < sum(ends.values()):
            assert time.monotonic() < deadline, f"{len(messages)} of {ends} read"
            messages += [message for message in consumer.consume(1000, 0.1) if message.error() is None]
        return messages
    finally:
        consumer.close()


def events_in(kafka: KafkaServer, topic: str) -> list[CostEvent]:
    """All events of the topic, decoded and checked."""
    return [decode_cost_event(message.value() or b"") for message in read_topic(kafka.bootstrap_servers, topic)]


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Where Kafka's Java producer puts a key: murmur2, positive, modulo (Kafka: Utils.murmur2)."""
    seed, multiplier, mask = 0x9747B28C, 0x5BD1E995, 0xFFFFFFFF
    value = seed ^ len(key)
    for start in range(0, len(key) // 4 * 4, 4):
        word = int.from_bytes(key[start : start + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        value = value * multiplier & mask ^ word
    rest = key[len(key) // 4 * 4 :]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return ((value ^ value >> 15) & 0x7FFFFFFF) % partitions
