"""`python -m tests.bench`, from the project's root: how fast the parts are beside the least that could do their work.

Makes the environments of the peers, starts Apache Kafka, PostgreSQL and Redis in a temporary directory, runs each
contender several times in turn, writes the document (`build/bench.json`), prints a table and says what got slower since
the last document. What the numbers mean: BENCHMARKS.md, beside this file.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from tests.bench.aims import judged, judged_value
from tests.bench.bench_api import ROUTE_COLUMNS, ApiBench, ApiResult
from tests.bench.bench_latency import RATES, LatencyBench
from tests.bench.bench_sdk import PEER, SdkBench
from tests.bench.bench_sink import SinkBench
from tests.bench.bench_stream import StreamBench
from tests.bench.comparison import compare, replace_document
from tests.bench.latency_result import COLUMNS as LATENCY_COLUMNS
from tests.bench.latency_result import CPU_COLUMNS, LatencyResult, results_of
from tests.bench.peers.catalogue import SINK_PEERS, STREAM_PEERS, Installed, install
from tests.bench.rates import Contender, Result, alternate
from tests.bench.workload import History, Workload

from costledger.deploy.console import JsonOption, print_json, print_table, say
from costledger.deploy.stack import Stack

USERS = 2_000
#: In the table; the document has the whole reason.
_REASON_CHARS_MAX = 60
ROOT = Path(__file__).resolve().parents[2]


class Peers(StrEnum):
    """Which peers are measured."""

    ALL = "all"
    #: Those that need no environment of their own.
    CHEAP = "cheap"


@dataclass(frozen=True)
class _Peers:
    stream: Installed
    sink: Installed


def main(
    events: Annotated[int, typer.Option(min=1_000, help="Events of one run; slow peers get fewer.")] = 600_000,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Runs of each contender; medians are reported.")] = 5,
    commit_interval_seconds: Annotated[
        float, typer.Option(min=0.01, max=10, help="How often stream apps commit, ours and the peers.")
    ] = 0.25,
    history_days: Annotated[
        int, typer.Option(min=0, max=35, help="Days of state that each user has in stream_month; 0 leaves it out.")
    ] = 30,
    ledger_events: Annotated[
        int, typer.Option(min=0, help="Events of the large ledger that the API is read on; 0 leaves it out.")
    ] = 20_000_000,
    ledger_days: Annotated[int, typer.Option(min=1, max=3660, help="Days over which those events are.")] = 395,
    latency_seconds: Annotated[
        float, typer.Option(min=0, max=600, help="Load at each rate of the latency runs; 0 leaves them out.")
    ] = 30,
    latency_rate: Annotated[
        list[int], typer.Option(min=50, max=100_000, help="Events/s of a latency run; may be given several times.")
    ] = list(RATES),  # noqa: B006 - typer reads it
    api_only: Annotated[bool, typer.Option("--api-only", help="Measure nothing but the API.")] = False,
    latency_only: Annotated[bool, typer.Option("--latency-only", help="Measure nothing but latency.")] = False,
    peers: Annotated[Peers, typer.Option(help="All, or only those that need no environment of their own.")] = Peers.ALL,
    seed: Annotated[int, typer.Option(help="Makes users, services and amounts.")] = 20_261_123,
    output: Annotated[Path, typer.Option(help="Where the JSON document goes.")] = ROOT / "build" / "bench.json",
    as_json: JsonOption = False,
) -> None:
    """Measure the stream worker, the sink and the SDK against their peers, latency, and the API on ledgers of two sizes."""
    if api_only and latency_only:
        raise typer.BadParameter("--api-only and --latency-only exclude each other")
    one_alone = api_only or latency_only
    workload = Workload(events, USERS, time.time_ns() // 1000, seed)
    installed = (
        _Peers(Installed(), Installed())
        if one_alone or peers is not Peers.ALL
        else _Peers(install(STREAM_PEERS, say), install(SINK_PEERS, say))
    )
    say(f"load average at the start: {load_average()}")
    measured: list[tuple[Result, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory(prefix="costledger-bench-") as name:
        folder = Path(name)
        with Stack(folder / "services", broker="embedded" if api_only else "apache", on_progress=say) as stack:
            services = stack.environment()
            if not one_alone:
                arguments = {"events": events, "commit_interval_seconds": commit_interval_seconds, "seed": seed}
                compared = measure(services, folder, workload, runs, commit_interval_seconds, installed)
                measured += [(result, arguments) for result in compared]
            if history_days and not one_alone:
                history = History(history_days, USERS, workload.start_us)
                month = StreamBench(services, folder, workload, commit_interval_seconds, history)
                result = measure_month(month, history, runs)
                measured.append((result, {**arguments, "history_days": history_days}))
            if latency_seconds and not api_only:
                arguments = {"seconds": latency_seconds, "rates": latency_rate}
                latency = results_of(LatencyBench(services, folder, say).measure(latency_rate, latency_seconds))
                measured += [(result, arguments) for result in latency]
            if ledger_events and not latency_only:
                say("api_p95 (ms)")
                api = ApiBench(services, folder, events=ledger_events, days=ledger_days, runs=runs, seed=seed, say=say)
                measured.append((api.measure(), {"events": ledger_events, "days": ledger_days, "seed": seed}))
    say(f"load average at the end: {load_average()}")
    finish(measured, output, as_json)


def finish(measured: list[tuple[Result, dict[str, Any]]], output: Path, as_json: bool) -> None:
    """Add to the document, show what is new, compare it to what was there; exit code 1 when a run failed.

    Each result comes with the arguments that it depends on.
    """
    results = [result for result, _ in measured]
    at = datetime.now(UTC).isoformat(timespec="seconds")
    document = {result.name: {**result.entry(), "arguments": arguments, "at": at} for result, arguments in measured}
    previous = replace_document(output, document)
    say(f"written to {output}")
    if as_json:
        print_json(document)
    else:
        print_results(results)
    for line in compare(previous, document):
        say(line)
    if any(result.failed for result in results):
        raise typer.Exit(1)


def measure(
    services: Mapping[str, str],
    folder: Path,
    workload: Workload,
    runs: int,
    commit_interval_seconds: float,
    installed: _Peers,
) -> list[Result]:
    """Run everything; services are named by the settings that lead to them."""

    def run(name: str, contenders: Mapping[str, Contender], peers: Installed) -> Result:
        say(f"{name} (events/s)")
        turns = alternate(contenders, runs, say)
        return Result(name, "events/s", 0, turns.values, unavailable=peers.unavailable, failed=turns.failed)

    def run_sdk(contenders: Mapping[str, Contender]) -> list[Result]:
        """Both modes take turns with the one peer that they share."""
        say("sdk_memory, sdk_spool (us CPU/event)")
        values = alternate(contenders, runs, say).values
        return [
            Result(name, "us CPU/event", 2, {name: values[name], PEER: values[PEER]})
            for name in contenders
            if name != PEER
        ]

    def run_calls(contenders: Mapping[str, Contender]) -> Result:
        say("sdk_call_p99 (us)")
        return Result("sdk_call_p99", "us", 1, alternate(contenders, runs, say).values)

    stream = StreamBench(services, folder, workload, commit_interval_seconds)
    say(f"writing {workload.events:,} events to Kafka")
    topic = stream.prepare()
    sink = SinkBench(services, folder, workload, topic)
    sdk = SdkBench(services, folder, workload.events)
    sdk.prepare()
    return [
        run("stream", stream.contenders(installed.stream.runs), installed.stream),
        run("sink", sink.contenders(installed.sink.runs), installed.sink),
        *run_sdk(sdk.contenders()),
        run_calls(sdk.calls()),
    ]


def measure_month(bench: StreamBench, history: History, runs: int) -> Result:
    """The stream worker, whose users have been there for so long, beside a loop without state."""
    say(f"writing {history.events:,} events of {history.days} days and the load to Kafka")
    bench.prepare()
    say("stream_month (events/s)")
    turns = alternate(bench.with_history(), runs, say)
    held_mib = median(bench.held_bytes) / 2**20
    say(f"  the worker held {held_mib:,.0f} MiB for {history.users:,} users of {history.days} days")
    return Result("stream_month", "events/s", 0, turns.values, failed=turns.failed)


def print_results(results: list[Result]) -> None:
    """The tables: a line for each peer, with the median ratio and the range of the pairs of runs; latency; routes."""
    rows = []
    for result in results:
        entry = result.entry()
        for peer in result.peers:
            ratios = result.ratios(peer)
            pairs = f"{min(ratios):.2f} to {max(ratios):.2f}"
            figures = (f"{entry['value']:,}", peer, f"{entry['peers'][peer]:,}", f"{entry['ratio_to'][peer]:.2f}")
            aim = judged(result.name, peer, entry["ratio_to"][peer]) or judged_value(result.name, entry["value"])
            rows.append((result.name, result.unit, *figures, pairs, aim))
        for peer, reason in result.without_rate.items():
            rows.append(
                (
                    result.name,
                    result.unit,
                    f"{entry['value']:,}",
                    peer,
                    "none",
                    "none",
                    reason.splitlines()[0][:_REASON_CHARS_MAX],
                    "",
                )
            )
    if rows:
        print_table(("name", "unit", "ours", "peer", "peer's", "ratio", "pairs", "aim"), rows)
    latency = [result for result in results if isinstance(result, LatencyResult)]
    if latency:
        print_table(LATENCY_COLUMNS, [row for result in latency for row in result.rows()])
        print_table(CPU_COLUMNS, [run.cpu_row() for run in latency[0].runs])
    for result in latency:
        say(f"{result.name}: {judged_value(result.name, result.entry()['value'])}")
    for result in results:
        if isinstance(result, ApiResult):
            print_table(ROUTE_COLUMNS, result.rows())


def load_average() -> str:
    """Over 1, 5 and 15 minutes, and of how many processors."""
    return f"{', '.join(f'{load:.2f}' for load in os.getloadavg())} ({os.cpu_count()} processors)"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
