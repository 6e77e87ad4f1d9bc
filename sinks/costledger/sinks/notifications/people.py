"""Email, Slack and Teams, through apprise: it knows the services' addresses and forms.

apprise answers yes or no, and tells the reason to its logger, with tokens in it at level DEBUG. So its log goes
nowhere but here, and what is kept of it has the secrets of the target taken out.
"""

from __future__ import annotations

import logging
import re
import smtplib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Final

from costledger.schemas.alerts import Severity
from costledger.schemas.errors import InvalidValue
from costledger.schemas.settings import Settings
from costledger.sinks.notifications.messages import Message
from costledger.sinks.notifications.outcome import Outcome
from costledger.sinks.notifications.targets import Channel, parse_target

_LOGGER: Final = logging.getLogger("apprise")
_MAIL: Final = SMTP.clone(cte_type="7bit")
#: A part of a target that is shorter is no secret, and would blot out common words.
_SECRET_CHARACTERS_MIN: Final = 5
#: Colours and signs of messages, in the library's terms.
_KINDS: Final = {Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}
#: What makes links and emphasis in Markdown, by what looks like it and makes nothing.
_NO_MARKUP: Final = str.maketrans({"[": "(", "]": ")", "*": "∗", "<": "‹", ">": "›", "`": "'"})

_loading = threading.Lock()
_loaded = False


def send_email(settings: Settings, target: str, message: Message, now: datetime) -> Outcome:
    """Send an email of text and HTML; `target` is an address, or an apprise URL that names server and recipients.

    Message-ID is made of the message's id: the same in every attempt, so that mail systems can tell a repeat.
    """
    if "://" in target:
        server, recipients = target, None
    elif settings.delivery_email_url is None:
        return Outcome.failed("no mail server: set COSTLEDGER_DELIVERY_EMAIL_URL")
    else:
        server, recipients = settings.delivery_email_url.get_secret_value(), [target]
    plugin = _plugin(server)
    if plugin is None or plugin.protocol != "mailto":
        return Outcome.failed("the mail server's URL is not understood (mailto:// or mailtos://, with ?from=)")
    addresses = recipients or [address for _, address in plugin.targets]
    if not addresses:
        return Outcome.failed("the mail server's URL names no recipient (?to=)")
    sender = str(plugin.from_addr[1])
    mail = build_email(sender, addresses, message, now)
    from apprise.plugins.email.smtp import AppriseSMTPController

    controller: Any = AppriseSMTPController
    connection = controller(
        host=plugin.smtp_host,
        port=plugin.port,
        secure_mode=plugin.secure_mode,
        user=plugin.user,
        password=plugin.password,
        verify_certificate=plugin.verify_certificate,
        socket_connect_timeout=settings.delivery_timeout_http_seconds,  # of every read and write, too
    )
    try:
        with _reasons() as lines, connection as smtp:
            taken = smtp.sendmail(sender, addresses, mail.as_bytes())
    except (OSError, smtplib.SMTPException) as error:
        return Outcome.failed(_without_secrets(f"mail server: {type(error).__name__}: {error}", server))
    return Outcome() if taken else Outcome.failed(_why(lines, server, "the mail server did not take it"))


def build_email(sender: str, recipients: list[str], message: Message, now: datetime) -> EmailMessage:
    """The email of a message, as text with HTML beside it."""
    # In characters of seven bits: no server needs to be asked what it can.
    mail = EmailMessage(policy=_MAIL)
    mail["Subject"] = _without_encoded_words(message.subject)
    mail["From"] = f"costledger <{sender}>"
    mail["To"] = ", ".join(recipients)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = f"<{message.message_id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    return mail


def _without_encoded_words(text: str) -> str:
    """Text that holds no encoded word (RFC 2047): the library would decode it, line ends and all, into headers."""
    return text.replace("=?", "= ?")


def send_chat(settings: Settings, channel: Channel, target: str, message: Message) -> Outcome:
    """Send to Slack or Teams; `target` is the service's own https URL, or an apprise URL.

    It is checked again: nothing goes to apprise that is no target now, whatever was one when the route was added.
    """
    try:
        checked = parse_target(channel, target, operator=True, allow_private=False)
    except InvalidValue:
        return Outcome.failed("the target is not understood")
    plugin = _plugin(checked.text)
    if plugin is None:
        return Outcome.failed("the target is not understood")
    plugin.socket_connect_timeout = plugin.socket_read_timeout = settings.delivery_timeout_http_seconds
    plugin.overflow_mode = "split"  # what is too long for one message becomes several
    plugin.include_image = False  # apprise's own, from a server of others
    plugin.request_rate_per_sec = 0  # waits between messages are ours: one at a time, and a digest for floods
    # What is in Markdown's format is not converted: Teams' cards would show the escapes.
    card = plugin.notify_format == "markdown"
    with _reasons() as lines:
        taken = plugin.notify(
            body=_card_text(message.text) if card else message.text,
            title=_card_text(message.subject) if card else message.subject,
            notify_type=_KINDS.get(Severity(message.severity), "info"),
            body_format="markdown" if card else "text",
        )
    return Outcome() if taken else Outcome.failed(_why(lines, target, "the service did not take it"))


def _card_text(text: str) -> str:
    """Text for Teams' cards, which know some Markdown: a paragraph a line, and nobody's name makes a link."""
    return "\n\n".join(line.translate(_NO_MARKUP) for line in text.splitlines() if line)


def _plugin(url: str) -> Any:
    """apprise's object for a URL, or None. Loads the library, which is slow, when it is first needed."""
    global _loaded  # noqa: PLW0603 - the library is loaded once for the process
    with _loading, warnings.catch_warnings():
        if not _loaded:
            # It imports modules that Python is about to drop, and does without them.
            warnings.simplefilter("ignore", DeprecationWarning)
        import apprise

        _LOGGER.propagate = False
        asset = apprise.AppriseAsset(app_id="costledger", app_desc="Cost alerts", http_redirects=False)
        plugin = apprise.Apprise.instantiate(url, asset=asset)
        _loaded = True
    return plugin


class _ThreadLines(logging.Handler):
    """Keeps what the thread that made it logs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[tuple[int, str]] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.lines.append((record.levelno, record.getMessage()))


@contextmanager
def _reasons() -> Iterator[list[tuple[int, str]]]:
    """Gather what apprise logs in this thread; nothing of it goes to other handlers."""
    _LOGGER.propagate = False
    _LOGGER.setLevel(logging.DEBUG)
    handler = _ThreadLines()
    _LOGGER.addHandler(handler)
    try:
        yield handler.lines
    finally:
        _LOGGER.removeHandler(handler)


def _why(lines: list[tuple[int, str]], target: str, otherwise: str) -> str:
    """The reason in what was logged: warnings, and the exception or answer that is behind them."""
    told = [
        line
        for level, line in lines
        if level >= logging.WARNING or line.startswith(("Socket Exception:", "Response Details:"))
    ]
    return _without_secrets("; ".join(told) or otherwise, target)


def _without_secrets(text: str, target: str) -> str:
    """The text without the parts of the target: tokens, passwords, names."""
    parts = {part for part in re.split(r"[/:@?&=#%]+", target) if len(part) >= _SECRET_CHARACTERS_MIN}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    return text
