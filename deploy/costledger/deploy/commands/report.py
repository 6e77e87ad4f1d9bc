"""`costledger report`: daily reports and weekly analyses, as the scheduler makes and sends them."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import typer

from costledger.deploy.console import JsonOption, print_json, print_table
from costledger.deploy.context import command_settings, day_option, ledger_connection, usage_errors

FormatOption = Annotated[
    Literal["text", "html", "json", "csv"],
    typer.Option("--format", help="text and html for people (rounded), json and csv for machines (every digit)."),
]
RefreshOption = Annotated[
    bool, typer.Option("--refresh", help="Make it anew and store it as the next revision; nothing is sent.")
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(no_args_is_help=True, help="Daily reports and weekly analyses: the ones that are sent.")
    group.command()(daily)
    group.command()(weekly)
    group.command("list")(list_)
    app.add_typer(group, name="report", rich_help_panel="Prices and budgets")


def daily(
    day: Annotated[
        date | None,
        typer.Option(
            "--date",
            parser=day_option,
            metavar="DAY",
            help="The day that it is about, in the zone of COSTLEDGER_JOBS_TIME_ZONE. Default: the newest that is due.",
        ),
    ] = None,
    form: FormatOption = "text",
    refresh: RefreshOption = False,
    json: JsonOption = False,
) -> None:
    """What a day cost: users, operations, total, average, maximum, by service; against the day before and the usual.

    A stored report is shown as it was made. Otherwise it is made now, and stored if it is due (the day after, at
    COSTLEDGER_REPORT_DAILY_AT) and the ledger has everything that Kafka had received by the end of the day.
    """
    _show("daily", day, "json" if json else form, refresh=refresh)


def weekly(
    day: Annotated[
        date | None,
        typer.Option(
            "--date",
            parser=day_option,
            metavar="DAY",
            help="The day after the seven that it is about: 2026-11-23 is about the 16th to the 22nd. Default: the "
            "newest that is due.",
        ),
    ] = None,
    form: FormatOption = "text",
    refresh: RefreshOption = False,
    json: JsonOption = False,
) -> None:
    """What the seven days before a date cost, and which users are above COSTLEDGER_REPORT_FILE_LIMIT_USD per file.

    A file is what the events' metadata names under COSTLEDGER_REPORT_FILE_METADATA_KEY (file_id): each counted once.
    """
    _show("weekly", day, "json" if json else form, refresh=refresh)


def list_(
    kind: Annotated[Literal["daily", "weekly"] | None, typer.Option(help="Only this kind.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 30,
    json: JsonOption = False,
) -> None:
    """The reports that are stored."""
    from costledger.sinks.reports import ReportKind, list_reports

    settings = command_settings()
    with ledger_connection(settings, "report") as connection:
        found = list_reports(connection, None if kind is None else ReportKind(kind), limit)
    if json:
        print_json({"reports": found})
        return
    print_table(
        ("kind", "date", "zone", "total USD", "complete", "revision", "made at"),
        [
            (one.kind, one.date, one.time_zone, one.total, "yes" if one.complete else "no", one.revision, one.made_at)
            for one in found
        ],
    )


def _show(
    kind: Literal["daily", "weekly"], day: date | None, form: Literal["text", "html", "json", "csv"], *, refresh: bool
) -> None:
    import time

    from costledger.sinks.reports import ReportKind, Schedule, get_report, report_period
    from costledger.sinks.reports.rendering import render
    from costledger.sinks.reports.store import open_redis

    settings = command_settings()
    now_us = time.time_ns() // 1000
    wanted = ReportKind(kind)
    with usage_errors():
        schedule = Schedule.of(settings)
        newest = schedule.latest(wanted, now_us)
        period = newest if day is None else report_period(wanted, day, settings.jobs_time_zone)
    client = open_redis(settings)
    try:
        with ledger_connection(settings, "report") as connection, usage_errors():
            stored = get_report(connection, client, settings, period, now_us, refresh=refresh)
    finally:
        client.close()
    print(render(stored, form), end="")
