"""Offsets of events that are settled after they were acknowledged: those that will be needed are kept."""

from __future__ import annotations

from tests.producers.guard.guarding import Tracker

from costledger.producers.guard.acknowledgements import OTHERS_MAX, Acknowledgements
from costledger.producers.guard.outstanding import Outstanding


def events(count: int) -> list:
    """Ids of events of now."""
    tracker = Tracker()
    return [tracker.track() for _ in range(count)]


def test_an_expected_events_offset_outlasts_any_number_of_others() -> None:
    """On a busy service, a job's first event is acknowledged long before the job is settled."""
    told: list[str] = []
    outstanding = Outstanding(lambda: told.append("overflow"), lambda: told.append("unclaimed"))
    first, later = events(2)
    outstanding.expect([first])
    outstanding.acknowledge(first, 7)
    for number, other in enumerate(events(OTHERS_MAX + 1)):
        outstanding.acknowledge(other, 8 + number)
    outstanding.acknowledge(later, 50_000)
    item = outstanding.settle("ann", "0" * 32, 1, "2026-11", [first, later])
    assert item is not None
    assert item.offset == 50_000
    assert not outstanding.awaits()
    assert told == []


def test_without_being_expected_the_latest_are_known() -> None:
    """So many; an event that is expected late brings its offset along."""
    acknowledged = Acknowledgements(lambda: None, others_max=3)
    ids = events(5)
    for number, each in enumerate(ids):
        acknowledged.note(each, number)
    acknowledged.expect([ids[2]])
    acknowledged.note(events(1)[0], 5)
    acknowledged.note(events(1)[0], 6)
    assert acknowledged.claim(ids) == [None, None, 2, None, 4]


def test_expected_events_that_nobody_settles_make_way_and_are_told() -> None:
    """The oldest first; what is claimed makes room without a word."""
    told: list[int] = []
    acknowledged = Acknowledgements(lambda: told.append(1), expected_max=3)
    ids = events(6)
    acknowledged.expect(ids[:3])
    assert acknowledged.claim(ids[:1]) == [None]
    acknowledged.expect(ids[3:5])
    assert len(told) == 1
    for number, each in enumerate(ids[1:5]):
        acknowledged.note(each, number)
    assert acknowledged.claim(ids[2:5]) == [1, 2, 3]
    assert acknowledged.claim(ids[2:5]) == [1, 2, 3], "another amount may name the same events"
