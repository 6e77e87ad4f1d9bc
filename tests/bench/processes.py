"""Programs that are measured: started, watched, ended; and the environment they get."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_STOP_SECONDS_MAX = 30.0
_LOG_TAIL_CHARS = 3000
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
#: With this a Java program ends that has been stopped in order.
JAVA_STOPPED = 128 + signal.SIGTERM


class ProgramFailed(RuntimeError):
    """A program ended when it should not, or not with 0; with the end of its log."""


class ThreadCpu(NamedTuple):
    """A thread's name as the kernel has it, and the CPU seconds that it has used."""

    name: str
    seconds: float


class Program:
    """A running program; its output goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path) -> None:
        self._process = process
        self._log_path = log_path

    @property
    def log_path(self) -> Path:
        """Where its output goes."""
        return self._log_path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def cpu_seconds(self) -> float:
        """CPU that it has used so far, all its threads together; `FileNotFoundError` once it is gone."""
        return _cpu_seconds(Path(f"/proc/{self.pid}"))

    def cpu_by_thread(self) -> dict[int, ThreadCpu]:
        """What each of its threads has used so far, by thread id; nothing of those that have ended."""
        found = {}
        with suppress(FileNotFoundError):
            for task in Path(f"/proc/{self.pid}/task").iterdir():
                with suppress(FileNotFoundError, ProcessLookupError):
                    found[int(task.name)] = ThreadCpu((task / "comm").read_text().strip(), _cpu_seconds(task))
        return found

    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    def check(self) -> None:
        """`ProgramFailed` when it has ended by itself."""
        if self._process.poll() is not None:
            raise self._failed(f"ended by itself with {self._process.returncode}")

    def stop(self, code_wanted: int = 0) -> None:
        """SIGTERM; `ProgramFailed` unless it ends with `code_wanted` in time."""
        self._process.send_signal(signal.SIGTERM)
        self._await(code_wanted, "SIGTERM")

    def finish(self) -> None:
        """Wait until it ends by itself; `ProgramFailed` unless it does so in time and with 0."""
        self._await(0, "its last commit")

    def _await(self, code_wanted: int, since: str) -> None:
        try:
            code = self._process.wait(_STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise self._failed(f"did not end within {_STOP_SECONDS_MAX:g} s of {since}") from None
        if code != code_wanted:
            raise self._failed(f"ended with {code} after {since}")

    def _failed(self, what: str) -> ProgramFailed:
        log = self._log_path.read_text(errors="replace")[-_LOG_TAIL_CHARS:]
        return ProgramFailed(f"{self._log_path.stem} {what}:\n{log}")


def cpu_between(before: Mapping[int, ThreadCpu], after: Mapping[int, ThreadCpu]) -> dict[str, float]:
    """CPU seconds of each thread between two samples, of those that used any.

    `main` is the first; the others have their name and their place in the order of their start, since Python's have no names
    of their own.
    """
    used = {}
    for place, (thread_id, thread) in enumerate(sorted(after.items()), 1):
        seconds = thread.seconds - (before[thread_id].seconds if thread_id in before else 0.0)
        if seconds > 0:
            used["main" if place == 1 else f"{thread.name} {place}"] = round(seconds, 2)
    return used


def _cpu_seconds(process: Path) -> float:
    """User and system time of a process or thread, given its folder in /proc."""
    # The second field is the name in brackets, which may hold blanks; utime and stime are the 14th and 15th.
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


@contextmanager
def running(
    name: str, arguments: list[str], folder: Path, settings: Mapping[str, str], executable: str = sys.executable
) -> Iterator[Program]:
    """Run `python ARGUMENTS`, or another executable with them, in `folder`; killed at the end if it still runs."""
    log_path = folder / f"{name}.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [executable, *arguments],
            cwd=folder,
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Program(process, log_path)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(_STOP_SECONDS_MAX)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Our environment with these settings of costledger and no other: nobody's own settings are measured."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("COSTLEDGER_")}, **settings}


def machine_cpu_seconds() -> float:
    """CPU that all processes of this machine and its kernel have used since it was started."""
    # The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / _TICKS_PER_SECOND
