"""The command line: which commands there are."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Annotated, Any

import typer

from costledger.deploy.commands import (
    budget,
    deliveries,
    demo,
    emit,
    export,
    imports,
    outbox,
    prices,
    quarantine,
    recommend,
    reconcile,
    report,
    rerate,
    routes,
    schemas,
    setup,
    token,
    up,
    verify,
    workers,
)

_EPILOG = (
    "Settings come from COSTLEDGER_* variables, a .env file or a TOML file: `costledger doctor --settings` lists "
    "them. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C."
)


def command() -> Any:
    """The whole command line, ready to be called with arguments."""
    app = typer.Typer(
        name="costledger",
        help="An event-streaming cost ledger on Kafka: every paid call counted once, budgets watched as it happens.",
        epilog=_EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for group in (
        demo,
        up,
        workers,
        setup,
        token,
        emit,
        imports,
        outbox,
        reconcile,
        verify,
        export,
        rerate,
        quarantine,
        budget,
        prices,
        recommend,
        report,
        routes,
        deliveries,
        schemas,
    ):
        group.register(app)
    return typer.main.get_command(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(version("costledger"))
        raise typer.Exit


def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Log everything; show tracebacks.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if debug:
        os.environ["COSTLEDGER_LOG_LEVEL"] = "DEBUG"
