"""The sink dies at each of its fail points, one life after the other: every event is in the ledger once."""

from __future__ import annotations

import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from tests.fault.points.deaths import Deaths, places_of, visits
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.reading import read_topic
from tests.sinks.conftest import PARTITIONS, Ledger, Topic, make_event, random_events

from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames

PLACES = places_of("sink", "dead_letters")
EVENTS_OF_A_LIFE = 300
#: Places that are reached once in a life.
ONCE = {"sink.before_claim", "sink.after_claim", "sink.before_release", *places_of("dead_letters")}


@pytest.mark.fault
@pytest.mark.timeout(900)
@visits(*PLACES)
def test_a_sink_that_dies_at_every_place_writes_every_event_once(
    deaths: Deaths,
    kafka: KafkaServer,
    names: TopicNames,
    settings: Settings,
    ledger: Ledger,
    topic: Topic,
    start_process: Callable[..., subprocess.Popen[bytes]],
    seed: int,
) -> None:
    """In each life new events, one that is none, and one that PostgreSQL refuses; roll-ups are right at each death."""
    rng = random.Random(seed)
    kafka.create_topic(names.dead_letters, PARTITIONS)
    ledger.connection.execute("ALTER TABLE ledger.entries ADD CONSTRAINT fixable CHECK (operation <> 'refused')")
    # Static membership: the next life need not wait for the session of the dead.
    settings = settings.model_copy(update={"sink_instance_id": "one", "sink_batch_rows_max": 100})
    events = []

    def send(number: int) -> None:
        events.extend(random_events(seed + number, EVENTS_OF_A_LIFE))
        topic.send(events[-EVENTS_OF_A_LIFE:])
        topic.send_raw([(b"u", b"rubbish")])
        topic.send([make_event("u", operation="refused")])

    def end_in_order(process: subprocess.Popen[bytes]) -> None:
        before = ledger.consumed()
        wait_until(lambda: ledger.consumed() > before, 60, "the sink has begun")
        process.send_signal(signal.SIGTERM)

    for number, place in enumerate(PLACES):
        send(number)
        deaths.at(
            place,
            lambda variables: start_process(settings, variables),
            visit=1 if place in ONCE else rng.randint(1, 3),
            provoke=end_in_order if place == "sink.before_release" else lambda _: None,
        )
        ledger.assert_consistent()
    start_process(settings)
    wait_until(lambda: ledger.consumed() == topic.produced, 60, "all offsets are in the ledger")
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.counters()["duplicates"] == 0
    assert ledger.all("SELECT reason, count(*) FROM ledger.quarantine GROUP BY 1 ORDER BY 1") == [
        ("data_error", len(PLACES)),
        ("undecodable", len(PLACES)),
    ]
    pending = "SELECT count(*) FROM ledger.quarantine WHERE dead_letter_pending"
    wait_until(lambda: ledger.one(pending) == 0, 30, "the dead letters are sent")
    check_dead_letters(ledger, read_topic(kafka.bootstrap_servers, names.dead_letters))


def check_dead_letters(ledger: Ledger, messages: list[Any]) -> None:
    """Each is on the topic as it came, at least once; after deaths at each place of the relay, not much more often."""
    owed = ledger.all(
        """SELECT partition::text, "offset"::text, payload FROM ledger.quarantine WHERE reason = 'data_error'"""
    )
    found = Counter(
        (headers["partition"].decode(), headers["offset"].decode(), message.value())
        for message in messages
        for headers in [dict(message.headers())]
    )
    assert set(found) == set(owed)
    assert max(found.values()) <= 1 + len(PLACES)
