"""May a schema that is not ours be used for decoding? Judged before the decoder sees it.

A registry holds what others registered. Avro lets a schema ask for work without end from a few bytes: an array
of a billion nulls, records of records that hold nothing, a record within itself deeper than the stack (which
the decoder does not survive). Where every value takes at least one byte and no type holds itself, the size of
the message bounds the work.
"""

from __future__ import annotations

import json
from typing import Any, Final

from costledger.schemas.errors import UnknownSchema, shown

#: How large a foreign schema may be; nesting is bounded by Python's own recursion limit.
SCHEMA_CHARACTERS_MAX: Final = 256 * 1024


def parse_foreign(text: str) -> Any:
    """The schema in JSON text, if it is safe to decode with; raises `UnknownSchema` saying why not."""
    if len(text) > SCHEMA_CHARACTERS_MAX:
        raise UnknownSchema(f"the schema has {len(text)} characters; it may have at most {SCHEMA_CHARACTERS_MAX}")
    try:
        schema = json.loads(text)
        _check(schema, frozenset())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UnknownSchema(f"not an Avro schema, or nested too deeply: {type(error).__name__}") from error
    return schema


def _check(schema: Any, holders: frozenset[str]) -> None:
    """Check a part of a schema that lies within the records `holders` (names without namespace: stricter, simpler)."""
    if isinstance(schema, str):
        if schema == "null":
            raise UnknownSchema("the schema has a null outside a union, which takes no byte")
        if _short_name(schema) in holders:
            raise UnknownSchema(f"the schema has a record {shown(schema)} that holds itself")
    elif isinstance(schema, list):
        for branch in schema:
            if branch not in ("null", {"type": "null"}):
                _check(branch, holders)
    else:
        _check_complex(schema, holders)


def _check_complex(schema: dict[str, Any], holders: frozenset[str]) -> None:
    if any(key.startswith("__") for key in schema):
        raise UnknownSchema("the schema has the decoder's own marks, as if it had been checked already")
    kind = schema["type"]
    if kind == "array":
        _check(schema["items"], holders)
    elif kind == "map":
        _check(schema["values"], holders)
    elif kind in ("record", "error"):
        if not schema["fields"]:
            raise UnknownSchema(f"the schema has a record {shown(schema['name'])} without fields, which takes no byte")
        for field in schema["fields"]:
            _check(field["type"], holders | {_short_name(schema["name"])})
    elif kind == "fixed":
        if schema["size"] < 1:
            raise UnknownSchema(
                f"the schema has a fixed {shown(schema['name'])} of size {schema['size']}, which takes no byte"
            )
    elif kind != "enum":
        _check(kind, holders)


def _short_name(name: str) -> str:
    return name.rpartition(".")[2]
