"""gunicorn with `preload_app`, serving `web_app`: the host that forks after its tracker has begun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.fault.harness.load import ROOT, Load
from tests.fault.harness.oracle import Record
from tests.fixtures.wait import wait_until

from costledger.deploy.stack.ports import free_port

_ANSWER_SECONDS_MAX: Final = 10.0
_START_SECONDS_MAX: Final = 60.0
_END_SECONDS_MAX: Final = 60.0
_REQUESTS_MAX: Final = 2_000


class WebService:
    """One service with several children. A context manager: no such process afterwards."""

    def __init__(self, load: Load, folder: Path, environment: Mapping[str, str], children: int) -> None:
        self._load = load
        self._folder = folder
        self._children = children
        self._port = free_port()
        self.log_path = folder / f"{load.name}.log"
        with self.log_path.open("ab") as out:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "--preload", "--workers", str(children)),
                    *("--bind", f"127.0.0.1:{self._port}", "--graceful-timeout", str(int(load.flush_seconds))),
                    *("--config", "python:tests.fault.harness.web_config", "tests.fault.harness.web_app:application"),
                ],
                env={
                    **os.environ,
                    **environment,
                    "COSTLEDGER_SPOOL_DIR": str(folder / f"{load.name}-spool"),
                    "FAULT_WEB_LOAD": json.dumps(asdict(load)),
                    "FAULT_WEB_FOLDER": str(folder),
                },
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.stop()

    def serve(self, requests_per_child: int, but: int | None = None) -> set[int]:
        """Have so many requests served by each child (without the one that is gone); their process ids."""
        served: Counter[int] = Counter()
        for _ in range(_REQUESTS_MAX):
            served[wait_until(self._request, _START_SECONDS_MAX, "the service answers")] += 1
            served.pop(but or 0, None)
            if len(served) == self._children and min(served.values()) >= requests_per_child:
                return set(served)
        raise AssertionError(f"{_REQUESTS_MAX} requests, served by {served}; see {self.log_path}")

    def stop(self) -> int:
        """SIGTERM to the parent, and wait; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_ANSWER_SECONDS_MAX)
            raise

    def records(self) -> list[Record]:
        """What each process attempted: that of the parent, and those of all its children."""
        paths = sorted(self._folder.glob(f"{self._load.name}*.attempted"))
        return [Record(path.with_suffix(""), self._load.durability) for path in paths]

    def _request(self) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=_ANSWER_SECONDS_MAX) as answer:
                return int(answer.read())
        except OSError:
            assert self._process.poll() is None, f"the service has ended; see {self.log_path}"
            return 0  # it does not serve yet, or the child that would have answered was killed
