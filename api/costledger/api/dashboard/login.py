"""Signing in with a token, and out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from costledger.api.auth.tokens import InvalidToken
from costledger.api.dashboard.rendering import HEADERS, html
from costledger.api.dashboard.routing import LOGIN, PageRoute
from costledger.api.dashboard.session import (
    TOKEN_CHARACTERS_MAX,
    FormSession,
    check_origin,
    clear_cookie,
    set_cookie,
)
from costledger.api.services import CurrentServices
from costledger.schemas.errors import Unavailable

router = APIRouter(prefix="/dashboard", route_class=PageRoute, include_in_schema=False)

_NOTICES: Final = {
    "signed_out": "You are signed out.",
    "expired": "Your token has expired. Sign in with a new one.",
    "refused": "Your token is no longer accepted. Sign in with a new one.",
}


@router.get("/login")
def login_page(reason: str = "") -> Response:
    """The page that asks for a token."""
    return html("login.html", {"notice": _NOTICES.get(reason), "error": None})


@router.post("/login")
def sign_in(request: Request, services: CurrentServices, token: Annotated[str, Form()] = "") -> Response:
    """Keep a valid token in the cookie; else the page again, saying what is wrong with it."""
    check_origin(request)
    token = token.strip().removeprefix("Bearer ").strip()
    error = _token_error(services, token)
    if error is not None:
        context = {"notice": None, "error": error}
        return html("login.html", context, HTTPStatus.UNPROCESSABLE_ENTITY.value)
    response = RedirectResponse("/dashboard", HTTPStatus.SEE_OTHER.value, headers=dict(HEADERS))
    set_cookie(request, response, token)
    return response


@router.post("/logout")
def sign_out(session: FormSession) -> Response:  # noqa: ARG001 - whose form it is was checked
    """Forget the token. The token itself stays valid until it expires."""
    response = RedirectResponse(f"{LOGIN}?reason=signed_out", HTTPStatus.SEE_OTHER.value, headers=dict(HEADERS))
    clear_cookie(response)
    return response


def _token_error(services: CurrentServices, token: str) -> str | None:
    if not token:
        return "Paste a token."
    if len(token) > TOKEN_CHARACTERS_MAX:
        return f"The token has {len(token)} characters; a browser's cookie holds at most {TOKEN_CHARACTERS_MAX}."
    try:
        services.tokens.verify(token)
    except InvalidToken as error:
        if error.code == "token_expired":
            return "This token has expired. Ask for a new one."
        return "This token is not accepted. Check that all of it was copied."
    except Unavailable:
        return "The token cannot be checked at the moment: its issuer does not answer. Try again soon."
    return None
