"""What a budget is: a user's monthly limit, its thresholds and the defaults by tier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from costledger.schemas.errors import InvalidValue
from costledger.schemas.money import PICODOLLARS_PER_USD, exact_decimal, to_picodollars
from costledger.schemas.periods import zone
from costledger.schemas.times import from_microseconds, to_microseconds

BudgetRecord = dict[str, Any]

#: USD a month by tier; "default" is anything else. As shipped.
DEFAULT_MONTHLY_BY_TIER: Final[Mapping[str, int]] = {
    "free": 5 * PICODOLLARS_PER_USD,
    "premium": 50 * PICODOLLARS_PER_USD,
    "ultimate": 200 * PICODOLLARS_PER_USD,
    "default": 10 * PICODOLLARS_PER_USD,
}
DEFAULT_THRESHOLDS: Final = (Decimal(75), Decimal(90), Decimal(100))
DEFAULT_HOURLY_SPIKE_LIMIT: Final = 20 * PICODOLLARS_PER_USD
DEFAULT_TIER: Final = "default"
#: A budget that is a default and was never set has this version.
DEFAULT_VERSION: Final = 0

#: What the ledger can store: its column is a PostgreSQL integer.
VERSION_MAX: Final = 2**31 - 1
MONTHLY_BUDGET_MAX: Final = 10_000 * PICODOLLARS_PER_USD
THRESHOLDS_MAX: Final = 16
#: Without the setting that allows more, thresholds go up to 100 %.
THRESHOLD_PERCENT_MAX: Final = Decimal(100)
#: With it, up to what the published schema can hold.
THRESHOLD_PERCENT_LIMIT: Final = Decimal(99_999)
_THRESHOLD_STEP: Final = Decimal("0.0001")
_NAME_CHARACTERS_MAX: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetDefaults:
    """What applies where a budget says nothing. Money in 1e-12 USD, thresholds in percent, ascending.

    `monthly_by_tier` must have the key "default". Constructing checks the bounds and raises `InvalidValue`.
    """

    monthly_by_tier: Mapping[str, int] = field(default_factory=lambda: DEFAULT_MONTHLY_BY_TIER)
    alert_thresholds: tuple[Decimal, ...] = DEFAULT_THRESHOLDS
    hourly_spike_limit: int = DEFAULT_HOURLY_SPIKE_LIMIT

    def __post_init__(self) -> None:
        if DEFAULT_TIER not in self.monthly_by_tier:
            raise InvalidValue("monthly_by_tier", self.monthly_by_tier, f"a map with the tier {DEFAULT_TIER}")
        for name, amount in [*self.monthly_by_tier.items(), ("hourly_spike_limit", self.hourly_spike_limit)]:
            if amount < 0:
                raise InvalidValue(name, amount, "0 or more, in 1e-12 USD")
        _check_thresholds(self.alert_thresholds)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """A budget with nothing left open: 1e-12 USD, and for each threshold (percent, least amount that reaches it)."""

    monthly: int
    thresholds: tuple[tuple[Decimal, int], ...]
    hourly_spike: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A user's budget. Money in 1e-12 USD; thresholds in percent, ascending; `updated_at` in Unix microseconds.

    None means "the default": of the tier for `monthly_budget`, 75/90/100 for `alert_thresholds`, 20 USD
    for `hourly_spike_limit`. Constructing checks every bound and raises `InvalidValue`.
    """

    user_id: str
    version: int = DEFAULT_VERSION
    tier: str = DEFAULT_TIER
    monthly_budget: int | None = None
    alert_thresholds: tuple[Decimal, ...] | None = None
    currency: str = "USD"
    time_zone: str = "UTC"
    hourly_spike_limit: int | None = None
    updated_at: int = 0

    def __post_init__(self) -> None:
        for name in ("user_id", "tier"):
            text = getattr(self, name)
            if not (0 < len(text) <= _NAME_CHARACTERS_MAX and text.isprintable() and text.strip()):
                raise InvalidValue(name, text, f"text of 1 to {_NAME_CHARACTERS_MAX} printable characters")
        if not 0 <= self.version <= VERSION_MAX:
            raise InvalidValue("version", self.version, f"from 0 to {VERSION_MAX}")
        if self.currency != "USD":
            raise InvalidValue("currency", self.currency, "USD")
        for name in ("monthly_budget", "hourly_spike_limit"):
            amount = getattr(self, name)
            # A float would compare well and be wrong later.
            if amount is not None and not (type(amount) is int and 0 <= amount <= MONTHLY_BUDGET_MAX):
                limit = f"from 0 to {MONTHLY_BUDGET_MAX // PICODOLLARS_PER_USD} USD, in 1e-12 USD"
                raise InvalidValue(name, amount, limit)
        zone(self.time_zone)
        if self.alert_thresholds is not None:
            _check_thresholds(self.alert_thresholds)

    def limits(self, defaults: BudgetDefaults) -> BudgetLimits:
        """What is in force, with the defaults filled in."""
        monthly = self.monthly_budget
        if monthly is None:
            by_tier = defaults.monthly_by_tier
            monthly = by_tier.get(self.tier, by_tier[DEFAULT_TIER])
        percents = defaults.alert_thresholds if self.alert_thresholds is None else self.alert_thresholds
        spike = defaults.hourly_spike_limit if self.hourly_spike_limit is None else self.hourly_spike_limit
        amounts = tuple((percent, threshold_amount(monthly, percent)) for percent in percents)
        return BudgetLimits(monthly=monthly, thresholds=amounts, hourly_spike=spike)

    def to_record(self) -> BudgetRecord:
        """The record that Avro writes."""
        thresholds = self.alert_thresholds
        return {
            "user_id": self.user_id,
            "version": self.version,
            "tier": self.tier,
            "monthly_budget": self.monthly_budget,
            "alert_thresholds": None if thresholds is None else [p.quantize(_THRESHOLD_STEP) for p in thresholds],
            "currency": self.currency,
            "time_zone": self.time_zone,
            "hourly_spike_limit": self.hourly_spike_limit,
            "updated_at": from_microseconds(self.updated_at),
        }

    @classmethod
    def from_record(cls, record: BudgetRecord) -> Budget:
        """The budget of an Avro record; bounds are checked and raise `InvalidValue`."""
        thresholds = record["alert_thresholds"]
        return cls(
            **{
                **record,
                "alert_thresholds": None if thresholds is None else tuple(p.normalize() for p in thresholds),
                "updated_at": to_microseconds(record["updated_at"], "updated_at"),
            }
        )


