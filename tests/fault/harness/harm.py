"""What scenarios say often: how long a harm lasts, and what must go on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psutil
from tests.fixtures.wait import wait_until

if TYPE_CHECKING:
    from tests.fault.harness.cluster import Cluster
    from tests.fault.harness.load import Generator
    from tests.fault.harness.workers import Worker

    from costledger.deploy.stack.service import Service

UNDER_WAY_SECONDS_MAX: Final = 60.0
_WAITS_FOR_LOCK: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'costledger sink' AND wait_event_type = 'Lock'
"""


def lasting(seconds: float) -> None:
    """A harm lasts so long. Nothing is waited for."""
    time.sleep(seconds)


@contextmanager
def suspended(service: Service) -> Iterator[None]:
    """All processes of a server stand still (SIGSTOP): its connections stay open, and nobody answers; then they go on."""
    assert service.pid is not None
    main = psutil.Process(service.pid)
    # The one that makes others first.
    stopped = []
    try:
        for process in (main, *main.children(recursive=True)):
            process.suspend()
            stopped.append(process)
        yield
    finally:
        for process in reversed(stopped):
            process.resume()


def await_attempts(load: Generator, events: int) -> None:
    """Until so many more events are attempted: the service works, whatever else does not."""
    target = load.attempted() + events
    wait_until(lambda: load.attempted() >= target or not load.alive(), UNDER_WAY_SECONDS_MAX, "the service goes on")
    assert load.attempted() >= target, f"the load generator has ended: {load.log_path.read_text()[-4000:]}"


def await_consumed(cluster: Cluster, events: int = 1, timeout_seconds: float = UNDER_WAY_SECONDS_MAX) -> None:
    """Until the ledger accounts for so many more offsets."""
    target = cluster.consumed() + events
    wait_until(lambda: cluster.consumed() >= target, timeout_seconds, f"the ledger takes {events} more")


def await_under_way(cluster: Cluster, events: int = 300) -> None:
    """Until the ledger accounts for so many offsets, and the stream has committed as many: both are at work."""
    wait_until(lambda: cluster.consumed() >= events, UNDER_WAY_SECONDS_MAX, "the ledger is under way")
    wait_until(lambda: cluster.streamed() >= events, UNDER_WAY_SECONDS_MAX, "the stream is under way")


def await_lock(cluster: Cluster) -> None:
    """Until the sink is in the midst of a transaction, waiting for somebody's lock."""
    wait_until(
        lambda: cluster.value(_WAITS_FOR_LOCK), UNDER_WAY_SECONDS_MAX, "the sink waits for a lock in its transaction"
    )


def await_log(worker: Worker, text: str, timeout_seconds: float = UNDER_WAY_SECONDS_MAX) -> None:
    """Until a worker has said so."""
    wait_until(lambda: worker.logged(text), timeout_seconds, f"{worker.client} says: {text}")


def assert_accounted(stats: dict[str, int]) -> None:
    """Every event that the service tracked is in one place, or was given up and counted."""
    kept = stats["acked"] + stats["spooled"] + stats["queued"]
    assert stats["tracked"] == kept + stats["dropped"], stats
