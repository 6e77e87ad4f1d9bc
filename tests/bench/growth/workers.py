"""Workers of a curve: topics of their own, processes as shipped, when they are open, and how much memory they have."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import psutil
from tests.bench.growth.curves import Machine
from tests.bench.processes import Program, running

from costledger.deploy.kafka_topics import check_topics, needed_topics
from costledger.schemas.memory import COLLECT_SECONDS
from costledger.schemas.settings import Settings

START_SECONDS_MAX: Final = 300.0
#: Memory counts when it has changed by less than this share for so long; users go to rest and Redis is written first.
STEADY_SHARE: Final = 0.01
#: Longer than from one coming of Python's collector to the next.
STEADY_SECONDS: Final = COLLECT_SECONDS + 5.0
_STEADY_SECONDS_MAX: Final = 600.0
_POLL_SECONDS: Final = 0.02
_BYTES_PER_KIB: Final = 1024
#: What the transport logs once the state of all partitions is there and reading begins.
_OPEN: Final = "Open: "


class NotInTime(TimeoutError):
    """A worker did not come to where it should be."""


@dataclass(frozen=True)
class Place:
    """Topics under a prefix that nobody had before, and the group that reads them."""

    machine: Machine
    partitions: int
    prefix: str = field(default_factory=lambda: f"growth-{uuid.uuid4().hex[:8]}.")
    run: str = ""

    def again(self) -> Place:
        """The same topics for a group that nobody had before; a stream app of it still needs a changelog."""
        return replace(self, run=f"{uuid.uuid4().hex[:8]}.")

    @property
    def bootstrap(self) -> str:
        """The brokers."""
        return self.machine.services["COSTLEDGER_BOOTSTRAP_SERVERS"]

    @property
    def group(self) -> str:
        """The stream app's id, the sink's group."""
        return f"{self.prefix}{self.run}group"

    @property
    def events(self) -> str:
        """The topic of events."""
        return self.settings().topics.events

    def settings(self) -> Settings:
        """The settings of this place."""
        return Settings(
            bootstrap_servers=self.bootstrap,
            topic_prefix=self.prefix,
            stream_app_id=self.group,
            partitions=self.partitions,
        )

    def make_topics(self) -> None:
        """All topics of the system that are not there yet, the changelog of the app among them."""
        settings = self.settings()
        check_topics(settings, needed_topics(settings), create=True)

    def variables(self) -> dict[str, str]:
        """The environment of its workers; ports are free ones."""
        return {
            **self.machine.services,
            "COSTLEDGER_TOPIC_PREFIX": self.prefix,
            "COSTLEDGER_PARTITIONS": str(self.partitions),
            "COSTLEDGER_STREAM_APP_ID": self.group,
            "COSTLEDGER_SINK_GROUP": self.group,
            "COSTLEDGER_STREAM_METRICS_PORT": "0",
            "COSTLEDGER_SINK_METRICS_PORT": "0",
        }


@dataclass(frozen=True)
class Worker:
    """A running process, and when it was started (seconds of the monotonic clock)."""

    program: Program
    pid: int
    started: float

    def seconds_to_open(self) -> float:
        """Wait until it has its state and reads; how long that took since its start."""
        while _OPEN not in self.program.log_path.read_text(errors="replace"):
            self.program.check()
            if time.monotonic() - self.started > START_SECONDS_MAX:
                raise NotInTime(f"{self.program.log_path.name} was not open within {START_SECONDS_MAX:g} s")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - self.started

    def steady_bytes(self) -> int:
        """Its resident memory once that has settled; `NotInTime` if it does not."""
        process = psutil.Process(self.pid)
        deadline = time.monotonic() + _STEADY_SECONDS_MAX
        return steady(lambda: process.memory_info().rss, deadline, self.program.check)

    def peak_bytes(self) -> int:
        """The most resident memory that it has had since its start."""
        return peak_of(Path(f"/proc/{self.pid}/status").read_text())


def peak_of(status: str) -> int:
    """The bytes of VmHWM in the text of a /proc/PID/status."""
    (kibibytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) * _BYTES_PER_KIB


def steady(ask: Callable[[], int], deadline: float, check: Callable[[], None]) -> int:
    """A figure that has stayed within `STEADY_SHARE` for `STEADY_SECONDS`, asked for until the deadline."""
    held, since = ask(), time.monotonic()
    while time.monotonic() - since < STEADY_SECONDS:
        check()
        if time.monotonic() > deadline:
            raise NotInTime(f"the memory did not settle within {_STEADY_SECONDS_MAX:g} s, it is {held:,} bytes")
        time.sleep(0.2)
        found = ask()
        if abs(found - held) > STEADY_SHARE * held:
            held, since = found, time.monotonic()
    return ask()


@contextmanager
def worker(place: Place, command: str, **more: str) -> Iterator[Worker]:
    """`costledger COMMAND` at a place, with `more` settings; killed at the end if it still runs."""
    name = f"{command}-{uuid.uuid4().hex[:8]}"
    arguments = ["-m", "costledger", command, "--supervisor", str(os.getpid())]
    started = time.monotonic()
    with running(name, arguments, place.machine.folder, {**place.variables(), **more}) as program:
        yield Worker(program, program.pid, started)
