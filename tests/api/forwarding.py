"""A way to a server that a test opens and closes: a TCP forwarder on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading


class Forwarder:
    """Listens on `address` from `open()` on, and passes every connection on to the target."""

    def __init__(self, target: str) -> None:
        host, port = target.split(",", maxsplit=1)[0].rsplit(":", 1)
        self._target = (host, int(port))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        self._server: socket.socket | None = None

    def open(self) -> None:
        """Let connections through."""
        self._server = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            upstream = socket.create_connection(self._target)
            for source, sink in ((client, upstream), (upstream, client)):
                threading.Thread(target=_pass_on, args=(source, sink), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
