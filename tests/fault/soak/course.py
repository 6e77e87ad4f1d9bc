"""The course of a soak: what was planned, what happened when, and the rates of it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from tests.fault.soak.sampling import CONSUMERS, Look

#: A consumer has no lag when it has passed all that was on the topic so long ago: it commits and is looked at once
#: or twice a second, and the load goes on.
NO_LAG_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how often, how much."""

    fault_seconds: float
    fault_every_seconds: float = 30.0
    rest_every_seconds: float = 300.0
    load_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Fault:
    """One harm; `caught_up_seconds` by consumer, from the heal on (None: not within twice what is promised)."""

    name: str
    at_seconds: float
    healed_at_seconds: float
    caught_up_seconds: dict[str, float | None]


class Rest(NamedTuple):
    """A time without load; from `quiet_at_seconds` on nothing waited either."""

    from_seconds: float
    quiet_at_seconds: float
    to_seconds: float


@dataclass(slots=True)
class Course:
    """What happened, with times of the sampler's clock."""

    maximum_rate: float = 0.0
    #: What did no more while it was looked for; empty: it is no maximum.
    maximum_limit: str = ""
    calibration_seconds: float = 0.0
    rate: float = 0.0
    #: Of events that came to the topic while harm was done.
    carried_rate: float = 0.0
    loaded_at_seconds: float = 0.0
    began_at_seconds: float = 0.0
    ended_at_seconds: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    rests: list[Rest] = field(default_factory=list)
    #: (seconds, worker, exit code): ended by itself and started again, as a supervisor does.
    restarts: list[tuple[float, str, int]] = field(default_factory=list)


def increments(looks: list[Look], value: Callable[[Look], int | None]) -> list[tuple[float, float]]:
    """(seconds, events per second) between neighbouring looks that both know the value."""
    rates = []
    for before, after in pairwise(looks):
        old, new = value(before), value(after)
        if old is not None and new is not None:
            rates.append((after.at_seconds, (new - old) / (after.at_seconds - before.at_seconds)))
    return rates


def written_rate(looks: list[Look], since_seconds: float, until_seconds: float) -> float:
    """Events per second that came to the topic between two moments; 0 where nothing is known."""
    return rate_of(looks, lambda look: look.written, since_seconds, until_seconds)


def carried_rate(looks: list[Look], course: Course) -> float:
    """Events per second that came to the topic while harm was done, over the time that the load did not rest."""
    began, ended = course.began_at_seconds, course.ended_at_seconds
    rested = sum(rest.to_seconds - rest.from_seconds for rest in course.rests if rest.from_seconds >= began)
    return written_rate(looks, began, ended) * (ended - began) / (ended - began - rested)


def rate_of(
    looks: list[Look], value: Callable[[Look], int | None], since_seconds: float, until_seconds: float
) -> float:
    """By how much a value has grown each second between two moments; 0 where nothing is known."""
    known = [
        (look.at_seconds, found)
        for look in looks
        if since_seconds <= look.at_seconds <= until_seconds and (found := value(look)) is not None
    ]
    if len(known) < 2:
        return 0.0
    (first_at, first), (last_at, last) = known[0], known[-1]
    return (last - first) / (last_at - first_at)


def keeps_up(look: Look) -> bool:
    """All that was on the topic a moment ago is done, and something was."""
    return all(
        bool(look.done[name]) and (seconds := look.lag_seconds[name]) is not None and seconds <= NO_LAG_SECONDS
        for name in CONSUMERS
    )


def shown(seconds: float | None) -> str:
    """Of how long a consumer took to catch up."""
    return "never" if seconds is None else f"{seconds:g} s"
