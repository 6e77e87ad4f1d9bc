"""Curve `users`: memory of a stream worker for each user, and how long it takes to have its state back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import median
from typing import Final

import redis
from tests.bench.growth.curves import Curve, Machine, Row, series, verdict
from tests.bench.growth.drawing import Plot
from tests.bench.growth.workers import NotInTime, Place, worker
from tests.bench.kafka import committed_by, fill
from tests.bench.ledgers import WrongResult
from tests.bench.rates import Commit, TooFewEvents, committed_rate, watch

from costledger.schemas.codec import encode_event
from costledger.schemas.events import EventRecord
from costledger.schemas.ids import derived_event_id

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
PARTITIONS: Final = 12
SERVICES: Final = (
    ("aws-rekognition", "detectLabels"),
    ("aws-comprehend", "detectSentiment"),
    ("aws-s3", "get"),
    ("openai", "input-tokens"),
    ("internal", "cpu"),
)
#: What a user may take, and a recovery.
USER_BYTES_MAX: Final = 2048
RECOVERY_SECONDS_MAX: Final = 20.0
RECOVERY_USERS: Final = 100_000
#: A few users whose events fill what a worker has whoever its users are: the latest ids of each partition, buffers, caches.
#: Theirs are the first events of every point, so that points differ by their users alone.
WARM_USERS: Final = 240
WARM_EVENTS: Final = 300_000
#: A time to open is the median of so many.
STARTS: Final = 5
_EVENT_PICODOLLARS: Final = 123_456_789
_WORK_SECONDS_MAX: Final = 3600.0
#: Three periods of each of a million users, at a thousand a second.
_VIEW_SECONDS_MAX: Final = 3600.0
_PERIODS_PER_USER: Final = 3
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Worked:
    """A worker that has worked through all events: its memory once that has settled, the most it had, and its rate.

    The rate, events per second, is None where all events were committed at once.
    """

    held_bytes: int
    peak_bytes: int
    rate: float | None


def measure(machine: Machine, sizes: Sequence[int]) -> Iterator[Row]:
    """A row for each number of users, compared to a worker without users, and to a warm one with hardly any."""
    empty = _empty(machine)
    with redis.Redis.from_url(machine.services["COSTLEDGER_REDIS_URL"]) as totals:
        empty["warm_bytes"] = _worked(_filled(machine, 0), totals, 0).held_bytes
        machine.say(f"  {empty}")
        for users in sorted(set(sizes)):
            yield _point(machine, totals, users, empty)


def records(users: int, events: int, at_us: int, seed: int, name: str = "user") -> Iterator[EventRecord]:
    """Events of five services for each user (`name` and a number), all within a second: an hour, a day and a month per user.

    Round by round, so that a user's events are as far apart as can be.
    """
    for number in range(events):
        service, operation = SERVICES[number // users % len(SERVICES)]
        occurred_at = at_us + number % 1_000_000
        yield {
            "event_id": str(derived_event_id(occurred_at, str(seed), str(number))),
            "user_id": f"{name}-{number % users:07d}",
            "service": service,
            "operation": operation,
            "category": "USAGE",
            "quantity": 10**9,
            "unit": "request",
            "unit_price": "0.0001",
            "price_version": "bench",
            "amount": _EVENT_PICODOLLARS + number,
            "currency": "USD",
            "occurred_at": occurred_at,
            "source": "bench",
            "reverses_event_id": None,
            "metadata": {},
        }


def _empty(machine: Machine) -> dict[str, float]:
    """Of a worker without users: its memory, and how long it takes to open, without the first time on new servers."""
    place = Place(machine, PARTITIONS)
    place.make_topics()
    seconds = _seconds_to_open(place, 1 + STARTS)[1:]
    with worker(place, "stream") as one:
        one.seconds_to_open()
        held = one.steady_bytes()
        one.program.stop()
    return {"bytes": held, "seconds": median(seconds)}


def _seconds_to_open(place: Place, starts: int) -> list[float]:
    """How long each of so many workers, one after the other, takes from its start until it reads."""
    seconds = []
    for _ in range(starts):
        with worker(place, "stream") as one:
            seconds.append(one.seconds_to_open())
            one.program.stop()
    return seconds


def _filled(machine: Machine, users: int) -> Place:
    """A topic with the events of the few users that make a worker warm, and then those of so many others."""
    place = Place(machine, PARTITIONS)
    place.make_topics()
    events = users * len(SERVICES)
    machine.say(f"  {users:,} users: writing {events:,} events behind {WARM_EVENTS:,} of {WARM_USERS} others")
    at_us = time.time_ns() // 1000 - 2_000_000
    made = chain(
        records(WARM_USERS, WARM_EVENTS, at_us, machine.seed + 1, "warm"), records(users, events, at_us, machine.seed)
    )
    fill(place.bootstrap, place.events, ((one["user_id"].encode(), encode_event(one)) for one in made))
    return place


def _worked(place: Place, totals: redis.Redis, users: int) -> Worked:
    """Have a worker work through all events, and wait until Redis, empty before, has every period. The rate is of the users' own."""
    _empty_view(totals)
    with ExitStack() as closing:
        one = closing.enter_context(worker(place, "stream"))
        committed = committed_by(place.bootstrap, place.group, place.events, closing, PARTITIONS)

        def done() -> int:
            one.program.check()
            return committed()

        commits = watch(done, WARM_EVENTS + users * len(SERVICES), _WORK_SECONDS_MAX)
        _await_view(totals, users)
        found = Worked(one.steady_bytes(), one.peak_bytes(), rate_behind(WARM_EVENTS, commits))
        one.program.stop()
    return found


