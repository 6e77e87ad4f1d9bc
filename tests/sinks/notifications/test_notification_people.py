"""Email through a real SMTP server, Slack and Teams through real HTTP servers; what is said when they fail."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from tests.sinks.notifications.receivers import MailServer, Receiver, answer, hang
from tests.sinks.notifications.test_notification_webhooks import message, row_of

from costledger.schemas.settings import Settings
from costledger.sinks.notifications.messages import Message, digest_of, message_of
from costledger.sinks.notifications.outcome import Outcome
from costledger.sinks.notifications.sending import send

SLACK = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


def sent_by(channel_name: str, target_text: str, what: Message | None = None, **settings: object) -> Outcome:
    """One attempt, now."""

    class Endpoint:
        channel = channel_name
        target = target_text
        secret = None
        user_id = None

    values = {"delivery_timeout_http_seconds": 0.4, **settings}
    return send(Settings(**values), Endpoint(), what or message(), datetime.now(UTC))


def test_an_email_is_text_and_html_for_people(mail_server: MailServer) -> None:
    """Both parts say what, how much, of what limit, when, and where the dashboard is; repeats have the same id."""
    for _ in range(2):
        assert sent_by("email", "alice@example.org", delivery_email_url=mail_server.url).delivered
    mail, again = mail_server.box.mails
    assert mail["Message-ID"] == again["Message-ID"] == f"<{message().message_id}@costs.example>"
    assert len(mail.get_all("Message-ID")) == 1
    assert mail["Subject"] == "WARNING: alice: 75 % of the budget is spent."
    assert (mail["To"], mail["From"]) == ("alice@example.org", "costledger <alerts@costs.example>")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail_server.box.envelopes[0].rcpt_tos == ["alice@example.org"]
    assert mail.get_content_type() == "multipart/alternative"
    text, html = (part.get_content() for part in mail.iter_parts())
    assert text.replace("\r\n", "\n") == (
        "75 % of the budget is spent.\n\n"
        "User      alice\n"
        "Alert     budget (warning)\n"
        "Cost      7.500000000001 USD\n"
        "Limit     7.50 USD (75 % of the budget)\n"
        "Period    2026-11-01 00:00 to 2026-12-01 00:00 UTC\n"
        "Happened  2026-11-23 02:13 UTC\n\n"
        "Dashboard: https://costs.example/dashboard\n"
    )
    for words in ("7.500000000001 USD", "7.50 USD", "2026-11-23 02:13 UTC", 'href="https://costs.example/dashboard"'):
        assert words in html


def test_names_cannot_forge_headers_or_markup(mail_server: MailServer) -> None:
    """A user id with line ends, markup and any script stays what it is: a name."""
    nasty = "eve\r\nBcc: all@example.org\n<b>☂</b>"
    what = message_of(replace(row_of(), user_id=nasty), None)
    assert sent_by("email", "ops@example.org", what, delivery_email_url=mail_server.url).delivered
    (mail,) = mail_server.box.mails
    assert mail["Bcc"] is None
    assert mail_server.box.envelopes[0].rcpt_tos == ["ops@example.org"]
    assert mail["Subject"] == "WARNING: eve Bcc: all@example.org <b>☂</b>: 75 % of the budget is spent."
    text, html = (part.get_content() for part in mail.iter_parts())
    assert "<b>" not in html
    assert "&lt;b&gt;☂" in html
    assert "\nBcc" not in text


@pytest.mark.parametrize("name", ["user_id", "message"])
def test_encoded_words_stay_words(mail_server: MailServer, name: str) -> None:
    """A name in the form of RFC 2047 is not decoded: it makes neither a header nor a body."""
    nasty = "eve =?utf-8?q?x=0d=0aBcc:_evil@x.y=0d=0a=0d=0aPWNED?= z"
    what = message_of(replace(row_of(), **{name: nasty}), None)
    assert sent_by("email", "ops@example.org", what, delivery_email_url=mail_server.url).delivered
    (mail,) = mail_server.box.mails
    assert sorted(mail.keys()) == [
        *("Auto-Submitted", "Content-Type", "Date", "From", "MIME-Version", "Message-ID", "Subject", "To"),
        *(key for key in mail if key.startswith("X-")),
    ]
    assert "PWNED" in mail["Subject"]
    assert mail.get_content_type() == "multipart/alternative"


def test_a_digest_lists_every_alert(mail_server: MailServer) -> None:
    """One email for many alerts has each of them, the first first, under the highest severity."""
    rows = [
        replace(row_of(), alert_id=uuid4(), user_id=f"user-{n}", severity="CRITICAL" if n == 3 else "INFO")
        for n in range(200)
    ]
    what = digest_of(uuid4(), rows, datetime.now(UTC), "https://costs.example/")
    assert sent_by("email", "ops@example.org", what, delivery_email_url=mail_server.url).delivered
    (mail,) = mail_server.box.mails
    assert mail["Subject"] == "CRITICAL: 200 cost alerts of 200 users"
    for part in mail.iter_parts():
        content = part.get_content()
        assert all(f"user-{n}:" in content for n in range(200))


def test_an_operators_url_names_server_and_recipients(mail_server: MailServer) -> None:
    """An operator's apprise URL is used as it is, without any mail server in the settings."""
    target = f"{mail_server.url}&to=ops@example.org,night@example.org"
    assert sent_by("email", target).delivered
    assert sorted(mail_server.box.envelopes[0].rcpt_tos) == ["night@example.org", "ops@example.org"]


