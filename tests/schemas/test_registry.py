"""The Confluent wire format, against a schema registry that answers over real HTTP."""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import fastavro
import pytest
from tests.schemas.samples import alert, event_record

from costledger.schemas import (
    Budget,
    MalformedMessage,
    SettingsError,
    Unavailable,
    UnknownSchema,
    decode_alert,
    decode_budget,
    decode_event,
    encode_alert,
    encode_budget,
    encode_event,
    load_settings,
)
from costledger.schemas.codec import (
    configure_registry,
    current_schema,
    encode_stored_budget,
    without_logical_types,
)
from costledger.schemas.registry import HttpSchemaRegistry, use_registry


class Registry(ThreadingHTTPServer):
    """A schema registry in memory: two routes of Confluent's API, and faults on demand."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, list[int]] = {}
        self.requests: list[str] = []
        self.authorization: str | None = None
        self.fault: tuple[int, bytes] | None = None
        self.stalled = threading.Event()
        self.stalled.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up waiting is what a test wanted; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    def register(self, subject: str, schema: str) -> int:
        """The id of a schema, the same for the same text."""
        same = [schema_id for schema_id, known in self.schemas.items() if known == {"schema": schema}]
        schema_id = same[0] if same else len(self.schemas) + 41
        self.schemas[schema_id] = {"schema": schema}
        self.subjects.setdefault(subject, []).append(schema_id)
        return schema_id


class Handler(BaseHTTPRequestHandler):
    """GET /schemas/ids/{id} and POST /subjects/{subject}/versions."""

    server: Registry
    protocol_version = "HTTP/1.1"
    not_found: ClassVar = {"error_code": 40403, "message": "Schema not found"}

    def do_GET(self) -> None:
        """The schema of an id."""
        found = self.server.schemas.get(int(self.path.removeprefix("/schemas/ids/")))
        self._answer(404 if found is None else 200, json.dumps(found or self.not_found).encode())

    def do_POST(self) -> None:
        """The id of a schema."""
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        subject = self.path.removeprefix("/subjects/").removesuffix("/versions")
        schema_id = self.server.register(subject, question["schema"])
        self._answer(200, json.dumps({"id": schema_id}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.server.stalled.wait(30)
        self.server.requests.append(f"{self.command} {self.path}")
        self.server.authorization = self.headers.get("Authorization")
        status, body = self.server.fault or (status, body)
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing: requests are in `server.requests`."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A running registry; afterwards the process writes single-object encoding again."""
    monkeypatch.setenv("no_proxy", "*")
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            configure_registry(None)
            server.stalled.set()
            server.shutdown()
            thread.join(10)


