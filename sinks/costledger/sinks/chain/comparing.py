"""A block against the entries that are there now. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from costledger.sinks.chain.hashing import FINGERPRINT_BYTES, Fingerprint, SealedRow
from costledger.sinks.chain.report import Finding


class Place(NamedTuple):
    """Where entries are told apart: (topic, partition, offset)."""

    topic: str
    partition: int
    offset: int


def compare_rows(topic: str, partition: int, sealed: Sequence[Fingerprint], rows: Sequence[SealedRow]) -> list[Finding]:
    """What differs between the fingerprints of a block and the rows of today, by offset."""
    kept: dict[int, list[bytes]] = defaultdict(list)
    for offset, start in sealed:
        kept[offset].append(start)
    told: dict[int, list[SealedRow]] = defaultdict(list)
    for row in rows:
        starts = kept.get(row.offset)
        start = row.digest[:FINGERPRINT_BYTES]
        if starts and start in starts:
            starts.remove(start)
        else:
            told[row.offset].append(row)
    findings = []
    for offset in sorted({*told, *(offset for offset, starts in kept.items() if starts)}):
        others, gone = told.get(offset, []), len(kept.get(offset, ()))
        findings += [changed(topic, partition, offset, _shown(row)) for row in others[:gone]]
        findings += [inserted(topic, partition, offset, _shown(row)) for row in others[gone:]]
        findings += [removed(topic, partition, offset)] * (gone - len(others))
    return findings


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """Each entry once: gone from its block and there at the same offset, where no block covers it, it was changed."""
    known = {(_place(one), one.event_id) for one in findings if one.kind == "changed"}
    extra: dict[Place, list[Finding]] = defaultdict(list)
    for one in dict.fromkeys(findings):
        if one.kind == "inserted" and (_place(one), one.event_id) not in known:
            extra[_place(one)].append(one)
    result = []
    for one in findings:
        others = extra.get(_place(one)) if one.kind == "removed" else None
        if others:
            result.append(changed(one.topic, one.partition, _place(one).offset, others.pop(0).event_id))
        elif one.kind != "inserted":
            result.append(one)
    return result + [one for others in extra.values() for one in others]


def _shown(row: SealedRow) -> str:
    return str(UUID(bytes=row.event_id))


def _place(finding: Finding) -> Place:
    return Place(finding.topic, finding.partition, -1 if finding.offset is None else finding.offset)


def changed(topic: str, partition: int, offset: int, event_id: str | None) -> Finding:
    """An entry whose content is not the one that was sealed."""
    text = "the entry is not the one that was sealed"
    return Finding("changed", topic, partition, text, offset, event_id)


def removed(topic: str, partition: int, offset: int) -> Finding:
    """An entry that was sealed and is gone; its id is gone with it."""
    return Finding("removed", topic, partition, "the entry was sealed, and is not there", offset)


def inserted(topic: str, partition: int, offset: int | None, event_id: str | None) -> Finding:
    """An entry where none was sealed."""
    text = "the entry is in a range that was sealed without it"
    return Finding("inserted", topic, partition, text, offset, event_id)
