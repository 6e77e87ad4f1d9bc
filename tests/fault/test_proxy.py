"""The proxy of the fault harness does the harm that it is told to do, and no other."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.fault.harness.proxy import LOOPBACK, Link, Loop
from tests.fixtures.wait import wait_until

#: How long a test listens for bytes that must not come.
SILENCE_SECONDS = 0.3
ANSWER_SECONDS_MAX = 10.0


class Echo:
    """A service that answers every piece with the same bytes, and remembers all that it has received."""

    def __init__(self) -> None:
        self._server = socket.create_server((LOOPBACK, 0))
        self.port: int = self._server.getsockname()[1]
        self.received = bytearray()
        self.ended = 0
        self.reset = 0
        threading.Thread(target=self._accept, name="echo", daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), name="echo", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    self.received += data
                    connection.sendall(data)
            except OSError:
                self.reset += 1
            else:
                self.ended += 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The service behind the link."""
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def link(echo: Echo) -> Iterator[Link]:
    """A link to the echo."""
    loop = Loop()
    made = Link(loop, "test - echo", echo.port)
    yield made
    made.close()
    loop.close()


@contextlib.contextmanager
def connected(link: Link) -> Iterator[socket.socket]:
    """A connection of a client through the link."""
    with socket.create_connection((LOOPBACK, link.port), timeout=ANSWER_SECONDS_MAX) as client:
        yield client


def ask(client: socket.socket, question: bytes) -> bytes:
    """Send and await as many bytes; fewer where the connection has ended."""
    client.sendall(question)
    return receive(client, len(question))


def receive(client: socket.socket, size: int) -> bytes:
    """So many bytes; fewer where the connection has ended."""
    answer = b""
    while len(answer) < size and (data := client.recv(size - len(answer))):
        answer += data
    return answer


def hears_nothing(client: socket.socket) -> bool:
    """Whether neither a byte nor an end comes."""
    client.settimeout(SILENCE_SECONDS)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(ANSWER_SECONDS_MAX)
    return False


def is_reset(client: socket.socket) -> bool:
    """Whether the connection is or was reset rather than ended."""
    try:
        while client.recv(65_536):
            pass
    except ConnectionError:
        return True
    return False


def is_refused(link: Link) -> bool:
    """Whether a new connection is reset, be it while it is being made."""
    try:
        with connected(link) as client:
            return is_reset(client)
    except ConnectionError:
        return True


def test_what_is_not_harmed_is_passed_on(link: Link, echo: Echo) -> None:
    """A megabyte comes back unchanged, and an orderly end is an orderly end on the other side."""
    sent = bytes(range(256)) * 4_096
    with connected(link) as client:
        writer = threading.Thread(target=client.sendall, args=(sent,))
        writer.start()
        assert receive(client, len(sent)) == sent
        writer.join()
    wait_until(lambda: echo.ended == 1, ANSWER_SECONDS_MAX, "the service sees the end")
    assert echo.reset == 0


def test_a_cut_resets_what_is_there_and_what_comes_until_it_is_healed(link: Link) -> None:
    """Old and new connections are reset; after healing new ones work."""
    with connected(link) as client:
        assert ask(client, b"one") == b"one"
        link.cut()
        assert is_reset(client)
    assert is_refused(link)
    link.heal()
    with connected(link) as client:
        assert ask(client, b"two") == b"two"


def test_connections_can_be_reset_once(link: Link) -> None:
    """Those that are there; new ones work at once."""
    with connected(link) as client:
        assert ask(client, b"one") == b"one"
        link.reset_connections()
        assert is_reset(client)
    with connected(link) as client:
        assert ask(client, b"two") == b"two"


def test_a_frozen_link_delivers_late(link: Link, echo: Echo) -> None:
    """Nothing passes and nothing ends; after healing all of it comes, also what new connections sent."""
    with connected(link) as client, connected(link) as second:
        assert ask(client, b"one") == b"one"
        link.freeze()
        client.sendall(b"two")
        second.sendall(b"three")
        assert hears_nothing(client)
        assert hears_nothing(second)
        assert bytes(echo.received) == b"one"
        link.heal()
        assert receive(client, 3) == b"two"
        assert receive(second, 5) == b"three"


def test_what_a_dead_client_sent_over_a_frozen_link_arrives_late(link: Link, echo: Echo) -> None:
    """As a zombie's last write does: the service hears neither of it nor of the end before the link is healed."""
    with connected(link) as client, connected(link) as idle:
        assert ask(client, b"one") == b"one"
        assert ask(idle, b"-") == b"-"
        link.freeze()
        client.sendall(b"two")
    with connected(link) as client:
        assert hears_nothing(client)
        assert (bytes(echo.received), echo.ended, echo.reset) == (b"one-", 0, 0)
    link.heal()
    wait_until(lambda: bytes(echo.received) == b"one-two", ANSWER_SECONDS_MAX, "the late write arrives")
    wait_until(lambda: echo.ended >= 2, ANSWER_SECONDS_MAX, "and the ends after it")


