"""The watchdog: what health and statistics say, and when a lack of progress ends the worker. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from costledger.streams.transport.records import PartitionStats


def partition_stats(
    topic: str, partition: int, position: int, committed: int | None, highwater: int | None
) -> PartitionStats:
    """Put one partition's offsets together; the lag is 0 while the high-water mark is unknown."""
    behind = (highwater or 0) - (position if committed is None else committed)
    return PartitionStats(topic, partition, position, committed, highwater, max(0, behind))


def caught_up(ready: bool, stats: Iterable[PartitionStats]) -> bool:
    """True when nothing waits to be read, processed or committed."""
    return ready and not any(row.lag for row in stats)


def stalled(caught_up: bool, progress_age_seconds: float, stall_timeout_seconds: float) -> bool:
    """True when something waits and nothing has moved on for too long."""
    return not caught_up and progress_age_seconds > stall_timeout_seconds