def rate_behind(events: int, commits: Sequence[Commit]) -> float | None:
    """Events per second behind the first so many; None where all of these were committed at once."""
    try:
        return committed_rate([commit for commit in commits if commit.events >= events])
    except TooFewEvents:
        return None


def _point(machine: Machine, totals: redis.Redis, users: int, empty: dict[str, float]) -> Row:
    place = _filled(machine, users)
    worked = _worked(place, totals, users)
    recoveries = [seconds - empty["seconds"] for seconds in _seconds_to_open(place, STARTS)]
    # What is there afterwards was written from the recovered state.
    _empty_view(totals)
    with worker(place, "stream") as one:
        one.seconds_to_open()
        began, redis_began = time.monotonic(), _cpu_seconds(totals)
        _await_view(totals, users)
        view_seconds, redis_seconds = time.monotonic() - began, _cpu_seconds(totals) - redis_began
        recovered_bytes, recovered_peak_bytes = one.steady_bytes(), one.peak_bytes()
        _check(totals, users)
        one.program.stop()
    _empty_view(totals)
    periods = _PERIODS_PER_USER * (WARM_USERS + users)
    row = {
        "users": users,
        "empty_mib": _mib(empty["bytes"]),
        "warm_mib": _mib(empty["warm_bytes"]),
        "worked_mib": _mib(worked.held_bytes),
        "worked_peak_mib": _mib(worked.peak_bytes),
        "recovered_mib": _mib(recovered_bytes),
        "recovered_peak_mib": _mib(recovered_peak_bytes),
        "bytes_per_user": round((worked.held_bytes - empty["bytes"]) / users),
        "bytes_per_user_warm": round((worked.held_bytes - empty["warm_bytes"]) / users),
        "bytes_per_user_recovered": round((recovered_bytes - empty["bytes"]) / users),
        "recovery_seconds": round(median(recoveries), 2),
        "recoveries": " ".join(f"{seconds:.2f}" for seconds in recoveries),
        "view_rate": round(periods / view_seconds),
        "redis_us_per_period": round(redis_seconds * 1e6 / periods, 1),
        "rate": None if worked.rate is None else round(worked.rate),
    }
    machine.say(f"  {row}")
    return row


def _mib(size_bytes: float) -> float:
    return round(size_bytes / _MIB, 1)


def _await_view(totals: redis.Redis, users: int) -> None:
    """Wait until Redis has an hour, a day and a month of each user, and of the few before."""
    deadline = time.monotonic() + _VIEW_SECONDS_MAX
    while totals.dbsize() < _PERIODS_PER_USER * (WARM_USERS + users):
        if time.monotonic() > deadline:
            raise NotInTime(
                f"Redis has {totals.dbsize():,} keys after {_VIEW_SECONDS_MAX:g} s; {WARM_USERS + users:,} users have "
                f"{_PERIODS_PER_USER} each"
            )
        time.sleep(0.2)


