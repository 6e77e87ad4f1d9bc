"""What processes tell of themselves while they run: their metrics, and the ports on which they do."""

from __future__ import annotations

import urllib.request
from collections import defaultdict
from http.client import HTTPException
from typing import Final

from tests.fixtures.wait import wait_until

from costledger.deploy.stack.ports import free_port

_ANSWER_SECONDS_MAX: Final = 5.0
_START_SECONDS_MAX: Final = 60.0


class Observed:
    """The metrics of one worker: `cluster.start("stream", **observed.setting("stream"))`, then `observed.figures()`."""

    def __init__(self) -> None:
        self.port = free_port()

    def setting(self, command: str) -> dict[str, str]:
        """The setting that has the worker serve its metrics here."""
        return {f"{command}_metrics_port": str(self.port)}

    def figures(self) -> dict[str, float]:
        """Every counter and gauge, over all labels; waits for a worker that is starting."""
        return wait_until(self.figures_now, _START_SECONDS_MAX, "the worker serves its metrics")

    def figures_now(self, timeout_seconds: float = _ANSWER_SECONDS_MAX) -> dict[str, float]:
        """The same; none where the worker does not answer."""
        figures: dict[str, float] = defaultdict(float)
        for line in self._scrape(timeout_seconds).splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                figures[name.partition("{")[0]] += float(value)
        return figures

    def _scrape(self, timeout_seconds: float) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=timeout_seconds) as answer:
                return str(answer.read().decode())
        except (OSError, HTTPException):
            return ""  # it does not listen yet, or has just ended
