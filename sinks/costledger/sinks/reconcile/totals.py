"""Compare what is kept in Postgres with what it is made of: roll-ups with entries, counters with offsets."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from costledger.schemas.money import PICODOLLARS_PER_USD
from costledger.sinks.database import Connection
from costledger.sinks.queries import query
from costledger.sinks.reconcile.report import Check


def compare_rollups(connection: Connection) -> list[Check]:
    """Hourly totals against the entries, and daily totals against the hourly ones, in full."""
    hourly = Check("ledger_hourly", "hourly totals against the sums of the entries")
    daily = Check("hourly_daily", "daily totals against the sums of the hourly ones")
    for check, name, table in ((hourly, "compare_hourly", "hourly_totals"), (daily, "compare_daily", "daily_totals")):
        check.compared = _count(connection, table)
        for user, service, operation, period, told_usd, kept_usd, *others in connection.execute(query(name)):
            told_events, kept_events, told_largest, kept_largest = others
            largest = "" if told_largest == kept_largest else f", the largest {kept_largest} for {told_largest}"
            check.differs(
                f"{user} {service} {operation} {period}: {kept_usd} USD of {kept_events} events "
                f"for {told_usd} USD of {told_events}{largest}",
                int((kept_usd - told_usd) * PICODOLLARS_PER_USD),
            )
    return [hourly, daily]


def compare_counters(counters: list[dict[str, Any]]) -> Check:
    """The sink's counters: they add up to the offsets consumed, and as many entries are there as were inserted."""
    check = Check("counters", "inserted + duplicates + quarantined + skipped = consumed; inserted = entries")
    for row in counters:
        check.compared += 1
        accounted = row["inserted"] + row["duplicates"] + row["quarantined"] + row["skipped"]
        if accounted != row["consumed"]:
            check.differs(f"partition {row['partition']}: {accounted} accounted for of {row['consumed']} consumed")
        if row["entries"] != row["inserted"]:
            check.differs(f"partition {row['partition']}: {row['entries']} entries of {row['inserted']} inserted")
    return check


def sink_counters(connection: Connection, topic: str) -> list[dict[str, Any]]:
    """Positions and counters of the sink, a row per partition."""
    cursor = connection.execute(query("sink_counters"), {"topic": topic})
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _count(connection: Connection, table: str) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("ledger", table))).fetchone()
    return 0 if row is None else int(row[0])
