"""Curve `scale`: the rates of stream and sink by the number of workers and of partitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final

import redis
from tests.bench.bench_stream import await_total
from tests.bench.growth.curves import Curve, Machine, Row, series
from tests.bench.growth.drawing import Plot
from tests.bench.growth.workers import Place, Worker, worker
from tests.bench.kafka import committed_by, fill
from tests.bench.ledgers import check_entries, check_totals, consumed, fresh_ledger
from tests.bench.rates import committed_rate, watch
from tests.bench.workload import Workload

from costledger.schemas.codec import encode_event

WORKERS: Final = (1, 2)
PARTITIONS: Final = (4, 12, 48)
USERS: Final = 2_000
_RUN_SECONDS_MAX: Final = 600.0


def measure(
    machine: Machine, workers: Sequence[int], partitions: Sequence[int], events: int, runs: int
) -> Iterator[Row]:
    """A row for each part, number of workers and number of partitions, the same events for all; medians of some runs."""
    load = Workload(events, USERS, time.time_ns() // 1000, machine.seed)
    for count in partitions:
        for part, run in (("stream", _stream), ("sink", _sink)):
            for number in workers:
                rates = []
                for _ in range(runs):
                    # Topics of its own: a group that begins anew finds no changelog.
                    place = Place(machine, count)
                    place.make_topics()
                    records = load.records()
                    fill(
                        place.bootstrap, place.events, ((one["user_id"].encode(), encode_event(one)) for one in records)
                    )
                    rates.append(run(place, number, load))
                    machine.say(f"  {part}, {number} of {count} partitions: {rates[-1]:,.0f} events/s")
                runs_text = " ".join(f"{rate:.0f}" for rate in rates)
                yield {
                    "part": part,
                    "partitions": count,
                    "workers": number,
                    "rate": round(median(rates)),
                    "runs": runs_text,
                }


def _stream(place: Place, number: int, load: Workload) -> float:
    with ExitStack() as closing:
        totals = closing.enter_context(
            redis.Redis.from_url(place.machine.services["COSTLEDGER_REDIS_URL"], decode_responses=True)
        )
        totals.flushdb()
        workers = [closing.enter_context(worker(place, "stream")) for _ in range(number)]
        committed = committed_by(place.bootstrap, place.group, place.events, closing, place.partitions)
        rate = _watched(workers, committed, load.events)
        await_total(totals, load.amount)
        _stop(workers)
    return rate


def _sink(place: Place, number: int, load: Workload) -> float:
    last = datetime.now(UTC).date()
    server_url = place.machine.services["COSTLEDGER_DATABASE_URL"]
    with ExitStack() as closing:
        url, connection = closing.enter_context(fresh_ledger(server_url, last - timedelta(days=1), last))
        workers = [closing.enter_context(worker(place, "sink", COSTLEDGER_DATABASE_URL=url)) for _ in range(number)]
        rate = _watched(workers, lambda: consumed(connection), load.events)
        _stop(workers)
        check_entries(connection, load.events, load.amount)
        check_totals(connection, load.events, load.amount)
    return rate


def _watched(workers: Sequence[Worker], committed: Callable[[], int], events: int) -> float:
    """Events per second of all workers together, from the first commit to the last."""

    def done() -> int:
        for one in workers:
            one.program.check()
        return committed()

    return committed_rate(watch(done, events, _RUN_SECONDS_MAX))


def _stop(workers: Sequence[Worker]) -> None:
    for one in workers:
        one.program.stop()


def _plots(rows: Sequence[Row]) -> dict[str, Plot]:
    shown = {}
    for part in ("stream", "sink"):
        for number in sorted({row["workers"] for row in rows}):
            some = [row for row in rows if row["part"] == part and row["workers"] == number]
            if some:
                name = f"{part}, {number} worker{'s' if number > 1 else ''}"
                shown[name] = series(some, "partitions", "rate")
    return {"scale_rate": Plot("Rates by workers and partitions, events/s", "partitions", shown, is_logarithmic=True)}


CURVE: Final = Curve("scale", ("part", "partitions", "workers"), _plots)
