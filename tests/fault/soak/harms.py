"""Small harms, each with its heal; a soak draws from them, and any scenario may use them.

Workers whose memory is watched from beginning to end (`stream`, `sink`, `notifier`) are not killed: their twins are.
But their links are cut, their servers killed, and at every death of a twin they take over its partitions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from tests.fault.harness.cluster import Cluster
from tests.fault.harness.proxy import Link
from tests.fixtures.wait import wait_until

#: Above the stream's session in the harness (6 s): others take the partitions over meanwhile.
OVER_SESSION_SECONDS: Final = 9.0
SHORT_SECONDS: Final = 3.0
#: A sink under load commits several times a second.
COMMIT_SECONDS_MAX: Final = 30.0
SLOW_SECONDS: Final = 0.05
SLOW_BYTES_PER_SECOND: Final = 2_000_000.0

#: Every pair of client and service over which data passes.
LINKS: Final = (
    ("producer", "kafka"),
    ("stream", "kafka"),
    ("stream", "redis"),
    ("sink", "kafka"),
    ("sink", "postgres"),
    ("notifier", "kafka"),
    ("notifier", "postgres"),
)


class Harm(Protocol):
    """`seconds` is how long it lasts; `down` names the workers that are away on purpose meanwhile."""

    @property
    def name(self) -> str:
        """For reports."""

    @property
    def seconds(self) -> float:
        """Between harm and heal."""

    @property
    def down(self) -> frozenset[str]:
        """Workers that nobody may start meanwhile."""

    def harm(self, cluster: Cluster) -> None:
        """Do it."""

    def heal(self, cluster: Cluster) -> None:
        """Take it back; all is well again as far as the servers and processes are concerned."""


@dataclass(frozen=True)
class WorkerKilled:
    """SIGKILL; started again after a while."""

    worker: str
    seconds: float = OVER_SESSION_SECONDS

    @property
    def name(self) -> str:
        """For reports."""
        return f"kill -9 {self.worker}"

    @property
    def down(self) -> frozenset[str]:
        """The dead one."""
        return frozenset({self.worker})

    def harm(self, cluster: Cluster) -> None:
        """Kill it."""
        cluster.worker(self.worker).kill()

    def heal(self, cluster: Cluster) -> None:
        """Start another."""
        cluster.start(self.worker)


@dataclass(frozen=True)
class WorkerStopped:
    """SIGTERM, which must end with 0; started again after a while."""

    worker: str
    seconds: float = SHORT_SECONDS

    @property
    def name(self) -> str:
        """For reports."""
        return f"SIGTERM {self.worker}"

    @property
    def down(self) -> frozenset[str]:
        """The one that has left."""
        return frozenset({self.worker})

    def harm(self, cluster: Cluster) -> None:
        """Have it drain and leave."""
        code = cluster.worker(self.worker).stop()
        assert code == 0, f"{self.worker} ended with {code} after SIGTERM: {cluster.worker(self.worker).log_path}"

    def heal(self, cluster: Cluster) -> None:
        """Start another."""
        cluster.start(self.worker)


@dataclass(frozen=True)
class WorkerSuspended:
    """SIGSTOP past the session, then SIGCONT: it finds that its partitions are another's, and writes nothing."""

    worker: str
    seconds: float = OVER_SESSION_SECONDS

    @property
    def name(self) -> str:
        """For reports."""
        return f"SIGSTOP {self.worker}"

    @property
    def down(self) -> frozenset[str]:
        """Nobody is away: it only sleeps."""
        return frozenset()

    def harm(self, cluster: Cluster) -> None:
        """Suspend it."""
        cluster.worker(self.worker).suspend()

    def heal(self, cluster: Cluster) -> None:
        """Let it go on."""
        cluster.worker(self.worker).resume()


@dataclass(frozen=True)
class WorkerJoins:
    """One more joins, and leaves again with SIGTERM."""

    worker: str
    seconds: float = OVER_SESSION_SECONDS

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.worker} joins and leaves"

    @property
    def down(self) -> frozenset[str]:
        """Nobody."""
        return frozenset()

    def harm(self, cluster: Cluster) -> None:
        """It joins."""
        cluster.start(self.worker)

    def heal(self, cluster: Cluster) -> None:
        """It leaves."""
        code = cluster.worker(self.worker).stop()
        assert code == 0, f"{self.worker} ended with {code} after SIGTERM: {cluster.worker(self.worker).log_path}"
        del cluster.workers[self.worker]


class _ServiceHarm:
    """A harm to a server: no worker is away on purpose."""

    name: str
    seconds: float = SHORT_SECONDS
    down: frozenset[str] = frozenset()


