"""A sink as a process of its own, which may kill itself at a step of a write (`COSTLEDGER_TEST_KILL_AT=step:number`)."""

from __future__ import annotations

import logging
import os
import signal
import sys

from costledger.schemas.settings import load_settings
from costledger.sinks.sink import Sink
from costledger.sinks.writer import Step


def main() -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    wanted, _, number = os.environ.get("COSTLEDGER_TEST_KILL_AT", "").partition(":")
    left = int(number or 1)

    def on_step(step: Step) -> None:
        nonlocal left
        if step == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sink = Sink(load_settings(), on_step=on_step)
    signal.signal(signal.SIGTERM, lambda *_: sink.stop())
    return sink.run()


if __name__ == "__main__":
    sys.exit(main())
