"""Alerts into `ledger.alerts`, each once, by their deterministic id; and with each new one what has to be told to whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from costledger.schemas.alerts import AlertRecord
from costledger.schemas.codec import decode_alert
from costledger.schemas.errors import DecodeError
from costledger.schemas.fail_points import reach
from costledger.schemas.money import to_usd
from costledger.sinks.batch import DATA_ERROR, Rejected, rejected
from costledger.sinks.database import Connection, Meaning, meaning_of
from costledger.sinks.notifications.deliveries import insert_deliveries, wake_routes
from costledger.sinks.put_aside import put_aside
from costledger.sinks.queries import query
from costledger.sinks.rows import Message


@dataclass(slots=True)
class StoredAlerts:
    """What became of messages: stored (by kind), repeats of stored ones, and those that cannot be alerts."""

    stored: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    refused: list[Rejected] = field(default_factory=list)


def store_alerts(connection: Connection, topic: str, messages: Sequence[Message]) -> StoredAlerts:
    """Store the alerts of these messages in one transaction; what is none goes to quarantine.

    Deliveries of new alerts, and the jobs that send them, come with that transaction or not at all.
    """
    outcome = StoredAlerts()
    routes: set[UUID] = set()
    with connection.transaction():
        reach("notifier.before_insert")
        for message in messages:
            try:
                record = decode_alert(message.value() or b"")
            except DecodeError as error:
                outcome.refused.append(rejected(message, error.reason, str(error)))
                continue
            try:
                with connection.transaction():
                    inserted = connection.execute(query("insert_alert"), _parameters(record)).rowcount
                    told = insert_deliveries(connection, record["alert_id"]) if inserted else set()
            except psycopg.Error as error:
                if meaning_of(error) is not Meaning.DATA:
                    raise
                outcome.refused.append(rejected(message, DATA_ERROR, f"PostgreSQL refuses the alert: {error}"))
            else:
                outcome.stored[record["kind"]] += inserted
                outcome.repeated += 1 - inserted
                routes |= told
        wake_routes(connection, routes)
        put_aside(connection, topic, outcome.refused)
        reach("notifier.before_commit")
    return outcome


def refuse_alerts(connection: Connection, topic: str, refused: Sequence[Rejected]) -> None:
    """Put aside messages that cannot be read at all, in a transaction of their own."""
    with connection.transaction():
        put_aside(connection, topic, refused)


def _parameters(record: AlertRecord) -> dict[str, object]:
    limit = record["limit"]
    return {
        **record,
        "actual": to_usd(record["actual"]),
        "limit": None if limit is None else to_usd(limit),
    }
