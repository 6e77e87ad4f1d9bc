"""Keeps the workers of one machine running: each a process of its own, started again when it dies.

Single-threaded on purpose: `tick` is called from the main loop of `up` or `demo`. (The kernel ends a worker with
the *thread* that started it, so that thread has to be the one that stays.)
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

BACKOFF_SECONDS_MIN: Final = 0.5
BACKOFF_SECONDS_MAX: Final = 30.0
#: A worker that ran for so long begins again with the shortest wait.
STEADY_SECONDS: Final = 60.0
#: Workers drain within 10 seconds; after this they are killed.
STOP_TIMEOUT_SECONDS: Final = 15.0
KILL_TIMEOUT_SECONDS: Final = 5.0
LOG_BYTES_MAX: Final = 20 * 2**20
_READY_TIMEOUT_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.05
#: Drained, or asked to end before it had begun.
_ORDERLY: Final = (0, -signal.SIGTERM)
#: Loopback is never reached through a proxy, whatever http_proxy says.
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """A worker: the name of its command, the URL that says whether it is ready, and where its log goes.

    `listener` is the socket of its metrics: held open here, the port cannot be taken while the worker is away.
    """

    name: str
    ready_url: str
    log_path: Path
    listener: socket.socket | None = None


class Supervisor:
    """Starts workers, starts them again when they die, and drains them at the end. `report` gets one line each."""

    def __init__(self, specs: list[WorkerSpec], environment: Mapping[str, str], report: Report) -> None:
        self._workers = [_Worker(spec, dict(environment), report) for spec in specs]
        self._report = report

    def start(self) -> None:
        """Start all workers; `waiting` tells when they are ready."""
        for worker in self._workers:
            worker.start()

    def tick(self) -> None:
        """Look after the workers: call several times a second."""
        for worker in self._workers:
            worker.tick(time.monotonic())

    def waiting(self) -> dict[str, str]:
        """The workers that are not ready, with the reason that each gives; empty when all are."""
        reasons = {worker.spec.name: worker.not_ready() for worker in self._workers}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Drain all workers side by side; those that take longer are killed. What was not orderly is reported."""
        for worker in self._workers:
            worker.ask_to_stop()
        deadline = time.monotonic() + timeout_seconds
        while any(worker.alive() for worker in self._workers) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        for worker in self._workers:
            worker.end()


class _Worker:
    def __init__(self, spec: WorkerSpec, environment: dict[str, str], report: Report) -> None:
        self.spec = spec
        self._environment = environment
        self._report = report
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at = 0.0
        self._backoff_seconds = BACKOFF_SECONDS_MIN

    def start(self) -> None:
        # "costledger stream" is in the command line, so that ps and pgrep find it by its name. -P: the
        # directory in which `up` was called must not shadow the package.
        argv = [sys.executable, "-P", "-m", "costledger", self.spec.name, "--supervisor", str(os.getpid())]
        listener = self.spec.listener
        if listener is not None:
            argv += ["--listener", str(listener.fileno())]
        with _opened_log(self.spec.log_path) as log:
            self._process = subprocess.Popen(
                argv,
                pass_fds=() if listener is None else (listener.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,  # Ctrl-C reaches the supervisor alone, which drains in order
            )
        self._started_at = time.monotonic()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tick(self, now: float) -> None:
        if self.alive():
            return
        if self._process is not None:
            self._plan_restart(self._process.returncode, now)
        elif now >= self._restart_at:
            self.start()

    def _plan_restart(self, code: int, now: float) -> None:
        ran_seconds = now - self._started_at
        if ran_seconds >= STEADY_SECONDS:
            self._backoff_seconds = BACKOFF_SECONDS_MIN
        wait_seconds = self._backoff_seconds
        self._backoff_seconds = min(BACKOFF_SECONDS_MAX, 2 * self._backoff_seconds)
        self._process = None
        self._restart_at = now + wait_seconds
        self._report(
            f"{self.spec.name} ended ({_ending(code)}) after {ran_seconds:.1f} s: "
            f"starting it again in {wait_seconds:g} s; its log is {self.spec.log_path}"
        )

    def not_ready(self) -> str | None:
        if not self.alive():
            return "not running"
        try:
            with _DIRECT.open(self.spec.ready_url, timeout=_READY_TIMEOUT_SECONDS):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode().strip()
        except OSError:
            return "starting"

    def ask_to_stop(self) -> None:
        if self._process is not None and self.alive():
            self._process.send_signal(signal.SIGTERM)
            self._process.send_signal(signal.SIGCONT)  # a stopped process would sit out the time

    def end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            self._report(f"{self.spec.name} did not drain in time: killing it")
            process.kill()
            process.wait(KILL_TIMEOUT_SECONDS)
        elif process.returncode not in _ORDERLY:
            self._report(f"{self.spec.name} ended ({_ending(process.returncode)}); its log is {self.spec.log_path}")


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _opened_log(path: Path) -> IO[bytes]:
    """The log, appended to; one that has grown large is put aside first, replacing the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
