"""Partitions that a static member has handed back, and died: somebody reads them soon."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable

import pytest
from confluent_kafka import ConsumerGroupState, TopicPartition
from confluent_kafka.admin import (
    ConsumerGroupDescription,
    MemberAssignment,
    MemberDescription,
)
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import PARTITIONS, Ledger, Topic, random_events

from costledger.schemas.fail_points import FAIL_AT, FLAG
from costledger.schemas.settings import Settings
from costledger.sinks.unassigned import rank, unassigned

StartProcess = Callable[..., subprocess.Popen[bytes]]


def group(state: ConsumerGroupState, *members: tuple[str | None, list[int]]) -> ConsumerGroupDescription:
    """A group of members with these names and partitions of the topic `t`; and all of another topic's."""
    return ConsumerGroupDescription(
        "g",
        False,
        [
            MemberDescription(
                f"member-{number}",
                "client",
                "host",
                MemberAssignment(
                    [TopicPartition("t", one) for one in partitions]
                    + [TopicPartition("other", one) for one in range(9)]
                ),
                name,
            )
            for number, (name, partitions) in enumerate(members)
        ],
        "cooperative-sticky",
        state,
        None,
    )


def test_what_no_member_has_is_unassigned() -> None:
    """Only of this topic, and only of a group that is not being balanced just now."""
    members = ("one", [0, 2]), (None, [5])
    assert unassigned(group(ConsumerGroupState.STABLE, *members), "t", set(range(6))) == {1, 3, 4}
    assert unassigned(group(ConsumerGroupState.STABLE, *members), "t", {0, 2, 5}) == set()
    for state in (ConsumerGroupState.PREPARING_REBALANCING, ConsumerGroupState.COMPLETING_REBALANCING):
        assert unassigned(group(state, *members), "t", set(range(6))) == set()


def test_members_act_one_after_the_other() -> None:
    """In the order of their names; members without a name do not act."""
    described = group(ConsumerGroupState.STABLE, ("b", []), (None, []), ("a", []), ("c", []))
    assert [rank(described, name) for name in "abc"] == [0, 1, 2]


@pytest.mark.fault
def test_partitions_that_a_sink_has_handed_back_when_it_died_are_read(
    settings: Settings, ledger: Ledger, topic: Topic, start_process: StartProcess, seed: int
) -> None:
    """Its next life is given the rest without a rebalance: without another one nobody would ever read these."""
    one, two = (settings.model_copy(update={"sink_instance_id": name}) for name in ("one", "two"))
    topic.send(random_events(seed, 200))
    first = start_process(one, {FLAG: "1", FAIL_AT: "sink.before_release:1"})
    wait_until(lambda: ledger.consumed() == topic.produced, 60, "one sink reads everything")
    start_process(two)
    # In the midst of a rebalance: it has been told what to hand back.
    assert first.wait(60) == -signal.SIGKILL
    start_process(one)
    topic.send(random_events(seed + 1, 100 * PARTITIONS))
    wait_until(lambda: ledger.consumed() == topic.produced, 30, "every partition is read")
    ledger.assert_consistent()
