"""What is looked at while harm is done: snapshots of the roll-ups (I3), memory and progress (I8)."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from tests.fault.harness.findings import Findings
from tests.fault.harness.ledger_checks import check_rollups
from tests.fixtures.wait import wait_until

if TYPE_CHECKING:
    from tests.fault.harness.cluster import Cluster

SAMPLE_SECONDS: Final = 0.5
SNAPSHOT_SECONDS: Final = 2.0
#: Snapshots of a large ledger take seconds: they may take so much of the time, and no more.
SNAPSHOT_SHARE_MAX: Final = 0.05
_STOP_SECONDS_MAX: Final = 70.0
_FIRST_SECONDS_MAX: Final = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `rss_bytes` by worker (0: not running); `consumed` is None while PostgreSQL is away."""

    at_seconds: float
    rss_bytes: dict[str, int]
    consumed: int | None


class Watch:
    """Looks from a thread of its own, from `start` to `stop`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._began = time.monotonic()
        self.samples: list[Sample] = []
        self.snapshots = 0
        self.findings = Findings()

    def start(self) -> None:
        """Begin to look, or go on."""
        if self._thread is not None:
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="fault watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more. What went wrong with looking itself is raised here."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS_MAX)
            assert not self._thread.is_alive(), (
                f"the watch has been looking for {_STOP_SECONDS_MAX:.0f} s, and sees nothing"
            )
            self._thread = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def await_snapshot(self) -> None:
        """Wait for the first one; for a ledger that has entries, and is over before anybody looked."""
        wait_until(lambda: self.snapshots or self._failure, _FIRST_SECONDS_MAX, "a snapshot of the roll-ups is taken")

    def seconds(self) -> float:
        """Since it was made; the clock of the samples."""
        return time.monotonic() - self._began

    def report(self, findings: Findings, rss_bytes_max: int) -> None:
        """Stop, and tell what was seen. Nothing seen breaks the promises that were to be looked at."""
        self.stop()
        for invariant, found in self.findings.broken.items():
            for what in found:
                findings.found(invariant, f"during the faults: {what}")
        peak = max((max(sample.rss_bytes.values(), default=0) for sample in self.samples), default=0)
        findings.figures["rss_peak_mib"] = round(peak / 2**20, 1)
        findings.figures["snapshots"] = self.snapshots
        # Who has not looked knows nothing: that a promise held is not to be said of what nobody saw.
        findings.expect("I8", peak > 0, f"nobody looked at the workers' memory: {len(self.samples)} looks")
        findings.expect("I3", self.snapshots > 0, "nobody took a snapshot of the roll-ups before the check")
        findings.expect("I8", peak <= rss_bytes_max, f"a worker held {peak} bytes; at most {rss_bytes_max} may be")

    def _run(self) -> None:
        snapshot_at = time.monotonic()
        try:
            while not self._stopping.wait(SAMPLE_SECONDS):
                began = time.monotonic()
                due = began >= snapshot_at
                sample = self._look(snapshot=due)
                self.samples.append(sample)
                if due:
                    # One of a PostgreSQL that was away has cost nothing but time.
                    took_seconds = 0.0 if sample.consumed is None else time.monotonic() - began
                    # Nor does one that saw no entries put off the first that does.
                    pause_seconds = SNAPSHOT_SECONDS if self.snapshots else 0.0
                    snapshot_at = began + max(pause_seconds, took_seconds / SNAPSHOT_SHARE_MAX)
        except BaseException as error:  # noqa: BLE001 - raised by `stop`, in the test's own thread
            self._failure = error

    def _look(self, *, snapshot: bool) -> Sample:
        rss = {name: worker.rss_bytes() for name, worker in list(self._cluster.workers.items())}
        consumed: int | None = None
        try:
            # A connection each time: scenarios cut them.
            with psycopg.connect(self._cluster.database_url, autocommit=True, connect_timeout=5) as connection:
                row = connection.execute(
                    "SELECT coalesce(sum(consumed), 0)::bigint FROM ledger.sink_offsets"
                ).fetchone()
                consumed = None if row is None else int(row[0])
                if snapshot:
                    check_rollups(connection, self.findings)
                    # One of a ledger without entries has seen nothing.
                    self.snapshots += consumed is not None and consumed > 0
        except psycopg.OperationalError:
            consumed = None  # PostgreSQL is away: that is the harm, and what is not seen is not counted
        return Sample(self.seconds(), rss, consumed)
