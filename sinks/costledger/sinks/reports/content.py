"""What a report says. Pure: amounts are integers of 1e-12 USD, shares and changes exact percentages, rounded once.

Counts of events are less what was taken back by reversing entries, as in the roll-ups; amounts are those of the priced
events, credits included. Events of the service `costledger` (savings and cache lookups, which cost nothing) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from costledger.sinks.reports.periods import ReportPeriod

#: Rows of a report; what is beyond is summed up in one row, so that the sums stay those of the whole.
SERVICES_MAX: Final = 30
OPERATIONS_MAX: Final = 50
USERS_MAX: Final = 10
#: Same weekdays (or weeks) before, of which the usual total is the median.
USUAL_PERIODS_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Sums of one service, operation or user; `name` is what they are of, `service` that of an operation."""

    name: str
    service: str | None = None
    events: int
    unpriced: int
    amount: int
    users: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The largest of a kind in order of amount, and the sums of the others: their number, events, unpriced, amount."""

    shown: tuple[Line, ...]
    others: Line | None = None
    others_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over all users. A user is active with at least one event."""

    active_users: int
    events: int
    unpriced: int
    amount: int
    #: Of all active users by amount: the largest, and who it is of; None without users.
    maximum: int | None
    maximum_user: str | None

    @property
    def average(self) -> int | None:
        """Amount per active user, to the nearest 1e-12 USD; None without users."""
        return divided(self.amount, self.active_users) if self.active_users else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The period before, and what is usual: the median of the same weekday (or of weeks) before, since the ledger began.

    None where the ledger began later. `usual_periods` is of how many the median is.
    """

    previous: int | None
    usual: int | None
    usual_periods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileUser:
    """A user's amount in the period over the number of distinct files that the user's events name."""

    user_id: str
    amount: int
    files: int

    @property
    def per_file(self) -> int:
        """Amount per file, to the nearest 1e-12 USD."""
        return divided(self.amount, self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileAnalysis:
    """Cost per file: each event counted once, each file once, whatever else an event is joined with.

    `key` is the name in the events' metadata; `limit` what a file may cost. `users_above` is how many users are above
    it, `above` the first ten. Users whose events name no file have no cost per file: their number and amount.
    """

    key: str
    limit: int
    users_with_files: int
    files: int
    users_above: int
    above: tuple[FileUser, ...]
    users_without_files: int
    amount_without_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """Up to where the ledger was when the report was made.

    `complete`: it had all that Kafka had received by the end of the period. `missing` are the messages that it had not,
    None where Kafka could not be asked (`problem` says why). `positions` are the next offsets by partition.
    """

    complete: bool
    missing: int | None
    positions: tuple[tuple[int, int], ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A daily report or a weekly analysis; only the latter has `files`. `alerts` counts those raised, by kind."""

    period: ReportPeriod
    totals: Totals
    services: Lines
    operations: Lines
    users: tuple[Line, ...]
    comparison: Comparison
    alerts: tuple[tuple[str, int], ...]
    watermark: Watermark
    files: FileAnalysis | None = None


def divided(amount: int, count: int) -> int:
    """The quotient to the nearest integer, ties to even."""
    quotient, rest = divmod(amount, count)
    doubled = 2 * rest
    return quotient + (doubled > count or (doubled == count and quotient % 2 == 1))


def median(amounts: Sequence[int]) -> int | None:
    """The middle one, or the mean of the two in the middle to the nearest integer; None of nothing."""
    ordered = sorted(amounts)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else divided(ordered[middle - 1] + ordered[middle], 2)


def percent_of(part: int, whole: int) -> Decimal | None:
    """The share of a part in percent, two decimals; None of nothing (or of a whole that credits made negative)."""
    return None if whole <= 0 else _rounded(100 * part, whole)


def change_percent(now: int, before: int | None) -> Decimal | None:
    """By how many percent an amount is above (or below) an earlier one; None where that is not above 0."""
    return None if before is None or before <= 0 else _rounded(100 * (now - before), before)


def _rounded(numerator: int, denominator: int) -> Decimal:
    # In whole hundredths: exact, whatever the precision of the host program's own arithmetic.
    return Decimal(f"{divided(100 * numerator, denominator)}E-2")
