"""Whether work goes on while harm is done: what the ledger and the stream's totals came to, second by second."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from tests.fault.harness.topics import committed

if TYPE_CHECKING:
    from tests.fault.harness.cluster import Cluster

LOOK_SECONDS: Final = 0.5
_STOP_SECONDS_MAX: Final = 60.0
_KEYS_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Look:
    """`entries`: rows of the ledger; `spent`: the sum of all totals of months in Redis; `streamed`: committed offsets."""

    at_seconds: float
    entries: int
    spent: int
    streamed: int


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
        """By what is looked at: the longest time in seconds without a step, up to the last look."""
        longest = {}
        for name in ("entries", "spent", "streamed"):
            value, since, standstill = None, 0.0, 0.0
            for look in self.looks:
                seen = getattr(look, name)
                standstill = max(standstill, look.at_seconds - since) if value is not None else 0.0
                if seen != value:
                    value, since = seen, look.at_seconds
            longest[name] = round(standstill, 1)
        return longest

    def _run(self) -> None:
        began = time.monotonic()
        try:
            with psycopg.connect(self._cluster.database_url, autocommit=True) as connection:
                while not self._stopping.wait(LOOK_SECONDS):
                    row = connection.execute(
                        "SELECT coalesce(sum(inserted), 0)::bigint FROM ledger.sink_offsets"
                    ).fetchone()
                    assert row is not None
                    self.looks.append(Look(time.monotonic() - began, int(row[0]), self._spent(), self._streamed()))
        except BaseException as error:  # noqa: BLE001 - raised where the block ends, in the test's own thread
            self._failure = error

    def _spent(self) -> int:
        keys = list(self._cluster.redis.scan_iter(match="costledger:{*}:total:month:*", count=_KEYS_AT_ONCE))
        with self._cluster.redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hget(key, "total")
            return sum(int(total or 0) for total in pipeline.execute())

    def _streamed(self) -> int:
        settings = self._cluster.settings()
        servers = self._cluster.services.kafka.bootstrap_servers
        return sum(
            committed(servers, settings.stream_app_id, settings.topics.events, self._cluster.partitions).values()
        )