def test_connections_can_be_half_open_while_new_ones_work(link: Link, echo: Echo) -> None:
    """The old ones stay silent until healed."""
    with connected(link) as client, connected(link) as second:
        assert ask(client, b"one") == b"one"
        assert ask(second, b"two") == b"two"
        link.freeze_connections()
        client.sendall(b"three")
        assert hears_nothing(client)
        with connected(link) as third:
            assert ask(third, b"four") == b"four"
        assert bytes(echo.received) == b"onetwofour"
        link.heal()
        assert receive(client, 5) == b"three"


def test_a_slow_link_holds_every_piece_back(link: Link) -> None:
    """Each way takes the delay, and the time that the rate calls for."""
    with connected(link) as client:
        assert ask(client, b"one") == b"one"
        link.slow(SILENCE_SECONDS * 2)
        client.sendall(b"two")
        assert hears_nothing(client)
        assert receive(client, 3) == b"two"
        link.slow(0.0, bytes_per_second=10_000)
        client.sendall(bytes(10_000))
        assert hears_nothing(client)
        assert receive(client, 10_000) == bytes(10_000)
        link.heal()
        assert ask(client, b"three") == b"three"


@pytest.mark.parametrize("pieces", [(b"to be COMMIT now",), (b"to be COM", b"MIT now")])
def test_the_reply_to_a_marker_is_lost_after_the_service_has_it(
    link: Link, echo: Echo, pieces: tuple[bytes, ...]
) -> None:
    """As often as was asked for, also where the marker comes in two pieces; then nothing more is lost."""
    link.lose_reply_to(b"COMMIT", times=2)
    for _ in range(2):
        assert not link.reply_lost()
        with connected(link) as client:
            assert ask(client, b"BEGIN") == b"BEGIN"
            before = len(echo.received)
            for piece in pieces[:-1]:
                assert ask(client, piece) == piece
            client.sendall(pieces[-1])
            assert is_reset(client)
            assert bytes(echo.received[before:]) == b"".join(pieces)
    assert link.reply_lost()
    with connected(link) as client:
        assert ask(client, b"COMMIT") == b"COMMIT"


def test_markers_count_on_the_chosen_connections_alone(link: Link) -> None:
    """Those that have sent the words since they were chosen by them; until healed, when all count again."""
    link.only_connections_with(b"from the writer")
    with connected(link) as client, connected(link) as writer:
        assert ask(writer, b"SELECT from the writer") == b"SELECT from the writer"
        assert ask(writer, b"BEGIN") == b"BEGIN"
        link.lose_reply_to(b"COMMIT")
        assert ask(client, b"COMMIT") == b"COMMIT"
        assert not link.reply_lost()
        writer.sendall(b"COMMIT")
        assert is_reset(writer)
        assert link.reply_lost()
    with connected(link) as writer:
        assert ask(writer, b"SELECT from the writer") == b"SELECT from the writer"
        link.only_connections_with(b"of now")
        link.lose_reply_to(b"COMMIT")
        assert ask(writer, b"COMMIT") == b"COMMIT"
        link.heal()
        link.lose_reply_to(b"COMMIT")
        writer.sendall(b"COMMIT")
        assert is_reset(writer)


def test_a_connection_is_half_open_from_the_marker_on(link: Link, echo: Echo) -> None:
    """The service has the marker, the client hears nothing, neither a reply nor a reset; other connections work."""
    link.freeze_after(b"COMMIT")
    with connected(link) as client:
        assert ask(client, b"BEGIN") == b"BEGIN"
        client.sendall(b"COMMIT")
        wait_until(link.reply_lost, ANSWER_SECONDS_MAX, "the marker has passed")
        wait_until(lambda: bytes(echo.received) == b"BEGINCOMMIT", ANSWER_SECONDS_MAX, "the service has the marker")
        assert hears_nothing(client)
        with connected(link) as second:
            assert ask(second, b"COMMIT") == b"COMMIT"
        link.heal()
        assert receive(client, 6) == b"COMMIT"


def test_what_is_held_arrives_late(link: Link, echo: Echo) -> None:
    """Words that were to be held stay under way until the link is healed, and other connections work meanwhile."""
    link.hold(b"COMMIT")
    with connected(link) as client:
        assert ask(client, b"BEGIN") == b"BEGIN"
        client.sendall(b"COMMIT")
        wait_until(link.held, ANSWER_SECONDS_MAX, "the marker is under way")
        assert hears_nothing(client)
        with connected(link) as second:
            assert ask(second, b"COMMIT") == b"COMMIT"
        assert bytes(echo.received) == b"BEGINCOMMIT"
        assert not link.passed_late()
        link.heal()
        assert receive(client, 6) == b"COMMIT"
        assert link.passed_late()
        assert bytes(echo.received) == b"BEGINCOMMITCOMMIT"


def test_a_service_that_is_not_there_is_a_reset_for_the_client(link: Link, echo: Echo) -> None:
    """As without a proxy nobody would have taken the connection."""
    echo.close()
    assert is_refused(link)
