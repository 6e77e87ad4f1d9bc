"""The pure parts of the soak: slopes, the picture, the order of harms, the report of a run."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.fault.harness.findings import Findings
from tests.fault.harness.load import Load
from tests.fault.harness.run_report import RunReport
from tests.fault.soak.course import Course, Rest, carried_rate
from tests.fault.soak.drawing import Bar, Panel, Series, draw
from tests.fault.soak.harms import LINKS, all_harms, drawn_harms
from tests.fault.soak.reporting import IN_USE, ROLES, memory_findings, memory_trends, resident_bounds, rest_trends
from tests.fault.soak.sampling import Look, Memory
from tests.fault.soak.slopes import fit_trend, levels, staying


def look(at_seconds: float, **resident_bytes: int) -> Look:
    """A look at memory alone, half of which is in use; `stream_1` is the first life of `stream`."""
    lives = {name.replace("_", "/"): Memory(one, one // 2, None) for name, one in resident_bytes.items()}
    return Look(at_seconds, None, {}, {}, {}, lives)


def test_a_straight_line_has_its_slope_and_no_error() -> None:
    """100 and one more per hour: 1 % of about 100 an hour."""
    trend = fit_trend([(second, 100 + second / 3600) for second in range(600)])
    assert trend.percent_per_hour == pytest.approx(1.0, rel=0.01)
    assert trend.error_percent_per_hour == pytest.approx(0.0, abs=1e-9)
    assert (trend.samples, trend.blocks) == (600, 20)


def test_the_error_of_a_slope_covers_what_chance_makes_of_it(seed: int) -> None:
    """Noise around a level: the slope is within four standard errors of none; fewer samples are less sure."""
    chance = random.Random(seed)
    points = [(float(second), 100 + chance.gauss(0, 1)) for second in range(1200)]
    long, short = fit_trend(points), fit_trend(points[:300])
    assert abs(long.percent_per_hour) < 4 * long.error_percent_per_hour + 1e-9
    assert short.error_percent_per_hour > long.error_percent_per_hour


def test_a_burst_is_no_growth_and_a_leak_under_bursts_is(seed: int) -> None:
    """What is given back within a minute does not count; 20 % an hour is found beside bursts of half as much again."""
    chance = random.Random(seed)
    bursts = {second + after for second in chance.sample(range(0, 1200, 30), 15) for after in range(10)}
    flat = [(float(second), 150.0 if second in bursts else 100.0) for second in range(1200)]
    assert fit_trend(levels(flat)).percent_per_hour == 0
    trend = fit_trend(levels([(at, value + 20 * at / 3600) for at, value in flat]))
    assert trend.percent_per_hour - 2 * trend.error_percent_per_hour > 15


def test_two_blocks_say_nothing_of_the_error_and_one_moment_has_no_line() -> None:
    """An error that is not known is infinite, not 0."""
    assert fit_trend([(0.0, 1.0), (40.0, 2.0)]).error_percent_per_hour == math.inf
    with pytest.raises(ValueError, match="one moment"):
        fit_trend([(5.0, 1.0), (5.0, 2.0)])


def test_the_memory_of_a_role_is_that_of_its_longest_life_without_its_warm_up() -> None:
    """A restart begins anew at a lower level: a line through both lives would hide a leak."""
    looks = [look(at, stream_1=50) for at in range(200)]
    looks += [look(at, stream_2=100 + (at // 10 - 20 if at < 400 else 20)) for at in range(200, 1000)]
    looks += [look(at, stream_2=10**6) for at in range(1000, 1100)]
    trends = memory_trends(looks, until_seconds=999)
    assert list(trends) == ["stream"]
    assert trends["stream"].mean == 120
    assert trends["stream"].percent_per_hour == 0
    assert memory_trends(looks, until_seconds=999, measure="c_bytes") == {}


def test_what_is_in_use_is_the_least_of_each_rest() -> None:
    """Whatever the load takes between the rests, and at their beginning; a leak of 12 % an hour is found by five of them."""
    rests = [Rest(at - 9.0, at, at + 40.0) for at in range(100, 1500, 300)]
    flat = [look(at, sink_1=200 if not 110 <= at % 300 < 140 else 100) for at in range(1500)]
    trend = rest_trends(flat, rests, "python_blocks")["sink"]
    assert (trend.samples, trend.mean, trend.percent_per_hour, trend.error_percent_per_hour) == (5, 50, 0, 0)
    leaking = [
        replace(one, memory={"sink/1": Memory(0, 100_000 + 10 * int(one.at_seconds) // 3, None)}) for one in flat
    ]
    trend = rest_trends(leaking, rests, "python_blocks")["sink"]
    assert trend.percent_per_hour - 2 * trend.error_percent_per_hour == pytest.approx(11.7, abs=0.1)
    assert rest_trends(flat, rests[:1], "python_blocks") == {}
    assert rest_trends(flat, rests, "c_bytes") == {}


def test_what_is_given_back_later_is_no_growth(seed: int) -> None:
    """Half as much again in two rests of five changes nothing; a leak of 12 % an hour beside it is found all the same."""
    held = [100.0, 100.0, 142.0, 109.0, 100.0]
    assert staying([(at, value) for at, value in enumerate(held)]) == [(at, 100.0) for at in range(5)]
    assert staying([(0, 1.0), (1, 2.0), (2, 3.0)]) == [(0, 1.0), (1, 2.0), (2, 3.0)]
    times = [60.0 * minute for minute in range(0, 25, 5)]
    leaking = [(at, value + 12 * at / 3600) for at, value in zip(times, held, strict=True)]
    trend = fit_trend(staying(leaking))
    assert trend.percent_per_hour - 2 * trend.error_percent_per_hour > 1


def test_what_was_carried_is_told_without_the_rests() -> None:
    """100 a second, but for a rest of 100 s in ten minutes; one before the harms is none of theirs."""
    course = Course(began_at_seconds=100, ended_at_seconds=700, rests=[Rest(10, 20, 60), Rest(300, 310, 400)])
    written = [100 * (at if at < 300 else max(300, at - 100)) for at in range(1000)]
    looks = [replace(look(at), written=written[at]) for at in range(1000)]
    assert carried_rate(looks, course) == pytest.approx(100)


def test_what_a_worker_holds_of_a_dead_twin_is_none_of_its_own() -> None:
    """However long that lasts, nor what it lacks until it has its own back; a leak beside it is found."""
    held = [200 if 300 <= at < 540 else 120 for at in range(1201)]
    held[700:705] = [0, 0, 20, 40, 120]
    flat = [replace(look(at, stream_1=held[at] * 100), done={"stream": 10**6}) for at in range(1201)]
    flat = [
        replace(one, memory={life: memory._replace(users=held[at]) for life, memory in one.memory.items()})
        for at, one in enumerate(flat)
    ]
    trend = memory_trends(flat, 1200)["stream"]
    assert (trend.mean, trend.percent_per_hour, trend.samples) == (12_000, 0, 13)
    leaking = [
        replace(
            one,
            memory={
                life: memory._replace(resident_bytes=memory.resident_bytes + at) for life, memory in one.memory.items()
            },
        )
        for at, one in enumerate(flat)
    ]
    assert memory_trends(leaking, 1200)["stream"].percent_per_hour == pytest.approx(100 * 3600 / 12_720, rel=0.05)


def test_resident_memory_is_bounded_by_what_bursts_took_before(seed: int) -> None:
    """The most before, also of an earlier life and for a moment; then what stays of each minute, whatever bursts took."""
    bursts = set(random.Random(seed).sample(range(600, 1200, 60), 5))
    looks = [look(at, sink_1=300 if at == 50 else 100) for at in range(100)]
    looks += [look(at, sink_2=100) for at in range(100, 600)]
    looks += [look(at, sink_2=400 if at in bursts else 100 + at // 60) for at in range(600, 1200)]
    assert resident_bounds(looks, 600, 1199) == {"sink": (300, 114, 119)}
    assert resident_bounds(looks, 600, 850) == {"sink": (300, 112, 114)}


def told(**changes: float) -> dict[str, Any]:
    """A document of twenty minutes in which nothing is wrong with any memory, but for what is changed of the sink's."""
    trend = {"samples": 5, "percent_per_hour": 1.5, "error_percent_per_hour": 0.5}
    bound = {"before_max": 200.0, "first_level": 100.0, "last_level": 120.0}
    memory = {role: {measure: dict(trend) for measure in IN_USE} for role in ROLES}
    resident = {role: dict(bound) for role in ROLES}
    for name, value in changes.items():
        (resident["sink"] if name in bound else memory["sink"]["c_bytes"])[name] = value
    return {"rests": [[0.0, 1.0, 2.0]] * 5, "memory": memory, "resident_memory": resident}


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({}, None),
        ({"percent_per_hour": -7.0}, None),
        ({"percent_per_hour": 2.0}, "grows"),
        ({"percent_per_hour": 30.0, "error_percent_per_hour": 10.1}, "too noisy"),
        ({"samples": 4}, None),
        ({"samples": 3}, "3 rests are known; 4"),
        ({"last_level": 210.0}, None),
        ({"last_level": 211.0}, "more stays"),
        ({"first_level": 211.0}, "more stays"),
    ],
)
def test_memory_that_grows_or_is_not_known_is_found(changes: dict[str, float], finding: str | None) -> None:
    """By each measure and each bound of its own."""
    found = memory_findings(told(**changes))
    assert found == [] if finding is None else (len(found) == 1 and "sink" in found[0] and finding in found[0])