@pytest.fixture
def switched_on(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The process configured as its settings say."""
    monkeypatch.setenv("COSTLEDGER_SCHEMA_REGISTRY_URL", f"http://{registry.address}")
    use_registry(load_settings())
    return registry


def confluent(schema_id: int, schema: Any, record: dict[str, Any]) -> bytes:
    """A message as a Confluent serializer writes it."""
    out = io.BytesIO()
    out.write(b"\x00" + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), record)
    return out.getvalue()


def event_with(*fields: Any, **types: Any) -> dict[str, Any]:
    """The published event schema with more fields, or other types for some."""
    schema = json.loads(json.dumps(current_schema("cost_event")))
    schema["fields"] = [
        {"name": field["name"], "type": types[field["name"]]} if field["name"] in types else field
        for field in schema["fields"]
    ]
    schema["fields"] += fields
    return dict(schema)


def test_the_setting_switches_to_the_wire_format(switched_on: Registry) -> None:
    """With the registry's address set, all three kinds are written with magic 0 and a registered id, and read back."""
    assert sorted(switched_on.subjects) == ["cost.alerts-value", "cost.budgets-value", "cost.events-value"]
    event, one, budget = event_record(), alert(), Budget(user_id="u", monthly_budget=5)
    for data, name in (
        (encode_event(event), "cost_event"),
        (encode_alert(one), "cost_alert"),
        (encode_budget(budget), "budget"),
    ):
        assert data[0] == 0
        assert json.loads(switched_on.schemas[int.from_bytes(data[1:5], "big")]["schema"]) == current_schema(name)
    assert decode_event(encode_event(event)) == event
    assert decode_alert(encode_alert(one))["alert_id"] == one.alert_id
    assert decode_budget(encode_budget(budget)) == budget


def test_encoding_and_decoding_ask_nothing_more(switched_on: Registry) -> None:
    """After the process was switched on, its own messages cost no request."""
    before = list(switched_on.requests)
    for _ in range(100):
        decode_event(encode_event(event_record()))
    assert switched_on.requests == before


def test_wire_format_is_what_others_read(switched_on: Registry) -> None:
    """A reader that knows only the registry decodes our message."""
    data = encode_event(event_record())
    writer = json.loads(switched_on.schemas[int.from_bytes(data[1:5], "big")]["schema"])
    record: Any = fastavro.schemaless_reader(io.BytesIO(data[5:]), fastavro.parse_schema(writer), None)
    assert record["amount"] == event_record()["amount"]


def test_without_the_setting_nothing_changes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """No address, no request, and single-object encoding."""
    monkeypatch.delenv("COSTLEDGER_SCHEMA_REGISTRY_URL", raising=False)
    use_registry(load_settings())
    assert encode_event(event_record())[:2] == b"\xc3\x01"
    assert registry.requests == []


def test_single_object_encoding_is_read_beside_it(switched_on: Registry) -> None:
    """Messages from before the registry was configured still decode."""
    configure_registry(None)
    before = encode_event(event_record())
    configure_registry(HttpSchemaRegistry(f"http://{switched_on.address}"))
    assert encode_event(event_record()) != before
    assert decode_event(before) == decode_event(encode_event(event_record()))


def test_topic_prefix_is_in_the_subject(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Subjects follow the topics' names."""
    monkeypatch.setenv("COSTLEDGER_SCHEMA_REGISTRY_URL", f"http://{registry.address}/")
    monkeypatch.setenv("COSTLEDGER_TOPIC_PREFIX", "staging.")
    use_registry(load_settings())
    assert "staging.cost.events-value" in registry.subjects


def test_a_foreign_writer_with_more_fields_is_read(switched_on: Registry) -> None:
    """Fields that we do not know are passed over; a foreign schema is asked for once."""
    schema = event_with(
        {"name": "team", "type": ["null", "string"]}, {"name": "tags", "type": {"type": "array", "items": "string"}}
    )
    schema_id = switched_on.register("other-value", json.dumps(schema))
    data = confluent(
        schema_id, schema, event_record(team="x", tags=["a", "b"]) | {"occurred_at": event_record()["occurred_at"]}
    )
    for _ in range(3):
        assert decode_event(data) == event_record()
    assert switched_on.requests.count(f"GET /schemas/ids/{schema_id}") == 1


def test_a_foreign_writer_with_narrower_types_is_promoted(switched_on: Registry) -> None:
    """An int is read as the long that it is; left-out optional fields take their defaults."""
    schema = event_with(amount="long", quantity="int")
    schema["fields"] = [field for field in schema["fields"] if field["name"] not in {"metadata", "source", "category"}]
    schema_id = switched_on.register("other-value", json.dumps(schema))
    decoded = decode_event(confluent(schema_id, schema, event_record(quantity=7)))
    assert decoded == event_record(quantity=7, metadata={}, source="unknown", category="USAGE")


@pytest.mark.parametrize(
    ("field", "kind", "value"),
    [("amount", "double", 0.1), ("quantity", "float", 1.0), ("user_id", "long", 5), ("category", "string", "USAGE")],
)
def test_a_foreign_writer_with_another_type_is_refused(
    switched_on: Registry, field: str, kind: str, value: object
) -> None:
    """Money as a float, a number for a name: malformed, with a message of bounded length."""
    schema = event_with(**{field: kind})
    schema_id = switched_on.register("other-value", json.dumps(schema))
    with pytest.raises(MalformedMessage) as refused:
        decode_event(confluent(schema_id, schema, event_record(**{field: value})))
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "schema",
    [
        event_with(
            {"name": "n", "type": {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}}
        ),
        event_with(
            {"name": "n", "type": {"type": "record", "name": "a.N", "fields": [{"name": "n", "type": ["null", "a.N"]}]}}
        ),
        event_with({"name": "n", "type": {"type": "array", "items": "null"}}),
        event_with({"name": "n", "type": {"type": "array", "items": {"type": {"type": "null"}}}}),
        event_with({"name": "n", "type": {"type": "array", "items": {"type": "record", "name": "E", "fields": []}}}),
        event_with({"name": "n", "type": {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}}),
        event_with() | {"__fastavro_parsed": True, "__named_schemas": {}},
        event_with({"name": "n", "type": {"type": "unheard-of"}}),
        {"type": "record"},
        [1],
        5,
    ],
)
def test_schemas_that_ask_for_endless_work_are_refused(switched_on: Registry, schema: object) -> None:
    """Records within themselves and values of no bytes are refused before the decoder sees a message."""
    schema_id = switched_on.register("other-value", json.dumps(schema))
    with pytest.raises(UnknownSchema):
        decode_event(b"\x00" + schema_id.to_bytes(4, "big") + b"\x02" * 8000)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '"' + "x" * 300_000 + '"'])
