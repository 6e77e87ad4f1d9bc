"""The Kafka topics: their names, partitions and settings.

`cost.events` uses the broker's clock (`LogAppendTime`): whether an event is too far ahead, late or history
is decided against that time, so that the decision is the same for every consumer and in every replay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

EVENTS: Final = "cost.events"
ALERTS: Final = "cost.alerts"
BUDGETS: Final = "cost.budgets"
DEAD_LETTERS: Final = "cost.events.dlq"

DEFAULT_PARTITIONS: Final = 12
#: The partitioner of Java's clients; librdkafka's own default would put a user elsewhere than Faust does.
PARTITIONER: Final = "murmur2_random"

_DAY_MS: Final = 24 * 3600 * 1000
#: A worker that takes over reads the whole changelog, and Kafka compacts no segment that is still written: small ones, and
#: soon, or a state of some megabytes is read from gigabytes.
_SOON_COMPACTED: Final = {
    "segment.bytes": str(16 * 1024 * 1024),
    "segment.ms": str(3600 * 1000),
    "min.cleanable.dirty.ratio": "0.2",
    # What a worker that was cut off writes late must not replace the owner's before that has noticed and repaired it.
    "min.compaction.lag.ms": str(60 * 1000),
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as `costledger topics` creates and checks it; `config` holds Kafka's own setting names."""

    name: str
    partitions: int
    config: dict[str, str]


class TopicNames(NamedTuple):
    """The names of the topics of one system; with a prefix, several can share a Kafka cluster."""

    events: str = EVENTS
    alerts: str = ALERTS
    budgets: str = BUDGETS
    dead_letters: str = DEAD_LETTERS

    @classmethod
    def with_prefix(cls, prefix: str) -> TopicNames:
        """The names with `prefix` before each."""
        return cls(*(prefix + name for name in (EVENTS, ALERTS, BUDGETS, DEAD_LETTERS)))


def topic_specs(names: TopicNames, changelog: str, partitions: int, retention_days: int) -> list[TopicSpec]:
    """All topics, each with as many partitions as the events so that a user is in the same one everywhere.

    `changelog` is the name of the stream app's changelog; `retention_days` applies to events, alerts and
    dead letters.
    """
    kept = {"cleanup.policy": "delete", "retention.ms": str(retention_days * _DAY_MS)}
    # Deletes stay readable for a day: longer than any recovery takes.
    compacted = {"cleanup.policy": "compact", "delete.retention.ms": str(_DAY_MS)}
    broker_clock = {"message.timestamp.type": "LogAppendTime"}
    return [
        TopicSpec(names.events, partitions, {**kept, **broker_clock}),
        TopicSpec(names.alerts, partitions, kept),
        TopicSpec(names.budgets, partitions, {**compacted, **broker_clock}),
        TopicSpec(names.dead_letters, partitions, kept),
        TopicSpec(changelog, partitions, {**compacted, **_SOON_COMPACTED}),
    ]
