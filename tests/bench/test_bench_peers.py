"""The peers of the benchmark run, and come to the right sum: each in its own environment, which is made when needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.bench.kafka import fill
from tests.bench.ledgers import Connection, WrongResult, check_rows, fresh_ledger
from tests.bench.peers.catalogue import SINK_PEERS, STREAM_PEERS, Peer, install
from tests.bench.rates import ContenderFailed
from tests.bench.stage import SinkStage, StreamStage
from tests.bench.workload import Workload
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.providers import apache_required

from costledger.schemas.codec import current_schema, encode_event, without_logical_types
from costledger.schemas.times import from_microseconds

pytestmark = [pytest.mark.long, pytest.mark.durable, pytest.mark.timeout(900)]
#: Enough for every peer to commit more than once.
EVENTS = 40_000
USERS = 200


@pytest.fixture
def workload(seed: int) -> Workload:
    """A few users with many events each, so that a lost update changes the sum."""
    return Workload(EVENTS, USERS, 1_795_000_000_000_000, seed)


@pytest.fixture
def stage(kafka: KafkaServer, workload: Workload, tmp_path: Path) -> StreamStage:
    """A topic of its own, filled."""
    topic = kafka.create_topic(kafka.unique("bench-peers"))
    fill(kafka.bootstrap_servers, topic, ((one["user_id"].encode(), encode_event(one)) for one in workload.records()))
    schema_path = tmp_path / "cost_event.avsc"
    schema_path.write_text(json.dumps(without_logical_types(current_schema("cost_event"))))
    return StreamStage(kafka.bootstrap_servers, topic, EVENTS, workload.amount, 0.05, tmp_path, schema_path)


def ready(peer: Peer) -> Callable[[Any], float]:
    """Its run; skipped with the reason where it cannot be had."""
    installed = install([peer], print)
    for name, reason in installed.unavailable.items():
        if apache_required():
            pytest.fail(f"COSTLEDGER_TEST_REQUIRE=apache, but {name}: {reason}")
        pytest.skip(f"{name}: {reason}")
    return installed.runs[peer.name]


@pytest.mark.parametrize("peer", STREAM_PEERS, ids=lambda peer: peer.name)
def test_a_stream_peer_comes_to_the_right_sum_or_has_no_rate(peer: Peer, stage: StreamStage) -> None:
    """Its changelog or its report has the events' sum; had they another one, there would be no rate."""
    run = ready(peer)
    assert run(stage) > 0
    with pytest.raises(ContenderFailed, match=f"WrongResult: {peer.name} added up {stage.amount}"):
        run(replace(stage, amount=stage.amount + 1))


def test_debezium_writes_every_event(
    kafka: KafkaServer, postgres: PostgresServer, workload: Workload, tmp_path: Path
) -> None:
    """Its table has all rows and the events' sum; a table with another number or sum is a wrong result."""

    def ledger() -> AbstractContextManager[tuple[str, Connection]]:
        days = (from_microseconds(workload.start_us).date(), from_microseconds(workload.end_us).date())
        return fresh_ledger(postgres.url, *days)

    run = ready(SINK_PEERS[0])
    stage = SinkStage(kafka.bootstrap_servers, workload, tmp_path, ledger)
    assert run(stage) > 0
    with ledger() as (_, connection):
        connection.execute("CREATE TABLE public.one_row AS SELECT 1::numeric AS amount")
        check_rows(connection, "one_row", 1, 10**12)
        for rows, amount in ((2, 10**12), (1, 10**12 + 1)):
            with pytest.raises(WrongResult, match="one_row"):
                check_rows(connection, "one_row", rows, amount)
