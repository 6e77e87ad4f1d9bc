"""Which users the ledger knows."""

from __future__ import annotations

from costledger.sinks.database import Connection
from costledger.sinks.queries import query


def user_known(connection: Connection, user_id: str) -> bool:
    """Whether the user has, or had, a budget of their own or any event in the ledger."""
    row = connection.execute(query("user_known"), {"user_id": user_id}).fetchone()
    return row is not None and bool(row[0])
