"""Run all comparisons, on one snapshot of the database."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import redis

from costledger.schemas.errors import Unavailable
from costledger.schemas.settings import Settings
from costledger.sinks.database import Connection, connect
from costledger.sinks.lag import wait_until_written
from costledger.sinks.queries import query
from costledger.sinks.reconcile.entries import Entry, entries_in_order, entries_of_ids
from costledger.sinks.reconcile.positions import compare_positions, read_places, uncompared
from costledger.sinks.reconcile.realtime import compare, expected_totals, open_redis
from costledger.sinks.reconcile.report import Check, PartitionReport, Report
from costledger.sinks.reconcile.topic import PartitionMerge, TopicReader
from costledger.sinks.reconcile.totals import compare_counters, compare_rollups, sink_counters

logger = logging.getLogger(__name__)

#: One statement may scan the whole ledger.
STATEMENT_SECONDS_MAX: Final = 4 * 3600.0
#: The real-time totals follow within this time when all is quiet.
REDIS_SECONDS_MAX: Final = 10.0
_POLL_SECONDS: Final = 0.25


def reconcile(
    settings: Settings,
    progress: Callable[[str], None] = lambda _line: None,
    *,
    wait_seconds: float = 0.0,
    with_redis: bool = True,
) -> Report:
    """Compare topic, ledger, roll-ups and (unless told otherwise) Redis.

    `progress` gets a line for people at each stage. With `wait_seconds` the sink first gets so long to catch up
    with the topic. Raises `Unavailable` or the client libraries' errors where a part cannot be asked.
    """
    topic = settings.topics.events
    reader = TopicReader(settings, topic)
    try:
        with _connect(settings) as connection:
            if wait_seconds > 0:
                progress(f"waiting up to {wait_seconds:g} s for the sink to catch up")
                wait_until_written(connection, topic, reader.ranges, wait_seconds)
            report = _compare_ledger(connection, reader, topic, progress)
            if with_redis:
                progress("comparing the real-time totals in Redis with the ledger")
                report.checks.append(_compare_redis(connection, settings))
    finally:
        reader.close()
    return report


def _connect(settings: Settings) -> Connection:
    url = settings.database_url.get_secret_value()
    connection = connect(url, "costledger reconcile", STATEMENT_SECONDS_MAX)
    # The snapshot stays open while the topic is being read.
    connection.execute("SET idle_in_transaction_session_timeout = 0")
    return connection


def _compare_ledger(connection: Connection, reader: TopicReader, topic: str, progress: Callable[[str], None]) -> Report:
    """Everything but Redis, on one snapshot: what the sink writes meanwhile is not seen."""
    report = Report(topic)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        counters = sink_counters(connection, topic)
        # After the snapshot: what it has was on the topic before.
        ranges = reader.ranges()
        known = {row["partition"]: row for row in counters}
        for partition, (low, high) in ranges.items():
            report.partitions.append(_partition_report(partition, low, high, known.get(partition)))
        report.checks.append(_compare_topic(connection, reader, report, progress))
        progress("comparing the roll-ups with the ledger")
        report.checks.append(compare_counters(counters))
        places = read_places(connection)
        # Asked again: what has expired meanwhile was not read, and is no gap.
        lows = {partition: low for partition, (low, _) in reader.ranges().items()}
        report.checks.append(compare_positions(report, counters, lows, places))
        report.uncompared = uncompared(topic, counters, places)
        report.checks += compare_rollups(connection)
    return report


def _partition_report(partition: int, low: int, high: int, row: dict[str, Any] | None) -> PartitionReport:
    next_offset = 0 if row is None else row["next_offset"]
    report = PartitionReport(partition, low, high, next_offset, lag=max(0, high - max(next_offset, low)))
    for name in ("consumed", "inserted", "duplicates", "quarantined", "skipped", "unpriced"):
        setattr(report, name, 0 if row is None else row[name])
    return report


def _compare_topic(
    connection: Connection, reader: TopicReader, report: Report, progress: Callable[[str], None]
) -> Check:
    check = Check("topic_ledger", "messages of the topic against the entries of the ledger")
    ranges = [(one.partition, one.low_watermark, one.next_offset) for one in report.partitions]
    entries = groupby(entries_in_order(connection, report.topic, ranges, "reconcile"), key=attrgetter("partition"))
    following = next(entries, None)
    for one in report.partitions:
        if one.next_offset > one.high_watermark:
            check.differs(
                f"partition {one.partition}: the ledger is at offset {one.next_offset}, "
                f"and the topic ends at {one.high_watermark}"
            )
        own: Iterator[Entry] = iter(())
        if following is not None and following[0] == one.partition:
            own = following[1]
        end = min(one.next_offset, one.high_watermark)
        progress(f"partition {one.partition}: comparing offsets {one.low_watermark} to {end}")
        quarantined = {
            offset
            for (offset,) in connection.execute(
                query("quarantined_offsets"),
                {"topic": report.topic, "partition": one.partition, "low": one.low_watermark, "high": end},
            )
        }
        merge = PartitionMerge(one, check, quarantined, lambda ids: entries_of_ids(connection, ids))
        merge.merge(reader.read(one.partition, one.low_watermark, end), own)
        if following is not None and following[0] == one.partition:
            following = next(entries, None)
    return check


def _compare_redis(connection: Connection, settings: Settings) -> Check:
    """Compare, and again for a while: the real-time totals may be a moment behind or ahead."""
    client = open_redis(settings.redis_url.get_secret_value())
    deadline = time.monotonic() + REDIS_SECONDS_MAX
    try:
        while True:
            with connection.transaction():
                expected = expected_totals(
                    connection, datetime.now(UTC), settings.horizon_days, settings.redis_ttl_days
                )
            check = compare(client, expected)
            if check.differences == 0 or time.monotonic() >= deadline:
                return check
            time.sleep(_POLL_SECONDS)
    except redis.RedisError as error:
        raise Unavailable(f"Redis: {error}") from error
    finally:
        client.close()
