"""What got slower since the last document: ratios against ratios, for absolute figures depend on the machine's day."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: With fewer the range of the runs says nothing.
RUNS_MIN = 3
_MORE_IS_BETTER = "events/s"
Document = Mapping[str, Mapping[str, Any]]


def replace_document(output: Path, document: Document) -> str | None:
    """Write a document; what it does not measure stays as it was.

    Returns the text of the one that was there, kept beside it as `NAME.previous.json`, or None.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    previous = output.read_text() if output.exists() else None
    if previous is not None:
        output.replace(output.with_suffix(".previous.json"))
    output.write_text(json.dumps({**_entries(previous), **document}, indent=2) + "\n")
    return previous


def _entries(text: str | None) -> Document:
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError:  # said by `compare`; the text itself is kept
        return {}
    return found if isinstance(found, dict) else {}


def compare(previous: str | None, document: Document) -> Iterator[str]:
    """Lines for people: what is worse by more than the spread of the runs, or why that cannot be said.

    Worse: each median lies outside the other document's range, on the bad side. `previous` is a document's text.
    """
    if previous is None:
        yield "no last document to compare with"
        return
    try:
        before = json.loads(previous)
    except json.JSONDecodeError as error:
        yield f"the last document cannot be compared: {error}"
        return
    compared, worse = 0, []
    for name, entry in document.items():
        reason = _not_comparable(before.get(name), entry)
        if reason:
            yield f"{name} is not compared: {reason}"
            continue
        common = [peer for peer in entry["ratio_to"] if peer in before[name]["ratio_to"]]
        compared += len(common)
        worse += [_line(name, peer, before[name], entry) for peer in common if is_worse(before[name], entry, peer)]
    yield from worse
    yield f"{len(worse)} of {compared} ratios got worse by more than the spread"


def is_worse(before: Mapping[str, Any], now: Mapping[str, Any], peer: str) -> bool:
    """Whether the ratio to a peer is worse than before by more than the spread of the runs then and now."""
    then_ratio, ratio = before["ratio_to"][peer], now["ratio_to"][peer]
    (then_min, then_max), (now_min, now_max) = before["ratio_range"][peer], now["ratio_range"][peer]
    if now["unit"] == _MORE_IS_BETTER:
        return bool(ratio < then_min and then_ratio > now_max)
    return bool(ratio > then_max and then_ratio < now_min)


def _not_comparable(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    if before is None:
        return "the last document has no such name"
    if before.get("arguments") != now["arguments"]:
        return f"measured with {before.get('arguments')} then, with {now['arguments']} now"
    if min(before["runs"], now["runs"]) < RUNS_MIN:
        return f"it takes {RUNS_MIN} runs to see a spread"
    return ""


def _line(name: str, peer: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    def figures(entry: Mapping[str, Any]) -> str:
        low, high = entry["ratio_range"][peer]
        return f"{entry['ratio_to'][peer]:.2f} ({low:.2f} to {high:.2f})"

    return f"WORSE: {name} to {peer}: {figures(before)} -> {figures(now)}"
