"""The settings of the HTTP API and the dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

#: So many in a second, minute or hour.
RATE_PATTERN: Final = r"^[1-9][0-9]{0,6}/(second|minute|hour)$"


class ApiFields(BaseSettings):
    """Where the API listens, whom it believes, and what one caller may ask of it."""

    api_host: str = Field("127.0.0.1", description="address on which the HTTP API and the dashboard are served")
    api_port: int = Field(8080, ge=0, le=65_535, description="port of the HTTP API; 0 takes a free one")
    api_token_key: SecretStr | None = Field(
        None, description="key of locally signed tokens (HS256), at least 32 bytes; `costledger token` signs with it"
    )
    api_token_key_file: Path | None = Field(None, description="file that holds that key, instead of the key itself")
    api_token_seconds_max: int = Field(
        30 * 86_400, ge=60, le=366 * 86_400, description="longest life of a locally signed token"
    )
    oidc_issuer: str | None = Field(None, description="OIDC issuer whose tokens are accepted, exactly as in `iss`")
    oidc_audience: str | None = Field(None, description="audience that those tokens must name; needed with an issuer")
    oidc_jwks_url: str | None = Field(
        None, description="where that issuer's keys are; default: from its discovery document"
    )
    oidc_roles_claim: str = Field("roles", min_length=1, max_length=128, description="claim that holds the roles")
    api_trusted_proxies: str = Field(
        "",
        description="addresses or networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, "
        "separated by commas",
    )
    api_rate_limit: str = Field(
        "600/minute",
        pattern=RATE_PATTERN,
        description="requests of one user; more are answered with 429 (count/second, minute or hour)",
    )
    api_rate_limit_anonymous: str = Field(
        "60/minute",
        pattern=RATE_PATTERN,
        description="requests without a valid token from one address; more are answered with 429",
    )
    api_request_bytes_max: int = Field(65_536, ge=1024, le=2**24, description="bytes of a request's body")
    api_database_connections_max: int = Field(
        8, ge=1, le=200, description="connections of one API process to PostgreSQL"
    )
    api_overview_seconds: float = Field(
        15, ge=0, le=3600, description="how long an API process remembers answers over all users; 0: it asks each time"
    )
    api_timeout_seconds: float = Field(5, gt=0, le=60, description="longest statement of one request in PostgreSQL")
