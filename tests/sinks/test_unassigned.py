"""Partitions that a static member has handed back, and died: somebody reads them soon."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from confluent_kafka import ConsumerGroupState, KafkaException, TopicPartition
from confluent_kafka.admin import (
    ConsumerGroupDescription,
    MemberAssignment,
    MemberDescription,
)
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import PARTITIONS, Ledger, Topic, random_events

from costledger.schemas.fail_points import FAIL_AT, FLAG
from costledger.schemas.settings import Settings
from costledger.sinks import unassigned as module
from costledger.sinks.unassigned import UnassignedWatch, unassigned

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
        assert unassigned(group(state, *members), "t", set(range(6))) is None


class Asked(UnassignedWatch):
    """A watch whose group answers as it is told to, and that says when it asks for a rebalance."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, *, helps: bool = True) -> None:
        super().__init__(settings)
        self.answers: list[set[int] | None] = []
        self.rebalances = 0
        monkeypatch.setattr(module, "come_and_go", self._come_and_go)
        self._helps = helps

    def _come_and_go(self, *_: object) -> bool:
        self.rebalances += 1
        return self._helps

    def _ask(self) -> set[int] | None:
        if not self.answers:
            raise KafkaException("no answer")
        return self.answers.pop(0)

    def looks(self, *answers: set[int] | None) -> float:
        """So many looks; how long it rests after the last."""
        self.answers += answers
        for _ in answers:
            self._due_at = 0.0
            self.turn(time.monotonic())
            assert self._looking is not None
            self._looking.result(10)
        return self._due_at - time.monotonic()


def test_what_is_on_its_way_from_one_to_another_is_left_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebalance is asked for where the same partition is nobody's in two looks on end."""
    watch = Asked(settings, monkeypatch)
    watch.looks({1}, set(), {1}, None, {1}, {2}, {3})
    assert watch.rebalances == 0
    assert 10 < watch.looks({3, 4}) <= 15
    assert watch.rebalances == 1
    watch.looks({3})
    assert watch.rebalances == 1


def test_what_does_not_help_is_tried_less_often(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that does not answer is asked again soon, however often it did not."""
    watch = Asked(settings, monkeypatch, helps=False)
    rests = [watch.looks({1}, {1}) for _ in range(8)]
    assert watch.rebalances == 8
    assert [round(rest, -1) for rest in rests[1:]] == [30, 60, 120, 240, 480, 600, 600]
    for _ in range(3):
        watch._due_at = 0.0
        watch.turn(time.monotonic())
        assert watch._looking is not None
        assert watch._looking.result(10) is None
        assert 10 < watch._due_at - time.monotonic() <= 15


def test_it_looks_from_the_start_until_all_is_well(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven looks on end: what comes later is no matter of a start."""
    watch = Asked(settings, monkeypatch)
    assert watch.looks(*[set()] * 6, {1}, *[set()] * 6) < 10
    assert watch.looks(set()) == float("inf")
    assert watch.rebalances == 0


@pytest.mark.fault
def test_partitions_that_a_sink_has_handed_back_when_it_died_are_read(
    settings: Settings,
    ledger: Ledger,
    topic: Topic,
    kafka: KafkaServer,
    start_process: StartProcess,
    seed: int,
) -> None:
    """Its next life is given the rest without a rebalance: without another one nobody would ever read these."""
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker knows no static members")
    kafka.create_topic(settings.topics.dead_letters)
    # Longer than the test waits: nothing but the watch brings about another rebalance.
    sessions = {"sink_session_timeout_seconds": 200}
    one, two = (settings.model_copy(update={"sink_instance_id": name, **sessions}) for name in ("one", "two"))
    topic.send(random_events(seed, 200))
    first = start_process(one, {FLAG: "1", FAIL_AT: "sink.before_release:1"})
    wait_until(lambda: ledger.consumed() == topic.produced, 60, "one sink reads everything")
    start_process(two)
    # In the midst of a rebalance: it has been told what to hand back.
    assert first.wait(60) == -signal.SIGKILL
    start_process(one)
    topic.send(random_events(seed + 1, 100 * PARTITIONS))
    wait_until(lambda: ledger.consumed() == topic.produced, 60, "every partition is read")
    ledger.assert_consistent()
