"""The job queue: enqueue in the caller's own transaction; a worker runs what waits.

A job is a wake-up call: at least once, and its task must be repeatable. What has to be true lives in tables of its
own. A job whose worker died is run again by another (see `worker`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString

import procrastinate
import psycopg
from procrastinate.manager import JobManager
from procrastinate.tasks import configure_task
from psycopg import sql
from psycopg.pq import TransactionStatus

from costledger.schemas.settings import Settings
from costledger.sinks.database import LOCK_SHARE, WRITER_ROLE, Connection
from costledger.sinks.jobs.queue_schema import SCHEMA

Arguments = dict[str, Any]
#: Adds tasks to an app: how a part of costledger brings what it wants run.
Register = Callable[[procrastinate.App, Settings], None]

DEFAULT_QUEUE: Final = "default"
#: Connections of one worker process: one listens, the others fetch and finish jobs.
WORKER_CONNECTIONS_MAX: Final = 6
_CONNECT_TIMEOUT_SECONDS: Final = 10
#: Without a connection for so long, the worker takes PostgreSQL for gone and begins anew.
_POOL_TIMEOUT_SECONDS: Final = 3.0

#: Writes through the connection that it is given, and never opens one.
_manager = JobManager(procrastinate.SyncPsycopgConnector())


def defer_in(
    connection: Connection,
    task: str,
    *arguments: Arguments,
    queue: str = DEFAULT_QUEUE,
    lock: str | None = None,
    schedule_at: datetime | None = None,
) -> list[int]:
    """Enqueue one job of the task named `task` for each of `arguments`, in the transaction that is open.

    They are there when it commits and never were when it rolls back; workers are told at the commit. No job of a
    `lock` runs beside another of the same lock. `schedule_at`: not before then. Returns the jobs' ids.
    """
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise RuntimeError("jobs are enqueued inside a transaction: use `with connection.transaction()`")
    if not arguments:
        return []
    configured = configure_task(
        name=task, job_manager=_manager, connection=connection, queue=queue, lock=lock, schedule_at=schedule_at
    )
    ((before,),) = connection.execute("SELECT current_setting('search_path')").fetchall()
    connection.execute("SELECT set_config('search_path', %s, true)", (SCHEMA,))
    ids = configured.batch_defer(*arguments)
    connection.execute("SELECT set_config('search_path', %s, true)", (before,))
    return ids


def make_app(settings: Settings, register: Sequence[Register] = ()) -> procrastinate.App:
    """An app on the ledger's database with the tasks that `register` adds; not connected yet."""
    app = procrastinate.App(connector=_connector(settings))
    for add in register:
        add(app, settings)
    return app


def _connector(settings: Settings) -> procrastinate.PsycopgConnector:
    milliseconds = int(settings.database_timeout_seconds * 1000)

    async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
        # Not among the pool's arguments: the library gives this one itself for the connection that listens.
        await connection.set_autocommit(True)
        for name, limit in (("statement_timeout", milliseconds), ("lock_timeout", int(milliseconds * LOCK_SHARE))):
            await connection.execute("SELECT set_config(%s, %s, false)", (name, str(limit)))
        await connection.execute("SELECT set_config('timezone', 'UTC', false)")
        await connection.execute("SELECT set_config('search_path', %s, false)", (SCHEMA,))
        await connection.execute(_set_role(WRITER_ROLE))

    return procrastinate.PsycopgConnector(
        conninfo=settings.database_url.get_secret_value(),
        kwargs={
            "application_name": "costledger jobs",
            "connect_timeout": _CONNECT_TIMEOUT_SECONDS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": milliseconds,
        },
        min_size=1,
        max_size=WORKER_CONNECTIONS_MAX,
        timeout=_POOL_TIMEOUT_SECONDS,
        configure=configure,
    )


def _set_role(role: LiteralString) -> sql.Composed:
    return sql.SQL("SET ROLE {}").format(sql.Identifier(role))
