"""OpenTelemetry's attributes of spans for generative AI -> cost events.

The conventions have renamed their attributes more than once, and instrumentations write old and new names side by
side; one count is read under any of its names, never added up over names, and where they say different numbers it
is not known. By the conventions, `gen_ai.usage.input_tokens` includes what was read from and written to the cache,
and the output the reasoning.
Source: OpenTelemetry semantic conventions for generative AI (status: development), and the names before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from costledger.producers.adapters.llm_requests import ANOTHER_TOTAL, Request
from costledger.producers.adapters.reading import Disagreement, agreed, field, refusing, text, told
from costledger.producers.prices.tokens import TokenUsage
from costledger.producers.records import ChatDraft, Draft, Metadata
from costledger.producers.services import ServiceMethods
from costledger.schemas.errors import InvalidValue

_INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
_OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
_TOTAL: Final = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens")
_CACHE_READ: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.input_cached_tokens",
    "gen_ai.usage.cached_tokens",
)
_CACHE_WRITE: Final = (
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.input_tokens.cache_write",
)
_REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_output_tokens",
    "gen_ai.usage.output_tokens.reasoning",
    "gen_ai.usage.reasoning_tokens",
)
_PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system")
_MODEL: Final = ("gen_ai.response.model", "gen_ai.request.model")
_TIER: Final = ("openai.response.service_tier", "gen_ai.openai.response.service_tier")
#: The conventions' names of providers -> those of the price library, where they differ.
_PROVIDERS: Final = {
    "aws.bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
    "xai": "x-ai",
}
_EMBEDDINGS: Final = "embeddings"


@refusing
def track_gen_ai_span(
    tracker: ServiceMethods,
    user_id: str,
    span: object,
    *,
    cache_within_input: bool = True,
    occurred_at: datetime | None = None,
    metadata: Metadata | None = None,
) -> list[UUID]:
    """Track what one span of a request to a language model cost; returns the ids of its events.

    `span` is a finished span of the OpenTelemetry SDK, or the mapping of its attributes. Both its ids make the
    events repeatable; a bare mapping needs `gen_ai.response.id` and `occurred_at` (default: the span's end) for
    that. `cache_within_input=False` for instrumentations that leave cached tokens out of `input_tokens`, as
    Anthropic's own `usage` does. A span without a count of its input or its output (embeddings have none) is one
    unpriced event.
    """
    return tracker.submit(
        gen_ai_draft(user_id, span, cache_within_input=cache_within_input, occurred_at=occurred_at, metadata=metadata)
    )


def gen_ai_draft(
    user_id: str,
    span: object,
    *,
    cache_within_input: bool = True,
    occurred_at: datetime | None = None,
    metadata: Metadata | None = None,
) -> ChatDraft | Draft:
    """The same as a draft, without publishing it; raises `InvalidValue` for what is no such span."""
    attributes = span if isinstance(span, Mapping) else field(span, "attributes")
    if not isinstance(attributes, Mapping):
        raise InvalidValue("span", type(span).__name__, "a span, or a mapping of its attributes")
    provider, model = _first_text(attributes, _PROVIDER), _first_text(attributes, _MODEL)
    if provider is None or model is None:
        names = " or ".join(_PROVIDER if provider is None else _MODEL)
        raise InvalidValue(names, None, "set on a span that is to be priced")
    response_id = text(attributes, "gen_ai.response.id")
    request = Request(
        user_id=user_id,
        provider=_PROVIDERS.get(provider, provider),
        model=model,
        occurred_at=occurred_at or _end_of(span),
        response_id=response_id or _span_id(span),
        service_tier=_first_text(attributes, _TIER),
        metadata={**(metadata or {}), **told(response_id=response_id)},
        output_metadata={},
    )
    try:
        return _draft_of_usage(request, attributes, cache_within_input)
    except Disagreement as error:
        return request.unreported(error.why, error.counts)


def _draft_of_usage(request: Request, attributes: Mapping[str, Any], cache_within_input: bool) -> ChatDraft | Draft:
    """Priced where both halves are known and are the total; a half that nobody has counted is not 0."""
    input_tokens, output_tokens, total = (_told(attributes, names) for names in (_INPUT, _OUTPUT, _TOTAL))
    known = told(input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=total)
    is_embedding = attributes.get("gen_ai.operation.name") == _EMBEDDINGS
    if input_tokens is None or (output_tokens is None and not is_embedding):
        nothing = input_tokens is None and output_tokens is None
        return request.unreported("is not in the span" if nothing else "is only half in the span", known)
    usage = _usage_of(attributes, input_tokens, output_tokens or 0, cache_within_input)
    # A total may have the cached tokens in it also where the input has not.
    if total is not None and total - usage.output_tokens not in (input_tokens, usage.input_tokens):
        return request.unreported(ANOTHER_TOTAL, known)
    if is_embedding and output_tokens:
        return request.unreported("contradicts itself: embeddings have no output", known)
    return request.embedding(usage.input_tokens) if is_embedding else request.chat(usage)


def _usage_of(
    attributes: Mapping[str, Any], input_tokens: int, output_tokens: int, cache_within_input: bool
) -> TokenUsage:
    read, written = _told(attributes, _CACHE_READ) or 0, _told(attributes, _CACHE_WRITE) or 0
    beside = 0 if cache_within_input else read + written
    return TokenUsage(
        input_tokens=input_tokens + beside,
        output_tokens=output_tokens,
        cached_input_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=_told(attributes, _REASONING) or 0,
    )


def _told(attributes: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    return agreed(attributes, *((name,) for name in names))


def _first_text(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := text(attributes, name)) is not None), None)


def _end_of(span: object) -> datetime | None:
    nanoseconds = None if isinstance(span, Mapping) else field(span, "end_time")
    if not isinstance(nanoseconds, int):
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1000)


def _span_id(span: object) -> str | None:
    trace_id, span_id = field(span, "context", "trace_id"), field(span, "context", "span_id")
    if isinstance(span, Mapping) or not (isinstance(trace_id, int) and isinstance(span_id, int)):
        return None
    return f"{trace_id:032x}-{span_id:016x}"
