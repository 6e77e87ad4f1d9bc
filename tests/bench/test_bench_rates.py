"""Rates, ratios and turns: the arithmetic of the benchmark, without any service."""

from __future__ import annotations

import pytest
from tests.bench.rates import (
    Commit,
    ContenderFailed,
    Result,
    TooFewEvents,
    alternate,
    committed_rate,
    medians_of,
    watch,
)
from tests.bench.stage import telling_ends
from tests.bench.workload import Workload


def test_a_rate_counts_what_lies_between_the_first_and_the_last_commit() -> None:
    """The events of the first commit are not in it: when their work began is not known."""
    assert committed_rate([Commit(10.0, 500), Commit(11.0, 700), Commit(14.0, 1_500)]) == 250.0


def test_one_commit_has_no_rate() -> None:
    """Nothing is made up where nothing can be seen."""
    with pytest.raises(TooFewEvents, match="--events"):
        committed_rate([Commit(1.0, 100)])


def test_watching_notes_every_change_until_the_end() -> None:
    """What stays the same is no commit."""
    answers = iter([0, 0, 3, 3, 7, 10])
    assert [commit.events for commit in watch(lambda: next(answers), 10, 5.0)] == [3, 7, 10]


def test_watching_ends_at_its_deadline() -> None:
    """Work that does not end is an error that says how far it came."""
    with pytest.raises(TimeoutError, match="4 of 10 events"):
        watch(lambda: 4, 10, 0.05)


def test_contenders_take_turns_and_the_first_place_goes_round() -> None:
    """Each as often as the others, and none always first."""
    order: list[str] = []

    def contender(name: str, value: float) -> float:
        order.append(name)
        return value

    contenders = {"a": lambda: contender("a", 1.0), "b": lambda: contender("b", 2.0)}
    turns = alternate(contenders, 3, lambda _: None)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert turns.values == {"a": [1.0] * 3, "b": [2.0] * 3}
    assert turns.failed == {}


def test_a_contender_that_fails_is_out_and_named() -> None:
    """It has no value, not even of its runs before; the others go on; the reason is said."""
    tries: list[float] = []
    said: list[str] = []

    def fails_the_second_time() -> float:
        tries.append(1.0)
        if len(tries) == 2:
            raise ContenderFailed("a wrong sum")
        return tries[-1]

    turns = alternate({"a": lambda: 1.0, "b": fails_the_second_time}, 3, said.append)
    assert turns.values == {"a": [1.0] * 3}
    assert turns.failed == {"b": "a wrong sum"}
    assert len(tries) == 2
    assert any("b is out: a wrong sum" in line for line in said)


def test_any_other_error_ends_the_benchmark() -> None:
    """What nobody foresaw is not taken for a peer's weakness."""

    def breaks() -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        alternate({"a": breaks}, 1, lambda _: None)


def test_ratios_are_of_pairs() -> None:
    """The median of the pairs' ratios, not the ratio of the medians."""
    result = Result("ours", "events/s", 0, {"ours": [10.0, 40.0, 90.0], "peer": [10.0, 10.0, 100.0]})
    assert result.entry() == {
        "value": 40,
        "unit": "events/s",
        "ratio_to": {"peer": 1.0},
        "ratio_range": {"peer": [0.9, 4.0]},
        "peers": {"peer": 10},
        "without_rate": {},
        "runs": 3,
    }


def test_what_else_a_result_has_is_in_its_entry() -> None:
    """Beside value and ratios."""
    result = Result("ours", "us", 0, {"ours": [10.0]}, fields={"calls_us": {"queued_p99": 9.0}})
    assert result.entry()["calls_us"] == {"queued_p99": 9.0}


def test_medians_are_of_each_figure() -> None:
    """A run in which a thread did nothing does not have it: that is 0."""
    runs = [{"main": 3.0, "python 2": 1.0}, {"main": 1.114}, {"main": 2.0, "python 2": 0.5, "python 5": 0.1}]
    assert medians_of(runs, 1) == {"main": 2.0, "python 2": 0.5, "python 5": 0.0}
    assert medians_of(runs[1:2], 2) == {"main": 1.11}


def test_both_ends_of_a_span_are_told_once() -> None:
    """As soon as they are seen, before more is asked; where one commit passes both, once."""
    seen: list[int] = []
    answers = iter([0, 3, 3, 5, 7, 9, 10, 10])
    told = telling_ends(lambda: next(answers), 5, 10, lambda: seen.append(len(seen)))
    assert [(told(), len(seen)) for _ in range(8)] == [
        (0, 0),
        (3, 0),
        (3, 0),
        (5, 1),
        (7, 1),
        (9, 1),
        (10, 2),
        (10, 2),
    ]
    at_once = telling_ends(lambda: 10, 5, 10, lambda: seen.append(0))
    assert (at_once(), at_once(), len(seen)) == (10, 10, 3)


def test_a_workload_is_the_same_every_time() -> None:
    """Records, ids and amounts depend on the arguments alone; the mean user spends the default budget."""
    workload = Workload(events=2_000, users=50, end_us=1_795_000_000_000_000, seed=7)
    assert list(workload.records()) == list(workload.records())
    assert list(workload.records(3)) == list(workload.records())[:3]
    assert len({record["event_id"] for record in workload.records()}) == 2_000
    assert workload.amount == workload.amount_of(2_000) == pytest.approx(50 * 10 * 10**12, rel=0.1)
