"""The job queue against a real PostgreSQL: transactions, privileges, upgrades, workers that die, a database that goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import procrastinate
import psycopg
import pytest
from psycopg import errors
from tests.fixtures.fix_postgres import OwnPostgres, PostgresServer
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger

from costledger.schemas.settings import Settings
from costledger.sinks.database import connect
from costledger.sinks.jobs.queue import defer_in, make_app
from costledger.sinks.jobs.queue_schema import known_migrations
from costledger.sinks.jobs.worker import JobWorker
from costledger.sinks.migrations import migrate, pending_migrations

TASK = "tests:note"
Ran = list[dict[str, Any]]


def settings_of(url: str) -> Settings:
    """Settings for this database and nothing else."""
    return Settings(database_url=url, database_timeout_seconds=10)


@pytest.fixture
def start_worker() -> Iterator[Callable[..., tuple[JobWorker, Ran]]]:
    """Start workers in threads, which note what they run; stopped at the end."""
    started: list[tuple[JobWorker, threading.Thread]] = []

    def start(
        url: str, during: Callable[[], None] = lambda: None, silent_seconds_max: float = 0.8
    ) -> tuple[JobWorker, Ran]:
        ran: Ran = []

        def note(**arguments: Any) -> None:
            during()
            ran.append(arguments)

        def register(app: procrastinate.App, _settings: Settings) -> None:
            app.task(name=TASK)(note)

        app = make_app(settings_of(url), [register])
        worker = JobWorker(app, heartbeat_seconds=0.1, silent_seconds_max=silent_seconds_max, poll_seconds=0.5)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        started.append((worker, thread))
        return worker, ran

    yield start
    for worker, thread in started:
        worker.stop()
        thread.join(30)
        assert not thread.is_alive()


def test_jobs_are_there_when_the_transaction_commits(
    ledger: Ledger, start_worker: Callable[..., tuple[JobWorker, Ran]]
) -> None:
    """A job of a transaction that rolls back never was; one that commits is run, by the writer role, and is gone."""
    worker, ran = start_worker(ledger.url)
    wait_until(lambda: worker.trouble is None, 10, "the worker runs")
    with connect(ledger.url, "tests", 10) as connection:
        with connection.transaction(force_rollback=True):
            defer_in(connection, TASK, {"n": 1})
        with connection.transaction():
            assert len(defer_in(connection, TASK, {"n": 2}, {"n": 3})) == 2
            assert connection.execute("SELECT current_setting('search_path')").fetchone() == ('"$user", public',)
            assert defer_in(connection, TASK) == []
        with pytest.raises(RuntimeError, match="inside a transaction"):
            defer_in(connection, TASK, {"n": 4})
    wait_until(lambda: len(ran) == 2, 10, "both jobs have run")
    assert sorted(one["n"] for one in ran) == [2, 3]
    wait_until(lambda: ledger.one("SELECT count(*) FROM jobs.procrastinate_jobs") == 0, 10, "both are gone")


def test_two_workers_run_each_job_once(ledger: Ledger, start_worker: Callable[..., tuple[JobWorker, Ran]]) -> None:
    """Fifty jobs and two workers: each job is run by one of them."""
    # Neither is silent for so long, however slow the machine is.
    _, ours = start_worker(ledger.url, silent_seconds_max=30)
    _, others = start_worker(ledger.url, silent_seconds_max=30)
    with connect(ledger.url, "tests", 10) as connection, connection.transaction():
        defer_in(connection, TASK, *({"n": n} for n in range(50)))
    wait_until(lambda: len(ours) + len(others) >= 50, 15, "all have run")
    wait_until(lambda: ledger.one("SELECT count(*) FROM jobs.procrastinate_jobs") == 0, 10, "all are gone")
    assert sorted(one["n"] for one in ours + others) == list(range(50))


def test_a_job_of_a_killed_worker_is_run_again(
    ledger: Ledger, start_worker: Callable[..., tuple[JobWorker, Ran]], tmp_path: Path
) -> None:
    """SIGKILL in the middle of a job: another worker finds the silence and runs the job."""
    with connect(ledger.url, "tests", 10) as connection, connection.transaction():
        defer_in(connection, TASK, {"n": 7})
    victim = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("queue_process.py"))],
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "COSTLEDGER_DATABASE_URL": ledger.url,
        },
        cwd=tmp_path,
    )
    try:
        wait_until((tmp_path / "begun").exists, 20, "the first worker has begun the job")
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)
    assert ledger.all("SELECT status::text FROM jobs.procrastinate_jobs") == [("doing",)]
    _, ran = start_worker(ledger.url)
    wait_until(lambda: ran == [{"n": 7}], 10, "the job was run again")


def test_a_long_job_of_a_live_worker_is_not_run_twice(
    ledger: Ledger, start_worker: Callable[..., tuple[JobWorker, Ran]]
) -> None:
    """A job that takes longer than the silence allowed stays with its worker, which says that it is alive."""
    begun, go_on = threading.Event(), threading.Event()

    def during() -> None:
        begun.set()
        assert go_on.wait(20)

    _, ran = start_worker(ledger.url, during, silent_seconds_max=3)
    with connect(ledger.url, "tests", 10) as connection, connection.transaction():
        defer_in(connection, TASK, {"n": 1})
    assert begun.wait(10)
    _, others = start_worker(ledger.url, silent_seconds_max=3)
    began = ledger.one("SELECT now()")
    wait_until(lambda: (ledger.one("SELECT now()") - began).total_seconds() > 4, 10, "longer than the silence")
    go_on.set()
    wait_until(lambda: ran == [{"n": 1}], 10, "the job is done")
    assert others == []


@pytest.mark.slow
def test_a_job_that_does_not_end_is_left_to_another_worker(
    ledger: Ledger, start_worker: Callable[..., tuple[JobWorker, Ran]]
) -> None:
    """A worker that is told to stop does so within its time, whatever its job does; the job is run again."""
    begun, go_on = threading.Event(), threading.Event()

    def during() -> None:
        begun.set()
        assert go_on.wait(60)

    worker, ran = start_worker(ledger.url, during)
    with connect(ledger.url, "tests", 10) as connection, connection.transaction():
        defer_in(connection, TASK, {"n": 1})
    assert begun.wait(10)
    worker.stop()
    wait_until(lambda: worker.trouble == "stopped", 15, "the worker has stopped")
    assert ran == []
    _, others = start_worker(ledger.url)
    wait_until(lambda: others == [{"n": 1}], 10, "the job was run again")
    go_on.set()


def test_a_worker_outlives_its_database(
    own_postgres: OwnPostgres, start_worker: Callable[..., tuple[JobWorker, Ran]]
) -> None:
    """PostgreSQL stops and starts again: the worker says so meanwhile, then goes on with what is enqueued."""
    url = own_postgres.create_database()
    migrate(url)
    worker, ran = start_worker(url)
    wait_until(lambda: worker.trouble is None, 10, "the worker runs")
    own_postgres.stop(mode="immediate")
    wait_until(lambda: worker.trouble is not None, 20, "the worker has noticed")
    own_postgres.start()
    with connect(url, "tests", 10) as connection, connection.transaction():
        defer_in(connection, TASK, {"n": 1})
    wait_until(lambda: ran == [{"n": 1}], 30, "the job has run")
    wait_until(lambda: worker.trouble is None, 10, "the worker is well")


def test_who_owns_the_database_can_migrate_without_being_a_superuser(postgres: PostgresServer) -> None:
    """An owner with CREATEROLE makes everything, the queue too; a login that is a writer enqueues and nothing more."""
    url = postgres.create_database()
    name = urlsplit(url).path[1:]
    owner, login = f"{name}_owner", f"{name}_login"
    place = f"{urlsplit(url).hostname}:{urlsplit(url).port}"
    with psycopg.connect(postgres.url, autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'only-for-this-test'".encode())
        superuser.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'only-for-this-test'".encode())
        superuser.execute(f"ALTER DATABASE {name} OWNER TO {owner}".encode())
        # Roles are the whole cluster's: here another superuser has made them before.
        migrate(postgres.create_database())
        superuser.execute(f"GRANT costledger_owner, costledger_writer TO {owner} WITH ADMIN OPTION".encode())
        superuser.execute(f"GRANT costledger_writer TO {login}".encode())
        try:
            mine = urlsplit(url)._replace(netloc=f"{owner}:only-for-this-test@{place}").geturl()
            assert migrate(mine) != []
            assert migrate(mine) == [] == pending_migrations(mine)
            theirs = urlsplit(url)._replace(netloc=f"{login}:only-for-this-test@{place}").geturl()
            with connect(theirs, "tests", 10) as connection:
                with connection.transaction():
                    defer_in(connection, TASK, {"n": 1})
                for forbidden in ("DROP TABLE jobs.procrastinate_jobs", "CREATE TABLE jobs.t (x int)"):
                    with pytest.raises(errors.InsufficientPrivilege):
                        connection.execute(forbidden.encode())
        finally:
            superuser.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            superuser.execute(f"DROP OWNED BY {owner}, {login}".encode())
            superuser.execute(f"DROP ROLE {login}, {owner}".encode())


def test_the_queue_is_made_once_and_remembers_its_version(ledger: Ledger) -> None:
    """Migrating again applies nothing; a queue of an older procrastinate gets what came after it."""
    known = known_migrations()
    assert ledger.all("SELECT name FROM jobs.schema_migrations") == [(known[-1],)]
    assert ledger.all("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'jobs'") == [("costledger_owner",)]
    assert (
        ledger.one("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname ~ 'procr'")
        == 0
    )
    # Functions and triggers find their tables without help, so that a person can tidy up by hand.
    ledger.connection.execute("INSERT INTO jobs.procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')")
    ledger.connection.execute("DELETE FROM jobs.procrastinate_jobs")
    ledger.connection.execute("UPDATE jobs.schema_migrations SET name = %s", (known[-2],))
    assert pending_migrations(ledger.url) == [f"jobs_{known[-1]}"]
    assert migrate(ledger.url) == [f"jobs_{known[-1]}"]
    assert migrate(ledger.url) == []
