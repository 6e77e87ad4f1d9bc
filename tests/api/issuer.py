"""An OIDC issuer on loopback: its discovery document, its keys, and ways to be away."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "costledger-api"


class Issuer:
    """Signs tokens and publishes its keys. `broken` is the status of its answers; `asked` counts them by path."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {
            "rsa-1": rsa.generate_private_key(65537, 2048),
            "ec-1": ec.generate_private_key(ec.SECP256R1()),
        }
        self.broken: int | None = None
        self.discovery: dict[str, Any] = {}
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def token(self, user: str | None = "u", key: str = "rsa-1", **other: Any) -> str:
        """A token of this issuer."""
        algorithm = other.pop("algorithm", "ES256" if key.startswith("ec") else "RS256")
        headers = other.pop("headers", {"kid": key})
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": user, "exp": now + 600, **other}
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.keys[key], algorithm, headers)

    def published(self) -> dict[str, Any]:
        """The key set."""
        keys = []
        for name, key in self.keys.items():
            algorithm = jwt.get_algorithm_by_name("ES256" if name.startswith("ec") else "RS256")
            keys.append({**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"})
        return {"keys": keys}

    def stop(self) -> None:
        """Go away."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                document = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys", **issuer.discovery}
                if self.path == "/keys":
                    document = issuer.published()
                body = json.dumps(document).encode()
                self.send_response(issuer.broken or 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                return

        return Handler
