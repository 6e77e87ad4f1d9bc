"""The keys of PostgreSQL's advisory locks that this package takes: one space of numbers for a whole database.

All in one place, since two parts that take the same number keep each other out without a word.
"""

from __future__ import annotations

from enum import IntEnum, unique


@unique
class AdvisoryLock(IntEnum):
    """One number for each purpose; never another one, since processes of two releases may run at once."""

    MIGRATIONS = 5_720_041_873
    BUDGET_RELAY = 5_720_041_874
    RERATING = 5_720_041_875
    SEALING = 5_720_041_876
    ALERT_ROUTES = 5_720_041_881
