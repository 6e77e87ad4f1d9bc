"""OpenAI's answers -> cost events: chat completions, responses, completions and embeddings; objects or dictionaries.

Also for the many servers that answer in OpenAI's shapes (`provider` says whose prices are meant).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from costledger.producers.adapters.llm_requests import Request
from costledger.producers.adapters.reading import count, field, refusing, text, told, unix_time
from costledger.producers.prices.tokens import TokenUsage
from costledger.producers.records import ChatDraft, Draft, Metadata
from costledger.producers.services import OPENAI, ServiceMethods
from costledger.schemas.errors import InvalidValue

NOT_REPORTED: Final = "was not reported"
_INPUT: Final = ("input_tokens", "prompt_tokens")
_OUTPUT: Final = ("output_tokens", "completion_tokens")
_DETAILS_OF_INPUT: Final = ("input_tokens_details", "prompt_tokens_details", "input_token_details")
_DETAILS_OF_OUTPUT: Final = ("output_tokens_details", "completion_tokens_details", "output_token_details")


@refusing
def track_openai(
    tracker: ServiceMethods,
    user_id: str,
    response: object,
    *,
    provider: str = OPENAI,
    model: str | None = None,
    repeatable: bool = True,
    occurred_at: datetime | None = None,
    metadata: Metadata | None = None,
) -> list[UUID]:
    """Track what one answer cost; returns the ids of its events, one for each kind of token.

    `response` is a chat completion, a completion, a response, an embedding answer, an event that carries a
    response, or all chunks of one stream as a list. Without usage (a stream without
    `stream_options={"include_usage": True}`) it is one unpriced event, `unreported-usage`.

    `model` and `occurred_at` default to the answer's own. `repeatable`: the answer's id and time make the ids of
    the events, so that tracking an answer twice is tracking it once; False for servers whose ids are not unique.
    Never raises unless the tracker is strict: what is no answer at all is one rejected event.
    """
    draft = openai_draft(
        user_id,
        response,
        provider=provider,
        model=model,
        repeatable=repeatable,
        occurred_at=occurred_at,
        metadata=metadata,
    )
    return tracker.submit(draft)


def openai_draft(
    user_id: str,
    response: object,
    *,
    provider: str = OPENAI,
    model: str | None = None,
    repeatable: bool = True,
    occurred_at: datetime | None = None,
    metadata: Metadata | None = None,
) -> ChatDraft | Draft:
    """The events of one answer as a draft, without publishing it; raises `InvalidValue` for what is no answer."""
    answer = _whole_answer(response)
    usage = field(answer, "usage")
    named = text(answer, "model") or model
    if named is None:
        raise InvalidValue("response", type(response).__name__, "an answer that names its model, or model= must")
    response_id = text(answer, "id")
    request = Request(
        user_id=user_id,
        provider=provider,
        model=named,
        occurred_at=occurred_at or unix_time(answer, "created") or unix_time(answer, "created_at"),
        response_id=response_id if repeatable else None,
        service_tier=text(answer, "service_tier"),
        metadata={**(metadata or {}), **_identity(answer, response_id)},
        output_metadata=told(
            accepted_prediction_tokens=_part(usage, _DETAILS_OF_OUTPUT, "accepted_prediction_tokens"),
            rejected_prediction_tokens=_part(usage, _DETAILS_OF_OUTPUT, "rejected_prediction_tokens"),
        ),
    )
    is_embedding = field(answer, "object") == "list" and not _count_of(usage, _OUTPUT)
    if not _is_reported(usage, _INPUT) or not (is_embedding or _is_reported(usage, _OUTPUT)):
        # A half that nobody has counted is not 0.
        counts = told(input_tokens=_known(usage, _INPUT), output_tokens=_known(usage, _OUTPUT))
        return request.unreported(NOT_REPORTED, {**told(status=text(answer, "status")), **counts})
    counted = usage_of(usage)
    total = field(usage, "total_tokens")
    if total is not None and count(usage, "total_tokens") != counted.input_tokens + counted.output_tokens:
        counts = told(input_tokens=counted.input_tokens, output_tokens=counted.output_tokens, total_tokens=total)
        return request.unreported("contradicts itself: its total is not the sum of its parts", counts)
    return request.embedding(counted.input_tokens) if is_embedding else request.chat(counted)


def usage_of(usage: object) -> TokenUsage:
    """The counts of a `usage`, in either of OpenAI's spellings; where both are there, they are the same tokens."""
    cached_audio = field(_details(usage, _DETAILS_OF_INPUT), "cached_tokens_details", "audio_tokens")
    return TokenUsage(
        input_tokens=_count_of(usage, _INPUT),
        output_tokens=_count_of(usage, _OUTPUT),
        cached_input_tokens=_part(usage, _DETAILS_OF_INPUT, "cached_tokens"),
        cache_write_tokens=_part(usage, _DETAILS_OF_INPUT, "cache_write_tokens"),
        cache_write_12h_tokens=_part(usage, _DETAILS_OF_INPUT, "cache_write_tokens_details", "ttl_12h_tokens"),
        audio_input_tokens=_part(usage, _DETAILS_OF_INPUT, "audio_tokens"),
        cached_audio_input_tokens=None
        if cached_audio is None
        else count({"audio_tokens": cached_audio}, "audio_tokens"),
        image_input_tokens=_part(usage, _DETAILS_OF_INPUT, "image_tokens"),
        audio_output_tokens=_part(usage, _DETAILS_OF_OUTPUT, "audio_tokens"),
        reasoning_tokens=_part(usage, _DETAILS_OF_OUTPUT, "reasoning_tokens"),
    )


