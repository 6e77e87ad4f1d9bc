"""How long to wait before trying again: doubling, with jitter, up to a bound."""

from __future__ import annotations

import random
from typing import Final

FIRST_SECONDS: Final = 0.1
SECONDS_MAX: Final = 10.0
_DOUBLINGS_MAX: Final = 20


def backoff_seconds(attempt: int, seconds_max: float = SECONDS_MAX) -> float:
    """The wait after the attempt with this number (from 1): between half of the doubled time and all of it."""
    whole = min(seconds_max, FIRST_SECONDS * 2.0 ** min(attempt - 1, _DOUBLINGS_MAX))
    return whole * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries; nothing secret
