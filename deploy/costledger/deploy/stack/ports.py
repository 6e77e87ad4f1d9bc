"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from .errors import StackError

__all__ = ["LOOPBACK", "free_port", "is_free", "is_listening", "listen_on"]

LOOPBACK = "127.0.0.1"
PORT_MIN = 15_000
PORT_TRIES_MAX = 200
CONNECT_TIMEOUT_SECONDS = 1.0
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_MIN_DEFAULT = 32_768


def is_free(port: int) -> bool:
    """True when a server could listen on the loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """True when a server accepts connections on the loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), CONNECT_TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A free loopback port *below* the range from which the kernel takes ports for outgoing connections.

    Inside that range a client that keeps reconnecting to a stopped server may at last connect to itself, or
    somebody else's connection may sit on the port: then the server cannot come back on it.
    Somebody may take the port before the caller does: try again then. StackError when none is found.
    """
    try:
        ephemeral_min = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except OSError:
        ephemeral_min = _EPHEMERAL_MIN_DEFAULT
    port_end = ephemeral_min if ephemeral_min > PORT_MIN + PORT_TRIES_MAX else 65_536
    for _ in range(PORT_TRIES_MAX):
        port = random.randrange(PORT_MIN, port_end)  # noqa: S311 - spreads processes apart, hides nothing
        if is_free(port):
            return port
    raise StackError(f"no free port between {PORT_MIN} and {port_end - 1} in {PORT_TRIES_MAX} tries")


def listen_on(port: int) -> socket.socket:
    """A socket that listens on the loopback port, or on a free one where that is 0 or taken; StackError if none is."""
    for _ in range(PORT_TRIES_MAX):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port or free_port()))
            listener.listen()
        except OSError:
            listener.close()
            port = 0
        else:
            return listener
    raise StackError(f"no port could be listened on in {PORT_TRIES_MAX} tries")
