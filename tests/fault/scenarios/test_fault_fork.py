"""F22: a service forks its workers after its tracker has begun, as gunicorn with `preload_app` does."""

from __future__ import annotations

import os
import signal

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.load import Load
from tests.fault.harness.web import WebService

pytestmark = pytest.mark.fault

CHILDREN = 3
REQUESTS = 8


def test_all_children_of_a_preloaded_service_deliver(cluster: Cluster) -> None:
    """With events in memory and in spools, each child's own and the parent's from before the fork.

    None comes twice but what a child that is killed has sent and not yet deleted from its spool.
    """
    cluster.start_all()
    tracked = {}
    for durability in ("memory", "spool"):
        load = Load(f"web-{durability}", cluster.seed, durability=durability, flush_seconds=20, repeat_share=0.0)
        with WebService(load, cluster.folder, cluster.environment("producer"), CHILDREN) as service:
            children = service.serve(REQUESTS)
            if durability == "spool":
                # Its events are on disk: gunicorn forks another child, and whoever finds the file sends them.
                killed = min(children)
                os.kill(killed, signal.SIGKILL)
                service.serve(REQUESTS, but=killed)
            assert service.stop() == 0
        records = service.records()
        assert len(records) >= 1 + CHILDREN
        cluster.other_records += records
        tracked[durability] = sum(record.count() for record in records)
        cluster.await_quiet()
        sent_again = cluster.value("SELECT sum(duplicates) FROM ledger.sink_offsets")
        assert sent_again <= (0 if durability == "memory" else max(record.count() for record in records))
    cluster.check()
    # In the mode `memory` the oracle asks for what was acknowledged; after an orderly end that is all.
    assert cluster.value("SELECT count(*) FROM ledger.entries") == sum(tracked.values())
