"""Reports as they were made: in `ledger.reports` for good, and in Redis for some days.

The row is the report; the copy in Redis is only as good as its revision. What Redis is owed (`cached_at` is null) is
brought there later, so that a Redis that was away does not serve an old revision for ever.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import redis
from psycopg.types.json import Jsonb

from costledger.schemas.redis_keys import report_key
from costledger.schemas.settings import Settings
from costledger.schemas.times import rfc3339, to_microseconds
from costledger.sinks.database import Connection
from costledger.sinks.queries import query
from costledger.sinks.reports.content import Report
from costledger.sinks.reports.document import Document, canonical, digest, from_document, to_document
from costledger.sinks.reports.periods import ReportKind, ReportPeriod

logger = logging.getLogger(__name__)

_SECONDS_PER_DAY: Final = 86_400
_REDIS_TIMEOUT_SECONDS: Final = 2.0
_OWED_MAX: Final = 50
LIST_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report with what the ledger says of it. `revision` 0: made for who asked, and not stored."""

    report: Report
    revision: int
    made_at: datetime

    @property
    def stored(self) -> bool:
        """Whether the same is given to whoever asks later."""
        return self.revision > 0

    def document(self) -> Document:
        """The whole as plain JSON values."""
        made_at = rfc3339(to_microseconds(self.made_at))
        return {"stored": self.stored, "revision": self.revision, "made_at": made_at, **to_document(self.report)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEntry:
    """What a list of reports says of one."""

    kind: str
    date: str
    time_zone: str
    period_start: str
    period_end: str
    revision: int
    complete: bool
    made_at: str
    total: str


def open_redis(settings: Settings) -> redis.Redis:
    """A client that connects when first used, and gives up soon."""
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        socket_timeout=_REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=_REDIS_TIMEOUT_SECONDS,
    )


def find_report(connection: Connection, period: ReportPeriod) -> StoredReport | None:
    """The stored report of a period; None where none was made."""
    row = connection.execute(query("get_report"), _key(period)).fetchone()
    return None if row is None else _stored(row)


def add_report(connection: Connection, report: Report) -> StoredReport:
    """Store a report unless its period has one; returns the one that is stored."""
    row = connection.execute(query("insert_report"), _values(report)).fetchone()
    if row is not None:
        return _stored(row)
    found = find_report(connection, report.period)
    assert found is not None  # noqa: S101 - no row is ever deleted
    return found


def replace_report(connection: Connection, report: Report) -> StoredReport:
    """Store a report in place of the one that its period has, as the next revision."""
    row = connection.execute(query("replace_report"), _values(report)).fetchone()
    assert row is not None  # noqa: S101 - inserts or updates
    return _stored(row)


def list_reports(connection: Connection, kind: ReportKind | None = None, limit: int = LIST_MAX) -> list[ReportEntry]:
    """The newest reports (of a kind), without their content."""
    parameters = {"kind": None if kind is None else kind.value, "limit": limit}
    return [
        ReportEntry(
            kind=kind_found,
            date=day.isoformat(),
            time_zone=time_zone,
            period_start=rfc3339(to_microseconds(start)),
            period_end=rfc3339(to_microseconds(end)),
            revision=revision,
            complete=complete,
            made_at=rfc3339(to_microseconds(made_at)),
            total=total,
        )
        for kind_found, day, time_zone, start, end, revision, complete, made_at, total in connection.execute(
            query("list_reports"), parameters
        )
    ]


def cached_report(client: redis.Redis, period: ReportPeriod) -> StoredReport | None:
    """The report as Redis has it; None where it has none, or none of this very period, or cannot be asked."""
    try:
        text = client.get(report_key(period.kind.value, period.date.isoformat()))
    except redis.RedisError as error:
        logger.warning("reports come from the ledger: Redis cannot be asked: %s", error)
        return None
    if not isinstance(text, str):
        return None
    try:
        kept: dict[str, Any] = json.loads(text)
        content = kept["content"]
        if digest(content).hex() != kept["sha256"]:
            return None
        found = StoredReport(from_document(content), kept["revision"], datetime.fromisoformat(kept["made_at"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        logger.warning("what Redis holds as the report %s %s is none", period.kind.value, period.date.isoformat())
        return None
    # After a change of the time zone the same date is another period.
    return found if found.report.period == period else None


def cache_owed(connection: Connection, client: redis.Redis, settings: Settings) -> int:
    """Bring to Redis what it is owed; returns how many reports. Raises `redis.RedisError` while it is away."""
    rows: Sequence[Any] = connection.execute(query("reports_owed"), {"limit": _OWED_MAX}).fetchall()
    for row in rows:
        cache_report(connection, client, settings, _stored(row))
    return len(rows)


def cache_report(connection: Connection, client: redis.Redis, settings: Settings, stored: StoredReport) -> None:
    """Put a stored report into Redis. Raises `redis.RedisError`; it stays owed then."""
    content = to_document(stored.report)
    text = canonical(
        {
            "revision": stored.revision,
            "made_at": stored.made_at.isoformat(),
            "sha256": digest(content).hex(),
            "content": content,
        }
    )
    period = stored.report.period
    key = report_key(period.kind.value, period.date.isoformat())
    client.set(key, text, ex=settings.report_cache_days * _SECONDS_PER_DAY)
    # Only of this revision: another one that was stored meanwhile is still owed.
    connection.execute(query("report_cached"), {**_key(period), "revision": stored.revision})


def _key(period: ReportPeriod) -> dict[str, Any]:
    return {"kind": period.kind.value, "period_start": period.start}


def _values(report: Report) -> dict[str, Any]:
    content = to_document(report)
    period = report.period
    return {
        **_key(period),
        "period_end": period.end,
        "report_date": period.date,
        "time_zone": period.time_zone,
        "complete": report.watermark.complete,
        "content": Jsonb(content),
        "content_sha256": digest(content),
    }


def _stored(row: Sequence[Any]) -> StoredReport:
    content, revision, made_at = row
    return StoredReport(from_document(content), revision, made_at)
