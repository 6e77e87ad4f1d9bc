"""The relay of the outbox dies at each of its fail points: every event is on the topic, and its batch at most twice."""

from __future__ import annotations

import pytest
from tests.fault.points.deaths import Deaths, places_of, visits
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.wait import wait_until
from tests.producers.outbox.outbox_cases import fill, new_service

PLACES = places_of("outbox")
BATCH_ROWS = 50
EVENTS = 400
#: The death is in the third batch; so many events are in the outbox then.
LEFT = {"outbox.claimed": 300, "outbox.delivered": 300, "outbox.committed": 250}
WAIT_SECONDS = 60.0


@pytest.mark.long
@pytest.mark.fault
@visits(*PLACES)
def test_a_relay_that_dies_at_every_place_loses_nothing(
    deaths: Deaths, kafka: KafkaServer, postgres: PostgresServer
) -> None:
    """Only what Kafka had acknowledged, and the table not yet forgotten, comes a second time."""
    for place in PLACES:
        service = new_service(postgres.create_database(), kafka)
        ids = fill(service, EVENTS)
        relay = deaths.at(place, lambda variables: service.start_relay(BATCH_ROWS, variables), visit=3)  # noqa: B023 - called at once
        relay.communicate()
        assert len(service.waiting()) == LEFT[place]

        def relayed() -> bool:
            service.relay_all()  # noqa: B023 - within this turn of the loop
            return not service.waiting()  # noqa: B023

        wait_until(relayed, WAIT_SECONDS, "PostgreSQL has let the dead relay's rows go")
        found = service.on_topic()
        assert set(found) == set(ids)
        repeats = {event_id for event_id, times in found.items() if times > 1}
        assert repeats == (set(ids[100:150]) if place == "outbox.delivered" else set())
        assert max(found.values()) <= 2
