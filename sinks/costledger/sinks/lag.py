"""How far the ledger is behind the topic, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from costledger.sinks.database import Connection
from costledger.sinks.queries import query

_POLL_SECONDS: Final = 0.25


def behind(connection: Connection, topic: str, ranges: Mapping[int, tuple[int, int]]) -> int:
    """How many offsets of these ranges (partition: low and high watermark) the sink has not written yet."""
    rows = connection.execute(query("written_offsets"), {"topic": topic})
    at: dict[int, int] = dict(rows.fetchall())
    return sum(max(0, high - max(at.get(partition, 0), low)) for partition, (low, high) in ranges.items())


def wait_until_written(
    connection: Connection,
    topic: str,
    ranges: Callable[[], Mapping[int, tuple[int, int]]],
    timeout_seconds: float,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Wait until the sink has written what `ranges` gives; returns how many offsets are still missing.

    `ranges` is asked each time: it decides whether what is produced meanwhile is waited for. `stop` ends it early.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        missing = behind(connection, topic, ranges())
        if missing == 0 or time.monotonic() >= deadline or stop():
            return missing
        time.sleep(_POLL_SECONDS)
