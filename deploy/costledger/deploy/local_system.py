"""The whole system on one machine: services, database, topics, workers; used by `up` and `demo`."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from costledger.deploy.data_directory import services_dir, token_key_settings
from costledger.deploy.failures import explain
from costledger.deploy.stack import BrokerChoice, Stack, StackError
from costledger.deploy.stack.ports import LOOPBACK, listen_on
from costledger.deploy.stack.service import Service
from costledger.deploy.supervisor import BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN, Report, Supervisor, WorkerSpec
from costledger.deploy.worker_process import WorkerName, port_setting
from costledger.schemas.errors import SettingsError, Unavailable
from costledger.schemas.settings import PREFIX, Settings, load_settings

#: What keeps the totals and the ledger; in the order in which they are started.
LEDGER_WORKERS: Final[tuple[WorkerName, ...]] = ("stream", "sink", "notifier")
#: What `up` starts beside them, for people. Another worker is added here, and nowhere else.
PEOPLE_WORKERS: Final[tuple[WorkerName, ...]] = ("scheduler", "api")
WORKERS: Final = (*LEDGER_WORKERS, *PEOPLE_WORKERS)
READY_TIMEOUT_SECONDS: Final = 60.0
_TICK_SECONDS: Final = 0.1


class LocalSystem:
    """Everything below one directory. `start` returns when every worker is ready; then call `tick` often.

    `before_workers` runs when the database and the topics are there, and no worker yet. `workers` are those to start.
    """

    def __init__(
        self,
        data_dir: Path,
        broker: BrokerChoice,
        report: Report,
        before_workers: Callable[[Settings], None] | None = None,
        workers: tuple[WorkerName, ...] = WORKERS,
    ) -> None:
        self._report = report
        self._data_dir = data_dir
        self._workers = workers
        self._before_workers = before_workers
        probe = Stack(data_dir, broker)
        self.durable = probe.broker_kind == "apache"
        if broker == "auto" and not self.durable and (data_dir / "kafka").exists():
            # An empty system in place of the one that is kept here would look like a loss of all data.
            raise SettingsError(
                f"{data_dir} holds the data of a run with Apache Kafka, which cannot run here now: install Java 17 "
                "(Debian: apt install default-jre-headless), or say --broker embedded for a system that begins empty"
            )
        self.stack = Stack(services_dir(data_dir, durable=self.durable), probe.broker_kind, on_progress=report)
        self.environment: dict[str, str] = {}
        self._logs = data_dir / "logs"
        self._supervisor: Supervisor | None = None
        self._restarts: dict[str, tuple[float, float]] = {}
        #: The sockets of the workers' metrics, ours for as long as the system runs.
        self._listeners: dict[str, socket.socket] = {}

    @property
    def settings(self) -> Settings:
        """The settings with which every command finds this system."""
        return load_settings(**{name.removeprefix(PREFIX).lower(): value for name, value in self.environment.items()})

    def start(self) -> None:
        """Start services, database, topics and workers, in this order; whatever fails, call `stop`."""
        from costledger.deploy.kafka_topics import check_topics, needed_topics
        from costledger.sinks.migrations import migrate

        self.stack.start()
        self.environment = self._make_environment()
        settings = self.settings
        if applied := migrate(settings.database_url.get_secret_value()):
            self._report(f"database: applied {len(applied)} migrations")
        for topic in check_topics(settings, needed_topics(settings), create=True):
            for problem in topic.problems:
                self._report(f"topic {topic.name}: {problem}")
        if self._before_workers is not None:
            self._before_workers(settings)
        self._start_workers(settings)

    def tick(self) -> None:
        """Start again what has died; raises `Unavailable` when the embedded broker has, with all its events."""
        if self._supervisor is not None:
            self._supervisor.tick()
        for name, service in self.stack.services.items():
            if not service.alive():
                self._restart(name, service)

    def stop(self) -> None:
        """Drain the workers, then stop the services."""
        supervisor, self._supervisor = self._supervisor, None
        try:
            if supervisor is not None:
                self._report("draining the workers")
                supervisor.stop()
        finally:
            for listener in self._listeners.values():
                listener.close()
            self.stack.stop()

    def _make_environment(self) -> dict[str, str]:
        environment = {**self.stack.environment(), f"{PREFIX}SECURITY_PROTOCOL": "PLAINTEXT"}
        fixed = getattr(self.stack.kafka, "partitions_fixed", None)
        if fixed is not None:
            environment[f"{PREFIX}PARTITIONS"] = str(fixed)
        configured = load_settings()
        environment[f"{PREFIX}METRICS_HOST"] = LOOPBACK
        for name in self._workers:
            setting = port_setting(name)
            wanted = getattr(configured, setting)
            self._listeners[name] = listener = listen_on(wanted)
            port = listener.getsockname()[1]
            environment[f"{PREFIX}{setting.upper()}"] = str(port)
            if wanted not in (0, port):
                self._report(f"port {wanted} is taken: {name} has {port} (COSTLEDGER_{setting.upper()})")
        if "api" in self._workers:
            environment[f"{PREFIX}API_HOST"] = LOOPBACK
            environment[f"{PREFIX}API_URL"] = f"http://{LOOPBACK}:{environment[f'{PREFIX}API_PORT']}"
            if configured.api_token_key is None and configured.api_token_key_file is None:
                environment |= token_key_settings(self._data_dir)
        return environment

    def _start_workers(self, settings: Settings) -> None:
        specs = [
            WorkerSpec(
                name=name,
                ready_url=f"http://{LOOPBACK}:{getattr(settings, port_setting(name))}/readyz",
                log_path=self._logs / f"{name}.log",
                listener=self._listeners[name],
            )
            for name in self._workers
        ]
        self._report(f"starting {', '.join(self._workers)}")
        self._supervisor = Supervisor(specs, self.environment, self._report)
        self._supervisor.start()
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while waiting := self._supervisor.waiting():
            if time.monotonic() > deadline:
                reasons = "; ".join(f"{name}: {reason}" for name, reason in waiting.items())
                raise Unavailable(f"not ready after {READY_TIMEOUT_SECONDS:g} s: {reasons}; logs are in {self._logs}")
            self.tick()
            time.sleep(_TICK_SECONDS)

    def _restart(self, name: str, service: Service) -> None:
        if name == "kafka" and not self.durable:
            raise Unavailable("the embedded broker died, and the events in it are gone: nothing can go on from here")
        now = time.monotonic()
        restart_at, wait_seconds = self._restarts.get(name, (0.0, BACKOFF_SECONDS_MIN))
        if now < restart_at:
            return
        self._report(f"{name} died: starting it again; its log is {service.log_path}")
        # The next attempt, should this one fail or not last.
        self._restarts[name] = (now + wait_seconds, min(BACKOFF_SECONDS_MAX, 2 * wait_seconds))
        try:
            service.start()
        except StackError as error:
            self._report(f"{name} cannot be started: {explain(error)}")
