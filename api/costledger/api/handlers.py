"""Which error becomes which problem: for whatever a route or a dependency raises."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import psycopg
import redis
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from psycopg_pool import TooManyRequests
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from costledger.api.problems import Problem, invalid_field
from costledger.schemas.errors import InvalidValue, Unavailable
from costledger.sinks.database import Meaning, meaning_of

logger = structlog.get_logger(__name__)

#: Errors of one document that are named; the first ones are those that help.
ERRORS_NAMED_MAX: Final = 20
_CODES: Final = {
    HTTPStatus.NOT_FOUND: ("not_found", "there is no such route"),
    HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "the route does not know this method"),
}


def register(app: FastAPI) -> None:
    """Have every error of the app answered as a problem. What is not named here is a defect: see `middleware`."""
    for kind, handler in (
        (Problem, _problem),
        (InvalidValue, _invalid_value),
        (RequestValidationError, _invalid_request),
        (HTTPException, _http_error),
        (psycopg.Error, _database_error),
        (redis.RedisError, _redis_error),
        (Unavailable, _unavailable),
    ):
        app.add_exception_handler(kind, handler)


def request_id_of(request: Request) -> str | None:
    """The id of a request, as the middleware has given it."""
    found = request.scope.get("state", {}).get("request_id")
    return found if isinstance(found, str) else None


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - what the handler is registered for
    return error.response(request_id_of(request))


async def _invalid_value(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidValue)  # noqa: S101 - what the handler is registered for
    return Problem.invalid(error).response(request_id_of(request))


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    found = error.errors()
    errors = [invalid_field(_field(one["loc"]), one.get("input"), _limit(one)) for one in found[:ERRORS_NAMED_MAX]]
    detail = "; ".join(f"{one['field']}: {one['limit']}" for one in errors)
    problem = Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_value", detail, errors=errors)
    return problem.response(request_id_of(request))


def _field(location: Sequence[Any]) -> str:
    """The name of a field without where it came from (body, query, path); the body itself is `body`."""
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _limit(one: dict[str, Any]) -> str:
    """What the field may hold: in our own words where the check is ours."""
    cause = one.get("ctx", {}).get("error")
    return cause.limit if isinstance(cause, InvalidValue) else str(one["msg"])


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what the handler is registered for
    status = HTTPStatus(error.status_code)
    code, detail = _CODES.get(status, (status.name.lower(), str(error.detail)))
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_allowed(request.app.routes, request.scope)))
    return Problem(status, code, detail, headers=headers).response(request_id_of(request))


def _allowed(routes: Sequence[BaseRoute], scope: Any) -> set[str]:
    """The methods that the routes of this path know: each route by itself knows only its own."""
    return {
        method
        for method in ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
        for route in routes
        if route.matches({**scope, "method": method})[0] is Match.FULL
    }


async def _database_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, psycopg.Error)  # noqa: S101 - what the handler is registered for
    if isinstance(error, TooManyRequests) or meaning_of(error) is Meaning.PASSING:
        # The text stays here: it names hosts, and may hold values.
        logger.warning("the ledger cannot be asked", error=str(error).strip(), sqlstate=error.sqlstate)
        problem = Problem.unavailable("the ledger cannot be reached at the moment", "ledger_unavailable")
        return problem.response(request_id_of(request))
    raise error


async def _redis_error(request: Request, error: Exception) -> Response:
    logger.warning("Redis cannot be asked", error=str(error))
    problem = Problem.unavailable("the real-time totals cannot be reached at the moment", "totals_unavailable")
    return problem.response(request_id_of(request))


async def _unavailable(request: Request, error: Exception) -> Response:
    logger.warning("a dependency cannot be reached", error=str(error))
    problem = Problem.unavailable("something that this answer needs cannot be reached at the moment")
    return problem.response(request_id_of(request))
