"""`costledger prices list|show|check|schema|import|record`: the price book."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costledger.deploy.commands import price_import, price_record
from costledger.deploy.console import JsonOption, print_json, print_table
from costledger.deploy.context import command_settings, time_option

if TYPE_CHECKING:
    from costledger.producers.prices import PriceRow

AtOption = Annotated[
    datetime | None,
    typer.Option("--at", parser=time_option, metavar="TIME", help="Prices in force then (RFC 3339). Default: now."),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="The price book: what was charged for what, and since when.")
    group.command("list")(list_)
    group.command()(show)
    group.command()(check)
    group.command()(schema)
    price_import.register(group)
    price_record.register(group)
    app.add_typer(group, name="prices", rich_help_panel="Prices and budgets")


def list_(at: AtOption = None, json: JsonOption = False) -> None:
    """List the prices in force, USD per unit.

    The prices of language models come from the genai-prices library; `prices show --model` finds them.
    """
    from costledger.producers.prices import PriceBook, installed_snapshot, list_prices

    book = PriceBook.load(*command_settings().price_files)
    rows = list_prices(book, at or time_option("now"))
    if json:
        print_json({"prices": [_document(row) for row in rows], "genai_prices": installed_snapshot()})
    else:
        _print(rows)


def show(
    service: Annotated[str, typer.Argument(help="For example aws-rekognition, or openai.", show_default=False)],
    operation: Annotated[str, typer.Argument(help="For example detectLabels, or input-tokens.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="Language model, for example gpt-4.", show_default=False)] = None,
    unit: Annotated[str | None, typer.Option(help="Where the operation has several units.", show_default=False)] = None,
    at: AtOption = None,
    json: JsonOption = False,
) -> None:
    """Show the price of one operation, USD per unit. Exit code 1 when it is unpriced, or held for review."""
    from costledger.producers.prices import PriceBook, show_price

    book = PriceBook.load(*command_settings().price_files)
    row = show_price(book, service, operation, at or time_option("now"), unit=unit, model=model)
    if json:
        print_json({"price": None if row is None else _document(row)})
    elif row is None:
        print(f"unpriced: no price is known for {service} {operation}{f' of {model}' if model else ''}")
        if model is None:
            print(
                "the operation of a language model is input-tokens or output-tokens, and the model an option: --model"
            )
    else:
        _print([row])
        print(f"source: {row.source}")
        if row.held is not None:
            print(f"unpriced, since this price is held for review: {row.held}")
    raise typer.Exit(1 if row is None or row.held is not None else 0)


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="Price files (TOML, or .json) to lay over the shipped one. Default: the setting's.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check the price book: overlaps, gaps, wrong signs and units, jumps, the data of language models.

    A price more than 10 times the one before it, less than a tenth of it, or going to or from 0 is held for review:
    what it covers is unpriced until the entry says `reviewed = "why this is right"`. Exit code 1 on an error or a
    price held for review; warnings are for you to judge.
    """
    from costledger.producers.prices import check_prices, installed_snapshot

    findings = check_prices(files or command_settings().price_files)
    bad = any(finding.severity != "warning" for finding in findings)
    snapshot = installed_snapshot()
    if json:
        print_json({"ok": not bad, "findings": findings, "genai_prices": snapshot})
    else:
        for finding in findings:
            print(f"{finding.severity}: {finding}")
        if not findings:
            print("the price book is sound")
        print(f"language models: genai-prices {snapshot.version}, SHA-256 {snapshot.sha256}")
    raise typer.Exit(1 if bad else 0)


def schema() -> None:
    """Print the JSON Schema of price files, for editors and other programs. In JSON files a day is text."""
    from costledger.producers.prices import price_file_schema

    print_json(price_file_schema())


def _document(row: PriceRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__slots__} | {"additions": dict(row.additions)}


def _print(rows: list[PriceRow]) -> None:
    columns = ("service", "operation", "model", "USD per unit", "unit", "besides", "from", "to", "version", "review")
    cells = [
        (
            row.service,
            row.operation,
            row.model,
            row.unit_price,
            row.unit + (", rounded up" if row.rounded_up else ""),
            ", ".join(f"{price} per {name}" for name, price in row.additions.items()),
            row.effective_from,
            row.effective_to,
            row.price_version,
            None if row.held is None else "held",
        )
        for row in rows
    ]
    print_table(columns, cells)
