"""What was used in a period, from the daily roll-ups alone: a year of a user is some thousand rows, not all entries."""

from __future__ import annotations

from datetime import date, datetime

from costledger.schemas.errors import InvalidValue
from costledger.schemas.usage import UsageRow
from costledger.sinks.database import Connection
from costledger.sinks.queries import query


def read_usage(connection: Connection, start: date, end: date, user_id: str | None = None) -> list[UsageRow]:
    """Sums by service and operation over the UTC days [start, end), of one user or (None) of all.

    In order of service and operation; exact. A user without events has no rows. `InvalidValue` for a period that
    ends before it begins, and for times of a day, which the roll-ups do not know.
    """
    for name, day in (("start", start), ("end", end)):
        if isinstance(day, datetime) or not isinstance(day, date):
            raise InvalidValue(name, day, "a date: the roll-ups are of whole UTC days")
    if end < start:
        raise InvalidValue("end", end.isoformat(), f"{start.isoformat()} or later")
    name = "usage_of_all" if user_id is None else "usage_of_user"
    rows = connection.execute(query(name), {"user_id": user_id, "start": start, "end": end})
    return [
        UsageRow(
            service=service,
            operation=operation,
            events=events,
            quantity=int(quantity),
            amount=int(amount),
            unpriced=unpriced,
        )
        for service, operation, events, quantity, amount, unpriced in rows
    ]
