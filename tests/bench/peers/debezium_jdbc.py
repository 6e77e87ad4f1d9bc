"""`debezium_jdbc`: Debezium's JDBC sink in a Kafka Connect worker: upserts into a table like the ledger's entries.

Its own topic has the same events as JSON with schemas, the values in the types that the table wants. At least once,
no roll-ups. Progress is what Connect commits: it writes first. After each run the rows and their sum are compared.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from tests.bench.kafka import PARTITIONS, create_topic, fill
from tests.bench.ledgers import check_rows
from tests.bench.peers.connect_json import connect_messages
from tests.bench.peers.environments import java, java_environment, pom_property
from tests.bench.processes import JAVA_STOPPED, running
from tests.bench.stage import SinkStage
from tests.bench.workload import Workload

from costledger.deploy.stack.ports import free_port

NAME = "debezium_jdbc"
TABLE = "entries_of_debezium"
HEAP_MAX = "-Xmx1g"
BATCH_ROWS = 5_000
#: How often Connect commits what it has written: often, for its last commit is the end of the measurement.
COMMIT_MS = 100
_PROJECT = Path(__file__).parent / "java" / "debezium_jdbc"
_WORKER = "org.apache.kafka.connect.cli.ConnectStandalone"
_SIMPLE_LOGGER = "-Dorg.slf4j.simpleLogger."


def version() -> str:
    """What is measured."""
    debezium, kafka = pom_property(_PROJECT, "debezium.version"), pom_property(_PROJECT, "kafka.version")
    return f"Debezium JDBC sink {debezium} in Kafka Connect {kafka}"


def prepare() -> Callable[[SinkStage], float]:
    """Fetch it; one run. `PeerUnavailable` when it cannot be had."""
    executable = java()
    jars = java_environment(f"debezium-jdbc-{pom_property(_PROJECT, 'debezium.version')}", _PROJECT)
    #: By what they hold: each is filled once, before the first run that reads it.
    topics: dict[tuple[str, Workload], str] = {}

    def run(stage: SinkStage) -> float:
        holds = (stage.bootstrap, stage.workload)
        if holds not in topics:
            topics[holds] = _filled_topic(stage)
        return _run(executable, jars, stage, topics[holds])

    return run


def _filled_topic(stage: SinkStage) -> str:
    topic = f"bench.debezium.{uuid.uuid4().hex[:8]}"
    create_topic(stage.bootstrap, topic)
    fill(stage.bootstrap, topic, connect_messages(stage.workload.records(), topic, PARTITIONS))
    return topic


def _run(executable: str, jars: Path, stage: SinkStage, topic: str) -> float:
    on_topic = stage.on_topic(topic)
    connector = on_topic.group(NAME)
    folder = stage.folder / connector
    folder.mkdir()
    with stage.ledger() as (url, connection):
        connection.execute(f"CREATE TABLE public.{TABLE} (LIKE ledger.entries INCLUDING ALL)")
        paths = [
            _properties(folder / "worker.properties", _worker_settings(stage.bootstrap, folder)),
            _properties(folder / "connector.properties", _connector_settings(connector, topic, urlsplit(url))),
        ]
        logging = [f"{_SIMPLE_LOGGER}defaultLogLevel=warn", f"{_SIMPLE_LOGGER}log.io.debezium=error"]
        arguments = [HEAP_MAX, *logging, "-cp", f"{jars}/*", _WORKER, *paths]
        with running(NAME, arguments, stage.folder, {}, executable) as worker:
            rate = on_topic.rate(worker, f"connect-{connector}")
            worker.stop(JAVA_STOPPED)
        check_rows(connection, TABLE, stage.workload.events, stage.workload.amount)
    return rate


def _worker_settings(bootstrap: str, folder: Path) -> dict[str, str | int]:
    return {
        "bootstrap.servers": bootstrap,
        "listeners": f"http://127.0.0.1:{free_port()}",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "offset.storage.file.filename": str(folder / "offsets"),
        "offset.flush.interval.ms": COMMIT_MS,
        # The connector is on the class path.
        "plugin.discovery": "service_load",
    }


def _connector_settings(connector: str, topic: str, database: SplitResult) -> dict[str, str | int]:
    return {
        "name": connector,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": 1,
        "topics": topic,
        "connection.url": f"jdbc:postgresql://{database.hostname}:{database.port or 5432}{database.path}?reWriteBatchedInserts=true",
        "connection.username": unquote(database.username or "postgres"),
        "connection.password": unquote(database.password or ""),
        "collection.name.format": f"public.{TABLE}",
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": "event_id",
        "schema.evolution": "none",
        "batch.size": BATCH_ROWS,
        # A batch is never larger than what one poll gives.
        "consumer.override.max.poll.records": BATCH_ROWS,
        "consumer.override.auto.offset.reset": "earliest",
    }


def _properties(path: Path, settings: dict[str, str | int]) -> str:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return str(path)
