"""The OpenAPI document: what the routes declare, and beside it what is true of all of them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from costledger.api.openapi_texts import refuse_nul
from costledger.api.problems import MEDIA_TYPE

_DESCRIPTION: Final = """\
Costs, budgets and alerts of users. Money is decimal text in USD, exact to 1e-12; times are RFC 3339 in UTC.

Send a token (JWT) as `Authorization: Bearer …`: one of `costledger token`, or of the OIDC issuer that is configured. The
user is the token's; another user's data needs the role `analyst` (to read) or `operator` (to change).

Every error is `application/problem+json` (RFC 9457) with a stable `code`; `errors` names each wrong field, its value and
its limit. `X-Request-Id` is taken from the request or made, and is in the log.
"""
PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "type": "object",
    "description": "An error (RFC 9457)",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "stable: for programs"},
        "detail": {"type": "string", "description": "for people"},
        "request_id": {"type": "string", "description": "the log has more under this id"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "value", "limit"],
                "properties": {
                    "field": {"type": "string"},
                    "value": {"type": "string"},
                    "limit": {"type": "string"},
                },
            },
        },
    },
}
#: What every answer may be, by status: (description, code for the example).
_ANYWHERE: Final = {
    "400": ("The request is malformed", "malformed_json"),
    "422": ("A field is out of its bounds: `errors` names it", "invalid_value"),
    "429": ("Too many requests: `Retry-After` says when to come back", "rate_limited"),
    "500": ("A defect; the log has more under the request id", "internal_error"),
    "503": ("A dependency cannot be reached: `Retry-After` says when to come back", "unavailable"),
}
_WITH_TOKEN: Final = {
    "401": ("There is no token, or it is not accepted", "token_expired"),
    "403": ("The token does not give the right", "forbidden"),
}
_WITH_BODY: Final = {
    "408": ("The body came too slowly", "body_too_slow"),
    "413": ("The body is too large", "body_too_large"),
    "415": ("The body is not JSON", "unsupported_media_type"),
}
_METHODS: Final = frozenset({"delete", "get", "patch", "post", "put"})
_HEADERS: Final[dict[str, Any]] = {
    "X-Request-Id": {"description": "id of the request, as in the log", "schema": {"type": "string"}},
}
_LIMIT_HEADERS: Final[dict[str, Any]] = {
    "RateLimit-Limit": {"description": "requests in a window", "schema": {"type": "integer"}},
    "RateLimit-Remaining": {"description": "requests that are left", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "seconds until the window is over", "schema": {"type": "integer"}},
    "RateLimit-Policy": {"description": "`limit;w=seconds`", "schema": {"type": "string"}},
}
_RETRY_HEADER: Final[dict[str, Any]] = {
    "Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}
}


def describe(app: FastAPI) -> None:
    """Have the app give the completed document at `/openapi.json`; it is made once, when first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=_DESCRIPTION,
                routes=app.routes,
                license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
            )
            app.openapi_schema = completed(document)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the library's own way to change the document


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the problems and headers that every route has."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for of_the_library in ("HTTPValidationError", "ValidationError"):
        schemas.pop(of_the_library, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in _METHODS:
                _complete(operation, api=path.startswith("/api/"))
    refuse_nul(document)
    return document


def _complete(operation: dict[str, Any], *, api: bool) -> None:
    responses = operation.setdefault("responses", {})
    common: dict[str, tuple[str, str]] = {}
    if api:
        common |= _ANYWHERE
        if "security" in operation:
            common |= _WITH_TOKEN
        if "requestBody" in operation:
            common |= _WITH_BODY
    else:
        common["500"] = _ANYWHERE["500"]
        responses.pop("422", None)
    for status, (description, code) in common.items():
        own = responses.get(status, {})
        # What the library says of 422 is not what is answered.
        responses[status] = {
            "description": own.get("description", description) if status != "422" else description,
            "content": {MEDIA_TYPE: {"schema": _reference(), "example": _example(int(status), code, description)}},
        }
    for status, response in responses.items():
        headers = response.setdefault("headers", {})
        headers |= _HEADERS
        if api:
            headers |= _LIMIT_HEADERS
        if status in {"429", "503"} and api:
            headers |= _RETRY_HEADER
        if int(status) >= 400 and "content" not in response:
            response["content"] = {MEDIA_TYPE: {"schema": _reference()}}
    operation["responses"] = dict(sorted(responses.items()))


def _reference() -> dict[str, str]:
    return {"$ref": "#/components/schemas/Problem"}


def _example(status: int, code: str, detail: str) -> dict[str, Any]:
    from http import HTTPStatus

    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": "4c1f0b7e9d6a4f7c8e0b4b1c2d3e4f50",
    }
