"""The document of a run: what it has after each benchmark, what it keeps, and what is printed of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from tests.bench import __main__ as bench
from tests.bench import benchmarks
from tests.bench.__main__ import ROOT, entries, finish, own_entry
from tests.bench.benchmarks import Part, Place, Plan
from tests.bench.document import BenchDocument, merged_entry, origins
from tests.bench.latencies import Figures
from tests.bench.latency_result import JUDGED_RATE, LatencyRun, results_of
from tests.bench.peers.catalogue import Installed
from tests.bench.rates import Result
from tests.bench.tables import latency_aim, peer_rows
from tests.fixtures.git import commit_of


def read(path: Path) -> Any:
    """What a document says."""
    return json.loads(path.read_text())


def test_every_benchmark_is_written_as_soon_as_it_is_done(tmp_path: Path) -> None:
    """What was there before the run stays, and is kept as the last document, whatever the run adds later."""
    output = tmp_path / "build" / "bench.json"
    first = BenchDocument(output)
    assert first.previous is None
    first.add({"a": {"value": 1}})
    first.add({"b": {"value": 1}})
    assert read(output) == {"a": {"value": 1}, "b": {"value": 1}}
    assert [path.name for path in output.parent.iterdir()] == ["bench.json"]
    second = BenchDocument(output)
    second.add({"a": {"value": 2}})
    assert read(output) == {"a": {"value": 2}, "b": {"value": 1}}
    second.add({"c": {"value": 2}})
    assert read(output) == {"a": {"value": 2}, "b": {"value": 1}, "c": {"value": 2}}
    assert json.loads(second.previous or "") == read(output.with_suffix(".previous.json"))
    assert read(output.with_suffix(".previous.json")) == {"a": {"value": 1}, "b": {"value": 1}}
    assert second.measured == {"a": {"value": 2}, "c": {"value": 2}}
    assert sorted(path.name for path in output.parent.iterdir()) == ["bench.json", "bench.previous.json"]


def test_a_document_that_nobody_can_read_is_kept_as_it_is(tmp_path: Path) -> None:
    """The new one begins without it."""
    output = tmp_path / "bench.json"
    output.write_text("half a docu")
    document = BenchDocument(output)
    document.add({"c": {}})
    assert read(output) == {"c": {}}
    assert output.with_suffix(".previous.json").read_text() == document.previous == "half a docu"


def test_a_run_that_measures_nothing_changes_nothing(tmp_path: Path) -> None:
    """It failed before its first benchmark was done."""
    output = tmp_path / "bench.json"
    output.write_text("{}")
    BenchDocument(output)
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_other_rates_of_latency_stay_and_so_does_the_value() -> None:
    """A run without the judged rate has no value to put in its place; one with it has."""
    before = {"value": 700.0, "at_rate": JUDGED_RATE, "at": "then", "rates": {"1000": {"p99": 1}, "5000": {"p99": 700}}}
    other = {"at": "now", "rates": {"1000": {"p99": 2}, "20000": {"p99": 3}}}
    rates = {"1000": {"p99": 2}, "5000": {"p99": 700}, "20000": {"p99": 3}}
    assert merged_entry(before, other) == {**before, "rates": rates}
    judged = {"value": 800.0, "at_rate": JUDGED_RATE, "at": "now", "rates": {"5000": {"p99": 800}}}
    assert merged_entry(before, judged) == {**judged, "rates": {"1000": {"p99": 1}, "5000": {"p99": 800}}}
    assert merged_entry(None, other) == other
    # As documents once were: the value of the highest rate.
    assert "value" not in merged_entry({**before, "at_rate": 20_000}, other)
    assert merged_entry({"value": 1, "runs": 5}, {"value": 2}) == {"value": 2}


def latency_run(rate: int, p99_ms: float | None) -> LatencyRun:
    """A run with one name."""
    unseen = 10 if p99_ms is None else 0
    return LatencyRun(rate, float(rate), 2.0, 0, {}, {"latency_ledger": Figures(rate, 10, unseen, p99_ms, p99_ms, 0.0)})


def test_each_rate_has_its_own_origin() -> None:
    """It may stay beside others of another day, which were measured for another time."""
    (result,) = results_of([latency_run(1_000, 5.0)])
    (entry,) = entries([result], {"seconds": 30, "rates": [1_000]}, "abc").values()
    assert (entry["commit"], entry["arguments"]) == ("abc", {"seconds": 30, "rates": [1_000]})
    assert entry["rates"]["1000"]["seconds"] == 30
    assert (entry["rates"]["1000"]["commit"], entry["rates"]["1000"]["at"]) == ("abc", entry["at"])


def test_latency_without_the_judged_rate_has_no_aim() -> None:
    """It is neither met nor missed; with it, what was not seen misses it."""
    aims = [latency_aim(results_of([latency_run(*one)])[0]) for one in ((1_000, 5.0), (5_000, 5.0), (5_000, None))]
    assert aims == ["not measured at 5,000 events/s", "ours at most 1000", "ours at most 1000: missed"]
    (failed,) = results_of([latency_run(5_000, None)])
    assert [row[2:4] for row in peer_rows(failed)] == [("none", "5000 events/s")]


def test_the_run_says_how_long_it_took() -> None:
    """As an entry like the others."""
    entry = own_entry(274.26, {"runs": 3}, "abc")
    assert (entry["value"], entry["seconds"], entry["unit"], entry["ratio_to"]) == (274.3, 274.3, "s", {})


def test_a_peer_without_a_rate_is_in_table_and_document_and_a_failed_one_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be installed is said; a run that failed is an error besides."""
    output = tmp_path / "bench.json"
    values = {"ours": [2.0], "peer": [1.0]}

    def finished(result: Result) -> None:
        document = BenchDocument(output)
        document.add(entries([result], {}, "abc"))
        finish(document, [result], output, as_json=False)

    finished(Result("ours", "events/s", 0, values, unavailable={"gone": "no wheel"}))
    assert "no wheel" in capsys.readouterr().out
    with pytest.raises(typer.Exit) as ended:
        finished(Result("ours", "events/s", 0, values, failed={"broken": "a wrong sum\nand its log"}))
    assert ended.value.exit_code == 1
    assert read(output)["ours"]["without_rate"] == {"broken": "a wrong sum\nand its log"}
    printed = capsys.readouterr().out
    assert "a wrong sum" in printed
    assert "and its log" not in printed


