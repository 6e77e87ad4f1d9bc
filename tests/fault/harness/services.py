"""Apache Kafka, PostgreSQL and Redis of the harness, with a link of its own for every pair of client and service."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.fault.harness.proxy import LOOPBACK, Link, Loop

from costledger.deploy.stack import ApacheKafka, Postgres, RedisServer
from costledger.deploy.stack.ports import free_port, is_free

#: Who talks to the services. Kafka tells its clients where to connect, so that each needs a listener.
CLIENTS: Final = (
    *("producer", "stream", "stream-2", "sink", "sink-2", "sink-3"),
    *("notifier", "notifier-2", "scheduler", "scheduler-2"),
)


class ProxiedKafka(ApacheKafka):
    """Apache Kafka with one more listener for each client, whose advertised address is that of the client's link."""

    def __init__(self, data_dir: Path, loop: Loop, *, log_path: Path) -> None:
        super().__init__(data_dir, log_path=log_path)
        self.links = {client: Link(loop, f"{client} - kafka", free_port()) for client in CLIENTS}

    def _settings(self, port: int, controller_port: int) -> dict[str, object]:
        settings = super()._settings(port, controller_port)
        self._keep_apart({port, controller_port})
        names = {client: client.upper().replace("-", "_") for client in CLIENTS}
        own = [f"{names[client]}://{LOOPBACK}:{self.links[client].target_port}" for client in CLIENTS]
        advertised = [f"{names[client]}://{LOOPBACK}:{self.links[client].port}" for client in CLIENTS]
        protocols = [f"{name}:PLAINTEXT" for name in names.values()]
        return {
            **settings,
            "listeners": ",".join([str(settings["listeners"]), *own]),
            "advertised.listeners": ",".join([str(settings["advertised.listeners"]), *advertised]),
            "listener.security.protocol.map": ",".join([str(settings["listener.security.protocol.map"]), *protocols]),
            "inter.broker.listener.name": "PLAINTEXT",
            # What a load of several thousand events a second keeps on disk while a test runs.
            "log.retention.check.interval.ms": 3_600_000,
        }

    def _keep_apart(self, taken: set[int]) -> None:
        """Give a link another port to lead to where that is taken: clients know the links' own alone."""
        for link in self.links.values():
            while link.target_port in taken or not is_free(link.target_port):
                link.target_port = free_port()
            taken.add(link.target_port)


class Services:
    """The three services. `heal` brings back whatever a scenario has killed, stopped or cut."""

    def __init__(self, folder: Path) -> None:
        self._loop = Loop()
        self._links: dict[tuple[str, str], Link] = {}
        self.kafka = ProxiedKafka(folder / "kafka", self._loop, log_path=folder / "kafka.log")
        self.postgres = Postgres(folder / "postgres", log_path=folder / "postgres.log")
        self.redis = RedisServer(folder / "redis", persistent=False, log_path=folder / "redis.log")
        for client, link in self.kafka.links.items():
            self._links[client, "kafka"] = link

    def start(self) -> None:
        """Start those that are not running, and pass everything on."""
        for service in (self.kafka, self.postgres, self.redis):
            if not service.alive():
                service.start()
        self.heal_links()

    def heal_links(self) -> None:
        """Let every link pass everything on."""
        for link in self._links.values():
            link.heal()

    def close(self) -> None:
        """End everything."""
        for link in self._links.values():
            link.close()
        for service in (self.redis, self.postgres, self.kafka):
            service.stop()
        self._loop.close()

    def link(self, client: str, service: str) -> Link:
        """The link of a client to `kafka`, `postgres` or `redis`."""
        found = self._links.get((client, service))
        if found is None:
            target = {"postgres": self.postgres, "redis": self.redis}[service]
            found = self._links[client, service] = Link(self._loop, f"{client} - {service}", target.port)
        return found

    def through(self, client: str, service: str, url: str) -> str:
        """The URL with the address of the client's link in the place of the service's own."""
        port = self.link(client, service).port
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition(":")[0] + f":{port}").geturl()

    def bootstrap_servers(self, client: str) -> str:
        """Where the client finds Kafka: its own link."""
        return f"{LOOPBACK}:{self.link(client, 'kafka').port}"
