"""What an answer of each AWS service cost: pure functions from an answer to its charges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from costledger.producers.adapters.reading import count, text, told
from costledger.producers.adapters.reading import field as part
from costledger.producers.prices.rates import divided_half_even
from costledger.producers.records import CHARACTERS_KEY, Quantity, number_of
from costledger.producers.services import TRANSCRIPTION, VIDEO_ANALYSIS
from costledger.schemas.errors import InvalidValue
from costledger.schemas.money import NANOUNITS_PER_UNIT, from_nanounits

#: Comprehend charges begun units of this many characters, for each text by itself.
CHARACTERS_PER_UNIT: Final = 100
#: AWS counts binary gigabytes.
BYTES_PER_GB: Final = 2**30
_SECONDS_PER_MINUTE: Final = 60
_MILLISECONDS_PER_MINUTE: Final = 60_000
_FIRST_SUCCESS, _AFTER_SUCCESS = 200, 300
#: S3 charges for a request whose answer is "not changed" or "there is no such object" as for any other.
_S3_CHARGED_ERRORS: Final = frozenset({304, 404, 412, 416})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, the parameters of its request, and what the caller knows besides."""

    operation: str
    response: Mapping[str, Any]
    params: Mapping[str, Any]
    audio_seconds: Quantity | None
    leaves_aws: bool

    @property
    def succeeded(self) -> bool:
        """Did the service do what was asked? (An answer without a status, as a caller may have stored it, did.)"""
        status = part(self.response, "ResponseMetadata", "HTTPStatusCode")
        return status is None or _FIRST_SUCCESS <= status < _AFTER_SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One thing to pay: the operation and unit of the price book, and how much of it.

    `job` names a job that many answers are about, `occurred_at` when it was done.
    """

    operation: str
    quantity: Quantity
    unit: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    job: str | None = None
    occurred_at: datetime | None = None


def api_name(operation: str) -> str:
    """The API's name of an operation, `DetectLabels`, also from the client's, `detect_labels`."""
    if not isinstance(operation, str) or not operation:
        raise InvalidValue("operation", operation, "the name of an operation, for example DetectLabels")
    if "_" in operation or operation.islower():
        return "".join(word[:1].upper() + word[1:] for word in operation.split("_"))
    return operation


# ---------------------------------------------------------------------------------------------- Rekognition

_IMAGE_OPERATIONS: Final = frozenset(
    {
        "CompareFaces",
        "DetectCustomLabels",
        "DetectFaces",
        "DetectLabels",
        "DetectModerationLabels",
        "DetectProtectiveEquipment",
        "DetectText",
        "IndexFaces",
        "RecognizeCelebrities",
        "SearchFaces",
        "SearchFacesByImage",
        "SearchUsers",
        "SearchUsersByImage",
    }
)
_VIDEO_OPERATIONS: Final = frozenset(
    {
        "GetCelebrityRecognition",
        "GetContentModeration",
        "GetFaceDetection",
        "GetFaceSearch",
        "GetLabelDetection",
        "GetPersonTracking",
        "GetSegmentDetection",
        "GetTextDetection",
    }
)


def rekognition_charges(answer: Answer) -> list[Charge]:
    """One image for an image operation; the minutes of a video whose analysis has succeeded."""
    if not answer.succeeded:
        return []
    if answer.operation in _IMAGE_OPERATIONS:
        return [Charge(operation=_lower_first(answer.operation), quantity=1, unit="image")]
    if answer.operation not in _VIDEO_OPERATIONS or text(answer.response, "JobStatus") != "SUCCEEDED":
        return []
    if answer.params.get("NextToken"):
        return []  # a further page of an answer whose first page was the one to pay for
    job = text(answer.response, "JobId") or text(answer.params, "JobId")
    described = told(job_id=job, analysis=_lower_first(answer.operation.removeprefix("Get")))
    found = part(answer.response, "VideoMetadata")
    videos = found if isinstance(found, list) else [found]
    if any(part(video, "DurationMillis") is None for video in videos):
        return [Charge(operation=VIDEO_ANALYSIS, quantity=1, unit="job", metadata=described, job=job)]
    minutes = _quotient(sum(count(video, "DurationMillis") for video in videos), _MILLISECONDS_PER_MINUTE)
    return [Charge(operation=VIDEO_ANALYSIS, quantity=minutes, unit="minute", metadata=described, job=job)]


# ----------------------------------------------------------------------------------------------- Transcribe


#: By the operation that asks for a job: its name in the answer, and what the work is called in the price book.
_JOBS: Final = {
    "GetTranscriptionJob": ("TranscriptionJob", TRANSCRIPTION),
    "GetMedicalTranscriptionJob": ("MedicalTranscriptionJob", "medicalTranscription"),
    "GetMedicalScribeJob": ("MedicalScribeJob", "medicalScribe"),
    "GetCallAnalyticsJob": ("CallAnalyticsJob", "callAnalytics"),
}


def transcribe_charges(answer: Answer) -> list[Charge]:
    """The minutes of a completed job; a job of unknown length is a job, for which there is no price."""
    job = completed_transcription(answer.operation, answer.response)
    if not answer.succeeded or job is None:
        return []
    key, operation = _JOBS[answer.operation]
    name = text(job, f"{key}Name")
    described = told(job=name, language=text(job, "LanguageCode"), media_format=text(job, "MediaFormat"))
    quantity: Quantity = 1
    if answer.audio_seconds is None:
        described["audio_seconds"] = "not known"
    else:
        seconds = Fraction(number_of(answer.audio_seconds, "audio_seconds"))
        if seconds < 0:
            raise InvalidValue("audio_seconds", answer.audio_seconds, "0 or more")
        quantity = _quotient(seconds, _SECONDS_PER_MINUTE)
    unit = "job" if answer.audio_seconds is None else "minute"
    at = _aware(part(job, "CompletionTime"))
    return [Charge(operation=operation, quantity=quantity, unit=unit, metadata=described, job=name, occurred_at=at)]


def completed_transcription(operation: str, response: Mapping[str, Any]) -> object:
    """The job of an answer that says that a job is completed, else None."""
    key, _ = _JOBS.get(operation, (None, None))
    job = None if key is None else part(response, key)
    status = text(job, "TranscriptionJobStatus") or text(job, f"{key}Status")
    return job if status == "COMPLETED" else None


# ----------------------------------------------------------------------------------------------- Comprehend

_TEXT_OPERATIONS: Final = frozenset(
    {
        "ClassifyDocument",
        "ContainsPiiEntities",
        "DetectDominantLanguage",
        "DetectEntities",
        "DetectKeyPhrases",
        "DetectPiiEntities",
        "DetectSentiment",
        "DetectSyntax",
        "DetectTargetedSentiment",
        "DetectToxicContent",
    }
)
_BATCH: Final = "Batch"


def comprehend_charges(answer: Answer) -> list[Charge]:
    """Begun hundreds of characters, text by text: 25 texts of one character are 25 units."""
    name = answer.operation.removeprefix(_BATCH)
    if not answer.succeeded or name not in _TEXT_OPERATIONS:
        return []
    operation = _lower_first(name)
    texts = _texts_of(answer)
    if texts is None:
        return [Charge(operation=operation, quantity=1, unit="document", metadata={CHARACTERS_KEY: "not known"})]
    units = sum(-(-len(one) // CHARACTERS_PER_UNIT) for one in texts)
    described = {CHARACTERS_KEY: sum(len(one) for one in texts), "documents": len(texts)}
    return [Charge(operation=operation, quantity=units, unit=f"{CHARACTERS_PER_UNIT} characters", metadata=described)]


def _texts_of(answer: Answer) -> list[str] | None:
    """The texts that were analysed; None where the request's parameters do not say."""
    if isinstance(one := answer.params.get("Text"), str):
        return [one]
    if isinstance(segments := answer.params.get("TextSegments"), list):
        return [text_ for segment in segments if isinstance(text_ := part(segment, "Text"), str)]
    if not isinstance(texts := answer.params.get("TextList"), list):
        return None
    errors = answer.response.get("ErrorList")
    failed = {part(error, "Index") for error in (errors if isinstance(errors, Iterable) else ())}
    return [one for index, one in enumerate(texts) if index not in failed]


