"""A service with a spool dies at each fail point of it: what `track` has returned arrives, and nothing stays behind."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from tests.fault.points.deaths import Deaths, places_of, visits
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.spool.spool_hosts import drain, noted, start
from tests.producers.spool.spooling import NOBODY, ids_in

RESCUE = ("spool.before_rescue", "spool.after_rescue")
PLACES = tuple(place for place in places_of("spool") if place not in RESCUE)
#: Places that each event passes: the death is at one of so many.
EVERY_EVENT = {"spool.before_put", "spool.after_put", "spool.after_send"}
EVENTS_MAX = 200
#: Tracks at a pace that the smallest spool can hold.
PACED = """
number = 0
while True:
    track(f"user-{number % 20}")
    number += 1
    if not number % 100: check()
    time.sleep(0.0005)
"""
#: The directory cannot be made, so that events are in memory alone; then it can, and Kafka is not there.
RESCUED = """
import pathlib
tracker.close()
blocked = pathlib.Path(directory)
blocked.touch()
tracker = CostTracker("%s", "host", "spool", directory, topic=topic, delivery_timeout_seconds=1)
for _ in range(int(events)): track()
assert tracker.stats()["unspooled"] == int(events), tracker.stats()
blocked.unlink()
time.sleep(60)
""".replace("%s", NOBODY)
#: Small, so that its log becomes long soon.
SMALLEST_SPOOL = {"COSTLEDGER_SPOOL_BYTES_MAX": str(2**20)}


@pytest.mark.fault
@pytest.mark.timeout(900)
@visits(*PLACES)
def test_a_service_that_dies_at_every_place_loses_no_event_that_track_returned(
    kafka: KafkaServer, tmp_path: Path, deaths: Deaths, seed: int
) -> None:
    """On the topic is what was returned and nothing that was not attempted; no life's file or log is left over."""
    rng = random.Random(seed)
    topic = kafka.create_topic(kafka.unique("events"))
    for life, place in enumerate(PLACES):
        deaths.at(
            place,
            lambda variables, life=life: start(
                kafka, topic, tmp_path, PACED, f"oracle-{life}", variables={**variables, **SMALLEST_SPOOL}
            ),
            visit=rng.randint(1, EVENTS_MAX) if place in EVERY_EVENT else 1,
        ).communicate()
    drain(kafka, topic, tmp_path / "spool")
    oracles = [f"oracle-{life}" for life in range(len(PLACES))]
    arrived = Counter(ids_in(kafka, topic))
    assert set(noted(tmp_path, oracles, "after")) - set(arrived) == set()
    assert set(arrived) <= set(noted(tmp_path, oracles, "before"))
    # Each life may leave what was with Kafka and not yet deleted; the next one sends that once more, under its ids.
    assert max(arrived.values()) <= 1 + len(PLACES)
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.fault
@visits(*RESCUE)
def test_an_event_that_was_rescued_outlives_the_process(
    kafka: KafkaServer, tmp_path: Path, deaths: Deaths, seed: int
) -> None:
    """Events that were in memory alone arrive as far as they had been written to disk when the process died."""
    topic = kafka.create_topic(kafka.unique("events"))
    events, rescued = 20, 1 + seed % 10
    for place, on_disk in zip(RESCUE, (rescued, rescued + 1), strict=True):
        (tmp_path / place).mkdir()
        deaths.at(
            place,
            lambda variables, place=place: start(kafka, topic, tmp_path / place, RESCUED, "oracle", events, variables),
            visit=rescued + 1,
        ).communicate()
        before = set(ids_in(kafka, topic))
        tracker = drain(kafka, topic, tmp_path / place / "spool")
        assert tracker.stats()["resumed"] == on_disk
        arrived = set(ids_in(kafka, topic)) - before
        assert len(arrived) == on_disk
        assert arrived <= set(noted(tmp_path / place, ["oracle"], "after"))
