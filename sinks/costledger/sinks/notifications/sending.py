"""One attempt to send a message, by whatever channel, within a deadline."""

from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import uuid4

from costledger.schemas.alerts import CLOUDEVENTS_SOURCE, Severity
from costledger.schemas.settings import Settings
from costledger.sinks.notifications.alert import utc_text
from costledger.sinks.notifications.messages import Message, plain_message
from costledger.sinks.notifications.outcome import Lifeline, Outcome, within
from costledger.sinks.notifications.people import send_chat, send_email
from costledger.sinks.notifications.targets import Channel
from costledger.sinks.notifications.webhook import post

logger = logging.getLogger(__name__)

#: An attempt has several steps (connect, greet, log in, send), each with the timeout of the settings.
_STEPS: Final = 3


#: Loggers that write whole URLs, with the tokens in them, at lower levels than these.
_TALKATIVE: Final = {"httpx": logging.WARNING, "httpcore": logging.WARNING, "urllib3": logging.WARNING}


class Endpoint(Protocol):
    """Where a message goes: a claimed route, or one that is tried out."""

    @property
    def channel(self) -> str:
        """A `Channel`."""

    @property
    def target(self) -> str:
        """The secret target."""

    @property
    def secret(self) -> str | None:
        """The key of a webhook."""

    @property
    def user_id(self) -> str | None:
        """Whose it is; None: an operator's."""


def attempt_seconds_max(settings: Settings) -> float:
    """No attempt takes longer than this."""
    return settings.delivery_timeout_http_seconds * _STEPS


def send(settings: Settings, endpoint: Endpoint, message: Message, now: datetime) -> Outcome:
    """Try once to send; `now` is the time of the attempt. Errors of the other side are an outcome, never raised."""
    channel = Channel(endpoint.channel)
    for name, level in _TALKATIVE.items():
        logging.getLogger(name).setLevel(level)

    def attempt(lifeline: Lifeline) -> Outcome:
        if channel is Channel.WEBHOOK:
            return post(settings, endpoint.target, endpoint.secret or "", message, now, lifeline)
        if channel is Channel.EMAIL:
            return send_email(settings, endpoint.target, message, now)
        return send_chat(settings, channel, endpoint.target, message)

    try:
        return within(attempt_seconds_max(settings), f"send {channel}", attempt, user_id=endpoint.user_id)
    except Exception as error:  # noqa: BLE001 - one target that cannot be coped with must not hold up the others
        # Its text and its variables may hold secrets; where it was raised does not.
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind = type(error).__name__
        logger.error("a defect in sending by %s: %s at %s:%s", channel, kind, where.filename, where.lineno)  # noqa: TRY400 - the text of the exception may hold secrets
        return Outcome.failed(f"unexpected {kind}: see the log")


def trial_message() -> Message:
    """The message with which a route is tried out."""
    message_id, now = uuid4(), datetime.now(UTC)
    document = {
        "specversion": "1.0",
        "id": str(message_id),
        "source": CLOUDEVENTS_SOURCE,
        "type": "costledger.v1.test",
        "time": utc_text(now),
        "datacontenttype": "application/json",
        "data": {"message": "costledger can reach you."},
    }
    text = "costledger can reach you: cost alerts will come this way."
    return plain_message(message_id, "INFO: test of a route for cost alerts", text, document, Severity.INFO)
