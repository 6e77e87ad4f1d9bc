"""Curve `ledger`: the rate of the sink, with roll-ups, into a ledger that has so many entries, beside an empty one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median
from typing import Final

from tests.bench.growth.curves import Curve, Machine, Row, series, verdict
from tests.bench.growth.drawing import Plot
from tests.bench.growth.workers import Place, worker
from tests.bench.kafka import PARTITIONS
from tests.bench.kafka import fill as fill_topic
from tests.bench.ledger_filler import fill
from tests.bench.ledgers import Connection, WrongResult, fresh_ledger
from tests.bench.rates import Contender, Result, alternate, committed_rate, watch
from tests.bench.workload import Workload

from costledger.schemas.codec import encode_event
from costledger.schemas.money import to_usd
from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.schemas.topics import EVENTS as FILLED_TOPIC

SIZES: Final = (0, 1_000_000, 10_000_000, 50_000_000)
DAYS: Final = 395
USERS: Final = 2_000
EVENTS: Final = 600_000
RUNS: Final = 5
#: A filled ledger must be at least so fast, compared to an empty one.
RATIO_MIN: Final = 0.8
_FILLED: Final = "filled"
_EMPTY: Final = "empty"
#: Hours of a load; the loads of all runs have some days at the end of a month.
_LOAD_SPAN: Final = timedelta(hours=2)
_LOADS_SPAN_MAX: Final = timedelta(days=5)
_RUN_SECONDS_MAX: Final = 600.0
#: An id's time is that of its event, roughly.
_ID_MARGIN: Final = timedelta(seconds=2)

Ledger = tuple[str, Connection]
Load = tuple[Place, Workload]


def measure(machine: Machine, sizes: Sequence[int], events: int, runs: int, days: int) -> Iterator[Row]:
    """A row for each size, smallest first: one ledger is filled further and further, and the loads stay in it.

    Beside it each run has an empty one. A pair of runs of each size does not count. Size 0 compares two empty ledgers.
    """
    wanted = sorted(set(sizes))
    ends = load_ends(datetime.now(UTC), len(wanted) * (runs + 1))
    until = ends[0] - _LOAD_SPAN
    first_day, last_day = until.date() - timedelta(days=days), ends[-1].date()
    fresh = partial(fresh_ledger, machine.services["COSTLEDGER_DATABASE_URL"], first_day, last_day)
    with fresh() as grown:
        for place, size in enumerate(wanted):
            _fill_up(machine, grown, size, until, days)
            numbers = range(place * (runs + 1), (place + 1) * (runs + 1))
            loads = [_load(machine, events, ends[number], machine.seed + number) for number in numbers]
            contenders = {
                _FILLED: _contender((lambda: nullcontext(grown)) if size else fresh, loads),
                _EMPTY: _contender(fresh, loads),
            }
            machine.say(f"  {size:,} entries, events/s; the first pair does not count")
            alternate(contenders, 1, machine.say)
            entries = _entries(grown[1]) if size else 0
            values = alternate(contenders, runs, machine.say).values
            _check_roll_ups(grown[1])
            yield row_of(size, days, entries, values)


def load_ends(now: datetime, count: int) -> list[datetime]:
    """Where the hours of so many loads end, one after the other, the last a second before this month began.

    So they lie in a month that is full, whatever day it is; `ValueError` where they would take too much of it.
    """
    if count * _LOAD_SPAN > _LOADS_SPAN_MAX:
        raise ValueError(
            f"{count} loads of {_LOAD_SPAN} would take more than {_LOADS_SPAN_MAX} of a month: give fewer runs or sizes"
        )
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return [month - timedelta(seconds=1) - back * _LOAD_SPAN for back in range(count - 1, -1, -1)]


def row_of(size: int, days: int, entries: int, values: Mapping[str, list[float]]) -> Row:
    """The row of a size: `rows` filled in over so many days, `entries` with the loads before; medians, ratios by pairs of runs."""
    result = Result(_FILLED, "events/s", 0, dict(values))
    entry = result.entry()
    low, high = entry["ratio_range"][_EMPTY]
    return {
        "rows": size,
        "days": days,
        "entries": entries,
        "rate": round(median(values[_FILLED])),
        "empty_rate": round(median(values[_EMPTY])),
        "ratio": entry["ratio_to"][_EMPTY],
        "ratio_min": low,
        "ratio_max": high,
        "runs": " ".join(f"{rate:.0f}" for rate in values[_FILLED]),
        "empty_runs": " ".join(f"{rate:.0f}" for rate in values[_EMPTY]),
    }


def _load(machine: Machine, events: int, end: datetime, seed: int) -> Load:
    """A topic with the events of one run."""
    place, workload = Place(machine, PARTITIONS), Workload(events, USERS, to_microseconds(end), seed)
    place.make_topics()
    messages = ((one["user_id"].encode(), encode_event(one)) for one in workload.records())
    fill_topic(place.bootstrap, place.events, messages)
    return place, workload


def _fill_up(machine: Machine, ledger: Ledger, size: int, until: datetime, days: int) -> None:
    """Fill a ledger until it has so many entries besides those of the loads."""
    url, connection = ledger
    missing = size - _entries(connection, FILLED_TOPIC)
    if missing <= 0:
        return
    started = time.monotonic()
    filled = fill(url, missing, until, seed=machine.seed, days=days, say=lambda _: None)
    machine.say(f"  filled a ledger up to {filled:,} entries in {time.monotonic() - started:.0f} s")


def _contender(ledger: Callable[[], AbstractContextManager[Ledger]], loads: Sequence[Load]) -> Contender:
    """Writes the next load at each call, into what `ledger` opens."""
    following = iter(loads)

    def run() -> float:
        place, workload = next(following)
        with ledger() as (url, connection):
            # No run pays for the dirty pages of another one.
            connection.execute("CHECKPOINT")
            return _rate(place, url, connection, workload)

    return run


def _rate(place: Place, url: str, connection: Connection, workload: Workload) -> float:
    # The group of each run is its own: both ledgers read the same topic.
    with worker(place.again(), "sink", COSTLEDGER_DATABASE_URL=url) as sink:

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


def _entries(connection: Connection, topic: str | None = None) -> int:
    """How many entries the sinks' positions tell of, of all topics or of one."""
    query = (
        "SELECT coalesce(sum(inserted), 0) FROM ledger.sink_offsets WHERE %(topic)s::text IS NULL OR topic = %(topic)s"
    )
    ((entries,),) = connection.execute(query, {"topic": topic}).fetchall()
    return int(entries)