def threshold_amount(monthly: int, percent: Decimal) -> int:
    """The least amount, in 1e-12 USD, that reaches `percent` of a monthly limit (rounded up)."""
    # In integers, so that no decimal context can round it.
    numerator, denominator = percent.as_integer_ratio()
    return -(-monthly * numerator // (denominator * 100))


def parse_thresholds(
    values: Iterable[Decimal | int | str], percent_max: Decimal = THRESHOLD_PERCENT_MAX
) -> tuple[Decimal, ...]:
    """Thresholds in percent from what a person typed: sorted, without repeats.

    Floats and percentages outside 0 to `percent_max` raise `InvalidValue`.
    """
    percents = sorted({exact_decimal(value, "alert_thresholds").normalize() for value in values})
    for percent in percents:
        _check_percent(percent, percent_max)
    return tuple(percents)


def parse_monthly(value: Decimal | int | str, field_name: str = "monthly_budget") -> int:
    """A monthly budget typed in USD, as 1e-12 USD; outside 0 to 10000 USD raises `InvalidValue`, in USD."""
    amount = to_picodollars(value, field_name)
    if not 0 <= amount <= MONTHLY_BUDGET_MAX:
        raise InvalidValue(field_name, value, f"from 0 to {MONTHLY_BUDGET_MAX // PICODOLLARS_PER_USD} USD")
    return amount


def _check_thresholds(thresholds: tuple[Decimal, ...]) -> None:
    if not 1 <= len(thresholds) <= THRESHOLDS_MAX:
        raise InvalidValue("alert_thresholds", thresholds, f"1 to {THRESHOLDS_MAX} percentages")
    for percent in thresholds:
        _check_percent(percent, THRESHOLD_PERCENT_LIMIT)
    if list(thresholds) != sorted(set(thresholds)):
        raise InvalidValue("alert_thresholds", thresholds, "ascending, without repeats")


def _check_percent(percent: Decimal, percent_max: Decimal) -> None:
    if not percent.is_finite() or not 0 <= percent <= percent_max or percent != percent.quantize(_THRESHOLD_STEP):
        limit = f"from 0 to {percent_max} percent, with at most 4 decimals"
        raise InvalidValue("alert_thresholds", percent, limit)
