"""The budget form: what was typed, checked field by field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final, TypeVar

from costledger.api.dashboard.formats import exact_usd, plain_percent
from costledger.schemas.budgets import Budget, BudgetDefaults, parse_monthly, parse_thresholds
from costledger.schemas.errors import InvalidValue
from costledger.schemas.money import to_usd
from costledger.schemas.periods import zone

Parsed = TypeVar("Parsed")

#: As the API takes amounts: no exponent, no digits of other scripts.
_PLAIN_DECIMAL: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")
#: Offered while typing; any other IANA zone is taken too.
ZONES_OFFERED: Final = (
    "UTC",
    "Africa/Cairo", "Africa/Johannesburg", "Africa/Lagos", "Africa/Nairobi",
    "America/Bogota", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Mexico_City",
    "America/New_York", "America/Sao_Paulo", "America/Toronto",
    "Asia/Bangkok", "Asia/Dubai", "Asia/Hong_Kong", "Asia/Jakarta", "Asia/Jerusalem", "Asia/Karachi", "Asia/Kolkata",
    "Asia/Manila", "Asia/Seoul", "Asia/Shanghai", "Asia/Singapore", "Asia/Tokyo",
    "Australia/Melbourne", "Australia/Perth", "Australia/Sydney",
    "Europe/Amsterdam", "Europe/Berlin", "Europe/Istanbul", "Europe/Kyiv", "Europe/Lisbon", "Europe/London",
    "Europe/Madrid", "Europe/Paris", "Europe/Rome", "Europe/Stockholm", "Europe/Warsaw", "Europe/Zurich",
    "Pacific/Auckland",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BudgetForm:
    """The fields as text, the version that they were read at (0: none was set), and what is wrong with them."""

    monthly_budget: str
    alert_thresholds: str
    time_zone: str
    hourly_spike_limit: str
    version: int
    errors: Mapping[str, str] = field(default_factory=dict)
    #: What is in force now, where it is not what the form was made of.
    conflict: str | None = None
    saved: bool = False


@dataclass(frozen=True, slots=True)
class Placeholders:
    """What applies where a field is left empty."""

    monthly_budget: str
    alert_thresholds: str
    hourly_spike_limit: str
    tier: str


def form_of(budget: Budget, *, saved: bool = False) -> BudgetForm:
    """The form of a budget; what is a default is left empty."""
    monthly, spike, thresholds = budget.monthly_budget, budget.hourly_spike_limit, budget.alert_thresholds
    return BudgetForm(
        monthly_budget="" if monthly is None else exact_usd(to_usd(monthly)),
        alert_thresholds="" if thresholds is None else ", ".join(plain_percent(percent) for percent in thresholds),
        time_zone=budget.time_zone,
        hourly_spike_limit="" if spike is None else exact_usd(to_usd(spike)),
        version=budget.version,
        saved=saved,
    )


def placeholders_of(budget: Budget, defaults: BudgetDefaults) -> Placeholders:
    """The defaults of the budget's tier."""
    limits = Budget(user_id=budget.user_id, tier=budget.tier).limits(defaults)
    return Placeholders(
        monthly_budget=exact_usd(to_usd(limits.monthly)),
        alert_thresholds=", ".join(plain_percent(percent) for percent, _ in limits.thresholds),
        hourly_spike_limit=exact_usd(to_usd(limits.hourly_spike)),
        tier=budget.tier,
    )


def parse_form(form: BudgetForm, current: Budget, percent_max: Decimal) -> Budget | BudgetForm:
    """The budget that was typed, over `current` (for its user and tier); or the form with its errors."""
    errors: dict[str, str] = {}

    def parsed(name: str, parse: Callable[[str], Parsed]) -> Parsed | None:
        text = getattr(form, name).strip()
        if not text:
            return None
        try:
            return parse(text)
        except InvalidValue as error:
            errors[name] = f"Must be {error.limit}."
            return None

    monthly = parsed("monthly_budget", lambda text: parse_monthly(_without_sign(text)))
    spike = parsed("hourly_spike_limit", lambda text: parse_monthly(_without_sign(text), "hourly_spike_limit"))
    thresholds = parsed("alert_thresholds", lambda text: parse_thresholds(_percents(text), percent_max))
    time_zone = parsed("time_zone", _zone_name)
    if not errors:
        try:
            return replace(
                current,
                monthly_budget=monthly,
                alert_thresholds=thresholds,
                hourly_spike_limit=spike,
                time_zone=time_zone or "UTC",
            )
        except InvalidValue as error:
            errors[error.field] = f"Must be {error.limit}."
    return replace(form, errors=errors)


def _without_sign(text: str) -> str:
    digits = text.removeprefix("$").removesuffix("USD").strip()
    if not _PLAIN_DECIMAL.fullmatch(digits):
        raise InvalidValue("amount", text, "plain digits, for example 25 or 12.50")
    return digits


def _percents(text: str) -> list[str]:
    parts = text.replace("%", " ").replace(";", ",").split(",")
    return [piece for part in parts for piece in part.split()]


def _zone_name(text: str) -> str:
    zone(text)
    return text


def describe(budget: Budget, defaults: BudgetDefaults) -> str:
    """A budget in one sentence, with the defaults filled in."""
    limits = budget.limits(defaults)
    percents = ", ".join(plain_percent(percent) for percent, _ in limits.thresholds)
    return (
        f"{exact_usd(to_usd(limits.monthly))} USD a month, alerts at {percents} %, "
        f"{exact_usd(to_usd(limits.hourly_spike))} USD an hour, {budget.time_zone}"
    )