# ------------------------------------------------------------------------------------------------------- S3

_S3_FREE: Final = ("Delete", "Abort")
_S3_PUT: Final = ("Put", "Copy", "Post", "List", "Create", "Upload", "Complete", "Restore", "Rename", "Update")


def s3_charges(answer: Answer) -> list[Charge]:
    """One request, of the class that S3 charges it as; the bytes of an object, where the caller says they leave."""
    if answer.operation.startswith(_S3_FREE) or not (answer.succeeded or _s3_charges_this_error(answer)):
        return []
    described = told(api=answer.operation, bucket=text(answer.params, "Bucket"))
    kind = "put" if answer.operation.startswith(_S3_PUT) else "get"
    charges = [Charge(operation=kind, quantity=1, unit="request", metadata=described)]
    if answer.leaves_aws and answer.operation == "GetObject" and answer.succeeded:
        size_bytes = count(answer.response, "ContentLength")
        gigabytes = _quotient(size_bytes, BYTES_PER_GB)
        charges.append(
            Charge(operation="transfer", quantity=gigabytes, unit="GB", metadata={**described, "bytes": size_bytes})
        )
    return charges


def _s3_charges_this_error(answer: Answer) -> bool:
    return part(answer.response, "ResponseMetadata", "HTTPStatusCode") in _S3_CHARGED_ERRORS


def _aware(value: object) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def _lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]


def _quotient(number: int | Fraction, divisor: int) -> Decimal:
    """A quotient as a quantity: rounded once to 1e-9 units, in no decimal context of the host."""
    exact = Fraction(number) * NANOUNITS_PER_UNIT / divisor
    return from_nanounits(divided_half_even(exact.numerator, exact.denominator))
