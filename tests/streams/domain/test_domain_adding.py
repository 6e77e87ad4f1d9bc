"""A fetch's events into the totals: the same by the compiled twin as one by one, whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.twins import WAYS, using

from costledger.schemas.budgets import Budget
from costledger.schemas.event_reading import Charge, Pricing, ReadEvent, Tail
from costledger.schemas.ids import derived_event_id
from costledger.streams.domain import adding
from costledger.streams.domain.adding import add_events, add_one
from costledger.streams.domain.partition import Outcome, PartitionTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules

NOW = 1_795_000_000_000_000  # 18 November 2026
USD = 10**12
RULES = Rules(recent_events_max=1000)
CHARGES = [Charge(service, operation, "USAGE") for service in ("openai", "aws-s3") for operation in ("get", "put")]
REVERSED = "018bcfe5-6800-7000-8000-000000000000"


class Place(NamedTuple):
    """Where an event stands: its offset, and when it was received (Unix milliseconds)."""

    offset: int
    timestamp: int


@pytest.fixture(scope="module", autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for the Python code and for its compiled twin."""
    with using(adding, request.param):
        yield


def event(
    number: int,
    user: str,
    amount: int | None,
    age_us: int = 0,
    charge: Charge = CHARGES[0],
    reverses: str | None = None,
) -> ReadEvent:
    """An event as the codec's short way gives it."""
    at = NOW - age_us
    event_id = str(derived_event_id(at, user, str(number)))
    return event_id, user, charge, b"\x00", Pricing("unit", None, None), amount, at, Tail("test", reverses, {})


#: Mostly plain events of two users, close in time; some refused, unpriced, reversing, repeated, late or too old.
EVENTS = st.one_of(
    st.none(),
    st.builds(
        event,
        st.integers(0, 60),
        st.sampled_from(["ann", "bob"]),
        st.one_of(st.integers(0, USD), st.integers(0, USD), st.integers(-3 * USD, 12 * USD), st.none()),
        st.sampled_from([0, 0, 1, 900_000_000, 3_600_000_000, DAY_MICROSECONDS, 90 * DAY_MICROSECONDS]),
        st.sampled_from(CHARGES),
        st.sampled_from([None, None, None, REVERSED]),
    ),
)
#: By how much the broker's clock is ahead (or set back) with an event, in milliseconds: old periods are dropped by it.
STEPS = st.sampled_from([0, 0, 0, 0, 1, 1, 900_000, -3_600_000, 86_400_000, 3 * 86_400_000])
BATCHES = st.lists(st.lists(st.tuples(EVENTS, STEPS), max_size=40), max_size=5)
BUDGET = Budget(user_id="ann", version=1, monthly_budget=20 * USD, time_zone="Asia/Kathmandu")


def state_of(flush: Any) -> tuple[object, ...]:
    """What a flush says, comparable."""
    views = [(view.user_id, view.kind, view.label, view.offset, view.amounts) for view in flush.views]
    return flush.source_offset, flush.groups, flush.alerts, views


