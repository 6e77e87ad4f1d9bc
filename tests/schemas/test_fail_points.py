"""Fail points: off without their flag, loud about what is wrong in their variables, and doing what these say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from costledger.schemas import fail_points
from costledger.schemas.fail_points import FAIL_AT, FLAG, LOG, FailPointReached, FailPoints, parse, points_of

PLACE, OTHER = "sink.after_load", "spool.after_put"
#: Reaches the first place twice and the second once.
PROGRAM = f"""
from costledger.schemas.fail_points import reach, reach_step_of
reach("{PLACE}")
reach_step_of("sink")("after_load")
reach("{OTHER}")
print("alive")
"""


def run(**variables: str) -> subprocess.CompletedProcess[str]:
    """What becomes of the program in an environment with these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COSTLEDGER_TEST_FAIL")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("flag", [{}, {FLAG: "0"}, {FLAG: "true"}, {FLAG: ""}])
def test_without_the_flag_nothing_is_read(flag: dict[str, str], tmp_path: Path) -> None:
    """Neither a place to die at nor a wrong one has any effect, and nothing is written."""
    log = tmp_path / "visited.txt"
    for fail_at in (PLACE, "no.such_place"):
        done = run(**flag, **{FAIL_AT: fail_at, LOG: str(log)})
        assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
    assert not log.exists()
    assert points_of({**flag, FAIL_AT: PLACE}) is None


def test_reaching_a_place_is_a_call_of_an_empty_function() -> None:
    """In this process, which has no flag: no lookup, no lock, no count."""
    assert fail_points.reach is fail_points.reach_step_of("sink")
    code = fail_points.reach.__code__  # type: ignore[attr-defined]  # a function
    assert code.co_names == ()


@pytest.mark.parametrize(
    ("fail_at", "code", "visited"),
    [
        ("", 0, [PLACE, OTHER]),
        (PLACE, -signal.SIGKILL, [PLACE]),
        (f"{PLACE}:2", -signal.SIGKILL, [PLACE]),
        (f"{PLACE}:3", 0, [PLACE, OTHER]),
        (f"{PLACE}:3,{OTHER}:1:kill", -signal.SIGKILL, [PLACE, OTHER]),
        (f"{OTHER}::raise", 1, [PLACE, OTHER]),
    ],
)
def test_the_process_fails_where_it_is_told(fail_at: str, code: int, visited: list[str], tmp_path: Path) -> None:
    """At that visit and no other; what was visited is in the log, once each, in order."""
    log = tmp_path / "visited.txt"
    done = run(**{FLAG: "1", FAIL_AT: fail_at, LOG: str(log)})
    assert done.returncode == code, done.stderr
    assert log.read_text().split() == visited
    assert ("FailPointReached" in done.stderr) == (code == 1)


def test_a_stopped_process_goes_on_when_it_is_told() -> None:
    """`stop` is SIGSTOP; after SIGCONT the process goes on behind the place."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, FLAG: "1", FAIL_AT: f"{PLACE}:2:stop"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=30) == ("alive\n", None)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize(
    ("fail_at", "told"),
    [
        ("sink.nowhere", "'sink.nowhere' is no fail point"),
        (f"{PLACE},sink.nowhere:2", "'sink.nowhere' is no fail point"),
        (f"{PLACE}:0", "wants visit '0'"),
        (f"{PLACE}:-1", "wants visit '-1'"),
        (f"{PLACE}:once", "wants visit 'once'"),
        (f"{PLACE}:1:explode", "wants the action 'explode'"),
        (f"{PLACE}:1:kill:2", "wants the action 'kill:2'"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(fail_at: str, told: str) -> None:
    """A name, a visit or an action that does not exist ends the process before it does anything."""
    with pytest.raises(ValueError, match=re.escape(told)):
        parse(fail_at)
    done = run(**{FLAG: "1", FAIL_AT: fail_at})
    assert done.returncode == 1
    assert done.stdout == ""
    assert told in done.stderr


def test_a_place_that_is_not_registered_is_refused() -> None:
    """Code that reaches it is at fault, and says so."""
    with pytest.raises(ValueError, match=r"'sink\.nowhere' is no fail point"):
        FailPoints("", None).reach("sink.nowhere")


def test_visits_are_counted_over_all_threads() -> None:
    """Of a hundred visits from ten threads, the one that was chosen fails, and no other."""
    points = FailPoints(f"{PLACE}:42:raise", None)
    failures: list[FailPointReached] = []

    def visit() -> None:
        for _ in range(10):
            try:
                points.reach(PLACE)
            except FailPointReached as error:
                failures.append(error)

    threads = [threading.Thread(target=visit) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(one) for one in failures] == [f"fail point {PLACE}, visit 42"]
