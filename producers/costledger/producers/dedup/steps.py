"""One course of action for synchronous and asynchronous callers: generators that say what to do next, and two drivers.

A course yields a `Call` (blocks for milliseconds; `CacheAway` comes back to it as an exception), a `Pause`, or
`Work`, for which it gets an `Outcome` whatever happened. What it returns is the outcome for the caller.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any

from costledger.producers.dedup.store import CacheAway


@dataclass(frozen=True, slots=True)
class Call:
    """Run this; give back what it returns."""

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """Do the caller's own work."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the work gave: a result, or the exception that it ended with."""

    result: Any = None
    error: BaseException | None = None

    def unwrapped(self) -> Any:
        """The result; raises the exception."""
        if self.error is not None:
            raise self.error
        return self.result


Course = Generator[Call | Pause | Work, Any, Outcome]


def drive(course: Course, work: Callable[[], Any]) -> Any:
    """Run a course in this thread."""
    advance: Callable[[Any], Call | Pause | Work] = course.send
    value: Any = None
    while True:
        try:
            step = advance(value)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome.unwrapped()
        advance = course.send
        try:
            if isinstance(step, Call):
                value = step.function()
            elif isinstance(step, Pause):
                time.sleep(step.seconds)
                value = None
            else:
                value = _outcome(work)
        except CacheAway as error:
            advance, value = course.throw, error


async def drive_async(course: Course, work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a course in this task: calls go to a thread, so that the event loop never waits for Redis."""
    advance: Callable[[Any], Call | Pause | Work] = course.send
    value: Any = None
    while True:
        try:
            step = advance(value)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome.unwrapped()
        advance = course.send
        try:
            if isinstance(step, Call):
                value = await asyncio.to_thread(step.function)
            elif isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                value = None
            else:
                value = await _outcome_async(work)
        except CacheAway as error:
            advance, value = course.throw, error


def _outcome(work: Callable[[], Any]) -> Outcome:
    try:
        return Outcome(work())
    except BaseException as error:  # noqa: BLE001 - raised again, once the lease is free
        return Outcome(error=error)


async def _outcome_async(work: Callable[[], Awaitable[Any]]) -> Outcome:
    try:
        return Outcome(await work())
    except BaseException as error:  # noqa: BLE001 - as above; a cancellation too
        return Outcome(error=error)