def test_a_process_that_never_told_of_its_memory_is_found() -> None:
    """Neither what is in use nor what is resident."""
    document = told()
    del document["memory"]["sink"], document["resident_memory"]["sink"]
    assert [line.count("sink") for line in memory_findings(document)] == [1, 1, 1]


def test_memory_is_fitted_once_enough_events_have_passed_or_from_the_middle() -> None:
    """Until then what the stream remembers fills up."""
    grown = [look(at, stream_1=100 + min(at, 500)) for at in range(1201)]
    assert memory_trends(grown, 1200)["stream"].samples == 11
    filled = [replace(one, done={"stream": int(one.at_seconds) * 1_000}) for one in grown]
    trend = memory_trends(filled, 1200)["stream"]
    assert trend.samples == 16
    assert trend.percent_per_hour > 0


def test_the_picture_is_one_that_a_browser_reads() -> None:
    """Well-formed, with a line for every series and a bar in every panel for every fault; names are escaped."""
    panels = [
        Panel("Lag", "messages", [Series("sink", [(0, 0), (1, 5), (30, 2)]), Series("stream", [])]),
        Panel("Memory", "MiB", [Series("stream", [(0, 90.0), (60, 91.5)])]),
    ]
    text = draw("Soak <1>", panels, [Bar("kill -9 a & b", 3, 9), Bar("cut", 20, 31)])
    root = ET.fromstring(text)  # noqa: S314 - written by ourselves
    names = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{names}path")) == 3
    assert len([rect for rect in root.findall(f"{names}rect") if rect.get("opacity")]) == 4
    words = [element.text for element in root.findall(f"{names}text")]
    assert "Soak <1>" in words
    assert any("kill -9 a & b" in (word or "") for word in words)
    colours = {element.text: element.get("fill") for element in root.findall(f"{names}text")}
    lines = [path.get("stroke") for path in root.findall(f"{names}path")]
    assert lines == [colours["sink"], colours["stream"], colours["stream"]]
    # A gap in the samples is a gap in the line.
    assert [path.get("d", "").count("M") for path in root.findall(f"{names}path")] == [2, 0, 2]


