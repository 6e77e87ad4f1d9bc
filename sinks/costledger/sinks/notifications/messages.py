"""Messages made of alerts: one of a single alert, or one of many (a digest). Pure but for reading the template once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Final
from uuid import UUID

import jinja2

from costledger.schemas.alerts import CLOUDEVENTS_SOURCE, CLOUDEVENTS_TYPE_PREFIX, Severity
from costledger.schemas.ids import derived_alert_id
from costledger.sinks.notifications.alert import Alert, minute, plain, utc_text

SUBJECT_CHARACTERS_MAX: Final = 150
#: Alerts in one message; more make more messages.
DIGEST_ALERTS_MAX: Final = 200
_SEVERITIES: Final = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. `message_id` is the same in every attempt; `document` is for machines, the rest for people."""

    message_id: UUID
    subject: str
    text: str
    html: str
    document: dict[str, Any]
    severity: str = Severity.INFO

    def body(self) -> str:
        """The document as JSON text, the same in every attempt."""
        return json.dumps(self.document, ensure_ascii=False, separators=(",", ":"))


def message_of(alert: Alert, public_url: str | None) -> Message:
    """The message of one alert; its id is the alert's."""
    subject = _one_line(f"{alert.severity}: {alert.title}")
    facts = alert.facts()
    width = max(len(name) for name, _ in facts)
    lines = [alert.message, "", *(f"{name:<{width}}  {_flat(value)}" for name, value in facts)]
    return Message(
        alert.alert_id,
        subject,
        "\n".join([*lines, *_footer(public_url)]),
        _html(subject, alert.message, public_url, facts=facts),
        alert.document(),
        alert.severity,
    )


def digest_of(digest_id: UUID, alerts: Sequence[Alert], made_at: datetime, public_url: str | None) -> Message:
    """One message of several alerts, the first raised first. All of them are in it."""
    ordered = sorted(alerts, key=lambda one: (one.raised_at, one.alert_id))
    users = len({one.user_id for one in ordered})
    severity = max((one.severity for one in ordered), key=_severity_rank)
    subject = _one_line(f"{severity}: {len(ordered)} cost alerts of {users} {'user' if users == 1 else 'users'}")
    rows = [
        (f"{minute(one.raised_at)} UTC", one.severity, one.title, f"{plain(one.actual)} {one.currency}")
        for one in ordered
    ]
    intro = "Many alerts came within a short time, so these are sent in one message."
    lines = [intro, "", *(_flat("  ".join(row)) for row in rows)]
    document = {
        "specversion": "1.0",
        "id": str(digest_id),
        "source": CLOUDEVENTS_SOURCE,
        "type": f"{CLOUDEVENTS_TYPE_PREFIX}digest",
        "time": utc_text(made_at),
        "datacontenttype": "application/json",
        "data": {"count": len(ordered), "alerts": [one.document() for one in ordered]},
    }
    return Message(
        digest_id,
        subject,
        "\n".join([*lines, *_footer(public_url)]),
        _html(subject, intro, public_url, rows=rows),
        document,
        severity,
    )


def plain_message(message_id: UUID, subject: str, text: str, document: dict[str, Any], severity: str) -> Message:
    """A message of one paragraph."""
    return Message(message_id, _one_line(subject), text, _html(_one_line(subject), text, None), document, severity)


def digest_id_of(route_id: UUID, alert_ids: Sequence[UUID]) -> UUID:
    """The id of a digest: the same for the same alerts on the same route, in whatever order."""
    return derived_alert_id("digest", str(route_id), *sorted(str(one) for one in alert_ids))


def _severity_rank(severity: str) -> int:
    return _SEVERITIES.index(Severity(severity)) if severity in _SEVERITIES else len(_SEVERITIES)


def _footer(public_url: str | None) -> list[str]:
    return [] if public_url is None else ["", f"Dashboard: {dashboard_url(public_url)}"]


def dashboard_url(public_url: str) -> str:
    """The dashboard's address below the API's."""
    return f"{public_url.rstrip('/')}/dashboard"


def _html(subject: str, intro: str, public_url: str | None, **parts: Any) -> str:
    dashboard = None if public_url is None else dashboard_url(public_url)
    return _template().render(subject=subject, intro=intro, dashboard=dashboard, **parts)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.ChainableUndefined, trim_blocks=True)
    source = files("costledger.sinks.notifications") / "templates" / "message.html"
    return environment.from_string(source.read_text(encoding="utf-8"))


def _flat(text: str) -> str:
    """Without line ends and control characters: nobody's name makes a second line."""
    return "".join(character if character.isprintable() else " " for character in text)


def _one_line(text: str) -> str:
    line = " ".join(_flat(text).split())
    return line if len(line) <= SUBJECT_CHARACTERS_MAX else f"{line[: SUBJECT_CHARACTERS_MAX - 1]}…"
