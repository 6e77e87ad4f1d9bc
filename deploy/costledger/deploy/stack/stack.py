"""The three services together: a broker, PostgreSQL and Redis."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from .apache_kafka import ApacheKafka
from .embedded_broker import EmbeddedBroker
from .kafka_jars import KAFKA_VERSION, apache_kafka_available
from .postgres import Postgres
from .redis import RedisServer
from .service import STOP_TIMEOUT_SECONDS, Service

__all__ = ["BrokerChoice", "BrokerKind", "Stack"]

BrokerChoice = Literal["auto", "apache", "embedded"]
BrokerKind = Literal["apache", "embedded"]
DATABASE = "costledger"
#: Reads the views for analysts; on this machine it needs no password.
ANALYST_ROLE = "costledger_analyst"
_DURABILITY: dict[BrokerKind, str] = {
    "apache": (
        f"Apache Kafka {KAFKA_VERSION} keeps events on this machine's disk: they survive a crash and restart "
        "of any process; there is one copy, so not the loss of the disk."
    ),
    "embedded": (
        "The embedded broker keeps events in memory only, at most 5 MiB a partition, and drops the oldest "
        "silently: a stop loses what the ledger has not taken in yet."
    ),
}
_logger = logging.getLogger(__name__)


class Stack:
    """Broker, PostgreSQL with a database `costledger`, and Redis, below one directory.

    `broker="auto"` takes Apache Kafka when Java is there and its jars are cached or Maven can fetch them,
    else the embedded broker. Redis keeps its data when the broker does. One stack at a time uses a directory;
    a second start waits for the first to end, and fails after half a minute.
    """

    def __init__(
        self,
        data_dir: Path,
        broker: BrokerChoice = "auto",
        *,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self._report = on_progress or _logger.info
        if broker == "auto":
            broker = "apache" if apache_kafka_available() else "embedded"
        self.broker_kind: BrokerKind = broker
        kafka_dir = self.data_dir / "kafka"
        logs = self.data_dir / "logs"
        self.kafka: ApacheKafka | EmbeddedBroker = (
            ApacheKafka(kafka_dir, log_path=logs / "kafka.log", on_progress=self._report)
            if broker == "apache"
            else EmbeddedBroker(kafka_dir, log_path=logs / "kafka.log")
        )
        self.postgres = Postgres(
            self.data_dir / "postgres", log_path=logs / "postgres.log", passwordless_role=ANALYST_ROLE
        )
        self.redis = RedisServer(self.data_dir / "redis", persistent=broker == "apache", log_path=logs / "redis.log")
        self._database_url = ""

    @property
    def services(self) -> dict[str, Service]:
        """The services by name, in the order in which they are reported; stopped in reverse."""
        return {"redis": self.redis, "postgres": self.postgres, "kafka": self.kafka}

    @property
    def durability(self) -> str:
        """What the chosen broker means for events, in a sentence."""
        return _DURABILITY[self.broker_kind]

    def environment(self) -> dict[str, str]:
        """The settings with which every part of costledger finds the services. StackError before `start`."""
        return {
            "COSTLEDGER_BOOTSTRAP_SERVERS": self.kafka.address,
            "COSTLEDGER_DATABASE_URL": self._database_url,
            "COSTLEDGER_REDIS_URL": self.redis.url,
        }

    def start(self) -> None:
        """Start all three side by side. When one fails the others are stopped and its error is raised."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        try:
            with ThreadPoolExecutor(len(self.services), thread_name_prefix="stack") as pool:
                # Iterating waits for each and raises the first error; the pool's exit waits for the rest.
                list(pool.map(self._start_service, self.services, self.services.values()))
            self._database_url = self.postgres.create_database(DATABASE)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
        """Stop in reverse order, each within the time given; every one is tried before an error is raised."""
        with contextlib.ExitStack() as stops:
            for name, service in self.services.items():
                stops.callback(self._stop_service, name, service, timeout_seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start_service(self, name: str, service: Service) -> None:
        self._report(f"starting {name}")
        service.start()
        self._report(f"{name} is ready on {service.address}")

    def _stop_service(self, name: str, service: Service, timeout_seconds: float) -> None:
        if service.alive():
            self._report(f"stopping {name}")
        service.stop(timeout_seconds)