def test_why_a_mail_was_not_taken(mail_server: MailServer) -> None:
    """Refused, refused for a while, hanging, nobody there, no server at all: each says so, without passwords."""
    url = mail_server.url.replace("127.0.0.1:", "me:letmein123@127.0.0.1:")
    mail_server.box.replies.extend(["554 spam", "451 try later"])
    mail_server.box.refused_recipients["gone@example.org"] = "550 no such user"
    assert "554" in str(sent_by("email", "a@example.org", delivery_email_url=mail_server.url).reason)
    assert "451" in str(sent_by("email", "a@example.org", delivery_email_url=mail_server.url).reason)
    assert "550" in str(sent_by("email", "gone@example.org", delivery_email_url=mail_server.url).reason)
    refused = str(sent_by("email", "a@example.org", delivery_email_url=url).reason)
    assert "SMTPNotSupportedError" in refused
    assert "letmein123" not in refused
    mail_server.box.hang = threading.Event()
    assert "timed out" in str(sent_by("email", "a@example.org", delivery_email_url=mail_server.url).reason)
    mail_server.box.hang.set()
    assert "COSTLEDGER_DELIVERY_EMAIL_URL" in str(sent_by("email", "a@example.org").reason)
    assert "refused" in str(
        sent_by("email", "a@example.org", delivery_email_url="mailto://127.0.0.1:1?from=a@b.example").reason
    )
    assert mail_server.box.mails == []


@pytest.fixture
def root_log() -> Iterator[io.StringIO]:
    """What a process logs that logs everything. (pytest's own capture also looks where nothing is passed on.)"""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(before)


