"""Reports to people: each report once to each recipient, at least once where a mail server's answer is lost.

A row of `ledger.report_deliveries` is what has to be done; its job is only the wake-up call. Rows and jobs come from the
transaction that marks the report as handed over; a job that was lost is replaced by the scheduler (`wake_lost`).
Retries are those of alerts.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds
from costledger.sinks.database import Connection
from costledger.sinks.jobs.queue import defer_in
from costledger.sinks.notifications.outcome import Outcome
from costledger.sinks.notifications.schedule import RetryPlan
from costledger.sinks.notifications.sending import attempt_seconds_max
from costledger.sinks.patience import PatientConnection
from costledger.sinks.queries import query
from costledger.sinks.reports.periods import ReportKind, ReportPeriod
from costledger.sinks.reports.recipients import Recipient, recipients
from costledger.sinks.reports.store import StoredReport, find_report

logger = logging.getLogger(__name__)

#: The task of a delivery.
DELIVER_TASK: Final = "reports:deliver"
#: The queue of reports and of the tick that makes them, apart from the deliveries of alerts.
QUEUE: Final = "jobs"
#: A claim outlasts the longest attempt by so much.
_LEASE_MARGIN_SECONDS: Final = 5.0
#: Deliveries whose jobs were lost that are woken at once; the next look finds the others.
_WAKE_MAX: Final = 1000

#: One attempt to send a report.
Send = Callable[[Settings, Recipient, StoredReport], Outcome]


@dataclass(frozen=True, slots=True)
class _Claim:
    """A delivery that is ours for a while: what it is of, which attempt it is, its age, and the database's time."""

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


def wake_lost(connection: Connection) -> int:
    """Queue a job for each delivery that is still to be done and has none: after a job that failed. Returns how many."""
    with connection.transaction():
        rows = connection.execute(
            query("lost_report_deliveries"), {"task": DELIVER_TASK, "limit": _WAKE_MAX}
        ).fetchall()
        jobs = [_job({"kind": kind, "period_start": start}, fingerprint) for kind, start, fingerprint in rows]
        defer_in(connection, DELIVER_TASK, *jobs, queue=QUEUE)
    return len(jobs)


def deliver(patient: PatientConnection, settings: Settings, send: Send, arguments: dict[str, Any]) -> str:
    """Send one report to one recipient, if that is still to be done; returns what became of it.

    `delivered`; `pending`: the next attempt is queued, with waits that double from 5 s to 1 h (settings); `dead`: given
    up after 72 hours (settings), which metrics show; `done` before; `claimed` by another job, and looked at again later.
    When PostgreSQL goes away, waits for it; what was sent is then marked so, and not sent again.
    """
    key = {
        "kind": str(arguments["kind"]),
        "period_start": datetime.fromisoformat(arguments["period_start"]),
        "target_sha256": bytes.fromhex(arguments["target"]),
    }
    lease_seconds = attempt_seconds_max(settings) + _LEASE_MARGIN_SECONDS
    claim = patient.do(lambda one: _claim(one, key, lease_seconds))
    if isinstance(claim, str):
        return claim
    # No transaction is open: a mail server may take its time.
    outcome = _attempt(patient, settings, send, key, claim.period)
    plan, chance = RetryPlan.of(settings), random.random()  # noqa: S311 - spreads retries; nothing secret
    return patient.do(lambda one: _record(one, key, claim, outcome, plan, chance))


def _record(
    connection: Connection, key: dict[str, Any], claim: _Claim, outcome: Outcome, plan: RetryPlan, chance: float
) -> str:
    """Keep what became of an attempt. Can be repeated: what was recorded before is left alone."""
    with connection.transaction():
        if outcome.delivered:
            connection.execute(query("report_delivered"), key)
            return "delivered"
        dead = outcome.gone or claim.age > plan.dead_after
        state = "dead" if dead else "pending"
        failed = {**key, "state": state, "last_error": outcome.reason, "attempts": claim.attempts}
        if connection.execute(query("report_delivery_failed"), failed).rowcount == 0:
            return state
        if dead:
            logger.error("a %s report is given up after %d attempts: %s", key["kind"], claim.attempts, outcome.reason)
        else:
            wait = plan.wait(claim.attempts, chance, outcome.retry_after_seconds)
            logger.warning("a %s report was not taken, again in %s: %s", key["kind"], wait, outcome.reason)
            _defer(connection, key, claim.now + wait)
        return state


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


def _attempt(
    patient: PatientConnection, settings: Settings, send: Send, key: dict[str, Any], period: ReportPeriod
) -> Outcome:
    try:
        recipient = next((one for one in recipients(settings) if one.fingerprint == key["target_sha256"]), None)
    except SettingsError as error:
        return Outcome.failed(str(error))
    if recipient is None:
        return Outcome.failed("the recipient is no longer in the settings", gone=True)
    stored = patient.do(lambda one: find_report(one, period))
    assert stored is not None  # noqa: S101 - the delivery refers to it
    return send(settings, recipient, stored)


def _defer(connection: Connection, key: dict[str, Any], at: datetime) -> None:
    defer_in(connection, DELIVER_TASK, _job(key, key["target_sha256"]), queue=QUEUE, schedule_at=at)


def _key(period: ReportPeriod) -> dict[str, Any]:
    return {"kind": period.kind.value, "period_start": period.start}


def _job(key: dict[str, Any], fingerprint: bytes) -> dict[str, Any]:
    return {"kind": key["kind"], "period_start": key["period_start"].isoformat(), "target": fingerprint.hex()}
