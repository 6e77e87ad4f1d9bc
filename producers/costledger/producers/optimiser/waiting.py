"""Blocking calls from asyncio that come to their end although the waiting task is cancelled."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function in a thread and wait for its end, whatever happens meanwhile.

    A cancellation is raised once the function has ended: so money is never reserved or settled behind the back
    of the job that asked for it. The function must be bounded itself.
    """
    # A future of the executor, not a task: what cancels all tasks of a loop does not reach it.
    future = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, function)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        # An error of the function is told as the cause.
        raise cancelled from future.exception()
    return future.result()
