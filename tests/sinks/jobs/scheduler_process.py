"""A scheduler as a process of its own, with a clock that begins at a time of the test, and a tick every second.

`COSTLEDGER_TEST_NOW` is that time (Unix microseconds); `COSTLEDGER_TEST_KILL_AT` names a step at which it kills itself.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import Any

from costledger.schemas.settings import load_settings
from costledger.sinks.jobs import ticking
from costledger.sinks.jobs.scheduler import Scheduler
from costledger.sinks.reports import making, sending

EVERY_SECOND = "* * * * * */1"


def kill_before(module: Any, name: str) -> None:
    """Let the process die right before it calls this function."""

    def die(*_arguments: Any, **_named: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    assert hasattr(module, name)
    setattr(module, name, die)


def main() -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    places = {
        "computed": (making, "add_report"),
        "stored": (ticking, "hand_over"),
        "sending": (sending, "send"),
    }
    if step := os.environ.get("COSTLEDGER_TEST_KILL_AT"):
        kill_before(*places[step])
    begin_us, begun = int(os.environ["COSTLEDGER_TEST_NOW"]), time.monotonic()
    scheduler = Scheduler(
        load_settings(),
        clock=lambda: begin_us + int((time.monotonic() - begun) * 1e6),
        tick_cron=EVERY_SECOND,
    )
    signal.signal(signal.SIGTERM, lambda *_: scheduler.stop())
    return scheduler.run()


if __name__ == "__main__":
    sys.exit(main())
