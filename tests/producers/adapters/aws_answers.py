"""A server that answers in the protocols of four AWS services, so that botocore's own parsers make the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.loaders import create_loader
from tests.producers.loopback import Asked, Loopback, Reply, serving

from costledger.schemas.times import parse_time

AT = parse_time("2026-11-23T09:00:00Z")
#: Remembers the service models, which take longer to read than everything else here.
LOADER = create_loader()
OBJECT = b"x" * 1_000_000


LABELS = {"Labels": [{"Name": "Dog", "Confidence": 99.5, "Instances": [], "Parents": []}], "LabelModelVersion": "3.0"}
VIDEO = {
    "JobStatus": "SUCCEEDED",
    "VideoMetadata": {"Codec": "h264", "DurationMillis": 90_500, "Format": "MP4", "FrameRate": 25.0},
    "Labels": [],
    "JobId": "job-1",
}
SENTIMENT = {
    "Sentiment": "POSITIVE",
    "SentimentScore": {"Positive": 0.99, "Negative": 0.0, "Neutral": 0.01, "Mixed": 0.0},
}
TRANSCRIPTION = {
    "TranscriptionJob": {
        "TranscriptionJobName": "talk",
        "TranscriptionJobStatus": "COMPLETED",
        "LanguageCode": "en-US",
        "MediaFormat": "mp3",
        "Media": {"MediaFileUri": "s3://bucket/talk.mp3"},
        "CreationTime": AT,
        "CompletionTime": AT,
    }
}
ANSWERS: dict[str, Any] = {
    "DetectLabels": LABELS,
    "GetLabelDetection": VIDEO,
    "DetectSentiment": SENTIMENT,
    "BatchDetectSentiment": {
        "ResultList": [{"Index": 0, **SENTIMENT}, {"Index": 2, **SENTIMENT}],
        "ErrorList": [{"Index": 1, "ErrorCode": "InternalServerException", "ErrorMessage": "no"}],
    },
    "GetTranscriptionJob": TRANSCRIPTION,
    "ListTranscriptionJobs": {"TranscriptionJobSummaries": []},
    "ListCollections": {"CollectionIds": [], "FaceModelVersions": []},
}
LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix></Prefix>
<KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"""
MISSING = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>none</Key></Error>"""


class Aws:
    """The answers, with a request id of its own for each.

    As many failures first as `failures` says; `seconds_between` answers, by the date that they have.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.failures = 0
        self.seconds_between = 0

    def answer(self, asked: Asked) -> Reply:
        """What the services say."""
        self.requests += 1
        date = AT + timedelta(seconds=(self.requests - 1) * self.seconds_between)
        headers = {"Date": format_datetime(date, usegmt=True), "x-amzn-RequestId": f"request-{self.requests}"}
        if self.failures:
            self.failures -= 1
            body = b'{"__type": "ThrottlingException", "message": "slow"}'
            return Reply(body, 400, {**headers, "Content-Type": "application/x-amz-json-1.1"})
        target = {name.lower(): value for name, value in asked.headers.items()}.get("x-amz-target")
        if target is not None:
            content = {"Content-Type": "application/x-amz-json-1.1"}
            answer = json.dumps(ANSWERS[target.split(".")[1]], default=datetime.timestamp)
            return Reply(answer.encode(), headers={**headers, **content})
        return self._s3(asked, {**headers, "x-amz-request-id": f"request-{self.requests}"})

    def _s3(self, asked: Asked, headers: dict[str, str]) -> Reply:
        xml = {**headers, "Content-Type": "application/xml"}
        if asked.path.endswith("/none"):
            return Reply(b"" if asked.method == "HEAD" else MISSING, 404, xml)
        if "list-type" in asked.path:
            return Reply(LISTING, headers=xml)
        if asked.method in ("GET", "HEAD"):
            return Reply(OBJECT, headers={**headers, "Content-Type": "application/octet-stream", "ETag": '"e"'})
        return Reply(b"", 204 if asked.method == "DELETE" else 200, {**headers, "ETag": '"e"'})


@contextmanager
def aws_server() -> Iterator[tuple[Aws, Loopback]]:
    """The services, and where they are."""
    aws = Aws()
    with serving(aws.answer) as loopback:
        yield aws, loopback


def session() -> botocore.session.Session:
    """A session with credentials that open nothing."""
    made = botocore.session.Session()
    made.register_component("data_loader", LOADER)
    made.set_credentials("access", "secret")
    return made


def client_of(made: botocore.session.Session, service: str, url: str) -> Any:
    """A real client of a service, that asks the server on the loopback address."""
    config = Config(retries={"mode": "standard", "max_attempts": 3}, s3={"addressing_style": "path"})
    return made.create_client(service, region_name="us-east-1", endpoint_url=url, config=config)
