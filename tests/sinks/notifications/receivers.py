"""Servers on loopback that people's channels end in: HTTP and SMTP, behaving well or as badly as a test says."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

#: What a handler does with a request that it has read: it writes an answer, or does harm.
Behaviour = Callable[["Handler"], None]


@dataclass
class Request:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: str


class Handler(BaseHTTPRequestHandler):
    """Reads one POST, keeps it, and behaves as told: the next of the script, at its end as always."""

    server: Receiver

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Request(self.path, headers, body))
        behaviour = self.server.script.popleft() if self.server.script else self.server.always
        self.close_connection = True
        behaviour(self)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class Receiver(ThreadingHTTPServer):
    """An HTTP server on loopback; over TLS where it is given a certificate."""

    daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[Request] = []
        self.script: deque[Behaviour] = deque()
        self.always: Behaviour = answer(200)
        #: Set at the end: what hangs stops hanging.
        self.ending = threading.Event()
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def handle_error(self, *_: Any) -> None:
        """A client that went away is expected here."""

    def close(self) -> None:
        """Stop serving; also those that hang."""
        self.ending.set()
        self.shutdown()
        self._thread.join(10)
        self.server_close()


def answer(status: int, headers: dict[str, str] | None = None, body: str = "") -> Behaviour:
    """Answer at once."""

    def behave(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body.encode())))
        handler.end_headers()
        handler.wfile.write(body.encode())

    return behave


def hang(handler: Handler) -> None:
    """Read the request and never answer."""
    handler.server.ending.wait(60)


def drip(handler: Handler) -> None:
    """Begin an answer and send a byte of a header now and then, for ever."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not handler.server.ending.wait(0.05):
        handler.wfile.write(b"a")


def close_mid_way(handler: Handler) -> None:
    """Promise a body, and close in the middle of the headers."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    handler.connection.shutdown(socket.SHUT_RDWR)


def endless_error(handler: Handler) -> None:
    """Answer 500 with a body that does not end."""
    handler.wfile.write(b"HTTP/1.1 500 No\r\n\r\n")
    while not handler.server.ending.is_set():
        handler.wfile.write(b"error " * 1000)


def answer_twice(handler: Handler) -> None:
    """Two answers to one request: the second was never asked for."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")


def not_http(handler: Handler) -> None:
    """Answer something else."""
    handler.wfile.write(b"220 mail.example ESMTP\r\n")


@dataclass
class Mailbox:
    """What an SMTP server has taken; `replies` are the answers to DATA, in order, and 250 after them."""

    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Any] = field(default_factory=list)
    replies: deque[str] = field(default_factory=deque)
    refused_recipients: dict[str, str] = field(default_factory=dict)
    hang: threading.Event | None = None

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address in self.refused_recipients:
            return self.refused_recipients[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.hang is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.hang.wait, 60)
        reply = self.replies.popleft() if self.replies else "250 OK"
        if reply.startswith("250"):
            self.envelopes.append(envelope)
            self.mails.append(message_from_bytes(envelope.content, policy=default))  # type: ignore[arg-type]  # makes EmailMessage
        return reply


class MailServer:
    """An SMTP server on loopback."""

    def __init__(self) -> None:
        self.box = Mailbox()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._controller = Controller(self.box, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    @property
    def url(self) -> str:
        """As apprise takes it."""
        return f"mailto://127.0.0.1:{self.port}?from=alerts@costs.example"

    def close(self) -> None:
        """Stop it."""
        if self.box.hang is not None:
            self.box.hang.set()
        self._controller.stop()


def make_certificate(path: Path) -> Path:
    """A certificate for 127.0.0.1 and its key in one PEM file, signed by itself, valid for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path
