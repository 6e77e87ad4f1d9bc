"""After something did not answer in time, nobody waits for it for a moment: jobs are many, and each would."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PAUSE_SECONDS: Final = 1.0


class Pause:
    """One for each that may fall silent, shared by all who ask it. Needs no lock: the latest word counts."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    @property
    def is_on(self) -> bool:
        """Whether it fell silent a moment ago."""
        return self._clock() < self._until

    def begin(self) -> None:
        """It did not answer in time."""
        self._until = self._clock() + PAUSE_SECONDS

    def end(self) -> None:
        """It has answered."""
        self._until = 0.0
