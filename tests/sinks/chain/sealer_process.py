"""A sealer as a process of its own that kills itself at a step of its second round."""

from __future__ import annotations

import os
import signal
from collections import Counter

from costledger.sinks.chain.sealing import Step, seal
from costledger.sinks.database import connect


def main() -> None:
    seen: Counter[str] = Counter()

    def on_step(step: Step) -> None:
        seen[step] += 1
        if step == os.environ["COSTLEDGER_TEST_KILL_AT"] and seen[step] == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    with connect(os.environ["COSTLEDGER_TEST_URL"], "sealer", 20) as connection:
        seal(connection, "chain.cost.events", block_rows_max=10, on_step=on_step)


if __name__ == "__main__":
    main()
