"""Whether each block follows on the one before it. Pure: sees the blocks in the order in which they were sealed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from costledger.sinks.chain.hashing import FORMAT, NO_HASH, Block
from costledger.sinks.chain.report import ChainReport, Finding

#: (topic, partition)
ChainKey = tuple[str, int]
_BEGINNING: Final = Block("", 0, 0, FORMAT, None, 0, 0, 0, 0, 0, None, None, datetime.min.replace(tzinfo=UTC), b"")


class Links:
    """The chains as far as they have been seen: the newest block and the report of each."""

    def __init__(self) -> None:
        self.reports: dict[ChainKey, ChainReport] = {}
        self._newest: dict[ChainKey, tuple[Block, bytes]] = {}

    def follow(self, block: Block, hash_: bytes) -> list[Finding]:
        """Take the next block of any chain; what is wrong with the way it follows on the one before it."""
        key = (block.topic, block.partition)
        before, before_hash = self._newest.get(key, (_BEGINNING, NO_HASH))
        problems = list(_problems(before, before_hash, block))
        self._newest[key] = (block, hash_)
        report = self.reports.setdefault(key, ChainReport(*key))
        report.blocks += 1
        report.rows += block.rows
        report.sealed_at = block.sealed_at
        report.head_number, report.head = block.number, hash_.hex()
        return [of_block(block, text) for text in problems] + _missing(before, block)


def of_block(block: Block, text: str) -> Finding:
    """A finding about a block itself."""
    return Finding("block", block.topic, block.partition, f"block {block.number}: {text}", block.first_offset)


def _problems(before: Block, before_hash: bytes, block: Block) -> list[str]:
    found = []
    if block.number != before.number + 1:
        found.append(f"follows on block {before.number}: blocks between them are not there, or are there twice")
    if block.previous_hash != before_hash:
        found.append(f"names another hash than block {before.number} has: one of the two is not what it was")
    if block.since == before.since:
        if block.first_offset != before.next_offset:
            found.append(f"begins at offset {block.first_offset}, block {before.number} ends at {before.next_offset}")
        if block.rows_total != before.rows_total + block.rows:
            found.append(f"counts {block.rows_total} entries after {before.rows_total} and its own {block.rows}")
    elif before.since is not None and (block.since is None or block.since < before.since):
        found.append(f"is of an earlier topic than block {before.number}")
    return found


def _missing(before: Block, block: Block) -> list[Finding]:
    more = block.missing - (before.missing if block.since == before.since else 0)
    if not more:
        return []
    what = f"{more} fewer" if more > 0 else f"{-more} more"
    text = (
        f"{what} entries were there to be sealed at {block.sealed_at:%Y-%m-%dT%H:%M:%SZ}, up to offset "
        f"{block.next_offset}, than the sink had counted"
    )
    return [Finding("missing", block.topic, block.partition, text)]
