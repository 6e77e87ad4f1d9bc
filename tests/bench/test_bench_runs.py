"""The benchmark runs, and its document is complete."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tests.bench.whole_runs import run_bench

TIMEOUT_SECONDS = 500
EXPECTED = {
    "stream": {"raw_aiokafka", "raw_confluent", "faust_documented"},
    "stream_many": {"raw_aiokafka"},
    "stream_month": {"raw_aiokafka"},
    "sink": {"raw_copy", "multi_row_insert"},
    "sdk_memory": {"encode_and_produce"},
    "sdk_spool": {"encode_and_produce"},
    "sdk_call_p99": {"broker_there"},
    "api_p95": {"tenth_ledger"},
    # The run itself.
    "bench": set(),
}


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT_SECONDS + 60)
def test_the_benchmark_measures_everything_it_names(tmp_path: Path) -> None:
    """With few events: every name, every cheap peer, finite positive figures; the same document in file and on stdout."""
    output = tmp_path / "bench.json"
    few = ["--events", "300000", "--runs", "1", "--commit-interval-seconds", "0.05", "--peers", "cheap"]
    # Latency has a test of its own: test_bench_latency_runs.py.
    few += [
        "--history-days",
        "1",
        "--many-users",
        "4000",
        "--latency-seconds",
        "0",
        "--ledger-events",
        "400000",
        "--ledger-days",
        "30",
    ]
    printed = run_bench(*few, "--output", str(output), "--json", timeout_seconds=TIMEOUT_SECONDS)
    document = json.loads(output.read_text())
    assert json.loads(printed) == document
    assert {name: set(entry["ratio_to"]) for name, entry in document.items()} == EXPECTED
    for entry in document.values():
        assert entry["unit"]
        assert set(entry["peers"]) == set(entry["ratio_to"])
        for figure in (entry["value"], *entry["ratio_to"].values(), *entry["peers"].values()):
            assert math.isfinite(figure)
            assert figure > 0
    assert document["bench"]["seconds"] > len(EXPECTED)
    for name in ("stream", "stream_many", "stream_month"):
        assert document[name]["cpu_by_thread"]["main"] > 0
    calls = document["sdk_call_p99"]
    assert calls["value"] == max(calls["calls_us"]["queued_p99"], calls["calls_us"]["dropped_p99"])
