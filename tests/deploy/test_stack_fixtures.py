"""The fixtures that every other test relies on."""

from __future__ import annotations

import psycopg
import redis
from confluent_kafka import Consumer, Producer
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.wait import wait_until


def test_kafka_carries_a_message(kafka: KafkaServer) -> None:
    """What is produced to a topic of the session's Kafka is consumed from it."""
    topic = kafka.create_topic(kafka.unique("carry"))
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    producer.produce(topic, b"value", key=b"key")
    assert producer.flush(20) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": kafka.unique("group"),
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([topic])
    message = wait_until(lambda: consumer.poll(0.1), 20, "the message")
    assert message is not None
    assert (message.key(), message.value()) == (b"key", b"value")
    consumer.close()


def test_every_database_is_fresh(postgres: PostgresServer) -> None:
    """Two databases of the session's PostgreSQL know nothing of each other."""
    first, second = postgres.create_database(), postgres.create_database()
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE here (x int)")
    with psycopg.connect(second) as connection:
        found = connection.execute("SELECT to_regclass('here')").fetchone()
    assert found == (None,)


def test_a_redis_database_comes_empty(redis_url: str) -> None:
    """A test finds no key of another test."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")
