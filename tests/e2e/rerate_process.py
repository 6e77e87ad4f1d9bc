"""`costledger rerate` in pages of a few entries, which harms itself at a step: `rerate_process.py STEP SIGNAL ARGUMENTS...`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from costledger.deploy import cli, rerating

PAGE_ENTRIES = 7


def main() -> None:
    """Run the command line with a signal to this process when the step is first reached."""
    wanted, number = sys.argv[1], signal.Signals[sys.argv[2]]
    run = rerating.rerate_ledger
    rerating.PAGE_ENTRIES = PAGE_ENTRIES
    reached = False

    def on_step(step: rerating.Step) -> None:
        nonlocal reached
        if step == wanted and not reached:
            reached = True
            os.kill(os.getpid(), number)

    def harmed(*arguments: Any, **named: Any) -> Any:
        return run(*arguments, **named, on_step=on_step)

    rerating.rerate_ledger = harmed
    cli.main(["rerate", *sys.argv[3:]])


if __name__ == "__main__":
    main()
