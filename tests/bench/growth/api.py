"""Curve `api`: the API's 95th percentiles by the size of the ledger that it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tests.bench.bench_api import TENTH, ApiBench
from tests.bench.growth.curves import Curve, Machine, Row, series
from tests.bench.growth.drawing import Plot

SIZES: Final = (20_000_000,)
DAYS: Final = 395


def measure(machine: Machine, sizes: Sequence[int], runs: int) -> Iterator[Row]:
    """Two rows for each size: every benchmark of the API reads a ledger of this size and one of a tenth."""
    for size in sizes:
        bench = ApiBench(
            machine.services, machine.folder, events=size, days=DAYS, runs=runs, seed=machine.seed, say=machine.say
        )
        result = bench.measure()
        for name, key in (("api_p95", "p95"), (TENTH, "tenth_p95")):
            times = {route: round(found[key], 1) for route, found in result.routes.items()}
            yield {"rows": result.events[name], "slowest_ms": max(times.values()), **times}


def _plots(rows: Sequence[Row]) -> dict[str, Plot]:
    routes = [name for name in rows[0] if name not in ("rows", "slowest_ms")]
    shown = {"slowest route": series(rows, "rows", "slowest_ms")}
    shown |= {route: series(rows, "rows", route) for route in routes if "heavy" not in route}
    return {"api_p95": Plot("95th percentiles of the API, ms", "entries", shown, is_logarithmic=True)}


CURVE: Final = Curve("api", ("rows",), _plots)
