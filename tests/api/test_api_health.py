"""What machines ask the API."""

from __future__ import annotations

from starlette.testclient import TestClient
from tests.fixtures.fix_api import RunningApi


def test_alive_and_ready(api_client: TestClient) -> None:
    """With PostgreSQL, Redis and all migrations the API is ready."""
    assert api_client.get("/healthz").text == "alive\n"
    answer = api_client.get("/readyz")
    assert (answer.status_code, answer.text) == (200, "ready\n")


def test_server_on_a_port(api_server: RunningApi) -> None:
    """The process serves on its own port, and ends in order."""
    import httpx

    assert httpx.get(f"{api_server.url}/healthz", trust_env=False).text == "alive\n"
