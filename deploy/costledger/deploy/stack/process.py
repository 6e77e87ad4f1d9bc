"""Start one service under the guard, signal it, wait for it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from . import guard

__all__ = ["Account", "Command", "GuardedProcess"]


@dataclass(frozen=True)
class Account:
    """The operating-system account that a service runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Command:
    """What to run, and how to end it.

    `pass_fds` are open file descriptors of this process that the service keeps under the same numbers.
    `stop_grace_seconds` applies when this process is gone and nobody waits any more.
    """

    argv: tuple[str, ...]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_seconds: float = 20.0
    account: Account | None = None
    pass_fds: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


class GuardedProcess:
    """A running service. It ends when this object is told so, or when this process ends in whatever way.

    A child forked without exec (multiprocessing's `fork`) holds the guard's pipe too: the service then lives
    as long as the last of them.
    """

    def __init__(self, command: Command, *, log_path: Path, lock_fd: int) -> None:
        argv = [sys.executable, "-I", "-S", guard.__file__]
        argv += ["--stop-signal", str(int(command.stop_signal))]
        argv += ["--grace-seconds", str(command.stop_grace_seconds), "--lock-fd", str(lock_fd)]
        if command.account is not None:
            argv += ["--uid", str(command.account.uid), "--gid", str(command.account.gid)]
        with log_path.open("ab") as log:
            self._guard = subprocess.Popen(
                [*argv, "--", *command.argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                cwd="/",  # never pin a directory that somebody wants to unmount or remove
                env={**os.environ, **command.environment},
                pass_fds=(lock_fd, *command.pass_fds),
                start_new_session=True,
            )
        assert self._guard.stdin is not None  # noqa: S101 - PIPE above; for the type checker
        assert self._guard.stdout is not None  # noqa: S101 - likewise
        self._commands = self._guard.stdin
        self._output = self._guard.stdout
        line = self._output.read(32).strip()
        self.pid: int = int(line) if line else 0

    def alive(self) -> bool:
        """True while the service, or anything that it started, is there."""
        return self._guard.poll() is None

    def send_signal(self, number: int) -> None:
        """Send a signal to the service; nothing happens when it has ended."""
        if self.alive():
            with contextlib.suppress(BrokenPipeError):
                self._commands.write(bytes([number]))

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the service and all its descendants have ended; False when time ran out."""
        try:
            self._guard.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        with contextlib.suppress(BrokenPipeError):
            self._commands.close()
        self._output.close()
        return True
