"""Curve `ledger`: the rate of the sink, with roll-ups, into ledgers that have so many entries already."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final

from tests.bench.growth.curves import Curve, Machine, Row, series
from tests.bench.growth.drawing import Plot
from tests.bench.growth.workers import Place, worker
from tests.bench.kafka import PARTITIONS
from tests.bench.kafka import fill as fill_topic
from tests.bench.ledger_filler import fill
from tests.bench.ledgers import Connection, WrongResult, fresh_ledger
from tests.bench.rates import committed_rate, watch
from tests.bench.workload import Workload

from costledger.schemas.codec import encode_event
from costledger.schemas.money import to_usd

SIZES: Final = (0, 1_000_000, 10_000_000, 50_000_000)
DAYS: Final = 395
USERS: Final = 2_000
_RUN_SECONDS_MAX: Final = 600.0


def measure(machine: Machine, sizes: Sequence[int], events: int, runs: int) -> Iterator[Row]:
    """A row for each size, with the median of some runs; each run brings events of its own, which stay in the ledger."""
    now_us = time.time_ns() // 1000
    loads = [Workload(events, USERS, now_us, machine.seed + run) for run in range(runs)]
    places = [Place(machine, PARTITIONS) for _ in loads]
    for place, load in zip(places, loads, strict=True):
        place.make_topics()
        records = load.records()
        fill_topic(place.bootstrap, place.events, ((one["user_id"].encode(), encode_event(one)) for one in records))
    today = datetime.now(UTC).date()
    for rows in sizes:
        with fresh_ledger(machine.services["COSTLEDGER_DATABASE_URL"], today - timedelta(days=DAYS), today) as ledger:
            filled = _filled(machine, ledger, rows)
            rates = []
            for place, load in zip(places, loads, strict=True):
                rates.append(_rate(place, ledger, load))
                machine.say(f"  {filled:,} entries: {rates[-1]:,.0f} events/s")
        yield {"rows": filled, "rate": round(median(rates)), "runs": " ".join(f"{rate:.0f}" for rate in rates)}


def _filled(machine: Machine, ledger: tuple[str, Connection], rows: int) -> int:
    """Fill a ledger and have it write its dirty pages; how many entries it has."""
    url, connection = ledger
    if not rows:
        return 0
    started = time.monotonic()
    filled = fill(url, rows, datetime.now(UTC), seed=machine.seed, days=DAYS, say=lambda _: None)
    connection.execute("CHECKPOINT")
    machine.say(f"  filled a ledger with {filled:,} entries in {time.monotonic() - started:.0f} s")
    return filled


def _rate(place: Place, ledger: tuple[str, Connection], workload: Workload) -> float:
    url, connection = ledger
    with worker(place, "sink", COSTLEDGER_DATABASE_URL=url) as sink:

        def written() -> int:
            sink.program.check()
            return _consumed(connection, place.events)

        commits = watch(written, workload.events, _RUN_SECONDS_MAX)
        sink.program.stop()
    _check(connection, place.events, workload)
    return committed_rate(commits)


def _consumed(connection: Connection, topic: str) -> int:
    query = "SELECT coalesce(sum(next_offset), 0) FROM ledger.sink_offsets WHERE topic = %s"
    ((offsets,),) = connection.execute(query, (topic,)).fetchall()
    return int(offsets)


def _check(connection: Connection, topic: str, workload: Workload) -> None:
    query = "SELECT count(*), sum(amount) FROM ledger.entries WHERE kafka_topic = %s"
    (found,) = connection.execute(query, (topic,)).fetchall()
    if found != (workload.events, to_usd(workload.amount)):
        raise WrongResult(f"the entries are {found}; the workload's are {workload.events, to_usd(workload.amount)}")


def _plots(rows: Sequence[Row]) -> dict[str, Plot]:
    base = [row["rate"] for row in rows if row["rows"] == 0]
    least = round(0.8 * base[0]) if base else None
    shown = {"sink, events/s": series(rows, "rows", "rate")}
    return {"ledger_rate": Plot("Rate of the sink by the size of its ledger, events/s", "entries", shown, least)}


CURVE: Final = Curve("ledger", ("rows",), _plots)
