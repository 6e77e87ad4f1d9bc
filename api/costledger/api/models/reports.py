"""Reports as they are answered: the document of the ledger, field by field."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

REPORTS_MAX = 200


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReportEntryAnswer(_Answer):
    """One report in a list."""

    kind: Literal["daily", "weekly"]
    date: date
    time_zone: str
    period_start: datetime
    period_end: datetime
    revision: int
    complete: bool
    made_at: datetime
    total: str


class ReportListAnswer(_Answer):
    """The newest reports."""

    reports: list[ReportEntryAnswer]


class ReportListQuery(_Answer):
    """Which reports."""

    kind: Literal["daily", "weekly"] | None = None
    limit: Annotated[int, Field(ge=1, le=REPORTS_MAX)] = 50


class ReportQuery(_Answer):
    """In which form: a document, one table, or text for people."""

    format: Literal["json", "csv", "text"] = "json"


class LineAnswer(_Answer):
    """Sums of a service, an operation (with its `service`) or a user; money in USD."""

    name: str
    service: str | None
    users: int
    events: int
    unpriced: int
    total: str
    share_percent: str | None


class OthersAnswer(LineAnswer):
    """The sums of what is not shown by itself."""

    count: int


class LinesAnswer(_Answer):
    """The largest, and the sums of the others."""

    rows: list[LineAnswer]
    others: OthersAnswer | None


class TotalsAnswer(_Answer):
    """Sums over all users."""

    active_users: int
    events: int
    unpriced: int
    total: str
    average_per_active_user: str | None
    maximum_per_user: str | None
    maximum_user: str | None


class ComparisonAnswer(_Answer):
    """The period before, and the median of the same weekdays (or of the weeks) before."""

    previous_total: str | None
    previous_change_percent: str | None
    usual_total: str | None
    usual_change_percent: str | None
    usual_periods: int


class AlertCountsAnswer(_Answer):
    """Alerts that were raised in the period."""

    raised: int
    by_kind: dict[str, int]


class FileUserAnswer(_Answer):
    """A user above the limit per file."""

    user_id: str
    total: str
    files: int
    per_file: str


class FilesAnswer(_Answer):
    """Cost per file, of users whose events name files."""

    metadata_key: str
    limit_per_file: str
    users_with_files: int
    files: int
    users_above: int
    above: list[FileUserAnswer]
    users_without_files: int
    total_without_files: str


class WatermarkAnswer(_Answer):
    """Whether the ledger had all that Kafka had received by the end of the period."""

    complete: bool
    missing: int | None
    positions: dict[str, int]
    problem: str | None


class ReportAnswer(_Answer):
    """A report as it was made; it stays so until it is made anew on purpose (`revision`)."""

    stored: bool
    revision: int
    made_at: datetime
    kind: Literal["daily", "weekly"]
    date: date
    period: str
    time_zone: str
    period_start: datetime
    period_end: datetime
    currency: str
    totals: TotalsAnswer
    comparison: ComparisonAnswer
    by_service: LinesAnswer
    by_operation: LinesAnswer
    top_users: list[LineAnswer]
    alerts: AlertCountsAnswer
    files: FilesAnswer | None
    watermark: WatermarkAnswer
