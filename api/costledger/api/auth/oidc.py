"""Tokens of an OIDC issuer: its keys from its discovery document, remembered, and asked for within bounds."""

from __future__ import annotations

import threading
import time
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import jwt

from costledger.api.auth.tokens import UNREADABLE, Claims, InvalidToken, claims_of, decoded
from costledger.schemas.errors import SettingsError, Unavailable

#: Signatures with a public key alone: a symmetric one would make the published key a secret that everybody has.
ALGORITHMS: Final = ["RS256", "ES256"]
#: One request to the issuer.
FETCH_SECONDS_MAX: Final = 3.0
#: How long keys are believed without asking again.
KEYS_SECONDS: Final = 300.0
#: Between two questions for a key that was not among those known.
UNKNOWN_KEY_SECONDS: Final = 30.0
#: After a failure the issuer is left alone for so long: requests are refused at once instead of waiting for it.
PAUSE_SECONDS: Final = 5.0
#: Clocks of two machines.
LEEWAY_SECONDS: Final = 30.0
DISCOVERY_BYTES_MAX: Final = 65_536
DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class OidcTokens:
    """Checks tokens of one issuer. Safe to share between threads; `verify` may wait for the issuer."""

    def __init__(self, issuer: str, audience: str, jwks_url: str | None = None, roles_claim: str = "roles") -> None:
        self.issuer = issuer
        self._audience = audience
        self._roles_claim = roles_claim
        check_url("COSTLEDGER_OIDC_ISSUER", issuer)
        self._keys: jwt.PyJWKClient | None = None if jwks_url is None else _key_client(jwks_url)
        #: One thread at a time asks the issuer; the others find its answer, or its failure.
        self._lock = threading.Lock()
        self._failure: tuple[float, str] | None = None

    def verify(self, token: str) -> Claims:
        """The claims of a token; `InvalidToken` where it is not accepted, `Unavailable` without the issuer's keys."""
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except UNREADABLE as error:
            raise InvalidToken("token_invalid", f"the token is not accepted: {error}") from error
        if not isinstance(key_id, str):
            raise InvalidToken("token_invalid", "the token is not accepted: it does not name its key (kid)")
        key = self._key(key_id)
        payload = decoded(token, key.key, ALGORITHMS, self.issuer, self._audience, leeway_seconds=LEEWAY_SECONDS)
        return claims_of(payload, self._roles(payload))

    def discover(self) -> str:
        """The address of the issuer's keys, from its discovery document; `Unavailable` where there is none."""
        url = self.issuer.rstrip("/") + DISCOVERY_PATH
        try:
            with httpx.stream("GET", url, timeout=FETCH_SECONDS_MAX) as response:
                response.raise_for_status()
                content = bytearray()
                for piece in response.iter_bytes():
                    content += piece
                    if len(content) > DISCOVERY_BYTES_MAX:
                        raise Unavailable(f"the discovery document of {self.issuer} is longer than it may be")
            document = httpx.Response(200, content=bytes(content)).json()
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            raise Unavailable(f"the discovery document of {self.issuer} cannot be read: {error}") from error
        if not isinstance(document, dict) or document.get("issuer") != self.issuer:
            raise Unavailable(f"the discovery document at {url} is of another issuer")
        found = document.get("jwks_uri")
        if not isinstance(found, str):
            raise Unavailable(f"the discovery document at {url} does not say where the keys are (jwks_uri)")
        try:
            check_url("jwks_uri", found)
        except SettingsError as error:
            raise Unavailable(str(error)) from error
        return found

    def _key(self, key_id: str) -> jwt.PyJWK:
        with self._lock:
            if self._failure is not None and time.monotonic() < self._failure[0]:
                raise Unavailable(self._failure[1])
            try:
                if self._keys is None:
                    self._keys = _key_client(self.discover())
                key = self._keys.get_signing_key(key_id)
            except (Unavailable, jwt.PyJWKClientConnectionError) as error:
                self._failure = (time.monotonic() + PAUSE_SECONDS, str(error))
                raise Unavailable(str(error)) from error
            except UNREADABLE as error:
                raise InvalidToken("token_invalid", f"the token is not accepted: {error}") from error
            self._failure = None
            return key

    def _roles(self, payload: dict[str, Any]) -> object:
        """The claim of the settings: by its whole name, else by its parts between points."""
        if self._roles_claim in payload:
            return payload[self._roles_claim]
        found: object = payload
        for part in self._roles_claim.split("."):
            if not isinstance(found, dict):
                return None
            found = found.get(part)
        return found


def check_url(name: str, url: str) -> None:
    """`SettingsError` unless the address is https, or http on this machine: keys decide who is believed."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return
    raise SettingsError(f"{name} is {url!r}; it must be an https address (http on this machine alone)")


def _key_client(url: str) -> jwt.PyJWKClient:
    check_url("COSTLEDGER_OIDC_JWKS_URL", url)
    return jwt.PyJWKClient(url, lifespan=KEYS_SECONDS, timeout=FETCH_SECONDS_MAX, cooldown_duration=UNKNOWN_KEY_SECONDS)
