"""Compare the real-time totals in Redis with the ledger.

Redis holds what is within the horizon when it arrives, by hour, day and month in the zone of the user's
budget. Every key that is found is compared; a key must be there where its period began within the horizon.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import redis

from costledger.schemas.money import PICODOLLARS_PER_USD
from costledger.schemas.periods import period_at
from costledger.schemas.redis_keys import TOTAL_KINDS, TOTALS_PATTERN, parse_totals_key
from costledger.schemas.times import MICROSECONDS_PER_SECOND, to_microseconds
from costledger.sinks.database import Connection
from costledger.sinks.queries import query
from costledger.sinks.reconcile.report import Check

_KEYS_AT_ONCE: Final = 500

#: user, kind of period, label
PeriodKey = tuple[str, str, str]
#: 1e-12 USD by field: total, service:<service>, operation:<service>/<operation>
Fields = dict[str, int]


class Expected:
    """What Redis should hold, from the ledger."""

    def __init__(self) -> None:
        self.periods: dict[PeriodKey, Fields] = defaultdict(lambda: defaultdict(int))
        self.required: set[PeriodKey] = set()


def expected_totals(connection: Connection, now: datetime, horizon_days: int, ttl_days: int) -> Expected:
    """The totals that follow from the entries, in the transaction that is open.

    A key may live for `ttl_days` after its last change, which comes at most `horizon_days` after its period, and a
    month begins up to 31 days before it ends: older entries matter to none.
    """
    since = now - timedelta(days=horizon_days + ttl_days + 31)
    required_from_us = to_microseconds(now - timedelta(days=horizon_days), "now")
    expected = Expected()
    rows = connection.execute(query("realtime_totals"), {"horizon_days": horizon_days, "since": since})
    for user, time_zone, service, operation, quarter_seconds, usd in rows:
        picodollars = int(usd * PICODOLLARS_PER_USD)
        for kind in TOTAL_KINDS:
            period = period_at(kind, quarter_seconds * MICROSECONDS_PER_SECOND, time_zone)
            key = (user, str(kind), period.label)
            fields = expected.periods[key]
            fields["total"] += picodollars
            fields[f"service:{service}"] += picodollars
            fields[f"operation:{service}/{operation}"] += picodollars
            if period.start_us >= required_from_us:
                expected.required.add(key)
    return expected


def compare(client: redis.Redis, expected: Expected) -> Check:
    """Compare every key of Redis with what is expected; raises `redis.RedisError`."""
    check = Check("redis", "real-time totals in Redis against the ledger")
    seen: set[PeriodKey] = set()
    keys: list[bytes] = []
    for raw in client.scan_iter(match=TOTALS_PATTERN, count=1_000):
        keys.append(raw)
        if len(keys) >= _KEYS_AT_ONCE:
            _compare_some(client, keys, expected, check, seen)
            keys.clear()
    _compare_some(client, keys, expected, check, seen)
    for key in sorted(expected.required - seen):
        fields = expected.periods[key]
        if any(fields.values()):
            check.differs(f"{' '.join(key)}: not in Redis", fields["total"])
    return check


def _compare_some(
    client: redis.Redis, keys: Iterable[bytes], expected: Expected, check: Check, seen: set[PeriodKey]
) -> None:
    chosen = list(keys)
    with client.pipeline(transaction=False) as pipeline:
        for raw in chosen:
            pipeline.hgetall(raw)
        found: list[dict[bytes, bytes]] = pipeline.execute()
    for raw, hash_fields in zip(chosen, found, strict=True):
        key = parse_totals_key(raw.decode())
        # An empty hash expired between the two commands.
        if key is None or key in seen or not hash_fields:
            continue
        seen.add(key)
        check.compared += 1
        _compare_one(key, hash_fields, expected.periods.get(key, {}), check)


def _compare_one(key: PeriodKey, hash_fields: dict[bytes, bytes], wanted: Fields, check: Check) -> None:
    held = {
        name.decode(): int(value)
        for name, value in hash_fields.items()
        if name == b"total" or name.startswith((b"service:", b"operation:"))
    }
    differing = [name for name in held.keys() | wanted.keys() if held.get(name, 0) != wanted.get(name, 0)]
    if differing:
        shown = ", ".join(f"{name} {held.get(name, 0)} for {wanted.get(name, 0)}" for name in sorted(differing)[:3])
        check.differs(f"{' '.join(key)}: {shown}", held.get("total", 0) - wanted.get("total", 0))


def open_redis(url: str, timeout_seconds: float = 10.0) -> Any:
    """A client for a Redis URL."""
    return redis.Redis.from_url(url, socket_timeout=timeout_seconds, socket_connect_timeout=timeout_seconds)
