"""A report as a JSON document and back: money as decimal text, times as RFC 3339 in UTC, never a float."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from decimal import Decimal
from typing import Any

from costledger.schemas.money import USD_DECIMALS, exact_decimal, usd_text
from costledger.schemas.times import parse_time, rfc3339, to_microseconds
from costledger.sinks.reports.content import (
    Comparison,
    FileAnalysis,
    FileUser,
    Line,
    Lines,
    Report,
    Totals,
    Watermark,
    change_percent,
    percent_of,
)
from costledger.sinks.reports.periods import ReportKind, ReportPeriod

Document = dict[str, Any]


def to_document(report: Report) -> Document:
    """The report as plain JSON values."""
    period, totals, comparison = report.period, report.totals, report.comparison
    document: Document = {
        "kind": period.kind.value,
        "date": period.date.isoformat(),
        "period": period.label,
        "time_zone": period.time_zone,
        "period_start": rfc3339(period.start_us),
        "period_end": rfc3339(period.end_us),
        "currency": "USD",
        "totals": {
            "active_users": totals.active_users,
            "events": totals.events,
            "unpriced": totals.unpriced,
            "total": usd_text(totals.amount),
            "average_per_active_user": _text(totals.average),
            "maximum_per_user": _text(totals.maximum),
            "maximum_user": totals.maximum_user,
        },
        "comparison": {
            "previous_total": _text(comparison.previous),
            "previous_change_percent": _percent(change_percent(totals.amount, comparison.previous)),
            "usual_total": _text(comparison.usual),
            "usual_change_percent": _percent(change_percent(totals.amount, comparison.usual)),
            "usual_periods": comparison.usual_periods,
        },
        "by_service": _lines(report.services, totals.amount),
        "by_operation": _lines(report.operations, totals.amount),
        "top_users": [_line(one, totals.amount) for one in report.users],
        "alerts": {"raised": sum(count for _, count in report.alerts), "by_kind": dict(report.alerts)},
        "files": None if report.files is None else _files(report.files),
        "watermark": {
            "complete": report.watermark.complete,
            "missing": report.watermark.missing,
            "positions": {str(partition): offset for partition, offset in report.watermark.positions},
            "problem": report.watermark.problem,
        },
    }
    return document


def from_document(document: Document) -> Report:
    """The report that `to_document` gave this for; raises KeyError or `InvalidValue` for anything else."""
    totals, comparison, watermark = document["totals"], document["comparison"], document["watermark"]
    return Report(
        period=ReportPeriod(
            ReportKind(document["kind"]),
            date.fromisoformat(document["date"]),
            document["time_zone"],
            to_microseconds(parse_time(document["period_start"])),
            to_microseconds(parse_time(document["period_end"])),
        ),
        totals=Totals(
            active_users=totals["active_users"],
            events=totals["events"],
            unpriced=totals["unpriced"],
            amount=_amount(totals["total"]),
            maximum=_amount_or_none(totals["maximum_per_user"]),
            maximum_user=totals["maximum_user"],
        ),
        services=_lines_of(document["by_service"]),
        operations=_lines_of(document["by_operation"]),
        users=tuple(_line_of(one) for one in document["top_users"]),
        comparison=Comparison(
            previous=_amount_or_none(comparison["previous_total"]),
            usual=_amount_or_none(comparison["usual_total"]),
            usual_periods=comparison["usual_periods"],
        ),
        alerts=tuple(sorted(document["alerts"]["by_kind"].items())),
        watermark=Watermark(
            complete=watermark["complete"],
            missing=watermark["missing"],
            positions=tuple(sorted((int(number), offset) for number, offset in watermark["positions"].items())),
            problem=watermark["problem"],
        ),
        files=None if document["files"] is None else _files_of(document["files"]),
    )


def canonical(document: Document) -> str:
    """The document as text that is the same for the same content: sorted keys, no spaces."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(document: Document) -> bytes:
    """SHA-256 of the canonical text."""
    return hashlib.sha256(canonical(document).encode()).digest()


def _lines(lines: Lines, whole: int) -> Document:
    others = None if lines.others is None else {"count": lines.others_count, **_line(lines.others, whole)}
    return {"rows": [_line(one, whole) for one in lines.shown], "others": others}


def _line(line: Line, whole: int) -> Document:
    return {
        "name": line.name,
        "service": line.service,
        "users": line.users,
        "events": line.events,
        "unpriced": line.unpriced,
        "total": usd_text(line.amount),
        "share_percent": _percent(percent_of(line.amount, whole)),
    }


def _files(files: FileAnalysis) -> Document:
    return {
        "metadata_key": files.key,
        "limit_per_file": usd_text(files.limit),
        "users_with_files": files.users_with_files,
        "files": files.files,
        "users_above": files.users_above,
        "above": [
            {
                "user_id": one.user_id,
                "total": usd_text(one.amount),
                "files": one.files,
                "per_file": usd_text(one.per_file),
            }
            for one in files.above
        ],
        "users_without_files": files.users_without_files,
        "total_without_files": usd_text(files.amount_without_files),
    }


def _lines_of(document: Document) -> Lines:
    others = document["others"]
    return Lines(
        shown=tuple(_line_of(one) for one in document["rows"]),
        others=None if others is None else _line_of(others),
        others_count=0 if others is None else others["count"],
    )


def _line_of(document: Document) -> Line:
    return Line(
        name=document["name"],
        service=document["service"],
        users=document["users"],
        events=document["events"],
        unpriced=document["unpriced"],
        amount=_amount(document["total"]),
    )


def _files_of(document: Document) -> FileAnalysis:
    return FileAnalysis(
        key=document["metadata_key"],
        limit=_amount(document["limit_per_file"]),
        users_with_files=document["users_with_files"],
        files=document["files"],
        users_above=document["users_above"],
        above=tuple(
            FileUser(user_id=one["user_id"], amount=_amount(one["total"]), files=one["files"])
            for one in document["above"]
        ),
        users_without_files=document["users_without_files"],
        amount_without_files=_amount(document["total_without_files"]),
    )


def _amount(text: str) -> int:
    # Not `to_picodollars`: a total has no limit.
    whole, _, decimals = f"{exact_decimal(text, 'total'):f}".partition(".")
    return int(whole + decimals.ljust(USD_DECIMALS, "0"))


def _amount_or_none(text: str | None) -> int | None:
    return None if text is None else _amount(text)


def _text(amount: int | None) -> str | None:
    return None if amount is None else usd_text(amount)


def _percent(percent: Decimal | None) -> str | None:
    return None if percent is None else f"{percent:f}"
