"""The latency benchmark runs, measures what it says, and ends when something does not become visible."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from tests.bench.bench_latency import LatencyBench, Workers
from tests.bench.latency_load import ALERTS_PER_SECOND, PROBES_PER_SECOND, Load
from tests.bench.whole_runs import run_bench
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.fix_redis import RedisServer

pytestmark = [pytest.mark.long, pytest.mark.durable, pytest.mark.timeout(400)]
NAMES = {"latency_redis", "latency_alert", "latency_ledger"}
RUN_SECONDS_MAX = 240
RATE = 200
LOAD = Load(rate=RATE, seconds=3, warm_up_seconds=1)
#: With this load every latency is a fraction of a second; a machine that is busy elsewhere may take its time.
PLAUSIBLE_MS_MAX = 20_000


@pytest.fixture
def services(kafka: KafkaServer, postgres: PostgresServer, redis_server: RedisServer) -> dict[str, str]:
    """The settings that lead to the services of the tests."""
    return {
        "COSTLEDGER_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "COSTLEDGER_DATABASE_URL": postgres.url,
        "COSTLEDGER_REDIS_URL": redis_server.empty_database(),
    }


def test_all_three_latencies_are_in_the_document(tmp_path: Path) -> None:
    """With plausible figures: every sample seen, the median above nothing and not above the 99th percentile."""
    output = tmp_path / "bench.json"
    few = ["--latency-only", "--latency-seconds", "3", "--latency-rate", str(RATE), "--output", str(output)]
    printed = run_bench(*few, timeout_seconds=RUN_SECONDS_MAX)
    document = json.loads(output.read_text())
    assert set(document) == {*NAMES, "bench"}
    for name in NAMES:
        entry = document[name]
        figures = entry["rates"][str(RATE)]
        per_second = ALERTS_PER_SECOND if name == "latency_alert" else PROBES_PER_SECOND
        assert figures["samples"] == pytest.approx(3 * per_second, abs=2), name
        assert (figures["unseen"], figures["dropped"]) == (0, 0), name
        assert figures["rate_reached"] == pytest.approx(RATE, rel=0.2), name
        assert 0 < figures["p50"] <= figures["p99"] < PLAUSIBLE_MS_MAX, name
        # It is not the rate whose figure is the value.
        assert "value" not in entry, name
        assert (entry["unit"], entry["ratio_to"]) == ("ms", {}), name
        assert name in printed


def test_a_sink_that_gathers_longer_has_a_longer_latency(services: dict[str, str], tmp_path: Path) -> None:
    """Two seconds of gathering are in the ledger's latency, and not in that of Redis: each is measured for itself."""
    bench = LatencyBench({**services, "COSTLEDGER_SINK_BATCH_WAIT_MS": "2000"}, tmp_path, print)
    figures = bench.run(LOAD).figures
    ledger, totals = figures["latency_ledger"], figures["latency_redis"]
    assert ledger.unseen == totals.unseen == 0
    assert ledger.p50_ms is not None
    assert ledger.p99_ms is not None
    assert totals.p50_ms is not None
    assert ledger.p99_ms > 1_900
    assert ledger.p50_ms > totals.p50_ms + 300


def test_rows_that_do_not_become_visible_are_told_and_not_waited_for(services: dict[str, str], tmp_path: Path) -> None:
    """A sink that is suspended writes nothing: that is said of the ledger, within a bound; the others are measured."""

    def suspend_sink(workers: Workers) -> None:
        os.kill(workers["sink"].pid, signal.SIGSTOP)

    said: list[str] = []
    bench = LatencyBench(services, tmp_path, said.append, catch_up_seconds_max=3.0)
    run = bench.run(LOAD, suspend_sink)
    ledger = run.figures["latency_ledger"]
    assert ledger.unseen == ledger.samples > 0
    assert (ledger.p50_ms, ledger.p99_ms) == (None, None)
    assert ledger.verdict() == "nothing became visible"
    assert any("not everything was visible within 3 s" in line for line in said)
    for name in ("latency_redis", "latency_alert"):
        assert run.figures[name].unseen == 0, name
        assert run.figures[name].p99_ms is not None, name
