"""F15, F17 and F19: poison, other versions of a schema, oversize messages and compression bombs among the events of a load.

What each kind of message does by itself, and to memory, is in `hostile/`; here every promise is checked around it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.harm import await_under_way
from tests.fault.harness.strangers import Strangers
from tests.fault.hostile.test_hostile_schemas import TEAM, running
from tests.fixtures.wait import wait_until
from tests.schemas.test_registry import Registry, confluent, event_with
from tests.sinks.conftest import make_event

from costledger.schemas.codec import configure_registry
from costledger.schemas.registry import use_registry

pytestmark = [pytest.mark.fault, pytest.mark.long]

WINDOW_EVENTS: Final = 400
FLOOD_EVENTS: Final = 1_500
KILOBYTE: Final = 2**10
#: Larger than an event may be; the quarantine keeps the bytes of the largest of them just so.
SIZES: Final = (20 * KILOBYTE, 60 * KILOBYTE, 120 * KILOBYTE)
#: Of 60 MB together, that are hardly anything compressed; the stream inflates no batch of more than 16 MB.
BOMB_RECORDS: Final = 600
BOMB_RECORD_BYTES: Final = 100 * KILOBYTE


@contextmanager
def strangers(cluster: Cluster) -> Iterator[Strangers]:
    """Others who produce to the events' topic."""
    topic = cluster.settings().topics.events
    others = Strangers(cluster.services.kafka.bootstrap_servers, topic, cluster.folder)
    cluster.other_records.append(others.record)
    yield others
    others.finish()


def test_poison_stops_the_sink_at_its_limit_and_costs_nothing(cluster: Cluster) -> None:
    """1 % among events, then nothing else: the sink ends with 1 and names the limit; with another limit the rest is put
    aside, once each, and every event of before and after it is counted."""
    cluster.configure(sink_bad_window_events=str(WINDOW_EVENTS))
    cluster.start_all()
    cluster.load(events=2_000, rate=1_000, poison_share=0.01).finish()
    cluster.await_quiet()
    flood = cluster.load("flood", events=FLOOD_EVENTS, rate=FLOOD_EVENTS, poison_share=1.0)
    sink = cluster.worker("sink")
    assert sink.died_by_itself(60) == 1
    assert sink.logged("events are bad; at most") >= 1
    flood.finish()
    assert cluster.value("SELECT sum(quarantined) FROM ledger.sink_offsets") < FLOOD_EVENTS
    assert cluster.worker("stream").alive()
    cluster.start("sink", sink_bad_share_max="1")
    cluster.load("after", events=500, rate=1_000).finish()
    cluster.check()
    assert cluster.value("SELECT sum(quarantined) FROM ledger.sink_offsets") > FLOOD_EVENTS


def test_other_versions_of_a_schema_land_or_are_put_aside(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a registry: events with a field more are counted like those of this release, beside which they come; those whose
    amount is of another type are put aside once."""
    registry = Registry()
    monkeypatch.setenv("no_proxy", "*")
    with running(registry):
        cluster.configure(schema_registry_url=f"http://{registry.address}")
        use_registry(cluster.settings())  # the replay of the check reads with it
        try:
            newer, broken = event_with(TEAM), event_with(TEAM, amount="double")
            newer_id = registry.register("theirs-value", json.dumps(newer))
            broken_id = registry.register("theirs-value", json.dumps(broken))
            cluster.start_all()
            load = cluster.load(rate=500)
            await_under_way(cluster)
            with strangers(cluster) as others:
                for number in range(200):
                    event = make_event(f"user-{number % 40:03d}")
                    record = {**event.to_record(), "team": "x"}
                    others.event(event, confluent(newer_id, newer, record))
                    wrong = {**make_event(event.user_id).to_record(), "team": "x", "amount": 0.1}
                    others.poison(event.user_id, confluent(broken_id, broken, wrong))
            load.stop()
            cluster.check()
        finally:
            configure_registry(None)
    assert cluster.value("SELECT sum(quarantined) FROM ledger.sink_offsets") == 200


def test_oversize_messages_and_compression_bombs_are_put_aside(cluster: Cluster) -> None:
    """Of 20 kB to 120 kB, and batches that inflate to sixty times what the broker takes; all workers go on."""
    chance = random.Random(cluster.seed)
    cluster.start_all()
    load = cluster.load(rate=500)
    await_under_way(cluster)
    with strangers(cluster) as others:
        for number in range(30):
            others.poison(f"user-{number:03d}", chance.randbytes(SIZES[number % len(SIZES)]))
        for partition, codec in enumerate(("gzip", "lz4")):
            bomb = [f"{codec} {number}".encode().ljust(BOMB_RECORD_BYTES, b"\0") for number in range(BOMB_RECORDS)]
            others.poison_batch(partition, bomb, codec)
    wait_until(
        lambda: cluster.value("SELECT sum(quarantined) FROM ledger.sink_offsets") == 30 + 2 * BOMB_RECORDS,
        60,
        "all is put aside",
    )
    load.stop()
    cluster.check()
    assert cluster.revived == 0
