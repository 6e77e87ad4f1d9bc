"""Processes of costledger, started by its command line, each with links of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from costledger.schemas.fail_points import FLAG

#: Longer than is promised (F21), which is measured where it is asked for.
STOP_SECONDS_MAX = 15.0


class Worker:
    """One process. `client` names its links; `log_path` has everything that it wrote."""

    def __init__(
        self, command: str, client: str, environment: Mapping[str, str], log_path: Path, arguments: tuple[str, ...] = ()
    ) -> None:
        self.command = command
        self.client = client
        self.log_path = log_path
        #: Its end is wanted: it was killed from here, or was started to die at a fail point.
        self.doomed = FLAG in environment
        #: It was told to end in good order.
        self.dismissed = False
        program = str(Path(sys.executable).parent / "costledger")
        with log_path.open("ab") as out:
            self.process = subprocess.Popen(
                [program, command, *arguments],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._watched = psutil.Process(self.process.pid)

    def alive(self) -> bool:
        """True while the process is there."""
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL."""
        self.doomed = True
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> int:
        """SIGTERM, and wait; the exit code."""
        self.dismissed = True
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds_max)

    def suspend(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def is_suspended(self) -> bool:
        """Whether it stands still, by whoever's SIGSTOP."""
        return bool(self._watched.status() == psutil.STATUS_STOPPED)

    def resume(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def crashed(self) -> bool:
        """True when it has ended and nobody wanted it to, be it in good order; or was told to, and failed to."""
        return self.is_gone() and not self.doomed

    def is_gone(self) -> bool:
        """True when it has ended otherwise than in good order when it was told to: a supervisor starts it again."""
        code = self.process.poll()
        return code is not None and not (code == 0 and self.dismissed)

    def died_by_itself(self, timeout_seconds: float = 120.0) -> int:
        """Wait until it has ended; the exit code (-9: it was killed, also by a fail point)."""
        return self.process.wait(timeout_seconds)

    def logged(self, text: str) -> int:
        """How often it has written a text."""
        return self.log_path.read_text(errors="replace").count(text)

    def rss_bytes(self) -> int:
        """Resident memory; 0 when it has ended."""
        with contextlib.suppress(psutil.Error):
            return int(self._watched.memory_info().rss)
        return 0

    def cpu_seconds(self) -> float:
        """User and system time so far; 0 when it has ended."""
        with contextlib.suppress(psutil.Error):
            times = self._watched.cpu_times()
            return float(times.user + times.system)
        return 0.0

    def end(self) -> None:
        """Whatever its state: no such process afterwards."""
        if self.alive():
            self.kill()
