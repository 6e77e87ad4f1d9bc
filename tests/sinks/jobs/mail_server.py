"""A real SMTP server on loopback that keeps what it gets, and refuses as long as it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller


class Mailbox:
    """The mails that were taken, in order; `refusal` is the reply to every mail while it is set."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refusal: str | None = None
        self.refused = 0
        self.port = 0

    def url(self, user: str = "reader") -> str:
        """The apprise address of a reader behind this server."""
        return f"mailto://127.0.0.1:{self.port}?from=costledger@example.org&to={user}@example.org&mode=insecure"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.refusal is not None:
            self.refused += 1
            return self.refusal
        parsed = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        self.recipients.append(envelope.rcpt_tos)
        self.mails.append(parsed)
        return "250 taken"


class _FreePort(Controller):
    """The library asks the port that it was told whether it answers: with 0, tell it the one that was taken."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    """Run one."""
    mailbox = Mailbox()
    controller = _FreePort(mailbox, hostname="127.0.0.1", port=0)
    controller.start()
    mailbox.port = controller.port
    try:
        yield mailbox
    finally:
        controller.stop()
