"""F6: PostgreSQL stops, dies, ends sessions, meets deadlocks and lock timeouts. The sink waits, says so, and loses nothing."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.findings import Findings
from tests.fault.harness.harm import await_consumed, await_lock, await_log, await_under_way, lasting, suspended
from tests.fixtures.wait import wait_until

from costledger.sinks.database import Connection

pytestmark = pytest.mark.fault
WAITING = "nothing is lost: PostgreSQL"
TERMINATE = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND starts_with(application_name, 'costledger ')
"""


@contextmanager
def other_session(cluster: Cluster) -> Iterator[Connection]:
    """A session of somebody else, in a transaction that is rolled back in the end."""
    with psycopg.connect(cluster.database_url) as connection:
        yield connection
        if not connection.closed:
            connection.rollback()


def check_nothing_put_aside(cluster: Cluster) -> Findings:
    """All promises, and that trouble with PostgreSQL was never taken for bad data."""
    findings = cluster.check()
    assert cluster.value("SELECT count(*) FROM ledger.quarantine") == 0
    assert cluster.worker("sink").alive()
    return findings


@pytest.mark.long
def test_a_postgresql_that_stops_in_the_midst_of_a_transaction_is_waited_for(cluster: Cluster) -> None:
    """`pg_ctl stop -m immediate` while a batch is half written; and kill -9 of the whole server once it is back."""
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    with other_session(cluster) as session:
        session.execute("LOCK TABLE ledger.hourly_totals IN EXCLUSIVE MODE")
        await_lock(cluster)
        cluster.services.postgres.stop(mode="immediate")
        session.close()
    await_log(cluster.worker("sink"), WAITING)
    lasting(3)
    cluster.services.postgres.start()
    await_consumed(cluster, 500)
    cluster.services.postgres.kill()
    lasting(1)
    cluster.services.postgres.start()
    load.stop()
    check_nothing_put_aside(cluster)
    assert cluster.revived == 0


@pytest.mark.long
def test_a_postgresql_that_stands_still_is_waited_for(cluster: Cluster) -> None:
    """SIGSTOP of all its processes for longer than a connection may be silent: what it was sent it does afterwards."""
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    with suspended(cluster.services.postgres):
        await_log(cluster.worker("sink"), WAITING)
        lasting(5)
    await_consumed(cluster, 500)
    load.stop()
    check_nothing_put_aside(cluster)


@pytest.mark.long
def test_a_sink_that_joins_while_another_cannot_reach_postgresql_ends_nobody(cluster: Cluster) -> None:
    """It takes partitions over of which a batch of the other has messages: these are fenced, and the rest is written."""
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    link = cluster.services.link("sink", "postgres")
    link.cut()
    await_log(cluster.worker("sink"), WAITING)
    joined = cluster.start("sink-2")
    await_log(cluster.worker("sink"), "given up before their last batch was written")
    await_log(joined, "reading {")
    await_consumed(cluster, 500)
    link.heal()
    await_log(cluster.worker("sink"), "went to another sink during a write")
    await_consumed(cluster, 1_000)
    load.stop()
    check_nothing_put_aside(cluster)
    assert cluster.revived == 0


@pytest.mark.long
def test_sessions_that_are_terminated_are_made_again(cluster: Cluster) -> None:
    """All sessions of all workers, twelve times at random moments."""
    chance = random.Random(cluster.seed)
    cluster.start_all()
    load = cluster.load(rate=500)
    await_under_way(cluster)
    terminated = 0
    for _ in range(12):
        lasting(chance.uniform(0.2, 1.2))
        terminated += cluster.value(TERMINATE)
    assert terminated >= 12
    load.stop()
    check_nothing_put_aside(cluster)
    assert cluster.revived == 0


@pytest.mark.long
def test_the_victim_of_a_deadlock_tries_again(cluster: Cluster) -> None:
    """Somebody locks days before hours, and the sink hours before days; PostgreSQL ends the sink's transaction."""
    # Only the sink looks for deadlocks, and late enough for the other session to complete the circle.
    name = cluster.value("SELECT current_database()")
    cluster.connection.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '3s'")
    cluster.start_all()
    load = cluster.load(rate=300, late_share=0.0)
    await_under_way(cluster)
    with other_session(cluster) as session:
        session.execute("SET deadlock_timeout = '100s'")
        session.execute("SELECT FROM ledger.daily_totals FOR UPDATE")
        await_lock(cluster)
        # Returns once the sink's transaction was rolled back.
        session.execute("SELECT FROM ledger.hourly_totals FOR UPDATE")
    load.stop()
    assert cluster.worker("sink").logged("PostgreSQL (40P01)") >= 1
    check_nothing_put_aside(cluster)
    assert cluster.revived == 0


@pytest.mark.long
def test_a_lock_that_others_hold_for_too_long_is_waited_for(cluster: Cluster) -> None:
    """Lock timeouts pass, as often as they come, and are told as such."""
    cluster.configure(database_timeout_seconds="2")
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    with other_session(cluster) as session:
        session.execute("LOCK TABLE ledger.sink_offsets IN EXCLUSIVE MODE")
        await_lock(cluster)
        wait_until(lambda: cluster.worker("sink").logged(WAITING) >= 2, 60, "the sink says that it waits")
    assert cluster.worker("sink").logged("PostgreSQL (55P03)") >= 2
    load.stop()
    check_nothing_put_aside(cluster)
    assert cluster.revived == 0
