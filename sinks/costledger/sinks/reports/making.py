"""A report of a period is made once; whoever asks later gets the stored one.

Made by the job when it is due, or by whoever asks first after that (`costledger report`, the API). What is asked for
earlier, or while the ledger is behind, is made for who asks and not stored. Late events change a stored report only
when it is made anew on purpose.
"""

from __future__ import annotations

import logging

import redis

from costledger.schemas.settings import Settings
from costledger.schemas.times import from_microseconds
from costledger.sinks.database import Connection
from costledger.sinks.reports.periods import ReportPeriod, Schedule, require_ended
from costledger.sinks.reports.reading import read_report
from costledger.sinks.reports.store import (
    StoredReport,
    add_report,
    cache_report,
    cached_report,
    find_report,
    replace_report,
)
from costledger.sinks.reports.watermark import Watermarks, read_watermark

logger = logging.getLogger(__name__)


def get_report(
    connection: Connection,
    client: redis.Redis | None,
    settings: Settings,
    period: ReportPeriod,
    now_us: int,
    *,
    refresh: bool = False,
) -> StoredReport:
    """The stored report of a period, or a new one, stored if it is due and the ledger is complete.

    With `refresh` it is made anew and stored as the next revision, if it is due (also of a ledger that is behind: the
    report says so). `InvalidValue` for a period that is not over. `client` None: nothing is cached.
    """
    require_ended(period, now_us)
    if not refresh:
        found = find_report(connection, period)
        if found is not None:
            return found
    report = read_report(connection, settings, period, read_watermark(connection, settings, period.end_us))
    due = Schedule.of(settings).due_us(period) <= now_us
    if not due or not (report.watermark.complete or refresh):
        return StoredReport(report, 0, from_microseconds(now_us))
    stored = replace_report(connection, report) if refresh else add_report(connection, report)
    if client is not None:
        cache_or_owe(connection, client, settings, stored)
    return stored


def make_due_report(
    connection: Connection,
    settings: Settings,
    period: ReportPeriod,
    now_us: int,
    watermarks: Watermarks | None = None,
) -> StoredReport | None:
    """What the job does: the stored report, or a new one; None while it is worth waiting for the ledger.

    After the time of the settings an incomplete one is made, and says so. `watermarks`: those of the work it is part of.
    """
    found = find_report(connection, period)
    if found is not None:
        return found
    watermark = (watermarks or Watermarks(settings)).read(connection, period.end_us)
    waited_us = now_us - Schedule.of(settings).due_us(period)
    if not watermark.complete and waited_us < settings.report_wait_minutes * 60_000_000:
        why = watermark.problem or f"{watermark.missing} messages are not in it"
        logger.warning("the %s report of %s waits for the ledger: %s", period.kind.value, period.label, why)
        return None
    return add_report(connection, read_report(connection, settings, period, watermark))


def read_stored(connection: Connection, client: redis.Redis | None, period: ReportPeriod) -> StoredReport | None:
    """The stored report from Redis, else from the ledger; None where none was made."""
    found = None if client is None else cached_report(client, period)
    return find_report(connection, period) if found is None else found


def cache_or_owe(connection: Connection, client: redis.Redis, settings: Settings, stored: StoredReport) -> None:
    """Put a report into Redis; if it is away, the scheduler does so later."""
    try:
        cache_report(connection, client, settings, stored)
    except redis.RedisError as error:
        logger.warning("Redis did not take a report, the scheduler will bring it later: %s", error)
