"""Partitions that no member of the group has: found, and given to somebody by one rebalance more.

A member with a name of its own (static membership) that is started again is given its last assignment without a rebalance. Did it
die between the two steps of a cooperative one, then the partitions that it had handed back are nobody's, and Kafka makes the
second step only when a member comes or goes. So one comes and goes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Set
from concurrent.futures import Future
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription  # type: ignore[attr-defined]  # documented place

from costledger.schemas.kafka_config import client_config
from costledger.schemas.settings import Settings
from costledger.sinks.background import in_background
from costledger.sinks.consuming import member_config

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
#: A partition without a member in so many looks on end is not just on its way from one to another.
LOOKS: Final = 2
#: Several members look: each lets those whose names come before its own act first, for so many looks.
_LOOKS_BEFORE_THE_NEXT: Final = 3
#: After a rebalance that was asked for, and after a question that was not answered, it is not looked again for so long.
_REST_SECONDS: Final = 15.0
_ANSWER_SECONDS_MAX: Final = 5.0
#: As long as a rebalance may be held up by members that have died, and more.
_JOIN_SECONDS_MAX: Final = 40.0
_POLL_SECONDS: Final = 0.2


class UnassignedWatch:
    """Looks at the group of a static member every two seconds, in a thread of its own; `turn` never waits."""

    def __init__(self, settings: Settings, instance_id: str) -> None:
        self._settings = settings
        self._topic = settings.topics.events
        self._instance_id = instance_id
        self._admin = AdminClient(dict(client_config(settings, "costledger-sink-group")))
        self._looks: dict[int, int] = {}
        self._looking: Future[None] | None = None
        self._due_at = 0.0

    def turn(self, now: float) -> None:
        """Begin a look if one is due. Raises what the last one has raised, but for a Kafka that does not answer: that passes."""
        if self._looking is not None:
            if not self._looking.done():
                return
            looking, self._looking = self._looking, None
            looking.result()
        if now >= self._due_at:
            self._due_at = now + LOOK_SECONDS
            self._looking = in_background("unassigned partitions", self._look)

    def _look(self) -> None:
        try:
            group = self._describe()
            patience = LOOKS + _LOOKS_BEFORE_THE_NEXT * rank(group, self._instance_id)
            self._looks = {
                one: self._looks.get(one, 0) + 1 for one in unassigned(group, self._topic, self._partitions())
            }
            waiting = sorted(one for one, looks in self._looks.items() if looks >= patience)
            if waiting:
                logger.warning("nobody reads the partitions %s: a rebalance is asked for", waiting)
                self._looks.clear()
                come_and_go(self._settings, self._topic)
                self._due_at = time.monotonic() + _REST_SECONDS
        except (KafkaException, TimeoutError) as error:
            logger.info("whether every partition is read is not known now: %s", error)
            self._due_at = time.monotonic() + _REST_SECONDS

    def _describe(self) -> ConsumerGroupDescription:
        group = self._settings.sink_group
        described = self._admin.describe_consumer_groups([group], request_timeout=_ANSWER_SECONDS_MAX)[group]
        found: ConsumerGroupDescription = described.result(2 * _ANSWER_SECONDS_MAX)
        return found

    def _partitions(self) -> Set[int]:
        return self._admin.list_topics(self._topic, timeout=_ANSWER_SECONDS_MAX).topics[self._topic].partitions.keys()


def unassigned(group: ConsumerGroupDescription, topic: str, partitions: Set[int]) -> Set[int]:
    """The partitions that no member has; none while the group is being balanced, or where it has no members."""
    if group.state is not ConsumerGroupState.STABLE:
        return frozenset()
    places = (place for member in group.members for place in member.assignment.topic_partitions)
    return partitions - {place.partition for place in places if place.topic == topic}


def rank(group: ConsumerGroupDescription, instance_id: str) -> int:
    """How many members' names come before this one."""
    return sum(member.group_instance_id < instance_id for member in group.members if member.group_instance_id)


def come_and_go(settings: Settings, topic: str) -> None:
    """Join the group, and leave it when the rebalance is done: what was nobody's is dealt out. Nothing is read."""
    joined: list[object] = []
    consumer = Consumer(member_config(settings, "costledger-sink-rebalance", settings.sink_group), logger=logger)
    deadline = time.monotonic() + _JOIN_SECONDS_MAX
    try:
        # The first answer may be an empty one: then the other members are to hand something back first.
        consumer.subscribe([topic], on_assign=lambda _, partitions: joined.append(partitions))
        while not joined and time.monotonic() < deadline:
            consumer.poll(_POLL_SECONDS)
    finally:
        consumer.close()
