"""`quix_keyed`: Quix Streams with keyed state, at least once, its changelog on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.bench.kafka import changelog_total
from tests.bench.peers.environments import pinned, python_environment
from tests.bench.processes import running
from tests.bench.stage import StreamStage

NAME = "quix_keyed"
_FOLDER = Path(__file__).parent
_REQUIREMENTS = _FOLDER / "requirements" / "quix_keyed.txt"
_PROGRAM = _FOLDER / "programs" / "quix_keyed_app.py"


def version() -> str:
    """What is measured."""
    return f"Quix Streams {pinned(_REQUIREMENTS, 'quixstreams')}"


def prepare() -> Callable[[StreamStage], float]:
    """Make its environment; one run. `PeerUnavailable` when it cannot be had."""
    python = python_environment(f"quixstreams-{pinned(_REQUIREMENTS, 'quixstreams')}", _REQUIREMENTS)
    return lambda stage: _run(str(python), stage)


def _run(python: str, stage: StreamStage) -> float:
    group = stage.group(NAME)
    where = [stage.bootstrap, stage.topic, group]
    state = str(stage.folder / group)
    arguments = [str(_PROGRAM), *where, str(stage.commit_seconds), state, str(stage.schema_path)]
    with running(NAME, arguments, stage.folder, {}, python) as app:
        rate = stage.rate(app, group)
        app.stop()
    # Committed offsets promise that the state before them is in the changelog: so it must hold everything.
    changelog = f"changelog__{group}--{stage.topic}--default"
    stage.check(NAME, changelog_total(stage.bootstrap, changelog, json.loads))
    return rate
