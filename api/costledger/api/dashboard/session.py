"""Who is signed in to the dashboard: a token in a cookie that no script can read and no other site can send.

A browser cannot add a bearer header to a page, so the token of the API is pasted once. It stays the only proof: nothing
is kept on the server, and a token that has expired ends its session.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from fastapi import Depends, Form, Request
from starlette.responses import Response

from costledger.api.auth import Principal
from costledger.api.auth.principal import PRINCIPAL_STATE
from costledger.api.middleware.admission import PAGES, PAGES_COOKIE, session_token
from costledger.api.problems import Problem

#: Browsers keep cookies of up to 4096 bytes, name and attributes included.
TOKEN_CHARACTERS_MAX: Final = 3800
_CSRF_PURPOSE: Final = b"costledger dashboard form"

Reason = Literal["signed_out", "expired", "refused", "required"]


class SignInNeeded(Exception):
    """There is no valid session; `reason` is told on the page that asks for a token."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in user. `csrf` belongs into every form: only who holds the cookie can know it."""

    principal: Principal
    csrf: str


def csrf_token(token: str) -> str:
    """The proof in forms, derived from the session's own secret."""
    return hmac.new(token.encode(), _CSRF_PURPOSE, hashlib.sha256).hexdigest()


def current_session(request: Request) -> Session:
    """The session of a request; `SignInNeeded` without one."""
    token = session_token(request.headers)
    if not token:
        raise SignInNeeded("required")
    # The middleware has checked the token of the cookie, in a thread.
    found = request.scope["state"][PRINCIPAL_STATE]
    if isinstance(found, Principal):
        return Session(found, csrf_token(token))
    if found.status is HTTPStatus.UNAUTHORIZED:
        raise SignInNeeded("expired" if found.code == "token_expired" else "refused")
    raise found


def check_origin(request: Request) -> None:
    """403 for a form that another site sent; browsers say with every POST where it comes from."""
    origin = urlsplit(request.headers.get("origin", ""))
    # The scheme may differ: TLS can end at a proxy.
    if not origin.netloc or origin.netloc.lower() != request.headers.get("host", "").lower():
        raise Problem.forbidden("the form was sent from another site", code="origin_refused")


def form_session(request: Request, csrf: Annotated[str, Form()] = "") -> Session:
    """The session of a form that changes something; 403 where it does not come from a page of this session."""
    session = current_session(request)
    check_origin(request)
    if not hmac.compare_digest(csrf.encode(), session.csrf.encode()):
        raise Problem.forbidden("the form belongs to another session: load the page again", code="csrf_refused")
    return session


CurrentSession = Annotated[Session, Depends(current_session)]
FormSession = Annotated[Session, Depends(form_session)]


def set_cookie(request: Request, response: Response, token: str) -> None:
    """Keep the token in the browser until it is closed; over TLS alone, unless it is on this machine."""
    response.set_cookie(
        PAGES_COOKIE, token, path=PAGES, httponly=True, samesite="strict", secure=not is_loopback(request.url.hostname)
    )


def clear_cookie(response: Response) -> None:
    """Forget the token."""
    response.delete_cookie(PAGES_COOKIE, path=PAGES, httponly=True, samesite="strict")


def is_loopback(host: str | None) -> bool:
    """Whether a host of a URL is this machine."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