def test_texts_that_are_no_schema_are_refused(switched_on: Registry, text: str) -> None:
    """Broken, too deep or too long texts of a schema are an unknown schema."""
    schema_id = switched_on.register("other-value", text)
    with pytest.raises(UnknownSchema):
        decode_event(b"\x00" + schema_id.to_bytes(4, "big") + b"rest")


def test_an_id_that_the_registry_lacks_is_unknown(switched_on: Registry) -> None:
    """404 is the registry's word that nobody registered the id: permanent."""
    with pytest.raises(UnknownSchema, match="404"):
        decode_event(b"\x00\x00\x00\x03\xe7rest")


def test_a_json_schema_is_unknown(switched_on: Registry) -> None:
    """A schema of another kind is no schema for us."""
    switched_on.schemas[999] = {"schema": "{}", "schemaType": "JSON"}
    with pytest.raises(UnknownSchema, match="'JSON', not AVRO"):
        decode_event(b"\x00\x00\x00\x03\xe7rest")


@pytest.mark.parametrize(
    "fault",
    [
        (500, b"{}"),
        (503, b""),
        (429, b"{}"),
        (401, b"{}"),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b" " * 2**21),
    ],
)
def test_a_registry_in_trouble_is_unavailable(switched_on: Registry, fault: tuple[int, bytes]) -> None:
    """A registry that cannot answer says nothing about the message: passing, and the next try decodes."""
    schema = event_with({"name": "team", "type": "string"})
    schema_id = switched_on.register("other-value", json.dumps(schema))
    data = confluent(schema_id, schema, event_record(team="x"))
    switched_on.fault = fault
    with pytest.raises(Unavailable):
        decode_event(data)
    switched_on.fault = None
    assert decode_event(data) == event_record()


def test_a_registry_that_stalls_is_unavailable(registry: Registry) -> None:
    """The timeout ends the wait."""
    registry.stalled.clear()
    with pytest.raises(Unavailable, match="cannot be reached"):
        HttpSchemaRegistry(f"http://{registry.address}", timeout_seconds=0.2).schema_of_id(1)


