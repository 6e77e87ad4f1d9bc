"""Curve `scale`: the rates of stream and sink by the number of workers and of partitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Final

import redis
from tests.bench.bench_stream import await_total
from tests.bench.growth.curves import Curve, Machine, Row, series
from tests.bench.growth.drawing import Plot
from tests.bench.growth.groups import Group, watch_group
from tests.bench.growth.spans import NotShared, settled_rate
from tests.bench.growth.workers import Place, Worker, worker
from tests.bench.kafka import fill
from tests.bench.ledgers import Connection, check_entries, check_totals, fresh_ledger
from tests.bench.rates import Contender, TooFewEvents, alternate
from tests.bench.workload import Workload, load_end_us

from costledger.schemas.codec import encode_event

WORKERS: Final = (1, 2)
PARTITIONS: Final = (4, 12, 48)
USERS: Final = 2_000
#: More than half of them are left when a second worker has joined, and take several seconds.
EVENTS: Final = 2_000_000
RUNS: Final = 5
#: Of one run.
ATTEMPTS_MAX: Final = 3
_RUN_SECONDS_MAX: Final = 600.0


def measure(
    machine: Machine, workers: Sequence[int], partitions: Sequence[int], events: int, runs: int
) -> Iterator[Row]:
    """A row for each part, number of workers and number of partitions, the same events for all; medians of some runs.

    The numbers of workers take turns. Rates are those from when each worker had committed after the last rebalance.
    """
    load = Workload(events, USERS, load_end_us(time.time_ns() // 1000), machine.seed)
    for count in partitions:
        place = Place(machine, count)
        place.make_topics()
        machine.say(f"  {count} partitions: writing {events:,} events")
        records = load.records()
        fill(place.bootstrap, place.events, ((one["user_id"].encode(), encode_event(one)) for one in records))
        for part, run in (("stream", _stream), ("sink", _sink)):
            names = {_name(number): number for number in workers}
            contenders = {
                name: partial(_tried, partial(run, place, number, load), machine.say) for name, number in names.items()
            }
            machine.say(f"  {part}, {count} partitions, events/s")
            values = alternate(contenders, runs, machine.say).values
            for name, number in names.items():
                yield row_of(part, count, number, events, values[name], values[_name(min(workers))])


def row_of(
    part: str, partitions: int, workers: int, events: int, rates: Sequence[float], fewest: Sequence[float]
) -> Row:
    """The row of a point; `ratio` is to the fewest workers that were measured, by pairs of runs, as is its range."""
    ratios = [rate / other for rate, other in zip(rates, fewest, strict=True)]
    point = {"part": part, "partitions": partitions, "workers": workers}
    return {
        **point,
        "events": events,
        "rate": round(median(rates)),
        "ratio": round(median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "runs": " ".join(f"{rate:.0f}" for rate in rates),
    }


def _tried(run: Contender, say: Callable[[str], None]) -> float:
    """A run; another one instead of it where the workers came too late to share the work, which is no rate of so many."""
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            return run()
        except (NotShared, TooFewEvents) as error:
            if attempt == ATTEMPTS_MAX:
                raise
            say(f"  once more: {error}")
    raise AssertionError("unreachable")


def _stream(topics: Place, number: int, load: Workload) -> float:
    # A group that begins anew finds no changelog.
    place = topics.again()
    place.make_topics()
    with ExitStack() as closing:
        totals = closing.enter_context(
            redis.Redis.from_url(place.machine.services["COSTLEDGER_REDIS_URL"], decode_responses=True)
        )
        totals.flushdb()
        workers = [closing.enter_context(worker(place, "stream")) for _ in range(number)]
        group = Group(place, closing)
        rate = _rate(group, workers, group.positions, load.events, place.partitions)
        await_total(totals, load.amount)
        _stop(workers)
    return rate


def _sink(topics: Place, number: int, load: Workload) -> float:
    place = topics.again()
    last = datetime.now(UTC).date()
    server_url = place.machine.services["COSTLEDGER_DATABASE_URL"]
    with ExitStack() as closing:
        url, connection = closing.enter_context(fresh_ledger(server_url, last - timedelta(days=1), last))
        workers = [closing.enter_context(worker(place, "sink", COSTLEDGER_DATABASE_URL=url)) for _ in range(number)]
        group = Group(place, closing)
        rate = _rate(group, workers, lambda: _written(connection), load.events, place.partitions)
        _stop(workers)
        check_entries(connection, load.events, load.amount)
        check_totals(connection, load.events, load.amount)
    return rate


def _rate(
    group: Group,
    workers: Sequence[Worker],
    positions: Callable[[], Mapping[int, int]],
    events: int,
    partitions: int,
) -> float:
    """Events per second of all workers together, once they share the partitions."""

    def checked() -> Mapping[int, int]:
        for one in workers:
            one.program.check()
        return positions()

    return settled_rate(watch_group(group.owners, checked, events, _RUN_SECONDS_MAX), len(workers), partitions)


def _written(connection: Connection) -> dict[int, int]:
    """How far the ledger is, by partition."""
    return dict(connection.execute("SELECT partition, next_offset FROM ledger.sink_offsets").fetchall())


def _stop(workers: Sequence[Worker]) -> None:
    for one in workers:
        one.program.stop()


def _plots(rows: Sequence[Row]) -> dict[str, Plot]:
    shown, ranges = {}, {}
    for part in ("stream", "sink"):
        for number in sorted({row["workers"] for row in rows}):
            some = [row for row in rows if row["part"] == part and row["workers"] == number]
            if some:
                shown[f"{part}, {_name(number)}"] = series(some, "partitions", "rate")
                runs = [[float(rate) for rate in row["runs"].split()] for row in some]
                ranges[f"{part}, {_name(number)}"] = [
                    (row["partitions"], min(rates), max(rates)) for row, rates in zip(some, runs, strict=True)
                ]
    title = "Rates of stream and sink by workers and partitions"
    return {"scale_rate": Plot(title, "partitions", shown, is_logarithmic=True, y_title="events/s", ranges=ranges)}


def _name(workers: int) -> str:
    return f"{workers} worker{'s' if workers > 1 else ''}"


CURVE: Final = Curve("scale", ("part", "partitions", "workers"), _plots)
