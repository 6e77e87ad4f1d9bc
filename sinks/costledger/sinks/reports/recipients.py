"""Who gets the reports: the list of the settings, each by a fingerprint, so that no table or log holds a password."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import Settings

RECIPIENTS_MAX: Final = 100
_SETTING: Final = "COSTLEDGER_REPORT_RECIPIENTS"


@dataclass(frozen=True, slots=True)
class Recipient:
    """A target of apprise. `url` may hold passwords: it is for the sender alone."""

    url: str

    def __repr__(self) -> str:
        return f"Recipient({self.shown})"

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the address: which recipient a delivery is to."""
        return hashlib.sha256(self.url.encode()).digest()

    @property
    def shown(self) -> str:
        """For people: the kind of target and its host; nothing that could be a secret."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        # Of chats and webhooks the whole path, and often the host, is a key.
        mail = parts.scheme in {"mailto", "mailtos"}
        return f"{parts.scheme}://{host if mail else '…'} ({self.fingerprint.hex()[:8]})"


def recipients(settings: Settings) -> list[Recipient]:
    """The recipients of the settings, each once, in order. `SettingsError` where the setting is no list of them."""
    if settings.report_recipients is None:
        return []
    try:
        listed = json.loads(settings.report_recipients.get_secret_value())
    except ValueError:
        raise SettingsError(f"{_SETTING} must be a JSON list of apprise URLs") from None
    if not isinstance(listed, list) or not all(isinstance(one, str) and "://" in one for one in listed):
        raise SettingsError(f"{_SETTING} must be a JSON list of apprise URLs, such as mailtos://user:password@host")
    if len(listed) > RECIPIENTS_MAX:
        raise SettingsError(f"{_SETTING} has {len(listed)} recipients; it must be at most {RECIPIENTS_MAX}")
    return [Recipient(url) for url in dict.fromkeys(listed)]
