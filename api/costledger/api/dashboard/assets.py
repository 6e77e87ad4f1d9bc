"""The style sheet, our one module and the icon, served from the package."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from costledger.api.dashboard.rendering import HEADERS, STATIC_TYPES, static_bytes, static_version
from costledger.api.dashboard.routing import PageRoute
from costledger.api.problems import Problem

router = APIRouter(prefix="/dashboard", route_class=PageRoute, include_in_schema=False)

_FOR_EVER: Final = "public, max-age=31536000, immutable"


@router.get("/static/{name}")
def static_file(request: Request, name: str, v: str = "") -> Response:
    """A file by name; for ever in the browser's cache where the address has its version."""
    if name not in STATIC_TYPES:
        raise Problem.not_found(f"no file {name!r}", code="not_found")
    etag = f'"{static_version(name)}"'
    headers = {**HEADERS, "ETag": etag, "Cache-Control": _FOR_EVER if v == static_version(name) else "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED.value, headers=headers)
    return Response(static_bytes(name), headers=headers, media_type=STATIC_TYPES[name])


@router.get("/{rest:path}")
def nothing(rest: str) -> Response:
    """Any other address below the dashboard's: the last route, for people who mistyped one."""
    raise Problem.not_found(f"/dashboard/{rest} is no page of the dashboard.", code="not_found")
