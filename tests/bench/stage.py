"""Where stream apps and sinks are measured: topics, how often apps commit, and what must come out."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.kafka import committed_by
from tests.bench.ledgers import Connection, WrongResult
from tests.bench.processes import Program
from tests.bench.rates import committed_rate, watch
from tests.bench.workload import Workload

_RUN_SECONDS_MAX = 600.0
#: Events of a history a second: each begins an hour, for which what is usual must be found.
HISTORY_RATE_MIN = 1_000.0


@dataclass(frozen=True)
class FullTopic:
    """A topic with so many events, and the rate at which a group works through them."""

    bootstrap: str
    topic: str
    events: int
    #: The first ones, which bring the app into the state in which it is measured.
    history_events: int = field(default=0, kw_only=True)

    def group(self, name: str) -> str:
        """A consumer group that nobody had before."""
        return f"bench-{name.replace('_', '-')}-{uuid.uuid4().hex[:8]}"

    def rate(self, program: Program, group: str, at_ends: Callable[[], object] = lambda: None) -> float:
        """Events per second between the first commit behind the history and the last one, asked of the broker from outside.

        `at_ends` is called as soon as each of these two is seen.
        """
        with ExitStack() as closing:
            committed = committed_by(self.bootstrap, group, self.topic, closing)
            alive = telling_ends(
                lambda: _alive(program, committed, self.events), max(1, self.history_events), self.events, at_ends
            )
            commits = watch(alive, self.events, _RUN_SECONDS_MAX + self.history_events / HISTORY_RATE_MIN)
            return committed_rate([commit for commit in commits if commit.events >= self.history_events])


@dataclass(frozen=True)
class StreamStage(FullTopic):
    """A topic of events for stream apps; their amounts add up to `amount` (1e-12 USD)."""

    amount: int
    commit_seconds: float
    folder: Path
    #: The Avro schema of an event without logical types, as JSON: programs in other environments have none of ours.
    schema_path: Path

    def check(self, name: str, found: int) -> None:
        """`WrongResult` unless `found` is the sum of all amounts (1e-12 USD)."""
        if found != self.amount:
            raise WrongResult(f"{name} added up {found}; the events have {self.amount}")


@dataclass(frozen=True)
class SinkStage:
    """Where sinks are measured: `ledger()` opens an empty ledger that is dropped again, its URL and a connection."""

    bootstrap: str
    workload: Workload
    folder: Path
    ledger: Callable[[], AbstractContextManager[tuple[str, Connection]]]

    def on_topic(self, topic: str) -> FullTopic:
        """A topic that has all events."""
        return FullTopic(self.bootstrap, topic, self.workload.events)


def telling_ends(
    committed: Callable[[], int], first: int, last: int, at_ends: Callable[[], object]
) -> Callable[[], int]:
    """The same as `committed`; calls `at_ends` when it comes to `first` and when it comes to `last`, once each."""
    passed = 0

    def told() -> int:
        nonlocal passed
        events = committed()
        if passed < first <= events or passed < last <= events:
            at_ends()
        passed = max(passed, events)
        return events

    return told


def _alive(program: Program, committed: Callable[[], int], events: int) -> int:
    """How much is committed; a program that has ended must have committed everything."""
    ended = program.ended()
    count = committed()
    if ended and count < events:
        program.check()
    return count
