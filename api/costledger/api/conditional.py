"""Conditional requests (RFC 9110, section 13) over a version: `ETag`, `If-Match`, `If-None-Match`."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

from costledger.api.problems import Problem

_TAG: Final = re.compile(r'\s*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"\s*')
ANY: Final = "*"


def etag_of(version: int) -> str:
    """The entity tag of a version."""
    return f'"{version}"'


def matches(header: str, version: int | str, *, weak: bool) -> bool:
    """Whether a list of entity tags has the one of this version, a number or what stands in the tag's quotes.

    `*` has every one. Weak tags count only where `weak`.
    """
    if header.strip() == ANY:
        return True
    for part in header.split(","):
        found = _TAG.fullmatch(part)
        if found is not None and (weak or not found[1]) and found[2] == str(version):
            return True
    return False


def check_preconditions(if_match: str | None, if_none_match: str | None, version: int) -> None:
    """412 where what is to be changed is not at the version that the caller saw (or, `If-None-Match: *`, is there)."""
    if if_match is not None and not matches(if_match, version, weak=False):
        raise changed(version)
    if if_none_match is not None:
        found = version > 0 if if_none_match.strip() == ANY else matches(if_none_match, version, weak=True)
        if found:
            raise changed(version)


def changed(version: int) -> Problem:
    """412, with the version that it has now."""
    detail = f"it is at version {version} now: read it again, and decide anew"
    headers = {"ETag": etag_of(version)}
    return Problem(HTTPStatus.PRECONDITION_FAILED, "precondition_failed", detail, headers=headers)
