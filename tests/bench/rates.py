"""From commits to rates, from rates to ratios; and the order in which contenders run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Contender = Callable[[], float]
_POLL_SECONDS = 0.01


class TooFewEvents(ValueError):
    """The work was over before its rate could be seen."""


class ContenderFailed(RuntimeError):
    """A contender that others can do without has no rate, and why."""


@dataclass(frozen=True, slots=True)
class Commit:
    """So many events were committed at this time (seconds of the monotonic clock)."""

    seconds: float
    events: int


def watch(committed: Callable[[], int], total: int, timeout_seconds: float) -> list[Commit]:
    """Ask again and again until all events are committed; every change that was seen.

    `TimeoutError` names what was committed last. What `committed` raises passes through.
    """
    commits = [Commit(time.monotonic(), 0)]
    deadline = commits[0].seconds + timeout_seconds
    while commits[-1].events < total:
        events = committed()
        now = time.monotonic()
        if events != commits[-1].events:
            commits.append(Commit(now, events))
        if now > deadline:
            raise TimeoutError(f"{events} of {total} events were committed within {timeout_seconds:g} s")
        time.sleep(_POLL_SECONDS)
    return commits[1:]


def committed_rate(commits: Sequence[Commit]) -> float:
    """Events per second from the first commit to the last: the start of a process does not count, its end does."""
    if len(commits) < 2:
        raise TooFewEvents("all events were committed at once: there is no time between; give more --events")
    first, last = commits[0], commits[-1]
    return (last.events - first.events) / (last.seconds - first.seconds)


@dataclass(frozen=True)
class Turns:
    """The values of each contender, run by run; and the reason for each that has none, because a run failed."""

    values: dict[str, list[float]]
    failed: dict[str, str]


def alternate(contenders: Mapping[str, Contender], runs: int, say: Callable[[str], None]) -> Turns:
    """Each contender `runs` times, in turn; who begins changes, so that a drift of the machine favours nobody.

    Who raises `ContenderFailed` is out, with all its values. Everything else that is raised passes through.
    """
    names = list(contenders)
    values: dict[str, list[float]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    for run in range(runs):
        first = run % len(names)
        for name in names[first:] + names[:first]:
            if name in failed:
                continue
            try:
                values[name].append(contenders[name]())
            except ContenderFailed as error:
                failed[name] = str(error)
                del values[name]
                say(f"  run {run + 1} of {runs}: {name} is out: {error}")
            else:
                say(f"  run {run + 1} of {runs}: {name} {values[name][-1]:,.1f}")
    return Turns(values, failed)


def medians_of(runs: Sequence[Mapping[str, float]], digits: int) -> dict[str, float]:
    """The median over the runs of each figure, rounded; a run that lacks one had 0."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: round(median(run.get(name, 0.0) for run in runs), digits) for name in names}


@dataclass(frozen=True)
class Result:
    """One line of the document: `name` is ours in `values`, the others are its peers."""

    name: str
    unit: str
    digits: int
    values: dict[str, list[float]]
    #: Peers that could not be installed, and why.
    unavailable: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    #: Peers of which a run failed, and how.
    failed: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    #: What else its part of the document has.
    fields: Mapping[str, Any] = field(default_factory=dict, kw_only=True)

    @property
    def peers(self) -> list[str]:
        """The names it is compared to."""
        return [name for name in self.values if name != self.name]

    @property
    def without_rate(self) -> dict[str, str]:
        """The peers that it cannot be compared to, and why."""
        return {**self.unavailable, **self.failed}

    def value(self, name: str) -> float:
        """The median of a contender's runs, rounded."""
        return round(median(self.values[name]), self.digits) if self.digits else round(median(self.values[name]))

    def ratios(self, peer: str) -> list[float]:
        """Ours to the peer's, run by run."""
        return [ours / theirs for ours, theirs in zip(self.values[self.name], self.values[peer], strict=True)]

    def _range(self, peer: str) -> list[float]:
        ratios = self.ratios(peer)
        return [round(min(ratios), 3), round(max(ratios), 3)]

    def entry(self) -> dict[str, Any]:
        """Its part of the document: medians, and median and range of the ratios of each pair of runs."""
        return {
            "value": self.value(self.name),
            "unit": self.unit,
            "ratio_to": {peer: round(median(self.ratios(peer)), 3) for peer in self.peers},
            "ratio_range": {peer: self._range(peer) for peer in self.peers},
            "peers": {peer: self.value(peer) for peer in self.peers},
            "without_rate": self.without_rate,
            "runs": len(self.values[self.name]),
            **self.fields,
        }
