"""`costledger import llm-trace|focus`: files of other systems, published as events."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costledger.deploy.console import JsonOption, print_json
from costledger.deploy.context import command_settings, time_option, usage_errors

if TYPE_CHECKING:
    from costledger.producers.importers import FocusReport

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, show_default=False)
]
ShiftOption = Annotated[
    datetime | None,
    typer.Option(
        "--shift-to",
        parser=time_option,
        metavar="TIME",
        help="Move all times by one amount so that the last row is at TIME (RFC 3339, or `now`).",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Publish a file's rows as events. Repeatable: the same file and arguments add nothing the second time.",
    )
    group.command("llm-trace")(llm_trace)
    group.command()(focus)
    app.add_typer(group, name="import", rich_help_panel="Events")


def llm_trace(
    file: FileArgument,
    model: Annotated[str, typer.Option(help="Language model, for example gpt-4.", show_default=False)],
    provider: Annotated[str, typer.Option(help="Whose model it is; the service of the events.")] = "openai",
    users: Annotated[int, typer.Option(help="Row i belongs to user i % USERS, from user-0000.")] = 100,
    shift_to: ShiftOption = None,
    json: JsonOption = False,
) -> None:
    """Import a trace of language model requests: CSV TIMESTAMP,ContextTokens,GeneratedTokens.

    Each row makes two events, input-tokens and output-tokens, priced as of their time (after --shift-to).
    A wrong row is named with line, column and value, and then nothing is published.
    """
    from costledger.deploy.publishing import publish
    from costledger.producers.importers import read_trace
    from costledger.producers.prices import PriceBook

    settings = command_settings()
    book = PriceBook.load(*settings.price_files)
    with usage_errors():
        trace = read_trace(file, model, provider=provider, users=users, shift_to=shift_to, book=book)
    result = publish(settings, trace.events(), 2 * trace.rows)
    if json:
        print_json({**result.to_document(), "rows": trace.rows})
    else:
        print(f"{trace.rows} rows of {file.name}: {result.to_text()}")
    raise typer.Exit(0 if result.ok else 1)


def focus(
    file: FileArgument,
    user_column: Annotated[str, typer.Option(help="The column that names the user of a charge.")] = "SubAccountId",
    shift_to: ShiftOption = None,
    json: JsonOption = False,
) -> None:
    """Import a cloud bill in FOCUS 1.x columns: one event a row, its amount BilledCost exactly.

    A row without a user belongs to `unallocated`. A wrong row is named with line, column and value, and then
    nothing is published.
    """
    from costledger.deploy.publishing import publish
    from costledger.producers.importers import read_focus

    settings = command_settings()
    bill = read_focus(file, user_column=user_column, shift_to=shift_to)
    report = bill.report
    result = publish(settings, bill.events(), report.rows)
    if json:
        found = {
            "rows": report.rows,
            "unallocated": report.unallocated,
            "rounded_quantities": report.rounded_quantities,
            "left_out": dict(report.left_out),
        }
        print_json({**result.to_document(), **found})
    else:
        print(f"{report.rows} rows of {file.name}: {result.to_text()}")
        for line in _remarks(report):
            print(line)
    raise typer.Exit(0 if result.ok else 1)


def _remarks(report: FocusReport) -> list[str]:
    remarks = []
    if report.unallocated:
        remarks.append(f"{report.unallocated} rows name no user: they belong to the user unallocated")
    if report.rounded_quantities:
        remarks.append(f"{report.rounded_quantities} quantities rounded to 1e-9 units; the metadata has them in full")
    if report.left_out:
        columns = ", ".join(f"{name} ({rows} rows)" for name, rows in report.left_out.most_common())
        remarks.append(f"left out, for want of room in the metadata: {columns}")
    return remarks
