"""A report as CSV: one table, a row for each figure, with every digit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Final

from costledger.schemas.money import usd_text
from costledger.sinks.reports.content import Line, Lines, Report
from costledger.sinks.reports.store import StoredReport

COLUMNS: Final = ("kind", "date", "section", "service", "name", "users", "events", "unpriced", "files", "usd")
#: What a spreadsheet takes for the beginning of a formula. Names come from the events of others.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, object]


def as_csv(stored: StoredReport) -> str:
    """CSV (RFC 4180) with a header. A name that a spreadsheet would take for a formula gets an apostrophe before it."""
    report = stored.report
    head = {"kind": report.period.kind.value, "date": report.period.date.isoformat()}
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="")
    writer.writeheader()
    for row in _rows(report):
        for name in ("service", "name"):
            if str(row.get(name, "")).startswith(_FORMULA):
                row[name] = f"'{row[name]}"
        writer.writerow({**head, **row})
    return out.getvalue()


def _rows(report: Report) -> Iterator[Row]:
    totals, comparison = report.totals, report.comparison
    yield {
        "section": "total",
        "users": totals.active_users,
        "events": totals.events,
        "unpriced": totals.unpriced,
        "usd": usd_text(totals.amount),
    }
    named = {
        "average_per_active_user": totals.average,
        "maximum_per_user": totals.maximum,
        "previous_total": comparison.previous,
        "usual_total": comparison.usual,
    }
    for section, amount in named.items():
        if amount is not None:
            name = totals.maximum_user if section == "maximum_per_user" else ""
            yield {"section": section, "name": name, "usd": usd_text(amount)}
    yield from _lines("service", report.services)
    yield from _lines("operation", report.operations)
    yield from (_line("user", line) for line in report.users)
    yield from ({"section": "alerts", "name": kind, "events": count} for kind, count in report.alerts)
    if report.files is not None:
        for one in report.files.above:
            amounts = {"usd_of_user_above_file_limit": one.amount, "usd_per_file_above_limit": one.per_file}
            for section, amount in amounts.items():
                yield {"section": section, "name": one.user_id, "files": one.files, "usd": usd_text(amount)}
        yield {
            "section": "without_files",
            "users": report.files.users_without_files,
            "usd": usd_text(report.files.amount_without_files),
        }


def _lines(section: str, lines: Lines) -> Iterator[Row]:
    yield from (_line(section, line) for line in lines.shown)
    if lines.others is not None:
        yield {**_line(f"other_{section}s", lines.others), "name": f"{lines.others_count} others", "users": ""}


def _line(section: str, line: Line) -> Row:
    return {
        "section": section,
        "service": line.service or "",
        "name": line.name,
        "users": line.users,
        "events": line.events,
        "unpriced": line.unpriced,
        "usd": usd_text(line.amount),
    }
