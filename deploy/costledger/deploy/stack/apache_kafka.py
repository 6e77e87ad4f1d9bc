"""A local Apache Kafka: one KRaft node, broker and controller in one process."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from .errors import ServiceFailed
from .kafka_jars import ensure_jars, find_java
from .ports import LOOPBACK, free_port, is_listening
from .process import Command
from .service import ProcessService

__all__ = ["ApacheKafka"]

FORMAT_TIMEOUT_SECONDS = 60.0
PROBE_TIMEOUT_SECONDS = 5.0
NODE_ID = 1
_LOG_CONFIG = Path(__file__).with_name("log4j2.properties")
_JVM_OPTIONS = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Djava.awt.headless=true")


class ApacheKafka(ProcessService):
    """The real broker on loopback; data survives stop, kill -9 and restart.

    Topics are never created by being asked for. It has one copy of everything, and like every Kafka it
    acknowledges before the disk has it: a crash of the *machine* may cost the last seconds.
    """

    name = "kafka"
    start_timeout_seconds = 60.0

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log_path: Path | None = None,
        on_progress: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(data_dir, port=port, log_path=log_path)
        self._on_progress = on_progress
        self._logs = self.data_dir / "logs"
        self._class_path = ""

    @property
    def bootstrap_servers(self) -> str:
        """What clients connect to: the same as `address`."""
        return self.address

    def _prepare(self) -> None:
        self._class_path = f"{ensure_jars(self._on_progress)}/*"
        if (self._logs / "meta.properties").exists():
            return
        # The ports in the file do not matter yet: every start writes it anew.
        config = self._write_config(port=free_port(), controller_port=free_port())
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        argv = [*self._java("-XX:TieredStopAtLevel=1"), "kafka.tools.StorageTool"]
        # With "=": one id in 64 begins with a hyphen and would be taken for an option.
        argv += ["format", "--ignore-formatted", f"--cluster-id={cluster_id}", "--config", str(config)]
        result = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.data_dir,
            check=False,
            timeout=FORMAT_TIMEOUT_SECONDS,
        )
        if result.returncode != 0:
            raise ServiceFailed(self.name, "could not format its storage", config, result.stdout[-4000:])

    def _command(self, port: int) -> Command:
        controller_port = free_port()
        while controller_port == port:
            controller_port = free_port()
        config = self._write_config(port, controller_port)
        return Command(argv=(*self._java(), "kafka.Kafka", str(config)))

    def _java(self, *options: str) -> tuple[str, ...]:
        log_option = f"-Dlog4j2.configurationFile={_LOG_CONFIG.as_uri()}"
        return (find_java(), *_JVM_OPTIONS, *options, log_option, "-cp", self._class_path)

    def _settings(self, port: int, controller_port: int) -> dict[str, object]:
        return {
            "process.roles": "broker,controller",
            "node.id": NODE_ID,
            "controller.quorum.voters": f"{NODE_ID}@{LOOPBACK}:{controller_port}",
            "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self._logs,
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            # After kill -9 the controller refuses the broker until its former session is over: 9 s by default.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            # One node: one copy. Few partitions for the internal topics start and recover faster.
            "default.replication.factor": 1,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 8,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 8,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
        }

    def _write_config(self, port: int, controller_port: int) -> Path:
        settings = self._settings(port, controller_port)
        config = self.data_dir / "server.properties"
        # Java property files take a backslash as an escape.
        lines = [f"{key}={str(value).replace(chr(92), chr(92) * 2)}\n" for key, value in settings.items()]
        config.write_text("".join(lines), encoding="utf-8")
        return config

    def _ready(self) -> bool:
        if not is_listening(self.port):  # librdkafka would log every refused connection
            return False
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        try:
            return bool(admin.list_topics(timeout=PROBE_TIMEOUT_SECONDS).brokers)
        except KafkaException:
            return False