class StreamSummary:
    """What the chunks of one stream say of its cost; keeps a few fields, however long the stream is.

    Chunks of chats carry the usage on the last one (or, at some servers, a growing one on each); events of
    responses carry the whole response, with the usage once it is complete.
    """

    def __init__(self) -> None:
        self._answer: dict[str, Any] = {}
        self.chunks = 0

    def add(self, chunk: object) -> None:
        """Take note of one chunk or event."""
        self.chunks += 1
        answer = _carried(chunk)
        for name in ("id", "object", "model", "created", "created_at", "service_tier", "status", "usage"):
            value = field(answer, name)
            if value not in (None, ""):
                self._answer[name] = value

    def answer(self) -> dict[str, Any]:
        """The fields in the form of an answer that came whole."""
        return dict(self._answer)


def _whole_answer(response: object) -> object:
    if response is None or isinstance(response, str | bytes | Iterator | AsyncIterator):
        limit = "an answer of OpenAI's API, or a list of all chunks of a stream"
        raise InvalidValue("response", type(response).__name__, limit)
    if isinstance(response, list | tuple):
        summary = StreamSummary()
        for chunk in response:
            summary.add(chunk)
        return summary.answer()
    return _carried(response)


def _carried(chunk: object) -> object:
    """The response within an event of a stream of responses; anything else as it is."""
    kind = field(chunk, "type")
    if isinstance(kind, str) and kind.startswith("response."):
        return field(chunk, "response") or {}
    return chunk


def _identity(answer: object, response_id: str | None) -> dict[str, Any]:
    # The request id only where there is no other: a stored answer does not have it, and the same answer must
    # make the same event.
    return told(response_id=response_id) or told(request_id=text(answer, "_request_id"))


def _is_reported(usage: object, names: tuple[str, ...]) -> bool:
    return any(field(usage, name) is not None for name in names)


def _known(usage: object, names: tuple[str, ...]) -> int | None:
    return _count_of(usage, names) if _is_reported(usage, names) else None


def _count_of(usage: object, names: tuple[str, ...]) -> int:
    return count(usage, next((name for name in names if field(usage, name) is not None), names[0]))


def _details(usage: object, names: tuple[str, ...]) -> object:
    # The first that says anything: an empty one beside the other spelling is no report of nothing.
    return next((details for name in names if (details := field(usage, name)) not in (None, {})), None)


def _part(usage: object, names: tuple[str, ...], *path: str) -> int:
    return count(_details(usage, names), *path)
