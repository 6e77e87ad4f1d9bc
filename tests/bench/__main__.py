"""`python -m tests.bench`, from the project's root: how fast the parts are beside the least that could do their work.

Makes the environments of the peers, starts Apache Kafka, PostgreSQL and Redis in a temporary directory, runs each
contender several times in turn, writes the document (`build/bench.json`), prints a table and says what got slower since
the last document, and since the one that is kept in Git. What the numbers mean: BENCHMARKS.md, beside this file.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from tests.bench.bench_latency import RATES
from tests.bench.benchmarks import Part, Peers, Place, Plan, benchmarks
from tests.bench.comparison import compare
from tests.bench.document import BenchDocument, Entry, origins
from tests.bench.peers.catalogue import SINK_PEERS, STREAM_PEERS, Installed, install
from tests.bench.rates import Result
from tests.bench.tables import print_results
from tests.bench.workload import load_end_us
from tests.fixtures.git import commit_of

from costledger.deploy.console import JsonOption, print_json, say
from costledger.deploy.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
#: Documents of the same name that are checked in: `make bench-keep`.
KEPT = Path(__file__).with_name("results")


class Which(StrEnum):
    """Which peers are measured."""

    ALL = "all"
    #: Those that need no environment of their own.
    CHEAP = "cheap"


def main(
    events: Annotated[int, typer.Option(min=1_000, help="Events of one run; slow peers get fewer.")] = 600_000,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Runs of each contender; medians are reported.")] = 5,
    commit_interval_seconds: Annotated[
        float, typer.Option(min=0.01, max=10, help="How often stream apps commit, ours and the peers.")
    ] = 0.25,
    many_users: Annotated[int, typer.Option(min=0, help="Users of stream_many; 0 leaves it out.")] = 20_000,
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
    month_only: Annotated[bool, typer.Option("--month-only", help="Measure nothing but stream_month.")] = False,
    peers: Annotated[Which, typer.Option(help="All, or only those that need no environment of their own.")] = Which.ALL,
    seed: Annotated[int, typer.Option(help="Makes users, services and amounts.")] = 20_261_123,
    output: Annotated[Path, typer.Option(help="Where the JSON document goes.")] = ROOT / "build" / "bench.json",
    as_json: JsonOption = False,
) -> None:
    """Measure the stream worker, the sink and the SDK against their peers, latency, and the API on ledgers of two sizes."""
    alone = ((Part.API, api_only), (Part.LATENCY, latency_only), (Part.MONTH, month_only))
    only = [part for part, is_wanted in alone if is_wanted]
    if len(only) > 1:
        raise typer.BadParameter("--api-only, --latency-only and --month-only exclude each other")
    plan = Plan(
        events=events,
        runs=runs,
        commit_interval_seconds=commit_interval_seconds,
        many_users=many_users,
        history_days=history_days,
        ledger_events=ledger_events,
        ledger_days=ledger_days,
        latency_seconds=latency_seconds,
        latency_rates=tuple(latency_rate),
        seed=seed,
        end_us=load_end_us(time.time_ns() // 1000),
        only=next(iter(only), None),
    )
    run_all(plan, peers, BenchDocument(output), output, as_json)


def run_all(plan: Plan, which: Which, document: BenchDocument, output: Path, as_json: bool) -> None:
    """Run the plan; what it measures is in the document as soon as it is there."""
    began = time.monotonic()
    found = Peers(Installed(), Installed())
    if plan.has(Part.LOAD) and which is Which.ALL:
        found = Peers(install(STREAM_PEERS, say), install(SINK_PEERS, say))
    say(f"load average at the start: {load_average()}")
    commit = commit_of(ROOT)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="costledger-bench-") as name:
        folder = Path(name)
        with Stack(
            folder / "services", broker="embedded" if plan.only is Part.API else "apache", on_progress=say
        ) as stack:
            for measured, arguments in benchmarks(plan, Place(stack.environment(), folder), found):
                document.add(entries(measured, arguments, commit))
                results += measured
    say(f"load average at the end: {load_average()}")
    seconds = time.monotonic() - began
    arguments = {"names": [result.name for result in results], "runs": plan.runs, "peers": which.value}
    document.add({"bench": own_entry(seconds, arguments, commit)})
    say(f"all of it took {seconds:.0f} s")
    finish(document, results, output, as_json)


def entries(measured: Sequence[Result], arguments: Mapping[str, Any], commit: str) -> dict[str, Any]:
    """Their parts of the document, with what they depend on, and what was measured when."""
    at = now()
    found = {result.name: {**result.entry(), "arguments": arguments, "at": at, "commit": commit} for result in measured}
    for entry in found.values():
        # They may stay when another run measures other rates.
        for rate in entry.get("rates", {}).values():
            rate.update(seconds=arguments["seconds"], at=at, commit=commit)
    return found


def own_entry(seconds: float, arguments: Mapping[str, Any], commit: str) -> Entry:
    """What the document says of the run itself: how long it took with everything that it started and filled."""
    took = Result("bench", "s", 1, {"bench": [seconds]}, fields={"seconds": round(seconds, 1)})
    return {**took.entry(), "arguments": arguments, "at": now(), "commit": commit}


def finish(document: BenchDocument, results: Sequence[Result], output: Path, as_json: bool) -> None:
    """Show what was measured, compare it to what was there and to what is kept; exit code 1 when a run failed."""
    say(f"written to {output}")
    if as_json:
        print_json(document.measured)
    else:
        print_results(results)
    measured = {result.name: document.measured[result.name] for result in results}
    kept = KEPT / output.name
    for text, which in (
        (document.previous, "last document"),
        (kept.read_text() if kept.exists() else None, "kept document"),
    ):
        if text is not None:
            say(f"beside the {which} ({origins(text)}):")
        for line in compare(text, measured, which):
            say(line)
    if any(result.failed for result in results):
        raise typer.Exit(1)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def load_average() -> str:
    """Over 1, 5 and 15 minutes, and of how many processors."""
    return f"{', '.join(f'{load:.2f}' for load in os.getloadavg())} ({os.cpu_count()} processors)"


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
