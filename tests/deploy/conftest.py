"""Running `costledger` as its users do: as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest
from tests.fixtures.fix_report import remove_data
from tests.fixtures.wait import wait_until

COMMAND = (sys.executable, "-P", "-m", "costledger")
READY_SECONDS_MAX = 180.0
STOP_SECONDS_MAX = 60.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def clean_environment(**settings: str) -> dict[str, str]:
    """The environment without settings of costledger, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COSTLEDGER_")}
    return {**kept, **settings}


class Cli:
    """Runs commands to their end in an empty directory, with the settings given."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.settings = settings

    def __call__(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            env=clean_environment(**{**self.settings, **settings}),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The one JSON document that the command prints with --json."""
        done = self(*arguments, "--json")
        assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)


class Up:
    """A `costledger up` that runs."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path, env_file: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.env_file = env_file
        self.cli = Cli(data_dir, COSTLEDGER_ENV_FILE=str(env_file))

    @property
    def environment(self) -> dict[str, str]:
        """What the environment file says."""
        lines = self.env_file.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    @property
    def errors(self) -> str:
        """What it said on stderr."""
        return (self.data_dir.parent / "up.err").read_text()

    def descendants(self) -> list[psutil.Process]:
        """Every process below it."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def worker_pid(self, name: str) -> int | None:
        """The process of a worker, found by the name in its command line; None while there is none."""
        for child in psutil.Process(self.process.pid).children():
            try:
                if f"costledger {name}" in " ".join(child.cmdline()):
                    return int(child.pid)
            except psutil.NoSuchProcess:
                continue
        return None

    def is_ready(self, name: str) -> bool:
        """Whether the worker says that it does its work."""
        setting = "API" if name == "api" else f"{name.upper()}_METRICS"
        port = self.environment[f"COSTLEDGER_{setting}_PORT"]
        try:
            with DIRECT.open(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS_MAX)


@contextmanager
def running_up(directory: Path, broker: str) -> Iterator[Up]:
    """`costledger up` in the directory, ready; stopped and its data removed at the end."""
    data_dir = directory / "data"
    data_dir.mkdir(parents=True, exist_ok=True)
    env_file = directory / "up.env"
    with (directory / "up.out").open("w") as out, (directory / "up.err").open("w") as err:
        process = subprocess.Popen(
            [*COMMAND, "up", "--data-dir", str(data_dir), "--env-file", str(env_file), "--broker", broker],
            # Free ports: another system on this machine may be taking the usual ones at this moment.
            env=clean_environment(
                **{
                    f"COSTLEDGER_{name}_PORT": "0"
                    for name in ("STREAM_METRICS", "SINK_METRICS", "NOTIFIER_METRICS", "API")
                }
            ),
            cwd=directory,
            stdout=out,
            stderr=err,
            text=True,
            start_new_session=True,
        )
    up = Up(process, data_dir, env_file)

    def ready() -> bool:
        assert process.poll() is None, f"up ended with {process.returncode}:\n{up.errors}"
        return "ready" in (directory / "up.out").read_text().splitlines()

    try:
        wait_until(ready, READY_SECONDS_MAX, "costledger up is ready")
        yield up
    finally:
        if process.poll() is None:
            up.stop()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line, with no settings at all."""
    return Cli(tmp_path)


@pytest.fixture(scope="session")
def embedded_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `costledger up --broker embedded` for all tests that leave it running."""
    directory = tmp_path_factory.mktemp("up")
    with running_up(directory, "embedded") as up:
        yield up
    remove_data(directory / "data")


@pytest.fixture
def start_up() -> Callable[[Path, str], Any]:
    """`running_up`, for tests that stop it themselves."""
    return running_up
