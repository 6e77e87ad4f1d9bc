"""How the settings become the configuration of confluent-kafka clients."""

from __future__ import annotations

from costledger.schemas.settings import Settings

ClientConfig = dict[str, str | int | float | bool]


def client_config(settings: Settings, client_id: str) -> ClientConfig:
    """What every confluent-kafka client needs: addresses and security."""
    config: ClientConfig = {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": client_id,
        "security.protocol": settings.security_protocol,
        # A broker that is still starting is asked again soon.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 2000,
    }
    if settings.ssl_ca_file is not None:
        config["ssl.ca.location"] = str(settings.ssl_ca_file)
    if settings.security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.sasl_mechanism
        config["sasl.username"] = settings.sasl_username or ""
        config["sasl.password"] = settings.sasl_password.get_secret_value() if settings.sasl_password else ""
    return config
