"""Threads for jobs that must not keep the process from ending: what they leave undone is done by another worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class LooseThreads(ThreadPoolExecutor):
    """An executor with a daemon thread for each call; who calls bounds how many there are.

    An ordinary executor's threads are waited for when the interpreter ends, however long a dead network takes.
    (asyncio takes nothing but a `ThreadPoolExecutor`.)
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `fn` in a thread of its own."""
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - handed to who waits for the result
                future.set_exception(error)

        threading.Thread(target=run, name="costledger-job", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: threads end with their call, or with the process."""
