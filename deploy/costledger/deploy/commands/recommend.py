"""`costledger recommend`: what to change to spend less, and what has been saved."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from costledger.deploy.console import JsonOption, print_json, print_table
from costledger.deploy.context import command_settings, day_option, ledger_connection

if TYPE_CHECKING:
    from costledger.producers.optimiser.recommendations import Advice

_DAYS_DEFAULT: Final = 30
_DAYS_MAX: Final = 3660


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Prices and budgets")(recommend)


def recommend(
    user: Annotated[
        str | None, typer.Argument(metavar="USER", help="User id. Default: all users together.", show_default=False)
    ] = None,
    from_: Annotated[
        date | None,
        typer.Option("--from", parser=day_option, metavar="DATE", help="First UTC day, for example 2026-11-01."),
    ] = None,
    to: Annotated[
        date | None,
        typer.Option("--to", parser=day_option, metavar="DATE", help="The UTC day after the last. Default: tomorrow."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            min=1, max=_DAYS_MAX, help=f"So many UTC days up to --to; instead of --from. Default: {_DAYS_DEFAULT}."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Recommend what to change, with potential savings in USD; show strategies, estimated and measured, and the score.

    From the ledger's daily totals. The efficiency score (0 to 100) is of one user: its limits are 50 and 100 USD.
    """
    from costledger.producers.optimiser.recommendations import advise
    from costledger.sinks.usage import read_usage

    settings = command_settings()
    start, end = _period(from_, to, days)
    with ledger_connection(settings, "recommend") as connection:
        advice = advise(read_usage(connection, start, end, user), one_user=user is not None)
    if json:
        print_json({"user_id": user, "from": start, "to": end, **advice.to_dict()})
    else:
        _show(advice, user, start, end)


def _period(from_: date | None, to: date | None, days: int | None) -> tuple[date, date]:
    """The UTC days [start, end)."""
    if from_ is not None and days is not None:
        raise typer.BadParameter("give --from or --days, not both")
    end = datetime.now(UTC).date() + timedelta(days=1) if to is None else to
    try:
        start = end - timedelta(days=days or _DAYS_DEFAULT) if from_ is None else from_
    except OverflowError:
        raise typer.BadParameter(f"--to is {end}; it must be {days or _DAYS_DEFAULT} days after 0001-01-01") from None
    if start >= end:
        raise typer.BadParameter(f"--from is {start}; it must be before --to, which is {end}")
    return start, end


def _show(advice: Advice, user: str | None, start: date, end: date) -> None:
    from costledger.schemas.money import usd_text

    print(f"{user or 'all users'}, {start} to {end - timedelta(days=1)} (UTC): {usd_text(advice.total)} USD")
    if advice.unpriced:
        print(f"besides, {advice.unpriced} events have no price")
    if advice.efficiency_score is not None:
        print(f"efficiency {advice.efficiency_score:f} of 100")
    if advice.cache_hit_rate is None:
        print("no cache was asked")
    else:
        lookups = advice.cache_hits + advice.cache_misses
        print(f"cache hit rate {advice.cache_hit_rate:f} % of {lookups} lookups")
    print()
    if advice.recommendations:
        rows = [(usd_text(one.potential_saving), one.priority, one.title, one.reason) for one in advice.recommendations]
        print_table(("may save, USD", "priority", "recommendation", "because"), rows)
    else:
        print("nothing to recommend")
    print()
    strategies = [
        (
            one.title,
            None if one.percent is None else f"{one.percent} %",
            None if one.applicable_cost is None else usd_text(one.applicable_cost),
            None if one.estimated_saving is None else usd_text(one.estimated_saving),
            usd_text(one.measured_saving),
        )
        for one in advice.strategies
    ]
    print_table(("strategy", "saves", "of, USD", "estimated, USD", "measured, USD"), strategies)
