"""Sending a report: a mail with text and HTML to a mail address, the text to anything else that apprise knows."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from typing import Final

import apprise
from apprise.plugins.email.base import NotifyEmail

from costledger.schemas.settings import Settings
from costledger.sinks.reports.handover import Send, SendFailed
from costledger.sinks.reports.recipients import Recipient
from costledger.sinks.reports.rendering import render, subject
from costledger.sinks.reports.store import StoredReport

#: SMTP replies from here on say that trying again changes nothing (RFC 5321, section 4.2.1).
_PERMANENT_REPLY: Final = 500


def sender(settings: Settings) -> Send:
    """What sends reports, within the time limits of the settings."""

    def send(recipient: Recipient, stored: StoredReport) -> None:
        target = apprise.Apprise.instantiate(recipient.url)
        if target is None:
            raise SendFailed(f"{recipient.shown} is no target that apprise knows", permanent=True)
        if isinstance(target, NotifyEmail):
            _mail(target, recipient, stored, settings.delivery_timeout_http_seconds)
        elif not target.notify(body=render(stored, "text"), title=subject(stored)):
            raise SendFailed(f"{recipient.shown} did not take the report")

    return send


def mail_message(stored: StoredReport, sender_name: str, sender_address: str, to: list[str]) -> EmailMessage:
    """The mail of a report: text, HTML, and the figures as CSV.

    The id is derived from report and recipients: a mail that is sent twice, since the first answer was lost, can be
    known by it.
    """
    period = stored.report.period
    message = EmailMessage()
    message["Subject"] = subject(stored)
    message["From"] = formataddr((sender_name, sender_address))
    message["To"] = ", ".join(to)
    message["Date"] = format_datetime(stored.made_at)
    domain = sender_address.rpartition("@")[2]
    fingerprint = Recipient(",".join(sorted(to))).fingerprint.hex()[:16]
    name = f"costledger-{period.kind.value}-{period.date.isoformat()}"
    message["Message-ID"] = f"<{name}.{period.start_us}.{fingerprint}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(render(stored, "text"))
    message.add_alternative(render(stored, "html"), subtype="html")
    message.add_attachment(render(stored, "csv"), subtype="csv", filename=f"{name}.csv")
    return message


def _mail(target: NotifyEmail, recipient: Recipient, stored: StoredReport, timeout_seconds: float) -> None:
    """Through the server that the target names. apprise itself would make the text from the HTML, and tell no reason."""
    name, address = (str(part or "") for part in target.from_addr)
    to = [one for _, one in target.targets]
    copies = [*target.cc, *target.bcc]
    message = mail_message(stored, name or "costledger", address, to)
    if target.cc:
        message["Cc"] = ", ".join(sorted(target.cc))
    try:
        with _connected(target, timeout_seconds) as server:
            if target.user and target.password:
                server.login(target.user, target.password)
            server.send_message(message, from_addr=address, to_addrs=[*to, *copies])
    except smtplib.SMTPRecipientsRefused as error:
        replies = [code for code, _ in error.recipients.values()]
        permanent = all(code >= _PERMANENT_REPLY for code in replies)
        raise SendFailed(f"{recipient.shown} refused every recipient: {replies}", permanent=permanent) from error
    except smtplib.SMTPResponseException as error:
        raise SendFailed(f"{recipient.shown} answered {error.smtp_code}") from error
    except (OSError, smtplib.SMTPException) as error:
        raise SendFailed(f"{recipient.shown}: {type(error).__name__}: {error}") from error


def _connected(target: NotifyEmail, timeout_seconds: float) -> smtplib.SMTP:
    host, port = target.smtp_host, int(target.port or smtplib.SMTP_PORT)
    context = ssl.create_default_context()
    if not target.verify_certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if target.secure and target.secure_mode == "ssl":
        return smtplib.SMTP_SSL(host, port, timeout=timeout_seconds, context=context)
    server = smtplib.SMTP(host, port, timeout=timeout_seconds)
    if target.secure and target.secure_mode == "starttls":
        server.starttls(context=context)
    return server
