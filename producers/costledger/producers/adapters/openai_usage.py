"""OpenAI's answers -> cost events: chat completions, responses, completions and embeddings; objects or dictionaries.

Also for the many servers that answer in OpenAI's shapes (`provider` says whose prices are meant).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from costledger.producers.adapters.llm_requests import ANOTHER_TOTAL, IMAGES_IN_OUTPUT, Request
from costledger.producers.adapters.reading import Disagreement, agreed, field, refusing, text, told, unix_time
from costledger.producers.prices.tokens import TokenUsage
from costledger.producers.records import ChatDraft, Draft, Metadata
from costledger.producers.services import OPENAI, ServiceMethods
from costledger.schemas.errors import InvalidValue

NOT_REPORTED: Final = "was not reported"
HALF_REPORTED: Final = "was only half reported"
_INPUT: Final = (("input_tokens",), ("prompt_tokens",))
_OUTPUT: Final = (("output_tokens",), ("completion_tokens",))
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
    `stream_options={"include_usage": True}`), with only half of it, or with a total that is not its sum, it is one
    unpriced event, `unreported-usage`.

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
        output_metadata={},
    )
    try:
        return _draft_of_usage(request, answer, usage)
    except Disagreement as error:
        return request.unreported(error.why, error.counts)


def usage_of(usage: object) -> TokenUsage:
    """The counts of a `usage`, in any of OpenAI's spellings; where several are there, they are the same tokens.

    Raises `Disagreement` where they are not.
    """
    return TokenUsage(
        input_tokens=agreed(usage, *_INPUT) or 0,
        output_tokens=agreed(usage, *_OUTPUT) or 0,
        cached_input_tokens=_part(usage, _DETAILS_OF_INPUT, "cached_tokens") or 0,
        cache_write_tokens=_part(usage, _DETAILS_OF_INPUT, "cache_write_tokens") or 0,
        cache_write_12h_tokens=_part(usage, _DETAILS_OF_INPUT, "cache_write_tokens_details", "ttl_12h_tokens") or 0,
        audio_input_tokens=_part(usage, _DETAILS_OF_INPUT, "audio_tokens") or 0,
        cached_audio_input_tokens=_part(usage, _DETAILS_OF_INPUT, "cached_tokens_details", "audio_tokens"),
        image_input_tokens=_part(usage, _DETAILS_OF_INPUT, "image_tokens") or 0,
        audio_output_tokens=_part(usage, _DETAILS_OF_OUTPUT, "audio_tokens") or 0,
        reasoning_tokens=_part(usage, _DETAILS_OF_OUTPUT, "reasoning_tokens") or 0,
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


def _draft_of_usage(request: Request, answer: object, usage: object) -> ChatDraft | Draft:
    """Priced where both halves are known and are the total; a half that nobody has counted is not 0."""
    input_tokens, output_tokens = agreed(usage, *_INPUT), agreed(usage, *_OUTPUT)
    total = agreed(usage, ("total_tokens",))
    known = told(input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=total)
    # Lists are answers of the embeddings' API, whose usage has no output.
    is_embedding = field(answer, "object") == "list" and not output_tokens
    if input_tokens is None or (output_tokens is None and not is_embedding):
        why = NOT_REPORTED if input_tokens is None and output_tokens is None else HALF_REPORTED
        return request.unreported(why, {**told(status=text(answer, "status")), **known})
    if total is not None and total != input_tokens + (output_tokens or 0):
        return request.unreported(ANOTHER_TOTAL, known)
    if image_tokens := _part(usage, _DETAILS_OF_OUTPUT, "image_tokens"):
        return request.unreported(IMAGES_IN_OUTPUT, {**known, **told(image_output_tokens=image_tokens)})
    if is_embedding:
        return request.embedding(input_tokens)
    output_metadata = told(
        accepted_prediction_tokens=_part(usage, _DETAILS_OF_OUTPUT, "accepted_prediction_tokens"),
        rejected_prediction_tokens=_part(usage, _DETAILS_OF_OUTPUT, "rejected_prediction_tokens"),
    )
    return replace(request, output_metadata=output_metadata).chat(usage_of(usage))


def _part(usage: object, details: tuple[str, ...], *path: str) -> int | None:
    """One of the details, wherever it is told: empty details beside another spelling are no report of nothing."""
    return agreed(usage, *((name, *path) for name in details))
