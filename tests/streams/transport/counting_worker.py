"""A stage worker for the tests, run as a program: `python counting_worker.py CONFIG.json`.

The handler keeps, for each key of the main topic, the sum and the number of its amounts, in one group of
two changes; each multiple of `step` that a sum passes makes one output with a deterministic id. Records
of the prerequisite topic set a name's value, kept under `limit:`. On SIGTERM the worker drains.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from costledger.streams.transport import (
    Batch,
    Change,
    Flush,
    Output,
    Stage,
    StageConfig,
    StateRecord,
)


class CountingHandler:
    """See the module's docstring. `fail_at`: raise in `process` once so many records were applied."""

    def __init__(self, main_topic: str, output_topic: str, step: int, options: dict[str, int]) -> None:
        self.main_topic = main_topic
        self.output_topic = output_topic
        self.step = step
        self.options = options
        self.totals: dict[int, dict[bytes, list[int]]] = {}
        self.fences: dict[int, dict[bytes, int]] = {}
        self.limits: dict[int, dict[bytes, bytes]] = {}
        self.dirty: dict[int, set[bytes]] = {}
        self.dirty_limits: dict[int, set[bytes]] = {}
        self.outputs: dict[int, list[Output]] = {}
        self.last: dict[int, int] = {}
        self.applied = 0
        self.skipped = 0
        self.delivered: dict[tuple[str, int], int] = {}
        self.unlimited = 0

    def restore(self, partition: int, records: Iterable[StateRecord], _is_ours: Callable[[], bool]) -> None:
        if partition in self.totals:
            raise AssertionError(f"partition {partition} is restored while it is held")
        totals: dict[bytes, list[int]] = {}
        fences: dict[bytes, int] = {}
        limits: dict[bytes, bytes] = {}
        for key, offset, value in records:
            kind, _, name = key.partition(b":")
            if kind == b"limit":
                limits[name] = value
                continue
            totals.setdefault(name, [0, 0])[kind == b"count"] = int(value)
            if fences.setdefault(name, offset) != offset:
                raise AssertionError(f"group of {name!r} is split: {fences[name]} and {offset}")
        self.totals[partition] = totals
        self.fences[partition] = fences
        self.limits[partition] = limits
        self.dirty[partition] = set()
        self.dirty_limits[partition] = set()
        self.outputs[partition] = []
        self.last[partition] = -1
        for topic, number in list(self.delivered):
            if number == partition:
                del self.delivered[topic, number]

    def process(self, batch: Batch) -> None:
        partition = batch.partition
        before = self.delivered.get((batch.topic, partition), -1)
        offsets = [record.offset for record in batch.records]
        if offsets != sorted(set(offsets)) or offsets[0] <= before:
            raise AssertionError(f"{batch.topic}[{partition}]: {offsets[0]} follows {before}")
        self.delivered[batch.topic, partition] = offsets[-1]
        if batch.topic != self.main_topic:
            for record in batch.records:
                self.limits[partition][record.key] = record.value
                self.dirty_limits[partition].add(record.key)
            return
        totals, fences = self.totals[partition], self.fences[partition]
        for record in batch.records:
            if record.offset <= fences.get(record.key, -1):
                self.skipped += 1
                continue
            self._apply(partition, totals.setdefault(record.key, [0, 0]), record.key, int(record.value))
        self.last[partition] = offsets[-1]
        if 0 < self.options.get("fail_at", 0) <= self.applied:
            raise RuntimeError("failing as told")

    def _apply(self, partition: int, total: list[int], key: bytes, amount: int) -> None:
        passed = total[0] // self.step
        total[0] += amount
        total[1] += 1
        self.applied += 1
        self.unlimited += key not in self.limits[partition]
        for multiple in range(passed + 1, total[0] // self.step + 1):
            name = key + b"/%d" % multiple
            self.outputs[partition].append(Output(self.output_topic, key, name, [("id", name)]))
        self.dirty[partition].add(key)

    def order(self, key: bytes, value: bytes) -> None:
        """By the source offset."""

    def renew(self, partition: int, keys: Iterable[bytes]) -> None:
        for key in keys:
            kind, _, name = key.partition(b":")
            (self.dirty_limits if kind == b"limit" else self.dirty)[partition].add(name)

    def acknowledged(self, partition: int) -> None:
        assert partition in self.totals

    def pending(self) -> int:
        return sum(map(len, self.dirty.values()))

    def flush(self, partition: int) -> Flush | None:
        dirty, limits = self.dirty[partition], self.dirty_limits[partition]
        if not dirty and not limits:
            return None
        totals = self.totals[partition]
        changes = [
            [
                Change(b"sum:" + key, b"%d" % totals[key][0]),
                Change(b"count:" + key, b"%d" % totals[key][1]),
            ]
            for key in sorted(dirty)
        ]
        changes += [[Change(b"limit:" + name, self.limits[partition][name])] for name in sorted(limits)]
        outputs = self.outputs[partition]
        self.dirty[partition], self.dirty_limits[partition], self.outputs[partition] = set(), set(), []
        return Flush(outputs, changes, self.last[partition])

    def revoke(self, partition: int) -> None:
        for held in (self.totals, self.fences, self.limits, self.dirty, self.dirty_limits, self.outputs):
            del held[partition]

    async def flushed(self, partition: int) -> None:
        if partition not in self.totals:
            raise AssertionError(f"flushed for partition {partition}, which is not held")

    async def tick(self) -> None:
        return None


def main() -> int:
    """Run a worker; its report goes to the file named in the configuration."""
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    given = json.loads(Path(sys.argv[1]).read_text())
    given["stage"]["prerequisite_topics"] = tuple(given["stage"].get("prerequisite_topics", ()))
    config = StageConfig(**given["stage"])
    handler = CountingHandler(config.main_topic, given["output_topic"], given["step"], given["options"])
    started = time.monotonic()
    code = Stage(config, handler).run()
    report = {
        "code": code,
        "applied": handler.applied,
        "skipped": handler.skipped,
        "unlimited": handler.unlimited,
        "seconds": time.monotonic() - started,
        "pid": os.getpid(),
    }
    Path(given["report"]).write_text(json.dumps(report))
    return code


if __name__ == "__main__":
    sys.exit(main())