def _cpu_seconds(server: redis.Redis) -> float:
    """What Redis has used of a processor since it was started."""
    used = server.info("cpu")
    return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])


def _empty_view(totals: redis.Redis) -> None:
    # In the background of Redis: millions of keys take it longer than its client waits for an answer.
    totals.flushdb(asynchronous=True)


def _check(totals: redis.Redis, users: int) -> None:
    """`WrongResult` unless the view that was written from the recovered state has every user, and two totals are right."""
    months = sum(1 for _ in totals.scan_iter("costledger:{*}:total:month:*", count=5_000))
    if months != WARM_USERS + users:
        raise WrongResult(f"Redis has the months of {months} users after the recovery; there are {WARM_USERS + users}")
    for user in (0, users - 1):
        (key,) = totals.scan_iter(f"costledger:{{user-{user:07d}}}:total:month:*", count=5_000)
        wanted = sum(_EVENT_PICODOLLARS + number for number in range(user, users * len(SERVICES), users))
        found = int(totals.hget(key, "total") or 0)
        if found != wanted:
            raise WrongResult(f"the month of user {user} is {found} after the recovery; its events have {wanted}")


def with_slopes(rows: Sequence[Row]) -> list[Row]:
    """The rows, each but the smallest with its bytes a user: by how much memory grew for each user more than the row before has."""
    ordered = sorted(rows, key=lambda row: int(row["users"]))
    slopes = [
        {
            "bytes_per_added_user": _slope(before, row, "worked_mib"),
            "bytes_per_added_user_recovered": _slope(before, row, "recovered_mib"),
        }
        for before, row in pairwise(ordered)
    ]
    return [*ordered[:1], *({**row, **slope} for row, slope in zip(ordered[1:], slopes, strict=True))]


def _slope(before: Row, row: Row, memory: str) -> int:
    grown_mib, users = float(row[memory] - before[memory]), int(row["users"] - before["users"])
    return round(grown_mib * _MIB / users)


def _plots(rows: Sequence[Row]) -> dict[str, Plot]:
    compared = with_slopes(rows)
    smallest = compared[0]
    # By the slope: for few users the share of each is mostly what a worker has anyway.
    allowed = [
        (row["users"], smallest["worked_mib"] + (row["users"] - smallest["users"]) * USER_BYTES_MAX / _MIB)
        for row in compared
    ]
    memory = {
        "after its events": series(compared, "users", "worked_mib"),
        "after a restart": series(compared, "users", "recovered_mib"),
        "2 KiB for each user more": allowed,
    }
    slopes = {
        "after its events": series(compared, "users", "bytes_per_added_user"),
        "after a restart": series(compared, "users", "bytes_per_added_user_recovered"),
    }
    recovery = {"recovery": series(compared, "users", "recovery_seconds")}
    rate = {"stream": series(compared, "users", "rate")}
    return {
        "users_memory": Plot("Memory of a stream worker", "users", memory, is_logarithmic=True, y_title="MiB"),
        "users_slope": Plot(
            "Memory for each user more than the point before has",
            "users",
            slopes,
            USER_BYTES_MAX,
            is_logarithmic=True,
            y_title="bytes",
        ),
        "users_recovery": Plot(
            f"Recovery (limit at {RECOVERY_USERS:,} users)",
            "users",
            recovery,
            RECOVERY_SECONDS_MAX,
            is_logarithmic=True,
            y_title="seconds",
        ),
        "users_rate": Plot(
            "Rate of the stream, the next event always another user's",
            "users",
            rate,
            is_logarithmic=True,
            y_title="events/s",
        ),
    }


def _verdicts(rows: Sequence[Row]) -> list[str]:
    """Of compared rows."""
    lines = [
        verdict(f"bytes for each user more, {row['users']:,} users, {when}", row[name], USER_BYTES_MAX)
        for row in rows
        for when, name in (
            ("after their events", "bytes_per_added_user"),
            ("after a restart", "bytes_per_added_user_recovered"),
        )
        if name in row
    ]
    lines += [
        verdict(f"seconds to recover {row['users']:,} users", row["recovery_seconds"], RECOVERY_SECONDS_MAX)
        for row in rows
        if row["users"] == RECOVERY_USERS
    ]
    return lines


CURVE: Final = Curve("users", ("users",), _plots, with_slopes, _verdicts)
