"""What identifies a piece of work, and how its result is kept: pure functions.

Two calls are the same work when their content and everything else that the result depends on are the same:
service, operation, model, parameters. All of it goes into one SHA-256, every value with its type and length, so
that no two different requests run into each other (`1`, `1.0`, `"1"` and `True` are four different things).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from costledger.schemas.errors import InvalidValue

#: Mappings and lists within each other; deeper content is no request that anybody writes.
DEPTH_MAX: Final = 32
_BYTES_RESULT: Final = b"b"
_JSON_RESULT: Final = b"j"


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...


def purpose_digest(service: str, operation: str, model: str | None, parameters: object) -> bytes:
    """32 bytes for what is asked, without the content it is asked of; raises `InvalidValue`."""
    digest = hashlib.sha256(b"costledger purpose 1")
    _feed(digest, [service, operation, model, parameters], "parameters", 0)
    return digest.digest()


def work_digest(purpose: bytes, content: object) -> bytes:
    """32 bytes for a purpose and its content; raises `InvalidValue` for content that has no one form."""
    digest = hashlib.sha256(b"costledger work 1" + purpose)
    _feed(digest, content, "content", 0)
    return digest.digest()


def encode_result(result: object) -> bytes:
    """Bytes as they are, else JSON; raises `InvalidValue` for what JSON would not give back the same (a tuple)."""
    if type(result) is bytes:
        return _BYTES_RESULT + result
    _refuse_changed_by_json(result, 0)
    return _JSON_RESULT + json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode()


def decode_result(data: bytes) -> Any:
    """What `encode_result` was given; raises `InvalidValue` for other bytes."""
    kind, body = data[:1], data[1:]
    if kind == _BYTES_RESULT:
        return body
    if kind != _JSON_RESULT:
        raise InvalidValue("cached result", data[:40], "bytes that this cache has written")
    try:
        return json.loads(body)
    except ValueError as error:
        raise InvalidValue("cached result", data[:40], "bytes that this cache has written") from error


def _feed(digest: _Hash, value: object, name: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise InvalidValue(name, "deeper content", f"at most {DEPTH_MAX} levels deep")
    if isinstance(value, Mapping):
        _refuse_other_keys(value, name)
        digest.update(b"m%d:" % len(value))
        for key in sorted(value):
            _feed(digest, key, name, depth + 1)
            _feed(digest, value[key], name, depth + 1)
    elif isinstance(value, (list, tuple)):
        digest.update(b"l%d:" % len(value))
        for item in value:
            _feed(digest, item, name, depth + 1)
    else:
        kind, data = _leaf(value, name)
        digest.update(b"%b%d:" % (kind, len(data)))
        digest.update(data)


def _leaf(value: object, name: str) -> tuple[bytes, bytes]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return b"b", bytes(value)
    if isinstance(value, str):
        try:
            return b"s", value.encode()
        except UnicodeEncodeError:
            raise InvalidValue(name, value, "text that UTF-8 can hold") from None
    if value is None or isinstance(value, bool):
        return b"c", repr(value).encode()
    if isinstance(value, int):
        return b"i", b"%x" % value
    if isinstance(value, float):
        return b"f", float.hex(value).encode()
    raise InvalidValue(
        name, value, "bytes, text, numbers, None, and lists and mappings of these (give bytes of anything else)"
    )


def _refuse_other_keys(value: Mapping[Any, object], name: str) -> None:
    for key in value:
        if not isinstance(key, str):
            raise InvalidValue(f"a key in {name}", key, "text")


def _refuse_changed_by_json(value: object, depth: int) -> None:
    """Exact types only: a subclass, a tuple or a number as a key would come back as something else."""
    if depth > DEPTH_MAX:
        raise InvalidValue("result", "a deeper result", f"at most {DEPTH_MAX} levels deep")
    kind = type(value)
    if kind is list:
        for item in value:  # type: ignore[attr-defined]  # it is a list
            _refuse_changed_by_json(item, depth + 1)
    elif kind is dict:
        for key, item in value.items():  # type: ignore[attr-defined]  # it is a dict
            if type(key) is not str:
                raise InvalidValue("a key in the result", key, "text")
            _refuse_changed_by_json(item, depth + 1)
    elif not (value is None or kind in {str, int, bool} or (kind is float and math.isfinite(value))):  # type: ignore[arg-type]  # it is a float
        raise InvalidValue(
            "result", value, "bytes, or what JSON gives back the same (or give the cache `encode` and `decode`)"
        )
