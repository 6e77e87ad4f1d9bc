"""The hook on real botocore clients: what is tracked, whose it is, and that nothing changes for the caller."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from tests.producers.adapters.aws_answers import aws_server, client_of, session
from tests.producers.collecting import CollectingTracker
from tests.producers.loopback import Loopback

from costledger.producers.adapters import instrument_botocore
from costledger.schemas.errors import InvalidValue

USER: ContextVar[str] = ContextVar("user")


def operations(tracker: CollectingTracker) -> list[str]:
    """Service, operation and amount of every event."""
    return [f"{record['service']} {record['operation']} {record['amount']}" for record in tracker.records]


def test_all_four_services_of_a_session_are_tracked(server: Loopback, tracker: CollectingTracker) -> None:
    """Clients made after the session was instrumented; what costs nothing passes by."""
    made = session()
    with instrument_botocore(
        made, tracker, user="user-1", leaves_aws=True, audio_seconds=lambda _: 90, metadata={"app": "a"}
    ):
        rekognition = client_of(made, "rekognition", server.url)
        assert rekognition.detect_labels(Image={"Bytes": b"jpeg"})["Labels"][0]["Name"] == "Dog"
        rekognition.list_collections()
        comprehend = client_of(made, "comprehend", server.url)
        comprehend.detect_sentiment(Text="x" * 250, LanguageCode="en")
        comprehend.batch_detect_sentiment(TextList=["a", "b", "c"], LanguageCode="en")
        transcribe = client_of(made, "transcribe", server.url)
        transcribe.get_transcription_job(TranscriptionJobName="talk")
        transcribe.list_transcription_jobs()
        s3 = client_of(made, "s3", server.url)
        s3.put_object(Bucket="bucket", Key="k", Body=b"abc")
        assert len(s3.get_object(Bucket="bucket", Key="k")["Body"].read()) == 1_000_000
        s3.delete_object(Bucket="bucket", Key="k")
    assert operations(tracker) == [
        "aws-rekognition detectLabels 1000000000",
        "aws-comprehend detectSentiment 300000000",
        "aws-comprehend detectSentiment 200000000",
        "aws-transcribe transcription 36000000000",
        "aws-s3 put 5000000",
        "aws-s3 get 400000",
        "aws-s3 transfer 83819070",
    ]
    assert tracker.rejected == []
    assert {record["metadata"]["app"] for record in tracker.records} == {"a"}
    assert len(tracker.ledger) == 7


def test_a_finished_job_that_is_looked_at_again_is_tracked_once(tracker: CollectingTracker) -> None:
    """Polls a minute apart, pages, and the unpriced job of a transcription of unknown length."""
    made = session()
    instrument_botocore(made, tracker, user="user-1")
    with aws_server() as (aws, loopback):
        aws.seconds_between = 60
        rekognition = client_of(made, "rekognition", loopback.url)
        transcribe = client_of(made, "transcribe", loopback.url)
        for _ in range(3):
            rekognition.get_label_detection(JobId="job-1")
            rekognition.get_label_detection(JobId="job-1", NextToken="page")
            transcribe.get_transcription_job(TranscriptionJobName="talk")
    units = sorted((record["unit"], record["amount"]) for record in tracker.ledger.values())
    assert units == [("job", None), ("minute", 150_833_333_300)]


def test_a_client_keeps_the_hook_of_its_session(server: Loopback, tracker: CollectingTracker) -> None:
    """Twice is once, on either; undone it tracks no more, and another hook can take its place."""
    made = session()
    first = instrument_botocore(made, tracker, user="user-1")
    rekognition = client_of(made, "rekognition", server.url)
    assert instrument_botocore(made, CollectingTracker(), user="user-2") is first
    assert instrument_botocore(rekognition, CollectingTracker(), user="user-2") is first
    rekognition.detect_labels(Image={"Bytes": b"jpeg"})
    assert len(tracker.records) == 1
    first.undo()
    first.undo()
    rekognition.detect_labels(Image={"Bytes": b"jpeg"})
    assert len(tracker.records) == 1
    other = CollectingTracker()
    with instrument_botocore(rekognition, other, user="user-2") as second:
        assert second is not first
        rekognition.detect_labels(Image={"Bytes": b"jpeg"})
    rekognition.detect_labels(Image={"Bytes": b"jpeg"})
    assert [record["user_id"] for record in other.records] == ["user-2"]


def test_errors_are_the_callers_and_cost_what_the_service_charges(server: Loopback, tracker: CollectingTracker) -> None:
    """A wrong parameter never leaves the process; a missing object is a request to S3."""
    made = session()
    instrument_botocore(made, tracker, user="user-1", leaves_aws=True)
    with pytest.raises(ParamValidationError):
        client_of(made, "rekognition", server.url).detect_labels(Picture=1)
    with pytest.raises(ClientError, match="NoSuchKey"):
        client_of(made, "s3", server.url).get_object(Bucket="bucket", Key="none")
    assert operations(tracker) == ["aws-s3 get 400000"]


class Failing(CollectingTracker):
    """A tracker that raises, as a strict one may."""

    def reject(self, error: Exception) -> Any:
        """Raise."""
        raise error

    def _keep(self, *_: Any) -> Any:
        raise InvalidValue("tracker", "strict", "lenient")


def test_nothing_that_goes_wrong_in_tracking_reaches_the_caller(server: Loopback) -> None:
    """Neither from a strict tracker nor from the function that names the user."""
    made = session()
    with instrument_botocore(made, Failing(), user="user-1"):
        assert client_of(made, "rekognition", server.url).detect_labels(Image={"Bytes": b"jpeg"})["Labels"]
    with instrument_botocore(made, Failing(), user=USER.get):  # nobody has set it
        assert client_of(made, "rekognition", server.url).detect_labels(Image={"Bytes": b"jpeg"})["Labels"]
    tracker = CollectingTracker()
    with instrument_botocore(made, tracker, user=USER.get):
        client_of(made, "rekognition", server.url).detect_labels(Image={"Bytes": b"jpeg"})
    assert ([type(error) for error in tracker.rejected], tracker.records) == ([LookupError], [])


def test_threads_ask_for_their_own_users(server: Loopback, tracker: CollectingTracker) -> None:
    """One client, eight threads: the user is asked for in the thread that calls."""
    made = session()
    instrument_botocore(made, tracker, user=USER.get)
    comprehend = client_of(made, "comprehend", server.url)

    def work(number: int) -> None:
        USER.set(f"user-{number}")
        for _ in range(5):
            comprehend.detect_sentiment(Text="x" * (number * 100 + 1), LanguageCode="en")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert tracker.rejected == []
    units = sorted((record["user_id"], record["quantity"] // 10**9) for record in tracker.records)
    assert units == sorted((f"user-{number}", number + 1) for number in range(8) for _ in range(5))


@pytest.mark.parametrize("thing", [None, object(), "client"])
def test_what_has_no_events_is_refused(thing: Any, tracker: CollectingTracker) -> None:
    """At once: this is a mistake of the program, not of a call."""
    with pytest.raises(InvalidValue, match="client_or_session"):
        instrument_botocore(thing, tracker, user="user-1")


def test_an_object_with_events_as_boto3s_session_is_taken(server: Loopback, tracker: CollectingTracker) -> None:
    """boto3's session has the emitter of botocore's as `events`."""

    class Boto3Session:
        def __init__(self, inner: botocore.session.Session) -> None:
            self.events = inner.get_component("event_emitter")

    made = session()
    instrument_botocore(Boto3Session(made), tracker, user="user-1")
    client_of(made, "rekognition", server.url).detect_labels(Image={"Bytes": b"jpeg"})
    assert operations(tracker) == ["aws-rekognition detectLabels 1000000000"]
