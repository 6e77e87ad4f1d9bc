"""The sink against a real Kafka and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger, Running, Topic, random_events

from costledger.schemas.settings import Settings


def test_every_event_is_in_the_ledger_once(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: Callable[..., Running], seed: int
) -> None:
    """What was produced is in the ledger, event for event, and the roll-ups are its GROUP BY."""
    events = random_events(seed, 3_000)
    topic.send(events)
    sink = start_sink(settings)
    wait_until(lambda: ledger.consumed() == topic.produced, 30, "all offsets are in the ledger")
    assert sink.stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.counters()["unpriced"] == sum(event.amount is None for event in events)
