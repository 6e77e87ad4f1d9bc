"""The settings of alert delivery to people, of periodic jobs and of reports."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class DeliveryFields(BaseSettings):
    """How alerts reach people, and when reports are made."""

    delivery_timeout_http_seconds: float = Field(
        10, gt=0, le=300, description="how long a mail server or webhook may take to answer one delivery"
    )
    delivery_retry_seconds_min: float = Field(5, gt=0, le=3600, description="wait before a delivery's first retry")
    delivery_retry_seconds_max: float = Field(3600, gt=0, le=86_400, description="longest wait between two retries")
    delivery_dead_after_hours: float = Field(72, gt=0, le=24 * 60, description="then a delivery is given up, visibly")
    delivery_digest_alerts: int = Field(
        10, ge=1, le=1000, description="more alerts than this within the digest's time go out as one message"
    )
    delivery_digest_seconds: float = Field(
        300, gt=0, le=86_400, description="time over which a flood of alerts to one target is gathered"
    )
    delivery_allow_private_targets: bool = Field(
        False, description="allow webhooks to loopback and private addresses (a user could reach your network)"
    )
    delivery_email_url: SecretStr | None = Field(
        None,
        description="the mail server for routes to an address: mailtos://user:password@host:587?from=sender@domain "
        "(apprise's form; mailto:// without TLS)",
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="address of the API and dashboard as people reach them, for links in messages",
    )
    jobs_time_zone: str = Field("UTC", description="IANA zone in which the times of reports are meant")
    report_daily_at: str = Field(
        "09:00", pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="time of the daily report, of the day before"
    )
    report_weekly_at: str = Field(
        "MON 10:00",
        pattern=r"^(MON|TUE|WED|THU|FRI|SAT|SUN) ([01]\d|2[0-3]):[0-5]\d$",
        description="day and time of the weekly analysis, of the seven days before",
    )
    report_recipients: SecretStr | None = Field(
        None,
        description="who gets the reports (JSON list of mail addresses, Slack or Teams webhooks, or apprise URLs for "
        "these: mailtos://, slack://, workflows://); none: nobody",
    )
    report_wait_minutes: float = Field(
        60,
        ge=0,
        le=24 * 60,
        description="how long a report waits for a ledger that is behind; then it is made, marked as incomplete",
    )
    report_timeout_seconds: float = Field(300, gt=0, le=3600, description="longest statement of a report in PostgreSQL")
    report_file_metadata_key: str = Field(
        "file_id",
        min_length=1,
        max_length=128,
        description="name in the events' metadata of the file that was worked on",
    )
    report_file_limit_usd: Decimal = Field(
        Decimal(1), ge=0, le=10_000, description="users above so much per file are in the weekly analysis, USD"
    )
    jobs_concurrency: int = Field(8, ge=1, le=64, description="jobs that one scheduler runs at the same time")
    jobs_keep_days: int = Field(
        14, ge=1, le=3660, description="days that failed jobs are kept; what succeeded is deleted at once"
    )
    chain_seal_after_seconds: float = Field(
        300,
        ge=1,
        le=86_400,
        description="entries so old are sealed in the hash chain, also where they fill no block (the scheduler does it)",
    )
    report_cache_days: int = Field(30, ge=1, le=3660, description="days that a report stays in Redis")
    scheduler_metrics_port: int = Field(
        9104, ge=0, le=65_535, description="port of the scheduler's metrics; 0 takes a free one"
    )
