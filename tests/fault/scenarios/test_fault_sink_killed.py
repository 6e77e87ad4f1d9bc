"""F1: the sink is killed at each place of a write, under a load that does not stop."""

from __future__ import annotations

import random
import signal
from typing import get_args

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.fail_points import fail_at
from tests.fixtures.wait import wait_until

from costledger.sinks.writer import Step

pytestmark = [pytest.mark.fault, pytest.mark.long]

BATCH_ROWS_MAX = 150
#: Where rows of the batch are in the transaction and not committed: the next sink does this work once more.
UNDONE = {"after_load", "after_totals", "after_quarantine", "before_commit"}


def rows_rolled_back(cluster: Cluster) -> int:
    """Rows that were put into the ledger and are not there, since the beginning; by PostgreSQL's own statistics."""
    sinks = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'costledger sink' AND datname = current_database()"
    wait_until(lambda: cluster.value(sinks) == 0, 30, "PostgreSQL has noticed that the sink is dead")
    put = cluster.value("SELECT sum(n_tup_ins)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'entries%%'")
    return int(put) - int(cluster.value("SELECT count(*) FROM ledger.entries"))


def test_a_sink_killed_at_every_place_of_a_write_repeats_at_most_one_batch(cluster: Cluster) -> None:
    """After each death at most one batch was in vain; none was written twice, so that nothing had to be refused."""
    rng = random.Random(cluster.seed)
    # Under this name the group gives a new sink the partitions of the dead one at once.
    cluster.configure(sink_batch_rows_max=str(BATCH_ROWS_MAX), sink_instance_id="the-sink")
    cluster.start("stream", "notifier")
    # Without repeats: whatever the ledger refused would have been written twice by a sink.
    load = cluster.load(rate=500, repeat_share=0.0, poison_share=0.01)
    in_vain: dict[str, int] = {}
    for step in get_args(Step):
        before = sum(in_vain.values())
        sink = cluster.start("sink", **fail_at(f"sink.{step}", rng.randint(1, 3)))
        assert sink.died_by_itself() == -signal.SIGKILL
        in_vain[step] = rows_rolled_back(cluster) - before
    cluster.start("sink")
    load.stop()
    cluster.check()
    assert {step for step, rows in in_vain.items() if rows} == UNDONE, in_vain
    assert max(in_vain.values()) <= BATCH_ROWS_MAX, in_vain
    assert cluster.value("SELECT sum(duplicates) FROM ledger.sink_offsets") == 0
    assert cluster.value("SELECT bool_and(consumed = next_offset - first_offset) FROM ledger.sink_offsets")
