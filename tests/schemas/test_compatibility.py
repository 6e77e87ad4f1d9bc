"""Changing a schema: what may be changed, and what old and new do with each other's data."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import fastavro
import pytest
from tests.schemas.samples import event_record

from costledger.schemas import MalformedMessage, codec
from costledger.schemas.codec import SINGLE_OBJECT_MARKER, Codec, current_schema, schema_fingerprint
from costledger.schemas.compatibility import check, check_all


def changed(name: str = "cost_event", **fields: Any) -> dict[str, Any]:
    """The published schema with the definitions of some fields replaced, removed (None) or added."""
    schema = json.loads(json.dumps(current_schema(name)))
    known = {field["name"]: field for field in schema["fields"]}
    for field, definition in fields.items():
        if definition is None:
            del known[field]
        else:
            known[field] = {"name": field} | definition
    schema["fields"] = list(known.values())
    return dict(schema)


def directions(name: str, schema: dict[str, Any]) -> set[str]:
    """In which directions a candidate is incompatible, the missing release aside."""
    return {problem.direction for problem in check(name, schema)} - {"release"}


NEW_READS, OLD_READS = "new readers reading its data", "its readers reading new data"


def test_the_published_schemas_are_released() -> None:
    """All is well as it stands."""
    assert check_all() == []


def test_the_command_says_so() -> None:
    """`python -m costledger.schemas.compatibility` exits 0 in silence."""
    done = subprocess.run(
        [sys.executable, "-m", "costledger.schemas.compatibility"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_an_added_field_with_a_default_is_compatible() -> None:
    """Only its release is missing, and that is said."""
    v2 = changed(team={"type": ["null", "string"], "default": None})
    assert directions("cost_event", v2) == set()
    assert [str(problem) for problem in check("cost_event", v2)] == [
        "cost_event: version 1, release: the schema is not the last released version"
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"team": {"type": "string"}}, {NEW_READS}),
        ({"user_id": None}, {OLD_READS}),
        ({"amount": {"type": ["null", "double"], "default": None}}, {OLD_READS}),
        ({"quantity": {"type": "string"}}, {NEW_READS, OLD_READS}),
        ({"quantity": {"type": "int"}}, {NEW_READS}),
        ({"metadata": {"type": {"type": "map", "values": "long"}, "default": {}}}, {NEW_READS, OLD_READS}),
    ],
)
def test_breaking_changes_are_named_with_their_direction(change: dict[str, Any], expected: set[str]) -> None:
    """Each change that breaks a reader is found, in the direction in which it breaks."""
    assert directions("cost_event", changed(**change)) == expected


def v2_codecs(monkeypatch: pytest.MonkeyPatch, v2: dict[str, Any]) -> tuple[Codec, Codec]:
    """The codec of today, and one of a later release with `v2` as its last version."""
    v1 = current_schema("cost_event")
    old = Codec("cost_event", with_logical_types=False)
    monkeypatch.setattr(codec, "current_schema", lambda _: v2)
    monkeypatch.setattr(codec, "released_schemas", lambda _: (v1, v2))
    return old, Codec("cost_event", with_logical_types=False)


def test_a_new_release_reads_old_and_new_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """v1 and v2 mixed on a topic: a v2 reader takes both, the new field at its default where it is missing."""
    v2 = changed(team={"type": ["null", "string"], "default": None})
    old, new = v2_codecs(monkeypatch, v2)
    first, second = old.encode(event_record()), new.encode(event_record(team="search"))
    assert first[:10] != second[:10]
    assert new.decode(first) == event_record(team=None)
    assert new.decode(second) == event_record(team="search")


def test_an_added_category_is_read_with_the_default_by_old_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A symbol that a reader does not know becomes the enum's default, USAGE: what Avro's resolution says."""
    symbols = ["USAGE", "PURCHASE", "TAX", "CREDIT", "ADJUSTMENT", "REBATE"]
    enum = {"type": "enum", "name": "Category", "symbols": symbols, "default": "USAGE"}
    v2 = changed(category={"type": enum, "default": "USAGE"})
    body = io.BytesIO()
    fastavro.schemaless_writer(
        body, fastavro.parse_schema(codec.without_logical_types(v2)), event_record(category="REBATE")
    )
    _, new = v2_codecs(monkeypatch, v2)
    monkeypatch.undo()
    old_readers = Codec("cost_event", with_logical_types=False)
    old_readers._writers[SINGLE_OBJECT_MARKER + schema_fingerprint(v2)] = fastavro.parse_schema(
        codec.without_logical_types(v2)
    )
    data = SINGLE_OBJECT_MARKER + schema_fingerprint(v2) + body.getvalue()
    assert new.decode(data)["category"] == "REBATE"
    assert old_readers.decode(data)["category"] == "USAGE"


def test_an_incompatible_release_is_malformed_to_its_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were an incompatible type released, its events would be refused one by one, never misread."""
    v2 = changed(quantity={"type": "string"})
    assert directions("cost_event", v2) == {NEW_READS, OLD_READS}
    old, new = v2_codecs(monkeypatch, v2)
    with pytest.raises(MalformedMessage, match="SchemaResolutionError"):
        new.decode(old.encode(event_record()))
