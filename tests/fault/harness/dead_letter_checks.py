"""I7 on the dead-letter topic: what is in quarantine is there too, as it came, and nothing else is."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from tests.fault.harness.findings import Findings
from tests.fault.harness.topics import TopicReader
from tests.fixtures.wait import wait_until

from costledger.schemas.topics import TopicNames
from costledger.sinks.database import Connection

EXAMPLES_MAX: Final = 5
#: The relay of the sink looks every second, and 10 s after a failure at most; then it waits for Kafka.
RELAY_SECONDS_MAX: Final = 30.0

_PENDING: Final = "SELECT NOT EXISTS (SELECT FROM ledger.quarantine WHERE dead_letter_pending)"
_KEPT: Final = """
SELECT partition, "offset", reason, key, payload IS NOT NULL, payload_sha256 FROM ledger.quarantine WHERE topic = %s
"""


class Place(NamedTuple):
    """Where a message came from, and the stable code of what is wrong with it."""

    partition: int
    offset: int
    reason: str


class Content(NamedTuple):
    """The key of a message, and the SHA-256 of its bytes."""

    key: bytes | None
    sha256: bytes


#: The letter of a message that the stream has not read.
OVERSIZE: Final = "oversize"
NO_CONTENT: Final = Content(None, hashlib.sha256(b"").digest())


def check_dead_letters(findings: Findings, connection: Connection, reader: TopicReader, names: TopicNames) -> None:
    """I7: each place that is in quarantine has its letter, with key and bytes as they came; there may be repeats of it.

    Where the quarantine itself has no bytes (too many, or unreadable), or the letter of an oversize message has none, only
    places and reasons are compared.
    """
    try:
        wait_until(lambda: connection.execute(_PENDING).fetchone() == (True,), RELAY_SECONDS_MAX, "the sink owes none")
    except AssertionError as late:
        findings.found("I7", f"dead letters are still owed: {late}")
    kept: dict[Place, Content | None] = {
        Place(partition, offset, reason): Content(key, sha256) if has_bytes else None
        for partition, offset, reason, key, has_bytes, sha256 in connection.execute(_KEPT, (names.events,)).fetchall()
    }
    told = _letters(findings, reader, names)
    for what, found in (
        ("have no dead letter", kept.keys() - told.keys()),
        ("are dead letters without being in quarantine", told.keys() - kept.keys()),
        (
            "have other bytes in their dead letter",
            {one for one in kept.keys() & told.keys() if _differ(kept, told, one)},
        ),
    ):
        if found:
            findings.found(
                "I7", f"{len(found)} messages {what}: {[tuple(one) for one in sorted(found)[:EXAMPLES_MAX]]}"
            )


def _differ(kept: dict[Place, Content | None], told: dict[Place, Content], place: Place) -> bool:
    if kept[place] is None or kept[place] == told[place]:
        return False
    # The stream inflates no batch that would take too much memory: of its messages it names the places alone.
    return (place.reason, told[place]) != (OVERSIZE, NO_CONTENT)


def _letters(findings: Findings, reader: TopicReader, names: TopicNames) -> dict[Place, Content]:
    """What the topic has, by place; a repeat has to be the same."""
    told: dict[Place, Content] = {}
    repeats = 0
    for message in reader.read(names.dead_letters):
        headers = {name: bytes(value).decode() for name, value in message.headers() or ()}
        place = Place(int(headers["partition"]), int(headers["offset"]), headers["reason"])
        findings.expect("I7", headers["topic"] == names.events, f"a dead letter of another topic: {headers}")
        content = Content(message.key(), hashlib.sha256(message.value() or b"").digest())
        repeats += place in told
        same = told.setdefault(place, content) == content
        findings.expect("I7", same, f"a dead letter is there again with other bytes: {headers}")
    findings.figures["dead_letters"] = len(told)
    findings.figures["dead_letters_repeated"] = repeats
    return told
