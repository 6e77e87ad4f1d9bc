"""`python -m tests.bench.stages`: CPU of the stream worker's own stages for each event, in one process, without servers.

The events are those of the benchmark, and Python's garbage collector is set as the worker sets it. What is left of a worker's time is the client's: fetching, inflating, producing, and
packing commands for Redis.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

import typer
from tests.bench.workload import Workload

from costledger.deploy.console import JsonOption, print_json, print_table
from costledger.schemas.codec import encode_event
from costledger.schemas.event_reading import ReadEvent, read_event
from costledger.schemas.memory import collect_seldom
from costledger.streams.domain.adding import add_events
from costledger.streams.domain.partition import PartitionTotals
from costledger.streams.domain.rules import Rules
from costledger.streams.view import _commands

USERS = 2_000
PARTITIONS = 4
STAGES = ("read", "add", "flush", "view")
Payload = tuple[bytes, int]
Result = TypeVar("Result")


class Place(NamedTuple):
    """Where an event stands, and when it was received (Unix milliseconds)."""

    offset: int
    timestamp: int


class Clock:
    """CPU seconds of this process by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def take(self, stage: str, work: Callable[..., Result], *given: Any) -> Result:
        """Do the work on a stage's account."""
        began = time.process_time()
        done = work(*given)
        self.seconds[stage] += time.process_time() - began
        return done


def partitions(workload: Workload) -> list[list[Payload]]:
    """The encoded events and when they were received (Unix microseconds), by partition."""
    made: list[list[Payload]] = [[] for _ in range(PARTITIONS)]
    for record in workload.records():
        place = zlib.crc32(record["user_id"].encode()) % PARTITIONS
        made[place].append((encode_event(record), record["occurred_at"]))
    return made


def measure(payloads: list[list[Payload]], flush_events: int) -> dict[str, float]:
    """Microseconds of CPU an event by stage, with a flush of each partition after so many of its events."""
    clock = Clock()
    for partition in payloads:
        totals = PartitionTotals(Rules())
        for start in range(0, len(partition), flush_events):
            chunk = partition[start : start + flush_events]
            events = clock.take("read", read, chunk)
            places = [Place(offset, received_us // 1000) for offset, (_, received_us) in enumerate(chunk, start)]
            clock.take("add", add_events, totals, places, events)
            flush = clock.take("flush", totals.flush)
            clock.take("view", lambda views: list(_commands(views, "1", 2**62)), flush.views)
    events_count = sum(map(len, payloads))
    return {stage: round(seconds / events_count * 1e6, 2) for stage, seconds in clock.seconds.items()}


def read(payloads: list[Payload]) -> list[ReadEvent]:
    """Decode and check."""
    return [read_event(*payload) for payload in payloads]


def main(
    events: Annotated[int, typer.Option(min=1_000, help="Events in all.")] = 200_000,
    flush_events: Annotated[list[int], typer.Option(min=1, help="Events of a partition between flushes.")] = [  # noqa: B006 - typer reads it
        15_000,
        5_000,
        1_250,
    ],
    seed: Annotated[int, typer.Option(help="Makes users, services and amounts.")] = 20_261_123,
    as_json: JsonOption = False,
) -> None:
    """Measure how much CPU the stream worker's own stages take for an event."""
    # As the worker does.
    collect_seldom()
    payloads = partitions(Workload(events, USERS, time.time_ns() // 1000, seed))
    measured = {number: measure(payloads, number) for number in flush_events}
    if as_json:
        print_json({str(number): stages for number, stages in measured.items()})
    else:
        print_table(
            ("flush after", *STAGES),
            [[f"{number:,}", *(str(one) for one in found.values())] for number, found in measured.items()],
        )


if __name__ == "__main__":
    typer.run(main)
