"""What is recorded beside a rate: CPU by thread, and calls of the SDK by what became of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.bench.bench_sdk import CALLS, WARM_UP_CALLS, check_dropped
from tests.bench.ledgers import WrongResult
from tests.bench.processes import ThreadCpu, cpu_between, running
from tests.bench.programs import sdk_calls

#: Burns CPU in a second thread, and says when it has.
_BURNS = """
import threading, time, pathlib
def burn():
    while time.thread_time() < 0.3: pass
    pathlib.Path("done").touch()
    time.sleep(60)
threading.Thread(target=burn, daemon=True).start()
time.sleep(60)
"""


def test_cpu_is_told_by_thread() -> None:
    """The first is the main one; the others have their place by the order of their start; who did nothing is left out."""
    before = {7: ThreadCpu("python", 1.0), 9: ThreadCpu("python", 0.5), 12: ThreadCpu("python", 2.0)}
    after = {12: ThreadCpu("python", 2.0), 9: ThreadCpu("python", 0.75), 7: ThreadCpu("python", 3.5)}
    after[30] = ThreadCpu("rdk:main", 0.25)
    assert cpu_between(before, after) == {"main": 2.5, "python 2": 0.25, "rdk:main 4": 0.25}


def test_threads_of_a_program_are_counted_apart(tmp_path: Path) -> None:
    """What one of them burns is its own, and together they are the program's."""
    with running("burns", ["-c", _BURNS], tmp_path, {}) as program:
        deadline = time.monotonic() + 60
        while not (tmp_path / "done").exists():
            program.check()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        found = program.cpu_by_thread()
        assert sum(thread.seconds for thread in found.values()) == pytest.approx(program.cpu_seconds(), abs=0.05)
    main, other = (found[thread_id] for thread_id in sorted(found))
    assert other.seconds >= 0.2
    assert main.seconds < other.seconds


def test_both_kinds_of_calls_are_told_and_the_worse_is_the_value() -> None:
    """Few slow calls that fill the queue are not hidden by many cheap ones that are dropped."""
    queued = [1_000] * 97 + [50_000] * 3
    found = sdk_calls.call_figures([*queued, *[2_000] * 900], 100)
    assert found == {
        "microseconds": 50.0,
        "queued_p50": 1.0,
        "queued_p99": 50.0,
        "dropped_p50": 2.0,
        "dropped_p99": 2.0,
    }
    assert sdk_calls.call_figures([1_000] * 100 + [9_000] * 100, 100)["microseconds"] == 9.0


def test_calls_that_were_not_dropped_as_they_should_be_are_a_wrong_result() -> None:
    """Then the queue did not run full where the program says."""
    assert WARM_UP_CALLS == sdk_calls.WARM_UP_EVENTS
    check_dropped(CALLS // 2 + WARM_UP_CALLS)
    with pytest.raises(WrongResult, match="99 events were dropped"):
        check_dropped(99)
