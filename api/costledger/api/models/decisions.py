"""The documents of estimates, decisions and reservations. Money is USD as decimal text, exact."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from costledger.api.models.estimates import TierName
from costledger.api.models.fields import UserInput
from costledger.api.models.money import UsdAmount
from costledger.api.models.work import AnyWork

#: Events that one settlement may name.
EVENT_IDS_MAX: Final = 1000
KEY_CHARACTERS_MAX: Final = 1024


class RequestModel(BaseModel):
    """What a caller sends; what is unknown in it is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AnswerModel(BaseModel):
    """What is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanAnswer(AnswerModel):
    """What work may comprise."""

    tier: str
    rekognition: list[str]
    comprehend: list[str]
    embedding: list[str] = Field(description="models that may embed, the preferred one first")
    seconds_max: int = Field(description="seconds of a video that are worked on")


class LineItemAnswer(AnswerModel):
    """One kind of paid call."""

    service: str
    operation: str
    model: str | None
    quantity: str
    unit: str | None
    unit_price: str | None = Field(description="USD per unit; null where there is no single one, or none is known")
    price_version: str | None
    amount: str | None = Field(description="USD; null where the price is not known")


class EstimateAnswer(AnswerModel):
    """What work will probably cost."""

    total: str | None = Field(description="USD; null where the price of some item is not known: never 0 then")
    at_least: str = Field(description="USD of the items whose price is known")
    currency: Literal["USD"] = "USD"
    unpriced: list[str] = Field(description="service/operation of each item without a known price")
    items: list[LineItemAnswer]
    notes: list[str] = Field(description="what was assumed")
    plan: PlanAnswer | None = Field(description="the plan that the work follows; null where no tier was named")
    priced_at: datetime


class DecisionRequest(RequestModel):
    """Work, or an amount that the caller has estimated, to be decided on; with `reserve` it is held as well."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["work"]}, {"required": ["amount"]}]})

    # None stands for a field that is not there; null is no work, and no amount.
    work: AnyWork = Field(default=cast("Any", None))
    amount: UsdAmount = Field(default=cast("Any", None))
    user_id: UserInput | None = None
    tier: TierName | None = Field(None, description="default: the tier of the user's budget")
    reserve: StrictBool = Field(False, description="hold the estimate until it is settled, released or has expired")
    key: Annotated[str, StringConstraints(min_length=1, max_length=KEY_CHARACTERS_MAX)] | None = Field(
        None, description="names one attempt at the work: the same key gives the same reservation"
    )

    @model_validator(mode="after")
    def _one_of_work_and_amount(self) -> DecisionRequest:
        if len(self.model_fields_set & {"work", "amount"}) != 1:
            raise ValueError("exactly one of the fields work and amount must be given")
        return self


class LimitedPlanAnswer(AnswerModel):
    """The plan that applies now, and what made it smaller than the user's own."""

    plan: PlanAnswer
    own: PlanAnswer
    limited: bool
    used_percent: str | None = Field(description="of the month's budget, used or reserved, rounded down")
    share_percent: str | None = Field(description="the highest share that is reached")
    reason: str


class DecisionAnswer(AnswerModel):
    """allow, warn or skip, and why; figures are null where they could not be read."""

    user_id: str
    decision: Literal["allow", "warn", "skip"]
    code: str
    reason: str
    estimate: str | None = Field(description="USD; null where it is not known")
    month_to_date: str | None
    reserved: str | None = Field(description="USD held or settled by others, and not yet in month_to_date")
    budget: str | None
    budget_version: int | None
    period: str | None = Field(description="the month, in the zone of the user's budget")
    reservation_id: str | None = Field(
        description="null where nothing is held; with `already_settled`, the one that was settled under the key"
    )
    expires_at: datetime | None
    plan: LimitedPlanAnswer
    breakdown: EstimateAnswer | None = Field(description="null where the amount was the caller's own")


class SettleRequest(RequestModel):
    """What the work has really cost, and the events that tell it."""

    amount: UsdAmount
    event_ids: list[UUID] = Field(
        default_factory=list,
        max_length=EVENT_IDS_MAX,
        description="the amount ends to be reserved when the totals have these events; without any, after an hour",
    )
    user_id: UserInput | None = None


class ReleaseRequest(RequestModel):
    """Whose reservation it is, where it is not the caller's."""

    user_id: UserInput | None = None


class ReservationAnswer(AnswerModel):
    """A reservation that has ended."""

    reservation_id: str
    user_id: str
    state: Literal["settled", "released"]
    changed: bool = Field(description="false where it had ended so before: then nothing was changed")
