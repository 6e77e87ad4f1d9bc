"""Quarantined messages: list, look at, replay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger, Running, Topic, make_event

from costledger.schemas.errors import Unavailable
from costledger.schemas.settings import Settings
from costledger.sinks.database import connect
from costledger.sinks.delivery import Deliverer
from costledger.sinks.quarantine import count_quarantined, get_quarantined, list_quarantined, replay_quarantined


def test_messages_can_be_replayed_after_a_fix(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: Callable[..., Running]
) -> None:
    """What the database refused lands after the fix; what is still bad is a new row, with its new offset."""
    ledger.connection.execute("ALTER TABLE ledger.entries ADD CONSTRAINT fixable CHECK (operation <> 'refused')")
    event = make_event("u", operation="refused")
    topic.send([event])
    topic.send_raw([(b"u", b"rubbish")])
    start_sink(settings)
    wait_until(lambda: ledger.consumed() == 2, 30, "both are aside")
    connection = connect(ledger.url, "test", 10)
    found = list_quarantined(connection)
    assert [(one.reason, one.payload is not None, one.replayed_at) for one in found] == [
        ("data_error", True, None),
        ("undecodable", True, None),
    ]
    assert list_quarantined(connection, reason="undecodable") == found[1:]
    assert list_quarantined(connection, after_id=found[0].id, limit=1) == found[1:]
    assert get_quarantined(connection, found[1].id) == found[1]
    assert get_quarantined(connection, 0) is None
    assert count_quarantined(connection) == {"data_error": 1, "undecodable": 1}

    ledger.connection.execute("ALTER TABLE ledger.entries DROP CONSTRAINT fixable")
    deliverer = Deliverer(settings, "test")
    ids = [one.id for one in found]
    assert replay_quarantined(connection, deliverer, ids) == 2
    assert replay_quarantined(connection, deliverer, ids) == 0
    wait_until(lambda: ledger.consumed() == 4, 30, "the replayed messages are consumed")
    ledger.assert_holds([event])
    ledger.assert_consistent()
    (again,) = list_quarantined(connection)
    assert (again.payload, again.replayed_at) == (b"rubbish", None)
    assert again.offset > found[1].offset
    assert len(list_quarantined(connection, include_replayed=True)) == 3
    deliverer.close()
    connection.close()


def test_a_replay_that_kafka_does_not_take_marks_nothing(settings: Settings, ledger: Ledger) -> None:
    """Without an acknowledgement the message can be replayed later."""
    ledger.connection.execute(
        'INSERT INTO ledger.quarantine (topic, partition, "offset", reason, error, payload) '
        "VALUES (%s, 0, 0, 'undecodable', 'e', 'x')",
        ("no such topic!",),
    )
    connection = connect(ledger.url, "test", 10)
    deliverer = Deliverer(settings, "test")
    with pytest.raises(Unavailable):
        replay_quarantined(connection, deliverer, [1])
    assert ledger.all("SELECT replayed_at FROM ledger.quarantine") == [(None,)]
    deliverer.close()
    connection.close()
