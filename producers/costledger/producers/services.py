"""One method per paid service: each knows what its service counts; prices are the price book's matter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from costledger.producers.prices.book import EMBEDDING_PREFIX
from costledger.producers.prices.llm import TOKEN
from costledger.producers.records import (
    CHARACTERS_KEY,
    CHARGE_USD_KEY,
    MEMORY_GB_HOURS_KEY,
    ChatDraft,
    Draft,
    Exact,
    Metadata,
    Quantity,
)
from costledger.schemas.events import Category

AWS_REKOGNITION: Final = "aws-rekognition"
AWS_TRANSCRIBE: Final = "aws-transcribe"
AWS_COMPREHEND: Final = "aws-comprehend"
AWS_S3: Final = "aws-s3"
OPENAI: Final = "openai"
STRIPE: Final = "stripe"
INTERNAL: Final = "internal"

VIDEO_ANALYSIS: Final = "videoAnalysis"
TRANSCRIPTION: Final = "transcription"
CHARGE: Final = "charge"
PROCESSING: Final = "processing"

#: What each method counts: an entry for another unit is another price.
IMAGE: Final = "image"
MINUTE: Final = "minute"
CPU_HOUR: Final = "CPU hour"
TRANSACTION: Final = "transaction"
S3_UNITS: Final[Mapping[str, str]] = {"storage": "GB-month", "get": "request", "put": "request", "transfer": "GB"}

_NO_MEASURES: Final[Mapping[str, Any]] = {}


class ServiceMethods(ABC):
    """The tracking methods for particular services, on top of `_track`.

    All return the event's id at once, take `metadata` and `occurred_at` (an aware datetime, by default now),
    and never raise unless the tracker is strict.
    """

    @abstractmethod
    def _track(self, draft: Draft) -> UUID:
        """Build, price and send one event."""

    @abstractmethod
    def _track_chat(self, draft: ChatDraft) -> list[UUID]:
        """Build, price and send the events of one request to a language model."""

    @abstractmethod
    def reject(self, error: Exception) -> UUID:
        """Count, log and report what could be made no event at all, as wrong arguments are; returns an id made up."""

    def submit(self, draft: Draft | ChatDraft) -> list[UUID]:
        """Publish what a draft describes; the ids of its events. This is how the adapters hand over theirs."""
        return self._track_chat(draft) if isinstance(draft, ChatDraft) else [self._track(draft)]

    def track(
        self,
        user_id: str,
        service: str,
        operation: str,
        quantity: Quantity,
        *,
        unit: str | None = None,
        unit_price: Exact | None = None,
        amount: Exact | None = None,
        category: str = Category.USAGE,
        occurred_at: datetime | None = None,
        metadata: Metadata | None = None,
        event_id: UUID | str | None = None,
        reverses_event_id: UUID | str | None = None,
    ) -> UUID:
        """Publish one event and return its id at once.

        `quantity` in units of the price book (or of `unit`); `unit_price` in USD per unit and `amount` in USD
        replace the price book's: exact numbers, no floats, an amount with at most 12 decimals. `occurred_at`
        is an aware datetime, by default now. `event_id`, a UUIDv7 with the time of `occurred_at`, makes the
        call repeatable: the ledger keeps the first event of an id. A negative quantity or price lowers totals, as
        corrections do; the methods for particular services refuse it.
        """
        return self._track(
            Draft(
                user_id=user_id,
                service=service,
                operation=operation,
                quantity=quantity,
                unit=unit,
                unit_price=unit_price,
                amount=amount,
                category=category,
                occurred_at=occurred_at,
                metadata=metadata,
                event_id=event_id,
                reverses_event_id=reverses_event_id,
            )
        )

    def _used(
        self,
        user_id: str,
        service: str,
        operation: str,
        quantity: Quantity,
        metadata: Metadata | None,
        occurred_at: datetime | None,
        *,
        unit: str | None = None,
        measures: Mapping[str, Any] = _NO_MEASURES,
    ) -> UUID:
        """One event of something that was used; a negative quantity is a wrong argument."""
        return self._track(
            Draft(
                user_id=user_id,
                service=service,
                operation=operation,
                quantity=quantity,
                unit=unit,
                measures=measures,
                metadata=metadata,
                occurred_at=occurred_at,
                used=True,
            )
        )

    def track_rekognition(
        self,
        user_id: str,
        operation: str,
        count: Quantity,
        *,
        metadata: Metadata | None = None,
        occurred_at: datetime | None = None,
    ) -> UUID:
        """Images analysed by Amazon Rekognition, for example `detectLabels`; for `videoAnalysis`, minutes."""
        unit = MINUTE if operation == VIDEO_ANALYSIS else IMAGE
        return self._used(user_id, AWS_REKOGNITION, operation, count, metadata, occurred_at, unit=unit)

    def track_rekognition_video(
        self,
        user_id: str,
        minutes: Quantity,
        *,
        metadata: Metadata | None = None,
        occurred_at: datetime | None = None,
    ) -> UUID:
        """Minutes of video analysed by Amazon Rekognition."""
        return self.track_rekognition(user_id, VIDEO_ANALYSIS, minutes, metadata=metadata, occurred_at=occurred_at)

    def track_transcribe(
        self,
        user_id: str,
        minutes: Quantity,
        *,
        metadata: Metadata | None = None,
        occurred_at: datetime | None = None,
    ) -> UUID:
        """Minutes of speech transcribed by Amazon Transcribe."""
        return self._used(user_id, AWS_TRANSCRIBE, TRANSCRIPTION, minutes, metadata, occurred_at, unit=MINUTE)

    def track_comprehend(
        self,
        user_id: str,
        operation: str,
        characters: Quantity,
        *,
        metadata: Metadata | None = None,
        occurred_at: datetime | None = None,
    ) -> UUID:
        """Text analysed by Amazon Comprehend, for example by `detectSentiment`.

        The event's quantity is in begun units of 100 characters, as they are charged; the number of characters
        is in its metadata.
        """
        return self._used(
            user_id,
            AWS_COMPREHEND,
            operation,
            characters,
            metadata,
            occurred_at,
            unit="character",
            measures={CHARACTERS_KEY: characters},
        )

    def track_s3(
        self,
        user_id: str,
        operation: str,
        units: Quantity,
        *,
        metadata: Metadata | None = None,
        occurred_at: datetime | None = None,
    ) -> UUID:
        """Amazon S3: `storage` in GB-months, `get` and `put` in requests, `transfer` in GB."""
        unit = S3_UNITS.get(operation) if isinstance(operation, str) else None
        return self._used(user_id, AWS_S3, operation, units, metadata, occurred_at, unit=unit)

    def track_embedding(
        self,
        user_id: str,
        model: str,
        tokens: Quantity,
        *,
        provider: str = OPENAI,
        metadata: Metadata | None = None,
        occurred_at: datetime | None = None,
    ) -> UUID:
        """Tokens embedded by a model; the operation is `embedding-<model>`."""
        operation = EMBEDDING_PREFIX + model if isinstance(model, str) else model
        return self._used(user_id, provider, operation, tokens, metadata, occurred_at, unit=TOKEN)

    def track_chat(
        self,
        user_id: str,
        model: str,
        input_tokens: int,
        output_tokens: int,
        cached_input_tokens: int = 0,
        provider: str = OPENAI,
        *,
        cache_write_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
        audio_input_tokens: int = 0,
        cached_audio_input_tokens: int | None = None,
        image_input_tokens: int = 0,
        audio_output_tokens: int = 0,
        reasoning_tokens: int = 0,
        service_tier: str | None = None,
        response_id: str | None = None,
        metadata: Metadata | None = None,
        occurred_at: datetime | None = None,
    ) -> list[UUID]:
        """One request to a language model: an event for each kind of token, with the model in its metadata.

        Totals include their parts, as providers report them: `input_tokens` the cached, written, audio and image
        ones, `cache_write_tokens` those kept for an hour, `output_tokens` the audio and reasoning ones. The events
        do not overlap: `input-tokens` and `output-tokens` always, the other kinds if there were any, `requests`
        where the model charges for each. Reasoning is output, and apart only where the model prices it so.
        `cached_audio_input_tokens` None: not reported. `service_tier`: another than the usual one, with prices
        of its own. `response_id` with `occurred_at` makes the call repeatable. Wrong arguments make one dropped
        event.
        """
        return self._track_chat(
            ChatDraft(
                user_id=user_id,
                provider=provider,
                model=model,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
                cached_input_tokens=cached_input_tokens,
                cache_write_tokens=cache_write_tokens,
                cache_write_1h_tokens=cache_write_1h_tokens,
                audio_input_tokens=audio_input_tokens,
                cached_audio_input_tokens=cached_audio_input_tokens,
                image_input_tokens=image_input_tokens,
                audio_output_tokens=audio_output_tokens,
                reasoning_tokens=reasoning_tokens,
                service_tier=service_tier,
                response_id=response_id,
                metadata=metadata,
                occurred_at=occurred_at,
            )
        )

    def track_processing(
        self,
        user_id: str,
        cpu_hours: Quantity,
        memory_gb_hours: Quantity,
        *,
        metadata: Metadata | None = None,
        occurred_at: datetime | None = None,
    ) -> UUID:
        """Work on the company's own machines.

        One event: its quantity is the CPU hours, its metadata has the GB hours of memory, its amount is for both.
        """
        return self._used(
            user_id,
            INTERNAL,
            PROCESSING,
            cpu_hours,
            metadata,
            occurred_at,
            unit=CPU_HOUR,
            measures={MEMORY_GB_HOURS_KEY: memory_gb_hours},
        )

    def track_stripe_charge(
        self,
        user_id: str,
        amount_usd: Exact,
        *,
        metadata: Metadata | None = None,
        occurred_at: datetime | None = None,
    ) -> UUID:
        """Stripe's fee for charging `amount_usd` to a customer's card; the charge itself is in the metadata."""
        return self._used(
            user_id,
            STRIPE,
            CHARGE,
            1,
            metadata,
            occurred_at,
            unit=TRANSACTION,
            measures={CHARGE_USD_KEY: amount_usd},
        )