def _check(connection: Connection, topic: str, workload: Workload) -> None:
    """`WrongResult` unless the ledger has the load; looks at the load's own hours, not at everything."""
    query = (
        "SELECT count(*), sum(amount) FROM ledger.entries WHERE kafka_topic = %s "
        "AND event_id >= ledger.uuid7_floor(%s) AND event_id < ledger.uuid7_floor(%s)"
    )
    hours = (from_microseconds(workload.start_us) - _ID_MARGIN, from_microseconds(workload.end_us) + _ID_MARGIN)
    (found,) = connection.execute(query, (topic, *hours)).fetchall()
    if found != (workload.events, to_usd(workload.amount)):
        raise WrongResult(f"the entries are {found}; the workload's are {workload.events, to_usd(workload.amount)}")


def _check_roll_ups(connection: Connection) -> None:
    """`WrongResult` unless both roll-ups have as many events as was written, and the same amount."""
    query = "SELECT coalesce(sum(events), 0), coalesce(sum(amount), 0) FROM ledger."
    (hourly,) = connection.execute((query + "hourly_totals").encode()).fetchall()
    (by_day,) = connection.execute((query + "daily_totals").encode()).fetchall()
    entries = _entries(connection)
    if hourly != by_day or hourly[0] != entries:
        raise WrongResult(f"{entries} entries were written; the roll-ups have {hourly} by hour and {by_day} by day")


def _plots(rows: Sequence[Row]) -> dict[str, Plot]:
    ratios, rates, ranges = {}, {}, {}
    for days in sorted({row["days"] for row in rows}):
        some = [row for row in rows if row["days"] == days]
        name = f"over {days} days"
        ratios[name] = series(some, "rows", "ratio")
        ranges[name] = [(row["rows"], row["ratio_min"], row["ratio_max"]) for row in some]
        rates[f"filled, {name}"] = series(some, "rows", "rate")
        rates[f"empty beside, {name}"] = series(some, "rows", "empty_rate")
    x_title = "entries filled in before"
    title = "Rate of the sink into a filled ledger, compared to an empty one"
    return {
        "ledger_ratio": Plot(title, x_title, ratios, RATIO_MIN, is_logarithmic=True, y_title="ratio", ranges=ranges),
        "ledger_rate": Plot(
            "Rate of the sink by the size of its ledger", x_title, rates, is_logarithmic=True, y_title="events/s"
        ),
    }


def _verdicts(rows: Sequence[Row]) -> list[str]:
    return [
        verdict(
            f"rate with {row['rows']:,} entries over {row['days']} days, of an empty ledger's",
            row["ratio"],
            RATIO_MIN,
            at_least=True,
        )
        for row in rows
        if row["rows"]
    ]


CURVE: Final = Curve("ledger", ("rows", "days"), _plots, verdicts=_verdicts)
