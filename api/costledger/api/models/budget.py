"""A user's budget: as it is answered, and what may be changed of it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from costledger.api.models.fields import PercentInput, UsdInput, ZoneInput, percent_of
from costledger.schemas.budgets import THRESHOLDS_MAX, Budget, BudgetDefaults, parse_thresholds
from costledger.schemas.money import usd_text
from costledger.schemas.times import from_microseconds

_EXAMPLE: Final[dict[str, JsonValue]] = {
    "user_id": "user-1",
    "version": 3,
    "tier": "premium",
    "monthly_budget": "25.00",
    "alert_thresholds": ["50", "80", "100"],
    "currency": "USD",
    "time_zone": "Europe/Vienna",
    "hourly_spike_limit": "20.00",
    "updated_at": "2026-11-23T09:00:00Z",
    "defaults": ["hourly_spike_limit"],
}
DefaultName = Literal["monthly_budget", "alert_thresholds", "hourly_spike_limit"]


class BudgetAnswer(BaseModel):
    """What a user may spend, with the defaults filled in."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    user_id: str
    version: int = Field(description="0 where none was set; also in the ETag")
    tier: str
    monthly_budget: str = Field(description="USD")
    alert_thresholds: list[str] = Field(description="percent of the monthly budget, ascending")
    currency: Literal["USD"]
    time_zone: str = Field(description="in which the user's hours, days and months begin")
    hourly_spike_limit: str = Field(description="USD; more within an hour is a spike")
    updated_at: datetime | None = Field(description="null where none was set")
    defaults: list[DefaultName] = Field(description="the fields that were not set: they follow the tier's defaults")

    @classmethod
    def of(cls, budget: Budget, defaults: BudgetDefaults) -> Self:
        """The answer for a budget."""
        limits = budget.limits(defaults)
        names: tuple[DefaultName, ...] = ("monthly_budget", "alert_thresholds", "hourly_spike_limit")
        return cls(
            user_id=budget.user_id,
            version=budget.version,
            tier=budget.tier,
            monthly_budget=usd_text(limits.monthly),
            alert_thresholds=[percent_of(percent) for percent, _ in limits.thresholds],
            currency="USD",
            time_zone=budget.time_zone,
            hourly_spike_limit=usd_text(limits.hourly_spike),
            updated_at=from_microseconds(budget.updated_at) if budget.version else None,
            defaults=[name for name in names if getattr(budget, name) is None],
        )


class BudgetUpdate(BaseModel):
    """What to change: a field that is given replaces, null sets it back to the default, one not given stays."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"monthly_budget": "25.00", "alert_thresholds": ["50", "80", "100"]}]},
    )

    monthly_budget: UsdInput | None = Field(None, description="USD, 0 to 10000; null: the tier's default")
    alert_thresholds: Annotated[list[PercentInput], Field(min_length=1, max_length=THRESHOLDS_MAX)] | None = Field(
        None, description="percent of the monthly budget; null: the default (75, 90, 100)"
    )
    currency: Literal["USD"] = Field("USD", description="USD is the only one")
    time_zone: ZoneInput | None = Field(None, description="IANA name; null: UTC")
    hourly_spike_limit: UsdInput | None = Field(None, description="USD, 0 to 10000; null: the default (20)")

    def changes(self, percent_max: Decimal) -> dict[str, Any]:
        """The fields of a `Budget` that change; `InvalidValue` for what is out of bounds."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        if given.get("alert_thresholds") is not None:
            given["alert_thresholds"] = parse_thresholds(given["alert_thresholds"], percent_max)
        if "time_zone" in given and given["time_zone"] is None:
            given["time_zone"] = "UTC"
        return given
