"""Messages that only the sink could refuse, on their way to the dead-letter topic (an outbox in `ledger.quarantine`)."""

from __future__ import annotations

from typing import Final

from costledger.schemas.dead_letters import dead_letter_headers
from costledger.schemas.fail_points import reach
from costledger.sinks.database import Connection
from costledger.sinks.delivery import Deliverer, Outgoing
from costledger.sinks.queries import query

_MESSAGES_MAX: Final = 500


def relay_dead_letters(connection: Connection, deliverer: Deliverer, dead_letter_topic: str) -> int:
    """Send what the sink owes to the dead-letter topic, at least once; returns how many messages.

    A row is marked after Kafka has acknowledged the whole lot. Raises `Unavailable` where it does not.
    """
    with connection.transaction():
        rows = connection.execute(query("pending_dead_letters"), {"limit": _MESSAGES_MAX}).fetchall()
        if not rows:
            return 0
        reach("dead_letters.before_produce")
        deliverer.deliver(
            [
                Outgoing(dead_letter_topic, key, payload, dead_letter_headers(reason, error, topic, partition, offset))
                for _, topic, partition, offset, reason, error, key, payload in rows
            ]
        )
        reach("dead_letters.after_produce")
        connection.execute(
            "UPDATE ledger.quarantine SET dead_letter_pending = false, dead_lettered_at = now() WHERE id = ANY (%s)",
            ([row[0] for row in rows],),
        )
    reach("dead_letters.after_mark")
    return len(rows)
