"""What a route may point to, channel by channel; and how a target is shown without its secrets. No I/O."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

import httpx

from costledger.schemas.errors import InvalidValue
from costledger.sinks.notifications.addresses import is_public, literal

TARGET_CHARACTERS_MAX: Final = 2048
_ADDRESS: Final = re.compile(
    r"(?!.*=\?)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,188}[A-Za-z0-9])?"
)
#: Hosts that can only be this machine or this network.
_LOCAL_NAMES: Final = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")
_SLACK_HOSTS: Final = ("hooks.slack.com", "hooks.slack-gov.com")
_SLACK_PATH: Final = re.compile(r"/services/T[A-Z0-9]+/[A-Z][A-Z0-9]+/[A-Za-z0-9]+")
#: Domains that nobody but Microsoft gives names in. Workflows of its other clouds are for operators: `workflows://`.
_TEAMS_HOST: Final = re.compile(
    r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:logic\.azure\.com|environment\.api\.powerplatform\.com)"
)
_TEAMS_PATH: Final = re.compile(
    r"(?:/powerautomate/automations/direct(?:/cu/[0-9]+)?)?/workflows/[A-Za-z0-9_-]+/triggers/manual/paths/invoke"
)
#: What of a query goes on. apprise takes orders there: which file to send, whether to check TLS.
_TEAMS_QUERY: Final = ("api-version", "sp", "sv", "sig")
_TEAMS_VALUE: Final = re.compile(r"[A-Za-z0-9_./~-]{1,512}")
_HTTPS_PORT: Final = 443
#: Schemes of apprise, which only operators may give: they name servers of any kind.
_APPRISE_SCHEMES: Final = {
    "email": ("mailto", "mailtos"),
    "slack": ("slack",),
    "teams": ("workflow", "workflows"),
}


class Channel(StrEnum):
    """How a message reaches people."""

    EMAIL = "email"
    SLACK = "slack"
    TEAMS = "teams"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go. `text` is a secret; `key` tells targets apart; `shown` is for people and logs."""

    text: str
    key: str
    shown: str

    def __repr__(self) -> str:
        return f"Target({self.shown})"


def parse_target(channel: Channel, text: str, *, operator: bool, allow_private: bool) -> Target:
    """The target of a route; `InvalidValue` where the channel does not take it, without the target in its text.

    Users may give an email address, an incoming webhook of Slack or Teams, or an https URL for a webhook. Operators
    may give apprise URLs besides (`mailtos://`, `slack://`, `workflows://`). `allow_private` also lets webhooks be
    http and local.
    """
    text = text.strip()
    if not 0 < len(text) <= TARGET_CHARACTERS_MAX or not text.isprintable() or " " in text:
        raise _refused(text, f"1 to {TARGET_CHARACTERS_MAX} printable characters without spaces")
    if channel is Channel.EMAIL and _ADDRESS.fullmatch(text):
        name, _, domain = text.rpartition("@")
        return _target(f"{name}@{domain.lower()}", f"{name[:1]}…@{domain.lower()}")
    parts = _split(text)
    host = (parts.hostname or "").lower()
    if parts.scheme in _APPRISE_SCHEMES.get(channel, ()):
        if not operator:
            raise _refused(text, "an address or https URL; apprise URLs are for operators")
        return _target(text, f"{parts.scheme}://…" if channel is Channel.SLACK else f"{parts.scheme}://{host}/…")
    if channel is Channel.EMAIL:
        raise _refused(text, "an email address")
    if channel is Channel.WEBHOOK:
        _check_webhook(text, parts, host, allow_private=allow_private)
        return _target(text, f"{parts.scheme}://{parts.netloc.lower()}/…")
    service = _slack_url(parts, host) if channel is Channel.SLACK else _teams_url(parts, host)
    if service is None:
        name = "Slack" if channel is Channel.SLACK else "Teams (a workflow of Power Automate)"
        raise _refused(text, f"the https URL of an incoming webhook of {name}")
    return _target(service, f"https://{host}/…")


def _slack_url(parts: SplitResult, host: str) -> str | None:
    """The URL of a webhook of Slack, made anew of what may be in it; None for another URL."""
    if not _is_plain_https(parts) or host not in _SLACK_HOSTS or not _SLACK_PATH.fullmatch(parts.path.rstrip("/")):
        return None
    return f"https://{host}{parts.path.rstrip('/')}"


def _teams_url(parts: SplitResult, host: str) -> str | None:
    """The URL of a workflow, made anew of what may be in it; None for another URL."""
    path = parts.path.rstrip("/")
    if not _is_plain_https(parts) or not _TEAMS_HOST.fullmatch(host) or not _TEAMS_PATH.fullmatch(path):
        return None
    given = parse_qs(parts.query, keep_blank_values=True)
    query: dict[str, str] = {}
    for name in _TEAMS_QUERY:
        values = given.get(name, [])
        if len(values) > 1 or not all(map(_TEAMS_VALUE.fullmatch, values)):
            return None
        query.update((name, value) for value in values)
    return f"https://{host}{path}?{urlencode(query)}" if "sig" in query else None


def _is_plain_https(parts: SplitResult) -> bool:
    return parts.scheme == "https" and "@" not in parts.netloc and parts.port in (None, _HTTPS_PORT)


def _check_webhook(text: str, parts: SplitResult, host: str, *, allow_private: bool) -> None:
    schemes = ("https", "http") if allow_private else ("https",)
    if parts.scheme not in schemes or not host:
        raise _refused(text, "an https URL (COSTLEDGER_DELIVERY_ALLOW_PRIVATE_TARGETS allows others)")
    if parts.username is not None or parts.password is not None:
        raise _refused(text, "a URL without user and password: the signature says who sends")
    if parts.fragment:
        raise _refused(text, "a URL without a fragment")
    if allow_private:
        return
    # As resolvers read it: compatibility forms of dots and digits are plain ones, and a last dot says nothing.
    name = unicodedata.normalize("NFKC", host).replace("。", ".").rstrip(".")
    address = literal(name)
    if (address is not None and not is_public(address)) or name == "localhost" or name.endswith(_LOCAL_NAMES):
        raise _refused(text, "a public host (COSTLEDGER_DELIVERY_ALLOW_PRIVATE_TARGETS allows others)")


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port, httpx.URL(text)  # a port is checked when it is asked for; who sends must understand it too
    except (ValueError, httpx.InvalidURL):
        raise _refused(text, "a URL") from None
    return parts


def _target(text: str, shown: str) -> Target:
    return Target(text, hashlib.sha256(text.encode()).hexdigest(), shown)


def _refused(text: str, limit: str) -> InvalidValue:
    return InvalidValue("target", f"a text of {len(text)} characters", limit)
