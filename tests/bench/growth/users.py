"""Curve `users`: memory of a stream worker for each user, and how long it takes to have its state back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final

import redis
from tests.bench.growth.curves import Curve, Machine, Row, series
from tests.bench.growth.drawing import Plot
from tests.bench.growth.workers import Place, worker
from tests.bench.kafka import committed_by, fill
from tests.bench.ledgers import WrongResult
from tests.bench.rates import watch

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
WARM_USERS: Final = 240
WARM_EVENTS: Final = 300_000
_EVENT_PICODOLLARS: Final = 123_456_789
_WORK_SECONDS_MAX: Final = 3600.0
_VIEW_SECONDS_MAX: Final = 600.0
_MIB: Final = 2**20


def measure(machine: Machine, sizes: Sequence[int]) -> Iterator[Row]:
    """A row for each number of users, compared to a worker without users, and to a warm one with hardly any."""
    empty = _empty(machine)
    place = _filled(machine, WARM_USERS, WARM_EVENTS)
    empty["warm_bytes"] = _worked(place, WARM_EVENTS)
    machine.say(f"  {empty}")
    for users in sizes:
        yield _point(machine, users, empty)


def records(users: int, events: int, at_us: int, seed: int) -> Iterator[EventRecord]:
    """Events of five services for each user, all within a second: an hour, a day and a month per user.

    Round by round, so that a user's events are as far apart as can be.
    """
    for number in range(events):
        service, operation = SERVICES[number // users % len(SERVICES)]
        occurred_at = at_us + number % 1_000_000
        yield {
            "event_id": str(derived_event_id(occurred_at, str(seed), str(number))),
            "user_id": f"user-{number % users:07d}",
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
    place = Place(machine, PARTITIONS)
    place.make_topics()
    with worker(place, "stream") as one:
        seconds = one.seconds_to_open()
        held = one.steady_bytes()
        one.program.stop()
    return {"bytes": held, "seconds": seconds}


def _filled(machine: Machine, users: int, events: int) -> Place:
    place = Place(machine, PARTITIONS)
    place.make_topics()
    machine.say(f"  {users:,} users: writing {events:,} events")
    made = records(users, events, time.time_ns() // 1000 - 2_000_000, machine.seed)
    fill(place.bootstrap, place.events, ((one["user_id"].encode(), encode_event(one)) for one in made))
    return place


def _worked(place: Place, events: int) -> int:
    """The memory of a worker that has worked through all events, bytes."""
    with ExitStack() as closing:
        one = closing.enter_context(worker(place, "stream"))
        committed = committed_by(place.bootstrap, place.group, place.events, closing, PARTITIONS)

        def done() -> int:
            one.program.check()
            return committed()

        watch(done, events, _WORK_SECONDS_MAX)
        held = one.steady_bytes()
        one.program.stop()
    return held


def _point(machine: Machine, users: int, empty: dict[str, float]) -> Row:
    events = users * len(SERVICES)
    place = _filled(machine, users, events)
    with redis.Redis.from_url(machine.services["COSTLEDGER_REDIS_URL"]) as totals:
        totals.flushdb()
        worked_bytes = _worked(place, events)
        # What is there afterwards was written from the recovered state.
        totals.flushdb()
        with worker(place, "stream") as one:
            recovery_seconds = one.seconds_to_open() - empty["seconds"]
            _await_view(totals, users)
            recovered_bytes = one.steady_bytes()
            _check(totals, users, events)
            one.program.stop()
        totals.flushdb()
    row = {
        "users": users,
        "empty_mib": round(empty["bytes"] / _MIB, 1),
        "warm_mib": round(empty["warm_bytes"] / _MIB, 1),
        "worked_mib": round(worked_bytes / _MIB, 1),
        "recovered_mib": round(recovered_bytes / _MIB, 1),
        "bytes_per_user": round((worked_bytes - empty["bytes"]) / users),
        "bytes_per_user_warm": round((worked_bytes - empty["warm_bytes"]) / users),
        "bytes_per_user_recovered": round((recovered_bytes - empty["bytes"]) / users),
        "recovery_seconds": round(recovery_seconds, 2),
    }
    machine.say(f"  {row}")
    return row


def _await_view(totals: redis.Redis, users: int) -> None:
    """Wait until Redis has an hour, a day and a month of each user."""
    deadline = time.monotonic() + _VIEW_SECONDS_MAX
    while totals.dbsize() < 3 * users:
        if time.monotonic() > deadline:
            raise WrongResult(f"Redis has {totals.dbsize()} keys; {users} users have three each")
        time.sleep(0.2)


def _check(totals: redis.Redis, users: int, events: int) -> None:
    """`WrongResult` unless the view that was written from the recovered state has every user, and two totals are right."""
    months = sum(1 for _ in totals.scan_iter("costledger:{*}:total:month:*", count=5_000))
    if months != users:
        raise WrongResult(f"Redis has the months of {months} users after the recovery; there are {users}")
    for user in (0, users - 1):
        (key,) = totals.scan_iter(f"costledger:{{user-{user:07d}}}:total:month:*", count=5_000)
        wanted = sum(_EVENT_PICODOLLARS + number for number in range(user, events, users))
        found = int(totals.hget(key, "total") or 0)
        if found != wanted:
            raise WrongResult(f"the month of user {user} is {found} after the recovery; its events have {wanted}")


def _plots(rows: Sequence[Row]) -> dict[str, Plot]:
    # In MiB: for few users the share of each is mostly what a worker has anyway.
    allowed = [(row["users"], row["empty_mib"] + row["users"] * USER_BYTES_MAX / _MIB) for row in rows]
    memory = {
        "after its events": series(rows, "users", "worked_mib"),
        "after a restart": series(rows, "users", "recovered_mib"),
        "empty, and 2 KiB a user": allowed,
    }
    recovery = {"recovery, s": series(rows, "users", "recovery_seconds")}
    return {
        "users_memory": Plot("Memory of a stream worker, MiB", "users", memory, is_logarithmic=True),
        "users_recovery": Plot(
            f"Recovery, seconds (limit at {RECOVERY_USERS:,} users)",
            "users",
            recovery,
            RECOVERY_SECONDS_MAX,
            is_logarithmic=True,
        ),
    }


CURVE: Final = Curve("users", ("users",), _plots)
