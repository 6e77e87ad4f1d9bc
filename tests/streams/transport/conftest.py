"""Apache Kafka, or a broker that runs already, for the transport tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).parent))

START_SECONDS = 60


class RunningKafka:
    """A broker's address, and the making of topics."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})

    def ready(self) -> bool:
        try:
            return bool(self._admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def create_topic(self, name: str, partitions: int = 4, config: dict[str, str] | None = None) -> None:
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config or {})
        self._admin.create_topics([topic])[name].result(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _properties(directory: Path, port: int, controller: int) -> dict[str, Any]:
    return {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": directory / "data",
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "auto.create.topics.enable": "false",
    }


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    address = os.environ.get("COSTLEDGER_TEST_KAFKA")
    if address:
        yield RunningKafka(address)
        return
    lib = os.environ.get("COSTLEDGER_KAFKA_LIB")
    if not lib:
        pytest.skip("needs COSTLEDGER_TEST_KAFKA (an address) or COSTLEDGER_KAFKA_LIB (Apache Kafka's jars)")
    directory = tmp_path_factory.mktemp("kafka")
    port = _free_port()
    properties = directory / "server.properties"
    rows = _properties(directory, port, _free_port())
    properties.write_text("".join(f"{name}={value}\n" for name, value in rows.items()))
    java = ["java", "-Xmx512m", "-cp", f"{lib}/*"]
    formatting = [*java, "kafka.tools.StorageTool", "format", "--standalone", "-t", uuid.uuid4().hex[:22]]
    subprocess.run([*formatting, "-c", str(properties)], check=True, capture_output=True)
    with (directory / "kafka.log").open("wb") as log:
        broker = subprocess.Popen([*java, "kafka.Kafka", str(properties)], stdout=log, stderr=log)
    try:
        running = RunningKafka(f"127.0.0.1:{port}")
        deadline = time.monotonic() + START_SECONDS
        while not running.ready():
            if broker.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((directory / "kafka.log").read_text())
        yield running
    finally:
        broker.terminate()
        broker.wait(30)
