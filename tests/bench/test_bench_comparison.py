"""What is said of two documents: only what is worse by more than the spread of the runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.bench.__main__ import finish
from tests.bench.aims import judged, judged_value
from tests.bench.comparison import compare, replace_document
from tests.bench.rates import Result


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


def test_the_last_document_is_kept(tmp_path: Path) -> None:
    """Beside the new one, and only the last; what was not measured again stays, unless nobody can read it."""
    output = tmp_path / "build" / "bench.json"
    assert replace_document(output, {"a": {}}) is None
    assert json.loads(replace_document(output, {"b": {}}) or "") == {"a": {}}
    replace_document(output, {"a": {"value": 2}})
    assert json.loads(output.read_text()) == {"a": {"value": 2}, "b": {}}
    assert json.loads((output.parent / "bench.previous.json").read_text()) == {"a": {}, "b": {}}
    output.write_text("half a docu")
    assert replace_document(output, {"c": {}}) == "half a docu"
    assert json.loads(output.read_text()) == {"c": {}}
    assert sorted(path.name for path in output.parent.iterdir()) == ["bench.json", "bench.previous.json"]


def test_a_peer_without_a_rate_is_in_table_and_document_and_a_failed_one_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be installed is said; a run that failed is an error besides."""
    output = tmp_path / "bench.json"
    values = {"ours": [2.0], "peer": [1.0]}
    result = Result("ours", "events/s", 0, values, unavailable={"gone": "no wheel"})
    finish([(result, {})], output, as_json=False)
    assert "no wheel" in capsys.readouterr().out
    result = Result("ours", "events/s", 0, values, failed={"broken": "a wrong sum\nand its log"})
    with pytest.raises(typer.Exit) as ended:
        finish([(result, {})], output, as_json=False)
    assert ended.value.exit_code == 1
    assert json.loads(output.read_text())["ours"]["without_rate"] == {"broken": "a wrong sum\nand its log"}
    printed = capsys.readouterr().out
    assert "a wrong sum" in printed
    assert "and its log" not in printed


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
