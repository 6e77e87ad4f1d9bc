"""When a failed delivery is tried again, and when it is given up. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from costledger.schemas.settings import Settings

#: What a server asks for with Retry-After is honoured up to a day, also beyond the longest wait of our own.
RETRY_AFTER_SECONDS_MAX: Final = 86_400.0
_DOUBLINGS_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """Waits that double from `seconds_min` to `seconds_max`; given up `dead_after` from when it could first be sent."""

    seconds_min: float
    seconds_max: float
    dead_after: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The plan of these settings."""
        return cls(
            settings.delivery_retry_seconds_min,
            settings.delivery_retry_seconds_max,
            timedelta(hours=settings.delivery_dead_after_hours),
        )

    def wait(self, failures: int, chance: float, retry_after_seconds: float | None = None) -> timedelta:
        """The wait after so many failures (from 1). `chance` in [0, 1) spreads it over the upper half.

        Never shorter than `seconds_min` or than what the server asked for.
        """
        whole = min(self.seconds_max, self.seconds_min * 2.0 ** min(failures, _DOUBLINGS_MAX))
        seconds = max(self.seconds_min, whole * (0.5 + chance / 2))
        asked = min(retry_after_seconds or 0.0, RETRY_AFTER_SECONDS_MAX)
        return timedelta(seconds=max(min(seconds, self.seconds_max), asked))
