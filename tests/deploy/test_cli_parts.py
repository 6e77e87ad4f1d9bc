"""The parts under the commands: metrics and health, the data directory, logs."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge
from tests.deploy.conftest import DIRECT, clean_environment

from costledger.deploy.data_directory import claimed, services_dir, write_env_file
from costledger.deploy.local_system import LocalSystem
from costledger.deploy.observe import ObserveServer, observe_memory
from costledger.deploy.stack.ports import listen_on
from costledger.schemas.errors import SettingsError
from costledger.schemas.memory import c_bytes

LOGGING = """
import logging
from costledger.deploy.logs import configure_logging
from costledger.schemas.settings import load_settings
configure_logging(load_settings())
logging.getLogger("part").info("connected to %s", "postgresql://me:secret@host/db")
try:
    raise ValueError("redis://:hidden@host failed")
except ValueError:
    logging.getLogger("part").exception("failed")
logging.getLogger("aiokafka").info("chatter")
"""


class Answers:
    """An observed process whose health and lag a test sets."""

    def __init__(self) -> None:
        self.health = (False, "recovering")
        self.lag = 0
        registry = CollectorRegistry()
        gauge = Gauge("lag", "events", registry=registry)
        self.server = ObserveServer(
            "127.0.0.1", 0, registry, lambda: self.health, before_scrape=lambda: gauge.set(self.lag)
        )

    def get(self, path: str) -> tuple[int, str]:
        try:
            with DIRECT.open(f"http://127.0.0.1:{self.server.port}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def test_the_memory_in_use_is_told() -> None:
    """Of this process, as the exposition has it at every scrape."""
    registry = CollectorRegistry()
    observe_memory(registry)
    server = ObserveServer("127.0.0.1", 0, registry, lambda: (True, "ok"))

    def told() -> dict[str, float]:
        _, _, body = server.answer("/metrics", "")
        lines = [line.split() for line in body.decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    gc.collect()
    before = told()
    held = [bytes(100) for _ in range(100_000)]
    after = told()
    server.stop()
    assert after["costledger_python_memory_blocks"] - before["costledger_python_memory_blocks"] > 0.9 * len(held)
    if c_bytes() is not None:
        assert after["costledger_c_memory_bytes"] > 0


@pytest.fixture
def answers() -> Iterator[Answers]:
    served = Answers()
    with served.server:
        yield served


def test_health_follows_the_worker(answers: Answers) -> None:
    """/healthz says alive from the start; /readyz is 503 with the reason until the worker does its work."""
    assert answers.get("/healthz")[0] == 200
    assert answers.get("/readyz") == (503, "recovering\n")
    answers.health = (True, "ok")
    assert answers.get("/readyz") == (200, "ok\n")
    assert answers.get("/nothing")[0] == 404


def test_metrics_are_fresh(answers: Answers) -> None:
    """Gauges are brought up to date by each scrape."""
    answers.lag = 7
    assert "lag 7.0" in answers.get("/metrics")[1]
    answers.lag = 8
    assert "lag 8.0" in answers.get("/metrics?from=prometheus")[1]


def test_a_failing_health_is_a_500(answers: Answers, caplog: pytest.LogCaptureFixture) -> None:
    """A defect in a worker's health answers 500 and is logged; the server goes on."""
    answers.health = None  # type: ignore[assignment]  # the defect
    with caplog.at_level(logging.ERROR):
        assert answers.get("/readyz")[0] == 500
    assert "/readyz could not be answered" in caplog.text
    assert answers.get("/healthz")[0] == 200


def test_a_port_in_use_names_the_setting(answers: Answers) -> None:
    """A second server on the port is refused with the setting to change."""
    with pytest.raises(SettingsError, match="COSTLEDGER_SINK_METRICS_PORT"):
        ObserveServer(
            "127.0.0.1",
            answers.server.port,
            CollectorRegistry(),
            lambda: (True, ""),
            port_setting="COSTLEDGER_SINK_METRICS_PORT",
        )


def test_a_port_is_kept_while_its_worker_is_away() -> None:
    """A socket that the supervisor holds: nobody else gets the port, and the worker that comes answers on it."""
    with listen_on(0) as held, listen_on(held.getsockname()[1]) as other:
        assert held.getsockname() != other.getsockname()
        worker = ObserveServer("", 0, CollectorRegistry(), lambda: (True, "ok"), listener=held.dup())
        with worker, DIRECT.open(f"http://127.0.0.1:{held.getsockname()[1]}/readyz", timeout=10) as response:
            assert response.read() == b"ok\n"


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    """While one has it a second is refused; afterwards it is free again."""
    with (
        claimed(tmp_path / "data"),
        pytest.raises(SettingsError, match="in use by process"),
        claimed(tmp_path / "data"),
    ):
        pass
    with claimed(tmp_path / "data"):
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_the_embedded_broker_begins_empty(tmp_path: Path) -> None:
    """What an earlier embedded run left is removed; what a durable run keeps is not touched."""
    kept = services_dir(tmp_path, durable=True) / "postgres"
    kept.mkdir()
    old = services_dir(tmp_path, durable=False)
    old.mkdir()
    (old / "postgres").mkdir()
    assert services_dir(tmp_path, durable=False) == old
    assert not old.exists()
    assert kept.exists()


def test_kept_data_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Apache Kafka kept data and cannot run any more, `auto` refuses to begin with an empty system."""
    monkeypatch.setattr("costledger.deploy.stack.stack.apache_kafka_available", lambda: False)
    assert not LocalSystem(tmp_path, "auto", print).durable
    (tmp_path / "kafka").mkdir()
    with pytest.raises(SettingsError, match="--broker embedded"):
        LocalSystem(tmp_path, "auto", print)
    assert not LocalSystem(tmp_path, "embedded", print).durable


def test_an_environment_file_is_whole_or_absent(tmp_path: Path) -> None:
    """A value that a shell would read otherwise is refused, and no half file is left."""
    path = tmp_path / "up.env"
    write_env_file(path, {"COSTLEDGER_A": "postgresql://a:b@127.0.0.1:5/c", "COSTLEDGER_B": "4"})
    assert path.read_text().splitlines()[1:] == ["COSTLEDGER_A=postgresql://a:b@127.0.0.1:5/c", "COSTLEDGER_B=4"]
    before = path.read_text()
    with pytest.raises(SettingsError, match="COSTLEDGER_A"):
        write_env_file(path, {"COSTLEDGER_A": "$(rm -rf .)"})
    assert path.read_text() == before
    assert [found.name for found in tmp_path.iterdir()] == ["up.env"]


def test_logs_are_json_lines_without_passwords(tmp_path: Path) -> None:
    """Off a terminal each record is one JSON object on stderr; passwords in URLs are covered, libraries are quiet."""
    done = subprocess.run(
        [sys.executable, "-c", LOGGING],
        env=clean_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert [record["event"] for record in records] == ["connected to postgresql://me:***@host/db", "failed"]
    assert "ValueError" in records[1]["exception"]
    assert {"at", "level", "logger"} <= set(records[0])
    assert "secret" not in done.stderr
    assert "hidden" not in done.stderr
    assert done.stdout == ""
