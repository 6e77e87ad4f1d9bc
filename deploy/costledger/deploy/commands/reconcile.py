"""`costledger reconcile`: prove that topic, ledger, roll-ups and Redis agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from costledger.deploy.console import JsonOption, print_json, print_table, say
from costledger.deploy.context import command_settings

if TYPE_CHECKING:
    from costledger.sinks.reconcile import Report


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Ledger")(reconcile)


def reconcile(
    wait: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Let the sink catch up with the topic first, so long at most."),
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Compare the topic, the ledger, its roll-ups and the totals in Redis to the last 1e-12 USD.

    Exit code 1 on any difference, and when --wait was given and the sink has still not caught up. What the
    sink has not read yet is lag, not a difference.
    """
    from costledger.schemas.registry import use_registry
    from costledger.sinks.reconcile import reconcile as compare

    settings = command_settings()
    use_registry(settings)
    report = compare(settings, say, wait_seconds=wait)
    behind = wait > 0 and report.total("lag") > 0
    if json:
        print_json(report.to_dict())
    else:
        show(report)
        if behind:
            print(f"the sink has not caught up within {wait:g} s")
    raise typer.Exit(0 if report.ok and not behind else 1)


def show(report: Report) -> None:
    """The report for people, on stdout."""
    columns = (
        "partition",
        "watermark",
        "topic end",
        "lag",
        "missing",
        "inserted",
        "duplicates",
        "quarantined",
        "gaps",
        "unpriced",
    )
    rows = [
        (
            one.partition,
            one.next_offset,
            one.high_watermark,
            one.lag,
            one.missing,
            one.inserted,
            one.duplicates,
            one.quarantined,
            one.skipped,
            one.unpriced,
        )
        for one in report.partitions
    ]
    print_table(columns, rows, title=f"{report.topic}: offsets in the ledger")
    print()
    checks = [(one.meaning, one.compared, one.differences, one.difference_picodollars) for one in report.checks]
    print_table(("compared", "items", "differences", "difference, 1e-12 USD"), checks)
    for check in report.checks:
        for example in check.examples:
            print(f"  {check.name}: {example}")
    for line in not_compared(report):
        print(line)
    print()
    print(verdict(report))


def not_compared(report: Report) -> list[str]:
    """A line for each kind of entries that nothing could be compared with."""
    lines = [
        f"  not compared: {entries} entries of topic {topic}"
        for topic, entries in sorted(report.uncompared.other_topics.items())
    ]
    if report.uncompared.earlier:
        lines.append(
            f"  not compared: {report.uncompared.earlier} entries from before the sink's positions (an earlier topic of this name)"
        )
    if report.uncompared.passed_again:
        lines.append(f"  counted twice: {report.uncompared.passed_again} offsets (somebody has set a position back)")
    return lines


def verdict(report: Report) -> str:
    """The result in one line."""
    found = "everything agrees" if report.ok else "there are DIFFERENCES"
    return (
        f"{found}: {report.total('inserted')} entries, {report.total('duplicates')} duplicates, "
        f"{report.total('quarantined')} quarantined, {report.total('skipped')} gaps, {report.total('unpriced')} unpriced, "
        f"{report.total('missing')} missing, lag {report.total('lag')}, "
        f"difference {report.difference_picodollars} × 1e-12 USD"
    )
