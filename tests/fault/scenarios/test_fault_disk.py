"""F11: the disk is full, of a service's spool and of PostgreSQL: loud, nothing dropped, and on again with room."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import psycopg
import pytest
from psycopg import sql
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.disk import NoDisk, SmallDisk, small_disk
from tests.fixtures.wait import wait_until

from costledger.deploy.stack.postgres import service_account
from costledger.sinks.database import Connection

pytestmark = pytest.mark.fault
SPOOL_DISK_MIB: Final = 1
DATABASE_DISK_MIB: Final = 96
#: Beside the files that PostgreSQL has by then, and uses again: with room it needs a few more to recover.
LOG_ROOM_MIB: Final = 96
LOUD_SECONDS_MAX: Final = 60.0


@pytest.fixture
def make_disk() -> Iterator[Callable[[int], SmallDisk]]:
    """`make_disk(size_mib)`; the test is skipped by name where nothing may be mounted."""
    with ExitStack() as cleanup:

        def make(size_mib: int) -> SmallDisk:
            try:
                return cleanup.enter_context(small_disk(size_mib))
            except NoDisk as reason:
                pytest.skip(f"a small disk cannot be mounted here: {reason}")

        yield make


@pytest.fixture
def cluster_on_small_disk(
    make_disk: Callable[[int], SmallDisk], make_cluster: Callable[..., Cluster]
) -> Iterator[tuple[Cluster, SmallDisk]]:
    """An installation whose ledger, but not PostgreSQL's own log of changes, lies on a small disk."""
    disk = make_disk(DATABASE_DISK_MIB)
    cluster = make_cluster()
    space = sql.Identifier(f"small_{cluster.prefix[6:14]}")
    place = disk.path / "tables"
    place.mkdir()
    account = service_account()
    if account is not None:
        os.chown(place, account.uid, account.gid)
    with psycopg.connect(cluster.services.postgres.url, autocommit=True) as administrator:
        administrator.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(space, sql.Literal(str(place))))
        move(cluster, administrator, space)
        try:
            yield cluster, disk
        finally:
            for worker in cluster.workers.values():
                worker.end()
            cluster.watch.stop()
            move(cluster, administrator, sql.Identifier("pg_default"))
            administrator.execute(sql.SQL("DROP TABLESPACE {}").format(space))


def move(cluster: Cluster, administrator: Connection, space: sql.Identifier) -> None:
    """Move the cluster's database to a table space: nobody may be connected to it."""
    cluster.connection.close()
    name = psycopg.conninfo.conninfo_to_dict(cluster.database_url)["dbname"]
    database = sql.Identifier(str(name))
    administrator.execute(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s", (name,)
    ).fetchall()
    administrator.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE {}").format(database, space))


