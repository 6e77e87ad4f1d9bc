"""Topics made anew, positions set back by hand: nothing that is right is told as wrong."""

from __future__ import annotations

import pytest
from tests.sinks.chain.writing import (
    TOPIC,
    kinds,
    sealed,
    some_events,
    tamper,
    verified,
    write,
)
from tests.sinks.conftest import Ledger

from costledger.sinks.positions import forget


def make_anew(ledger: Ledger) -> None:
    """The topic begins again at offset 0; positions are removed by hand, which seals nothing."""
    assert ledger.connection.execute("DELETE FROM ledger.sink_offsets").rowcount == 1


@pytest.fixture
def first_topic(ledger: Ledger) -> list[bytes]:
    """A ledger with 25 entries, 20 of them sealed."""
    events = some_events(25)
    write(ledger, 0, 0, events)
    assert sealed(ledger, after_seconds=3_600) == 20
    return events


def test_a_topic_made_anew_goes_on_in_the_same_chain(ledger: Ledger, first_topic: list[bytes]) -> None:
    """At any moment the chain holds: forgotten, read again from 0 with repeats, and sealed; the rest of before comes first."""
    make_anew(ledger)
    report = verified(ledger)
    assert report.ok
    assert report.total("unsealed") == 5
    write(ledger, 0, 0, [*first_topic[:8], *some_events(30, "new")])
    report = verified(ledger)
    assert report.ok, report.findings
    assert (report.total("unsealed"), report.chains[0].sealed_offset) == (35, None)
    assert sealed(ledger) == 35
    report = verified(ledger)
    assert report.ok, report.findings
    assert (report.total("rows"), report.total("unsealed"), report.chains[0].sealed_offset) == (55, 0, 38)
    assert ledger.one("SELECT count(DISTINCT since) FROM ledger.chain_blocks") == 2


@pytest.mark.parametrize("user", ["u", "new"])
def test_what_is_changed_of_either_topic_is_found(ledger: Ledger, first_topic: list[bytes], user: str) -> None:
    """Two entries have the same offset: the one that was changed is named."""
    make_anew(ledger)
    write(ledger, 0, 0, some_events(30, "new"))
    sealed(ledger)
    assert verified(ledger).ok
    where = f"kafka_offset = 7 AND user_id = '{user}'"
    event_id = str(ledger.one(f"SELECT event_id FROM ledger.entries WHERE {where}"))
    tamper(ledger, f"UPDATE ledger.entries SET amount = amount + 1e-12 WHERE {where}")
    report = verified(ledger)
    assert [(one.kind, one.offset, one.event_id) for one in report.findings] == [("changed", 7, event_id)]


def test_an_entry_put_into_a_topic_that_is_over_is_found(ledger: Ledger, first_topic: list[bytes]) -> None:
    """Nothing more can come of it: also an offset beyond its last block is one too many."""
    make_anew(ledger)
    write(ledger, 0, 0, some_events(30, "new"))
    sealed(ledger)
    tamper(
        ledger,
        "UPDATE ledger.entries SET kafka_offset = 900, recorded_at = (SELECT min(recorded_at) FROM ledger.entries) "
        "WHERE kafka_offset = 29",
    )
    report = verified(ledger)
    assert kinds(report) == {"removed": 1, "inserted": 1, "counter": 1}
    assert {one.offset for one in report.findings if one.kind == "inserted"} == {900}


def test_made_anew_twice(ledger: Ledger, first_topic: list[bytes]) -> None:
    """Three topics of one name, one chain, where no scheduler seals: what forgets the positions seals first."""
    for user in ("second", "third"):
        assert forget(ledger.connection, TOPIC) == 1
        assert verified(ledger).total("unsealed") == 0
        write(ledger, 0, 0, some_events(12, user))
        report = verified(ledger)
        assert report.ok, report.findings
        assert report.total("unsealed") == 12
    assert sealed(ledger) == 12
    report = verified(ledger)
    assert report.ok, report.findings
    assert report.total("rows") == 49


def test_a_rewind_by_hand_with_repeats_is_no_finding(ledger: Ledger, first_topic: list[bytes]) -> None:
    """The position is set back and everything is read again: before, meanwhile and after, the chain holds."""
    assert sealed(ledger) == 5
    topic = [*first_topic, *some_events(4, "new")]
    for back_to, new in ((0, 4), (13, 0)):
        ledger.connection.execute("UPDATE ledger.sink_offsets SET next_offset = %s", (back_to,))
        assert verified(ledger).ok
        assert sealed(ledger) == 0
        write(ledger, 0, back_to, topic[back_to:20])
        assert verified(ledger).ok
        assert sealed(ledger) == 0
        write(ledger, 0, 20, topic[20:])
        assert sealed(ledger) == new
        report = verified(ledger)
        assert report.ok, report.findings
    assert report.total("rows") == 29


def test_a_rewind_that_makes_an_entry_of_what_was_none_is_told(ledger: Ledger, first_topic: list[bytes]) -> None:
    """An entry in a sealed range is one, whoever made it: it is named, and the count is kept in the chain once."""
    assert sealed(ledger) == 5
    ledger.connection.execute("UPDATE ledger.sink_offsets SET next_offset = 13")
    write(ledger, 0, 13, some_events(1, "late"))
    assert sealed(ledger) == 0
    assert sealed(ledger) == 0
    report = verified(ledger)
    assert kinds(report) == {"inserted": 1, "missing": 1}
    (named,) = [one for one in report.findings if one.kind == "inserted"]
    late = str(ledger.one("SELECT event_id FROM ledger.entries WHERE user_id = 'late'"))
    assert (named.offset, named.event_id) == (13, late)
