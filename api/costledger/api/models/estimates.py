"""The body of `POST /api/estimates`: one kind of work, with the tier and the time that it is estimated for."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from costledger.api.models.fields import Instant
from costledger.api.models.work import (
    ChatModel,
    CombinedModel,
    EmbeddingModel,
    ImageModel,
    Name,
    OperationModel,
    VideoModel,
)

TierName = Annotated[Name, Field(description="tier whose plan the work follows")]


class Circumstances(BaseModel):
    """Under whose plan, and at the prices of which time."""

    tier: TierName | None = Field(None, description="tier whose plan the work follows; without it no plan narrows it")
    occurs_at: Instant | None = Field(None, description="the prices of this time; default: now")


class ImageEstimate(ImageModel, Circumstances):
    """Images, as an estimate is asked for."""


class VideoEstimate(VideoModel, Circumstances):
    """A video, as an estimate is asked for."""


class ChatEstimate(ChatModel, Circumstances):
    """A request to a language model, as an estimate is asked for."""


class EmbeddingEstimate(EmbeddingModel, Circumstances):
    """Embedded tokens, as an estimate is asked for."""


class OperationEstimate(OperationModel, Circumstances):
    """Any operation, as an estimate is asked for."""


class CombinedEstimate(CombinedModel, Circumstances):
    """Several pieces of work, as an estimate is asked for."""


EstimateRequest = Annotated[
    ImageEstimate | VideoEstimate | ChatEstimate | EmbeddingEstimate | OperationEstimate | CombinedEstimate,
    Field(discriminator="kind"),
]
