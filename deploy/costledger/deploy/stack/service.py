"""The shape that every local service has, and the life of those that run under the guard."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Protocol, Self

from .errors import ServiceFailed, StackError
from .ports import LOOPBACK, free_port, is_free
from .process import Command, GuardedProcess

__all__ = ["STOP_TIMEOUT_SECONDS", "ProcessService", "Service", "log_tail", "write_private"]

STOP_TIMEOUT_SECONDS = 20.0
KILL_TIMEOUT_SECONDS = 10.0
LOCK_TIMEOUT_SECONDS = 30.0
PORT_ATTEMPTS_MAX = 5
POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 4096
PORT_TAKEN = b"Address already in use"

_logger = logging.getLogger(__name__)


class Service(Protocol):
    """One real service on loopback."""

    @property
    def address(self) -> str:
        """`host:port`; StackError before the first start."""

    @property
    def log_path(self) -> Path:
        """The file with everything that the service wrote."""

    def start(self) -> None:
        """Start it and wait until it answers. StackError when it cannot."""

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """End it in an orderly way, with SIGKILL when the time is over. Nothing happens when it is down."""

    def kill(self) -> None:
        """End it with SIGKILL, as a crash does, and wait until nothing of it is left."""

    def alive(self) -> bool:
        """True while a process of it is there."""


def log_tail(log_path: Path, from_byte: int = 0) -> bytes:
    """The last few kilobytes that were written to a log after `from_byte`."""
    with log_path.open("rb") as log:
        end = log.seek(0, os.SEEK_END)
        log.seek(max(from_byte, end - LOG_TAIL_BYTES))
        return log.read()


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, and have it on disk: what it unlocks must not outlive it."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


class ProcessService(ABC):
    """A service that is one guarded process with its data in one directory.

    The port is chosen at the first start and kept over every later one; a new object on the same directory
    takes the port of the last run when it is free, so that addresses survive a restart of the whole.
    Not thread-safe: one thread starts and stops it, any may read its address.
    """

    name: ClassVar[str]
    start_timeout_seconds: ClassVar[float] = 30.0

    def __init__(self, data_dir: Path, *, port: int | None = None, log_path: Path | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self._log_path = (log_path or self.data_dir / f"{self.name}.log").absolute()
        self._port = port
        self._process: GuardedProcess | None = None

    @abstractmethod
    def _prepare(self) -> None:
        """Create the data when there is none yet. Called under the lock, before every start."""

    @abstractmethod
    def _command(self, port: int) -> Command:
        """What to run so that it listens on the port."""

    @abstractmethod
    def _ready(self) -> bool:
        """Ask once whether it answers clients."""

    def _after_spawn(self, command: Command) -> None:  # noqa: B027 - most have nothing to let go of
        """Release what the command needed only until the process was there."""

    @property
    def address(self) -> str:
        """`host:port`; StackError before the first start."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def port(self) -> int:
        """The TCP port; StackError before the first start."""
        if self._port is None:
            raise StackError(f"{self.name} has no port before it was started")
        return self._port

    @property
    def log_path(self) -> Path:
        """The file with everything that the service wrote."""
        return self._log_path

    @property
    def pid(self) -> int | None:
        """The process id of the service itself while it runs."""
        return self._process.pid if self._process is not None and self._process.alive() else None

    def alive(self) -> bool:
        """True while a process of it is there."""
        return self._process is not None and self._process.alive()

    def start(self) -> None:
        """Start it and wait until it answers. StackError when it cannot."""
        if self.alive():
            raise StackError(f"{self.name} is already running on {self.address}")
        for directory in (self.data_dir, self._log_path.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_fd = self._lock()
        try:
            self._prepare()
            self._start_on_some_port(lock_fd)
        finally:
            os.close(lock_fd)  # the guard has inherited it and holds the lock until it ends

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """End it in an orderly way, with SIGKILL when the time is over. Nothing happens when it is down."""
        self._end(self._stop_signal(), timeout_seconds)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash does, and wait until nothing of it is left."""
        self._end(signal.SIGKILL, KILL_TIMEOUT_SECONDS)

    def send_signal(self, number: int) -> None:
        """Send a signal to the service's main process, SIGSTOP for example."""
        if self._process is not None:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _stop_signal(self) -> signal.Signals:
        return signal.SIGTERM

    def _end(self, number: signal.Signals, timeout_seconds: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        if process.wait(timeout_seconds):
            return
        _logger.warning("%s did not end within %g s of %s: killing it", self.name, timeout_seconds, number.name)
        process.send_signal(signal.SIGKILL)
        if not process.wait(KILL_TIMEOUT_SECONDS):
            raise StackError(f"{self.name} (process {process.pid}) survives SIGKILL")

    def _lock(self) -> int:
        """Take the lock of the data directory; a former run that still ends is waited for."""
        lock_fd = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        while True:
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock_fd
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock_fd)
                    raise StackError(f"{self.name}: {self.data_dir} is in use by another process") from None
            time.sleep(POLL_SECONDS)

    def _start_on_some_port(self, lock_fd: int) -> None:
        port_file = self.data_dir / "port"
        fixed = self._port is not None
        if not fixed and port_file.exists():
            text = port_file.read_text().strip()
            self._port = int(text) if text.isdigit() else None  # a crash of the machine may have emptied it
        for _ in range(PORT_ATTEMPTS_MAX):
            port = self._port = self._port or free_port()
            # Asked first, because another server on the port might answer in our server's place.
            if is_free(port) and self._start_once(port, lock_fd):
                port_file.write_text(f"{port}\n")
                return
            if fixed:
                raise StackError(f"{self.name}: port {port} is taken by another program")
            _logger.warning("%s: port %d is taken by another program", self.name, port)
            self._port = None
        raise StackError(f"{self.name}: {PORT_ATTEMPTS_MAX} ports one after the other were taken")

    def _start_once(self, port: int, lock_fd: int) -> bool:
        """True once it answers; False when somebody else took the port. ServiceFailed for anything else."""
        log_start = self._log_path.stat().st_size if self._log_path.exists() else 0
        command = self._command(port)
        if self._process is not None:
            # It has ended by itself: what it held is closed.
            self._process.wait(KILL_TIMEOUT_SECONDS)
        try:
            process = GuardedProcess(command, log_path=self._log_path, lock_fd=lock_fd)
        finally:
            self._after_spawn(command)
        self._process = process
        deadline = time.monotonic() + self.start_timeout_seconds
        try:
            while process.alive() and time.monotonic() < deadline:
                if self._ready():
                    return True
                time.sleep(POLL_SECONDS)
            ended = not process.alive()
        except BaseException:
            self.kill()
            raise
        self.kill()
        tail = log_tail(self._log_path, log_start)
        if ended and PORT_TAKEN in tail:
            return False
        reason = "ended while it started" if ended else f"not ready in {self.start_timeout_seconds:g} s"
        raise ServiceFailed(self.name, reason, self._log_path, tail.decode(errors="replace"))
