"""`costledger migrate`, `topics`, `doctor`: make the database and the topics, and say what is wrong."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from costledger.deploy.console import JsonOption, print_json, print_table
from costledger.deploy.context import command_settings

_PANEL = "Setup"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel=_PANEL)(migrate)
    app.command(rich_help_panel=_PANEL)(topics)
    app.command(rich_help_panel=_PANEL)(doctor)


def migrate(json: JsonOption = False) -> None:
    """Create the ledger's schema in the database, or upgrade it. Can be run again at any time.

    The role in COSTLEDGER_DATABASE_URL must own the database, and be a superuser or have CREATEROLE.
    """
    from costledger.sinks.migrations import migrate as apply

    applied = apply(command_settings().database_url.get_secret_value())
    if json:
        print_json({"applied": applied})
    elif applied:
        print("\n".join(f"applied {name}" for name in applied))
    else:
        print("the database is up to date")


def topics(json: JsonOption = False) -> None:
    """Create the topics that are missing, and check those that are there.

    Partitions: COSTLEDGER_PARTITIONS (default 12). Replication: 3, or the number of brokers if smaller. Nothing
    existing is changed: exit code 1 when a topic has other partitions or settings than it needs.
    """
    from costledger.deploy.kafka_topics import check_topics, needed_topics

    settings = command_settings()
    reports = check_topics(settings, needed_topics(settings), create=True)
    ok = not any(report.problems for report in reports)
    if json:
        print_json({"ok": ok, "topics": [asdict(report) for report in reports]})
    else:
        rows = [(r.name, r.state, r.partitions, "; ".join(r.problems)) for r in reports]
        print_table(("topic", "state", "partitions", "problems"), rows)
    raise typer.Exit(0 if ok else 1)


def doctor(
    settings: Annotated[
        bool, typer.Option("--settings", help="Describe every COSTLEDGER_* setting with its default, and stop.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check every dependency and setting, and say what is wrong and what to do. Exit code 1 on a failed check."""
    if settings:
        _describe_settings(json=json)
        return
    from costledger.deploy.checks import run_checks

    checks = run_checks()
    ok = all(check.state != "failed" for check in checks)
    if json:
        print_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        rows = [(check.name, check.state, check.detail, check.remedy) for check in checks]
        print_table(("check", "state", "found", "what to do"), rows)
    raise typer.Exit(0 if ok else 1)


def _describe_settings(*, json: bool) -> None:
    from costledger.deploy.settings_table import described_settings

    described = described_settings()
    if json:
        print_json({"settings": [asdict(each) for each in described]})
    else:
        rows = [(each.variable, each.default, each.description) for each in described]
        print_table(("variable", "default", "meaning"), rows)
