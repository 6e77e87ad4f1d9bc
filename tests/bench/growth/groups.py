"""Who has which partitions of a topic, and how far they are committed: asked of the broker, from outside."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription  # type: ignore[attr-defined]  # documented place
from tests.bench.growth.spans import Owners, Seen
from tests.bench.growth.workers import NotInTime, Place

_ANSWER_SECONDS_MAX: Final = 30.0
_OWNERS_SECONDS: Final = 0.25
_POLL_SECONDS: Final = 0.01
#: While the broker moves its groups, or does not know one yet; whoever asks, asks again, within a deadline of their own.
_NOT_YET: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.GROUP_ID_NOT_FOUND,
)
_logger = logging.getLogger(__name__)


class Group:
    """The group of a place, as anybody outside can see it."""

    def __init__(self, place: Place, closing: ExitStack) -> None:
        self._name = place.group
        self._topic = place.events
        config: dict[str, str | int | bool] = {"bootstrap.servers": place.bootstrap, "log_level": 3}
        self._admin = AdminClient({**config})
        # It asks and never subscribes: it is no member.
        self._consumer = Consumer({**config, "group.id": self._name, "enable.auto.commit": False})
        closing.callback(self._consumer.close)
        self._places = [TopicPartition(self._topic, partition) for partition in range(place.partitions)]
        self._known: dict[int, int] = {}

    def owners(self) -> Owners:
        """The partitions of each member; nothing while the group is being balanced."""
        asked = self._admin.describe_consumer_groups([self._name], request_timeout=_ANSWER_SECONDS_MAX)
        try:
            return owners_of(asked[self._name].result(2 * _ANSWER_SECONDS_MAX), self._topic)
        except KafkaException as error:
            self._pass(error)
            return {}

    def positions(self) -> Mapping[int, int]:
        """The committed offset of each partition that has one."""
        try:
            answer = self._consumer.committed(self._places, _ANSWER_SECONDS_MAX)
        except KafkaException as error:
            self._pass(error)
        else:
            # What has no offset yet has a negative one.
            self._known = {one.partition: one.offset for one in answer if one.offset >= 0}
        return self._known

    def _pass(self, error: KafkaException) -> None:
        if error.args[0].code() not in _NOT_YET:
            raise error
        _logger.info("the group %s cannot be asked yet: %s", self._name, error)


def owners_of(described: ConsumerGroupDescription, topic: str) -> Owners:
    """The partitions of a topic by member; nothing unless the group is stable."""
    if described.state is not ConsumerGroupState.STABLE:
        return {}
    return {
        member.member_id: frozenset(
            place.partition for place in member.assignment.topic_partitions if place.topic == topic
        )
        for member in described.members
    }


def watch_group(
    owners: Callable[[], Owners], positions: Callable[[], Mapping[int, int]], events: int, seconds_max: float
) -> list[Seen]:
    """Ask again and again until all events are committed; every change that was seen. `NotInTime` names what was committed last.

    What is committed is asked for after who has it, so that nothing of before a rebalance counts as later.
    """
    seen: list[Seen] = []
    deadline = time.monotonic() + seconds_max
    held, asked_at = owners(), time.monotonic()
    while True:
        found = dict(positions())
        one = Seen(time.monotonic(), held, found)
        if not seen or (one.owners, one.positions) != (seen[-1].owners, seen[-1].positions):
            seen.append(one)
        if one.events >= events:
            # Once more: a rebalance that came after the last look was in the rate.
            return [*seen, Seen(time.monotonic(), owners(), found)]
        if one.seconds > deadline:
            raise NotInTime(f"{one.events:,} of {events:,} events were committed within {seconds_max:g} s")
        time.sleep(_POLL_SECONDS)
        if time.monotonic() - asked_at > _OWNERS_SECONDS:
            held, asked_at = owners(), time.monotonic()
