"""Who gets the reports: the list of the settings, each by a fingerprint, so that no table or log holds a password."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from costledger.schemas.errors import InvalidValue, SettingsError
from costledger.schemas.settings import Settings
from costledger.sinks.notifications.targets import Channel, parse_target

RECIPIENTS_MAX: Final = 100
_SETTING: Final = "COSTLEDGER_REPORT_RECIPIENTS"
_SLACK_HOSTS: Final = ("hooks.slack.com", "hooks.slack-gov.com")


@dataclass(frozen=True, slots=True)
class Recipient:
    """Where reports go, as alerts do (`notifications.sending.Endpoint`). `target` is a secret; `shown` is for people."""

    channel: str
    target: str
    shown: str
    secret: None = None
    user_id: None = None

    def __repr__(self) -> str:
        return f"Recipient({self.shown})"

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the target: which recipient a delivery is to."""
        return hashlib.sha256(self.target.encode()).digest()


def recipients(settings: Settings) -> list[Recipient]:
    """The recipients of the settings, each once, in order. `SettingsError` where the setting is no list of them."""
    if settings.report_recipients is None:
        return []
    try:
        listed = json.loads(settings.report_recipients.get_secret_value())
    except ValueError:
        raise SettingsError(f"{_SETTING} must be a JSON list") from None
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise SettingsError(f'{_SETTING} must be a JSON list of texts, such as ["costs@example.org"]')
    if len(listed) > RECIPIENTS_MAX:
        raise SettingsError(f"{_SETTING} has {len(listed)} recipients; it must have at most {RECIPIENTS_MAX}")
    found = [_recipient(number, one, settings) for number, one in enumerate(listed, 1)]
    return list({one.target: one for one in found}.values())


def _recipient(number: int, text: str, settings: Settings) -> Recipient:
    channel = _channel(text)
    try:
        target = parse_target(channel, text, operator=True, allow_private=settings.delivery_allow_private_targets)
    except InvalidValue as error:
        raise SettingsError(f"recipient {number} of {_SETTING} must be {error.limit}") from None
    if channel is Channel.EMAIL and "://" not in target.text and settings.delivery_email_url is None:
        raise SettingsError(f"recipient {number} of {_SETTING} is an address: set COSTLEDGER_DELIVERY_EMAIL_URL")
    return Recipient(channel.value, target.text, target.shown)


def _channel(text: str) -> Channel:
    scheme, slashes, _ = text.strip().partition("://")
    if not slashes or scheme in {"mailto", "mailtos"}:
        return Channel.EMAIL
    try:
        slack = scheme == "slack" or urlsplit(text).hostname in _SLACK_HOSTS
    except ValueError:
        slack = False
    return Channel.SLACK if slack else Channel.TEAMS
