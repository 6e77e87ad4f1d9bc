"""Webhooks: one signed POST (Standard Webhooks), to a checked address, with no redirect followed."""

from __future__ import annotations

import base64
import secrets
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final

import httpx
from standardwebhooks import Webhook

from costledger.schemas.settings import Settings
from costledger.sinks.notifications.addresses import ForbiddenAddress, resolve
from costledger.sinks.notifications.messages import Message
from costledger.sinks.notifications.outcome import Lifeline, Outcome

#: Of an answer no more than this is read: nobody needs it, and a server may send for ever.
ANSWER_BYTES_MAX: Final = 16_384
CONTENT_TYPE: Final = "application/cloudevents+json"
SECRET_BYTES: Final = 32
#: As Standard Webhooks writes its keys.
_KEY_PREFIX: Final = "whsec_"


def new_secret() -> str:
    """A key to sign with, in the form of Standard Webhooks."""
    return _KEY_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def post(
    settings: Settings, url: str, secret: str, message: Message, now: datetime, lifeline: Lifeline | None = None
) -> Outcome:
    """Send a message to a webhook. 2xx is taken; everything else, also a redirect, is a failure with its reason.

    Connects to the very address that was checked. `now` is the time of this attempt, which is signed: receivers refuse
    old ones. Blocking; each read and write is bounded, the whole is when
    `lifeline` is cut (see `outcome.within`).
    """
    parsed = httpx.URL(url)
    host = parsed.raw_host.decode("ascii")
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    try:
        address = resolve(host, port, allow_private=settings.delivery_allow_private_targets)
        body = message.body()
        headers = {"Host": parsed.netloc.decode("ascii"), **signed_headers(secret, message, body, now)}
        pinned = parsed.copy_with(host=address, port=port)
        timeout = settings.delivery_timeout_http_seconds
        with (
            httpx.Client(verify=_tls(), timeout=timeout, follow_redirects=False, trust_env=False) as client,
            client.stream(
                "POST",
                pinned,
                content=body.encode(),
                headers=headers,
                extensions={"sni_hostname": host, "trace": _holder(lifeline)},
            ) as answer,
        ):
            text = _beginning(answer)
            return _outcome(answer, text, now)
    except ForbiddenAddress as error:
        return Outcome.failed(str(error))
    except UnicodeError:
        return Outcome.failed("name not found: no host can have this name")
    except httpx.TimeoutException as error:
        return Outcome.failed(f"{_words(type(error))} after {timeout:g} s")
    except (httpx.HTTPError, OSError, ssl.SSLError) as error:
        # The URL is no part of these texts; the address is, and the user has told it.
        return Outcome.failed(f"{_words(type(error))}: {error}")


def _holder(lifeline: Lifeline | None) -> Callable[[str, Mapping[str, Any]], None]:
    """Gives the connection to the lifeline as soon as it is there, before TLS and whatever else may hang."""

    def trace(event: str, info: Mapping[str, Any]) -> None:
        if lifeline is not None and event == "connection.connect_tcp.complete":
            lifeline.hold(info["return_value"].get_extra_info("socket"))

    return trace


def signed_headers(secret: str, message: Message, body: str, now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks for this body. The library takes text and UTC, and is silently wrong else."""
    instant = now.astimezone(UTC)
    message_id = str(message.message_id)
    return {
        "Content-Type": CONTENT_TYPE,
        "User-Agent": "costledger",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(instant.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, instant, body),
    }


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """What a Retry-After header asks for: seconds, or a date; None where it says nothing that can be understood."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, IndexError, TypeError):
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - now).total_seconds())


def _outcome(answer: httpx.Response, text: str, now: datetime) -> Outcome:
    if answer.is_success:
        return Outcome()
    reason = f"HTTP {answer.status_code} {answer.reason_phrase}".strip()
    if answer.is_redirect:
        return Outcome.failed(f"{reason}: redirects are not followed")
    wait_seconds = retry_after_seconds(answer.headers.get("retry-after"), now)
    gone = answer.status_code == httpx.codes.GONE
    return Outcome.failed(f"{reason}: {text}" if text.strip() else reason, wait_seconds, gone=gone)


def _beginning(answer: httpx.Response) -> str:
    """The start of the answer as text, for the reason; the rest is not read, and the connection is closed."""
    if answer.is_success:
        return ""
    data = b"".join(_bounded(answer.iter_raw()))
    return "".join(c if c.isprintable() else " " for c in data.decode("utf-8", "replace"))


def _bounded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    left = ANSWER_BYTES_MAX
    for chunk in chunks:
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


def _words(kind: type[BaseException]) -> str:
    return {
        "ConnectTimeout": "no connection",
        "ReadTimeout": "no answer",
        "WriteTimeout": "request not taken",
        "ConnectError": "no connection",
        "RemoteProtocolError": "broken answer",
        "ReadError": "connection broken",
        "gaierror": "name not found",
    }.get(kind.__name__, kind.__name__)


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=True)
