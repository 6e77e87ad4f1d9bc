"""What a load consists of, and the process that produces it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.fault.harness.oracle import Record
from tests.fixtures.wait import wait_until

ROOT = Path(__file__).resolve().parents[3]
FLUSH_SECONDS_MAX = 60.0
#: Before its first attempt a generator would not know what SIGTERM means.
START_SECONDS_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """A load that one seed decides. Shares are of all attempts; `events` None: until it is stopped.

    Amounts are up to `amount_max` (1e-12 USD). Events occurred up to `late_days_max` days ago in `late_share` of the
    cases, within the last `recent_seconds` else. In `around_share` of the cases they occurred within `around_seconds` of
    one of the instants `around` (Unix seconds), if that is past. `clock_shifts_seconds`: the clock of the process is wrong
    by so much, one after the other, each for an equal part of the events; what it then dates more than ten minutes ahead
    must be put aside. At a `rate` (events a second) of 0 it only sends what others left.
    The rate rises by `rate_rise` (events/s) every second. With a `metrics_port` the process tells there of its memory.
    """

    name: str
    seed: int
    events: int | None = None
    rate: float = 1_000.0
    rate_rise: float = 0.0
    users: int = 40
    durability: str = "spool"
    amount_max: int = 10**9
    recent_seconds: int = 60
    late_share: float = 0.05
    late_days_max: int = 35
    repeat_share: float = 0.01
    conflict_share: float = 0.0
    poison_share: float = 0.0
    unpriced_share: float = 0.005
    around: tuple[int, ...] = ()
    around_share: float = 0.0
    around_seconds: int = 300
    clock_shifts_seconds: tuple[int, ...] = (0,)
    delivery_timeout_seconds: float = 120.0
    flush_seconds: float = FLUSH_SECONDS_MAX
    queue_events_max: int = 100_000
    metrics_port: int = 0

    def due(self, seconds: float) -> int:
        """How many events are to be attempted in the first so many seconds."""
        if not self.rate and not self.rate_rise:
            return 0
        return int(seconds * self.rate + seconds**2 * self.rate_rise / 2) + 1


class Generator:
    """A load generator at work: a service with a `CostTracker`."""

    def __init__(self, load: Load, folder: Path, environment: Mapping[str, str], spool_dir: Path) -> None:
        self.load = load
        self.record = Record(folder / load.name, load.durability)
        self.spool_dir = spool_dir
        self.log_path = folder / f"{load.name}.log"
        with self.log_path.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fault.harness.load_main", json.dumps(asdict(load)), str(folder)],
                env={**os.environ, **environment, "COSTLEDGER_SPOOL_DIR": str(spool_dir)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def attempted(self) -> int:
        """How many events it has attempted so far."""
        return self.record.count()

    def await_more(self, events: int, timeout_seconds: float = 60.0) -> None:
        """Wait until it has attempted so many more than now."""
        wanted = self.attempted() + events
        wait_until(lambda: self.attempted() >= wanted, timeout_seconds, f"{self.load.name} has attempted {wanted}")

    def alive(self) -> bool:
        """True while it works."""
        return self.process.poll() is None

    def rest(self) -> None:
        """Have it attempt nothing until `go_on`; what it has tracked it sends."""
        self.process.send_signal(signal.SIGUSR1)

    def go_on(self) -> None:
        """After `rest`; what would have been due meanwhile is not made up for."""
        self.process.send_signal(signal.SIGUSR2)

    def finish(self, timeout_seconds: float = 120.0) -> dict[str, int]:
        """Wait for the end of a load that has one; the tracker's counts."""
        code = self.process.wait(timeout_seconds)
        assert code == 0, f"the load generator ended with {code}: {self.log_path.read_text()[-4000:]}"
        stats = self.record.stats
        assert stats is not None
        return stats

    def stop(self) -> dict[str, int]:
        """SIGTERM, once it is at work: it flushes and ends; the tracker's counts."""
        wait_until(lambda: self.record.begun() or not self.alive(), START_SECONDS_MAX, f"{self.load.name} is at work")
        self.process.send_signal(signal.SIGTERM)
        return self.finish(self.load.flush_seconds + 30)

    def spool_files(self) -> list[Path]:
        """The files in its spool, of whatever process; none where Kafka has acknowledged everything."""
        return list(self.spool_dir.glob("*.spool.sqlite3"))

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def end(self) -> None:
        """Whatever its state: no such process afterwards."""
        if self.alive():
            self.kill()
