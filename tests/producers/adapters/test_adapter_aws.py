"""boto3's answers: as botocore's parsers make them from a server's bytes, and as its service models describe them."""

from __future__ import annotations

import copy
from datetime import timedelta
from decimal import Decimal, localcontext
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.producers.adapters.aws_answers import AT, OBJECT, TRANSCRIPTION, VIDEO, aws_server, client_of, session
from tests.producers.collecting import CollectingTracker
from tests.producers.loopback import Loopback

from costledger.producers.adapters import track_aws
from costledger.producers.adapters.aws_services import api_name
from costledger.schemas.errors import CostledgerError, InvalidValue

AT_US = int(AT.timestamp()) * 10**6


def client(server: Loopback, service: str) -> Any:
    """A client of a service."""
    return client_of(session(), service, server.url)


def tracked(service: str, operation: str, response: Any, **options: Any) -> CollectingTracker:
    """A tracker to which one answer was given."""
    tracker = CollectingTracker()
    track_aws(tracker, "user-1", service, operation, response, **options)
    return tracker


def test_an_image_is_one_image(server: Loopback) -> None:
    """DetectLabels: 0.001 USD, with the request's id and the answer's date."""
    answer = client(server, "rekognition").detect_labels(Image={"Bytes": b"jpeg"})
    record = tracked("rekognition", "DetectLabels", answer).only()
    assert (record["service"], record["operation"], record["unit"]) == ("aws-rekognition", "detectLabels", "image")
    assert (record["quantity"], record["amount"], record["occurred_at"]) == (10**9, 10**9, AT_US)
    assert record["metadata"] == {"request_id": answer["ResponseMetadata"]["RequestId"]}


def test_the_minutes_of_a_video_are_counted_once_for_all_pages() -> None:
    """90.5 seconds are 1.508333333 minutes at 0.10 USD; further pages and unfinished jobs cost nothing."""
    rekognition = client_of(session(), "rekognition", "http://127.0.0.1:9")
    tracker = CollectingTracker()
    with Stubber(rekognition) as stub:
        for answer, token in ((VIDEO, None), (VIDEO, "next"), ({"JobStatus": "IN_PROGRESS"}, None)):
            params = {"JobId": "job-1"} | ({"NextToken": token} if token else {})
            stub.add_response("get_label_detection", answer, params)
            got = rekognition.get_label_detection(**params)
            track_aws(tracker, "user-1", "rekognition", "get_label_detection", got, params=params, occurred_at=AT)
    record = tracker.only()
    assert (record["operation"], record["unit"]) == ("videoAnalysis", "minute")
    assert (record["quantity"], record["amount"]) == (1_508_333_333, 150_833_333_300)
    assert record["metadata"] == {"job_id": "job-1", "analysis": "labelDetection"}
    track_aws(tracker, "user-1", "rekognition", "GetLabelDetection", VIDEO, occurred_at=AT)
    assert (len(tracker.records), len(tracker.ledger)) == (2, 1)


def test_segments_list_their_videos_and_a_video_of_unknown_length_is_unpriced() -> None:
    """GetSegmentDetection has a list of them; without a duration it is a job, which has no price."""
    segments = {**VIDEO, "VideoMetadata": [{"DurationMillis": 60_000}]}
    assert tracked("rekognition", "GetSegmentDetection", segments).charges() == {"videoAnalysis": (1, 10**11)}
    unknown = tracked("rekognition", "GetLabelDetection", {"JobStatus": "SUCCEEDED", "JobId": "j"}).only()
    assert (unknown["unit"], unknown["quantity"], unknown["amount"]) == ("job", 10**9, None)


@pytest.mark.parametrize("operation", ["CompareFaces", "IndexFaces", "DetectProtectiveEquipment"])
def test_images_whose_price_nobody_listed_are_unpriced(operation: str) -> None:
    """Never at the price of another operation."""
    record = tracked("rekognition", operation, {}).only()
    assert (record["operation"], record["unit"], record["amount"]) == (
        operation[0].lower() + operation[1:],
        "image",
        None,
    )


@pytest.mark.parametrize(
    ("seconds", "quantity", "amount"), [(150, 2_500_000_000, 60_000_000_000), ("0.6", 10**7, None)]
)
def test_a_transcription_needs_the_length_of_its_audio(
    server: Loopback, seconds: Any, quantity: int, amount: int | None
) -> None:
    """150 seconds are 2.5 minutes at 0.024 USD; the answer's own time is the job's completion."""
    answer = client(server, "transcribe").get_transcription_job(TranscriptionJobName="talk")
    record = tracked("transcribe", "GetTranscriptionJob", answer, audio_seconds=seconds).only()
    assert (record["operation"], record["unit"], record["quantity"]) == ("transcription", "minute", quantity)
    assert record["amount"] == (quantity * 24 if amount is None else amount)
    assert record["occurred_at"] == AT_US
    assert record["metadata"] == {"job": "talk", "language": "en-US", "media_format": "mp3"}


