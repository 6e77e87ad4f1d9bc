"""`kafka_streams`: a small Java program with Kafka Streams, totals by user, hour, service and operation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bench.kafka import changelog_total
from tests.bench.peers.environments import java, java_environment, pom_property
from tests.bench.processes import JAVA_STOPPED, running
from tests.bench.stage import StreamStage

NAME = "kafka_streams"
#: Like the broker's in the benchmark: what two processors can use.
HEAP_MAX = "-Xmx512m"
_PROJECT = Path(__file__).parent / "java" / "kafka_streams"
_PROGRAM = "costledger.bench.TotalsApp"


def version() -> str:
    """What is measured."""
    return f"Kafka Streams {pom_property(_PROJECT, 'kafka.version')}"


def prepare() -> Callable[[StreamStage], float]:
    """Build it; one run. `PeerUnavailable` when it cannot be had."""
    executable = java()
    jars = java_environment(f"kafka-streams-{pom_property(_PROJECT, 'kafka.version')}", _PROJECT)
    return lambda stage: _run(executable, jars, stage)


def _run(executable: str, jars: Path, stage: StreamStage) -> float:
    group = stage.group(NAME)
    where = [stage.bootstrap, stage.topic, group]
    how = [str(round(1000 * stage.commit_seconds)), str(stage.folder / group), str(stage.schema_path)]
    logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    arguments = [HEAP_MAX, logging, "-cp", f"{jars}/*", _PROGRAM, *where, *how]
    with running(NAME, arguments, stage.folder, {}, executable) as app:
        rate = stage.rate(app, group)
        app.stop(JAVA_STOPPED)
    changelog = f"{group}-totals-changelog"
    stage.check(NAME, changelog_total(stage.bootstrap, changelog, lambda value: int.from_bytes(value, signed=True)))
    return rate
