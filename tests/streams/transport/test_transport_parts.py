"""Values in parts: wherever the log ends, each group is there as a whole or not at all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.streams.transport import Change, StageConfig
from costledger.streams.transport.acks import Fences
from costledger.streams.transport.parts import PART_PREFIX
from costledger.streams.transport.producer import BATCH_OVERHEAD_BYTES, Row, row_bytes
from costledger.streams.transport.runtime import Runtime
from costledger.streams.transport.table import RecoveredPartition

LIMIT = 2000
Values = dict[bytes, bytes | None]


def new_runtime() -> Any:
    """A runtime that holds partition 0, without a broker."""
    given: dict[str, Any] = {"app_id": "app", "bootstrap_servers": "127.0.0.1:9", "main_topic": "m", "table_name": "t"}
    runtime: Any = Runtime(StageConfig(**given, partitions=1, batch_bytes_max=LIMIT), None)  # type: ignore[arg-type]  # no handler is called
    runtime.fences[0], runtime.parts[0] = Fences(0, {}), {}
    return runtime


def laid_out(runtime: Any, offset: int, values: Values) -> list[list[Row]]:
    """What is written of one group with this source offset, in order."""
    runtime.fences[0].pass_by(offset)
    stages = runtime.flusher._laid_out(0, [[Change(key, value) for key, value in values.items()]])
    return [group for stage in stages for group in stage]


def recovered(log: list[list[Row]]) -> RecoveredPartition:
    """The state that a log gives."""
    found = RecoveredPartition()
    for number, (key, value, headers) in enumerate(row for group in log for row in group):
        record = SimpleNamespace(topic="log", partition=0, offset=number, key=key, value=value, headers=tuple(headers))
        found.apply([record])
    return found


def values_of(found: RecoveredPartition) -> dict[bytes, bytes]:
    """The values by key."""
    return {row.key: row.value for row in found.state()}


def compacted(log: list[list[Row]]) -> list[list[Row]]:
    """The last record of each key, without deletions."""
    rows = [row for group in log for row in group]
    last = {row[0]: number for number, row in enumerate(rows)}
    return [[row for number, row in enumerate(rows) if last[row[0]] == number and row[1] is not None]]


one_value = st.one_of(st.none(), st.sampled_from([0, 10, 500, 1900, 2100, 9000]))
one_group = st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d"]), one_value, min_size=1)


@given(st.lists(one_group, min_size=1, max_size=6))
def test_every_end_of_the_log_is_a_whole_number_of_groups(groups: list[dict[bytes, int | None]]) -> None:
    """A crash between any two batches leaves all of a group or none of it, also after compaction."""
    runtime, log = new_runtime(), []
    states: list[dict[bytes, bytes]] = [{}]
    for offset, group in enumerate(groups):
        values = {key: None if size is None else bytes([offset]) * size for key, size in group.items()}
        written = laid_out(runtime, offset, values)
        assert all(BATCH_OVERHEAD_BYTES + sum(map(row_bytes, rows)) <= LIMIT for rows in written)
        before = states[-1]
        merged = {**before, **values}
        states.append({key: value for key, value in merged.items() if value is not None})
        for batch in written:
            log.append(batch)
            assert values_of(recovered(log)) in (before, states[-1])
            assert values_of(recovered(compacted(log))) in (before, states[-1])
    assert values_of(recovered(log)) == states[-1]
    assert recovered(log).orphans() == []
    assert recovered(log).repairs() == []


def test_parts_of_a_group_that_never_landed_are_found() -> None:
    """Parts without the record that names them are no state, and are listed in the order of the log."""
    runtime = new_runtime()
    log = laid_out(runtime, 1, {b"a": b"x" * 5000})
    torn = laid_out(runtime, 2, {b"a": b"y" * 5000})[:3]
    found = recovered([*log, *torn])
    assert values_of(found) == {b"a": b"x" * 5000}
    assert found.orphans() == [row[0] for group in torn for row in group]
    assert all(key.startswith(PART_PREFIX) for key in found.orphans())


def test_a_late_record_whose_parts_are_gone_is_repaired() -> None:
    """A worker that lost its partition writes a record after its parts were deleted: the state before it stands."""
    old, new = new_runtime(), new_runtime()
    late = laid_out(old, 9, {b"a": b"x" * 5000})[-1]
    log = laid_out(new, 5, {b"a": b"y"})
    found = recovered([*log, late])
    assert values_of(found) == {b"a": b"y"}
    assert found.repairs() == [(b"a", 5, b"y")]


def test_missing_parts_are_an_error() -> None:
    """A value whose parts are nowhere is not taken for no value."""
    found = recovered([laid_out(new_runtime(), 1, {b"a": b"x" * 5000})[-1]])
    with pytest.raises(ValueError, match="the parts of 1 keys are missing from the changelog, the first is b'a'"):
        list(found.state())
