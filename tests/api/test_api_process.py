"""`costledger api` as a process: it starts by its settings, serves on its own port, and ends in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from starlette.responses import StreamingResponse
from tests.fixtures.fix_api import API_KEY, RunningApi, bearer
from tests.fixtures.wait import wait_until

from costledger.schemas.settings import Settings

COMMAND = (sys.executable, "-P", "-m", "costledger", "api")
DRAIN_SECONDS_MAX = 10.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Process:
    """One `costledger api`."""

    def __init__(self, directory: Path, settings: Settings, **other: str) -> None:
        self.port = free_port()
        self.log = directory / "api.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COSTLEDGER_")}
        environment = {
            "COSTLEDGER_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "COSTLEDGER_DATABASE_URL": settings.database_url.get_secret_value(),
            "COSTLEDGER_REDIS_URL": settings.redis_url.get_secret_value(),
            "COSTLEDGER_API_TOKEN_KEY": API_KEY,
            "COSTLEDGER_API_PORT": str(self.port),
            **other,
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(COMMAND, env={**kept, **environment}, cwd=directory, stdout=log, stderr=log)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=30)

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def start(tmp_path: Path, api_settings: Settings) -> Iterator[Callable[..., Process]]:
    """Starts processes; what is left of them is killed at the end."""
    started: list[Process] = []

    def start(**other: str) -> Process:
        started.append(Process(tmp_path, api_settings, **other))
        return started[-1]

    yield start
    for one in started:
        one.client.close()
        one.process.kill()
        one.process.wait(10)


def test_a_request_under_way_is_answered_before_the_end(
    start: Callable[..., Process], api_ledger: psycopg.Connection[Any]
) -> None:
    """SIGTERM: what is under way is answered, nothing new is taken, the exit code is 0, within 10 s."""
    api = start()
    wait_until(api.ready, 60, "the API is ready")
    answers: list[int] = []

    def ask() -> None:
        answers.append(
            api.client.put("/api/billing/budget", json={"monthly_budget": 1}, headers=bearer("u")).status_code
        )

    def waits() -> bool:
        row = api_ledger.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
        return row is not None and row[0] > 0

    thread = threading.Thread(target=ask)
    with api_ledger.transaction():
        api_ledger.execute("LOCK TABLE ledger.users IN ACCESS EXCLUSIVE MODE")
        thread.start()
        wait_until(waits, 10, "the request waits for the lock")
        began = time.monotonic()
        api.process.send_signal(signal.SIGTERM)

        def refused() -> bool:
            try:
                httpx.get(f"http://127.0.0.1:{api.port}/healthz", trust_env=False, timeout=1)
            except httpx.TransportError:
                return True
            return False

        wait_until(refused, 5, "nothing new is taken")
        assert answers == []
    thread.join(10)
    assert answers == [200]
    assert api.process.wait(DRAIN_SECONDS_MAX) == 0
    assert time.monotonic() - began < DRAIN_SECONDS_MAX
    log = api.log.read_text()
    assert '"path": "/api/billing/budget"' in log
    assert "Traceback" not in log


def test_answers_that_last_are_told_to_end(
    api_settings: Settings, start_server: Callable[[Settings], RunningApi]
) -> None:
    """A stream of events ends by itself when the process drains, instead of being cut off after some seconds."""
    running = start_server(api_settings)
    services = running.app.state.services
    began_streaming = threading.Event()

    def events() -> Iterator[bytes]:
        yield b"first\n"
        began_streaming.set()
        services.stopping.wait(30)
        yield b"last\n"

    running.app.add_api_route("/stream", lambda: StreamingResponse(events()))
    bodies: list[str] = []
    thread = threading.Thread(
        target=lambda: bodies.append(httpx.get(f"{running.url}/stream", trust_env=False, timeout=30).text)
    )
    thread.start()
    assert began_streaming.wait(10)
    began = time.monotonic()
    running.server.stop()
    thread.join(10)
    assert bodies == ["first\nlast\n"]
    assert time.monotonic() - began < 5


def test_ctrl_c_ends_it_too(start: Callable[..., Process]) -> None:
    """SIGINT drains like SIGTERM; metrics of the process and of requests are on the same port."""
    api = start(COSTLEDGER_LOG_FORMAT="json")
    wait_until(api.ready, 60, "the API is ready")
    metrics = api.client.get("/metrics").text
    assert "process_resident_memory_bytes" in metrics
    assert "costledger_python_memory_blocks" in metrics
    assert "costledger_api_requests_total" in metrics
    api.process.send_signal(signal.SIGINT)
    assert api.process.wait(DRAIN_SECONDS_MAX) == 0


def test_it_does_not_start_by_wrong_settings(start: Callable[..., Process]) -> None:
    """One line says which setting is wrong: a short key, a port that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for settings, said in (
            ({"COSTLEDGER_API_TOKEN_KEY": "short"}, "must have at least 32"),
            ({"COSTLEDGER_API_PORT": port}, "set COSTLEDGER_API_PORT to a free port"),
        ):
            api = start(**settings)
            assert api.process.wait(60) == 1
            assert said in api.log.read_text()
            assert "Traceback" not in api.log.read_text()
