"""`python -m tests.bench` as a user runs it, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.providers import apache_problem, apache_required

ROOT = Path(__file__).resolve().parents[2]


def run_bench(*arguments: str, timeout_seconds: float) -> str:
    """What it prints to stdout; fails unless it ends with 0, and skips where it cannot have Apache Kafka."""
    problem = apache_problem()
    if problem is not None:
        if apache_required():
            pytest.fail(f"COSTLEDGER_TEST_REQUIRE=apache, but the benchmark {problem}")
        pytest.skip(f"the benchmark {problem}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_seconds,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
