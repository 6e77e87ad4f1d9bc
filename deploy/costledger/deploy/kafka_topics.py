"""Create the topics that are missing, and compare those that are there with what the system needs.

Nothing existing is ever changed: partitions cannot be added without moving users from one to another, and
a setting that differs may be somebody's decision. Both are reported.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names that its stubs forget to export
    AdminClient,
    ClusterMetadata,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from costledger.schemas.errors import Unavailable
from costledger.schemas.kafka_config import client_config
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicSpec, topic_specs

REPLICATION_MAX: Final = 3
#: librdkafka's in-process broker names its cluster so. It has no CreateTopics and no topic settings.
EMBEDDED_CLUSTER: Final = "mockCluster"
_METADATA_TIMEOUT_SECONDS: Final = 5.0
_TIMEOUT_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05
_logger = logging.getLogger(__name__)

State = Literal["created", "ok", "missing", "wrong"]


@dataclass(frozen=True, slots=True)
class TopicReport:
    """One topic after the check. `problems` says what differs from what is needed; empty when all is well."""

    name: str
    state: State
    partitions: int
    problems: tuple[str, ...] = ()


def needed_topics(settings: Settings) -> list[TopicSpec]:
    """All topics of the system that the settings describe."""
    from costledger.streams.worker import changelog_topic

    return topic_specs(settings.topics, changelog_topic(settings), settings.partitions, settings.topic_retention_days)


def check_topics(settings: Settings, specs: Iterable[TopicSpec], *, create: bool) -> list[TopicReport]:
    """Compare each topic with its specification; with `create` make the missing ones first.

    `Unavailable` when no broker answers; `KafkaException` when one refuses to create a topic.
    """
    specs = list(specs)
    admin = AdminClient(client_config(settings, "costledger-topics"), logger=_logger)
    cluster = cluster_metadata(admin, settings)
    missing = [spec for spec in specs if spec.name not in cluster.topics]
    if create and missing:
        _create(admin, cluster, missing)
        cluster = _await_topics(admin, settings, missing)
    created = {spec.name for spec in missing} if create else set()
    there = [spec for spec in specs if spec.name in cluster.topics]
    configs = {} if _is_embedded(cluster) else _configs(admin, there)
    return [_report(spec, cluster, configs.get(spec.name, {}), spec.name in created) for spec in specs]


def cluster_metadata(admin: AdminClient, settings: Settings) -> ClusterMetadata:
    """Brokers and topics as they are now; `Unavailable` when no broker answers."""
    try:
        return admin.list_topics(timeout=_METADATA_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise Unavailable(
            f"no Kafka broker answers at {settings.bootstrap_servers} ({error.args[0].str()}): "
            "is it running, and is COSTLEDGER_BOOTSTRAP_SERVERS right?"
        ) from error


def _is_embedded(cluster: ClusterMetadata) -> bool:
    return (cluster.cluster_id or "").startswith(EMBEDDED_CLUSTER)


def _create(admin: AdminClient, cluster: ClusterMetadata, specs: list[TopicSpec]) -> None:
    if _is_embedded(cluster):
        for spec in specs:
            admin.list_topics(spec.name, timeout=_TIMEOUT_SECONDS)  # asking for a topic makes it
        return
    replication = min(REPLICATION_MAX, len(cluster.brokers))
    wanted = [
        NewTopic(spec.name, num_partitions=spec.partitions, replication_factor=replication, config=dict(spec.config))
        for spec in specs
    ]
    for name, done in admin.create_topics(wanted, operation_timeout=_TIMEOUT_SECONDS).items():
        try:
            done.result()
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":  # somebody else creates them at this moment
                raise
        _logger.info("created topic %s", name)


def _await_topics(admin: AdminClient, settings: Settings, specs: list[TopicSpec]) -> ClusterMetadata:
    """A new topic takes a moment until every partition has a leader."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        cluster = cluster_metadata(admin, settings)
        waiting = [spec.name for spec in specs if not _has_leaders(cluster, spec.name)]
        if not waiting:
            return cluster
        if time.monotonic() > deadline:
            raise Unavailable(f"created, but without a leader after {_TIMEOUT_SECONDS:g} s: {', '.join(waiting)}")
        time.sleep(_POLL_SECONDS)


def _has_leaders(cluster: ClusterMetadata, name: str) -> bool:
    topic = cluster.topics.get(name)
    return topic is not None and bool(topic.partitions) and all(p.leader >= 0 for p in topic.partitions.values())


def _configs(admin: AdminClient, specs: list[TopicSpec]) -> dict[str, dict[str, str]]:
    if not specs:
        return {}
    asked = [ConfigResource(ResourceType.TOPIC, spec.name) for spec in specs]
    answers = admin.describe_configs(asked, request_timeout=_TIMEOUT_SECONDS)
    return {
        resource.name: {name: entry.value for name, entry in answer.result().items()}
        for resource, answer in answers.items()
    }


def _report(spec: TopicSpec, cluster: ClusterMetadata, config: dict[str, str], created: bool) -> TopicReport:
    topic = cluster.topics.get(spec.name)
    if topic is None:
        return TopicReport(spec.name, "missing", 0, ("there is no such topic: run `costledger topics`",))
    found = len(topic.partitions)
    problems = []
    if found != spec.partitions:
        problems.append(f"has {found} partitions; COSTLEDGER_PARTITIONS is {spec.partitions}")
    problems += [
        f"{name} is {config[name]}; it must be {value}"
        for name, value in spec.config.items()
        if name in config and config[name] != value
    ]
    state: State = "wrong" if problems else "created" if created else "ok"
    return TopicReport(spec.name, state, found, tuple(problems))