class PostgresStopped(_ServiceHarm):
    """`stop -m immediate`, as a crash: whatever was in a transaction is lost; then a recovery."""

    name = "PostgreSQL stop -m immediate"

    def __init__(self, seconds: float = SHORT_SECONDS) -> None:
        self.seconds = seconds

    def harm(self, cluster: Cluster) -> None:
        """Stop it."""
        cluster.services.postgres.stop(mode="immediate")

    def heal(self, cluster: Cluster) -> None:
        """Start it."""
        cluster.services.postgres.start()


class BackendsTerminated(_ServiceHarm):
    """Every connection of the workers to PostgreSQL is ended by an administrator."""

    name = "PostgreSQL backends terminated"
    seconds = 0.0

    def harm(self, cluster: Cluster) -> None:
        """End them; whoever only watches keeps its own."""
        cluster.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'costledger%'"
        )

    def heal(self, cluster: Cluster) -> None:
        """New ones are welcome at once."""


class KafkaKilled(_ServiceHarm):
    """kill -9 of the only broker."""

    name = "kill -9 Kafka"

    def __init__(self, seconds: float = SHORT_SECONDS) -> None:
        self.seconds = seconds

    def harm(self, cluster: Cluster) -> None:
        """Kill it."""
        cluster.services.kafka.kill()

    def heal(self, cluster: Cluster) -> None:
        """Start it on its data."""
        cluster.services.kafka.start()


class RedisKilled(_ServiceHarm):
    """kill -9; it comes back empty."""

    name = "kill -9 Redis"

    def harm(self, cluster: Cluster) -> None:
        """Kill it."""
        cluster.services.redis.kill()

    def heal(self, cluster: Cluster) -> None:
        """Start it."""
        cluster.services.redis.start()


class RedisFlushed(_ServiceHarm):
    """FLUSHALL."""

    name = "Redis FLUSHALL"
    seconds = 0.0

    def harm(self, cluster: Cluster) -> None:
        """Lose everything."""
        cluster.redis.flushall()

    def heal(self, cluster: Cluster) -> None:
        """Nothing to do: the stream writes it anew."""


@dataclass(frozen=True)
class LinkHarmed:
    """One client's way to one service is `cut` (resets), `frozen` (half-open) or `slow`."""

    client: str
    service: str
    how: str
    seconds: float = OVER_SESSION_SECONDS

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.client}-{self.service} {self.how}"

    @property
    def down(self) -> frozenset[str]:
        """Nobody."""
        return frozenset()

    def harm(self, cluster: Cluster) -> None:
        """Harm the link."""
        link = self._link(cluster)
        if self.how == "cut":
            link.cut()
        elif self.how == "frozen":
            link.freeze()
        else:
            link.slow(SLOW_SECONDS, SLOW_BYTES_PER_SECOND)

    def heal(self, cluster: Cluster) -> None:
        """Pass everything on again."""
        self._link(cluster).heal()

    def _link(self, cluster: Cluster) -> Link:
        return cluster.services.link(self.client, self.service)


@dataclass(frozen=True)
class CommitReplyLost:
    """COMMIT reaches PostgreSQL, the reply is lost and the connection reset: done or not?"""

    client: str
    seconds: float = SHORT_SECONDS

    @property
    def name(self) -> str:
        """For reports."""
        return f"{self.client}: reply to COMMIT lost"

    @property
    def down(self) -> frozenset[str]:
        """Nobody."""
        return frozenset()

    def harm(self, cluster: Cluster) -> None:
        """The reply to the next COMMIT of a batch is lost (a temporary table has an ON COMMIT, and its relay another)."""
        link = cluster.services.link(self.client, "postgres")
        # Every batch has a COPY; other statements are prepared after a while, and their text is sent no more.
        link.only_connections_with(b"FROM STDIN (FORMAT BINARY)")
        link.lose_reply_to(b"COMMIT\0")

    def heal(self, cluster: Cluster) -> None:
        """It was lost."""
        link = cluster.services.link(self.client, "postgres")
        wait_until(link.reply_lost, COMMIT_SECONDS_MAX, f"{self.client} commits a batch")
        link.heal()


def all_harms() -> list[Harm]:
    """Each once."""
    harms: list[Harm] = [LinkHarmed(*link, how) for link in LINKS for how in ("cut", "frozen", "slow")]
    harms += [WorkerKilled(twin) for twin in ("sink-2", "stream-2", "notifier-2")]
    harms += [WorkerStopped(twin) for twin in ("sink-2", "stream-2", "notifier-2")]
    harms += [WorkerSuspended(twin) for twin in ("sink-2", "stream-2")]
    harms += [WorkerJoins("sink-3"), CommitReplyLost("sink")]
    return [*harms, PostgresStopped(), BackendsTerminated(), KafkaKilled(), RedisKilled(), RedisFlushed()]


def drawn_harms(seed: int) -> Iterator[Harm]:
    """For ever: all of them in an order that the seed decides, then all in another."""
    chance = random.Random(seed)
    while True:
        harms = all_harms()
        chance.shuffle(harms)
        yield from harms
