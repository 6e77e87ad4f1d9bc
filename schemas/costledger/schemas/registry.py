"""A client of a Confluent-compatible schema registry, and how a process switches it on.

The registry is asked once per schema id (the codec remembers the answer), never once per message. Its three
answers: the schema; there is no such schema (`UnknownSchema`, permanent); anything else (`Unavailable`, passing:
a registry that is down, overloaded or refuses our credentials says nothing about the message).
"""

from __future__ import annotations

import base64
import json
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from costledger.schemas.codec import configure_registry
from costledger.schemas.errors import SettingsError, Unavailable, UnknownSchema, shown
from costledger.schemas.settings import Settings

#: Shorter than the shortest session of a consumer, whose thread may be the one that waits.
TIMEOUT_SECONDS: Final = 3.0
ANSWER_BYTES_MAX: Final = 1024 * 1024
SCHEMA_ID_MAX: Final = 2**31 - 1
_CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_UNPROCESSABLE: Final = 422


def use_registry(settings: Settings) -> None:
    """Read and write the Confluent wire format too, where `COSTLEDGER_SCHEMA_REGISTRY_URL` is set; once per process.

    Registers the current schemas under `<topic>-value`. Raises `Unavailable`, and `UnknownSchema` where the
    registry refuses a schema of ours.
    """
    if settings.schema_registry_url is None:
        return
    registry = HttpSchemaRegistry(settings.schema_registry_url.get_secret_value())
    configure_registry(registry, settings.topics)


class HttpSchemaRegistry:
    """The two requests that the wire format needs. Safe to share between threads."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """`url` is http or https and may hold `user:password@`; raises `SettingsError` for another one."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError("COSTLEDGER_SCHEMA_REGISTRY_URL must begin with http:// or https:// and name a host")
        # The password must not reach a log, so that errors show this address only.
        self.address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        self._timeout_seconds = timeout_seconds
        self._headers = {"Accept": _CONTENT_TYPE, "Content-Type": _CONTENT_TYPE}
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(credentials.encode()).decode()

    def schema_of_id(self, schema_id: int) -> str:
        """The writer's schema as JSON text; raises `UnknownSchema` where there is none, `Unavailable`."""
        answer = self._ask(f"/schemas/ids/{schema_id}")
        kind = answer.get("schemaType", "AVRO")
        schema = answer.get("schema")
        if kind != "AVRO":
            raise UnknownSchema(f"schema id {schema_id} is of type {shown(kind)}, not AVRO")
        if not isinstance(schema, str):
            raise Unavailable(f"the schema registry at {self.address} answers id {schema_id} without a schema")
        return schema

    def id_of_schema(self, subject: str, schema: str) -> int:
        """The id of a schema under a subject, registered if need be; raises `UnknownSchema`, `Unavailable`."""
        answer = self._ask(f"/subjects/{quote(subject, safe='')}/versions", {"schema": schema})
        schema_id = answer.get("id")
        if type(schema_id) is not int or not 0 <= schema_id <= SCHEMA_ID_MAX:
            raise Unavailable(f"the schema registry at {self.address} gives {subject} the id {shown(schema_id)}")
        return schema_id

    def _ask(self, path: str, question: dict[str, str] | None = None) -> dict[str, Any]:
        body = None if question is None else json.dumps(question).encode()
        request = Request(self.address + path, data=body, headers=self._headers)  # noqa: S310 - http or https, checked above
        try:
            with urlopen(request, timeout=self._timeout_seconds) as response:  # noqa: S310 - the same
                text = response.read(ANSWER_BYTES_MAX + 1)
        except HTTPError as error:
            with error:
                permanent = error.code == _NOT_FOUND if body is None else error.code in {_CONFLICT, _UNPROCESSABLE}
            wrong = f"the schema registry at {self.address} answers {path} with {error.code} {error.reason}"
            raise (UnknownSchema(wrong) if permanent else Unavailable(wrong)) from error
        except (OSError, HTTPException) as error:
            raise Unavailable(f"the schema registry at {self.address} cannot be reached: {error}") from error
        try:
            if len(text) > ANSWER_BYTES_MAX:
                raise ValueError(f"more than {ANSWER_BYTES_MAX} bytes")
            answer = json.loads(text)
            if not isinstance(answer, dict):
                raise ValueError("not a JSON object")  # noqa: TRY004 - the answer is wrong, not an argument
        except (ValueError, RecursionError) as error:
            raise Unavailable(
                f"the schema registry at {self.address} answers {path} with no JSON of its own"
            ) from error
        return answer
