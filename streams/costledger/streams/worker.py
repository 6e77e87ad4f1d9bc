"""The stream worker: one process of the stream app, built from the settings."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from costledger.schemas.memory import collect_seldom
from costledger.schemas.money import to_picodollars
from costledger.schemas.settings import Settings
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules
from costledger.streams.handler import CostHandler
from costledger.streams.instruments import Instruments
from costledger.streams.transport import Health, PartitionStats, Stage, StageConfig
from costledger.streams.transport import changelog_topic as changelog_topic_of
from costledger.streams.view import connect

TABLE_NAME = "totals"
_SECONDS_PER_DAY = 86_400


def changelog_topic(settings: Settings) -> str:
    """The name of the topic that holds the stream app's state."""
    return changelog_topic_of(settings.stream_app_id, TABLE_NAME)


def rules_of(settings: Settings) -> Rules:
    """The rules that the settings describe."""
    return Rules(
        defaults=settings.budget_defaults(),
        horizon_us=settings.horizon_days * DAY_MICROSECONDS,
        elevated=to_picodollars(settings.hourly_elevated_usd, "hourly_elevated_usd"),
        usual_factor=settings.spike_usual_factor,
        usual_hours_min=settings.spike_usual_hours_min,
        usual_least=to_picodollars(settings.spike_usual_least_usd, "spike_usual_least_usd"),
        anomaly_deviations=settings.anomaly_deviations,
        anomaly_least_percent=settings.anomaly_least_percent,
        anomaly_least=to_picodollars(settings.anomaly_least_usd, "anomaly_least_usd"),
        anomaly_weeks_min=settings.anomaly_weeks_min,
        anomaly_slot_weeks_min=settings.anomaly_slot_weeks_min,
        forecast_days_min=settings.forecast_days_min,
        recent_events_max=settings.stream_recent_events_max,
    )


class StreamWorker:
    """Keeps totals and raises alerts for the partitions that the group gives to this process."""

    def __init__(self, settings: Settings, registry: CollectorRegistry | None = None) -> None:
        self._instruments = Instruments(CollectorRegistry() if registry is None else registry)
        handler = CostHandler(
            settings.topics,
            rules_of(settings),
            connect(settings.redis_url.get_secret_value()),
            settings.redis_ttl_days * _SECONDS_PER_DAY,
            settings.stream_app_id,
            self._instruments,
        )
        self._stage = Stage(stage_config(settings), handler)

    def run(self) -> int:
        """Work until SIGTERM or SIGINT (0: drained) or until something unexpected happens (1).

        Sets the garbage collector of the process to collect less often.
        """
        # Millions of totals live for weeks: walking them again and again would be most of the work of a recovery.
        collect_seldom()
        return self._stage.run()

    def stop(self) -> None:
        """Drain and return from `run`; may be called from any thread."""
        self._stage.stop()

    def health(self) -> tuple[bool, str]:
        """Whether the worker does its work, and if not, why; may be called from any thread."""
        health: Health = self._stage.health()
        return health.ready, health.reason or "ok"

    def stats(self) -> list[PartitionStats]:
        """Positions and lag of the assigned partitions; updates the lag metric."""
        stats = self._stage.stats()
        self._instruments.set_lag({(each.topic, str(each.partition)): each.lag for each in stats})
        return stats


def stage_config(settings: Settings) -> StageConfig:
    """The transport's settings."""
    return StageConfig(
        app_id=settings.stream_app_id,
        bootstrap_servers=settings.bootstrap_servers,
        main_topic=settings.topics.events,
        prerequisite_topics=(settings.topics.budgets,),
        table_name=TABLE_NAME,
        partitions=settings.partitions,
        flush_interval_seconds=settings.stream_flush_interval_seconds,
        flush_interval_seconds_max=settings.stream_flush_interval_seconds_max,
        session_timeout_seconds=settings.stream_session_timeout_seconds,
        stall_timeout_seconds=settings.stream_stall_timeout_seconds,
        security=_security(settings),
    )


def _security(settings: Settings) -> dict[str, str]:
    security: dict[str, str] = {"security_protocol": settings.security_protocol}
    if settings.ssl_ca_file is not None:
        security["cafile"] = str(settings.ssl_ca_file)
    if settings.security_protocol.startswith("SASL"):
        security["sasl_mechanism"] = settings.sasl_mechanism
        security["username"] = settings.sasl_username or ""
        security["password"] = settings.sasl_password.get_secret_value() if settings.sasl_password else ""
    return security
