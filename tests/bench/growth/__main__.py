"""`python -m tests.bench.growth`, from the project's root: how cost grows. What the figures mean: ../BENCHMARKS.md.

Starts Apache Kafka, PostgreSQL and Redis in a temporary directory, measures the curves asked for, and writes their rows to
`build/growth.json`, beside those of earlier runs, and a plot of all rows of each curve.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from tests.bench.__main__ import load_average
from tests.bench.growth import api, ledger, scale, users
from tests.bench.growth.curves import Curve, Machine, Row, merged
from tests.bench.growth.drawing import draw
from tests.fixtures.git import commit_of

from costledger.deploy.console import print_table, say
from costledger.deploy.stack import Stack

ROOT = Path(__file__).resolve().parents[3]
_EVENTS_HELP = f"Events over which a rate is taken. Default: {scale.EVENTS:,} for scale, {ledger.EVENTS:,} for ledger."
_RUNS_HELP = f"Runs of each rate; medians are told. Default: {scale.RUNS} for scale and ledger, {api.RUNS} for api."
CURVES = {curve.name: curve for curve in (users.CURVE, scale.CURVE, ledger.CURVE, api.CURVE)}


class CurveName(StrEnum):
    """The curves that can be asked for."""

    USERS = "users"
    SCALE = "scale"
    LEDGER = "ledger"
    API = "api"


@dataclass(frozen=True)
class _Sizes:
    """The points of every curve, how many events a rate is taken over, and how often; None: as the curve has it."""

    users: Sequence[int]
    ledger_rows: Sequence[int]
    ledger_days: int
    api_rows: Sequence[int]
    workers: Sequence[int]
    partitions: Sequence[int]
    events: int | None
    runs: int | None


def main(
    curve: Annotated[list[CurveName], typer.Option(help="Which curve; may be given again. Default: all.")] = [],  # noqa: B006 - typer copies it
    users_: Annotated[list[int], typer.Option("--users", min=1, help="Users of a point.")] = list(users.SIZES),  # noqa: B006
    ledger_rows: Annotated[list[int], typer.Option(min=0, help="Entries of a point.")] = list(ledger.SIZES),  # noqa: B006
    ledger_days: Annotated[
        int, typer.Option(min=1, max=3660, help="Days over which its entries are spread.")
    ] = ledger.DAYS,
    api_rows: Annotated[list[int], typer.Option(min=1, help="Entries of the larger ledger.")] = list(api.SIZES),  # noqa: B006
    workers: Annotated[list[int], typer.Option(min=1, help="Workers of a point.")] = list(scale.WORKERS),  # noqa: B006
    partitions: Annotated[list[int], typer.Option(min=1, help="Partitions of a point.")] = list(scale.PARTITIONS),  # noqa: B006
    events: Annotated[int | None, typer.Option(min=1_000, help=_EVENTS_HELP)] = None,
    runs: Annotated[int | None, typer.Option(min=1, max=100, help=_RUNS_HELP)] = None,
    seed: Annotated[int, typer.Option(help="Makes users, services and amounts.")] = 20_261_129,
    output: Annotated[Path, typer.Option(help="The document; its other rows are kept.")] = ROOT
    / "build"
    / "growth.json",
    figures: Annotated[Path, typer.Option(help="Where the plots go.")] = ROOT / "build" / "growth",
) -> None:
    """Measure how memory, recovery, rates and the API's times grow, point by point."""
    wanted = [str(name) for name in (curve or list(CurveName))]
    sizes = _Sizes(users_, ledger_rows, ledger_days, api_rows, workers, partitions, events, runs)
    document: dict[str, Any] = json.loads(output.read_text()) if output.exists() else {}
    with tempfile.TemporaryDirectory(prefix="costledger-growth-") as name:
        folder = Path(name)
        with Stack(folder / "services", broker="apache", on_progress=say) as stack:
            machine = Machine(stack.environment(), folder, seed, say)
            for each in wanted:
                say(f"{each} (load average {load_average()})")
                keep(CURVES[each], measured(each, machine, sizes), document, output, figures)
    for each in wanted:
        show(CURVES[each], document[each])
    say(f"written to {output} and {figures}")


def measured(name: str, machine: Machine, sizes: _Sizes) -> Iterator[Row]:
    """The rows of a curve, as they are measured."""
    match name:
        case "users":
            yield from users.measure(machine, sizes.users)
        case "scale":
            events, runs = sizes.events or scale.EVENTS, sizes.runs or scale.RUNS
            yield from scale.measure(machine, sizes.workers, sizes.partitions, events, runs)
        case "ledger":
            events, runs = sizes.events or ledger.EVENTS, sizes.runs or ledger.RUNS
            yield from ledger.measure(machine, sizes.ledger_rows, events, runs, sizes.ledger_days)
        case _:
            yield from api.measure(machine, sizes.api_rows, sizes.runs or api.RUNS)


def keep(curve: Curve, rows: Iterable[Row], document: dict[str, list[Row]], output: Path, figures: Path) -> None:
    """Add the rows to the document, which is written after each: what comes later may fail, and points take long."""
    for row in rows:
        stamped = {
            **row,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "load": load_average(),
            "commit": commit_of(ROOT),
        }
        document[curve.name] = merged(curve.keys, document.get(curve.name, []), [stamped])
        write(document, output, figures)


def write(document: dict[str, list[Row]], output: Path, figures: Path) -> None:
    """The document, and the plots of all its curves."""
    output.parent.mkdir(parents=True, exist_ok=True)
    figures.mkdir(parents=True, exist_ok=True)
    written = output.with_suffix(".new")
    written.write_text(json.dumps(document, indent=2) + "\n")
    written.replace(output)
    for name, rows in document.items():
        plots = {file: plot for file, plot in CURVES[name].plots(rows).items() if plot.has_points()}
        for file, plot in plots.items():
            (figures / f"{file}.svg").write_text(draw(plot))


def show(curve: Curve, rows: Sequence[Row]) -> None:
    """The rows as a table."""
    say(curve.name)
    compared = curve.compared(rows)
    columns = list(dict.fromkeys(column for row in compared for column in row))
    cells = [tuple(str(row.get(column, "")) for column in columns) for row in compared]
    print_table(tuple(columns), cells)
    for line in curve.verdicts(compared):
        say(line)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
