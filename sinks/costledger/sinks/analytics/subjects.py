"""Whom an answer is about."""

from __future__ import annotations

from dataclasses import dataclass

from costledger.sinks.database import Connection
from costledger.sinks.queries import query


@dataclass(frozen=True, slots=True)
class Subject:
    """A user with tier and zone as they are now; `known` unless the ledger has neither budget nor event of the user."""

    user_id: str
    tier: str
    time_zone: str
    known: bool


def read_subject(connection: Connection, user_id: str) -> Subject:
    """The user; for one who has set nothing the tier "default" and UTC."""
    row = connection.execute(query("analytics_subject"), {"user_id": user_id}).fetchone()
    assert row is not None  # noqa: S101 - the statement gives one row, always
    return Subject(user_id, *row)
