"""Running jobs: procrastinate's worker, started again whenever PostgreSQL was away, and the rescue of stalled jobs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Final

import procrastinate
import psycopg
from procrastinate.exceptions import ConnectorException

from costledger.schemas.backoff import backoff_seconds
from costledger.sinks.jobs.queue import DEFAULT_QUEUE
from costledger.sinks.jobs.threads import LooseThreads
from costledger.sinks.queries import query

logger = logging.getLogger(__name__)

#: Jobs that one worker runs at once.
CONCURRENCY: Final = 8
#: A worker says so often that it is alive.
HEARTBEAT_SECONDS: Final = 5.0
#: A worker silent for so long is taken for dead, and its jobs are run again.
SILENT_SECONDS_MAX: Final = 30.0
#: A job that is due later, or was left by another worker, is found so often; new ones are told at once.
POLL_SECONDS: Final = 2.0
#: Jobs may go on for so long after `stop`; then they are left, and run again later.
DRAIN_SECONDS_MAX: Final = 8.0
#: The time to settle that a worker has beside that of its jobs. It may miss a cancellation that arrives while a
#: connection breaks, so that it must be told again.
_SETTLE_SECONDS: Final = 2.0
_CANCEL_ATTEMPTS_MAX: Final = 5


class JobWorker:
    """Runs the jobs of an app. `run` blocks, in any thread; `stop` and `trouble` are for every thread.

    After `stop`, jobs have `DRAIN_SECONDS_MAX`; those that take longer are left to their threads, which do not outlive
    the process, and another worker runs them again.

    Tasks are plain functions, each run in a thread, at most `concurrency` at once. Queues that `reserved` names have so
    many places of their own beside those, whatever the others do; without it every queue is served. A job is deleted
    when it is done, and kept as failed where its task raised. Errors of PostgreSQL end nothing: the worker connects again, with
    backoff, for as long as it takes. Jobs of workers that were silent for `silent_seconds_max` are run again.
    """

    def __init__(
        self,
        app: procrastinate.App,
        *,
        concurrency: int = CONCURRENCY,
        reserved: Mapping[str, int] | None = None,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        silent_seconds_max: float = SILENT_SECONDS_MAX,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._app = app
        # By queues (None: all), so many jobs at once.
        self._lanes: list[tuple[list[str] | None, int]] = [([DEFAULT_QUEUE] if reserved else None, concurrency)]
        self._lanes += [([queue], places) for queue, places in (reserved or {}).items()]
        self._heartbeat_seconds = heartbeat_seconds
        self._silent_seconds_max = silent_seconds_max
        self._poll_seconds = poll_seconds
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        #: Why no jobs are run at the moment, or None.
        self.trouble: str | None = "not started"

    def run(self) -> None:
        """Run jobs until stopped."""
        asyncio.run(self._run())

    def stop(self) -> None:
        """Ask `run` to return once the jobs that run are done, or after `DRAIN_SECONDS_MAX`."""
        self._stopped = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(LooseThreads())
        stopping = asyncio.create_task(self._stopping.wait())
        if self._stopped:  # before there was a loop to tell
            self._stopping.set()
        failures = 0
        while not self._stopping.is_set():
            try:
                if not await self._opened(stopping):
                    break
                self.trouble, began = None, self._loop.time()
                try:
                    await self._work(stopping)
                finally:
                    if self._loop.time() - began > SILENT_SECONDS_MAX:
                        failures = 0
                why = "the worker ended by itself"
            except (ConnectorException, psycopg.Error) as error:
                why = str(error.__cause__ or error).strip() or type(error).__name__
            finally:
                await self._app.close_async()
            if not self._stopping.is_set():
                failures += 1
                await self._wait(why, backoff_seconds(failures))
        self.trouble = "stopped"

    async def _opened(self, stopping: asyncio.Task[bool]) -> bool:
        """Connect, however long that takes; False when told to stop meanwhile."""
        opening = asyncio.create_task(self._app.connector.open_async())
        await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not opening.done():
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            return False
        await opening
        return True

    async def _work(self, stopping: asyncio.Task[bool]) -> None:
        workers = [
            asyncio.create_task(
                self._app.run_worker_async(
                    name="costledger",
                    queues=queues,  # type: ignore[arg-type]  # None: all, as the worker takes it
                    concurrency=concurrency,
                    fetch_job_polling_interval=self._poll_seconds,
                    shutdown_graceful_timeout=DRAIN_SECONDS_MAX,
                    delete_jobs="successful",
                    install_signal_handlers=False,
                    update_heartbeat_interval=self._heartbeat_seconds,
                    stalled_worker_timeout=self._silent_seconds_max,
                )
            )
            for queues, concurrency in self._lanes
        ]
        tasks = [*workers, asyncio.create_task(self._rescue())]
        await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
        self.trouble = "stopping" if self._stopping.is_set() else "job queue: the worker begins anew"
        for _ in range(_CANCEL_ATTEMPTS_MAX):
            for task in tasks:
                task.cancel()
            _, left = await asyncio.wait(tasks, timeout=DRAIN_SECONDS_MAX + _SETTLE_SECONDS)
            if not left:
                break
        results = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        for result in results:
            if result is not None:
                raise result

    async def _rescue(self) -> None:
        names = ("fail_superseded_jobs", "retry_stalled_jobs", "retry_aborted_jobs")
        superseded, stalled, aborted = (query(name).decode() for name in names)
        connector = self._app.connector
        while True:
            for row in await connector.execute_query_all_async(superseded, silent_seconds=self._silent_seconds_max):
                logger.warning(
                    "job %s was left by a worker that is gone; the next one of its kind stands for it", row["id"]
                )
            rows = await connector.execute_query_all_async(stalled, silent_seconds=self._silent_seconds_max)
            rows += await connector.execute_query_all_async(aborted)
            for row in rows:
                logger.warning("job %s was left by a worker that is gone, and is run again", row["id"])
            await asyncio.sleep(self._heartbeat_seconds)

    async def _wait(self, why: str, seconds: float) -> None:
        self.trouble = f"job queue: {why}"
        logger.error("the job worker starts again in %.1f s, nothing is lost: %s", seconds, why)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