@settings(deadline=None, max_examples=400)
@given(BATCHES, st.integers(0, 5))
def test_a_batch_is_what_its_events_are_one_by_one(
    batches: list[list[tuple[ReadEvent | None, int]]], flush_every: int
) -> None:
    """Outcomes, late ones, and at every flush alerts, state and views; after a flush in the midst, too."""
    together, apart = PartitionTotals(RULES), PartitionTotals(RULES)
    offset = 480  # so that a chunk of recent ids ends within
    clock = NOW // 1000
    for number, batch in enumerate(batches):
        if number == 2:
            for totals in (together, apart):
                totals.apply_budget("ann", BUDGET, 0, NOW)
        events = [one for one, _ in batch]
        clocks = list(accumulate((step for _, step in batch), initial=clock))[1:]
        places = [Place(offset + index, received) for index, received in enumerate(clocks)]
        clock = clocks[-1] if clocks else clock
        outcomes, late = add_events(together, places, events)
        expected = []
        for place, one in zip(places, events, strict=True):
            if one is None:
                apart.skip_event(place.offset)
            else:
                expected.append(add_one(apart, one, place.offset, place.timestamp * 1000))
        assert outcomes == [outcome for outcome in expected if outcome is not Outcome.APPLIED]
        days = [received * 1000 // DAY_MICROSECONDS for received in clocks]
        assert late == sum(
            one is not None and one[6] // DAY_MICROSECONDS < day for one, day in zip(events, days, strict=True)
        )
        offset += len(events)
        if flush_every and number % flush_every == 0:
            assert state_of(together.flush()) == state_of(apart.flush())
    assert state_of(together.flush()) == state_of(apart.flush())


def test_a_replay_is_not_added_again() -> None:
    """Events up to the fence of a recovered user; later ones are."""
    events = [event(number, "ann", USD) for number in range(6)]
    places = [Place(number, NOW // 1000) for number in range(6)]
    first = PartitionTotals(RULES)
    add_events(first, places[:4], events[:4])
    flush = first.flush()
    again = PartitionTotals(RULES)
    again.restore(
        (key, flush.source_offset, value) for group in flush.groups for key, value in group if value is not None
    )
    outcomes, _ = add_events(again, places, events)
    assert outcomes == [Outcome.REPLAYED] * 4
    (months,) = [view.amounts for view in again.flush().views if view.kind == "month"]
    assert months == {("openai", "get"): 6 * USD}


def test_what_was_added_before_a_failure_is_known() -> None:
    """The place of the last event that is in the totals, where one after it cannot be added at all."""
    totals = PartitionTotals(RULES)
    events: list[Any] = [event(0, "ann", USD), event(1, "ann", USD), ("no event",)]
    with pytest.raises(ValueError, match="unpack"):
        add_events(totals, [Place(number, NOW // 1000) for number in range(3)], events)
    flush = totals.flush()
    assert flush.source_offset == 1
    assert [view.amounts for view in flush.views if view.kind == "month"] == [{("openai", "get"): 2 * USD}]


def test_an_alert_is_told_at_the_very_event() -> None:
    """Of many plain events, the one that reaches a limit is the one in the alert."""
    totals = PartitionTotals(RULES)
    limit = RULES.defaults.hourly_spike_limit
    ages = [2_000_000 - number for number in range(2_000)]
    events = [event(number, "ann", limit // 1_000, age) for number, age in enumerate(ages)]
    add_events(totals, [Place(number, NOW // 1000) for number in range(2_000)], events)
    spikes = [alert for alert in totals.flush().alerts if alert.kind == "HOURLY_SPIKE"]
    least = next(number for number in range(2_000) if (number + 1) * (limit // 1_000) > limit)
    assert [alert.occurred_at for alert in spikes] == [events[least][6]]


@pytest.mark.parametrize("amounts", [(5, 1, 3), (5, 2, 3), (5, -3, 1, 3, 1)])
def test_room_is_used_up_by_the_last_of_it(amounts: tuple[int, ...]) -> None:
    """The alert is told at the event that leaves nothing of the room: not at the one before it, nor at the one after it."""
    totals = PartitionTotals(RULES)
    first = RULES.defaults.hourly_spike_limit - 6
    events = [event(number, "ann", amount, 100 - number) for number, amount in enumerate((first, *amounts))]
    add_events(totals, [Place(number, NOW // 1000) for number in range(len(events))], events)
    spikes = [alert for alert in totals.flush().alerts if alert.kind == "HOURLY_SPIKE"]
    spent = list(accumulate((first, *amounts)))
    least = next(number for number, total in enumerate(spent) if total > RULES.defaults.hourly_spike_limit)
    assert [(alert.occurred_at, alert.actual) for alert in spikes] == [(events[least][6], spent[least])]


def test_the_time_that_a_plain_event_brings_drops_what_is_old() -> None:
    """Without another event, which would bring it too."""
    totals = PartitionTotals(RULES)
    later = NOW // 1000 + 5 * 86_400_000
    events = [event(0, "bob", USD, 40 * DAY_MICROSECONDS), event(1, "ann", USD), event(2, "ann", USD)]
    add_events(totals, [Place(0, NOW // 1000)], events[:1])
    totals.flush()
    assert totals.users["bob"].calendar.days
    add_events(totals, [Place(1, NOW // 1000), Place(2, later)], events[1:])
    totals.flush()
    assert not totals.users["bob"].calendar.days


def test_an_id_is_stored_though_its_chunk_was_found_by_a_recovery() -> None:
    """After a crash between the chunk of ids and the users, whose events are read again: none marks the chunk as changed."""
    events = [event(number, "ann", USD) for number in range(3)]
    places = [Place(number, NOW // 1000) for number in range(3)]
    first, again = PartitionTotals(RULES), PartitionTotals(RULES)
    add_events(first, places[:2], events[:2])
    again.restore((key, 1, value) for ((key, value),) in first.flush().groups[-1:] if value is not None)
    add_events(again, places, events)
    ((_, ids),) = again.flush().groups[-1]
    assert ids is not None
    assert ids.startswith("".join(one[0] for one in events).encode())


def test_so_many_ids_are_remembered_and_no_more() -> None:
    """Of plain events, which begin no chunk of ids of their own."""
    totals = PartitionTotals(RULES)
    events = [event(number, "ann", 1, 4_000 - number) for number in range(4_000)]
    sent_again = [events[-RULES.recent_events_max], events[0]]
    places = [Place(number, NOW // 1000) for number in range(4_002)]
    outcomes, _ = add_events(totals, places, events + sent_again)
    assert outcomes == [Outcome.REPEATED]
    (month,) = [view.amounts for view in totals.flush().views if view.kind == "month"]
    assert month == {("openai", "get"): 4_001}


def test_what_waits_does_not_make_history_plain() -> None:
    """An event that came in time is followed by one of the same minute that came too late."""
    totals = PartitionTotals(RULES)
    age = RULES.horizon_us - 1_000_000
    events = [event(number, "ann", USD, age) for number in range(4)]
    clocks = [0, 1_000, 1_001, 999]
    outcomes, late = add_events(totals, [Place(n, NOW // 1000 + clock) for n, clock in enumerate(clocks)], events)
    assert (outcomes, late) == ([Outcome.HISTORY], 4)
    (month,) = [view.amounts for view in totals.flush().views if view.kind == "month"]
    assert month == {("openai", "get"): 3 * USD}