def test_a_transcription_of_unknown_length_is_unpriced_and_never_guessed(server: Loopback) -> None:
    """Asked for twice it is one event; told the length later, the minutes are another."""
    transcribe = client(server, "transcribe")
    tracker = CollectingTracker()
    for _ in range(2):
        answer = transcribe.get_transcription_job(TranscriptionJobName="talk")
        track_aws(tracker, "user-1", "transcribe", "GetTranscriptionJob", answer)
    record = tracker.only()
    assert (record["unit"], record["amount"], record["metadata"]["audio_seconds"]) == ("job", None, "not known")
    track_aws(tracker, "user-1", "transcribe", "GetTranscriptionJob", answer, audio_seconds=60)
    assert sorted((one["unit"], one["amount"]) for one in tracker.ledger.values()) == [
        ("job", None),
        ("minute", 24 * 10**9),
    ]


@pytest.mark.parametrize(
    ("method", "key", "status", "operation"),
    [
        ("get_medical_transcription_job", "MedicalTranscriptionJob", "TranscriptionJobStatus", "medicalTranscription"),
        ("get_medical_scribe_job", "MedicalScribeJob", "MedicalScribeJobStatus", "medicalScribe"),
        ("get_call_analytics_job", "CallAnalyticsJob", "CallAnalyticsJobStatus", "callAnalytics"),
    ],
)
def test_other_transcriptions_have_operations_of_their_own(method: str, key: str, status: str, operation: str) -> None:
    """In the shapes of the service model; minutes without a price, not those of plain transcription."""
    transcribe = client_of(session(), "transcribe", "http://127.0.0.1:9")
    with Stubber(transcribe) as stub:
        stub.add_response(method, {key: {f"{key}Name": "talk", status: "COMPLETED", "CompletionTime": AT}})
        answer = getattr(transcribe, method)(**{f"{key}Name": "talk"})
    record = tracked("transcribe", method, answer, audio_seconds=90).only()
    assert (record["operation"], record["unit"], record["quantity"]) == (operation, "minute", 1_500_000_000)
    assert (record["amount"], record["metadata"]["job"]) == (None, "talk")


def test_a_transcription_that_is_not_completed_costs_nothing() -> None:
    """In progress, or failed."""
    for status in ("QUEUED", "IN_PROGRESS", "FAILED"):
        answer = copy.deepcopy(TRANSCRIPTION)
        answer["TranscriptionJob"]["TranscriptionJobStatus"] = status
        assert tracked("transcribe", "GetTranscriptionJob", answer, audio_seconds=60).records == []


@pytest.mark.parametrize(("characters", "units"), [(1, 1), (100, 1), (101, 2), (250, 3)])
def test_begun_hundreds_of_characters(server: Loopback, characters: int, units: int) -> None:
    """DetectSentiment: 0.0001 USD for each begun hundred; characters, not bytes."""
    params = {"Text": "ß" * characters, "LanguageCode": "de"}
    answer = client(server, "comprehend").detect_sentiment(**params)
    record = tracked("comprehend", "DetectSentiment", answer, params=params).only()
    assert (record["operation"], record["unit"]) == ("detectSentiment", "100 characters")
    assert (record["quantity"], record["amount"]) == (units * 10**9, units * 10**8)
    assert (record["metadata"]["characters"], record["metadata"]["documents"]) == (str(characters), "1")


def test_a_batch_rounds_each_text_by_itself_and_leaves_out_what_failed(server: Loopback) -> None:
    """1 + 250 characters are 1 + 3 units, not 3; the second text failed."""
    params = {"TextList": ["a", "b" * 1000, "c" * 250], "LanguageCode": "en"}
    answer = client(server, "comprehend").batch_detect_sentiment(**params)
    record = tracked("comprehend", "batch_detect_sentiment", answer, params=params).only()
    assert (record["operation"], record["quantity"], record["amount"]) == ("detectSentiment", 4 * 10**9, 4 * 10**8)
    assert (record["metadata"]["characters"], record["metadata"]["documents"]) == ("251", "2")


def test_characters_that_nobody_told_are_unpriced() -> None:
    """Without the request's parameters the answer says nothing of them."""
    record = tracked("comprehend", "DetectEntities", {"Entities": []}).only()
    assert (record["unit"], record["quantity"], record["amount"]) == ("document", 10**9, None)