@pytest.fixture
def cluster_with_small_log(
    make_disk: Callable[[int], SmallDisk], make_cluster: Callable[..., Cluster]
) -> Iterator[tuple[Cluster, SmallDisk]]:
    """An installation whose PostgreSQL has its log of changes (WAL) on a small disk."""
    cluster = make_cluster()
    postgres = cluster.services.postgres
    place = postgres.data_dir / "cluster" / "pg_wal"
    postgres.stop()
    try:
        disk = make_disk(LOG_ROOM_MIB + sum(file.stat().st_size for file in place.rglob("*")) // 2**20)
    except BaseException:
        postgres.start()
        raise
    small = disk.path / "log"
    copy(place, small)
    shutil.rmtree(place)
    place.symlink_to(small)
    try:
        postgres.start()
        yield cluster, disk
    finally:
        disk.clear()
        postgres.stop()
        place.unlink()
        copy(small, place)
        postgres.start()


def copy(folder: Path, to: Path) -> None:
    """Copy a folder with owners and modes."""
    subprocess.run(["cp", "--archive", str(folder), str(to)], check=True)


def answers(cluster: Cluster) -> bool:
    """Whether PostgreSQL takes a change; if so, it is made to go on to its next file."""
    try:
        with psycopg.connect(cluster.database_url, autocommit=True) as connection:
            connection.execute("SELECT pg_switch_wal()")
    except psycopg.OperationalError:
        return False
    return True


def says(log_path: Path, text: str) -> Callable[[], bool]:
    """Whether a log has the text."""
    return lambda: text in log_path.read_text()


@pytest.mark.long
def test_a_full_disk_of_the_spool_drops_nothing(cluster: Cluster, make_disk: Callable[[int], SmallDisk]) -> None:
    """With Kafka away and the disk full, events wait in memory and the log says so; with room, the disk is used again."""
    cluster.start_all()
    disk = make_disk(SPOOL_DISK_MIB)
    link = cluster.services.link("producer", "kafka")
    load = cluster.load(rate=500, spool_dir=disk.path / "spool")
    load.await_more(500)
    link.cut()
    disk.fill()
    wait_until(
        says(load.log_path, "cost events wait in memory alone"), LOUD_SECONDS_MAX, "the log says that it is full"
    )
    load.await_more(1_000)
    disk.clear()
    load.await_more(500)
    link.heal()
    load.await_more(500)
    stats = load.stop()
    assert stats["dropped"] == 0
    assert stats["unspooled"] >= 500
    assert stats["acked"] == stats["tracked"]
    cluster.check()


@pytest.mark.long
def test_a_full_disk_of_postgresql_stops_the_ledger_loudly_until_there_is_room(
    cluster_on_small_disk: tuple[Cluster, SmallDisk],
) -> None:
    """The sink waits, says why and puts nothing aside; the stream's totals go on; with room the ledger catches up."""
    cluster, disk = cluster_on_small_disk
    cluster.start_all()
    load = cluster.load(rate=1_000)
    load.await_more(1_000)
    disk.fill()
    sink, entries = cluster.worker("sink"), "SELECT count(*) FROM ledger.entries"
    wait_until(says(sink.log_path, "PostgreSQL (53100)"), LOUD_SECONDS_MAX, "the sink says that the disk is full")
    stood_at, streamed = cluster.value(entries), cluster.streamed()
    load.await_more(3_000)
    wait_until(lambda: cluster.streamed() >= streamed + 2_000, 60, "the stream goes on")
    assert cluster.lag()["sink"] >= 2_000
    # What still fitted into pages that were there may have been written.
    assert cluster.value(entries) - stood_at < 3_000
    disk.clear()
    load.await_more(1_000)
    load.stop()
    cluster.check()
    assert sink.alive()
    assert cluster.value("SELECT count(*) FROM ledger.quarantine") == 0


@pytest.mark.long
def test_a_full_disk_of_postgresqls_own_log_costs_nothing(
    cluster_with_small_log: tuple[Cluster, SmallDisk],
) -> None:
    """PostgreSQL itself goes down; sink and notifier wait for it, and go on when it has room and was started again."""
    cluster, disk = cluster_with_small_log
    cluster.start_all()
    load = cluster.load(rate=500)
    load.await_more(500)
    disk.fill()
    wait_until(lambda: not answers(cluster), LOUD_SECONDS_MAX, "PostgreSQL is down")
    load.await_more(1_000)
    sink = cluster.worker("sink")
    wait_until(says(sink.log_path, "nothing is lost"), LOUD_SECONDS_MAX, "the sink says that it waits")
    disk.clear()
    # It tries to recover by itself; where it had given up before there was room, somebody has to start it.
    postgres = cluster.services.postgres
    wait_until(lambda: answers(cluster) or not postgres.alive(), LOUD_SECONDS_MAX, "PostgreSQL is back, or has ended")
    cluster.services.start()
    load.await_more(500)
    load.stop()
    cluster.check()
    assert sink.alive()
    assert cluster.value("SELECT count(*) FROM ledger.quarantine") == 0
