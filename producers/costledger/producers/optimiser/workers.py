"""A few threads that take tasks one by one, all of which have ended when the block is left, whatever ends it.

`ThreadPoolExecutor` loses sight of a thread whose start an interruption (Ctrl-C) falls into, and does not wait
for it. Here a thread is known before it is started.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

T = TypeVar("T")

#: A thread whose start was interrupted is looked for this often before it is taken for never started.
START_CHECKS_MAX: Final = 1000
START_CHECK_SECONDS: Final = 0.001


class WorkerThreads(Generic[T]):
    """At most `count` threads that call `work` with one task each at a time. Used by one thread, as a block."""

    def __init__(self, count: int, work: Callable[[T], None], name: str) -> None:
        self._count = count
        self._work = work
        self._name = name
        self._free = threading.Semaphore(count)
        # Never holds more than `count` tasks: each waits for a free thread before it is put.
        self._tasks: SimpleQueue[tuple[T] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            _join(thread)

    def give(self, task: T) -> None:
        """Hand over a task once a thread is free for it; raises what a call of `work` has raised before."""
        self._free.acquire()
        self._raise_failure()
        self._tasks.put((task,))
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def finish(self) -> None:
        """Wait until every task is done; raises what a call of `work` has raised. Nothing may be given afterwards."""
        for _ in range(self._count):
            self._free.acquire()
        self._raise_failure()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                self._work(task[0])
            except BaseException as error:  # noqa: BLE001 - raised by the thread that gave the task
                self._failure = self._failure or error
            finally:
                self._free.release()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _join(thread: threading.Thread) -> None:
    for _ in range(START_CHECKS_MAX):
        try:
            thread.join()
            return
        except RuntimeError:  # not started, or not yet: an interruption fell into its start
            time.sleep(START_CHECK_SECONDS)
