"""CPU and memory time: of functions, coroutines, generators and blocks; nothing counted twice, nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.producers.collecting import CollectingTracker

from costledger.producers.adapters import track_processing
from costledger.producers.adapters.process_memory import SharedMemory, resident_bytes

USER: ContextVar[str] = ContextVar("user")
HOUR_NS = 3600 * 10**9
GIGABYTE = 10**9


class Clock:
    """A CPU clock that moves when it is told to, one for each thread."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __call__(self) -> int:
        return getattr(self._local, "now_ns", 0)

    def work(self, hours: int) -> None:
        """This thread's CPU works."""
        self._local.now_ns = self() + hours * HOUR_NS


@pytest.fixture
def clock() -> Clock:
    """A clock at 0."""
    return Clock()


def cpu_hours(tracker: CollectingTracker) -> dict[str, Decimal]:
    """CPU hours by job, added up."""
    assert tracker.rejected == []
    hours: dict[str, Decimal] = {}
    for record in tracker.records:
        job = record["metadata"].get("job", "-").rsplit(".", 1)[-1]
        hours[job] = hours.get(job, Decimal(0)) + Decimal(record["quantity"]).scaleb(-9)
    return hours


def test_a_function_and_a_block_are_one_event_each(tracker: CollectingTracker, clock: Clock) -> None:
    """2 CPU hours at 0.10 USD and the memory at 0.01 a GB hour; the result is the function's."""

    @track_processing(tracker, "user-1", cpu_clock_ns=clock, metadata={"app": "a"})
    def job(hours: int) -> str:
        """What it does."""
        clock.work(hours)
        return "done"

    assert (job(2), job.__name__, job.__doc__) == ("done", "job", "What it does.")
    with track_processing(tracker, "user-1", job="block", cpu_clock_ns=clock):
        clock.work(3)
    assert cpu_hours(tracker) == {"job": 2, "block": 3}
    first = tracker.records[0]
    assert (first["service"], first["operation"], first["unit"]) == ("internal", "processing", "CPU hour")
    memory = Decimal(first["metadata"]["memory_gb_hours"])
    assert first["amount"] == int((Decimal("0.2") + memory * Decimal("0.01")) * 10**12)
    assert first["metadata"]["app"] == "a"


def test_work_that_raises_is_tracked_and_raises(tracker: CollectingTracker, clock: Clock) -> None:
    """The metadata names the exception."""

    @track_processing(tracker, "user-1", cpu_clock_ns=clock)
    def job() -> None:
        clock.work(1)
        raise KeyError("x")

    @track_processing(tracker, "user-1", cpu_clock_ns=clock)
    async def ajob() -> None:
        clock.work(1)
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        job()
    with pytest.raises(KeyError):
        asyncio.run(ajob())
    with contextlib.suppress(KeyError), track_processing(tracker, "user-1", job="block", cpu_clock_ns=clock):
        clock.work(1)
        raise KeyError("x")
    assert cpu_hours(tracker) == {"job": 1, "ajob": 1, "block": 1}
    assert {record["metadata"]["raised"] for record in tracker.records} == {"KeyError"}


def test_a_coroutine_is_not_charged_for_what_others_do_while_it_waits(tracker: CollectingTracker, clock: Clock) -> None:
    """Three tasks in turn on one thread: each has its own hours, together they have all of them."""

    @track_processing(tracker, USER.get, cpu_clock_ns=clock)
    async def job(hours: int) -> int:
        for _ in range(4):
            clock.work(hours)
            await asyncio.sleep(0)
        return hours

    async def one(hours: int) -> int:
        USER.set(f"user-{hours}")
        return await job(hours)

    async def everyone() -> list[int]:
        return await asyncio.gather(*(one(hours) for hours in (1, 10, 100)))

    assert inspect.iscoroutinefunction(job)
    assert asyncio.run(everyone()) == [1, 10, 100]
    hours = {record["user_id"]: record["quantity"] // 10**9 for record in tracker.records}
    assert hours == {"user-1": 4, "user-10": 40, "user-100": 400}


def test_a_cancelled_coroutine_is_tracked(tracker: CollectingTracker, clock: Clock) -> None:
    """What it used until then; the cancellation goes on."""

    @track_processing(tracker, "user-1", cpu_clock_ns=clock)
    async def job() -> None:
        clock.work(2)
        try:
            await asyncio.Event().wait()
        finally:
            clock.work(1)

    async def cancelling() -> None:
        task = asyncio.create_task(job())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelling())
    assert cpu_hours(tracker) == {"job": 3}
    assert tracker.only()["metadata"]["raised"] == "CancelledError"


