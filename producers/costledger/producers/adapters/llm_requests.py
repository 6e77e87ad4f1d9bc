"""Requests to language models, whoever reported them: what is known of one -> a draft of its events."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from costledger.producers.adapters.reading import told
from costledger.producers.prices.book import EMBEDDING_PREFIX, MODEL_KEY
from costledger.producers.prices.tokens import TOKENS_MAX, TokenUsage
from costledger.producers.records import ChatDraft, Draft, Metadata
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import NAME_CHARACTERS_MAX
from costledger.schemas.ids import derived_event_id
from costledger.schemas.times import to_microseconds

logger = logging.getLogger(__name__)

#: One request of which the provider did not say what it used: unpriced, since no price fits an unknown quantity.
UNREPORTED_USAGE: Final = "unreported-usage"
#: The processing that the usual prices are for; any other tier has prices of its own.
_USUAL_TIERS: Final = frozenset({None, "", "auto", "default", "standard"})
#: Images in an answer cost many times what its text does, and no kind of tokens here has their price.
IMAGES_IN_OUTPUT: Final = "has images in its output, whose tokens have a price of their own"
#: Why a usage is not known whose total has other tokens in it than its input and output.
ANOTHER_TOTAL: Final = "contradicts itself: its total is not the sum of its parts"
#: A longer tier is cut, so that each kind of tokens and the tier make a name that an event can hold: or one kind
#: would be an event and a longer one not.
_TIER_CHARACTERS_MAX: Final = 64
_WARNINGS_REMEMBERED_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, as far as it is known; `response_id` and `occurred_at` together make its events repeatable."""

    user_id: str
    provider: str
    model: str
    occurred_at: datetime | None
    response_id: str | None
    service_tier: str | None
    metadata: Metadata
    output_metadata: Metadata

    def chat(self, usage: TokenUsage) -> ChatDraft | Draft:
        """The draft of a chat's events; counts that contradict each other are reported as no counts at all."""
        try:
            usage.check()
        except InvalidValue as error:
            counts = told(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
            return self.unreported(f"contradicts itself: {error}", counts)
        tier = None if self.service_tier in _USUAL_TIERS else (self.service_tier or "")[:_TIER_CHARACTERS_MAX]
        return ChatDraft(
            user_id=self.user_id,
            provider=self.provider,
            model=self.model,
            service_tier=tier,
            response_id=self.response_id if self.occurred_at is not None else None,
            occurred_at=self.occurred_at,
            metadata={**self.metadata, **told(service_tier=tier)},
            output_metadata=self.output_metadata,
            **asdict(usage),
        )

    def embedding(self, tokens: int) -> Draft:
        """The draft of an embedding's event; a count that no event can hold is reported as no count."""
        if tokens > TOKENS_MAX:
            return self.unreported(f"is more than {TOKENS_MAX} tokens", told(input_tokens=tokens))
        return self._draft(EMBEDDING_PREFIX + self.model, tokens, None, {})

    def unreported(self, why: str, counts: Metadata) -> Draft:
        """The draft of an unpriced event for a request whose usage is not known; `why` goes into its metadata."""
        _warn(self.provider, self.model, why)
        return self._draft(UNREPORTED_USAGE, 1, "request", {MODEL_KEY: self.model, "usage": why, **counts})

    def _draft(self, operation: str, quantity: int, unit: str | None, metadata: Metadata) -> Draft:
        return Draft(
            user_id=self.user_id,
            service=self.provider,
            operation=operation[:NAME_CHARACTERS_MAX],
            quantity=quantity,
            unit=unit,
            occurred_at=self.occurred_at,
            event_id=self._event_id(operation),
            metadata={**self.metadata, **metadata},
        )

    def _event_id(self, operation: str) -> UUID | None:
        if self.response_id is None or self.occurred_at is None:
            return None
        occurred_at_us = to_microseconds(self.occurred_at)
        return derived_event_id(occurred_at_us, "response", self.provider, self.response_id, operation)


@lru_cache(_WARNINGS_REMEMBERED_MAX)
def _warn(provider: str, model: str, why: str) -> None:
    """Once for each; how often it happens is told by the unpriced events."""
    logger.warning("a request to %s %s is recorded as unpriced: its usage %s", provider, model, why)