def test_it_is_compared_with_the_last_and_with_the_kept_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which commit and day each is, is said."""
    monkeypatch.setattr(bench, "KEPT", tmp_path / "results")
    (tmp_path / "results").mkdir()
    slower, faster = ({"ours": [rate] * 3, "peer": [10.0] * 3} for rate in (5.0, 9.0))
    kept = entries([Result("ours", "events/s", 0, faster)], {}, "4289851")
    kept["ours"] = {**kept["ours"], "at": "2026-11-29T10:00:00+00:00"}
    (tmp_path / "results" / "bench.json").write_text(json.dumps(kept))
    output = tmp_path / "bench.json"
    document, result = BenchDocument(output), Result("ours", "events/s", 0, slower)
    document.add(entries([result], {}, "abc"))
    finish(document, [result], output, as_json=False)
    said = " ".join(capsys.readouterr().err.split())
    assert "no last document to compare with" in said
    assert "beside the kept document (commit 4289851 of 2026-11-29): WORSE: ours to peer: 0.90" in said


def test_the_origins_of_a_document_are_those_of_its_entries() -> None:
    """Each once; older documents have no commit."""
    entry = {"commit": "b", "at": "2026-11-30T10:00:00+00:00"}
    text = json.dumps({"x": entry, "y": entry, "z": {"at": "2026-11-29T10:00:00+00:00"}})
    assert origins(text) == "commit b of 2026-11-30, commit unknown of 2026-11-29"
    assert origins("half a docu") == "empty"


def test_the_commit_is_that_of_the_checkout(tmp_path: Path) -> None:
    """Outside of Git there is none."""
    assert commit_of(tmp_path) == "unknown"
    assert commit_of(ROOT) != ""


@pytest.mark.parametrize("only", [None, *Part])
def test_a_part_is_measured_by_itself_or_with_all(only: Part | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what has nothing to do is left out."""
    done: list[str] = []

    def measured(name: str) -> Any:
        return lambda *_: done.append(name) or [name]

    for name in ("load_benchmarks", "many_users", "month", "api"):
        monkeypatch.setattr(benchmarks, name, measured(name))
    monkeypatch.setattr(benchmarks, "LatencyBench", lambda *_: SimpleNamespace(measure=measured("latency")))
    monkeypatch.setattr(benchmarks, "results_of", lambda runs: runs)
    some = {"events": 1, "runs": 1, "commit_interval_seconds": 1, "ledger_days": 1, "latency_rates": (1,), "seed": 1}
    amounts = {"many_users": 9, "history_days": 9, "ledger_events": 9, "latency_seconds": 9}
    plan: Any = Plan(**some, **amounts, end_us=0, only=only)
    place: Any = Place({}, Path())
    nobody = benchmarks.Peers(Installed(), Installed())
    list(benchmarks.benchmarks(plan, place, nobody))
    parts = {Part.LOAD: ["load_benchmarks", "many_users"], Part.MONTH: ["month"], Part.LATENCY: ["latency"]}
    parts[Part.API] = ["api"]
    assert done == (parts[only] if only else [name for names in parts.values() for name in names])
    done.clear()
    list(benchmarks.benchmarks(replace(plan, **dict.fromkeys(amounts, 0)), place, nobody))
    assert set(done) <= {"load_benchmarks"}
