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
#: The issue's limits.
USER_BYTES_MAX: Final = 2048
RECOVERY_SECONDS_MAX: Final = 20.0
RECOVERY_USERS: Final = 100_000
_EVENT_PICODOLLARS: Final = 123_456_789
_WORK_SECONDS_MAX: Final = 3600.0
_MIB: Final = 2**20


def measure(machine: Machine, sizes: Sequence[int]) -> Iterator[Row]:
    """A row for each number of users; an empty worker is measured first, and is what each is compared to."""
    empty_bytes, empty_seconds = _empty(machine)
    machine.say(f"  no users: {empty_bytes / _MIB:.1f} MiB, open after {empty_seconds:.2f} s")
    for users in sizes:
        yield _point(machine, users, empty_bytes, empty_seconds)


def records(users: int, at_us: int, seed: int) -> Iterator[EventRecord]:
    """An event of each of five services for each user, all within a second: an hour, a day and a month per user.

    Round by round, so that a user's events are as far apart as can be.
    """
    for number in range(users * len(SERVICES)):
        service, operation = SERVICES[number // users]
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


def _empty(machine: Machine) -> tuple[int, float]:
    place = Place(machine, PARTITIONS)
    place.make_topics()
    with worker(place, "stream") as one:
        seconds = one.seconds_to_open()
        held = one.steady_bytes()
        one.program.stop()
    return held, seconds


def _point(machine: Machine, users: int, empty_bytes: int, empty_seconds: float) -> Row:
    place = Place(machine, PARTITIONS)
    place.make_topics()
    events = users * len(SERVICES)
    machine.say(f"  {users:,} users: writing {events:,} events")
    made = records(users, time.time_ns() // 1000 - 2_000_000, machine.seed)
    fill(place.bootstrap, place.events, ((one["user_id"].encode(), encode_event(one)) for one in made))
    with ExitStack() as closing:
        totals = closing.enter_context(redis.Redis.from_url(machine.services["COSTLEDGER_REDIS_URL"]))
        totals.flushdb()
        with worker(place, "stream") as one:
            committed = committed_by(place.bootstrap, place.group, place.events, closing, PARTITIONS)

            def done() -> int:
                one.program.check()
                return committed()

            watch(done, events, _WORK_SECONDS_MAX)
            worked_bytes = one.steady_bytes()
            one.program.stop()
        with worker(place, "stream") as one:
            recovery_seconds = one.seconds_to_open() - empty_seconds
            recovered_bytes = one.steady_bytes()
            _check(totals, users, events)
            one.program.stop()
        totals.flushdb()
    row = {
        "users": users,
        "empty_mib": round(empty_bytes / _MIB, 1),
        "worked_mib": round(worked_bytes / _MIB, 1),
        "recovered_mib": round(recovered_bytes / _MIB, 1),
        "bytes_per_user": round((worked_bytes - empty_bytes) / users),
        "recovered_bytes_per_user": round((recovered_bytes - empty_bytes) / users),
        "recovery_seconds": round(recovery_seconds, 2),
    }
    machine.say(f"  {row}")
    return row


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
    memory = {
        "after its events": series(rows, "users", "bytes_per_user"),
        "after a restart": series(rows, "users", "recovered_bytes_per_user"),
    }
    recovery = {"recovery, s": series(rows, "users", "recovery_seconds")}
    return {
        "users_memory": Plot(
            "Memory of a stream worker for each user, bytes", "users", memory, USER_BYTES_MAX, is_logarithmic=True
        ),
        "users_recovery": Plot(
            f"Recovery, seconds (limit at {RECOVERY_USERS:,} users)",
            "users",
            recovery,
            RECOVERY_SECONDS_MAX,
            is_logarithmic=True,
        ),
    }


CURVE: Final = Curve("users", ("users",), _plots)