def test_slack(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message comes to Slack's address, as text that pings nobody; its colour is the severity's."""
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"{receiver.url}/services")
    receiver.always = answer(200, body="ok")
    what = message_of(replace(row_of(), user_id="<!channel>"), "https://costs.example")
    assert sent_by("slack", SLACK, what).delivered
    (request,) = receiver.requests
    assert request.path == "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    payload = json.loads(request.body)
    assert "<!channel>" not in request.body
    assert "7.500000000001 USD" in json.dumps(payload)
    assert "https://costs.example/dashboard" in json.dumps(payload)


def test_why_slack_did_not_take_it(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, root_log: io.StringIO) -> None:
    """The reason names the status or the fault; the token is neither in it nor in any log, at whatever level."""
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"{receiver.url}/services")
    receiver.script.extend([answer(403, body="invalid_token"), answer(500), hang])
    reasons = [str(sent_by("slack", SLACK).reason) for _ in range(3)]
    assert "403" in reasons[0]
    assert "500" in reasons[1]
    assert "timed out" in reasons[2].lower()
    monkeypatch.setattr(NotifySlack, "webhook_url", "http://127.0.0.1:1/services")
    reasons.append(str(sent_by("slack", SLACK).reason))
    assert "Failed to establish" in reasons[3]
    told = "".join(reasons) + root_log.getvalue()
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in told
    assert len(receiver.requests) == 3


def test_teams(receive: Callable[..., Receiver], certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message comes to the workflow's address over TLS, a line a paragraph, without links; a failure is one."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    receiver = receive(certificate)
    receiver.script.extend([answer(202), answer(400, body="no such flow")])
    target = f"{receiver.url.replace('https', 'workflows')}/FLOW/SIGNATURE"
    what = message_of(replace(row_of(), user_id="[free](https://evil.example)"), None)
    assert sent_by("teams", target, what).delivered
    assert "400" in str(sent_by("teams", target).reason)
    assert [one.path.partition("?")[0] for one in receiver.requests] == [
        "/workflows/FLOW/triggers/manual/paths/invoke"
    ] * 2
    (card,) = json.loads(receiver.requests[0].body)["attachments"]
    title, text = (block["text"] for block in card["content"]["body"])
    assert "7.500000000001 USD\n\nLimit" in text
    assert "[" not in text + title


def test_a_long_digest_comes_in_several_messages(
    receive: Callable[..., Receiver], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is too long for one message of the service is split; every alert is in one of them."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    receiver = receive(certificate)
    rows = [replace(row_of(), alert_id=uuid4(), user_id=f"user-{n}" * 10) for n in range(200)]
    what = digest_of(uuid4(), rows, datetime.now(UTC), None)
    target = f"{receiver.url.replace('https', 'workflows')}/FLOW/SIGNATURE"
    assert sent_by("teams", target, what, delivery_timeout_http_seconds=5).delivered
    assert len(receiver.requests) > 1
    bodies = "".join(request.body for request in receiver.requests)
    assert all(f"user-{n}" * 9 in bodies for n in range(200))


def test_a_target_that_is_not_understood() -> None:
    """What apprise makes nothing of is a failure like any other."""
    assert "not understood" in str(sent_by("slack", "https://hooks.slack.com/nothing").reason)
    for host in ("a.powerplatform.attacker.example", "x.logic.azure.com:8443"):
        url = f"https://{host}/workflows/f/triggers/manual/paths/invoke?sig=abc"
        assert "not understood" in str(sent_by("teams", url).reason)
    assert "not understood" in str(sent_by("email", "mailto://").reason)


@pytest.mark.parametrize("path", ["", "/powerautomate/automations/direct", "/powerautomate/automations/direct/cu/7"])
def test_the_library_sends_to_the_workflow_that_was_given(path: str) -> None:
    """What apprise makes of a checked URL: the same host, workflow, signature and version; TLS checked, no template."""
    from costledger.sinks.notifications.people import _plugin
    from costledger.sinks.notifications.targets import Channel, parse_target

    url = (
        f"https://x.logic.azure.com{path}/workflows/f-1/triggers/manual/paths/invoke"
        "?api-version=2022-03-01-preview&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=KODu_eb-Wb&verify=no&template=/x"
    )
    plugin = _plugin(parse_target(Channel.TEAMS, url, operator=False, allow_private=False).text)
    assert (plugin.host, plugin.port, plugin.workflow) == ("x.logic.azure.com", None, "f-1")
    assert (plugin.signature, plugin.api_version) == ("KODu_eb-Wb", "2022-03-01-preview")
    assert plugin.verify_certificate
    assert not plugin.template
    assert plugin.power_automate == bool(path)
