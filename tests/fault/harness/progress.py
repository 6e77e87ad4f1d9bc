"""Whether work goes on while harm is done: what the ledger and the stream's totals came to, second by second."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from tests.fault.harness.topics import committed

if TYPE_CHECKING:
    from tests.fault.harness.cluster import Cluster

LOOK_SECONDS: Final = 0.5
_STOP_SECONDS_MAX: Final = 60.0
_KEYS_AT_ONCE: Final = 1_000
_SEEN: Final = ("entries", "spent", "streamed")


@dataclass(frozen=True, slots=True)
class Look:
    """By partition `entries`, rows of the ledger, and `streamed`, committed offsets; `spent`, the sum of all totals of months
    in Redis, as partition 0."""

    at_seconds: float
    entries: Mapping[int, int]
    spent: Mapping[int, int]
    streamed: Mapping[int, int]


class Progress:
    """Looks from a thread of its own while it is entered; what it cannot see is an error: the services must be there."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault progress", daemon=True)
        self._failure: BaseException | None = None
        self.looks: list[Look] = []

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(_STOP_SECONDS_MAX)
        if self._failure is not None:
            raise self._failure

    def standstills(self) -> dict[str, float]:
        """By what is looked at (AssertionError where nobody looked): the longest time in seconds in which one of the partitions made no step, up to the last look.

        The load must reach every partition all the while. What falls has made no step.
        """
        assert self.looks, "nobody has looked"
        return {name: round(max(self._standstill(name, one) for one in self._partitions(name)), 1) for name in _SEEN}

    def _partitions(self, name: str) -> range:
        return range(1 if name == "spent" else self._cluster.partitions)

    def _standstill(self, name: str, partition: int) -> float:
        highest, since, longest = None, 0.0, 0.0
        for look in self.looks:
            value = getattr(look, name).get(partition, 0)
            if highest is None or value > highest:
                longest = max(longest, look.at_seconds - since) if highest is not None else longest
                highest, since = value, look.at_seconds
        return max(longest, self.looks[-1].at_seconds - since)

    def _run(self) -> None:
        began = time.monotonic()
        try:
            with psycopg.connect(self._cluster.database_url, autocommit=True) as connection:
                while not self._stopping.wait(LOOK_SECONDS):
                    entries = dict(connection.execute("SELECT partition, inserted FROM ledger.sink_offsets").fetchall())
                    at_seconds = time.monotonic() - began
                    self.looks.append(Look(at_seconds, entries, {0: self._spent()}, self._streamed()))
        except BaseException as error:  # noqa: BLE001 - raised where the block ends, in the test's own thread
            self._failure = error

    def _spent(self) -> int:
        keys = list(self._cluster.redis.scan_iter(match="costledger:{*}:total:month:*", count=_KEYS_AT_ONCE))
        with self._cluster.redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hget(key, "total")
            return sum(int(total or 0) for total in pipeline.execute())

    def _streamed(self) -> dict[int, int]:
        settings = self._cluster.settings()
        servers = self._cluster.services.kafka.bootstrap_servers
        return committed(servers, settings.stream_app_id, settings.topics.events, self._cluster.partitions)
