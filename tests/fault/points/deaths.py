"""Deaths at fail points: a process is started so that it dies at a place, and it is seen that it did."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from costledger.schemas.fail_points import FAIL_AT, FAIL_POINTS, FLAG, LOG

#: Of a process that starts on a busy machine.
DEATH_SECONDS_MAX = 120.0

Process = TypeVar("Process", bound="subprocess.Popen[Any]")
Test = TypeVar("Test", bound=Callable[..., None])


def places_of(*parts: str) -> tuple[str, ...]:
    """The places whose names begin with these parts, in the order of the code."""
    return tuple(name for name in FAIL_POINTS if name.split(".")[0] in parts)


def visits(*places: str) -> Callable[[Test], Test]:
    """A test in which a process dies at each of these places: see the fixture `deaths`, which holds it to that."""

    def mark(test: Test) -> Test:
        test.visits = places  # type: ignore[attr-defined]  # a note for the fixture and for test_points_in_code
        return test

    return mark


class Deaths:
    """The deaths of one test, in order."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.places: list[str] = []

    def at(
        self,
        place: str,
        start: Callable[[dict[str, str]], Process],
        *,
        visit: int = 1,
        provoke: Callable[[Process], object] = lambda _process: None,
        timeout_seconds: float = DEATH_SECONDS_MAX,
    ) -> Process:
        """Start a process with the variables that `start` is given; it must die at this visit of the place.

        `provoke` is called with the process, for places that are not reached by themselves.
        """
        log = self.directory / f"visited-{len(self.places)}.txt"
        process = start({FLAG: "1", FAIL_AT: f"{place}:{visit}", LOG: str(log)})
        provoke(process)
        try:
            code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            code = None
        visited = log.read_text().split() if log.exists() else []
        assert code == -signal.SIGKILL, f"{place}, visit {visit}: exit code {code}; it was at {visited}"
        assert place in visited
        self.places.append(place)
        return process
