"""How the consumers of the ledger are members of their groups."""

from __future__ import annotations

import time

import confluent_kafka
import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.sinks.conftest import Topic, make_settings

from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import load_settings
from costledger.schemas.topics import TopicNames
from costledger.sinks.consuming import member_config, reader_config
from costledger.sinks.intake import consumer_config


def test_a_dead_sink_loses_its_partitions_after_the_time_that_is_set() -> None:
    """Ten seconds if nothing is said; the sink and the notifier alike."""
    assert consumer_config(load_settings())["session.timeout.ms"] == 10_000
    settings = load_settings(sink_session_timeout_seconds=6.5)
    assert consumer_config(settings)["session.timeout.ms"] == 6_500
    assert member_config(settings, "notifier", "group")["session.timeout.ms"] == 6_500


def test_a_request_of_a_member_fails_long_before_a_minute() -> None:
    """A client whose commit waits for a broker that is away joins its group no more until that has failed, a few times."""
    assert member_config(load_settings(), "notifier", "group")["socket.timeout.ms"] == 10_000


def test_less_than_a_broker_allows_is_refused() -> None:
    """Apache Kafka takes no session below six seconds."""
    with pytest.raises(SettingsError, match="SINK_SESSION_TIMEOUT_SECONDS"):
        load_settings(sink_session_timeout_seconds=5)


def test_a_rebalance_waits_for_members_that_never_come_no_longer_than_half_a_minute() -> None:
    """Or as long as a session, if that is longer: the client takes no less."""
    assert member_config(load_settings(), "notifier", "group")["max.poll.interval.ms"] == 30_000
    long = load_settings(sink_session_timeout_seconds=100)
    assert consumer_config(long)["max.poll.interval.ms"] == 100_000


def seconds_to_read(topic: Topic, config: dict[str, object]) -> float:
    """From the first message to the last, with a queue that is full again and again."""
    client = confluent_kafka.Consumer({**config, "queued.min.messages": 500, "fetch.message.max.bytes": 20_000})
    client.assign([confluent_kafka.TopicPartition(topic.name, 0, 0)])
    began, left = 0.0, topic.produced
    try:
        while left:
            read = client.consume(100, 30)
            assert read, f"{left} messages did not come"
            began = began or time.monotonic()
            left -= len(read)
    finally:
        client.close()
    return time.monotonic() - began


def test_a_reader_fetches_as_soon_as_there_is_room(kafka: KafkaServer) -> None:
    """With the client's own second of rest after a full queue the same messages take more than three times as long."""
    names = TopicNames.with_prefix(kafka.unique("reader") + ".")
    kafka.create_topic(names.events, 1)
    topic = Topic(names.events, kafka.bootstrap_servers)
    topic.send_raw((b"key", bytes(100)) for _ in range(20_000))
    config = reader_config(make_settings(kafka, names, "postgresql://unused"), "reader", kafka.unique("group"))
    slow = {**config, "fetch.queue.backoff.ms": 1_000}
    assert 3 * seconds_to_read(topic, config) < seconds_to_read(topic, slow)
