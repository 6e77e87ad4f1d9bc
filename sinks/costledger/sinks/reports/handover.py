"""Reports to people: each report once to each recipient, at least once where a mail server's answer is lost.

A row of `ledger.report_deliveries` is what has to be done; its job is only the wake-up call. Rows and jobs come from the
transaction that marks the report as handed over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds
from costledger.sinks.database import Connection
from costledger.sinks.jobs.queue import defer_in
from costledger.sinks.queries import query
from costledger.sinks.reports.periods import ReportKind, ReportPeriod
from costledger.sinks.reports.recipients import Recipient, recipients
from costledger.sinks.reports.store import StoredReport, find_report

logger = logging.getLogger(__name__)

#: The task of a delivery, and its queue.
DELIVER_TASK: Final = "costledger.deliver_report"
QUEUE: Final = "deliveries"
_ERROR_CHARACTERS_MAX: Final = 500
#: A claim lasts for so many of a sender's time limits: connecting, and each answer, may take one.
LEASE_FACTOR: Final = 12

#: Sends a report; raises `SendFailed`.
Send = Callable[[Recipient, StoredReport], None]


class SendFailed(Exception):
    """A report was not taken; the text says why, without secrets. `permanent`: trying again changes nothing."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class _Claim:
    """A delivery that is ours for a while: what it is of, how often it was tried, and its age."""

    period: ReportPeriod
    attempts: int
    age: timedelta
    now: datetime


def hand_over(connection: Connection, settings: Settings, stored: StoredReport) -> int:
    """Queue the deliveries of a stored report; returns how many. A second time it queues nothing."""
    key = _key(stored.report.period)
    with connection.transaction():
        if connection.execute(query("report_handed_over"), key).rowcount == 0:
            return 0
        added = []
        for recipient in recipients(settings):
            values = {**key, "target_sha256": recipient.fingerprint, "target": recipient.shown}
            if connection.execute(query("insert_report_delivery"), values).rowcount:
                added.append(_job(key, recipient.fingerprint))
        defer_in(connection, DELIVER_TASK, *added, queue=QUEUE)
    return len(added)


def deliver(connection: Connection, settings: Settings, send: Send, arguments: dict[str, Any]) -> str:
    """Send one report to one recipient, if that is still to be done; returns what became of it.

    `delivered`; `pending`: the next attempt is queued, with waits that double from 5 s to 1 h (settings); `dead`: given
    up after 72 hours (settings), which metrics show; `done` before; `claimed` by another job, which is asked again later.
    """
    key = {
        "kind": str(arguments["kind"]),
        "period_start": datetime.fromisoformat(arguments["period_start"]),
        "target_sha256": bytes.fromhex(arguments["target"]),
    }
    lease_seconds = LEASE_FACTOR * settings.delivery_timeout_http_seconds
    claim = _claim(connection, key, lease_seconds)
    if isinstance(claim, str):
        return claim
    # No transaction is open: a mail server may take its time.
    failure = _try(connection, settings, send, key, claim.period)
    with connection.transaction():
        if failure is None:
            connection.execute(query("report_delivered"), key)
            return "delivered"
        dead = failure.permanent or claim.age > timedelta(hours=settings.delivery_dead_after_hours)
        state, text = "dead" if dead else "pending", str(failure)[:_ERROR_CHARACTERS_MAX]
        connection.execute(query("report_delivery_failed"), {**key, "state": state, "last_error": text})
        if dead:
            logger.error(
                "a %s report is given up for %d attempts at one recipient: %s", key["kind"], claim.attempts, text
            )
        else:
            wait_seconds = retry_seconds(settings, claim.attempts)
            logger.warning("a %s report was not taken, again in %.0f s: %s", key["kind"], wait_seconds, text)
            _defer(connection, key, claim.now + timedelta(seconds=wait_seconds))
        return state


def retry_seconds(settings: Settings, attempts: int) -> float:
    """The wait after so many failed attempts: doubling, within the bounds of the settings."""
    doubled = settings.delivery_retry_seconds_min * 2.0 ** min(attempts - 1, 30)
    return min(settings.delivery_retry_seconds_max, doubled)


def _claim(connection: Connection, key: dict[str, Any], lease_seconds: float) -> _Claim | str:
    """Take a pending delivery for a while, so that a second job of it sends nothing; or say why not."""
    with connection.transaction():
        row = connection.execute(query("claim_report_delivery"), {**key, "lease_seconds": lease_seconds}).fetchone()
        if row is not None:
            day, time_zone, start, end, attempts, age, now = row
            period = ReportPeriod(ReportKind(key["kind"]), day, time_zone, to_microseconds(start), to_microseconds(end))
            return _Claim(period, attempts, age, now)
        held = connection.execute(query("held_report_delivery"), key).fetchone()
        if held is None:
            return "done"
        # Whoever holds it may have died in the middle: looked at again when the claim is over.
        _defer(connection, key, held[0])
        return "claimed"


def _try(
    connection: Connection, settings: Settings, send: Send, key: dict[str, Any], period: ReportPeriod
) -> SendFailed | None:
    recipient = next((one for one in recipients(settings) if one.fingerprint == key["target_sha256"]), None)
    if recipient is None:
        return SendFailed("the recipient is no longer in the settings", permanent=True)
    stored = find_report(connection, period)
    assert stored is not None  # noqa: S101 - the delivery refers to it
    try:
        send(recipient, stored)
    except SendFailed as failure:
        return failure
    return None


def _defer(connection: Connection, key: dict[str, Any], at: datetime) -> None:
    defer_in(connection, DELIVER_TASK, _job(key, key["target_sha256"]), queue=QUEUE, schedule_at=at)


def _key(period: ReportPeriod) -> dict[str, Any]:
    return {"kind": period.kind.value, "period_start": period.start}


def _job(key: dict[str, Any], fingerprint: bytes) -> dict[str, Any]:
    return {"kind": key["kind"], "period_start": key["period_start"].isoformat(), "target": fingerprint.hex()}
