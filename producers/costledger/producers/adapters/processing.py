"""CPU and memory time of the company's own work: as a decorator, and as a context manager.

CPU time is that of the thread while it runs the work itself: other threads are not in it, nor are other tasks of an
event loop, since a coroutine is measured from each resumption to the next suspension. What is measured
within measured work is taken out of the outer one. So no second of a CPU is in two events.

Memory is the process's resident size times the time that the work was going on, in GB of 10**9 bytes. Where
several pieces of work go on at once, they share it equally: together they are charged for the memory that the
process has, never for a multiple of it.
"""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Generator
from threading import local
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from costledger.producers.adapters.process_memory import MEMORY, resident_bytes
from costledger.producers.adapters.reading import User, user_id_of
from costledger.producers.prices.rates import divided_half_even
from costledger.producers.records import Metadata
from costledger.producers.services import ServiceMethods
from costledger.schemas.money import NANOUNITS_PER_UNIT, from_nanounits

logger = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])

BYTES_PER_GB: Final = 10**9
NANOSECONDS_PER_HOUR: Final = 3600 * 10**9


def track_processing(
    tracker: ServiceMethods,
    user: User,
    *,
    job: str | None = None,
    metadata: Metadata | None = None,
    cpu_clock_ns: Callable[[], int] = time.thread_time_ns,
) -> Processing:
    """Measure work and track it as one event `processing`: `with track_processing(...):` or `@track_processing(...)`.

    Decorates functions, coroutine functions and generator functions; asynchronous generators are refused with a
    TypeError, measure what consumes them. The context manager is for code without `await`: what other tasks of the
    thread did in the meantime would be in it.

    `user` is a user's id, or a function that is asked when the work begins. `job` names the work in the metadata
    (default: the function's name). Work that raises is tracked too, with the exception's name, and raises.
    `cpu_clock_ns`: another clock, for example `time.process_time_ns` to count the threads that the work starts,
    where nothing else runs in the process. Raises `InvalidValue` where the system does not tell the resident size.
    """
    resident_bytes()  # raises here, and not in the work, where the system does not tell
    return Processing(tracker, user, job, metadata, cpu_clock_ns)


