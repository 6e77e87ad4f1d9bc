"""Hundreds of thousands of hostile inputs for the codec: each is a record that keeps its bounds, or refused with a reason."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fault.hostile import fuzzing

ROOT = Path(__file__).parents[3]
PROCESSES = 2
INPUTS = 20_000
MANY_INPUTS = 200_000
#: Places in the code, as libFuzzer counts them.
COVERED_MIN = 100


def test_any_input_is_an_event_or_refused(seed: int) -> None:
    """A record that passes `check_event` and survives the round trip, or one of the errors raised on purpose; within
    50 ms and a fixed amount of memory; and the sink accepts exactly what the stream accepts."""
    _fuzz(seed, INPUTS)


@pytest.mark.fault
@pytest.mark.long
@pytest.mark.timeout(900)
def test_any_of_many_inputs_is_an_event_or_refused(seed: int) -> None:
    """So it is with ten times as many, and others."""
    _fuzz(seed + PROCESSES, MANY_INPUTS)


def _fuzz(seed: int, inputs: int) -> None:
    each = inputs // PROCESSES
    command = [sys.executable, "-m", "tests.fault.hostile.fuzzing"]
    running = [
        subprocess.Popen(
            [*command, str(seed + number), str(each)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for process in running:
        with process:
            out, errors = process.communicate()
        assert process.returncode == 0, errors[-5_000:]
        found = json.loads(out)
        outcomes = found["outcomes"]
        assert sum(outcomes.values()) == each
        assert found["slowest_seconds"] < fuzzing.SECONDS_MAX
        # What tries the promises must get past the first of them.
        assert outcomes["accepted"] > each // 50
        assert min(outcomes[name] for name in ("undecodable", "unknown_schema", "oversize", "invalid_metadata")) > 0


def test_inputs_that_grow_towards_new_code_break_no_promise(seed: int, tmp_path: Path) -> None:
    """Some thousands, guided by the lines that they reach."""
    _fuzz_by_coverage(seed, INPUTS // 4, tmp_path)


@pytest.mark.fault
@pytest.mark.long
@pytest.mark.timeout(900)
def test_many_inputs_that_grow_towards_new_code_break_no_promise(seed: int, tmp_path: Path) -> None:
    """Two hundred thousand."""
    _fuzz_by_coverage(seed + 1, MANY_INPUTS, tmp_path)


def test_a_promise_that_is_broken_ends_the_guided_run(seed: int, tmp_path: Path) -> None:
    """With the input in a file: here none may be accepted."""
    breaking = """
from tests.fault.hostile import coverage_fuzzing, fuzzing
def check_event(record, received_at_us):
    raise KeyError("user_id")
fuzzing.check_event = check_event
coverage_fuzzing.main()
"""
    done = _run_guided(["-c", breaking], seed, INPUTS // 4, tmp_path)
    assert done.returncode != 0
    assert "KeyError" in done.stdout + done.stderr
    assert len(list(tmp_path.glob("broken-crash-*"))) == 1


def _fuzz_by_coverage(seed: int, inputs: int, folder: Path) -> None:
    done = _run_guided(["-m", "tests.fault.hostile.coverage_fuzzing"], seed, inputs, folder)
    assert done.returncode == 0, done.stderr[-5_000:]
    assert f"Done {inputs} runs" in done.stderr
    # What it began with reaches most lines; the rest it has to find.
    reached = [int(found) for found in re.findall(r"cov: (\d+)", done.stderr)]
    assert max(reached) > reached[0] > COVERED_MIN


def _run_guided(program: list[str], seed: int, inputs: int, folder: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("atheris", reason="there is no package of Atheris for this platform")
    arguments = [*program, str(seed), str(inputs), str(folder)]
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_fuzzer_sees_an_error_that_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that lets a name out of bounds fail with another error, or a consumer that differs, ends a run."""

    def broken(record: dict[str, object], received_at_us: int) -> None:
        raise KeyError("user_id")

    monkeypatch.setattr(fuzzing, "check_event", broken)
    monkeypatch.setattr(fuzzing.codec, "configure_registry", lambda _registry: None)
    with pytest.raises(AssertionError, match="KeyError"):
        fuzzing.run(1, fuzzing.BATCH_INPUTS)
    monkeypatch.undo()
    monkeypatch.setattr(fuzzing.codec, "configure_registry", lambda _registry: None)
    monkeypatch.setattr(fuzzing, "stream_accepts", lambda inputs: [False] * len(inputs))
    with pytest.raises(AssertionError, match="the sink says True, the stream False"):
        fuzzing.run(1, fuzzing.BATCH_INPUTS)
