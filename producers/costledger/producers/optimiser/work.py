"""Kinds of work, each able to say what it will probably cost under a plan.

The quantities that are assumed are chosen, and stand here by name; no price does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Final, Protocol

from costledger.producers.optimiser.estimates import Estimate, LineItem, chat_items, line_item
from costledger.producers.optimiser.plans import Plan
from costledger.producers.prices.book import EMBEDDING_PREFIX, PriceBook
from costledger.producers.prices.llm import TOKEN
from costledger.producers.records import Quantity, metadata_text, number_of, whole_number
from costledger.producers.services import (
    AWS_COMPREHEND,
    AWS_REKOGNITION,
    AWS_S3,
    AWS_TRANSCRIBE,
    IMAGE,
    MINUTE,
    OPENAI,
    S3_UNITS,
    TRANSCRIPTION,
    VIDEO_ANALYSIS,
)
from costledger.schemas.errors import InvalidValue

EMBEDDING_TOKENS_PER_IMAGE: Final = 100
EMBEDDING_TOKENS_PER_MINUTE: Final = 200
VIDEO_BYTES_PER_MINUTE: Final = 5 * 2**20
WORDS_PER_MINUTE: Final = 150
CHARACTERS_PER_WORD: Final = 5
SECONDS_PER_MINUTE: Final = 60
#: A "GB" of storage is 2^30 bytes.
BYTES_PER_GB: Final = 2**30
STORAGE_MONTHS: Final = 1
STORAGE: Final = "storage"
#: What is assumed where no plan is given: one Rekognition operation, all three of Comprehend.
ASSUMED_REKOGNITION: Final = ("detectLabels",)
ASSUMED_COMPREHEND: Final = ("detectSentiment", "detectEntities", "detectKeyPhrases")
ASSUMED_EMBEDDING: Final = "text-embedding-3-small"

SIZE_BYTES_MAX: Final = 2**50
IMAGES_MAX: Final = 1_000_000
TOKENS_MAX: Final = 1_000_000_000


class Work(Protocol):
    """Anything that can be estimated."""

    def estimate(self, book: PriceBook, at: datetime, plan: Plan | None = None) -> Estimate:
        """What it will probably cost at a time; `plan` decides what it comprises."""
        ...


@dataclass(frozen=True, slots=True)
class ImageWork:
    """Images of `size_bytes` in all: each operation of the plan on each image, 100 tokens embedded for each, storage.

    Without a plan: `detectLabels` alone.
    """

    size_bytes: int = 0
    images: int = 1

    def __post_init__(self) -> None:
        _check_count("size_bytes", self.size_bytes, SIZE_BYTES_MAX)
        _check_count("images", self.images, IMAGES_MAX)

    def estimate(self, book: PriceBook, at: datetime, plan: Plan | None = None) -> Estimate:
        """See the class."""
        operations = ASSUMED_REKOGNITION if plan is None else plan.rekognition
        items = [line_item(book, at, AWS_REKOGNITION, operation, self.images, unit=IMAGE) for operation in operations]
        items += _embedding(book, at, plan, Fraction(self.images * EMBEDDING_TOKENS_PER_IMAGE))
        items += _storage(book, at, self.size_bytes)
        notes = () if plan is not None else (f"no plan: {', '.join(operations)} on each image",)
        return Estimate(tuple(items), notes)


@dataclass(frozen=True, slots=True)
class VideoWork:
    """A video of `size_bytes`: 5 MiB are a minute.

    Rekognition (one rate, however many operations; none where the plan has none) and Transcribe by the minute,
    each Comprehend operation of the plan on 150 words of 5 characters a minute, in begun hundreds, 200 tokens
    embedded a minute, and storage of the whole file. Minutes beyond the plan's `seconds_max` are not worked on,
    and so not estimated. Without a plan: no such limit, and three Comprehend operations.
    """

    size_bytes: int

    def __post_init__(self) -> None:
        _check_count("size_bytes", self.size_bytes, SIZE_BYTES_MAX)

    @property
    def minutes(self) -> Fraction:
        """How long the whole video probably is."""
        return Fraction(self.size_bytes, VIDEO_BYTES_PER_MINUTE)

    def estimate(self, book: PriceBook, at: datetime, plan: Plan | None = None) -> Estimate:
        """See the class."""
        minutes, notes = self._worked_on(plan)
        operations = ASSUMED_COMPREHEND if plan is None else plan.comprehend
        items: list[LineItem] = []
        if minutes:
            if plan is None or plan.rekognition:
                items.append(line_item(book, at, AWS_REKOGNITION, VIDEO_ANALYSIS, minutes, unit=MINUTE))
            items.append(line_item(book, at, AWS_TRANSCRIBE, TRANSCRIPTION, minutes, unit=MINUTE))
            characters = minutes * WORDS_PER_MINUTE * CHARACTERS_PER_WORD
            items += [
                line_item(book, at, AWS_COMPREHEND, operation, characters, unit="character") for operation in operations
            ]
            items += _embedding(book, at, plan, minutes * EMBEDDING_TOKENS_PER_MINUTE)
        items += _storage(book, at, self.size_bytes)
        return Estimate(tuple(items), notes)

    def _worked_on(self, plan: Plan | None) -> tuple[Fraction, tuple[str, ...]]:
        """The minutes that will be paid, and what to say of them."""
        minutes = self.minutes
        if plan is None:
            return minutes, (f"no plan: the whole video, {len(ASSUMED_COMPREHEND)} Comprehend operations",)
        minutes_max = Fraction(plan.seconds_max, SECONDS_PER_MINUTE)
        if minutes <= minutes_max:
            return minutes, ()
        whole = round(minutes * SECONDS_PER_MINUTE)
        return minutes_max, (f"the first {plan.seconds_max} s of about {whole} s of video: the plan has no more",)


@dataclass(frozen=True, slots=True)
class ChatWork:
    """One request to a language model: its input, and the most output that it may give. No plan changes it."""

    model: str
    input_tokens: int
    output_tokens_max: int
    cached_input_tokens: int = 0
    provider: str = OPENAI

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens_max", "cached_input_tokens"):
            _check_count(name, getattr(self, name), TOKENS_MAX)
        if self.cached_input_tokens > self.input_tokens:
            limit = f"from 0 to input_tokens ({self.input_tokens})"
            raise InvalidValue("cached_input_tokens", self.cached_input_tokens, limit)

    def estimate(self, book: PriceBook, at: datetime, plan: Plan | None = None) -> Estimate:  # noqa: ARG002 - see the class
        """See the class."""
        items = chat_items(
            book, at, self.provider, self.model, self.input_tokens, self.output_tokens_max, self.cached_input_tokens
        )
        return Estimate(items)


@dataclass(frozen=True, slots=True)
class OperationWork:
    """A quantity of any operation, with the unit and the metadata that its event will have. No plan changes it."""

    service: str
    operation: str
    quantity: Quantity = 1
    unit: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)

    def estimate(self, book: PriceBook, at: datetime, plan: Plan | None = None) -> Estimate:  # noqa: ARG002 - see the class
        """See the class."""
        quantity = number_of(self.quantity, "quantity")
        # A short text can be a number too long to write out.
        if quantity and not -30 <= quantity.adjusted() <= 30:
            raise InvalidValue("quantity", self.quantity, "from 1e-30 to 1e30 units")
        metadata = metadata_text(self.metadata)
        item = line_item(book, at, self.service, self.operation, Fraction(quantity), unit=self.unit, metadata=metadata)
        return Estimate((item,))


@dataclass(frozen=True, slots=True)
class CombinedWork:
    """Several pieces of work as one."""

    parts: Sequence[Work]

    def estimate(self, book: PriceBook, at: datetime, plan: Plan | None = None) -> Estimate:
        """The parts' estimates together."""
        whole = Estimate()
        for part in self.parts:
            whole += part.estimate(book, at, plan)
        return whole


def _embedding(book: PriceBook, at: datetime, plan: Plan | None, tokens: Fraction) -> list[LineItem]:
    model = ASSUMED_EMBEDDING if plan is None else plan.embedding_model
    return [] if model is None else [line_item(book, at, OPENAI, EMBEDDING_PREFIX + model, tokens, unit=TOKEN)]


def _storage(book: PriceBook, at: datetime, size_bytes: int) -> list[LineItem]:
    if size_bytes == 0:
        return []
    gb_months = Fraction(size_bytes * STORAGE_MONTHS, BYTES_PER_GB)
    return [line_item(book, at, AWS_S3, STORAGE, gb_months, unit=S3_UNITS[STORAGE])]


def _check_count(name: str, value: int, limit: int) -> None:
    if not 0 <= whole_number(value, name) <= limit:
        raise InvalidValue(name, value, f"a whole number from 0 to {limit}")
