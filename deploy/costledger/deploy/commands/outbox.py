"""`costledger outbox create|relay|status`: events that services wrote into their own PostgreSQL transactions."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costledger.deploy.console import JsonOption, print_json, say
from costledger.deploy.context import command_settings, usage_errors

if TYPE_CHECKING:
    from costledger.producers.outbox.table import OutboxTable
    from costledger.schemas.settings import Settings


def _table_option(text: str) -> str:
    from costledger.producers.outbox.statements import check_table_name

    with usage_errors():
        return check_table_name(text)


def _batch_option(text: str) -> int:
    from costledger.producers.outbox.relay import check_batch_rows

    with usage_errors():
        return check_batch_rows(int(text))


DatabaseOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The service's own database. Default: COSTLEDGER_DATABASE_URL, which keeps its password out of the process list.",
    ),
]
TableOption = Annotated[
    str | None,
    typer.Option(
        parser=_table_option,
        metavar="NAME",
        help="Table, with its schema before a dot. Default: COSTLEDGER_OUTBOX_TABLE.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="Events written in a service's own PostgreSQL transactions.")
    group.command()(create)
    group.command()(relay)
    group.command()(status)
    app.add_typer(group, name="outbox", rich_help_panel="Events")


def create(
    database_url: DatabaseOption = None,
    table: TableOption = None,
    print_: Annotated[
        bool, typer.Option("--print", help="Print the SQL for your own migrations; nothing is connected to.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Create the outbox table where it is missing. Can be run again at any time.

    Its schema must exist. The services' role needs INSERT on it; the relay's SELECT, UPDATE and DELETE.
    """
    from costledger.producers.outbox.statements import create_table_text, require_psycopg

    settings = command_settings(**_overrides(database_url, table))
    if print_:
        require_psycopg()
        text = create_table_text(settings.outbox_table)
        if json:
            print_json({"table": settings.outbox_table, "sql": text})
        else:
            print(text, end="")
        return
    with _open(settings) as outbox:
        created = outbox.create()
    if json:
        print_json({"table": settings.outbox_table, "created": created})
    else:
        print(f"{settings.outbox_table} {'created' if created else 'is there already'}")


def relay(
    database_url: DatabaseOption = None,
    table: TableOption = None,
    once: Annotated[
        bool, typer.Option("--once", help="Relay what waits now, and end; exit code 1 where that is not possible.")
    ] = False,
    batch: Annotated[
        int | None,
        typer.Option(parser=_batch_option, metavar="ROWS", help="Rows in one transaction at most. Default: 500."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bring the rows of the outbox to Kafka, and delete each when Kafka has acknowledged it.

    Runs until SIGTERM or Ctrl-C, which end its batch within 10 seconds (exit code 0); waits while PostgreSQL or
    Kafka is away. Several may run side by side. At least once: a repeat has the same event id, and the ledger
    refuses it. Exit code 1: the table is missing or another one, or Kafka refuses rows for good.
    """
    from costledger.deploy.logs import configure_logging
    from costledger.producers.outbox.relay import BATCH_ROWS, Relay

    settings = command_settings(**_overrides(database_url, table))
    worker = Relay(settings, batch_rows=BATCH_ROWS if batch is None else batch)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    if once:
        worker.run_once()
    else:
        configure_logging(settings)
        say(f"relaying {settings.outbox_table} to {settings.topics.events}")
        worker.run()
    refused = worker.refused
    if json:
        print_json({"table": settings.outbox_table, "relayed": worker.relayed, "refused": sorted(refused)})
    else:
        print(f"{worker.relayed} events relayed from {settings.outbox_table}")
        for row_id, reason in sorted(refused.items()):
            print(f"row {row_id} cannot be sent and stays: {reason}")
    raise typer.Exit(1 if refused else 0)


def status(database_url: DatabaseOption = None, table: TableOption = None, json: JsonOption = False) -> None:
    """How many events wait in the outbox, and the age of the oldest, in seconds."""
    settings = command_settings(**_overrides(database_url, table))
    with _open(settings) as outbox:
        waiting = outbox.waiting()
    if json:
        print_json(
            {
                "table": settings.outbox_table,
                "waiting": waiting.rows,
                "oldest_at": waiting.oldest_at,
                "oldest_seconds": round(waiting.oldest_seconds, 3),
            }
        )
    elif waiting.rows:
        print(f"{waiting.rows} events wait in {settings.outbox_table}, the oldest for {waiting.oldest_seconds:.1f} s")
    else:
        print(f"nothing waits in {settings.outbox_table}")


def _overrides(database_url: str | None, table: str | None) -> dict[str, Any]:
    given = {"database_url": database_url, "outbox_table": table}
    return {name: value for name, value in given.items() if value is not None}


def _open(settings: Settings) -> OutboxTable:
    from costledger.producers.outbox.table import OutboxTable

    url = settings.database_url.get_secret_value()
    return OutboxTable(url, settings.outbox_table, settings.database_timeout_seconds)
