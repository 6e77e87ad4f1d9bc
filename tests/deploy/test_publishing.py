"""What the commands publish with, whatever the services on the same machine are set to."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.spool.spooling import NOBODY, ids_in

from costledger.deploy.publishing import publish
from costledger.producers import CostTracker
from costledger.producers.prices import PriceBook
from costledger.producers.records import Draft, build_record
from costledger.schemas.events import CostEvent
from costledger.schemas.settings import load_settings
from costledger.schemas.topics import EVENTS


@pytest.mark.parametrize("durability", ["memory", "spool", "outbox"])
def test_a_command_publishes_its_own_events_in_every_mode(
    kafka: KafkaServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, durability: str
) -> None:
    """None is dropped for want of a transaction, and events that a service has left on disk are not its own."""
    prefix = kafka.unique("publishing") + "."
    topic = kafka.create_topic(prefix + EVENTS)
    with CostTracker(NOBODY, "t", "spool", tmp_path, topic=topic, flush_timeout_seconds=0) as service:
        service.track_s3("u", "get", 1)
    for name, value in {
        "BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "TOPIC_PREFIX": prefix,
        "DURABILITY": durability,
        "SPOOL_DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(f"COSTLEDGER_{name}", value)
    draft = Draft(user_id="u", service="aws-s3", operation="put", quantity=1, occurred_at=datetime.now(UTC))
    event = CostEvent.from_record(build_record(draft, PriceBook.load(), "t")[1])
    published = publish(load_settings(), [event])
    assert (published.events, published.acknowledged, published.errors) == (1, 1, [])
    assert ids_in(kafka, topic) == [event.event_id]
