"""The figures of a report from the ledger: from its roll-ups, on one snapshot; entries only for the files of a week."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any, Final

from costledger.schemas.money import to_picodollars, to_usd
from costledger.schemas.settings import Settings
from costledger.sinks.database import Connection, allow_silence
from costledger.sinks.queries import query
from costledger.sinks.reports.content import (
    OPERATIONS_MAX,
    SERVICES_MAX,
    USERS_MAX,
    USUAL_PERIODS_MAX,
    Comparison,
    FileAnalysis,
    FileUser,
    Line,
    Lines,
    Report,
    Totals,
    Watermark,
    median,
)
from costledger.sinks.reports.periods import ReportKind, ReportPeriod

#: Savings and cache lookups, which are told as events of this service and cost nothing.
OWN_SERVICE: Final = "costledger"


def read_report(connection: Connection, settings: Settings, period: ReportPeriod, watermark: Watermark) -> Report:
    """The report of a period, as the ledger has it now. Inside a transaction with a snapshot of its own.

    `connection` must be in no transaction; its statement timeout is that of the settings for reports.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        milliseconds = int(settings.report_timeout_seconds * 1000)
        connection.execute("SELECT set_config('statement_timeout', %s, true)", (str(milliseconds),))
        allow_silence(connection, settings.report_timeout_seconds)
        return Report(
            period=period,
            totals=_totals(connection, period),
            services=_lines(connection, "report_by_service", period, SERVICES_MAX),
            operations=_lines(connection, "report_by_operation", period, OPERATIONS_MAX),
            users=tuple(map(_line, _rows(connection, "report_top_users", period, limit=USERS_MAX))),
            comparison=_comparison(connection, period),
            alerts=tuple((kind, count) for kind, count in _rows(connection, "report_alerts", period)),
            watermark=watermark,
            files=_files(connection, settings, period) if period.kind is ReportKind.WEEKLY else None,
        )


def _totals(connection: Connection, period: ReportPeriod) -> Totals:
    ((users, events, unpriced, amount, maximum, maximum_user),) = _rows(connection, "report_totals", period)
    return Totals(
        active_users=users,
        events=events,
        unpriced=unpriced,
        amount=int(amount),
        maximum=None if maximum is None else int(maximum),
        maximum_user=maximum_user,
    )


def _lines(connection: Connection, name: str, period: ReportPeriod, rows_max: int) -> Lines:
    lines = list(map(_line, _rows(connection, name, period)))
    shown, others = lines[:rows_max], lines[rows_max:]
    return Lines(shown=tuple(shown), others=_summed(others) if others else None, others_count=len(others))


def _line(row: Sequence[Any]) -> Line:
    name, service, users, events, unpriced, amount = row
    return Line(name=name, service=service, users=users, events=events, unpriced=unpriced, amount=int(amount))


def _summed(lines: Sequence[Line]) -> Line:
    # A user may be in several of them: how many users there are is not known from the lines.
    return Line(
        name="others",
        events=sum(line.events for line in lines),
        unpriced=sum(line.unpriced for line in lines),
        amount=sum(line.amount for line in lines),
    )


def _comparison(connection: Connection, period: ReportPeriod) -> Comparison:
    """Periods before the first usage are none: they would make everything look unusual."""
    row = connection.execute(query("first_usage")).fetchone()
    if row is None or row[0] is None:
        return Comparison(previous=None, usual=None, usual_periods=0)
    first = datetime.combine(row[0], time(), UTC)
    before = period.before()
    usual = [period.earlier(weeks) for weeks in range(1, USUAL_PERIODS_MAX + 1)]
    amounts = [_amount(connection, one) for one in usual if one.end > first]
    return Comparison(
        previous=_amount(connection, before) if before.end > first else None,
        usual=median(amounts),
        usual_periods=len(amounts),
    )


def _amount(connection: Connection, period: ReportPeriod) -> int:
    ((amount,),) = _rows(connection, "report_total_amount", period)
    return int(amount)


def _files(connection: Connection, settings: Settings, period: ReportPeriod) -> FileAnalysis:
    limit = to_picodollars(settings.report_file_limit_usd, "report_file_limit_usd")
    key = settings.report_file_metadata_key
    rows = _rows(connection, "report_files", period, key=key, limit=to_usd(limit), users=USERS_MAX)
    users_with_files, files, users_above, users_without_files, amount_without_files = rows[0][:5]
    return FileAnalysis(
        key=key,
        limit=limit,
        users_with_files=users_with_files,
        files=files,
        users_above=users_above,
        above=tuple(
            FileUser(user_id=user, amount=int(amount), files=count)
            for *_, user, amount, count in rows
            if user is not None
        ),
        users_without_files=users_without_files,
        amount_without_files=int(amount_without_files),
    )


def _rows(connection: Connection, name: str, period: ReportPeriod, **other: Any) -> list[tuple[Any, ...]]:
    parameters = {"start": period.start, "end": period.end, "left_out": OWN_SERVICE, **other}
    return connection.execute(query(name), parameters).fetchall()
