"""Which tokens are believed: those of the local key and those of an OIDC issuer, told apart by `iss`."""

from __future__ import annotations

from typing import Self

import jwt

from costledger.api.auth.oidc import OidcTokens
from costledger.api.auth.tokens import (
    LOCAL_ISSUER,
    TOKEN_CHARACTERS_MAX,
    UNREADABLE,
    Claims,
    InvalidToken,
    LocalTokens,
    local_key,
)
from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import Settings


class TokenVerifier:
    """Checks a token by the rules of the issuer that it names. Safe to share between threads."""

    def __init__(self, local: LocalTokens | None, oidc: OidcTokens | None) -> None:
        if local is None and oidc is None:
            raise SettingsError(
                "nobody could log in: set COSTLEDGER_API_TOKEN_KEY_FILE (or COSTLEDGER_API_TOKEN_KEY) to a key for "
                "`costledger token`, or COSTLEDGER_OIDC_ISSUER and COSTLEDGER_OIDC_AUDIENCE for the tokens of an issuer"
            )
        self.local = local
        self.oidc = oidc

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The verifier of these settings; reads the key file. `SettingsError` where they let nobody in."""
        local = None
        if settings.api_token_key is not None or settings.api_token_key_file is not None:
            local = LocalTokens(local_key(settings), settings.api_token_seconds_max)
        oidc = None
        if settings.oidc_issuer is not None:
            if settings.oidc_audience is None:
                raise SettingsError("COSTLEDGER_OIDC_AUDIENCE is missing: COSTLEDGER_OIDC_ISSUER needs it")
            if settings.oidc_issuer == LOCAL_ISSUER:
                raise SettingsError(f"COSTLEDGER_OIDC_ISSUER cannot be {LOCAL_ISSUER!r}: local tokens have that")
            oidc = OidcTokens(
                settings.oidc_issuer, settings.oidc_audience, settings.oidc_jwks_url, settings.oidc_roles_claim
            )
        return cls(local, oidc)

    def verify(self, token: str) -> Claims:
        """The claims of a token.

        `InvalidToken` where it is expired, forged or not for us; `Unavailable` where its issuer's keys cannot be had.
        """
        issuer = _unverified_issuer(token)
        if self.local is not None and issuer == self.local.issuer:
            return self.local.verify(token)
        if self.oidc is not None and issuer == self.oidc.issuer:
            return self.oidc.verify(token)
        raise InvalidToken("token_invalid", "the token is not accepted: its issuer (iss) is not one that is believed")


def _unverified_issuer(token: str) -> object:
    """Whom the token says it is from. Decides only by which rules it is checked."""
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise InvalidToken("token_invalid", f"the token has more than {TOKEN_CHARACTERS_MAX} characters")
    try:
        return jwt.decode(token, options={"verify_signature": False}).get("iss")
    except UNREADABLE as error:
        raise InvalidToken("token_invalid", f"the token is not accepted: {error}") from error