def test_a_generator_is_charged_while_it_runs_alone(tracker: CollectingTracker, clock: Clock) -> None:
    """Not for what its consumer does in between; what is sent, thrown and returned goes through."""

    @track_processing(tracker, "user-1", cpu_clock_ns=clock)
    def job() -> Any:
        received = []
        for number in range(3):
            clock.work(1)
            try:
                received.append((yield number))
            except ValueError:
                received.append("thrown")
        return received

    @track_processing(tracker, "user-1", job="consumer", cpu_clock_ns=clock)
    def consumer() -> Any:
        running = job()
        assert next(running) == 0
        clock.work(100)
        assert running.send("a") == 1
        clock.work(100)
        assert running.throw(ValueError()) == 2
        with pytest.raises(StopIteration) as stopped:
            running.send("b")
        return stopped.value.value

    assert inspect.isgeneratorfunction(job)
    assert consumer() == ["a", "thrown", "b"]
    assert cpu_hours(tracker) == {"job": 3, "consumer": 200}


def test_a_generator_that_is_left_early_is_tracked(tracker: CollectingTracker, clock: Clock) -> None:
    """When it is closed, with no exception to tell."""

    @track_processing(tracker, "user-1", cpu_clock_ns=clock)
    def job() -> Iterator[int]:
        clock.work(1)
        yield 1
        clock.work(1)
        yield 2

    running = job()
    assert next(running) == 1
    assert tracker.records == []
    running.close()  # type: ignore[attr-defined]  # it is a generator
    assert cpu_hours(tracker) == {"job": 1}
    assert "raised" not in tracker.only()["metadata"]


def test_an_asynchronous_generator_is_refused(tracker: CollectingTracker) -> None:
    """At once, with what to do instead."""

    async def job() -> Any:
        yield 1

    with pytest.raises(TypeError, match="measure what consumes it"):
        track_processing(tracker, "user-1")(job)


def test_inner_work_is_taken_out_of_the_outer(tracker: CollectingTracker, clock: Clock) -> None:
    """One hour of a CPU is in one event, however deep it was measured."""

    @track_processing(tracker, "user-1", cpu_clock_ns=clock)
    def innermost() -> None:
        clock.work(100)

    @track_processing(tracker, "user-1", cpu_clock_ns=clock)
    async def inner() -> None:
        clock.work(10)
        innermost()
        await asyncio.sleep(0)
        clock.work(10)

    @track_processing(tracker, "user-1", cpu_clock_ns=clock)
    async def outer() -> None:
        clock.work(1)
        await inner()
        with track_processing(tracker, "user-1", job="block", cpu_clock_ns=clock):
            clock.work(1000)
        clock.work(1)

    asyncio.run(outer())
    assert cpu_hours(tracker) == {"innermost": 100, "inner": 20, "block": 1000, "outer": 2}
    assert clock() == 1122 * HOUR_NS


def test_methods_are_decorated_as_functions_are(tracker: CollectingTracker, clock: Clock) -> None:
    """They get their `self`."""

    class Service:
        factor = 3

        @track_processing(tracker, "user-1", cpu_clock_ns=clock)
        def work(self, hours: int) -> int:
            clock.work(hours * self.factor)
            return self.factor

    assert Service().work(2) == 3
    assert cpu_hours(tracker) == {"work": 6}


