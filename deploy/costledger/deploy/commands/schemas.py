"""`costledger schemas check`: are the Avro schemas compatible with every release."""

from __future__ import annotations

import typer

from costledger.deploy.console import JsonOption, print_json


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="The Avro schemas of the topics.")
    group.command()(check)
    group.callback()(_group)
    app.add_typer(group, name="schemas", rich_help_panel="Setup")


def _group() -> None:
    """The Avro schemas of the topics."""


def check(json: JsonOption = False) -> None:
    """Check that old readers read new data and new readers old data, for every released version.

    Exit code 1 when a change would break one of them.
    """
    from costledger.schemas.compatibility import NAMES, check_all

    problems = check_all()
    if json:
        rows = [
            {"schema": p.name, "version": p.version, "direction": p.direction, "reason": p.reason} for p in problems
        ]
        print_json({"ok": not problems, "schemas": list(NAMES), "problems": rows})
    else:
        for problem in problems:
            print(problem)
        if not problems:
            print(f"compatible with every release: {', '.join(NAMES)}")
    raise typer.Exit(1 if problems else 0)
