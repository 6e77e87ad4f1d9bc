"""`/healthz`, `/readyz`, `/metrics`: for machines. Without a token; nothing of a user is in them."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse
from prometheus_client.exposition import choose_encoder
from starlette.responses import Response

from costledger.api.readiness import readiness
from costledger.api.services import CurrentServices

router = APIRouter(tags=["health"])


@router.get("/healthz", response_class=PlainTextResponse)
async def healthz() -> str:
    """Whether the process lives."""
    return "alive\n"


@router.get(
    "/readyz",
    response_class=PlainTextResponse,
    responses={
        503: {"description": "What is missing, in words", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
def readyz(services: CurrentServices) -> Response:
    """Whether it can answer: PostgreSQL and Redis are there, and the ledger is up to date; if not, why."""
    ready, reason = readiness(services)
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return PlainTextResponse(f"{reason}\n", status.value)


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(request: Request) -> Response:
    """Metrics for Prometheus, in the format that it asks for."""
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(request.app.state.registry), headers={"Content-Type": content_type})
