"""Who is asking: bearer tokens, and what their holder may do."""

from costledger.api.auth.principal import CurrentPrincipal, Principal, Role

__all__ = ["CurrentPrincipal", "Principal", "Role"]
