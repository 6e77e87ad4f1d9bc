"""What the consumers of the ledger have in common."""

from __future__ import annotations

from typing import Final

from costledger.schemas.kafka_config import ClientConfig, client_config
from costledger.schemas.settings import Settings

#: Longer than our consumers go without a poll (to wait within one of its callbacks is none); unless PostgreSQL is away from
#: the notifier: Kafka may then give its partitions to others, and what was not stored is read again.
REBALANCE_MILLISECONDS_MAX: Final = 30_000
#: A request of a member, such as a commit, that waits for so long for its connection or its answer has failed. The client joins
#: its group again only when its commits have ended, and by itself gives each a minute.
REQUEST_MILLISECONDS_MAX: Final = 10_000
#: With a full queue the client fetches no more for so long. By itself for a second, and a reader is through with the queue
#: sooner: a sink that is behind writes a quarter more with this.
FETCH_BACKOFF_MILLISECONDS: Final = 10


def reader_config(settings: Settings, client_id: str, group_id: str) -> ClientConfig:
    """A consumer that reads everything there is, and of which Kafka remembers nothing by itself."""
    return {
        **client_config(settings, client_id),
        "group.id": group_id,
        # What was read is decided by what was stored; nothing may be committed behind its back.
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        # librdkafka's default is latest: it would skip what was never read.
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "fetch.queue.backoff.ms": FETCH_BACKOFF_MILLISECONDS,
        "check.crcs": True,
    }


def member_config(settings: Settings, client_id: str, group_id: str) -> ClientConfig:
    """The same as a member of its group: partitions stay where they are over a rebalance, as far as may be."""
    session_ms = int(settings.sink_session_timeout_seconds * 1000)
    return {
        **reader_config(settings, client_id, group_id),
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_ms,
        "socket.timeout.ms": REQUEST_MILLISECONDS_MAX,
        # Also how long Kafka waits in a rebalance for members that do not come. A broker that was killed may come back
        # with members of before, and never find out that they are gone: nobody reads meanwhile.
        "max.poll.interval.ms": max(session_ms, REBALANCE_MILLISECONDS_MAX),
    }
