"""The parts of the growth benchmark that need no service: its events, rows, plots, and when memory counts as settled."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bench.growth import api, ledger, scale, users
from tests.bench.growth.__main__ import keep
from tests.bench.growth.curves import Machine, Row, merged
from tests.bench.growth.drawing import Plot, draw
from tests.bench.growth.spans import NotShared
from tests.bench.growth.workers import NotInTime, Place, peak_of, steady
from tests.bench.ledgers import WrongResult
from tests.bench.rates import Commit, TooFewEvents

from costledger.schemas.events import check_event

NOW_US = 1_795_000_000_000_000
SVG = "{http://www.w3.org/2000/svg}"


def test_every_user_has_five_services_in_one_hour() -> None:
    """Valid events: five a user, each of another service, no id twice, all within a second."""
    made = list(users.records(7, 35, NOW_US, seed=1))
    for record in made:
        check_event(record, NOW_US + 2_000_000)
    assert set(Counter(record["user_id"] for record in made).values()) == {5}
    assert len({(record["user_id"], record["service"]) for record in made}) == len(made) == 35
    assert len({record["event_id"] for record in made}) == 35
    assert {record["occurred_at"] // 1_000_000 for record in made} == {NOW_US // 1_000_000}


def test_the_events_that_make_a_worker_warm_are_others() -> None:
    """Of users of their own, with ids of their own: none is a repeat of a point's."""
    warm, point = users.records(3, 30, NOW_US, seed=2, name="warm"), list(users.records(7, 35, NOW_US, seed=1))
    for record in warm:
        assert record["user_id"].startswith("warm-")
        assert record["event_id"] not in {other["event_id"] for other in point}


def test_the_rate_is_that_of_the_users_own_events() -> None:
    """From the first commit that has all of those before; none where nothing is committed after it."""
    commits = [Commit(1.0, 50), Commit(2.0, 120), Commit(4.0, 160), Commit(6.0, 300)]
    assert users.rate_behind(100, commits) == 45
    assert users.rate_behind(300, commits) is None


def test_rows_of_two_runs_become_one_list() -> None:
    """In the order of their keys; a point that was measured again has its latest row, and a row without a key is dropped."""
    before = [{"rows": 0, "rate": 5}, {"rows": 20, "rate": 4}]
    older = [{"size": 5, "rate": 1}]
    assert merged(("rows",), older + before, [{"rows": 10, "rate": 9}, {"rows": 0, "rate": 6}]) == [
        {"rows": 0, "rate": 6},
        {"rows": 10, "rate": 9},
        {"rows": 20, "rate": 4},
    ]


@pytest.mark.parametrize("is_logarithmic", [False, True])
def test_plots_are_pictures(is_logarithmic: bool) -> None:
    """A valid SVG with a mark for each point, all within the frame, higher values higher up, and the limit named."""
    points = [(0, 1.0), (1_000, 5.0), (1_000_000, 9.5)]
    plot = Plot("a < b", "users", {"one": points}, 10.0, is_logarithmic, y_title="MiB")
    picture = ET.fromstring(draw(plot))  # noqa: S314 - written by ourselves
    marks = [(float(mark.attrib["cx"]), float(mark.attrib["cy"])) for mark in picture.iter(f"{SVG}circle")]
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    assert len(marks) == 3
    assert all(0 < x < width and 0 < y < height for x, y in marks)
    assert marks == sorted(marks)
    assert [y for _, y in marks] == sorted((y for _, y in marks), reverse=True)
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert {"a < b", "users", "MiB", "limit 10", "1 M"} <= set(texts)


def test_a_plot_of_one_point_is_a_picture() -> None:
    """A curve that has only begun can be drawn."""
    assert "<circle" in draw(Plot("t", "x", {"one": [(5, 0.0)]}))


def test_ranges_are_drawn_in_full() -> None:
    """From the lowest to the highest value, at the place of their point, within the frame even where they pass all points."""
    with_range = Plot("t", "x", {"one": [(0, 1.0), (9, 1.0)]}, ranges={"one": [(9, 0.5, 40.0)]})
    picture = ET.fromstring(draw(with_range))  # noqa: S314 - written by ourselves
    mark = picture.findall(f"{SVG}circle")[-1].attrib
    (line,) = [one.attrib for one in picture.iter(f"{SVG}line") if one.attrib["stroke"] == mark["fill"]]
    assert line["x1"] == line["x2"] == mark["cx"]
    assert 0 < float(line["y2"]) < float(mark["cy"]) < float(line["y1"])


def test_every_curve_has_its_plots() -> None:
    """Rows as they are measured lead to a line for each series."""
    rows = [
        scale.row_of(part, count, number, 1_000, [1, 10.0 * number, 1e6], [1, 10.0, 1e6])
        for part in ("stream", "sink")
        for count in (4, 12)
        for number in (1, 2)
    ]
    (plot,) = scale.CURVE.plots(rows).values()
    assert plot.series["sink, 2 workers"] == [(4, 20), (12, 20)]
    assert len(plot.series) == 4
    assert plot.ranges["sink, 2 workers"] == [(4, 1, 1e6), (12, 1, 1e6)]
    assert (rows[1]["ratio"], rows[1]["ratio_min"], rows[1]["ratio_max"]) == (1, 1, 2)
    sizes = [
        ledger.row_of(size, days, size, {"filled": [8.0], "empty": [10.0]}) for days in (30, 395) for size in (0, 9)
    ]
    plots = ledger.CURVE.plots(sizes)
    assert plots["ledger_ratio"].limit == 0.8
    assert plots["ledger_ratio"].series["over 30 days"] == [(0, 0.8), (9, 0.8)]
    assert plots["ledger_ratio"].ranges["over 395 days"] == [(0, 0.8, 0.8), (9, 0.8, 0.8)]
    assert plots["ledger_rate"].series["empty beside, over 30 days"] == [(0, 10), (9, 10)]


