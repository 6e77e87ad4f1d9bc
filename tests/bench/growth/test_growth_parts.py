"""The parts of the growth benchmark that need no service: its events, rows, plots, and when memory counts as settled."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from tests.bench.growth import ledger, scale, users
from tests.bench.growth.curves import merged
from tests.bench.growth.drawing import Plot, draw
from tests.bench.growth.workers import NotInTime, steady

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


def test_rows_of_two_runs_become_one_list() -> None:
    """In the order of their keys; a point that was measured again has its latest row."""
    before = [{"rows": 0, "rate": 5}, {"rows": 20, "rate": 4}]
    assert merged(("rows",), before, [{"rows": 10, "rate": 9}, {"rows": 0, "rate": 6}]) == [
        {"rows": 0, "rate": 6},
        {"rows": 10, "rate": 9},
        {"rows": 20, "rate": 4},
    ]


@pytest.mark.parametrize("is_logarithmic", [False, True])
def test_plots_are_pictures(is_logarithmic: bool) -> None:
    """A valid SVG with a mark for each point, all within the frame, higher values higher up, and the limit named."""
    plot = Plot("a < b", "users", {"one": [(0, 1.0), (1_000, 5.0), (1_000_000, 9.5)]}, 10.0, is_logarithmic)
    picture = ET.fromstring(draw(plot))  # noqa: S314 - written by ourselves
    marks = [(float(mark.attrib["cx"]), float(mark.attrib["cy"])) for mark in picture.iter(f"{SVG}circle")]
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    assert len(marks) == 3
    assert all(0 < x < width and 0 < y < height for x, y in marks)
    assert marks == sorted(marks)
    assert [y for _, y in marks] == sorted((y for _, y in marks), reverse=True)
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert {"a < b", "users", "limit 10", "1 M"} <= set(texts)


def test_a_plot_of_one_point_is_a_picture() -> None:
    """A curve that has only begun can be drawn."""
    assert "<circle" in draw(Plot("t", "x", {"one": [(5, 0.0)]}))


def test_every_curve_has_its_plots() -> None:
    """Rows as they are measured lead to a line for each series; the ledger's limit is a fifth below the empty one."""
    rows = [
        {"part": part, "partitions": count, "workers": number, "rate": 10 * number}
        for part in ("stream", "sink")
        for count in (4, 12)
        for number in (1, 2)
    ]
    (plot,) = scale.CURVE.plots(rows).values()
    assert plot.series["sink, 2 workers"] == [(4, 20), (12, 20)]
    assert len(plot.series) == 4
    (plot,) = ledger.CURVE.plots([{"rows": 0, "rate": 1000}, {"rows": 9, "rate": 900}]).values()
    assert plot.limit == 800


def test_memory_counts_when_it_has_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while it falls; a figure that never settles is told."""
    monkeypatch.setattr("tests.bench.growth.workers.STEADY_SECONDS", 0.5)
    found = iter([1000, 800, 700, *[600] * 1000])
    assert steady(lambda: next(found), time.monotonic() + 30, lambda: None) == 600
    falling = iter(range(10**6, 0, -(10**5)))
    with pytest.raises(NotInTime):
        steady(lambda: next(falling), time.monotonic() + 1, lambda: None)
