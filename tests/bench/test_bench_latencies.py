"""From what was sent and seen to latencies: the arithmetic and the matching, without any service."""

from __future__ import annotations

import json
import random

import pytest
from tests.bench.latencies import NOWHERE, Figures, Probe, Sample, Timeline, figures_of, percentile_ms, samples_of
from tests.bench.latency_load import PROBE_AMOUNT, Load, LoadReport
from tests.bench.latency_result import JUDGED_RATE, LatencyRun, results_of

SECOND = 1_000_000_000


def samples(latencies: list[float | None], rate: int = 100) -> list[Sample]:
    """So many samples a second, with these latencies (s)."""
    return [Sample(number * SECOND // rate, seconds) for number, seconds in enumerate(latencies)]


def report(probes: list[tuple[str, str, int]], alerts: list[tuple[str, str, int]]) -> LoadReport:
    """As the program writes it."""
    figures = {"rate_reached": 1_000.0, "late_ms_max": 3.0, "cpu_seconds": 1.5, "stats": {"acked": 7, "dropped": 0}}
    return LoadReport.parse(json.dumps({"probes": probes, "alerts": alerts, **figures}))


def run(rate: int, figures: Figures) -> LatencyRun:
    """A run with one name."""
    return LatencyRun(rate, float(rate), 2.0, 0, {"stream": 0.5}, {"latency_ledger": figures})


def test_a_level_is_reached_when_it_or_a_higher_one_was_first_seen() -> None:
    """Whoever asks seldom sees levels skipped; what falls or stays is no news."""
    timeline = Timeline()
    for seen_ns, level in ((10, 0), (20, 3), (30, 3), (40, 2), (50, 7)):
        timeline.note(seen_ns, level)
    assert timeline.level == 7
    assert [timeline.reached_ns(level) for level in (1, 3, 4, 7, 8)] == [20, 20, 50, 50, None]


def test_latency_counts_from_when_an_event_was_due() -> None:
    """Not from when it was sent: a generator that is late hides nothing. Samples come in the order of due times."""
    timeline = Timeline()
    timeline.note(5 * SECOND, 2)
    probes = [Probe("a", 2, 3 * SECOND), Probe("a", 1, SECOND), Probe("a", 3, 4 * SECOND), Probe(NOWHERE, 1, 0)]
    found = samples_of(probes, {"a": timeline})
    assert found == [Sample(0, None), Sample(SECOND, 4.0), Sample(3 * SECOND, 2.0), Sample(4 * SECOND, None)]


def test_percentiles_are_of_the_samples() -> None:
    """Nearest rank: the least latency that so many percent do not exceed; in milliseconds, in any order."""
    latencies: list[float | None] = [number / 1000 for number in range(1, 201)]
    random.Random(1).shuffle(latencies)
    assert percentile_ms(samples(latencies), 50) == 100.0
    assert percentile_ms(samples(latencies), 99) == 198.0
    assert percentile_ms(samples([0.25]), 99) == 250.0
    assert percentile_ms([], 99) is None


def test_what_was_not_seen_counts_as_longer_than_any_other() -> None:
    """A percentile that would be one of these is none: nothing is left out to make it better."""
    latencies: list[float | None] = [0.1] * 98 + [None, None]
    assert percentile_ms(samples(latencies), 50) == 100.0
    assert percentile_ms(samples(latencies), 98) == 100.0
    assert percentile_ms(samples(latencies), 99) is None


def test_a_steady_latency_keeps_up() -> None:
    """Single delays are no growth."""
    latencies: list[float | None] = [0.2 + 0.1 * (number % 3) for number in range(3_000)]
    latencies[2_900:2_950] = [3.0] * 50
    figures = figures_of(5_000, samples(latencies), 0)
    assert figures.growth == pytest.approx(0, abs=0.005)
    assert figures.keeps_up
    assert figures.verdict() == "keeps up"


def test_a_queue_that_gets_longer_shows_the_rate_at_which_it_bends() -> None:
    """What comes in at 20,000/s and goes out at 8,000/s is 1.5 s later every second; and so its bend is found."""
    latencies: list[float | None] = [0.2 + 1.5 * number / 100 for number in range(3_000)]
    figures = figures_of(20_000, samples(latencies), 0)
    assert not figures.keeps_up
    assert figures.rate_sustained == pytest.approx(8_000, rel=0.02)
    assert figures.verdict().startswith("does not keep up: about ")


def test_what_comes_out_only_when_the_load_is_over_did_not_keep_up() -> None:
    """Though its latency falls: the later an event, the less it waits for the end."""
    latencies: list[float | None] = [40 - number / 100 for number in range(3_000)]
    figures = figures_of(20_000, samples(latencies), 0)
    assert not figures.keeps_up
    assert figures.rate_sustained == pytest.approx(0, abs=1)


def test_a_long_latency_that_stays_so_keeps_up() -> None:
    """Four seconds of a pipeline that is full from the warm-up on are no growth."""
    latencies: list[float | None] = [4.0] * 3_500
    assert figures_of(1_000, samples(latencies), 5 * SECOND).keeps_up


def test_what_is_missing_at_the_end_does_not_keep_up() -> None:
    """Though what was seen was seen soon."""
    figures = figures_of(1_000, samples([0.2] * 500 + [None] * 2), 0)
    assert not figures.keeps_up
    assert figures.unseen == 2
    assert "2 not visible in time" in figures.verdict()


def test_where_nothing_was_seen_that_is_what_is_said() -> None:
    """No percentile, no bend; and the benchmark fails."""
    figures = figures_of(1_000, samples([None] * 100), 0)
    assert (figures.p50_ms, figures.p99_ms, figures.growth) == (None, None, 1.0)
    assert figures.verdict() == "nothing became visible"
    (result,) = results_of([run(1_000, figures)])
    assert result.failed == {"1000 events/s": "nothing became visible"}
    assert "none" in result.rows()[0]


def test_the_value_is_the_99th_percentile_at_the_judged_rate() -> None:
    """Beside it every rate; where the judged one was not measured, there is no value, and none of another rate."""
    slow, fast = (figures_of(rate, samples([seconds] * 100), 0) for rate, seconds in ((JUDGED_RATE, 0.4), (9_000, 0.7)))
    (result,) = results_of([run(9_000, fast), run(JUDGED_RATE, slow)])
    entry = result.entry()
    assert (entry["value"], entry["unit"], entry["ratio_to"], entry["at_rate"]) == (400.0, "ms", {}, JUDGED_RATE)
    assert {rate: one["p99"] for rate, one in entry["rates"].items()} == {"9000": 700.0, "5000": 400.0}
    (result,) = results_of([run(9_000, fast), run(1_000, slow)])
    assert not {"value", "at_rate"} & set(result.entry())
    assert set(result.entry()["rates"]) == {"9000", "1000"}


def test_a_generator_out_of_pace_is_named() -> None:
    """The rate that it came to is not the one that was asked for."""
    figures = figures_of(1_000, samples([0.2] * 100), 0)
    behind = LatencyRun(1_000, 900.0, 2_000.0, 0, {}, {"latency_ledger": figures})
    assert not behind.in_pace
    assert results_of([behind])[0].rows()[0][2] == "only 900"


def test_events_are_matched_to_what_shows_them() -> None:
    """Redis: the user's pilot is the first; alerts: one a user; the ledger: beyond the event's offset in its partition."""
    sent = report([("a", "e1", 10), ("b", "e2", 20), ("a", "e3", 30)], [("x", "e4", 15)])
    assert sent.redis_probes() == [Probe("a", 2, 10), Probe("b", 2, 20), Probe("a", 3, 30)]
    assert sent.alert_probes() == [Probe("x", 1, 15)]
    places = {"e1": (4, 100), "e3": (4, 120)}
    assert sent.ledger_probes(places) == [Probe("4", 101, 10), Probe(NOWHERE, 1, 20), Probe("4", 121, 30)]


def test_the_warm_up_is_no_sample() -> None:
    """It counts from the first event that was due, of whatever kind."""
    load = Load(rate=1_000, seconds=10, warm_up_seconds=2)
    sent = report([("a", "e", second * SECOND) for second in range(2, 14)], [("x", "e", SECOND)])
    assert sent.counted_from_ns(load) == 3 * SECOND
    slow_at_first: list[float | None] = [9.0] * 200 + [0.1] * 600
    figures = figures_of(100, samples(slow_at_first), 2 * SECOND)
    assert (figures.samples, figures.p99_ms) == (600, 100.0)


def test_a_load_has_enough_samples_and_a_crowd() -> None:
    """Of each second, some 100 events of probe users and 20 that come to a budget; at least half are of the crowd."""
    arguments = json.loads(Load(rate=5_000, seconds=25, warm_up_seconds=5).arguments())
    assert 5_000 / arguments["probe_every"] == 100
    assert 5_000 / arguments["alert_every"] == 20
    assert len(arguments["alert_users"]) == 30 * 20
    assert float(arguments["probe_amount_usd"]) * 10**12 == PROBE_AMOUNT
    assert json.loads(Load(rate=50, seconds=1, warm_up_seconds=0).arguments())["probe_every"] == 2
