"""`costledger export`: entries of the ledger as CSV, Parquet or FOCUS."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from costledger.deploy.console import JsonOption, print_json, row_progress, say
from costledger.deploy.context import command_settings, ledger_connection, time_option, usage_errors

if TYPE_CHECKING:
    from costledger.sinks.export import Destination, Export, ExportSummary

_STDOUT: Final = "-"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Ledger")(export)


def export(
    start: Annotated[
        datetime,
        typer.Option(
            "--from",
            parser=time_option,
            metavar="TIME",
            help="Entries that occurred from then on: a UTC day, or RFC 3339.",
            show_default=False,
        ),
    ],
    end: Annotated[
        datetime,
        typer.Option(
            "--to", parser=time_option, metavar="TIME", help="Up to but not at this time, or `now`.", show_default=False
        ),
    ],
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="csv, parquet (needs the extra parquet) or focus.")
    ] = "csv",
    user: Annotated[str | None, typer.Option(help="Only this user's entries. Default: everybody's.")] = None,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="A file, replaced when complete; - is stdout.")
    ] = _STDOUT,
    keep_formulas: Annotated[
        bool,
        typer.Option(
            "--keep-formulas",
            help="csv and focus: leave texts that begin with = + - @ as they are. A spreadsheet would run them, so that "
            "otherwise each gets an apostrophe in front.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Export entries of the ledger, in the order of their time. Amounts are exact to 1e-12 USD.

    One snapshot of the ledger: its whole hours are compared with the roll-ups before anything is written, and exit
    code 1 says that they differ. A file appears when it is complete or not at all. A FOCUS file has charges only:
    entries without a price are left out and counted. With --json, and a file, a summary is on stdout.
    """
    from costledger.deploy.signals import termination_raised
    from costledger.sinks.export import Export, ExportFormat, export_entries

    if format_ not in set(ExportFormat):
        raise typer.BadParameter(f"--format is {format_!r}; it must be {', '.join(ExportFormat)}")
    with usage_errors():
        wanted = Export(ExportFormat(format_), start, end, user, marked=not keep_formulas)
    if json and output == _STDOUT:
        raise typer.BadParameter("--json needs --output FILE: stdout has the export itself")
    if output == _STDOUT and wanted.format is ExportFormat.PARQUET and sys.stdout.isatty():
        raise typer.BadParameter("a Parquet file cannot be shown on a terminal: give --output FILE")
    settings = command_settings()
    with (
        termination_raised(),
        usage_errors(),
        _destination(output) as destination,
        ledger_connection(settings, "export") as connection,
        row_progress("exporting") as progress,
    ):
        summary = export_entries(connection, wanted, destination, progress)
    if json:
        print_json(_document(wanted, output, summary))
    else:
        say(_text(wanted, output, summary))


def _destination(output: str) -> AbstractContextManager[Destination]:
    from costledger.sinks.export import file_output, stream_output

    return stream_output(sys.stdout.buffer) if output == _STDOUT else file_output(Path(output))


def _document(wanted: Export, output: str, summary: ExportSummary) -> dict[str, Any]:
    events, amount = summary.hours
    return {
        "format": wanted.format.value,
        "output": output,
        "from": wanted.start,
        "to": wanted.end,
        "user_id": wanted.user_id,
        "rows": summary.rows,
        "unpriced": summary.unpriced,
        "amount_usd": summary.amount,
        "bytes": summary.bytes,
        "sha256": summary.sha256,
        "rollups": {"agree": True, "whole_hours_events": events, "whole_hours_amount_usd": amount},
        "watermark": [
            {"topic": topic, "partition": partition, "next_offset": next_offset}
            for topic, partition, next_offset in summary.watermark
        ],
        "snapshot_at": summary.snapshot_at,
    }


def _text(wanted: Export, output: str, summary: ExportSummary) -> str:
    """The summary in a few lines, for stderr."""
    where = "stdout" if output == _STDOUT else output
    lines = [
        f"{summary.rows} rows, {summary.amount:f} USD, {summary.bytes} bytes to {where}",
        f"the whole hours of the period agree with the roll-ups: {summary.hours[0]} events, {summary.hours[1]:f} USD",
        f"sha256 {summary.sha256}",
    ]
    if summary.unpriced and wanted.format.value == "focus":
        lines.insert(1, f"{summary.unpriced} entries without a price are left out: a FOCUS charge has a cost")
    elif summary.unpriced:
        lines.insert(1, f"{summary.unpriced} of the rows have no price")
    return "\n".join(lines)
