"""The tables that a run of the benchmarks prints: peers, latency, routes of the API."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.aims import judged, judged_value
from tests.bench.bench_api import ROUTE_COLUMNS, ApiResult
from tests.bench.latency_result import COLUMNS as LATENCY_COLUMNS
from tests.bench.latency_result import CPU_COLUMNS, JUDGED_RATE, LatencyResult
from tests.bench.rates import Result

from costledger.deploy.console import print_table, say

COLUMNS = ("name", "unit", "ours", "peer", "peer's", "ratio", "pairs", "aim")
#: In the table; the document has the whole reason.
_REASON_CHARS_MAX = 60


def print_results(results: Sequence[Result]) -> None:
    """A line for each peer, with the median ratio and the range of the pairs of runs; then latency, then routes."""
    rows = [row for result in results for row in peer_rows(result)]
    if rows:
        print_table(COLUMNS, rows)
    latency = [result for result in results if isinstance(result, LatencyResult)]
    if latency:
        print_table(LATENCY_COLUMNS, [row for result in latency for row in result.rows()])
        print_table(CPU_COLUMNS, [run.cpu_row() for run in latency[0].runs])
    for one in latency:
        say(f"{one.name}: {latency_aim(one)}")
    for result in results:
        if isinstance(result, ApiResult):
            print_table(ROUTE_COLUMNS, result.rows())


def peer_rows(result: Result) -> list[tuple[str, ...]]:
    """The lines of the peers that it is compared to, and of those that have no rate."""
    entry = result.entry()
    value = entry.get("value")
    ours = (result.name, result.unit, "none" if value is None else f"{value:,}")
    rows: list[tuple[str, ...]] = []
    for peer in result.peers:
        ratios, ratio = result.ratios(peer), entry["ratio_to"][peer]
        aim = judged(result.name, peer, ratio) or judged_value(result.name, value)
        pairs = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append((*ours, peer, f"{entry['peers'][peer]:,}", f"{ratio:.2f}", pairs, aim))
    for peer, reason in result.without_rate.items():
        rows.append((*ours, peer, "none", "none", reason.splitlines()[0][:_REASON_CHARS_MAX], ""))
    return rows


def latency_aim(result: LatencyResult) -> str:
    """The aim and whether it is met; it is that of one rate."""
    if result.judged is None:
        return f"not measured at {JUDGED_RATE:,} events/s"
    return judged_value(result.name, result.entry()["value"])