class Processing:
    """A decorator, and a context manager for one piece of work at a time in each thread."""

    def __init__(
        self,
        tracker: ServiceMethods,
        user: User,
        job: str | None,
        metadata: Metadata | None,
        cpu_clock_ns: Callable[[], int],
    ) -> None:
        self._tracker = tracker
        self._user = user
        self._job = job
        self._metadata = metadata
        self._clock = cpu_clock_ns
        self._open = local()

    def __enter__(self) -> Self:
        meter = self._begin(None)
        meter.resume()
        self._meters().append(meter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        meter = self._meters().pop()
        meter.suspend()
        meter.end(kind)

    def __call__(self, function: Function) -> Function:
        """The function with its work measured at each call."""
        measured: Any
        if inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is an asynchronous generator: measure what consumes it")
        if inspect.iscoroutinefunction(function):

            async def measured(*args: Any, **kwargs: Any) -> Any:
                return await _Stepwise(function(*args, **kwargs), self._begin(function))

        elif inspect.isgeneratorfunction(function):

            def measured(*args: Any, **kwargs: Any) -> Any:
                return (yield from _steps(function(*args, **kwargs), self._begin(function)))

        else:

            def measured(*args: Any, **kwargs: Any) -> Any:
                return self._call(function, args, kwargs)

        return cast(Function, functools.wraps(function)(measured))

    def _call(self, function: Any, args: Any, kwargs: Any) -> Any:
        meter = self._begin(function)
        meter.resume()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            meter.suspend()
            meter.end(type(error))
            raise
        meter.suspend()
        meter.end(None)
        return result

    def _begin(self, function: Any) -> _Meter:
        name = self._job or (None if function is None else function.__qualname__)
        return _Meter(self._tracker, self._user, name, self._metadata, self._clock)

    def _meters(self) -> list[_Meter]:
        if not hasattr(self._open, "meters"):
            self._open.meters = []
        meters: list[_Meter] = self._open.meters
        return meters


class _Meter:
    """The measurement of one piece of work; `resume` and `suspend` around each stretch of its running."""

    def __init__(
        self,
        tracker: ServiceMethods,
        user: User,
        job: str | None,
        metadata: Metadata | None,
        clock: Callable[[], int],
    ) -> None:
        self._tracker = tracker
        self._job = job
        self._metadata = metadata
        self._clock = clock
        self._cpu_ns = 0
        self._within_ns = 0
        self._resumed_ns = 0
        self._user_id: str | None = None
        try:
            self._user_id = user_id_of(user)
        except Exception as error:  # noqa: BLE001 - the host's function must not stop the host's work
            self._reject(error)
        self._memory_mark = MEMORY.join()
        self._began_ns = time.monotonic_ns()

    def resume(self) -> None:
        """This thread runs the work from now on."""
        _running().append(self)
        self._within_ns = 0
        self._resumed_ns = self._clock()

    def suspend(self) -> None:
        """And stops; what was measured within goes to the inner work alone."""
        elapsed_ns = max(0, self._clock() - self._resumed_ns)
        self._cpu_ns += max(0, elapsed_ns - self._within_ns)
        running = _running()
        if self in running:
            running.remove(self)
        if running:
            running[-1]._within_ns += elapsed_ns

    def end(self, raised: type[BaseException] | None) -> None:
        """The work is over: track it. Never raises."""
        byte_ns = MEMORY.leave(self._memory_mark)
        if self._user_id is None:
            return
        try:
            self._tracker.track_processing(
                self._user_id,
                from_nanounits(divided_half_even(self._cpu_ns * NANOUNITS_PER_UNIT, NANOSECONDS_PER_HOUR)),
                from_nanounits(divided_half_even(byte_ns * NANOUNITS_PER_UNIT, BYTES_PER_GB * NANOSECONDS_PER_HOUR)),
                metadata={
                    **(self._metadata or {}),
                    "job": self._job,
                    "wall_seconds": f"{(time.monotonic_ns() - self._began_ns) / 10**9:.6f}",
                    "raised": None if raised is None else raised.__name__,
                },
            )
        except Exception:
            logger.exception("work could not be tracked")

    def _reject(self, error: Exception) -> None:
        try:
            self._tracker.reject(error)
        except Exception:
            logger.exception("work cannot be tracked: nobody says whose it is")


_THREAD = local()


def _running() -> list[_Meter]:
    """The meters that run in this thread now, the outermost first."""
    if not hasattr(_THREAD, "meters"):
        _THREAD.meters = []
    meters: list[_Meter] = _THREAD.meters
    return meters


class _Stepwise:
    """A coroutine that is measured whenever it runs, and not while it waits."""

    def __init__(self, coroutine: Any, meter: _Meter) -> None:
        self._coroutine = coroutine
        self._meter = meter

    def __await__(self) -> Generator[Any, Any, Any]:
        return _steps(self._coroutine.__await__(), self._meter)


def _steps(inner: Any, meter: _Meter) -> Generator[Any, Any, Any]:
    """Drive a generator (or what a coroutine awaits with) step by step, each step measured."""
    value: Any = None
    thrown: BaseException | None = None
    raised: type[BaseException] | None = None
    try:
        while True:
            meter.resume()
            try:
                yielded = inner.send(value) if thrown is None else inner.throw(thrown)
            except StopIteration as stop:
                return stop.value
            finally:
                meter.suspend()
            value = thrown = None
            try:
                value = yield yielded
            except BaseException as error:  # noqa: BLE001 - whatever is thrown in belongs to the inner one
                thrown = error
    except BaseException as error:
        raised = None if isinstance(error, GeneratorExit) else type(error)
        raise
    finally:
        meter.end(raised)
