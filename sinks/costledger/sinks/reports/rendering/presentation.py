"""What people see of a report: a headline, figures and tables, as text that the renderings only arrange.

Amounts are rounded to what one reads (two decimals from 1 USD on, six below); JSON and CSV have every digit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from costledger.schemas.money import usd_text
from costledger.sinks.reports.content import (
    USERS_MAX,
    Comparison,
    FileAnalysis,
    Line,
    Lines,
    Report,
    change_percent,
    divided,
    percent_of,
)
from costledger.sinks.reports.periods import ReportKind
from costledger.sinks.reports.store import StoredReport

_NONE: Final = "–"
_MICRO: Final = 10**6
_CENT: Final = 10**10
_USD: Final = 10**12
_NAME_CHARACTERS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the columns that are numbers stand to the right. `empty` is said where there are no rows."""

    title: str
    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Presentation:
    """A report as text: `warnings` first, then figures, then tables; `footer` says how it was made."""

    title: str
    subtitle: str
    headline: str
    warnings: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    footer: tuple[str, ...]


def present(stored: StoredReport) -> Presentation:
    """The presentation of a report."""
    report = stored.report
    weekly = report.period.kind is ReportKind.WEEKLY
    tables = [
        _lines_table("By service", "Service", report.services, report.totals.amount),
        _lines_table("By operation", "Operation", report.operations, report.totals.amount),
        _users_table(report),
    ]
    if report.files is not None:
        tables.insert(0, _files_table(report.files))
    return Presentation(
        title="Weekly cost analysis" if weekly else "Daily cost report",
        subtitle=f"{report.period.label} ({report.period.time_zone})",
        headline=f"{money(report.totals.amount)} USD",
        warnings=tuple(_warnings(report)),
        figures=tuple(_figures(report, weekly)),
        tables=tuple(tables),
        footer=tuple(_footer(stored)),
    )


def money(amount: int) -> str:
    """USD for people, with thousands separated: two decimals from 1 USD on, up to six below. What is not 0 is not shown
    as 0.
    """
    if abs(amount) >= _USD or amount == 0:
        return f"{Decimal(f'{divided(amount, _CENT)}E-2'):,f}"
    rounded = divided(amount, _MICRO) * _MICRO
    if rounded:
        return usd_text(rounded)
    return "< 0.000001" if amount > 0 else "> -0.000001"


def _warnings(report: Report) -> Iterable[str]:
    watermark = report.watermark
    if not watermark.complete:
        why = watermark.problem or f"{watermark.missing:,} messages were not in the ledger yet"
        yield f"Incomplete: the report was made although the ledger was behind ({why})."
    if report.totals.unpriced:
        yield f"{report.totals.unpriced:,} events have no known price; they are in no amount."


def _figures(report: Report, weekly: bool) -> Iterable[tuple[str, str]]:
    totals = report.totals
    yield "Total", f"{money(totals.amount)} USD"
    yield "Active users", f"{totals.active_users:,}"
    yield "Operations", f"{totals.events:,}"
    yield "Average per active user", _NONE if totals.average is None else f"{money(totals.average)} USD"
    if totals.maximum is not None:
        yield "Largest user", f"{money(totals.maximum)} USD ({shortened(totals.maximum_user or '')})"
    yield "Without a price", f"{totals.unpriced:,} events"
    raised = sum(count for _, count in report.alerts)
    kinds = ", ".join(f"{count:,} {kind.replace('_', ' ').lower()}" for kind, count in report.alerts)
    yield "Alerts raised", f"{raised:,} ({kinds})" if kinds else "none"
    yield from _compared(report.comparison, totals.amount, weekly)


def _compared(comparison: Comparison, amount: int, weekly: bool) -> Iterable[tuple[str, str]]:
    before = "The week before" if weekly else "The day before"
    yield before, _NONE if comparison.previous is None else _with_change(amount, comparison.previous)
    of = "weeks" if weekly else "same weekdays"
    label = f"Usual (median of {comparison.usual_periods} {of})" if comparison.usual_periods else "Usual"
    yield label, _NONE if comparison.usual is None else _with_change(amount, comparison.usual)


def _with_change(amount: int, before: int) -> str:
    change = change_percent(amount, before)
    return f"{money(before)} USD" + ("" if change is None else f" ({change:+,f} %)")


def _lines_table(title: str, what: str, lines: Lines, whole: int) -> Table:
    rows = [_cells(_name(line), line, whole) for line in lines.shown]
    if lines.others is not None:
        rows.append(_cells(f"{lines.others_count:,} others", lines.others, whole))
    return Table(
        title,
        (what, "Users", "Events", "Unpriced", "USD", "Share"),
        (False, True, True, True, True, True),
        tuple(rows),
        "No usage.",
    )


def _name(line: Line) -> str:
    return shortened(line.name if line.service is None else f"{line.service} / {line.name}")


def _cells(name: str, line: Line, whole: int) -> tuple[str, ...]:
    share = percent_of(line.amount, whole)
    users = f"{line.users:,}" if line.users else ""
    shown = "" if share is None else f"{share:f} %"
    return name, users, f"{line.events:,}", f"{line.unpriced:,}", money(line.amount), shown


def _users_table(report: Report) -> Table:
    whole = report.totals.amount
    rows = []
    for line in report.users:
        name, _, *rest = _cells(shortened(line.name), line, whole)
        rows.append((name, *rest))
    return Table(
        f"Top {USERS_MAX} users",
        ("User", "Events", "Unpriced", "USD", "Share"),
        (False, True, True, True, True),
        tuple(rows),
        "No usage.",
    )


def _files_table(files: FileAnalysis) -> Table:
    limit = usd_text(files.limit)
    rows = [(shortened(one.user_id), f"{one.files:,}", money(one.amount), money(one.per_file)) for one in files.above]
    shown = f"The first {len(rows)} of {files.users_above:,}. " if files.users_above > len(rows) else ""
    return Table(
        f"Users above {limit} USD per file",
        ("User", "Files", "USD", "USD per file"),
        (False, True, True, True),
        tuple(rows),
        f"Nobody: {files.users_with_files:,} users name files.",
        f"{shown}{files.users_with_files:,} users named {files.files:,} files ({shortened(files.key)}); "
        f"{files.users_without_files:,} users with {money(files.amount_without_files)} USD named none.",
    )


def _footer(stored: StoredReport) -> Iterable[str]:
    made = f"{stored.made_at:%Y-%m-%d %H:%M} UTC"
    if not stored.stored:
        yield f"Provisional, made for you at {made}: it is not stored, and later figures may differ."
    elif stored.revision == 1:
        yield f"Made at {made}. Events that arrive later do not change it."
    else:
        yield f"Made anew at {made} (revision {stored.revision}). Events that arrive later do not change it."
    yield "Counts are less what was taken back; amounts are those of priced events, in USD."


def shortened(text: str) -> str:
    """A name on one line, cut where it is very long: names come from the events of others."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _NAME_CHARACTERS_MAX else f"{line[: _NAME_CHARACTERS_MAX - 1]}…"
