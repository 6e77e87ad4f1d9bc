"""`costledger emit`: one event by hand."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import typer

from costledger.deploy.console import JsonOption, print_json
from costledger.deploy.context import command_settings, decimal_option, metadata_option, time_option, usage_errors


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Events")(emit)


def emit(
    user: Annotated[str, typer.Option(help="User id, up to 128 characters.", show_default=False)],
    service: Annotated[str, typer.Option(help="For example aws-rekognition.", show_default=False)],
    operation: Annotated[str, typer.Option(help="For example detectLabels.", show_default=False)],
    quantity: Annotated[
        Decimal,
        typer.Option(
            parser=decimal_option,
            metavar="NUMBER",
            help="In units of the operation, exact to 1e-9.",
            show_default=False,
        ),
    ],
    unit_price: Annotated[
        Decimal | None,
        typer.Option(parser=decimal_option, metavar="USD", help="USD per unit. Default: the price book's."),
    ] = None,
    unit: Annotated[str | None, typer.Option(help="What is counted. Default: the price book's unit.")] = None,
    occurred_at: Annotated[
        datetime | None,
        typer.Option(parser=time_option, metavar="TIME", help="RFC 3339, UTC without an offset. Default: now."),
    ] = None,
    category: Annotated[
        Literal["USAGE", "PURCHASE", "TAX", "CREDIT", "ADJUSTMENT"], typer.Option(help="Kind of charge.")
    ] = "USAGE",
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata; may be given up to 32 times.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Publish one event and wait until Kafka has it.

    An operation without a known price is recorded as unpriced, never as 0.
    """
    from costledger.deploy.publishing import publish
    from costledger.producers.prices import PriceBook
    from costledger.producers.records import Draft, build_record
    from costledger.schemas.events import CostEvent, check_event
    from costledger.schemas.money import usd_text

    settings = command_settings()
    draft = Draft(
        user_id=user,
        service=service,
        operation=operation,
        quantity=quantity,
        unit=unit,
        unit_price=unit_price,
        occurred_at=occurred_at,
        category=category,
        metadata=metadata_option(metadata),
    )
    with usage_errors():
        event_id, record = build_record(draft, PriceBook.load(*settings.price_files), settings.source)
        check_event(record)
    event = CostEvent.from_record(record)
    result = publish(settings, [event])
    amount = None if event.amount is None else usd_text(event.amount)
    if json:
        print_json({**result.to_document(), "event_id": event_id, "amount_usd": amount})
    else:
        print(f"{event_id}  {'unpriced' if amount is None else f'{amount} USD'}")
        print(result.to_text())
    raise typer.Exit(0 if result.ok else 1)
