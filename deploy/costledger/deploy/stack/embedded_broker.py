"""librdkafka's in-process broker, in a process of its own."""

from __future__ import annotations

import contextlib
import logging
import select
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from . import embedded_broker_main
from .errors import ServiceFailed, StackError
from .service import STOP_TIMEOUT_SECONDS, log_tail

__all__ = ["EmbeddedBroker"]

START_TIMEOUT_SECONDS = 20.0
KILL_TIMEOUT_SECONDS = 10.0
_logger = logging.getLogger(__name__)


class EmbeddedBroker:
    """A Kafka broker without Java: the real protocol on loopback, everything in memory.

    What it is not: nothing survives a stop; it keeps 5 MiB or 100,000 batches a partition and then
    drops the oldest *without a word*; it has no CreateTopics, a topic appears when its metadata is asked for,
    always with `partitions_fixed` partitions, since librdkafka has no setting for that; every start has
    another address. It ends when its standard input ends, hence with this process, killed or not.
    """

    name: ClassVar[str] = "kafka"
    partitions_fixed: ClassVar[int] = 4

    def __init__(self, data_dir: Path, *, log_path: Path | None = None) -> None:
        self._log_path = (log_path or data_dir / "embedded-broker.log").absolute()
        self._process: subprocess.Popen[bytes] | None = None
        self._address: str | None = None

    @property
    def address(self) -> str:
        """`host:port`; StackError before the first start."""
        if self._address is None:
            raise StackError("the embedded broker has no address before it was started")
        return self._address

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to: the same as `address`."""
        return self.address

    @property
    def log_path(self) -> Path:
        """The file with everything that the broker wrote."""
        return self._log_path

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def alive(self) -> bool:
        """True while its process is there."""
        return self.pid is not None

    def start(self) -> None:
        """Start it and wait for its address. StackError when none comes."""
        if self.alive():
            raise StackError(f"the embedded broker is already running on {self.address}")
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", embedded_broker_main.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,
            )
        self._process = process
        assert process.stdout is not None  # noqa: S101 - PIPE above; for the type checker
        readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_SECONDS)
        line = process.stdout.readline().decode().strip() if readable else ""
        if not line:
            self.kill()
            tail = log_tail(self._log_path).decode(errors="replace")
            raise ServiceFailed("embedded broker", "did not start", self._log_path, tail)
        self._address = line

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """End it; all its data is gone. Nothing happens when it is down."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None  # noqa: S101 - PIPE in start; for the type checker
        assert process.stdout is not None  # noqa: S101 - likewise
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            _logger.warning("the embedded broker did not end within %g s: killing it", timeout_seconds)
            process.kill()
            process.wait(KILL_TIMEOUT_SECONDS)
        process.stdout.close()

    def kill(self) -> None:
        """End it with SIGKILL; all its data is gone."""
        if self._process is not None:
            self._process.kill()
            self.stop(KILL_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
