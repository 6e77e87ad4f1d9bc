"""Pages and fragments from templates, with the headers that keep a browser from doing anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from costledger.api.dashboard import formats

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # With no-referrer a browser would not say where a form comes from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    # Figures of one user must not stay in a cache that another one sees.
    "Cache-Control": "no-store",
}
STATIC_TYPES: Final[Mapping[str, str]] = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@cache
def static_bytes(name: str) -> bytes:
    """A file of `static`, by a name in `STATIC_TYPES`."""
    return (files(__package__) / "static" / name).read_bytes()


@cache
def static_version(name: str) -> str:
    """Changes with the file: a browser may keep what has this in its address for ever."""
    return hashlib.sha256(static_bytes(name)).hexdigest()[:12]


def static_url(name: str) -> str:
    """The address of a file of `static`."""
    return f"/dashboard/static/{name}?v={static_version(name)}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("costledger.api.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static_url"] = static_url
    environment.filters["moment"] = formats.moment
    environment.filters["utc"] = formats.utc_text
    environment.filters["count"] = formats.count
    return environment


def render(template: str, context: Mapping[str, Any]) -> str:
    """The text of a template; everything in `context` is escaped."""
    return _environment().get_template(template).render(context)


def html(
    template: str, context: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A page or a fragment as an answer."""
    return HTMLResponse(render(template, context), status, {**HEADERS, **(headers or {})})
