"""The stage: runs the Faust app in the calling thread until a signal or a failure."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from costledger.schemas.memory import COLLECT_SECONDS, collect, give_back
from costledger.streams.transport.app import build_app
from costledger.streams.transport.config import StageConfig
from costledger.streams.transport.records import Handler, Health, PartitionStats
from costledger.streams.transport.runtime import Runtime
from costledger.streams.transport.watchdog import caught_up, partition_stats, stalled

log = logging.getLogger("costledger.streams.transport")

STATUS_INTERVAL_SECONDS = 0.25
TICK_INTERVAL_SECONDS = 1.0
LOOK_INTERVAL_SECONDS = 1.0
GIVE_BACK_INTERVAL_SECONDS = 2.0
"""What a recovery or a catch-up took for a moment goes back to the system so soon."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stage:
    """Consumes co-partitioned topics in batches, with keyed state and outputs.

    `run` blocks; `health` and `stats` may be called from any thread at any time; `stop` does what
    SIGTERM does.
    """

    def __init__(self, config: StageConfig, handler: Handler) -> None:
        self.config = config
        self.handler = handler
        self._health = Health(False, (), 0.0, "not started")
        self._stats: list[PartitionStats] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def run(self) -> int:
        """Run until SIGTERM, SIGINT or `stop`: 0 when everything processed is written and committed,
        1 when anything unexpected ended it (it has been logged). Signals are handled when called in
        the main thread."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._main())

    def stop(self) -> None:
        """Ask `run` to drain and return. Thread-safe; without effect before `run` has begun."""
        if self._loop is not None and self._stopping is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopping.set)

    def health(self) -> Health:
        """The state of the stage, at most a status interval old."""
        return self._health

    def stats(self) -> list[PartitionStats]:
        """The offsets of the assigned source partitions, at most a status interval old."""
        return list(self._stats)

    # --- the run

    async def _main(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        runtime = Runtime(self.config, self.handler)
        app = build_app(self.config, runtime)
        self._handle_signals(self._stopping.set)
        loops = [
            asyncio.create_task(self._guard(runtime, what, loop))
            for what, loop in (
                ("the start failed", app.start),
                ("flushing failed", lambda: self._flush(runtime)),
                ("the handler failed in tick", lambda: self._every(TICK_INTERVAL_SECONDS, runtime.flusher.tick)),
                ("the handler failed in flushed", lambda: self._views(runtime)),
                ("looking for topics failed", lambda: self._every(LOOK_INTERVAL_SECONDS, runtime.look_for_topics)),
                ("looking at the changelog failed", lambda: self._every(LOOK_INTERVAL_SECONDS, runtime.changelog.look)),
                ("giving memory back failed", lambda: self._every(GIVE_BACK_INTERVAL_SECONDS, _give_back)),
                ("collecting failed", lambda: self._every(COLLECT_SECONDS, _collect)),
                ("the status failed", lambda: self._every(STATUS_INTERVAL_SECONDS, lambda: self._watch(runtime))),
            )
        ]
        waits = [asyncio.create_task(event.wait()) for event in (self._stopping, runtime.failed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            return await self._shut_down(runtime, loops)
        finally:
            for task in (*waits, *loops):
                task.cancel()
            await asyncio.gather(*waits, *loops, return_exceptions=True)
            self._health = Health(False, (), 0.0, runtime.failure or "stopped")
            self._stats = []

    async def _shut_down(self, runtime: Runtime, loops: list[asyncio.Task[None]]) -> int:
        drained = False
        if runtime.failure is None:
            log.info("Draining.")
            drained = await self._drain(runtime)
        for task in loops[1:]:
            task.cancel()
        try:
            async with asyncio.timeout(self.config.leave_timeout_seconds):
                await runtime.app.stop()
        except TimeoutError:
            log.warning("Leaving the group took longer than %s s.", self.config.leave_timeout_seconds)
        log.info("Stopped%s.", "" if drained else ", not drained")
        return 0 if drained and runtime.failure is None else 1

    async def _drain(self, runtime: Runtime) -> bool:
        if runtime.app.consumer is not None and runtime.partitions:
            runtime.app.consumer.stop_flow()
        deadline = asyncio.get_running_loop().time() + self.config.drain_timeout_seconds
        released = await runtime.release()
        try:
            async with asyncio.timeout_at(deadline):
                await runtime.flusher.update_views()
        except TimeoutError:
            log.warning("The last view update was not done within %s s.", self.config.drain_timeout_seconds)
        except Exception as exc:  # noqa: BLE001  (any failure of the domain counts)
            runtime.fail("the handler failed in flushed", exc)
        return released

    def _handle_signals(self, stop: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            for number in SIGNALS:
                loop.add_signal_handler(number, stop)
        except ValueError:
            log.info("Not in the main thread: signals are left to the caller.")

    # --- the loops

    async def _guard(self, runtime: Runtime, what: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop; its failure is the worker's."""
        try:
            await loop()
        except Exception as exc:  # noqa: BLE001  (whatever it is, the worker stops and says so)
            runtime.fail(what, exc)

    async def _every(self, seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await call()

    async def _flush(self, runtime: Runtime) -> None:
        config = self.config
        flushed_at = time.monotonic()
        while True:
            await asyncio.sleep(config.flush_interval_seconds)
            waited = time.monotonic() - flushed_at
            if waited < config.flush_interval_seconds_max and runtime.lag() > config.catch_up_records_min:
                continue
            await runtime.flusher.flush()
            flushed_at = time.monotonic()

    async def _views(self, runtime: Runtime) -> None:
        while True:
            await runtime.flusher.views_wanted()
            await runtime.flusher.update_views()

    async def _watch(self, runtime: Runtime) -> None:
        app: Any = runtime.app
        if app.crashed and runtime.failure is None:
            runtime.fail("Faust crashed", app.crash_reason)
        progress = runtime.progress
        self._stats = [
            partition_stats(
                tp.topic,
                tp.partition,
                progress.position(tp),
                progress.committed_offset(tp),
                runtime.highwater(tp),
            )
            for tp in progress.partitions()
        ]
        ready = runtime.reason is None
        current = caught_up(ready, self._stats)
        if current:
            runtime.touch()
        age = time.monotonic() - runtime.progress_at
        reason = runtime.reason or runtime.waits_for
        self._health = Health(reason is None, tuple(sorted(runtime.partitions)), age, reason)
        if stalled(current, age, self.config.stall_timeout_seconds) and runtime.failure is None:
            lags = {f"{row.topic}[{row.partition}]": row.lag for row in self._stats if row.lag}
            runtime.fail(f"stalled: no progress for {age:.1f} s, {runtime.reason or 'reading'}, lag {lags}")


async def _give_back() -> None:
    await asyncio.to_thread(give_back)


async def _collect() -> None:
    # In the loop's own thread: what is freed may be of the loop.
    collect()