@pytest.mark.parametrize(
    ("method", "params", "kind"),
    [
        ("put_object", {"Key": "k", "Body": b"abc"}, "put"),
        ("get_object", {"Key": "k"}, "get"),
        ("head_object", {"Key": "k"}, "get"),
        ("list_objects_v2", {}, "put"),
    ],
)
def test_requests_to_s3_are_counted_by_their_class(server: Loopback, method: str, params: Any, kind: str) -> None:
    """PUT and LIST 0.005, GET and HEAD 0.0004 USD a thousand; no bytes unless asked for."""
    params = {"Bucket": "bucket", **params}
    answer = getattr(client(server, "s3"), method)(**params)
    record = tracked("s3", method, answer, params=params).only()
    assert (record["operation"], record["unit"], record["quantity"]) == (kind, "request", 10**9)
    assert record["amount"] == {"put": 5_000_000, "get": 400_000}[kind]
    assert (record["metadata"]["api"], record["metadata"]["bucket"]) == (api_name(method), "bucket")


def test_deleting_is_free(server: Loopback) -> None:
    """No event, since nothing was paid."""
    answer = client(server, "s3").delete_object(Bucket="bucket", Key="k")
    assert tracked("s3", "DeleteObject", answer).records == []


def test_bytes_that_leave_aws_are_a_second_event(server: Loopback) -> None:
    """1,000,000 bytes of 2**30 a GB at 0.09 USD, besides the request; each has an id of its own."""
    answer = client(server, "s3").get_object(Bucket="bucket", Key="k")
    assert answer["Body"].read() == OBJECT
    with localcontext() as context:
        context.prec = 3
        tracker = tracked("s3", "GetObject", answer, leaves_aws=True)
    gigabytes = Decimal("0.000931323")
    assert tracker.charges() == {"get": (1, 400_000), "transfer": (gigabytes, int(gigabytes * 9 * 10**10))}
    assert len(tracker.ledger) == 2


def test_what_is_not_there_is_charged_too(server: Loopback) -> None:
    """S3 answers 404 and counts the request; the exception has the answer."""
    with pytest.raises(ClientError) as raised:
        client(server, "s3").get_object(Bucket="bucket", Key="none")
    assert tracked("s3", "GetObject", raised.value.response, leaves_aws=True).charges() == {"get": (1, 400_000)}
    refused = {"ResponseMetadata": {"HTTPStatusCode": 403}}
    assert tracked("s3", "GetObject", refused).records == []


def test_the_same_answer_twice_is_one_event(server: Loopback) -> None:
    """And two answers are two."""
    rekognition = client(server, "rekognition")
    first, second = (rekognition.detect_labels(Image={"Bytes": b"jpeg"}) for _ in range(2))
    tracker = CollectingTracker()
    for answer in (first, first, second):
        track_aws(tracker, "user-1", "rekognition", "DetectLabels", answer)
    assert (len(tracker.records), len(tracker.ledger)) == (3, 2)


def test_attempts_that_failed_are_told_and_cost_nothing() -> None:
    """Two answers of "slow down" before the good one: one image."""
    with aws_server() as (aws, loopback):
        aws.failures = 2
        answer = client(loopback, "rekognition").detect_labels(Image={"Bytes": b"jpeg"})
    record = tracked("rekognition", "DetectLabels", answer).only()
    assert (record["quantity"], record["metadata"]["retry_attempts"]) == (10**9, "2")


@settings(deadline=None)
@given(st.integers(0, 10**10))
def test_minutes_are_exact_to_a_billionth(milliseconds: int) -> None:
    """Rounded once, half to even."""
    video = {**VIDEO, "VideoMetadata": {"DurationMillis": milliseconds}}
    record = tracked("rekognition", "GetLabelDetection", video, occurred_at=AT + timedelta(seconds=1)).only()
    assert abs(record["quantity"] * 60_000 - milliseconds * 10**9) <= 30_000


@pytest.mark.parametrize(
    ("service", "operation", "response", "options"),
    [
        ("dynamodb", "GetItem", {}, {}),
        (None, "GetItem", {}, {}),
        ("s3", None, {}, {}),
        ("s3", "GetObject", None, {}),
        ("transcribe", "GetTranscriptionJob", TRANSCRIPTION, {"audio_seconds": -1}),
        ("transcribe", "GetTranscriptionJob", TRANSCRIPTION, {"audio_seconds": "long"}),
    ],
)
def test_what_is_no_answer_is_rejected_and_raises_nothing(
    service: Any, operation: Any, response: Any, options: Any
) -> None:
    """One rejected event."""
    tracker = tracked(service, operation, response, **options)
    assert tracker.records == []
    (error,) = tracker.rejected
    assert isinstance(error, CostledgerError)
    assert isinstance(error, InvalidValue)
