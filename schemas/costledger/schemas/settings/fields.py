"""Every setting: its name, default, bounds and meaning. How they are read is in `loading`."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from costledger.schemas.budgets import (
    DEFAULT_THRESHOLDS,
    DEFAULT_TIER,
    THRESHOLD_PERCENT_LIMIT,
    THRESHOLD_PERCENT_MAX,
    BudgetDefaults,
    parse_thresholds,
)
from costledger.schemas.money import to_picodollars
from costledger.schemas.settings.api_fields import ApiFields
from costledger.schemas.settings.delivery_fields import DeliveryFields
from costledger.schemas.topics import DEFAULT_PARTITIONS, TopicNames

PREFIX: Final = "COSTLEDGER_"
ENV_FILE_VARIABLE: Final = "COSTLEDGER_ENV_FILE"
CONFIG_FILE_VARIABLE: Final = "COSTLEDGER_CONFIG_FILE"


class Settings(ApiFields, DeliveryFields, BaseSettings):
    """Every setting with its default. Units are in the names; each has a description (`costledger doctor --settings`)."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    # Addresses
    bootstrap_servers: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, separated by commas")
    database_url: SecretStr = Field(
        SecretStr("postgresql://127.0.0.1:5432/costledger"), description="PostgreSQL connection URI"
    )
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="Redis connection URI")
    schema_registry_url: SecretStr | None = Field(
        None, description="a Confluent-compatible schema registry: switches to the Confluent wire format"
    )

    # Kafka
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to talk to Kafka; PLAINTEXT is refused except on loopback"
    )
    allow_plaintext: bool = Field(False, description="allow unencrypted Kafka connections to other hosts")
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, where the protocol has SASL"
    )
    sasl_username: str | None = Field(None, description="SASL user name")
    sasl_password: SecretStr | None = Field(None, description="SASL password")
    ssl_ca_file: Path | None = Field(None, description="PEM file of the certificate authorities to trust")
    partitions: int = Field(
        DEFAULT_PARTITIONS, ge=1, le=1024, description="partitions of cost.events and of all topics beside it"
    )
    topic_retention_days: int = Field(
        90, ge=1, le=3650, description="days that events, alerts and dead letters stay on Kafka"
    )

    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="put before the name of every topic, to share a cluster"
    )

    # SDK
    source: str = Field("unknown", min_length=1, max_length=128, description="name of the emitting service")
    durability: Literal["memory", "spool", "outbox"] = Field(
        "memory",
        description="where events wait for Kafka: memory (lost with the process), spool (on the local disk) or outbox "
        "(a row in the caller's own PostgreSQL transaction)",
    )
    spool_dir: Path | None = Field(
        None, description="directory of the spool; default: $XDG_STATE_HOME/costledger/spool or ~/.local/state/..."
    )
    spool_bytes_max: int = Field(
        2**30,
        ge=2**20,
        le=2**40,
        description="bytes that the spool of one process may take; more waits in memory, loudly",
    )
    spool_synchronous: Literal["normal", "full"] = Field(
        "normal", description="normal survives a kill of the process; full also a loss of power, at one fsync per event"
    )
    outbox_table: str = Field(
        "costledger_outbox",
        pattern=r"^[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?$",
        description="table of the outbox in the caller's database, with its schema where it has one",
    )
    queue_events_max: int = Field(
        100_000, ge=1, le=10_000_000, description="events waiting in memory; more are dropped and counted"
    )
    delivery_timeout_seconds: float = Field(
        120, gt=0, le=86_400, description="how long one event may try to reach Kafka"
    )
    flush_timeout_seconds: float = Field(
        10, ge=0, le=3600, description="how long closing may wait for acknowledgements"
    )
    linger_ms: int = Field(10, ge=0, le=1000, description="how long the SDK gathers events into one request")
    price_files: tuple[Path, ...] = Field(
        (), description="price books laid over the shipped one (JSON list of .toml or .json files, the last on top)"
    )

    # Stream app
    stream_app_id: str = Field(
        "costledger-stream", min_length=1, max_length=128, description="consumer group of the stream app"
    )
    stream_flush_interval_seconds: float = Field(
        0.25, gt=0, le=60, description="how often state is written and offsets committed"
    )
    stream_flush_interval_seconds_max: float = Field(
        1, gt=0, le=60, description="the same while a worker is far behind: a flush costs by the keys that changed"
    )
    stream_session_timeout_seconds: float = Field(
        10, ge=6, le=300, description="after this a dead worker loses its partitions"
    )
    stream_stall_timeout_seconds: float = Field(
        120, ge=10, le=3600, description="lag without progress for so long stops the worker"
    )
    horizon_days: int = Field(40, ge=1, le=366, description="older events are history: no real-time totals, no alerts")
    stream_recent_events_max: int = Field(
        20_000, ge=1000, le=10_000_000, description="latest events of each partition in which repeats are recognised"
    )
    redis_ttl_days: int = Field(
        62, ge=1, le=3660, description="how long a period's totals stay in Redis after its last change"
    )

    # Budgets and alerts
    budget_by_tier: dict[str, Decimal] = Field(
        default_factory=lambda: {
            "free": Decimal(5),
            "premium": Decimal(50),
            "ultimate": Decimal(200),
            "default": Decimal(10),
        },
        description="monthly budget in USD by tier (JSON); default is for every other tier",
    )
    alert_thresholds: tuple[Decimal, ...] = Field(DEFAULT_THRESHOLDS, description="percent of the budget (JSON list)")
    threshold_percent_max: Decimal = Field(
        THRESHOLD_PERCENT_MAX, gt=0, le=THRESHOLD_PERCENT_LIMIT, description="highest threshold a user may set, percent"
    )
    hourly_spike_limit_usd: Decimal = Field(
        Decimal(20), ge=0, description="more within an hour raises a spike alert, USD"
    )
    hourly_elevated_usd: Decimal = Field(Decimal(10), ge=0, description="an hour below this ends a spike, USD")
    spike_usual_factor: int = Field(
        5, ge=2, le=1000, description="an hour of so many times the user's usual hour is a spike"
    )
    spike_usual_hours_min: int = Field(24, ge=1, le=960, description="hours with cost that make a usual hour")
    spike_usual_least_usd: Decimal = Field(Decimal(1), ge=0, description="an hour below this is no relative spike, USD")

    anomaly_deviations: int = Field(
        8, ge=1, le=1000, description="a service's hour is an anomaly above the usual amount and so many deviations"
    )
    anomaly_least_percent: int = Field(
        30, ge=0, le=10_000, description="a deviation is at least so many percent of the usual amount"
    )
    anomaly_least_usd: Decimal = Field(Decimal("0.02"), ge=0, description="a deviation is at least so much, USD")
    anomaly_weeks_min: int = Field(
        1, ge=1, le=6, description="whole weeks of history without which nothing is an anomaly; at most 5 are known"
    )
    anomaly_slot_weeks_min: int = Field(
        3, ge=1, le=6, description="weeks of history from which on each hour of the week has a usual amount of its own"
    )
    forecast_days_min: int = Field(
        3, ge=1, le=14, description="full days of history without which no forecast of the month is made"
    )

    # Plans and enforcement
    plan_file: Path | None = Field(None, description="TOML file with processing plans by tier, over the shipped ones")
    plan_shares: tuple[tuple[Decimal, str], ...] = Field(
        ((Decimal(80), "default"), (Decimal(95), "free")),
        description="from so many percent of the budget on, no more than that tier's plan (JSON list of pairs)",
    )
    guard_when_unavailable: Literal["skip", "allow"] = Field(
        "skip", description="the decision while Redis or the budget cannot be read; zero-cost work is always allowed"
    )
    guard_single_share_percent: Decimal = Field(
        Decimal(10), gt=0, le=100, description="one operation above this share of the budget is skipped, percent"
    )
    guard_warn_percent: Decimal = Field(
        Decimal(90), gt=0, le=100, description="from this share of the budget on the decision is warn, percent"
    )
    guard_reservation_seconds: float = Field(
        900,
        ge=1,
        le=7 * 86_400,
        description="a reservation of a process that died is freed then; a live one renews it, up to 24 times",
    )
    guard_settled_hold_seconds: float = Field(
        3600, ge=1, le=7 * 86_400, description="how long a settled amount is held until the totals are seen to have it"
    )
    guard_recovery_seconds: float = Field(
        5, ge=0, le=3600, description="after Redis lost a user's reservations: time for their holders to renew them"
    )
    guard_budget_cache_seconds: float = Field(
        5, ge=0, le=3600, description="how long the guard remembers a user's budget"
    )

    # Sink and notifier
    sink_group: str = Field("costledger-sink", min_length=1, max_length=128, description="consumer group of the sink")
    sink_instance_id: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="name of this sink for Kafka's static membership: a restart takes its partitions back at once",
    )
    sink_session_timeout_seconds: float = Field(
        10, ge=6, le=300, description="after this a dead sink or notifier loses its partitions"
    )
    sink_batch_rows_max: int = Field(50_000, ge=1, le=200_000, description="events in one transaction")
    sink_batch_bytes_max: int = Field(32 * 2**20, ge=2**16, le=2**30, description="bytes of events in one transaction")
    sink_batch_wait_ms: int = Field(250, ge=1, le=60_000, description="how long the sink gathers a batch")
    sink_bad_share_max: Decimal = Field(
        Decimal("0.5"), gt=0, le=1, description="a larger share of bad events stops the sink"
    )
    sink_bad_window_events: int = Field(
        10_000, ge=100, le=10_000_000, description="events over which that share is taken"
    )
    database_timeout_seconds: float = Field(
        30,
        gt=0,
        le=3600,
        description="statement and lock timeout in PostgreSQL, of the sink, the notifier and commands",
    )
    notifier_group: str = Field(
        "costledger-notifier", min_length=1, max_length=128, description="consumer group of the notifier"
    )

    # Processes
    metrics_host: str = Field("127.0.0.1", description="address on which metrics and health are served")
    stream_metrics_port: int = Field(
        9101, ge=0, le=65_535, description="port of the stream worker's metrics; 0 takes a free one"
    )
    sink_metrics_port: int = Field(9102, ge=0, le=65_535, description="port of the sink's metrics; 0 takes a free one")
    notifier_metrics_port: int = Field(
        9103, ge=0, le=65_535, description="port of the notifier's metrics; 0 takes a free one"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")
    log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else JSON")

    @field_validator("budget_by_tier")
    @classmethod
    def _has_default_tier(cls, value: dict[str, Decimal]) -> dict[str, Decimal]:
        if DEFAULT_TIER not in value:
            raise ValueError(f"needs the tier {DEFAULT_TIER!r}")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library passes it by name
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, `.env`, TOML: the first that has a value wins."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, dotenv_settings, toml

    @property
    def topics(self) -> TopicNames:
        """The names of the topics."""
        return TopicNames.with_prefix(self.topic_prefix)

    def budget_defaults(self) -> BudgetDefaults:
        """The defaults of budgets, in 1e-12 USD."""
        return BudgetDefaults(
            monthly_by_tier={tier: to_picodollars(usd, "budget_by_tier") for tier, usd in self.budget_by_tier.items()},
            alert_thresholds=parse_thresholds(self.alert_thresholds, self.threshold_percent_max),
            hourly_spike_limit=to_picodollars(self.hourly_spike_limit_usd, "hourly_spike_limit_usd"),
        )


def config_file() -> Path | None:
    """The TOML file of settings that the environment names, or None."""
    name = os.environ.get(CONFIG_FILE_VARIABLE)
    return Path(name) if name else None
