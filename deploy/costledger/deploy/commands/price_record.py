"""`costledger prices record`: the price book goes into the ledger, for analysts to join."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from costledger.deploy.console import JsonOption, print_json
from costledger.deploy.context import command_settings, ledger_connection

if TYPE_CHECKING:
    from costledger.producers.prices import PriceEntry
    from costledger.sinks.prices import RecordedPrice


def register(group: typer.Typer) -> None:
    """Add the command to `costledger prices`."""
    group.command()(record)


def record(json: JsonOption = False) -> None:
    """Record the prices of the price book in the ledger, where the view analyst.prices shows them.

    All entries of the shipped file and the setting's, but those held for review; prices of language models from
    genai-prices are not among them. Running it again adds nothing. A price that contradicts the one recorded under
    the same version is an error.
    """
    from costledger.producers.prices import PriceBook
    from costledger.sinks.prices import record_prices

    settings = command_settings()
    book = PriceBook.load(*settings.price_files)
    prices = [_recorded(entry) for file in book.files for entry in file.entries if entry.held is None]
    with ledger_connection(settings, "prices record") as connection:
        added = record_prices(connection, prices)
    known, held = len(prices) - added, len(book.held)
    if json:
        print_json({"added": added, "known": known, "held": held})
    else:
        print(f"recorded {added} prices; {known} were known{f'; {held} are held for review' if held else ''}")


def _recorded(entry: PriceEntry) -> RecordedPrice:
    from costledger.sinks.prices import RecordedPrice

    return RecordedPrice(
        price_version=entry.version,
        service=entry.service,
        operation=entry.operation,
        model=entry.model or "",
        unit=entry.unit,
        unit_price=entry.rate.text,
        rounded_up=entry.rounded_up,
        additions={addition.metadata: addition.rate.text for addition in entry.additions},
        valid_from=entry.effective_from,
        valid_to=entry.effective_to,
        source=entry.source,
    )
