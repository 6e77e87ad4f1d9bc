"""Messages into `ledger.quarantine`, in the transaction that is open."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from costledger.schemas.times import from_microseconds
from costledger.sinks.batch import Rejected
from costledger.sinks.database import Connection
from costledger.sinks.queries import query


def put_aside(
    connection: Connection, topic: str, bad: Sequence[Rejected], dead_letter_reasons: Collection[str] = ()
) -> None:
    """Put messages aside, with their bytes as they came; the same message again (a rewind) is the same row.

    Those with one of `dead_letter_reasons` are marked as owed to the dead-letter topic.
    """
    if not bad:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            query("insert_quarantine"),
            [
                {
                    "topic": topic,
                    "partition": one.partition,
                    "offset": one.offset,
                    "reason": one.reason,
                    # PostgreSQL's text holds neither NUL nor lone surrogates, and a refused value may have both.
                    "error": one.error.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00"),
                    "key": one.key,
                    "payload": one.payload,
                    "received_at": None if one.received_us is None else from_microseconds(one.received_us),
                    "dead_letter_pending": one.reason in dead_letter_reasons,
                }
                for one in bad
            ],
        )
