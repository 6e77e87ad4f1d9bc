"""`costledger verify`: prove that no entry of the ledger was changed, removed or added since it was sealed."""

from __future__ import annotations

import json as json_format
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from costledger.deploy.console import JsonOption, print_json, print_table, row_progress, say
from costledger.deploy.context import command_settings, ledger_connection, usage_errors

if TYPE_CHECKING:
    from costledger.schemas.settings import Settings
    from costledger.sinks.chain import ChainReport, VerifyReport
    from costledger.sinks.chain.heads import Heads
    from costledger.sinks.database import Connection

_HASH_SHOWN: Final = 16
_PARTITION_MAX: Final = 1023


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Ledger")(verify)


def verify(
    seal: Annotated[
        bool, typer.Option("--seal", help="Seal first what is committed and in no block yet, as the scheduler does.")
    ] = False,
    partition: Annotated[
        list[int] | None,
        typer.Option(min=0, max=_PARTITION_MAX, metavar="N", help="Only this partition; may be given several times."),
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Heads that were saved before: each must still be in its chain, or the chain was written anew.",
            show_default=False,
        ),
    ] = None,
    save_heads: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the heads there when nothing was found. Keep it where the database's owner cannot change it.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check the hash chain of the ledger: every block against the one before it and against the entries of today.

    Names each entry that was changed, removed or added since it was sealed, with exit code 1. Entries that are not
    sealed yet are told, and are no finding; nor can an owner of the database who writes a whole chain anew be found
    out without --heads.
    """
    from costledger.deploy.signals import termination_raised
    from costledger.sinks.chain.heads import read_heads

    saved: Heads | None = None
    if heads is not None:
        with usage_errors():
            saved = read_heads(heads)
    settings = command_settings()
    with termination_raised(), closing(ledger_connection(settings, "verify")) as connection:
        if seal:
            _seal(connection, settings)
        report = _verify(connection, partition or [], saved)
    if unknown := {*(partition or ())} - {chain.partition for chain in report.chains}:
        raise typer.BadParameter(f"--partition: the ledger has no partition {', '.join(map(str, sorted(unknown)))}")
    if json:
        print_json(report.to_dict())
    else:
        show(report)
    if save_heads is not None:
        _save(report, save_heads)
    raise typer.Exit(0 if report.ok else 1)


def _seal(connection: Connection, settings: Settings) -> None:
    from costledger.sinks.chain import seal

    with row_progress("sealing") as progress:
        sealed = seal(connection, settings.topics.events, progress=lambda rows: progress(rows, rows))
    say(f"{sealed} entries sealed")


def _verify(connection: Connection, partitions: list[int], heads: Heads | None) -> VerifyReport:
    from costledger.sinks.chain import verify

    with row_progress("verifying") as progress:
        return verify(connection, partitions=partitions, heads=heads, progress=progress)


def _save(report: VerifyReport, path: Path) -> None:
    from costledger.sinks.chain.heads import heads_document
    from costledger.sinks.export import file_output

    if not report.ok:
        say(f"the heads are not written to {path}: they would vouch for what was found")
        return
    with usage_errors(), file_output(path) as destination:
        destination.write(json_format.dumps(heads_document(report), indent=2).encode() + b"\n")
    say(f"heads written to {path}")


def show(report: VerifyReport) -> None:
    """The report for people, on stdout."""
    several = len({chain.topic for chain in report.chains}) > 1
    columns = (
        "topic",
        "partition",
        "blocks",
        "entries",
        "sealed up to",
        "sealed at",
        "unsealed",
        "oldest of them",
        "head",
    )
    print_table(columns, [_row(chain, several) for chain in report.chains], title="hash chains of the ledger")
    print()
    for one in report.findings:
        place = f"{one.topic} partition {one.partition}"
        offset = "" if one.offset is None else f" offset {one.offset}"
        event = "" if one.event_id is None else f" event {one.event_id}"
        print(f"  {one.kind}: {place}{offset}{event}: {one.text}")
    hidden = sum(report.counts.values()) - len(report.findings)
    if hidden > 0:
        print(f"  and {hidden} more")
    print(verdict(report))


def verdict(report: VerifyReport) -> str:
    """The result in one line; where nothing is sealed it does not say that anything is proven."""
    if report.ok and not report.total("blocks"):
        return f"nothing is sealed, so nothing is proven: {report.total('unsealed')} entries not sealed yet"
    sealed = (
        f"{report.total('rows')} entries in {report.total('blocks')} blocks, {report.total('unsealed')} not sealed yet"
    )
    if report.ok:
        return f"the chain holds: {sealed}"
    counts = ", ".join(f"{kind} {number}" for kind, number in sorted(report.counts.items()))
    return f"the chain is BROKEN: {counts}; {sealed}"


def _row(chain: ChainReport, several: bool) -> tuple[object, ...]:
    return (
        chain.topic if several else None,
        chain.partition,
        chain.blocks,
        chain.rows,
        chain.sealed_offset,
        _time(chain.sealed_at),
        chain.unsealed,
        _time(chain.oldest_unsealed_at),
        chain.head[:_HASH_SHOWN],
    )


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else f"{instant:%Y-%m-%dT%H:%M:%SZ}"
