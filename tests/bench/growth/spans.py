"""From what was seen of a consumer group to its rate, counted from where no rebalance is left in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.rates import Commit, TooFewEvents, committed_rate

#: Partitions by the member of the group that has them; nothing while the group is being balanced.
Owners = Mapping[str, frozenset[int]]
#: A rate is one of this share of the events at least.
COUNTED_SHARE_MIN: Final = 0.5


class NotShared(RuntimeError):
    """The workers did not all have partitions, so there is no rate of so many."""


@dataclass(frozen=True, slots=True)
class Seen:
    """At this time (seconds of the monotonic clock): who had which partitions, and then how far each was committed."""

    seconds: float
    owners: Owners
    positions: Mapping[int, int]

    @property
    def events(self) -> int:
        """How many events were committed."""
        return sum(self.positions.values())


def settled_rate(seen: Sequence[Seen], workers: int, partitions: int) -> float:
    """Events per second from when each worker had committed after the last rebalance until all was committed.

    `NotShared` where they did not all have partitions, `TooFewEvents` where less than half of the events are left then.
    """
    commits = _settled(seen, workers, partitions)
    events, counted = seen[-1].events, commits[-1].events - commits[0].events
    if counted < COUNTED_SHARE_MIN * events:
        raise TooFewEvents(
            f"{counted:,} of {events:,} events were left when each of {workers} workers had committed after the last "
            f"rebalance; a rate needs {COUNTED_SHARE_MIN:.0%} of them: give more --events"
        )
    return committed_rate(commits)


def _settled(seen: Sequence[Seen], workers: int, partitions: int) -> list[Commit]:
    owners = seen[-1].owners
    if not _is_shared_out(owners, workers, partitions):
        found = {member: sorted(held) for member, held in owners.items()}
        raise NotShared(f"{workers} workers should have shared {partitions} partitions; at the end it was {found}")
    rebalanced = max((place for place, one in enumerate(seen) if one.owners != owners), default=-1)
    joined = seen[rebalanced + 1]
    for place in range(rebalanced + 1, len(seen)):
        if all(_has_moved(held, joined, seen[place]) for held in owners.values()):
            return _commits(seen[place:])
    raise NotShared(f"not each of {workers} workers had anything to commit after the last rebalance")


def _is_shared_out(owners: Owners, workers: int, partitions: int) -> bool:
    held = [partition for some in owners.values() for partition in some]
    return len(owners) == workers and all(owners.values()) and sorted(held) == list(range(partitions))


def _has_moved(held: frozenset[int], before: Seen, after: Seen) -> bool:
    return any(after.positions.get(partition, 0) > before.positions.get(partition, 0) for partition in held)


def _commits(seen: Sequence[Seen]) -> list[Commit]:
    """Each change of what was committed; looks that found no change are none."""
    commits = [Commit(seen[0].seconds, seen[0].events)]
    for one in seen[1:]:
        if one.events != commits[-1].events:
            commits.append(Commit(one.seconds, one.events))
    return commits
