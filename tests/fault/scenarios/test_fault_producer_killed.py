"""F4: the service that produces is killed: what `track()` returned for is not lost (spool), nor what Kafka has taken."""

from __future__ import annotations

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fixtures.wait import wait_until

pytestmark = pytest.mark.fault


def test_killed_services_lose_nothing_that_was_promised(cluster: Cluster) -> None:
    """Killed while it sends, and while Kafka is out of reach; in the mode `memory` what was acknowledged is there."""
    cluster.start_all()
    spooling = cluster.load("spooling", rate=500)
    in_memory = cluster.load("in-memory", rate=500, durability="memory")
    offline = cluster.load("offline", rate=500)
    wait_until(lambda: len(in_memory.record.acked()) >= 500, 60, "the services send")
    wait_until(lambda: spooling.attempted() >= 500, 60, "the other one, too")
    in_memory.kill()
    spooling.kill()
    link = cluster.services.link("producer", "kafka")
    link.cut()
    cut_at = offline.attempted()
    wait_until(lambda: offline.attempted() >= cut_at + 500, 60, "the service tracks though Kafka is out of reach")
    offline.kill()
    assert offline.spool_files()
    link.heal()
    for killed in (spooling, offline):
        cluster.sweep_up(killed.load.name)
    cluster.check()
    assert sum(one.attempted() for one in (spooling, offline)) >= 1_000
