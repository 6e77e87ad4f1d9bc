"""`bytewax`: Bytewax with keyed totals in memory; it keeps no durable state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.bench.peers.environments import pinned, python_environment
from tests.bench.processes import running
from tests.bench.stage import StreamStage

NAME = "bytewax"
_FOLDER = Path(__file__).parent
_REQUIREMENTS = _FOLDER / "requirements" / "bytewax.txt"
_PROGRAM = _FOLDER / "programs" / "bytewax_totals.py"


def version() -> str:
    """What is measured."""
    return f"Bytewax {pinned(_REQUIREMENTS, 'bytewax')}"


def prepare() -> Callable[[StreamStage], float]:
    """Make its environment; one run. `PeerUnavailable` when it cannot be had."""
    python = python_environment(f"bytewax-{pinned(_REQUIREMENTS, 'bytewax')}", _REQUIREMENTS)
    return lambda stage: _run(str(python), stage)


def _run(python: str, stage: StreamStage) -> float:
    group = stage.group(NAME)
    report = stage.folder / f"{group}.txt"
    where = [stage.bootstrap, stage.topic, group]
    arguments = [str(_PROGRAM), *where, str(stage.commit_seconds), str(report), str(stage.schema_path)]
    with running(NAME, arguments, stage.folder, {}, python) as flow:
        rate = stage.rate(flow, group)
        flow.finish()
    stage.check(NAME, int(report.read_text()))
    return rate
