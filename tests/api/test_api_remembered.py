"""Answers over all users are remembered: one at a time is made, and none for too long."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.fixtures.wait import wait_until

from costledger.api.analytics.remembered import ANSWERS_MAX, STALE_LIVES_MAX, Remembered

WAIT_SECONDS = 10


class Clock:
    """Seconds that pass when the test says so."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_an_answer_lives_for_its_seconds() -> None:
    """Then it is made anew; each key has its own."""
    clock = Clock()
    remembered = Remembered[int](10, clock)
    answers = iter(range(9))
    assert [remembered.get("a", lambda: next(answers)) for _ in range(3)] == [0, 0, 0]
    assert remembered.get("b", lambda: next(answers)) == 1
    clock.seconds += 10
    assert remembered.get("a", lambda: next(answers)) == 2


def test_nothing_is_remembered_for_no_seconds() -> None:
    """0 switches it off."""
    answers = iter(range(9))
    remembered = Remembered[int](0)
    assert [remembered.get("a", lambda: next(answers)) for _ in range(3)] == [0, 1, 2]


def test_an_error_is_not_remembered() -> None:
    """Whoever asks next asks anew."""
    remembered = Remembered[int](10)

    def fails() -> int:
        raise RuntimeError("away")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="away"):
            remembered.get("a", fails)
    assert remembered.get("a", lambda: 5) == 5


def test_many_that_ask_at_once_make_one_answer() -> None:
    """The first answer is waited for; of a later one, others get the one before, unless that is too old."""
    clock = Clock()
    remembered = Remembered[int](10, clock)
    asked, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    def slowly() -> int:
        asked.set()
        assert go_on.wait(WAIT_SECONDS)
        made.append(len(made))
        return made[-1]

    with ThreadPoolExecutor(6) as pool:
        for expected, age in ((0, 0), (1, 10), (2, 10 * STALE_LIVES_MAX)):
            clock.seconds += age
            asked.clear()
            go_on.clear()
            first = pool.submit(remembered.get, "a", slowly)
            assert asked.wait(WAIT_SECONDS)
            others = [pool.submit(remembered.get, "a", slowly) for _ in range(5)]
            if expected == 1:
                wait_until(
                    lambda others=others: all(one.done() for one in others), WAIT_SECONDS, "the old answer is given"
                )
                assert [one.result() for one in others] == [0] * 5
            go_on.set()
            assert first.result(WAIT_SECONDS) == expected
            if expected != 1:
                assert [one.result(WAIT_SECONDS) for one in others] == [expected] * 5
    assert made == [0, 1, 2]


def test_the_number_of_answers_is_bounded() -> None:
    """The one that was asked for longest ago makes way."""
    remembered = Remembered[int](10)
    for number in range(ANSWERS_MAX + 1):
        remembered.get(number, lambda number=number: number)
    assert remembered.get(1, lambda: -1) == 1
    assert remembered.get(0, lambda: -1) == -1
