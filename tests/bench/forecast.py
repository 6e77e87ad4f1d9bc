"""`python -m tests.bench.forecast`, from the project's root: how good the forecast is on generated series.

Prints a table beside the naive run rate and writes `build/forecast.json`. The kinds of series: tests/api/forecasting.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tests.api.forecasting.backtest import Outcome, Summary, run_backtest, summaries

from costledger.deploy.console import JsonOption, print_json, print_table, say

ROOT = Path(__file__).resolve().parents[2]


def main(
    rounds: Annotated[int, typer.Option(min=1, max=10_000, help="Series of each kind for each cut.")] = 60,
    seed: Annotated[int, typer.Option(help="Makes the series.")] = 20_261_124,
    output: Annotated[Path, typer.Option(help="Where the JSON document goes.")] = ROOT / "build" / "forecast.json",
    as_json: JsonOption = False,
) -> None:
    """Back-test the forecast of the running period."""
    outcomes = run_backtest(seed, rounds)
    document = report(outcomes, seed, rounds)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=2) + "\n")
    say(f"written to {output}")
    if as_json:
        print_json(document)
    else:
        print_summaries(summaries(outcomes))
        print(f"\n{len(outcomes)} forecasts, seed {seed}, median {document['call_ms_median']} ms each")  # noqa: T201


def report(outcomes: list[Outcome], seed: int, rounds: int) -> dict[str, object]:
    """The document: one entry for each kind and period."""
    milliseconds = 1000 * np.median([outcome.seconds for outcome in outcomes])
    return {
        "seed": seed,
        "rounds": rounds,
        "forecasts": len(outcomes),
        "call_ms_median": round(float(milliseconds), 2),
        "summaries": [summary.to_dict() for summary in summaries(outcomes)],
    }


def print_summaries(found: list[Summary]) -> None:
    """A table: errors of the forecast and of the run rate in percent, and how often the truth was in the interval."""
    columns = ("kind", "period", "cases", "median", "run rate", "mean", "run rate", "weighted", "run rate", "covered")
    rows = [
        (
            one.kind,
            one.period,
            one.cases,
            *(f"{error:.1f}" for error in one.errors()),
            f"{one.coverage_percent:.0f} %",
        )
        for one in found
    ]
    print_table(columns, rows, title="absolute errors in percent of the truth")


if __name__ == "__main__":
    typer.run(main)
