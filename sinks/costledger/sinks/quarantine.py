"""What operators do with quarantined messages: list, look at, and replay them after a fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.rows import class_row

from costledger.schemas.errors import OversizeMessage
from costledger.sinks.database import Connection
from costledger.sinks.delivery import Deliverer, Outgoing
from costledger.sinks.queries import query

LIST_MAX: Final = 1_000
_REPLAY_MESSAGES_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that could not become an entry. Times are UTC; `payload` is the bytes as they came."""

    id: int
    topic: str
    partition: int
    offset: int
    reason: str
    error: str
    key: bytes | None
    payload: bytes | None
    received_at: datetime | None
    quarantined_at: datetime
    replayed_at: datetime | None
    dead_lettered_at: datetime | None


def list_quarantined(
    connection: Connection,
    *,
    reason: str | None = None,
    after_id: int = 0,
    limit: int = 100,
    include_replayed: bool = False,
) -> list[Quarantined]:
    """Messages in the order in which they came, at most `limit` (1,000); page with `after_id`."""
    parameters = {
        "reason": reason,
        "after_id": after_id,
        "limit": max(0, min(limit, LIST_MAX)),
        "include_replayed": include_replayed,
    }
    with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        return cursor.execute(query("list_quarantine"), parameters).fetchall()


def count_quarantined(connection: Connection) -> dict[str, int]:
    """How many messages wait for a fix, by reason."""
    rows = connection.execute(
        "SELECT reason, count(*) FROM ledger.quarantine WHERE replayed_at IS NULL GROUP BY reason ORDER BY reason"
    )
    return dict(rows.fetchall())


def get_quarantined(connection: Connection, message_id: int) -> Quarantined | None:
    """One message, or None."""
    with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        return cursor.execute(query("get_quarantine"), {"ids": [message_id]}).fetchone()


def replay_quarantined(connection: Connection, deliverer: Deliverer, message_ids: Iterable[int]) -> int:
    """Produce messages again to the topic they came from, and mark them; returns how many.

    Messages that were replayed before are left alone, and oversize ones whose bytes were not kept. One that fails again is a new row, with its new offset.
    Raises `Unavailable` where Kafka does not acknowledge: then none of that lot is marked.
    """
    wanted = sorted(set(message_ids))
    replayed = 0
    for start in range(0, len(wanted), _REPLAY_MESSAGES_MAX):
        ids = wanted[start : start + _REPLAY_MESSAGES_MAX]
        with connection.transaction():
            locked = connection.execute(
                "SELECT id FROM ledger.quarantine WHERE id = ANY (%s) AND replayed_at IS NULL "
                "AND NOT (reason = %s AND payload IS NULL) ORDER BY id FOR UPDATE",
                (ids, OversizeMessage.reason),
            ).fetchall()
            ids = [message_id for (message_id,) in locked]
            with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
                messages = cursor.execute(query("get_quarantine"), {"ids": ids}).fetchall()
            deliverer.deliver([Outgoing(message.topic, message.key, message.payload) for message in messages])
            connection.execute("UPDATE ledger.quarantine SET replayed_at = now() WHERE id = ANY (%s)", (ids,))
        replayed += len(ids)
    return replayed
