"""Who is asking: bearer tokens, and what their holder may do."""

from costledger.api.auth.principal import CurrentPrincipal, Principal, Role
from costledger.api.auth.tokens import check_user_id, sign_token
from costledger.api.auth.verifier import TokenVerifier

__all__ = ["CurrentPrincipal", "Principal", "Role", "TokenVerifier", "check_user_id", "sign_token"]
