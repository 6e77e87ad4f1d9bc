"""Which benchmarks a run has, one after the other, each with the arguments that its figures depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.bench_api import ApiBench
from tests.bench.bench_latency import LatencyBench
from tests.bench.bench_month import MonthBench
from tests.bench.bench_sdk import PEER, SdkBench
from tests.bench.bench_sink import SinkBench
from tests.bench.bench_stream import StreamBench
from tests.bench.latency_result import results_of
from tests.bench.peers.catalogue import Installed
from tests.bench.rates import Contender, Result, alternate
from tests.bench.workload import History, Workload

from costledger.deploy.console import say

USERS = 2_000
Measured = tuple[Sequence[Result], Mapping[str, Any]]


class Part(StrEnum):
    """What can be measured alone; `LOAD` is all that needs peers, and `stream_many`."""

    LOAD = "load"
    MONTH = "month"
    LATENCY = "latency"
    API = "api"


@dataclass(frozen=True)
class Plan:
    """What is measured, and with how much; 0 of something leaves its benchmark out."""

    events: int
    runs: int
    commit_interval_seconds: float
    many_users: int
    history_days: int
    ledger_events: int
    ledger_days: int
    latency_seconds: float
    latency_rates: tuple[int, ...]
    seed: int
    #: Unix microseconds: the last event of the load.
    end_us: int
    #: Nothing but this part.
    only: Part | None

    def has(self, part: Part) -> bool:
        """Whether a part is measured."""
        return self.only in {None, part}

    @property
    def load_arguments(self) -> dict[str, Any]:
        """What the figures of the load depend on."""
        return {"events": self.events, "commit_interval_seconds": self.commit_interval_seconds, "seed": self.seed}


@dataclass(frozen=True)
class Peers:
    """The peers that were installed."""

    stream: Installed
    sink: Installed


@dataclass(frozen=True)
class Place:
    """The services, named by the settings that lead to them, and a folder for what programs write."""

    services: Mapping[str, str]
    folder: Path


def benchmarks(plan: Plan, place: Place, peers: Peers) -> Iterator[Measured]:
    """Run them; the results of each as soon as it is done."""
    if plan.has(Part.LOAD):
        for results in load_benchmarks(plan, place, peers):
            yield results, plan.load_arguments
        if plan.many_users:
            yield [many_users(plan, place)], {**plan.load_arguments, "users": plan.many_users}
    if plan.history_days and plan.has(Part.MONTH):
        yield [month(plan, place)], {**plan.load_arguments, "history_days": plan.history_days}
    if plan.latency_seconds and plan.has(Part.LATENCY):
        bench = LatencyBench(place.services, place.folder, say)
        latency = results_of(bench.measure(plan.latency_rates, plan.latency_seconds))
        yield latency, {"seconds": plan.latency_seconds, "rates": list(plan.latency_rates)}
    if plan.ledger_events and plan.has(Part.API):
        yield [api(plan, place)], {"events": plan.ledger_events, "days": plan.ledger_days, "seed": plan.seed}


def load_benchmarks(plan: Plan, place: Place, peers: Peers) -> Iterator[Sequence[Result]]:
    """Stream, sink and SDK with the load of few users, which is written once."""

    def run(name: str, contenders: Mapping[str, Contender], installed: Installed) -> Result:
        say(f"{name} (events/s)")
        turns = alternate(contenders, plan.runs, say)
        return Result(name, "events/s", 0, turns.values, unavailable=installed.unavailable, failed=turns.failed)

    workload = Workload(plan.events, USERS, plan.end_us, plan.seed)
    stream = StreamBench(place.services, place.folder, workload, plan.commit_interval_seconds)
    say(f"writing {workload.events:,} events to Kafka")
    topic = stream.prepare()
    sink = SinkBench(place.services, place.folder, workload, topic)
    sdk = SdkBench(place.services, place.folder, workload.events)
    sdk.prepare()
    result = run("stream", stream.contenders(peers.stream.runs), peers.stream)
    yield [replace(result, fields=stream.fields())]
    result = run("sink", sink.contenders(peers.sink.runs), peers.sink)
    told = sink.fields()
    say(
        f"  {told['log_bytes_per_event']:,.0f} bytes of write-ahead log an event; {told['sealed_per_second']:,} entries/s sealed"
    )
    yield [replace(result, fields=told)]
    # Both modes take turns with the one peer that they share.
    say("sdk_memory, sdk_spool (us CPU/event)")
    values = alternate(sdk.contenders(), plan.runs, say).values
    yield [Result(name, "us CPU/event", 2, {name: values[name], PEER: values[PEER]}) for name in values if name != PEER]
    say("sdk_call_p99 (us)")
    calls = alternate(sdk.calls(), plan.runs, say).values
    yield [Result("sdk_call_p99", "us", 1, calls, fields=sdk.call_fields())]


def many_users(plan: Plan, place: Place) -> Result:
    """The stream worker with more users than it keeps decoded, beside a loop without state."""
    workload = Workload(plan.events, plan.many_users, plan.end_us, plan.seed)
    bench = StreamBench(place.services, place.folder, workload, plan.commit_interval_seconds, "stream_many")
    say(f"writing {workload.events:,} events of {workload.users:,} users to Kafka")
    return _beside_a_loop(bench, "stream_many", plan.runs, f"{workload.users:,} users")


def month(plan: Plan, place: Place) -> Result:
    """The stream worker, whose users have been there for so long, beside a loop without state."""
    workload = Workload(plan.events, USERS, plan.end_us, plan.seed)
    history = History(plan.history_days, USERS, workload.start_us)
    bench = MonthBench(place.services, place.folder, workload, plan.commit_interval_seconds, history)
    say(f"writing {history.events:,} events of {history.days} days and the load to Kafka")
    return _beside_a_loop(bench, "stream_month", plan.runs, f"{history.users:,} users of {history.days} days")


def _beside_a_loop(bench: StreamBench, name: str, runs: int, whom: str) -> Result:
    bench.prepare()
    say(f"{name} (events/s)")
    turns = alternate(bench.beside_a_loop(), runs, say)
    say(f"  the worker held {median(bench.held_bytes) / 2**20:,.0f} MiB for {whom}")
    return Result(name, "events/s", 0, turns.values, failed=turns.failed, fields=bench.fields())


def api(plan: Plan, place: Place) -> Result:
    """The API's routes on ledgers of two sizes."""
    say("api_p95 (ms)")
    bench = ApiBench(
        place.services,
        place.folder,
        events=plan.ledger_events,
        days=plan.ledger_days,
        runs=plan.runs,
        seed=plan.seed,
        say=say,
    )
    return bench.measure()
