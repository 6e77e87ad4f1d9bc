"""What got slower since another document: ratios against ratios, for absolute figures depend on the machine's day.

Latency has no peer: there the absolute figures are compared, and only what is far worse is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.bench.latency_result import JUDGED_RATE

#: With fewer the range of the runs says nothing.
RUNS_MIN = 3
#: A latency that has grown by more than this share is worse.
LATENCY_GROWTH_MAX = 0.5
_MORE_IS_BETTER = "events/s"
Document = Mapping[str, Mapping[str, Any]]


def compare(previous: str | None, document: Document, which: str = "last document") -> Iterator[str]:
    """Lines for people: what is worse by more than the spread of the runs, or why that cannot be said.

    Worse: each median lies outside the other document's range, on the bad side. `previous` is a document's text, and
    `which` what it is called.
    """
    if previous is None:
        yield f"no {which} to compare with"
        return
    try:
        before = json.loads(previous)
    except json.JSONDecodeError as error:
        yield f"the {which} cannot be compared: {error}"
        return
    compared, latencies, worse, slower = 0, 0, [], []
    for name, entry in document.items():
        of_latency = "rates" in entry
        reason = (_latency_not_comparable if of_latency else _not_comparable)(before.get(name), entry, which)
        if reason:
            yield f"{name} is not compared: {reason}"
        elif of_latency:
            latencies += 1
            slower += [_latency_line(name, before[name], entry)] if is_slower(before[name], entry) else []
        else:
            common = [peer for peer in entry["ratio_to"] if peer in before[name]["ratio_to"]]
            compared += len(common)
            worse += [_line(name, peer, before[name], entry) for peer in common if is_worse(before[name], entry, peer)]
    yield from worse + slower
    yield f"{len(worse)} of {compared} ratios got worse by more than the spread"
    if latencies:
        yield f"{len(slower)} of {latencies} latencies grew by more than {100 * LATENCY_GROWTH_MAX:g} %"


def is_worse(before: Mapping[str, Any], now: Mapping[str, Any], peer: str) -> bool:
    """Whether the ratio to a peer is worse than before by more than the spread of the runs then and now."""
    then_ratio, ratio = before["ratio_to"][peer], now["ratio_to"][peer]
    (then_min, then_max), (now_min, now_max) = before["ratio_range"][peer], now["ratio_range"][peer]
    if now["unit"] == _MORE_IS_BETTER:
        return bool(ratio < then_min and then_ratio > now_max)
    return bool(ratio > then_max and then_ratio < now_min)


def is_slower(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a latency is far longer than before; one that was not seen at all (None) is longer than any."""
    if now["value"] is None or before["value"] is None:
        return before["value"] is not None
    return bool(now["value"] > (1 + LATENCY_GROWTH_MAX) * before["value"])


def _not_comparable(before: Mapping[str, Any] | None, now: Mapping[str, Any], which: str) -> str:
    if before is None:
        return f"the {which} has no such name"
    if before.get("arguments") != now["arguments"]:
        return f"measured with {before.get('arguments')} then, with {now['arguments']} now"
    if min(before["runs"], now["runs"]) < RUNS_MIN:
        return f"it takes {RUNS_MIN} runs to see a spread"
    return ""


def _latency_not_comparable(before: Mapping[str, Any] | None, now: Mapping[str, Any], which: str) -> str:
    """Which other rates were measured does not matter; for how long does."""
    if before is None:
        return f"the {which} has no such name"
    for one, when in ((before, "then"), (now, "now")):
        if "value" not in one or one.get("at_rate") != JUDGED_RATE:
            return f"not measured at {JUDGED_RATE:,} events/s {when}"
    then_seconds, seconds = (one.get("arguments", {}).get("seconds") for one in (before, now))
    return "" if then_seconds == seconds else f"measured for {then_seconds} s then, for {seconds} s now"


def _line(name: str, peer: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    def figures(entry: Mapping[str, Any]) -> str:
        low, high = entry["ratio_range"][peer]
        return f"{entry['ratio_to'][peer]:.2f} ({low:.2f} to {high:.2f})"

    return f"WORSE: {name} to {peer}: {figures(before)} -> {figures(now)}"


def _latency_line(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    times = ["none" if one["value"] is None else f"{one['value']:,.0f} ms" for one in (before, now)]
    return f"WORSE: {name} at {JUDGED_RATE:,} events/s: p99 {times[0]} -> {times[1]}"