def test_a_registry_that_is_not_there_is_unavailable(registry: Registry) -> None:
    """A refused connection is passing, and leaves the process with single-object encoding."""
    registry.server_close()
    with pytest.raises(Unavailable):
        configure_registry(HttpSchemaRegistry(f"http://{registry.address}"))
    assert encode_event(event_record())[:2] == b"\xc3\x01"


@pytest.mark.parametrize(
    ("status", "error"), [(409, UnknownSchema), (422, UnknownSchema), (404, Unavailable), (500, Unavailable)]
)
def test_a_schema_that_the_registry_refuses(registry: Registry, status: int, error: type[Exception]) -> None:
    """Incompatible and invalid are permanent; anything else on registering is passing."""
    registry.fault = (status, b'{"error_code": 409}')
    with pytest.raises(error, match=str(status)):
        HttpSchemaRegistry(f"http://{registry.address}").id_of_schema("s", "{}")


@pytest.mark.parametrize("answer", [b'{"id": "1"}', b'{"id": -1}', b'{"id": true}', b'{"id": 2147483648}', b"{}"])
def test_an_id_that_is_none_is_unavailable(registry: Registry, answer: bytes) -> None:
    """Only an id that fits into four bytes is taken."""
    registry.fault = (200, answer)
    with pytest.raises(Unavailable):
        HttpSchemaRegistry(f"http://{registry.address}").id_of_schema("s", "{}")


def test_credentials_are_sent_and_not_shown(registry: Registry) -> None:
    """User and password of the address go into the Authorization header, and into no error."""
    client = HttpSchemaRegistry(f"http://ann:s3%2Fcret@{registry.address}")
    with pytest.raises(UnknownSchema) as refused:
        client.schema_of_id(5)
    assert registry.authorization == "Basic " + base64.b64encode(b"ann:s3/cret").decode()
    assert "cret" not in str(refused.value) + str(refused.value.__cause__)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://x/y", "localhost:8081", "http://", ""])
def test_only_http_is_a_registry(url: str) -> None:
    """Another scheme, or no host, is a wrong setting."""
    with pytest.raises(SettingsError, match="COSTLEDGER_SCHEMA_REGISTRY_URL"):
        HttpSchemaRegistry(url)


@pytest.mark.parametrize(
    ("field", "kind", "value"),
    [
        ("version", {"type": "long", "logicalType": "timestamp-micros"}, 5),
        ("version", {"type": "int", "logicalType": "date"}, 5),
        ("user_id", {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2}, b"ann"),
        ("updated_at", "long", 5),
        ("alert_thresholds", {"type": "array", "items": "bytes"}, [b"\x0b\x71\xb0"]),
    ],
    ids=str,
)
def test_logical_types_of_others_do_not_change_ours(
    switched_on: Registry, field: str, kind: object, value: object
) -> None:
    """A budget is one, with the types of our schema, whatever its writer calls a date or a decimal."""
    budget = Budget(user_id="ann", version=5, updated_at=5, alert_thresholds=(Decimal(75),))
    schema = json.loads(json.dumps(current_schema("budget")))
    schema["fields"] = [
        {"name": one["name"], "type": kind} if one["name"] == field else one for one in schema["fields"]
    ]
    plain = without_logical_types(schema)
    record = without_logical_types(budget.to_record())
    record |= {"updated_at": 5, "alert_thresholds": [b"\x0b\x71\xb0"]} | {field: value}
    schema_id = switched_on.register("theirs", json.dumps(schema))
    assert decode_budget(confluent(schema_id, plain, record)) == budget


def test_stored_budgets_outlive_the_registry(registry: Registry) -> None:
    """What a process keeps as its own state is read again after the registry was switched off."""
    budget = Budget(user_id="ann", version=1, tier="free")
    use_registry(load_settings(schema_registry_url=f"http://{registry.address}"))
    assert encode_budget(budget)[:1] == b"\x00"
    stored = encode_stored_budget(budget)
    configure_registry(None)
    assert decode_budget(stored) == budget
