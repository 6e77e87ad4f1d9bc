"""Curve `api`: the API's 95th percentiles by the size of the ledger that it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tests.bench.bench_api import TENTH, ApiBench
from tests.bench.growth.curves import STAMPS, Curve, Machine, Row, series
from tests.bench.growth.drawing import Plot

#: With their tenths four points. A ledger of 13 months has 427,000 entries at least: those of the heavy users.
SIZES: Final = (5_000_000, 20_000_000)
DAYS: Final = 395
RUNS: Final = 5
_FIGURES: Final = ("rows", "entries", "slowest_ms")


def measure(machine: Machine, sizes: Sequence[int], runs: int) -> Iterator[Row]:
    """Two rows for each size: every benchmark of the API reads a ledger of this size and one of a tenth."""
    for size in sizes:
        bench = ApiBench(
            machine.services, machine.folder, events=size, days=DAYS, runs=runs, seed=machine.seed, say=machine.say
        )
        result = bench.measure()
        for rows, name, key in ((size, "api_p95", "p95"), (size // 10, TENTH, "tenth_p95")):
            times = {route: round(found[key], 1) for route, found in result.routes.items()}
            yield {"rows": rows, "entries": result.events[name], "slowest_ms": max(times.values()), **times}


def _plots(rows: Sequence[Row]) -> dict[str, Plot]:
    routes = [name for name in rows[0] if name not in (*_FIGURES, *STAMPS)]
    shown = {"slowest route": series(rows, "rows", "slowest_ms")}
    shown |= {route: series(rows, "rows", route) for route in routes if "heavy" not in route}
    title = "95th percentiles of the API by the size of the ledger"
    return {"api_p95": Plot(title, "entries", shown, is_logarithmic=True, y_title="ms")}


CURVE: Final = Curve("api", ("rows",), _plots)
