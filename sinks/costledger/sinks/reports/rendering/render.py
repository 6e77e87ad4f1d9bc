"""The renderings by name: text, html, json, csv."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import jinja2

from costledger.sinks.reports.rendering.presentation import Table, present
from costledger.sinks.reports.rendering.rows import as_csv
from costledger.sinks.reports.store import StoredReport

Format = Literal["text", "html", "json", "csv"]
MEDIA_TYPES: Final[dict[Format, str]] = {
    "text": "text/plain; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
}
_GAP: Final = "  "


def render(stored: StoredReport, form: Format) -> str:
    """The report as text for people, a whole HTML document for mail, a JSON document, or CSV with a header."""
    return FORMATS[form](stored)


def subject(stored: StoredReport) -> str:
    """The subject of a mail, on one line: kind, period, total; and whether it is incomplete."""
    shown = present(stored)
    incomplete = "" if stored.report.watermark.complete else " (incomplete)"
    return f"{shown.title} {stored.report.period.label}: {shown.headline}{incomplete}"


def _as_text(stored: StoredReport) -> str:
    shown = present(stored)
    width = max(len(label) for label, _ in shown.figures)
    parts = [
        f"{shown.title}: {shown.subtitle}",
        *(f"! {warning}" for warning in shown.warnings),
        "\n".join(f"{label:<{width}}{_GAP}{value}" for label, value in shown.figures),
        *map(_text_table, shown.tables),
        "\n".join(shown.footer),
    ]
    return "\n\n".join(parts) + "\n"


def _text_table(table: Table) -> str:
    if not table.rows:
        lines = [table.empty]
    else:
        cells = [table.columns, *table.rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
        lines = [
            _GAP.join(
                f"{cell:>{width}}" if numeric else f"{cell:<{width}}"
                for cell, width, numeric in zip(row, widths, table.numeric, strict=True)
            ).rstrip()
            for row in cells
        ]
    note = [table.note] if table.note else []
    return "\n".join([table.title.upper(), *lines, *note])


def _as_html(stored: StoredReport) -> str:
    return _template().render(report=present(stored), subject=subject(stored))


@cache
def _template() -> jinja2.Template:
    # Names of users and operations come from events: everything is escaped, and a misspelt field is an error.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = (files(__package__) / "templates" / "report.html").read_text(encoding="utf-8")
    return environment.from_string(text)


def _as_json(stored: StoredReport) -> str:
    return json.dumps(stored.document(), indent=2, ensure_ascii=False) + "\n"


FORMATS: Final[dict[Format, Callable[[StoredReport], str]]] = {
    "text": _as_text,
    "html": _as_html,
    "json": _as_json,
    "csv": as_csv,
}
