"""What is said of two documents: only what is worse by more than the spread of the runs."""

from __future__ import annotations

import json
from typing import Any

from tests.bench.aims import judged, judged_value
from tests.bench.comparison import LATENCY_GROWTH_MAX, compare
from tests.bench.latency_result import JUDGED_RATE


def entry(
    ratio: float, low: float, high: float, unit: str = "events/s", runs: int = 5, events: int = 1
) -> dict[str, Any]:
    """One name of a document, with one peer."""
    return {
        "unit": unit,
        "runs": runs,
        "ratio_to": {"peer": ratio},
        "ratio_range": {"peer": [low, high]},
        "arguments": {"events": events},
    }


def said(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The lines of the comparison of two entries of one name."""
    return list(compare(json.dumps({"stream": before}), {"stream": now}))


def test_a_ratio_beyond_the_spread_is_worse() -> None:
    """Both medians lie outside the other's range."""
    lines = said(entry(0.8, 0.7, 0.9), entry(0.5, 0.4, 0.6))
    assert lines == [
        "WORSE: stream to peer: 0.80 (0.70 to 0.90) -> 0.50 (0.40 to 0.60)",
        "1 of 1 ratios got worse by more than the spread",
    ]


def test_a_ratio_within_the_spread_is_not_worse() -> None:
    """Whichever of the two runs had the spread."""
    assert said(entry(0.8, 0.4, 0.9), entry(0.5, 0.4, 0.6)) == ["0 of 1 ratios got worse by more than the spread"]
    assert said(entry(0.8, 0.7, 0.9), entry(0.5, 0.4, 0.85)) == ["0 of 1 ratios got worse by more than the spread"]


def test_a_better_ratio_is_not_worse() -> None:
    """More events a second than the peer, and less cost than the peer."""
    assert said(entry(0.5, 0.4, 0.6), entry(0.8, 0.7, 0.9))[-1].startswith("0 of 1")
    assert said(entry(1.8, 1.7, 1.9, "ms"), entry(1.5, 1.4, 1.6, "ms"))[-1].startswith("0 of 1")


def test_where_ours_costs_more_is_worse() -> None:
    """CPU and milliseconds: the larger ratio is the worse one."""
    assert said(entry(1.5, 1.4, 1.6, "us CPU/event"), entry(1.8, 1.7, 1.9, "us CPU/event"))[0].startswith("WORSE")


def test_other_arguments_few_runs_and_old_documents_are_not_compared() -> None:
    """And that is said."""
    assert "measured with" in said(entry(0.8, 0.7, 0.9, events=2), entry(0.5, 0.4, 0.6))[0]
    assert "3 runs" in said(entry(0.8, 0.8, 0.8, runs=1), entry(0.5, 0.5, 0.5))[0]
    assert "measured with" in said({"unit": "events/s", "runs": 5, "ratio_to": {}}, entry(0.5, 0.5, 0.5))[0]
    assert "no such name" in next(iter(compare("{}", {"stream": entry(0.5, 0.5, 0.5)})))
    assert list(compare(None, {})) == ["no last document to compare with"]
    assert "cannot be compared" in next(iter(compare("half a docu", {})))


def latency(value: float | None, seconds: float = 30, rates: tuple[int, ...] = (JUDGED_RATE,)) -> dict[str, Any]:
    """An entry of latency, of one run."""
    found: dict[str, Any] = {"unit": "ms", "runs": 1, "ratio_to": {}, "rates": {str(rate): {} for rate in rates}}
    if JUDGED_RATE in rates:
        found |= {"value": value, "at_rate": JUDGED_RATE}
    return {**found, "arguments": {"seconds": seconds, "rates": list(rates)}}


def test_a_latency_that_grew_by_more_than_half_is_worse() -> None:
    """Of one run, since there is no ratio; what was not seen is longer than any, and no longer than what was not seen before."""
    limit = 400 * (1 + LATENCY_GROWTH_MAX)
    assert said(latency(400.0), latency(limit))[-1] == "0 of 1 latencies grew by more than 50 %"
    worse = said(latency(400.0), latency(limit + 1, rates=(1_000, JUDGED_RATE)))
    assert worse[0] == "WORSE: stream at 5,000 events/s: p99 400 ms -> 601 ms"
    assert worse[-1] == "1 of 1 latencies grew by more than 50 %"
    assert said(latency(400.0), latency(None))[0].endswith("400 ms -> none")
    assert said(latency(None), latency(None))[-1].startswith("0 of 1 latencies")
    assert said(latency(None), latency(400.0))[-1].startswith("0 of 1 latencies")


def test_latency_at_other_rates_or_for_other_times_is_not_compared() -> None:
    """A 99th percentile at one rate says nothing of another; neither do a few seconds of a minute."""
    elsewhere = latency(None, rates=(20_000,))
    assert said(latency(400.0), elsewhere)[0] == "stream is not compared: not measured at 5,000 events/s now"
    assert said(elsewhere, latency(400.0))[0] == "stream is not compared: not measured at 5,000 events/s then"
    at_another_rate = {**latency(400.0), "at_rate": 20_000}
    assert "at 5,000 events/s then" in said(at_another_rate, latency(400.0))[0]
    assert "for 30 s then, for 3 s now" in said(latency(400.0), latency(900.0, seconds=3))[0]


def test_what_it_is_compared_with_is_named() -> None:
    """The last document, or the one that is kept."""
    assert list(compare(None, {}, "kept document")) == ["no kept document to compare with"]
    now = {"stream": entry(0.5, 0.5, 0.5)}
    assert (
        next(iter(compare("{}", now, "kept document"))) == "stream is not compared: the kept document has no such name"
    )


def test_aims_are_judged() -> None:
    """More is better of rates, less of costs and times; what has no aim is not judged."""
    assert judged("stream", "raw_aiokafka", 0.7) == "0.7"
    assert judged("stream", "raw_aiokafka", 0.69) == "0.7: missed"
    assert judged("sdk_spool", "encode_and_produce", 3.0) == "at most 3"
    assert judged("sdk_spool", "encode_and_produce", 3.01) == "at most 3: missed"
    assert judged("stream", "raw_confluent", 0.1) == ""
    assert judged_value("sdk_call_p99", 100.0) == "ours at most 100"
    assert judged_value("sdk_call_p99", 100.1) == "ours at most 100: missed"
    assert judged_value("latency_alert", None) == "ours at most 1000: missed"
    assert judged_value("stream", 1.0) == ""
