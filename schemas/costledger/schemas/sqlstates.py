"""What an error of PostgreSQL means, by its SQLSTATE and never by its text (PostgreSQL manual, appendix A)."""

from __future__ import annotations

from typing import Final

# Classes and codes that pass: connection (08), rollbacks such as deadlock and serialization (40), resources such as a
# full disk or too many connections (53), operator intervention (57), the system's own I/O (58).
_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "57", "58"})
# Lock timeout; a read-only server (a standby during failover); idle-in-transaction and transaction timeouts.
_PASSING_CODES: Final = frozenset({"55P03", "25006", "25P03", "25P04"})
# Wrong values (22), broken constraints (23), and what is too large for an index or a row (54).
_DATA_CLASSES: Final = frozenset({"22", "23", "54"})

UNDEFINED_TABLE: Final = "42P01"
UNDEFINED_COLUMN: Final = "42703"


def passes(state: str) -> bool:
    """Whether trying again later may succeed."""
    return state[:2] in _PASSING_CLASSES or state in _PASSING_CODES


def is_about_data(state: str) -> bool:
    """Whether some row cannot be stored as it is."""
    return state[:2] in _DATA_CLASSES
