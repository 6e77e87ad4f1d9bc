"""A soak: find what the machine sustains, then half of it for minutes, with a harm every half minute.

calibrate ▸ load ▸ rehearse ▸ rest ▸ (harm, heal, caught up?) ... rest ... ▸ stop the load ▸ all promises
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

import psutil
from tests.fault.harness.cluster import HEALED_SECONDS_MAX, Cluster
from tests.fault.harness.figures import Observed
from tests.fault.harness.load import Generator
from tests.fault.soak.course import (
    NO_LAG_SECONDS,
    Course,
    Fault,
    Plan,
    Rest,
    carried_rate,
    keeps_up,
    rate_of,
    shown,
    written_rate,
)
from tests.fault.soak.harms import OVER_SESSION_SECONDS, BackendsTerminated, Harm, KafkaKilled, PostgresStopped
from tests.fault.soak.sampling import ANSWER_SECONDS_MAX, CONSUMERS, FOLLOWERS, Look, Memory, Sampler
from tests.fixtures.wait import wait_until

from costledger.schemas.memory import COLLECT_SECONDS
from costledger.schemas.metrics import C_MEMORY, PYTHON_MEMORY, STREAM_USERS

#: Their memory is watched from beginning to end; each has a twin, which is killed in its place.
WATCHED: Final = ("stream", "sink", "notifier")
#: The first generator of the load: a program that uses the SDK.
SERVICE: Final = "service"
TWINS: Final = tuple(f"{name}-2" for name in WATCHED)
#: The load is more than the machine carries when a consumer is so far behind, in so many looks in a row.
OVERLOAD_LAG_SECONDS: Final = 5.0
OVERLOAD_LOOKS: Final = 3
SETTLING_RATE: Final = 200.0
SETTLED_LOOKS: Final = 5
#: So many events go through new sessions before a rest.
TOUCH_EVENTS: Final = 400
SETTLING_SECONDS_MAX: Final = 120.0
CALIBRATION_SECONDS_MAX: Final = 180.0
#: The maximum is the rate of these last seconds.
CALIBRATION_WINDOW_SECONDS: Final = 15.0
CALIBRATION_RATE: Final = 2_000.0
#: Of what is asked for, over the last seconds.
EXHAUSTED_SHARE: Final = 0.8
CALIBRATION_RISE: Final = 100.0
GENERATORS: Final = 2
#: After so many takeovers the next one needs little more than the last.
REHEARSALS: Final = 3
#: Of the first rehearsal: its backlogs are larger than any that come later. They fill two batches of each sink, and the queue
#: of each service's client.
LONG_STOP_SECONDS: Final = 45.0
#: Longer than from one coming of a worker's collector to the next: what only that finds is gone by the end.
REST_SECONDS: Final = COLLECT_SECONDS + 5
#: Else pieces that a thread has freed, and keeps for itself, count as in use: up to 140 kB a thread.
EXACT_MEMORY: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
#: From the end of the load until nothing waits.
QUIET_SECONDS_MAX: Final = 60.0
_STEP_SECONDS: Final = 0.25


class Soak:
    """One soak on one installation."""

    def __init__(self, cluster: Cluster, plan: Plan, tell: Callable[[str], None]) -> None:
        self.cluster = cluster
        self.plan = plan
        self.course = Course()
        self.sampler = Sampler(cluster, self._memory)
        self._tell = tell
        self._generators: list[Generator] = []
        self._lives: dict[str, list[int]] = {}
        self._observed = {name: Observed() for name in (*WATCHED, SERVICE)}

    @property
    def looks(self) -> list[Look]:
        """All looks so far."""
        return self.sampler.looks

    def run(self, harms: Iterator[Harm]) -> Course:
        """Everything up to the end of the load; the check of the promises is the caller's."""
        self.cluster.configure(chain_seal_after_seconds="5")
        self.cluster.variables |= EXACT_MEMORY
        # The scheduler seals the hash chain meanwhile, and stands where nobody does it harm but by the servers.
        for name in (*WATCHED, *TWINS, "scheduler"):
            self._start(name)
        self.sampler.start()
        self.settle_in()
        self.calibrate()
        self.begin_load()
        self.rehearse()
        self.rest()
        self.course.began_at_seconds = self.sampler.seconds()
        self.endure(harms)
        self.course.ended_at_seconds = self.sampler.seconds()
        self.course.carried_rate = carried_rate(self.looks, self.course)
        self._end_load()
        return self.course

    def settle_in(self) -> None:
        """A little load until the workers have shared out the partitions and both consumers are at work."""
        self._load("first", SETTLING_RATE, 0.0)

        def at_work() -> bool:
            self._pass(_STEP_SECONDS)
            latest = self.looks[-SETTLED_LOOKS:]
            return len(latest) == SETTLED_LOOKS and all(map(keeps_up, latest))

        wait_until(at_work, SETTLING_SECONDS_MAX, "sink and stream keep up with a small load")
        self._end_load()

    def calibrate(self) -> None:
        """A rising load until a consumer falls behind, or the services themselves; then wait until both have caught up."""
        began = self.sampler.seconds()
        self._load("calibration", CALIBRATION_RATE, CALIBRATION_RISE)
        deadline = began + CALIBRATION_SECONDS_MAX
        while not (limit := self._limit(began)) and self.sampler.seconds() < deadline:
            self._pass(_STEP_SECONDS)
        self.course.maximum_limit = limit
        ended = self.sampler.seconds()
        rates = [self.rate(name, ended - CALIBRATION_WINDOW_SECONDS, ended) for name in CONSUMERS]
        self.course.maximum_rate = min(rates)
        self.course.calibration_seconds = ended - began
        self._end_load()
        self._caught_up(self.sampler.seconds())
        told = f"{limit} did no more" if limit else "nothing was at its end"
        self._tell(f"maximum {self.course.maximum_rate:,.0f} events/s, found in {ended - began:.0f} s: {told}")

    def begin_load(self) -> None:
        """Half of the maximum, from now on."""
        self.course.rate = self.course.maximum_rate * self.plan.load_share
        self._load("load", self.course.rate, 0.0)
        self.course.loaded_at_seconds = self.sampler.seconds()

    def rehearse(self) -> None:
        """All twins die and PostgreSQL and Kafka are away, some times, before memory is looked at.

        Who takes over everything, and has to catch up, comes to hold the most that it will ever hold.
        """
        for number in range(REHEARSALS):
            for twin in TWINS:
                self.cluster.worker(twin).kill()
            self._pass(OVER_SESSION_SECONDS, frozenset(TWINS))
            self.cluster.start(*TWINS)
            self._caught_up(self.sampler.seconds())
            away = {} if number else {"seconds": LONG_STOP_SECONDS}
            for harm in (PostgresStopped(**away), KafkaKilled(**away)):
                harm.harm(self.cluster)
                self._pass(harm.seconds, harm.down)
                harm.heal(self.cluster)
                self._caught_up(self.sampler.seconds())

    def endure(self, harms: Iterator[Harm]) -> None:
        """A harm at each turn, and a rest every so many turns, which is no part of the time of harm."""
        left_seconds = self.plan.fault_seconds
        while left_seconds > 0:
            seconds = min(left_seconds, self.plan.rest_every_seconds)
            self._harm_for(seconds, harms)
            self.rest()
            left_seconds -= seconds

    def rest(self) -> None:
        """No load, until nothing waits and then for a while: what a worker holds now it holds for good.

        Its sessions with PostgreSQL are new ones, and have been used a little: a client keeps room for the largest statement of a
        session until that ends, doubled each time (half a megabyte was the step of a sink). It says how large a burst has been.
        """
        rested_from = self.sampler.seconds()
        for generator in self._generators:
            generator.rest()
        self._await_quiet()
        BackendsTerminated().harm(self.cluster)
        touch = self._generator(f"rest-{len(self.course.rests)}", rate=SETTLING_RATE)
        touch.await_more(TOUCH_EVENTS)
        touch.stop()
        self._await_quiet()
        quiet_at = self.sampler.seconds()
        self._pass(REST_SECONDS)
        self.course.rests.append(Rest(rested_from, quiet_at, self.sampler.seconds()))
        for generator in self._generators:
            generator.go_on()

    def _await_quiet(self) -> None:
        seen = len(self.looks)

        def quiet() -> bool:
            self._pass(_STEP_SECONDS)
            return any(set(look.lag.values()) == {0} for look in self.looks[seen:])

        wait_until(quiet, QUIET_SECONDS_MAX, "nothing waits once the load rests")

    def _harm_for(self, seconds: float, harms: Iterator[Harm]) -> None:
        """One whose healing takes longer than a turn puts the next one off to the turn after."""
        began = self.sampler.seconds()
        turn_at = began
        while turn_at + self.plan.fault_every_seconds <= began + seconds:
            self._pass(turn_at - self.sampler.seconds())
            self._one_fault(next(harms))
            while turn_at <= self.sampler.seconds():
                turn_at += self.plan.fault_every_seconds
        self._pass(began + seconds - self.sampler.seconds())

    def rate(self, consumer: str, since_seconds: float, until_seconds: float) -> float:
        """Events per second of a consumer between two moments; 0 where nothing is known."""
        return rate_of(self.looks, lambda look: look.done[consumer], since_seconds, until_seconds)

    def _one_fault(self, harm: Harm) -> None:
        at = self.sampler.seconds()
        harm.harm(self.cluster)
        self._pass(harm.seconds, harm.down)
        harm.heal(self.cluster)
        healed_at = self.sampler.seconds()
        caught_up = self._caught_up(healed_at)
        self.course.faults.append(Fault(harm.name, at, healed_at, caught_up))
        times = ", ".join(f"{name} {shown(seconds)}" for name, seconds in caught_up.items())
        self._tell(f"{at:6.0f} s  {harm.name}: caught up after {times}")

    def _caught_up(self, healed_at: float) -> dict[str, float | None]:
        """By consumer the seconds from the heal to its first look without lag."""
        found: dict[str, float | None] = dict.fromkeys(FOLLOWERS)
        seen = len(self.looks)
        while None in found.values() and self.sampler.seconds() < healed_at + 2 * HEALED_SECONDS_MAX:
            self._pass(_STEP_SECONDS)
            for look in self.looks[seen:]:
                for name in FOLLOWERS:
                    lag_seconds = look.lag_seconds[name]
                    if look.at_seconds < healed_at or lag_seconds is None:
                        continue
                    if found[name] is None and lag_seconds <= NO_LAG_SECONDS:
                        found[name] = round(look.at_seconds - healed_at, 1)
            seen = len(self.looks)
        return found

    def _limit(self, began: float) -> str:
        """What does no more than it does now; empty while all goes up with the load."""
        if self._overloaded():
            return "sink or stream"
        return "services and broker" if self._exhausted(began) else ""

    def _exhausted(self, began: float) -> bool:
        """Whether far fewer events come to the topic than are asked for by now: everything has the same processors."""
        now = self.sampler.seconds()
        if now - began < 2 * CALIBRATION_WINDOW_SECONDS:
            return False
        asked = CALIBRATION_RATE + CALIBRATION_RISE * (now - began - CALIBRATION_WINDOW_SECONDS / 2)
        return written_rate(self.looks, now - CALIBRATION_WINDOW_SECONDS, now) < EXHAUSTED_SHARE * asked

    def _overloaded(self) -> bool:
        latest = self.looks[-OVERLOAD_LOOKS:]
        return len(latest) == OVERLOAD_LOOKS and all(
            any((look.lag_seconds[name] or 0.0) > OVERLOAD_LAG_SECONDS for name in CONSUMERS) for look in latest
        )

    def _load(self, name: str, rate: float, rise: float) -> None:
        for number in range(GENERATORS):
            options: dict[str, float] = {"rate": rate / GENERATORS, "rate_rise": rise / GENERATORS}
            if (name, number) == ("load", 0):
                options["metrics_port"] = self._observed[SERVICE].port
            conflicts = 0.002 if number else 0.0
            made = self._generator(f"{name}-{number}", **options, conflict_share=conflicts, poison_share=0.001)
            self._generators.append(made)

    def _generator(self, name: str, **options: float) -> Generator:
        """Late events of one day alone: the stream has all its hours soon, and what grows later is a leak."""
        return self.cluster.load(name, users=240, late_share=0.3, late_days_max=1, **options)

    def _end_load(self) -> None:
        for generator in self._generators:
            generator.stop()
        self._generators.clear()

    def _pass(self, seconds: float, down: frozenset[str] = frozenset()) -> None:
        """Let time pass; whoever has ended by itself is started again, as a supervisor does."""
        until = time.monotonic() + seconds
        while True:
            self._revive(down)
            self.sampler.raise_failure()
            for generator in self._generators:
                assert generator.alive(), f"a load generator has ended: {generator.log_path}"
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _STEP_SECONDS))

    def _revive(self, down: frozenset[str]) -> None:
        for name, worker in list(self.cluster.workers.items()):
            code = worker.process.poll()
            if code is not None and name not in down:
                self.course.restarts.append((self.sampler.seconds(), name, code))
                self.cluster.revived += 1
                self._tell(f"{self.sampler.seconds():6.0f} s  {name} ended with {code}: started again")
                self._start(name)

    def _start(self, name: str) -> None:
        observed = self._observed.get(name)
        self.cluster.start(name, **({} if observed is None else observed.setting(name)))

    def _memory(self) -> dict[str, Memory]:
        """By process: `stream/2` is the second life of `stream`, `service` the first generator."""
        found: dict[str, Memory] = {}
        for name, worker in list(self.cluster.workers.items()):
            lives = self._lives.setdefault(name, [])
            if worker.process.pid not in lives:
                lives.append(worker.process.pid)
            resident_bytes = worker.rss_bytes()
            if resident_bytes:
                found[f"{name}/{lives.index(worker.process.pid) + 1}"] = self._memory_of(name, resident_bytes)
        for generator in self._generators[:1]:
            with contextlib.suppress(psutil.Error):  # it may end at any moment
                if generator.load.metrics_port:
                    resident_bytes = psutil.Process(generator.process.pid).memory_info().rss
                    found[f"{SERVICE}/1"] = self._memory_of(SERVICE, resident_bytes)
        return found

    def _memory_of(self, name: str, resident_bytes: int) -> Memory:
        observed = self._observed.get(name)
        figures = {} if observed is None else observed.figures_now(ANSWER_SECONDS_MAX)
        told = (PYTHON_MEMORY, C_MEMORY, STREAM_USERS)
        return Memory(resident_bytes, *(int(figures[one.name]) if one.name in figures else None for one in told))
