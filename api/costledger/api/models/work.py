"""Work as a request describes it: one kind for each kind of `costledger.producers.optimiser.work`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from costledger.api.models.money import UnitQuantity, Whole
from costledger.producers.optimiser.work import (
    ASSUMED_EMBEDDING,
    IMAGES_MAX,
    SIZE_BYTES_MAX,
    TOKENS_MAX,
    ChatWork,
    CombinedWork,
    ImageWork,
    OperationWork,
    VideoWork,
    Work,
)
from costledger.producers.prices.book import EMBEDDING_PREFIX
from costledger.producers.services import OPENAI
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import METADATA_BYTES_MAX, METADATA_KEYS_MAX, NAME_CHARACTERS_MAX, UNIT_CHARACTERS_MAX

#: Pieces of one combined work.
PARTS_MAX: Final = 100

Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_CHARACTERS_MAX)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=NAME_CHARACTERS_MAX - len(EMBEDDING_PREFIX))]
Tokens = Annotated[Whole, Field(ge=0, le=TOKENS_MAX, description="tokens")]
SizeBytes = Annotated[Whole, Field(ge=0, le=SIZE_BYTES_MAX, description="bytes in all")]


MetadataText = Annotated[str, StringConstraints(max_length=METADATA_BYTES_MAX)]


class WorkModel(BaseModel):
    """A description of work; what is unknown in it is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageModel(WorkModel):
    """Images: the plan's Rekognition operations and 100 embedded tokens on each, and storage."""

    kind: Literal["image"]
    size_bytes: SizeBytes = 0
    images: Whole = Field(1, ge=0, le=IMAGES_MAX, description="number of images")

    def work(self) -> Work:
        """What is estimated."""
        return ImageWork(size_bytes=self.size_bytes, images=self.images)


class VideoModel(WorkModel):
    """A video: 5 MiB are taken for a minute."""

    kind: Literal["video"]
    size_bytes: SizeBytes

    def work(self) -> Work:
        """What is estimated."""
        return VideoWork(size_bytes=self.size_bytes)


class ChatModel(WorkModel):
    """One request to a language model."""

    kind: Literal["chat"]
    model: Name
    input_tokens: Tokens
    output_tokens_max: Tokens
    cached_input_tokens: Tokens = Field(0, description="tokens; included in input_tokens")
    provider: Name = OPENAI

    @field_validator("cached_input_tokens")
    @classmethod
    def _is_part_of_input(cls, cached: int, info: ValidationInfo) -> int:
        whole = info.data.get("input_tokens")  # absent where it is wrong itself
        if whole is not None and cached > whole:
            raise InvalidValue("cached_input_tokens", cached, f"from 0 to input_tokens ({whole})")
        return cached

    def work(self) -> Work:
        """What is estimated."""
        return ChatWork(
            model=self.model,
            input_tokens=self.input_tokens,
            output_tokens_max=self.output_tokens_max,
            cached_input_tokens=self.cached_input_tokens,
            provider=self.provider,
        )


class EmbeddingModel(WorkModel):
    """Tokens embedded by a model."""

    kind: Literal["embedding"]
    tokens: Tokens
    model: ModelName = ASSUMED_EMBEDDING
    provider: Name = OPENAI

    def work(self) -> Work:
        """What is estimated."""
        return OperationWork(self.provider, EMBEDDING_PREFIX + self.model, self.tokens)


class OperationModel(WorkModel):
    """A quantity of any operation, with the unit and the metadata that its event will have."""

    kind: Literal["operation"]
    service: Name
    operation: Name
    quantity: UnitQuantity = Decimal(1)
    unit: Annotated[str, StringConstraints(min_length=1, max_length=UNIT_CHARACTERS_MAX)] | None = None
    metadata: dict[Name, MetadataText] = Field(
        default_factory=dict,
        max_length=METADATA_KEYS_MAX,
        description="what a price may depend on, for example charge_usd of a stripe charge",
    )

    def work(self) -> Work:
        """What is estimated."""
        return OperationWork(self.service, self.operation, self.quantity, self.unit, self.metadata)


SingleWork = Annotated[
    ImageModel | VideoModel | ChatModel | EmbeddingModel | OperationModel, Field(discriminator="kind")
]


class CombinedModel(WorkModel):
    """Several pieces of work as one, as a batch is."""

    kind: Literal["combined"]
    parts: list[SingleWork] = Field(min_length=1, max_length=PARTS_MAX)

    def work(self) -> Work:
        """What is estimated."""
        parts: Sequence[Work] = [part.work() for part in self.parts]
        return CombinedWork(parts)


AnyWork = Annotated[
    ImageModel | VideoModel | ChatModel | EmbeddingModel | OperationModel | CombinedModel,
    Field(discriminator="kind"),
]
