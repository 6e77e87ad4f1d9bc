"""The entry point of the command `costledger`: runs a command and turns what goes wrong into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C. A traceback is shown only with `--debug` or
`COSTLEDGER_LOG_LEVEL=DEBUG`. Nothing outside the standard library is imported before the first `try`, so that
a missing extra is named too.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from costledger.deploy.failures import explain

DEBUG_VARIABLE = "COSTLEDGER_LOG_LEVEL"
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line (default: of this process) and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises but for a defect in this function."""
    try:
        from costledger.deploy.app import command

        command().main(args=None if arguments is None else list(arguments), prog_name="costledger")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away (`| head`). Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, the user gets a line and a code
        if os.environ.get(DEBUG_VARIABLE, "").upper() == "DEBUG":
            traceback.print_exc()
        sys.stderr.write(f"costledger: {explain(error)}\n")
        return EXIT_FAILED
    return 0
