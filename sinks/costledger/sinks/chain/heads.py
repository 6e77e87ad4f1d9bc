"""Heads of chains in a file that is kept elsewhere: who rewrites a whole chain cannot rewrite that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from costledger.schemas.errors import InvalidValue
from costledger.sinks.chain.report import VerifyReport

_FORMAT: Final = "costledger chain heads 1"

#: (topic, partition, number of the block)
HeadKey = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Heads:
    """The newest block of each chain at some time: its hash, in hexadecimal digits."""

    hashes: Mapping[HeadKey, str]

    def of_partitions(self, partitions: list[int] | None) -> dict[HeadKey, str]:
        """Those of some partitions; None: all."""
        return {key: hash_ for key, hash_ in self.hashes.items() if partitions is None or key[1] in partitions}


def heads_document(report: VerifyReport) -> dict[str, Any]:
    """What is written to a file: the heads that a verification has found."""
    return {
        "format": _FORMAT,
        "verified_at": report.verified_at.isoformat().replace("+00:00", "Z"),
        "heads": [
            {
                "topic": chain.topic,
                "partition": chain.partition,
                "number": chain.head_number,
                "hash": chain.head,
                "sealed_offset": chain.sealed_offset,
            }
            for chain in report.chains
            if chain.head
        ],
    }


def read_heads(path: Path) -> Heads:
    """The heads in a file. `OSError`; `InvalidValue` where it is not such a file."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        document = json.loads(text)
        if document["format"] != _FORMAT:
            raise ValueError(document["format"])
        hashes = {
            (str(one["topic"]), int(one["partition"]), int(one["number"])): str(one["hash"])
            for one in document["heads"]
        }
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidValue("heads", str(path), "a file that --save-heads has written") from error
    return Heads(hashes)
