"""Partitions that no member of the group has: found, and given to somebody by one rebalance more.

A member with a name of its own (static membership) that is started again is given its last assignment without a rebalance. Did it
die between the two steps of a cooperative one, then the partitions that it had handed back are nobody's, and Kafka makes the
second step only when a member comes or goes. So its next life looks whether there are any, and then one comes and goes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Set
from concurrent.futures import Future, wait
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupState, TopicPartition
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription  # type: ignore[attr-defined]  # documented place

from costledger.schemas.kafka_config import client_config
from costledger.schemas.settings import Settings
from costledger.sinks.background import in_background
from costledger.sinks.consuming import REBALANCE_MILLISECONDS_MAX, member_config

logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 2.0
#: What is nobody's in so many looks on end is not just on its way from one member to another.
_LOOKS_UNASSIGNED: Final = 2
#: After so many looks on end in which every partition had a member there is nothing to be found any more.
_LOOKS_ASSIGNED: Final = 7
#: After a question that was not answered, and after a rebalance that was asked for: this one doubles, since it may not help.
_REST_SECONDS: Final = 15.0
_REST_SECONDS_MAX: Final = 600.0
_ANSWER_SECONDS_MAX: Final = 5.0
#: The least that brokers allow as shipped: should it die with the process, the group is rid of it soon.
_SESSION_MILLISECONDS: Final = 6_000
_JOIN_SECONDS_MAX: Final = REBALANCE_MILLISECONDS_MAX / 1000 + 10
_POLL_SECONDS: Final = 0.2


class UnassignedWatch:
    """Looks at the group of a static member from its start until all is well, in a thread of its own; `turn` never waits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topics.events
        self._admin: AdminClient | None = None
        self._stopping = threading.Event()
        self._unassigned: dict[int, int] = {}
        self._assigned = 0
        self._rest_seconds = _REST_SECONDS
        self._looking: Future[None] | None = None
        self._due_at = 0.0

    def turn(self, now: float) -> None:
        """Begin a look if one is due."""
        if now >= self._due_at and not self._stopping.is_set() and (self._looking is None or self._looking.done()):
            self._due_at = now + _LOOK_SECONDS
            self._looking = in_background("unassigned partitions", self._look)

    def stop(self, timeout_seconds: float) -> None:
        """End a look, and wait for so long at most until a member that has come has gone."""
        self._stopping.set()
        if self._looking is not None:
            wait([self._looking], timeout=timeout_seconds)

    def _look(self) -> None:
        try:
            self._act(self._ask())
        except Exception as error:  # noqa: BLE001 - the sink reads and writes, whatever this comes to; the next look may be answered
            logger.info("whether every partition is read is not known now: %r", error)
            self._unassigned.clear()
            self._due_at = time.monotonic() + _REST_SECONDS

    def _act(self, found: Set[int] | None) -> None:
        if found is None:
            self._unassigned.clear()
            self._assigned = 0
            return
        self._assigned = 0 if found else self._assigned + 1
        self._unassigned = {one: self._unassigned.get(one, 0) + 1 for one in found}
        waiting = sorted(one for one, looks in self._unassigned.items() if looks >= _LOOKS_UNASSIGNED)
        if waiting:
            logger.warning("nobody reads the partitions %s: a rebalance is asked for", waiting)
            if not come_and_go(self._settings, self._stopping):
                logger.warning("the rebalance did not take place")
            self._unassigned.clear()
            self._due_at = time.monotonic() + self._rest_seconds
            self._rest_seconds = min(2 * self._rest_seconds, _REST_SECONDS_MAX)
        elif self._assigned >= _LOOKS_ASSIGNED:
            self._admin, self._due_at = None, float("inf")

    def _ask(self) -> Set[int] | None:
        if self._admin is None:
            # Nobody polls it, so that it has no logger; what it has to say is raised.
            own = {"allow.auto.create.topics": False, "log_level": 0}
            self._admin = AdminClient({**client_config(self._settings, "costledger-sink-group"), **own})
        name = self._settings.sink_group
        described = self._admin.describe_consumer_groups([name], request_timeout=_ANSWER_SECONDS_MAX)[name]
        group = described.result(2 * _ANSWER_SECONDS_MAX)
        topics = self._admin.list_topics(self._topic, timeout=_ANSWER_SECONDS_MAX).topics
        return unassigned(group, self._topic, topics[self._topic].partitions.keys())


def unassigned(group: ConsumerGroupDescription, topic: str, partitions: Set[int]) -> Set[int] | None:
    """The partitions that no member has; None while the group is being balanced."""
    if group.state is not ConsumerGroupState.STABLE:
        return None
    places = (place for member in group.members for place in member.assignment.topic_partitions)
    return partitions - {place.partition for place in places if place.topic == topic}


def come_and_go(settings: Settings, stopping: threading.Event) -> bool:
    """Join the group, and leave it when the rebalance is done, in which what was nobody's is dealt out; False if it was not.

    It asks for another topic, which no sink reads: so nobody loses a partition to it.
    """
    joined = threading.Event()

    def on_assign(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_assign(partitions)
        consumer.pause(partitions)
        joined.set()

    own = {"session.timeout.ms": _SESSION_MILLISECONDS}
    config = {**member_config(settings, "costledger-sink-rebalance", settings.sink_group), **own}
    consumer = Consumer(config, logger=logger)
    deadline = time.monotonic() + _JOIN_SECONDS_MAX
    try:
        consumer.subscribe([settings.topics.dead_letters], on_assign=on_assign)
        while not (joined.is_set() or stopping.is_set()) and time.monotonic() < deadline:
            consumer.poll(_POLL_SECONDS)
    finally:
        consumer.close()
    return joined.is_set()
