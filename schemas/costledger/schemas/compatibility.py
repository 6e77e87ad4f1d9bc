"""Is a schema compatible with every released version? Judged by the Apache Avro library.

A change is allowed when old readers can read new data and new readers can read old data (FULL_TRANSITIVE in
the terms of schema registries), so that producers and consumers can be upgraded in any order.
`python -m costledger.schemas.compatibility` checks all and exits 1 with the reasons on stderr.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from costledger.schemas.codec import Schema, current_schema, released_schemas

NAMES: Final = ("cost_event", "cost_alert", "budget")


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """One reason why two versions cannot read each other; `version` counts releases from 1."""

    name: str
    version: int
    direction: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: version {self.version}, {self.direction}: {self.reason}"


def check_all() -> list[Incompatibility]:
    """Check the current schemas against every release; empty where all is well."""
    return [problem for name in NAMES for problem in check(name, current_schema(name))]


def check(name: str, candidate: Schema) -> list[Incompatibility]:
    """Check a candidate for the schema `name` against every release of it, in both directions."""
    problems = []
    for version, released in enumerate(released_schemas(name), start=1):
        for direction, reader, writer in (
            ("new readers reading its data", candidate, released),
            ("its readers reading new data", released, candidate),
        ):
            problems += [Incompatibility(name, version, direction, reason) for reason in _reasons(reader, writer)]
    if released_schemas(name)[-1] != candidate:
        problems.append(
            Incompatibility(name, len(released_schemas(name)), "release", "the schema is not the last released version")
        )
    return problems


def _reasons(reader: Schema, writer: Schema) -> list[str]:
    import avro.schema
    from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # the library has no annotation here
    result = checker.get_compatibility(
        reader=avro.schema.parse(json.dumps(reader)), writer=avro.schema.parse(json.dumps(writer))
    )
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    return sorted(str(message) for message in result.messages) or ["incompatible"]


if __name__ == "__main__":
    raise SystemExit("\n".join(map(str, check_all())) or None)
