"""boto3's answers -> cost events: Rekognition, Transcribe, Comprehend and S3.

Each answer says which request it was to (`ResponseMetadata.RequestId` and the date), so that tracking it twice is
tracking it once; what was *asked* is not in it, so that characters and the like come from the request's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from uuid import UUID

from costledger.producers.adapters import aws_services as services
from costledger.producers.adapters.aws_services import Answer, Charge
from costledger.producers.adapters.reading import count, field, refusing, text, told
from costledger.producers.records import Draft, Metadata, Quantity
from costledger.producers.services import AWS_COMPREHEND, AWS_REKOGNITION, AWS_S3, AWS_TRANSCRIBE, ServiceMethods
from costledger.schemas.errors import InvalidValue
from costledger.schemas.ids import derived_event_id
from costledger.schemas.times import to_microseconds


@dataclass(frozen=True, slots=True)
class _Service:
    """A service of AWS: its name in the ledger, and what its answers cost."""

    name: str
    charges: Callable[[Answer], list[Charge]]


#: By botocore's service id, lower case.
_SERVICES: Final[Mapping[str, _Service]] = {
    "rekognition": _Service(AWS_REKOGNITION, services.rekognition_charges),
    "transcribe": _Service(AWS_TRANSCRIBE, services.transcribe_charges),
    "comprehend": _Service(AWS_COMPREHEND, services.comprehend_charges),
    "s3": _Service(AWS_S3, services.s3_charges),
}
PRICED_SERVICES: Final = frozenset(_SERVICES)


@refusing
def track_aws(
    tracker: ServiceMethods,
    user_id: str,
    service: str,
    operation: str,
    response: Mapping[str, Any],
    *,
    params: Mapping[str, Any] | None = None,
    audio_seconds: Quantity | None = None,
    leaves_aws: bool = False,
    occurred_at: datetime | None = None,
    metadata: Metadata | None = None,
) -> list[UUID]:
    """Track what one answer of boto3 cost; returns the ids of its events, none where nothing was charged.

    `service` is boto3's name (`rekognition`, `transcribe`, `comprehend`, `s3`), `operation` the API's or the
    client's (`DetectLabels` or `detect_labels`). `params` are the request's: Comprehend's characters are there.

    - Rekognition: one image an answer; of a video job that has succeeded, the minutes of the video.
    - Transcribe: `GetTranscriptionJob` of a completed job. No answer tells how long the audio was: without
      `audio_seconds` the job is recorded as unpriced.
    - Comprehend: begun hundreds of characters of each text; of a batch, without the texts that failed.
    - S3: one request; with `leaves_aws`, also the bytes of a `GetObject`, as GB of 2**30 bytes. Whether bytes leave
      AWS is not in the answer: inside a region they cost nothing.

    `occurred_at` defaults to the answer's own date.
    """
    drafts = aws_drafts(
        user_id,
        service,
        operation,
        response,
        params=params,
        audio_seconds=audio_seconds,
        leaves_aws=leaves_aws,
        occurred_at=occurred_at,
        metadata=metadata,
    )
    return [event_id for draft in drafts for event_id in tracker.submit(draft)]


def aws_drafts(
    user_id: str,
    service: str,
    operation: str,
    response: Mapping[str, Any],
    *,
    params: Mapping[str, Any] | None = None,
    audio_seconds: Quantity | None = None,
    leaves_aws: bool = False,
    occurred_at: datetime | None = None,
    metadata: Metadata | None = None,
) -> list[Draft]:
    """The same as drafts, without publishing them; raises `InvalidValue` for what is no answer of these services."""
    known = _SERVICES.get(service.lower()) if isinstance(service, str) else None
    if known is None:
        raise InvalidValue("service", service, f"one of {', '.join(sorted(_SERVICES))}")
    if not isinstance(response, Mapping):
        raise InvalidValue("response", type(response).__name__, "the mapping that boto3 returns")
    answer = Answer(
        operation=services.api_name(operation),
        response=response,
        params=params or {},
        audio_seconds=audio_seconds,
        leaves_aws=leaves_aws,
    )
    at = occurred_at or _date_of(response)
    described = {**(metadata or {}), **_identity(response)}
    return [_draft(user_id, known.name, charge, response, at, described) for charge in known.charges(answer)]


def _draft(
    user_id: str,
    service: str,
    charge: Charge,
    response: Mapping[str, Any],
    answered_at: datetime | None,
    metadata: dict[str, Any],
) -> Draft:
    occurred_at = charge.occurred_at or answered_at
    # What names the thing paid for: the job where there is one (it is asked for many times), else the request.
    identity = charge.job or text(response, "ResponseMetadata", "RequestId")
    event_id = None
    if identity is not None and occurred_at is not None:
        parts = ("aws", service, charge.operation, charge.unit or "", identity)
        event_id = derived_event_id(to_microseconds(occurred_at), *parts)
    described = metadata if charge.job is None else {k: v for k, v in metadata.items() if k not in _OF_THE_REQUEST}
    return Draft(
        user_id=user_id,
        service=service,
        operation=charge.operation,
        quantity=charge.quantity,
        unit=charge.unit,
        occurred_at=occurred_at,
        event_id=event_id,
        metadata={**described, **charge.metadata},
    )


#: Different at each look at the same job.
_OF_THE_REQUEST: Final = frozenset({"request_id", "retry_attempts"})


def _identity(response: Mapping[str, Any]) -> dict[str, Any]:
    about = field(response, "ResponseMetadata")
    return told(request_id=text(about, "RequestId"), retry_attempts=count(about, "RetryAttempts"))


def _date_of(response: Mapping[str, Any]) -> datetime | None:
    """The `Date` that the service answered with."""
    date = text(response, "ResponseMetadata", "HTTPHeaders", "date")
    if date is None:
        return None
    try:
        parsed = parsedate_to_datetime(date)
    except ValueError:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed
