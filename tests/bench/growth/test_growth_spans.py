"""What of a group's work counts for the curve `scale`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from confluent_kafka import ConsumerGroupState, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented place
    ConsumerGroupDescription,
    MemberAssignment,
    MemberDescription,
)
from tests.bench.growth.groups import owners_of, watch_group
from tests.bench.growth.spans import NotShared, Owners, Seen, settled_rate
from tests.bench.growth.workers import NotInTime
from tests.bench.rates import TooFewEvents

ALONE: Owners = {"a": frozenset({0, 1})}
SHARED: Owners = {"a": frozenset({0}), "b": frozenset({1})}


def look(seconds: float, owners: Owners, *positions: int) -> Seen:
    """How far the partitions 0 and 1 were."""
    return Seen(seconds, owners, dict(enumerate(positions)))


def test_a_rate_begins_when_each_worker_has_committed_after_the_last_rebalance() -> None:
    """What one worker did alone, the rebalance, and what came before the other's first commit are no part of it."""
    seen = [
        look(0, {}),
        look(1, ALONE, 500, 500),
        look(2, {}, 500, 500),
        look(9, SHARED, 500, 500),
        look(10, SHARED, 1_000, 500),
        look(11, SHARED, 1_000, 1_500),
        look(12, SHARED, 4_000, 1_500),
        look(16, SHARED, 5_000, 5_000),
        look(99, SHARED, 5_000, 5_000),
    ]
    assert settled_rate(seen, 2, 2) == (10_000 - 2_500) / 5


def test_a_later_rebalance_begins_the_rate_anew() -> None:
    """Also one in which the same members come to have the same partitions again."""
    seen = [
        look(0, {}),
        look(0.5, SHARED, 0, 0),
        look(1, SHARED, 10, 10),
        look(2, {}, 10, 10),
        look(3, SHARED, 10, 10),
        look(4, SHARED, 20, 20),
        look(6, SHARED, 100, 100),
    ]
    assert settled_rate(seen, 2, 2) == 160 / 2


def test_one_worker_counts_from_its_first_commit() -> None:
    """As in the other benchmarks."""
    seen = [look(0, {}), look(1, ALONE), look(2, ALONE, 100, 0), look(4, ALONE, 500, 500)]
    assert settled_rate(seen, 1, 2) == 900 / 2


def test_no_rate_of_less_than_half_of_the_events() -> None:
    """The second worker joined late: the error says how many events were left."""
    seen = [
        look(0, ALONE, 0, 0),
        look(5, ALONE, 300, 300),
        look(6, SHARED, 300, 300),
        look(7, SHARED, 310, 310),
        look(9, SHARED, 500, 500),
    ]
    with pytest.raises(TooFewEvents, match=r"380 of 1,000 events.*more --events"):
        settled_rate(seen, 2, 2)
    half = [look(6, SHARED, 200, 200), look(7, SHARED, 250, 250), look(9, SHARED, 500, 500)]
    assert settled_rate(half, 2, 2) == 500 / 2


@pytest.mark.parametrize(
    "owners",
    [{}, ALONE, {**ALONE, "b": frozenset()}, {"a": frozenset({0}), "b": frozenset({0})}, {**SHARED, "c": frozenset()}],
)
def test_no_rate_unless_all_workers_share_all_partitions(owners: Owners) -> None:
    """At the end as many members as workers have each partition once, and each has one."""
    with pytest.raises(NotShared, match="2 workers should have shared 2 partitions"):
        settled_rate([look(0, owners, 0, 0), look(1, owners, 5, 5), look(2, owners, 9, 9)], 2, 2)


def test_no_rate_where_one_worker_had_nothing_to_commit() -> None:
    """It may have joined when all was done."""
    with pytest.raises(NotShared, match="anything to commit"):
        settled_rate([look(0, SHARED, 0, 0), look(1, SHARED, 9, 0), look(2, SHARED, 99, 0)], 2, 2)


@pytest.mark.parametrize("state", [ConsumerGroupState.STABLE, ConsumerGroupState.PREPARING_REBALANCING])
def test_owners_are_those_of_a_stable_group(state: ConsumerGroupState) -> None:
    """By member, of the one topic; changelogs and the like are none of it."""
    places = [TopicPartition("events", 3), TopicPartition("changelog", 4)]
    members = [
        MemberDescription("a", "client", "host", MemberAssignment(places)),
        MemberDescription("b", "client", "host", MemberAssignment([])),
    ]
    described = ConsumerGroupDescription("g", False, members, "range", state, None)  # type: ignore[arg-type]
    expected = {"a": frozenset({3}), "b": frozenset()} if state is ConsumerGroupState.STABLE else {}
    assert owners_of(described, "events") == expected


def test_a_group_is_watched_until_all_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change is seen once, what did not change is not; who has what is asked for first, and at the very end."""
    monkeypatch.setattr("tests.bench.growth.groups._OWNERS_SECONDS", 0.0)
    asked: list[str] = []
    found: list[Mapping[int, int]] = [{}, {0: 5}, {0: 5}, {0: 9}]
    held = iter([ALONE, ALONE, ALONE, SHARED, {}])

    def owners() -> Owners:
        asked.append("owners")
        return next(held)

    def positions() -> Mapping[int, int]:
        asked.append("positions")
        return found.pop(0)

    seen = watch_group(owners, positions, 9, 60)
    assert [(one.owners, one.positions) for one in seen] == [
        (ALONE, {}),
        (ALONE, {0: 5}),
        (SHARED, {0: 9}),
        ({}, {0: 9}),
    ]
    assert asked == ["owners", "positions"] * 4 + ["owners"]


def test_a_group_that_does_not_finish_is_told() -> None:
    """With what it had committed last."""
    with pytest.raises(NotInTime, match=r"7 of 9 events"):
        watch_group(lambda: ALONE, lambda: {0: 7}, 9, 0.05)
