"""`costledger rerate`: entries without a price, or with another one, get the price of the book in force now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from costledger.deploy.console import JsonOption, print_json, print_table, say
from costledger.deploy.context import command_settings, time_option, usage_errors

if TYPE_CHECKING:
    from costledger.deploy.rerating_report import Rerating

_EXIT_INTERRUPTED: Final = 130
#: Rows of the table for people; the largest differences come first.
_ROWS_SHOWN_MAX: Final = 200
_UNRATED_SHOWN_MAX: Final = 50
_PROGRESS_EVERY_SECONDS: Final = 5.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Prices and budgets")(rerate)


def rerate(
    start: Annotated[
        datetime,
        typer.Option(
            "--from",
            parser=time_option,
            metavar="TIME",
            help="Entries that occurred from then on: RFC 3339, UTC without an offset.",
            show_default=False,
        ),
    ],
    end: Annotated[
        datetime,
        typer.Option(
            "--to", parser=time_option, metavar="TIME", help="Up to but not at this time, or `now`.", show_default=False
        ),
    ],
    user: Annotated[str | None, typer.Option(help="Only this user's entries.")] = None,
    service: Annotated[str | None, typer.Option(help="Only entries of this service.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and post nothing.")] = False,
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Let the sink catch up before and after, so long at most each."),
    ] = 60,
    json: JsonOption = False,
) -> None:
    """Rate entries again with the price book in force now (COSTLEDGER_PRICE_FILES over the shipped one).

    Entries without a price, and those whose price came from a price book, are corrected where their amount
    changes: a reversing entry takes each back, a new one takes its place. Amounts that came with the event are
    never touched, and an entry that the book has no price for keeps what it has. Doing it twice changes nothing
    more; a run that was cut off is completed by the next one.

    Exit code 0 when done, also where entries stay unpriced (they are listed); 1 when an entry could not be
    corrected, or the sink has not written all of it within --wait.
    """
    from costledger.deploy.rerating import rerate_ledger
    from costledger.deploy.signals import interruption_deferred
    from costledger.producers.prices import PriceBook
    from costledger.sinks.candidates import Window

    settings = command_settings()
    with usage_errors():
        window = Window(start, end, user, service)
    book = PriceBook.load(*settings.price_files)
    with interruption_deferred(say) as stop, _progress() as progress:
        result = rerate_ledger(
            settings, window, book, dry_run=dry_run, wait_seconds=wait, stop=stop, progress=progress, tell=say
        )
    if json:
        print_json(result.to_document())
    else:
        _show(result, wait)
    raise typer.Exit(_EXIT_INTERRUPTED if result.stopped else 0 if result.ok else 1)


@contextmanager
def _progress() -> Iterator[Callable[[Rerating], None]]:
    """A line on stderr that changes on a terminal; elsewhere one every few seconds."""
    from costledger.deploy.console import err

    console = err()
    if console.is_terminal:
        with console.status("reading the ledger") as status:
            yield lambda so_far: status.update(_so_far(so_far))
        return
    said_at = time.monotonic()

    def say_sometimes(so_far: Rerating) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= _PROGRESS_EVERY_SECONDS:
            said_at = time.monotonic()
            say(_so_far(so_far))

    yield say_sometimes


def _so_far(result: Rerating) -> str:
    return f"{result.examined} entries looked at, {result.corrections} change"


def _show(result: Rerating, wait: float) -> None:
    from costledger.schemas.money import usd_text

    columns = (
        "user",
        "service",
        "entries",
        "unpriced before",
        "unpriced after",
        "USD before",
        "USD after",
        "difference, USD",
    )
    changes = sorted(result.changes.items(), key=lambda item: (-abs(item[1].difference), item[0]))
    rows = [
        (
            user,
            service,
            change.entries,
            change.unpriced_before,
            change.unpriced_after,
            usd_text(change.amount_before),
            usd_text(change.amount_after),
            usd_text(change.difference),
        )
        for (user, service), change in changes[:_ROWS_SHOWN_MAX]
    ]
    if rows:
        print_table(columns, rows)
    if len(changes) > len(rows):
        print(f"and {len(changes) - len(rows)} more users and services with smaller differences: --json has them all")
    _show_unrated(result)
    print(_verdict(result, wait))


def _show_unrated(result: Rerating) -> None:
    unrated = result.by_number()
    for kind, count in unrated[:_UNRATED_SHOWN_MAX]:
        model = "" if kind.model is None else f" of {kind.model}"
        print(f"{kind.finding}: {kind.service} {kind.operation}{model}, per {kind.unit}: {count} entries")
    if len(unrated) > _UNRATED_SHOWN_MAX:
        print(f"and {len(unrated) - _UNRATED_SHOWN_MAX} more kinds of entries without a price: --json has them all")
    for example in result.uncorrectable_examples:
        print(f"CANNOT be corrected: {example}")
    if result.uncorrectable > len(result.uncorrectable_examples):
        print(f"CANNOT be corrected: {result.uncorrectable - len(result.uncorrectable_examples)} more entries")


def _verdict(result: Rerating, wait: float) -> str:
    """The result in a few lines."""
    from costledger.schemas.money import usd_text

    difference = usd_text(sum(change.difference for change in result.changes.values()))
    would = "would change" if result.dry_run else "changed"
    lines = [
        f"{result.corrections} of {result.examined} entries {would}, {difference} USD, with the prices of "
        f"{result.price_book}"
    ]
    if result.completed:
        done = "would be" if result.dry_run else "were"
        lines.append(f"{result.completed} entries that an unfinished run had taken back {done} given their new entry")
    if result.dry_run:
        lines.append("nothing was posted: this was a dry run")
    elif result.posted:
        lines.append(f"posted {result.posted} events; the ledger has recorded {result.recorded} of them")
        if result.lag_after and not result.stopped:
            lines.append(
                f"the sink has still {result.lag_after} events to write after {wait:g} s: they are safe in Kafka, and "
                "`costledger reconcile --wait 60` tells when they are in the ledger"
            )
        elif result.recorded < result.posted and not result.stopped:
            lines.append("the others were in the ledger already, or are in quarantine (`costledger quarantine list`)")
    if result.stopped:
        lines.append("stopped before the end: the same command goes on from there")
    return "\n".join(lines)
