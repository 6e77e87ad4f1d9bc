"""Webhooks against real HTTP servers that answer, refuse, hang, drip, break, redirect and lie."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from tests.fixtures.wait import wait_until
from tests.sinks.notifications import receivers
from tests.sinks.notifications.conftest import ALERT
from tests.sinks.notifications.receivers import Behaviour, Receiver, answer

from costledger.schemas.settings import Settings
from costledger.schemas.times import from_microseconds
from costledger.sinks.notifications.alert import Alert
from costledger.sinks.notifications.messages import Message, digest_of, message_of
from costledger.sinks.notifications.outcome import Lifeline, Outcome, within
from costledger.sinks.notifications.sending import attempt_seconds_max, send
from costledger.sinks.notifications.webhook import new_secret, post, retry_after_seconds

SETTINGS = Settings(delivery_allow_private_targets=True, delivery_timeout_http_seconds=0.4)
SECRET = new_secret()


def row_of() -> Alert:
    """The alert as it is read from the ledger."""
    record = ALERT.to_record()
    record.update(alert_id=ALERT.alert_id, actual=Decimal("7.500000000001"), limit=Decimal("7.500000000000"))
    return Alert(**record)


def message() -> Message:
    """A message of one alert."""
    return message_of(row_of(), "https://costs.example")


def sent_to(url: str, what: Message | None = None, settings: Settings = SETTINGS) -> Outcome:
    """One attempt, with its deadline, now."""

    class Endpoint:
        channel = "webhook"
        target = url
        secret = SECRET
        user_id = None

    return send(settings, Endpoint(), what or message(), datetime.now(UTC))


def test_a_webhook_is_signed_and_carries_the_alert(receiver: Receiver) -> None:
    """The library's own check takes the signature; the id is the alert's, and money is decimal text."""
    assert sent_to(f"{receiver.url}/hook?a=b").delivered
    (request,) = receiver.requests
    document = Webhook(SECRET).verify(request.body, request.headers)
    assert request.path == "/hook?a=b"
    assert request.headers["webhook-id"] == str(ALERT.alert_id) == document["id"] == document["data"]["alert_id"]
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["host"] == f"127.0.0.1:{receiver.server_port}"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 10
    assert document["type"] == "costledger.v1.alert.budget_threshold"
    assert document["time"] == from_microseconds(ALERT.raised_at).isoformat().replace("+00:00", "Z")
    data = document["data"]
    assert (data["actual"], data["limit"], data["threshold_percent"]) == ("7.500000000001", "7.50", "75")
    assert data["user_id"] == document["subject"] == "alice"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body.replace("alice", "bob"), request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(request.body, request.headers)


def test_a_signature_is_right_in_any_time_zone_and_script(receiver: Receiver) -> None:
    """The time of the attempt may be in any zone and the text in any script: the signature is of what is sent."""
    what = digest_of(uuid4(), [row_of()], datetime.now(UTC), None)
    what.document["data"]["note"] = "prēmio ☂ 予算"
    now = datetime.now(timezone(timedelta(hours=9)))
    assert post(SETTINGS, receiver.url, SECRET, what, now).delivered
    (request,) = receiver.requests
    assert Webhook(SECRET).verify(request.body, request.headers) == json.loads(what.body())


@pytest.mark.parametrize(
    ("behaviour", "reason", "retry_after_seconds", "gone"),
    [
        (answer(500, body="no\nmore  room"), "HTTP 500 Internal Server Error: no more room", None, False),
        (answer(400, body="x" * 9999), "HTTP 400 Bad Request: xxx", None, False),
        (answer(429, {"Retry-After": "120"}), "HTTP 429 Too Many Requests", 120, False),
        (answer(503, {"Retry-After": "soon"}), "HTTP 503 Service Unavailable", None, False),
        (answer(410), "HTTP 410 Gone", None, True),
        (answer(301, {"Location": "http://127.0.0.1/other"}), "redirects are not followed", None, False),
        (answer(307, {"Location": "/other"}), "redirects are not followed", None, False),
        (receivers.hang, "no answer after 0.4 s", None, False),
        (receivers.drip, "no answer within 1.2 s", None, False),
        (receivers.close_mid_way, "broken answer", None, False),
        (receivers.endless_error, "HTTP 500 No: error error", None, False),
        (receivers.not_http, "broken answer", None, False),
    ],
)
def test_what_is_no_success_is_a_failure_with_its_reason(
    receiver: Receiver, behaviour: Behaviour, reason: str, retry_after_seconds: float | None, gone: bool
) -> None:
    """However a server misbehaves: one request, within the deadline, and a short reason on one line."""
    receiver.always = behaviour
    began = time.monotonic()
    outcome = sent_to(f"{receiver.url}/hook")
    assert time.monotonic() - began < attempt_seconds_max(SETTINGS) + 1
    assert outcome.reason is not None
    assert reason in outcome.reason
    assert len(outcome.reason) <= 300
    assert "\n" not in outcome.reason
    assert (outcome.retry_after_seconds, outcome.gone) == (retry_after_seconds, gone)
    assert [one.path for one in receiver.requests] == ["/hook"]


def drip_body(handler: receivers.Handler) -> None:
    """Refuse, and send a byte of the reason now and then, for ever."""
    handler.wfile.write(b"HTTP/1.1 500 No\r\n\r\n")
    while not handler.server.ending.wait(0.05):
        handler.wfile.write(b"a")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("behaviour", [receivers.drip, drip_body])
def test_an_attempt_ends_with_its_deadline(
    behaviour: Behaviour,
    tls: bool,
    receive: Callable[..., Receiver],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that drips for ever holds the connection and its thread until the deadline, and no longer."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    from costledger.sinks.notifications import webhook

    webhook._tls.cache_clear()
    try:
        receiver = receive(certificate if tls else None)
        receiver.always = behaviour
        before = set(threading.enumerate())
        assert "no answer within 1.2 s" in str(sent_to(receiver.url).reason)
        mine = [one for one in threading.enumerate() if one not in before and one.name == "send webhook"]
        wait_until(lambda: not any(one.is_alive() for one in mine), 2, "the thread has ended")
        assert len(receiver.requests) == 1
    finally:
        webhook._tls.cache_clear()


def test_one_users_attempts_leave_room_for_others() -> None:
    """What hangs and cannot be cut takes up its owner's places: other users' and operators' attempts go on."""
    end = threading.Event()

    def stuck(_: Lifeline) -> Outcome:
        end.wait(30)
        return Outcome()

    try:
        reasons = [str(within(0.01, "stuck", stuck, user_id="eve").reason) for _ in range(6)]
        assert ["not attempted" in one for one in reasons] == [False] * 4 + [True] * 2
        for other in ("alice", None):
            assert within(5, "other", lambda _: Outcome(), user_id=other).delivered
    finally:
        end.set()
    wait_until(lambda: within(5, "again", lambda _: Outcome(), user_id="eve").delivered, 5, "the places are free again")


