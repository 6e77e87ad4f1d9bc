"""Runs of messages become the rows that they become one by one, by the Python code and by its compiled twin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.twins import WAYS, using
from tests.sinks.delivered import GOOD, Delivered

from costledger.schemas.errors import Unavailable
from costledger.schemas.event_reading import ReadEvent, read_event
from costledger.sinks import batch, rows
from costledger.sinks.batch import Gatherer
from costledger.sinks.rows import read_run

LATER = b"later"
#: What the registry was asked for.
asked: list[bytes] = []
#: Milliseconds, long after the event occurred.
STORED = 1_900_000_000_000
#: Two partitions that are ours, one that is not.
OURS = (0, 1)


@pytest.fixture(scope="module", autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for the Python code and for its compiled twin."""
    with using(rows, request.param):
        yield


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schema registry that is away: `LATER` is of a schema that it would have."""
    asked.clear()

    def read_or_wait(payload: bytes, received_us: int | None) -> ReadEvent:
        if payload == LATER:
            asked.append(payload)
            raise Unavailable("the registry is away")
        return read_event(payload, received_us)

    for module in (batch, rows, *filter(None, [sys.modules.get("costledger.sinks._rows")])):
        monkeypatch.setattr(module, "read_event", read_or_wait)


@st.composite
def deliveries(draw: st.DrawFn) -> list[Delivered]:
    """Mostly one offset after the other; now and then a gap, a repeat, another partition, an error or no event."""
    following = {None: 0, 0: 0, 1: 0, 2: 0}
    messages = []
    for _ in range(draw(st.integers(0, 30))):
        on = draw(st.sampled_from([0, 0, 0, 0, 1, 2, None]))
        at = max(0, following[on] + draw(st.sampled_from([0] * 12 + [-2, 1, 5])))
        wrong = draw(st.sampled_from([None] * 8 + ["an error"]))
        payload = draw(st.sampled_from([GOOD] * 16 + [b"bad", b"", None, LATER]))
        stored = draw(st.sampled_from([(1, STORED)] * 3 + [(0, -1), (2, STORED + 1)]))
        messages.append(Delivered(on, at, payload, wrong, stored))
        following[on] = at if wrong else at + 1
    return messages


def gatherer() -> Gatherer:
    """It has both partitions, from their beginning."""
    one = Gatherer("t", rows_max=10_000, bytes_max=10**9)
    for partition in OURS:
        one.claim(partition, 0, 1)
    return one


@settings(deadline=None, max_examples=500)
@given(deliveries())
def test_a_run_is_what_its_messages_are_one_by_one(messages: list[Delivered]) -> None:
    """The same batch, positions and doubts, whatever is delivered."""
    by_runs, one_by_one = gatherer(), gatherer()
    place = 0
    # The sink takes nothing of what is left where a schema cannot be had.
    with suppress(Unavailable):
        while (place := by_runs.add_run(messages, place)) < len(messages):
            if messages[place].error() is None:
                by_runs.add(messages[place])
            place += 1
    with suppress(Unavailable):
        for message in messages:
            if message.error() is None:
                one_by_one.add(message)
    for name in ("positions", "astray"):
        assert getattr(by_runs, name)() == getattr(one_by_one, name)()
    assert by_runs.behind == one_by_one.behind
    assert by_runs.empty == one_by_one.empty
    assert by_runs.seal() == one_by_one.seal()


def test_a_run_is_taken_as_a_whole() -> None:
    """From where it begins to the first message that needs a closer look; the place of that one, and the bytes of the others."""
    messages = [Delivered(0, offset) for offset in range(3, 10)]
    for stranger in (
        Delivered(0, 7, wrong="an error"),
        Delivered(1, 7),
        Delivered(None, 7),
        Delivered(0, 8),
        Delivered(0, 6),
        Delivered(0, 7, b"bad"),
        Delivered(0, 7, b""),
        Delivered(0, 7, None),
    ):
        taken: list[rows.Row] = []
        delivered = [*messages[:4], stranger, *messages[5:]]
        assert read_run("t", 0, 4, delivered, 1, taken) == (4, 3 * len(GOOD), None)
        assert [(row.partition, row.offset, row.message) for row in taken] == [
            (0, at, messages[at - 3]) for at in (4, 5, 6)
        ]
        assert all(isinstance(row, rows.Row) and row.event_id == taken[0].event_id for row in taken)
    assert read_run("t", 0, 3, messages, 0, []) == (7, 7 * len(GOOD), None)
    assert read_run("t", 0, 3, messages, 7, []) == (7, 0, None)


def test_a_schema_that_cannot_be_had_is_asked_for_once() -> None:
    """The run ends there with the error, and the partition waits for a seek."""
    one = gatherer()
    messages = [Delivered(0, 0), Delivered(0, 1, LATER), Delivered(0, 2)]
    with pytest.raises(Unavailable, match="the registry is away"):
        one.add_run(messages, 0)
    assert asked == [LATER]
    assert one.positions() == {0: 1, 1: 0}
    assert one.astray() == {0: 1}
