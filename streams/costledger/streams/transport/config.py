"""The settings of a stage, checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SECURITY_KEYS = frozenset({"security_protocol", "sasl_mechanism", "username", "password", "cafile"})
SECURITY_PROTOCOLS = frozenset({"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"})


@dataclass(frozen=True, slots=True)
class StageConfig:
    """Settings of a stage; names end in their unit.

    - `main_topic`, `prerequisite_topics` and the changelog have `partitions` partitions each; none is
      created by the stage. The changelog (see `changelog_topic`) is compacted.
    - `flush_interval_seconds`: how often outputs, state and offsets are written.
    - `flush_interval_seconds_max`: the same while more than `catch_up_records_min` records wait to be read. A flush costs
      by the keys that changed, so fewer of them catch up sooner.
    - `flush_keys_max`: with more changed keys than this reading waits until they are written: so a catch-up over ever new
      keys holds about twice as many at most, and those of one fetch.
    - `poll_records_max`, `fetch_bytes_max` (per partition), `fetch_wait_ms`: the bounds of one fetch.
    - `session_timeout_seconds`: how long a killed worker keeps its partitions. A write that is under way is never
      given up: README, *Choices*.
    - `stall_timeout_seconds`: lag without progress for this long ends the worker.
    - `drain_timeout_seconds`: the time for the last flush and commit at a stop or a rebalance.
    - `leave_timeout_seconds`: after that, the time to leave the group and close connections.
    - `batch_bytes_max`: of one changelog record batch and of one output batch, before compression.
      Keep it below the broker's message.max.bytes (1,048,588 by default).
    - `security`: security_protocol, sasl_mechanism, username, password, cafile; empty is PLAINTEXT.

    Raises ValueError naming the field, the value and the limit.
    """

    app_id: str
    bootstrap_servers: str
    main_topic: str
    table_name: str
    partitions: int
    prerequisite_topics: tuple[str, ...] = ()
    flush_interval_seconds: float = 0.25
    flush_interval_seconds_max: float = 1.0
    flush_keys_max: int = 5_000
    catch_up_records_min: int = 20_000
    poll_records_max: int = 5_000
    fetch_bytes_max: int = 4 * 1024 * 1024
    fetch_wait_ms: int = 100
    session_timeout_seconds: float = 10.0
    stall_timeout_seconds: float = 60.0
    drain_timeout_seconds: float = 8.0
    leave_timeout_seconds: float = 2.0
    batch_bytes_max: int = 900_000
    security: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name in ("app_id", "bootstrap_servers", "main_topic", "table_name"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        for name in (
            "partitions",
            "flush_interval_seconds",
            "flush_interval_seconds_max",
            "flush_keys_max",
            "catch_up_records_min",
            "poll_records_max",
            "fetch_bytes_max",
            "fetch_wait_ms",
            "session_timeout_seconds",
            "stall_timeout_seconds",
            "drain_timeout_seconds",
            "leave_timeout_seconds",
            "batch_bytes_max",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be above 0")
        if self.stall_timeout_seconds <= self.session_timeout_seconds:
            raise ValueError(
                f"stall_timeout_seconds is {self.stall_timeout_seconds}, it must be above "
                f"session_timeout_seconds ({self.session_timeout_seconds})"
            )
        if len(set(self.source_topics)) != len(self.source_topics):
            raise ValueError(f"prerequisite_topics name a topic twice: {self.source_topics}")
        self._check_security()

    def _check_security(self) -> None:
        if unknown := set(self.security) - SECURITY_KEYS:
            raise ValueError(f"security has unknown keys {sorted(unknown)}, known are {sorted(SECURITY_KEYS)}")
        if self.security_protocol not in SECURITY_PROTOCOLS:
            raise ValueError(
                f"security_protocol is {self.security_protocol!r}, it must be one of {sorted(SECURITY_PROTOCOLS)}"
            )
        if self.security_protocol.startswith("SASL_"):
            for name in ("sasl_mechanism", "username", "password"):
                if not self.security.get(name):
                    raise ValueError(f"security {name} is missing, {self.security_protocol} needs it")

    @property
    def security_protocol(self) -> str:
        """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
        return self.security.get("security_protocol", "PLAINTEXT")

    @property
    def source_topics(self) -> tuple[str, ...]:
        """The main topic and the prerequisites."""
        return (self.main_topic, *self.prerequisite_topics)