def test_the_first_answer_counts(receiver: Receiver) -> None:
    """A server that answers twice has taken the message once."""
    receiver.always = receivers.answer_twice
    assert sent_to(receiver.url).delivered
    assert sent_to(receiver.url).delivered
    assert len(receiver.requests) == 2


def test_nobody_there() -> None:
    """A port where nobody listens, and a name that does not exist."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert "no connection" in str(sent_to(f"http://127.0.0.1:{unused.getsockname()[1]}/").reason)
    for host in ("nobody.invalid", "bücher.invalid", "a..b", f"{'a' * 70}.example"):
        assert "name not found" in str(sent_to(f"http://{host}/").reason)


def test_a_defect_is_a_failure_of_this_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody has thought of is logged with its place, without what it was about; the route rests, as ever."""
    broken = message()
    broken.document["data"] = object()
    assert "unexpected TypeError" in str(sent_to("http://127.0.0.1:1/?very-secret", broken).reason)
    assert "a defect in sending by webhook: TypeError at" in caplog.text
    assert "very-secret" not in caplog.text


def test_private_addresses_are_refused_when_connecting(receiver: Receiver) -> None:
    """A name that leads to this machine is refused at the time of sending, whatever it led to when it was added."""
    careful = Settings(delivery_timeout_http_seconds=0.4)
    port = receiver.server_port
    for host in ("127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "[::ffff:127.0.0.1]"):
        outcome = sent_to(f"http://{host}:{port}/", settings=careful)
        assert "not public" in str(outcome.reason), host
    assert receiver.requests == []


def test_a_certificate_that_nobody_knows_is_refused(receive: Callable[..., Receiver], certificate: Path) -> None:
    """TLS is checked: no request is made to a server that cannot show who it is."""
    receiver = receive(certificate)
    assert "certificate" in str(sent_to(receiver.url).reason).lower()
    assert receiver.requests == []


def test_the_name_is_checked_and_not_the_address(
    receive: Callable[..., Receiver], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes to the address that was resolved; the certificate must be for the name in the URL."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    from costledger.sinks.notifications import webhook

    webhook._tls.cache_clear()
    try:
        receiver = receive(certificate)
        assert sent_to(receiver.url).delivered
        assert "certificate" in str(sent_to(receiver.url.replace("127.0.0.1", "localhost")).reason).lower()
    finally:
        webhook._tls.cache_clear()


def test_retry_after_is_seconds_or_a_date() -> None:
    """Both forms of the header are understood; what is neither says nothing."""
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    assert retry_after_seconds("90", now) == 90
    assert retry_after_seconds("Tue, 24 Nov 2026 12:01:00 GMT", now) == 60
    assert retry_after_seconds("Tue, 24 Nov 2026 11:00:00 GMT", now) == 0
    for nothing in (None, "", "-5", "1e9", "²", "tomorrow", "Tue, 99 Nov 2026 12:01:00 GMT"):
        assert retry_after_seconds(nothing, now) is None