def test_threads_are_measured_apart(tracker: CollectingTracker, clock: Clock) -> None:
    """Each by its own clock."""

    @track_processing(tracker, "user-1", cpu_clock_ns=clock)
    def job(hours: int) -> None:
        clock.work(hours)

    threads = [threading.Thread(target=job, args=(hours,)) for hours in (1, 10, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(record["quantity"] // 10**9 for record in tracker.records) == [1, 10, 100]


def burn(seconds: float) -> None:
    """Keep this thread's CPU busy for so long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_the_real_clock_counts_work_and_not_waiting(tracker: CollectingTracker) -> None:
    """0.2 s of a busy CPU; the wait for another busy thread is not in it."""

    @track_processing(tracker, "user-1")
    def job() -> None:
        burn(0.2)
        other = threading.Thread(target=burn, args=(0.3,))
        other.start()
        other.join()

    job()
    seconds = Decimal(tracker.only()["quantity"]).scaleb(-9) * 3600
    assert Decimal("0.199") < seconds < Decimal("0.29")
    assert Decimal(tracker.only()["metadata"]["wall_seconds"]) > Decimal("0.45")


def test_the_real_memory_is_the_resident_size_times_the_time(tracker: CollectingTracker) -> None:
    """Within what psutil says before and after."""
    resident = psutil.Process().memory_info().rss
    with track_processing(tracker, "user-1"):
        burn(0.2)
    metadata = tracker.only()["metadata"]
    hours = Decimal(metadata["wall_seconds"]) / 3600
    gigabytes = Decimal(metadata["memory_gb_hours"]) / hours
    assert abs(gigabytes - Decimal(resident) / GIGABYTE) < Decimal("0.05")
    assert abs(resident_bytes() - psutil.Process().memory_info().rss) < 20_000_000


class FakeMachine:
    """Time and memory that move when they are told to."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.resident = 2 * GIGABYTE

    def shared(self) -> SharedMemory:
        """The memory of this machine."""
        return SharedMemory(lambda: self.resident, lambda: self.now_ns)


def test_pieces_of_work_that_go_on_at_once_share_the_memory() -> None:
    """2 GB: alone for an hour, then two for an hour, then the other alone for an hour: 3 GB hours each, 6 in all."""
    machine = FakeMachine()
    memory = machine.shared()
    first = memory.join()
    machine.now_ns += HOUR_NS
    second = memory.join()
    machine.now_ns += HOUR_NS
    first_share = memory.leave(first)
    machine.now_ns += HOUR_NS
    second_share = memory.leave(second)
    assert (first_share, second_share) == (3 * GIGABYTE * HOUR_NS, 3 * GIGABYTE * HOUR_NS)


def test_a_forked_child_has_none_of_its_parents_work() -> None:
    """The child's share is its own time alone, though the parent was in the middle of something."""
    code = """
import os, time
from costledger.producers.adapters.process_memory import MEMORY, resident_bytes
MEMORY.join()
child = os.fork()
if child == 0:
    began = time.monotonic_ns()
    mark = MEMORY.join()
    time.sleep(0.5)
    share = MEMORY.leave(mark)
    whole = resident_bytes() * (time.monotonic_ns() - began)
    os._exit(0 if mark == 0 and whole * 0.9 < share < whole * 1.1 else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_time_between_pieces_of_work_is_nobodys() -> None:
    """An idle hour is not charged to whoever comes next."""
    machine = FakeMachine()
    memory = machine.shared()
    machine.now_ns += HOUR_NS
    mark = memory.join()
    machine.now_ns += HOUR_NS
    machine.resident = 4 * GIGABYTE
    assert memory.leave(mark) == 3 * GIGABYTE * HOUR_NS  # the mean of 2 and 4
    assert memory.leave(memory.join()) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10**6), st.integers(0, 10**6)), max_size=60))
def test_all_shares_together_are_the_memory_that_there_was(steps: list[tuple[bool, int, int]]) -> None:
    """Pieces of work come and go as they like: the sum is the process's memory while any of them went on."""
    machine = FakeMachine()
    memory = machine.shared()
    marks: list[int] = []
    shares = whole = 0
    for begins, nanoseconds, resident in [*steps, *[(False, 1, 1)] * len(steps)]:
        if marks:
            whole += (machine.resident + resident) * nanoseconds
        machine.now_ns += nanoseconds
        machine.resident = resident
        if begins:
            marks.append(memory.join())
        elif marks:
            shares += memory.leave(marks.pop(0))
        else:
            memory.leave(memory.join())
    assert not marks
    # Each division drops less than one byte nanosecond for each piece of work.
    assert abs(whole / 2 - shares) <= len(steps) * (len(steps) + 2)


@pytest.mark.parametrize("user", [USER.get, lambda: 1 // 0])
def test_a_user_who_cannot_be_named_stops_no_work(tracker: CollectingTracker, user: Callable[[], str]) -> None:
    """The work is done, one event is rejected."""

    @track_processing(tracker, user)
    def job() -> str:
        return "done"

    assert job() == "done"
    assert (len(tracker.rejected), tracker.records) == (1, [])


def test_a_strict_tracker_stops_no_work() -> None:
    """What it raises is logged."""

    class Failing(CollectingTracker):
        def _keep(self, *_: Any) -> Any:
            raise ZeroDivisionError

        def reject(self, error: Exception) -> Any:
            raise error

    @track_processing(Failing(), USER.get)
    def unnamed() -> str:
        return "done"

    @track_processing(Failing(), "user-1")
    def named() -> str:
        return "done"

    assert (unnamed(), named()) == ("done", "done")