def test_the_api_is_drawn_by_its_routes() -> None:
    """All that is in a written row and is no time of a route is no series: neither the time of day nor the load."""
    row = {"rows": 9, "entries": 8, "slowest_ms": 7.0, "budget": 2.5, "at": "2026-11-30T10:00:00", "load": "0.1, 0.1"}
    (plot,) = api.CURVE.plots([row]).values()
    assert plot.series == {"slowest route": [(9, 7.0)], "budget": [(9, 2.5)]}
    assert len({size for one in api.SIZES for size in (one, one // 10)}) >= 3


def test_bytes_a_user_are_by_the_users_more() -> None:
    """A row is compared to the next smaller one, in whatever order they come: 9 MiB of 9,000 users are 1,049 bytes each."""
    rows = [
        {"users": 10_000, "worked_mib": 110.0, "recovered_mib": 104.5},
        {"users": 1_000, "worked_mib": 101.0, "recovered_mib": 100.0},
        {"users": 20_000, "worked_mib": 120.0, "recovered_mib": 104.5},
    ]
    smallest, middle, largest = users.with_slopes(rows)
    assert (smallest, middle["users"]) == (rows[1], 10_000)
    assert (middle["bytes_per_added_user"], middle["bytes_per_added_user_recovered"]) == (1_049, 524)
    assert (largest["bytes_per_added_user"], largest["bytes_per_added_user_recovered"]) == (1_049, 0)
    plots = users.CURVE.plots(rows)
    assert plots["users_slope"].limit == 2048
    assert plots["users_slope"].series["after its events"] == [(10_000, 1_049), (20_000, 1_049)]
    allowed = dict(plots["users_memory"].series["2 KiB for each user more"])
    assert allowed == {1_000: 101.0, 10_000: 101 + 9_000 / 512, 20_000: 101 + 19_000 / 512}


def test_limits_are_told() -> None:
    """Each with what was measured, and whether it holds."""
    rows = [
        {"users": 90_000, "worked_mib": 100.0, "recovered_mib": 100.0, "recovery_seconds": 25.0},
        {"users": 100_000, "worked_mib": 110.0, "recovered_mib": 140.0, "recovery_seconds": 19.5},
    ]
    slopes, restarts, recovery = users.CURVE.verdicts(users.CURVE.compared(rows))
    assert slopes.endswith("1,049, at most 2,048: met")
    assert restarts.endswith("4,194, at most 2,048: MISSED")
    assert recovery == "seconds to recover 100,000 users: 19.5, at most 20: met"
    ledgers = [ledger.row_of(size, 30, size, {"filled": [7.0], "empty": [10.0]}) for size in (0, 9)]
    assert ledger.CURVE.verdicts(ledgers) == [
        "rate with 9 entries over 30 days, of an empty ledger's: 0.7, at least 0.8: MISSED"
    ]


def test_a_run_without_a_rate_is_made_again() -> None:
    """Where workers came too late; not for ever, and not where anything else is wrong."""
    answers: list[float | Exception] = [NotShared("late"), TooFewEvents("few"), 7.0]
    said: list[str] = []

    def run() -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert scale._tried(run, said.append) == 7.0
    assert [line.strip() for line in said] == ["once more: late", "once more: few"]
    answers += [NotShared("late")] * scale.ATTEMPTS_MAX
    with pytest.raises(NotShared):
        scale._tried(run, said.append)
    answers[:] = [WrongResult("other")]
    with pytest.raises(WrongResult):
        scale._tried(run, said.append)


def test_a_point_is_kept_when_the_next_one_fails(tmp_path: Path) -> None:
    """What was measured is written and drawn before the next point begins, beside the rows of other curves."""
    document: dict[str, list[Row]] = {"scale": [scale.row_of("sink", 4, 1, 1_000, [5.0], [5.0])]}
    row = {"users": 7, "worked_mib": 9.0, "recovered_mib": 8.0, "recovery_seconds": 0.5, "rate": None}

    def measured() -> Iterator[Row]:
        yield row
        raise NotInTime("the second point")

    with pytest.raises(NotInTime):
        keep(users.CURVE, measured(), document, tmp_path / "build" / "growth.json", tmp_path / "figures")
    written: dict[str, Any] = json.loads((tmp_path / "build" / "growth.json").read_text())
    assert [{name: one[name] for name in row} for one in written["users"]] == [row]
    assert written["scale"] == document["scale"]
    # One point has no slope, and no rate of it was seen.
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "scale_rate.svg",
        "users_memory.svg",
        "users_recovery.svg",
    }


def test_the_peak_of_a_process_is_read_in_bytes() -> None:
    """VmHWM, not what it has now, which /proc gives in KiB."""
    assert peak_of("Name:\tpython\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n") == 2 * 2**20


def test_a_place_can_be_read_again() -> None:
    """By another group each time, from the same topics."""
    place = Place(Machine({"COSTLEDGER_BOOTSTRAP_SERVERS": "nowhere:1"}, Path(), 1, print), 4)
    first, second = place.again(), place.again()
    assert place.events == first.events == second.events
    assert len({place.group, first.group, second.group}) == 3


def test_memory_counts_when_it_has_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while it falls; a figure that never settles is told."""
    monkeypatch.setattr("tests.bench.growth.workers.STEADY_SECONDS", 0.5)
    found = iter([1000, 800, 700, *[600] * 1000])
    assert steady(lambda: next(found), time.monotonic() + 30, lambda: None) == 600
    falling = iter(range(10**6, 0, -(10**5)))
    with pytest.raises(NotInTime):
        steady(lambda: next(falling), time.monotonic() + 1, lambda: None)
