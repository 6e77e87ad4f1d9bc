"""F18: two stream workers, three sinks and twelve partitions, while members join and leave without a pause."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Final

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.load import Generator
from tests.fault.harness.progress import Progress
from tests.fixtures.wait import wait_until

from costledger.schemas.budgets import Budget

pytestmark = pytest.mark.fault
USD: Final = 10**12
STREAMS: Final = ("stream", "stream-2")
SINKS: Final = ("sink", "sink-2", "sink-3")
STATIC: Final = ("sink", "sink-2")
PARTITIONS: Final = 12
EVENTS_PER_SECOND: Final = 2_000
STANDSTILL_SECONDS_MAX: Final = 30.0
#: A member is away for up to this long, and the next one is chosen as long after it came back.
PAUSE_SECONDS_MAX: Final = 3.0
LEAVE_SECONDS_MAX: Final = 60.0
BEGINNING_SECONDS_MAX: Final = 60.0
#: Of the rate, over the storm as a whole; of a short one the beginning is a large part.
HELD_SHARE_MIN: Final = 0.95
JUDGED_SECONDS_MIN: Final = 60
#: The exit code of a process that was told to end before it handled signals: it had joined nothing yet.
NOT_YET_BEGUN: Final = -signal.SIGTERM


def join(cluster: Cluster, *names: str) -> None:
    """Start members; two of the three sinks have a name for Kafka, so that a restart is no new member."""
    for name in names:
        own = {"sink_instance_id": name} if name in STATIC else {}
        cluster.start(name, **own)


def storm(cluster: Cluster, load: Generator, seconds: float) -> tuple[int, float]:
    """Have members leave, by turns by kill -9 and orderly, and join again; how many left, and the events a second meanwhile.

    A load that falls behind has the storm until there were as many events.
    """
    chance = random.Random(cluster.seed)
    left = 0
    wait_until(load.attempted, BEGINNING_SECONDS_MAX, "the load has begun")
    began, attempted = time.monotonic(), load.attempted()
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at or load.attempted() < EVENTS_PER_SECOND * seconds:
        name = chance.choice(STREAMS + SINKS)
        worker = cluster.worker(name)
        assert worker.alive(), f"{name} ended by itself, exit code {worker.process.poll()}: {worker.log_path}"
        if left % 2 == 0:
            worker.kill()
        else:
            # How long an orderly end takes is asked elsewhere; here it must be one.
            code = worker.stop(LEAVE_SECONDS_MAX)
            assert code in (0, NOT_YET_BEGUN), f"{name} did not drain, exit code {code}: {worker.log_path}"
        left += 1
        time.sleep(chance.uniform(0, PAUSE_SECONDS_MAX))
        join(cluster, name)
        time.sleep(chance.uniform(0, PAUSE_SECONDS_MAX))
    return left, (load.attempted() - attempted) / (time.monotonic() - began)


@pytest.mark.parametrize("seconds", [25, pytest.param(180, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_a_rebalance_storm_loses_nothing_and_holds_nobody_up(
    make_cluster: Callable[..., Cluster], seconds: int
) -> None:
    """No event lost or doubled, every alert once, and in every 30 seconds ledger and stream go on in every partition."""
    cluster = make_cluster(partitions=PARTITIONS)
    cluster.start("notifier")
    budgets = [
        Budget(
            user_id=f"user-{number:03d}",
            monthly_budget=USD // 10,
            alert_thresholds=(Decimal(1), Decimal(5), Decimal(10)),
        )
        for number in range(30)
    ]
    cluster.set_budgets(*budgets)
    join(cluster, *STREAMS, *SINKS)
    load = cluster.load(rate=EVENTS_PER_SECOND, users=200)
    with Progress(cluster) as progress:
        left, rate = storm(cluster, load, seconds)
    load.stop()
    findings = cluster.check()
    assert left >= seconds / 10
    if seconds >= JUDGED_SECONDS_MIN:
        assert rate >= HELD_SHARE_MIN * EVENTS_PER_SECOND, f"{rate:,.0f} events/s"
    assert findings.figures["alerts"] >= len(budgets)
    standstills = progress.standstills()
    sys.stdout.write(
        f"{left} left and joined again under {rate:,.0f} events/s; standstills in seconds {standstills}; {findings.figures}\n"
    )
    assert all(0 < standstill <= STANDSTILL_SECONDS_MAX for standstill in standstills.values()), standstills
