"""A request to stop that a signal handler may make."""

from __future__ import annotations

import time
from typing import Final

#: Whoever waits looks so often whether it is to stop.
LOOK_SECONDS: Final = 0.05


class StopRequest:
    """Made once, from any thread or signal handler, and never taken back.

    `threading.Event` has a lock that `wait` holds for moments: a handler that comes in one of them, in the same thread, would
    wait for it in `set` for ever.
    """

    def __init__(self) -> None:
        self._made = False

    def set(self) -> None:
        """Ask to stop."""
        self._made = True

    def is_set(self) -> bool:
        """Whether it was asked for."""
        return self._made

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until it is asked for, for so long at most; whether it was."""
        deadline = time.monotonic() + timeout_seconds
        while not self._made and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(LOOK_SECONDS, left))
        return self._made
