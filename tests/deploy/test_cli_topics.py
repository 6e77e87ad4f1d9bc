"""`costledger topics` against a real Kafka: creates what is missing, changes nothing, reports what is wrong."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names that its stubs forget to export
    AdminClient,
    ConfigResource,
    ResourceType,
)
from tests.deploy.conftest import Cli
from tests.fixtures.fix_kafka import KafkaServer

NAMES = ("cost.events", "cost.alerts", "cost.budgets", "cost.events.dlq")


@pytest.fixture
def cluster(cli: Cli, kafka: KafkaServer) -> Cli:
    """The command line for topics of this test alone."""
    prefix = f"{kafka.unique('topics')}."
    cli.settings.update(
        COSTLEDGER_BOOTSTRAP_SERVERS=kafka.bootstrap_servers,
        COSTLEDGER_TOPIC_PREFIX=prefix,
        COSTLEDGER_STREAM_APP_ID=f"{prefix}stream",
        COSTLEDGER_PARTITIONS="4",
    )
    return cli


def test_missing_topics_are_created_once(cluster: Cli, kafka: KafkaServer) -> None:
    """The first run creates five topics, the second finds them as they must be."""
    prefix = cluster.settings["COSTLEDGER_TOPIC_PREFIX"]
    created = cluster.json("topics")
    assert created["ok"]
    assert {topic["state"] for topic in created["topics"]} == {"created"}
    names = {topic["name"] for topic in created["topics"]}
    assert names == {*(prefix + name for name in NAMES), f"{prefix}stream-totals-changelog"}
    assert {topic["state"] for topic in cluster.json("topics")["topics"]} == {"ok"}
    topics = AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=20).topics
    assert {len(topics[name].partitions) for name in names} == {4}


def test_other_partitions_are_reported(cluster: Cli) -> None:
    """A topic with another number of partitions than the settings say is an error that names both."""
    cluster.json("topics")
    report = cluster("topics", COSTLEDGER_PARTITIONS="6")
    assert report.returncode == 1
    assert "has 4 partitions; COSTLEDGER_PARTITIONS is 6" in report.stdout


def test_other_settings_are_reported(cluster: Cli, kafka: KafkaServer) -> None:
    """The events' clock must be the broker's, and a retention that differs from the setting is named."""
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker has no topic settings")
    cluster.json("topics")
    events = f"{cluster.settings['COSTLEDGER_TOPIC_PREFIX']}cost.events"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    asked = ConfigResource(ResourceType.TOPIC, events)
    config = next(iter(admin.describe_configs([asked]).values())).result(20)
    assert config["message.timestamp.type"].value == "LogAppendTime"
    report = cluster("topics", COSTLEDGER_TOPIC_RETENTION_DAYS="7")
    assert report.returncode == 1
    assert "retention.ms is 7776000000; it must be 604800000" in report.stdout


def test_an_event_without_its_topic_is_refused(cluster: Cli, kafka: KafkaServer) -> None:
    """`emit` says at once that the topic is missing, and how to create it."""
    emit = ("emit", "--user", "u", "--service", "aws-rekognition", "--operation", "detectLabels", "--quantity", "1")
    done = cluster(*emit)
    assert done.returncode == 1
    assert "create it with `costledger topics`" in done.stderr