def test_every_harm_comes_before_any_comes_again_in_an_order_of_the_seed() -> None:
    """And the same seed draws the same."""
    names = [harm.name for harm in all_harms()]
    assert len(set(names)) == len(names)
    drawn = [harm.name for harm in islice(drawn_harms(7), 2 * len(names))]
    assert sorted(drawn[: len(names)]) == sorted(drawn[len(names) :]) == sorted(names)
    assert drawn == [harm.name for harm in islice(drawn_harms(7), 2 * len(names))]
    assert drawn != [harm.name for harm in islice(drawn_harms(8), 2 * len(names))]
    for client, service in LINKS:
        assert {f"{client}-{service} {how}" for how in ("cut", "frozen", "slow")} <= set(names)


def test_a_load_that_rises_is_due_in_sums() -> None:
    """100 a second at first and 10 more every second: 1,500 after ten seconds, and one at once."""
    assert Load("rising", 1, rate=100, rate_rise=10).due(10) == 1_501
    assert Load("steady", 1, rate=100).due(10) == 1_001


def test_the_report_of_a_run_adds_up_and_names_what_is_broken(tmp_path: Path) -> None:
    """`report.json` and `report.md` of three checks, one of which fails, and two of which are of one test's events."""
    report = RunReport()
    report.add(
        "a.py",
        "one",
        "fine",
        Findings(figures={"attempts": 1_000, "lost": 0, "doubled": 0, "dead_letters": 4, "healed_seconds": 2.5}),
    )
    broken = Findings(figures={"attempts": 500, "lost": 3, "doubled": 1})
    broken.found("I10", "x")
    broken.found("I2", "y")
    other = RunReport()
    other.add("b.py", "two", "not fine", broken)
    report.take(other.given())  # of another process
    report.add("a.py", "one", "again", Findings(figures={"attempts": 1_200, "lost": 0, "doubled": 0}))
    report.write(tmp_path, "7", "abc", {"passed": 1, "failed": 1})
    told = json.loads((tmp_path / "report.json").read_text())
    assert (told["events"], told["lost"], told["doubled"], told["checks"]) == (1_700, 3, 1, 3)
    assert told["broken"] == ["I10", "I2"]
    assert (told["seed"], told["commit"]) == ("7", "abc")
    assert [row["broken"] for row in told["scenarios"]] == [[], ["I2", "I10"], []]
    lines = (tmp_path / "report.md").read_text().splitlines()
    assert "seed 7, commit abc" in lines[0]
    assert lines[4] == "| one | a.py | 1,000 | 0 | 0 |  | 4 | 2.5 |  |  |  |  | hold |"
    assert "**broken: I2, I10**" in lines[5]
    assert lines[7].startswith("| all 3 | | 1,700 | 3 | 1 |")
