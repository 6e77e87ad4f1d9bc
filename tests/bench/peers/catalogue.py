"""The peers that need an environment of their own, and what can be had of them on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.bench.ledgers import WrongResult
from tests.bench.peers import bytewax_flow, debezium_jdbc, kafka_streams, quix_keyed
from tests.bench.peers.environments import PeerUnavailable
from tests.bench.processes import ProgramFailed
from tests.bench.rates import ContenderFailed, TooFewEvents

__all__ = ["SINK_PEERS", "STREAM_PEERS", "Installed", "Peer", "install"]


@dataclass(frozen=True)
class Peer:
    """`prepare` makes its environment, or says why not; it returns one run: from a stage to a rate."""

    name: str
    version: Callable[[], str]
    prepare: Callable[[], Callable[[Any], float]]


STREAM_PEERS = (
    Peer("quix_keyed", quix_keyed.version, quix_keyed.prepare),
    Peer("bytewax", bytewax_flow.version, bytewax_flow.prepare),
    Peer("kafka_streams", kafka_streams.version, kafka_streams.prepare),
)
SINK_PEERS = (Peer("debezium_jdbc", debezium_jdbc.version, debezium_jdbc.prepare),)


@dataclass(frozen=True)
class Installed:
    """Runs of the peers that are ready, and the reason for each that is not."""

    runs: Mapping[str, Callable[[Any], float]] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)


def install(peers: Iterable[Peer], say: Callable[[str], None]) -> Installed:
    """Make the environments that are not there yet; a peer that cannot be had is named with the reason."""
    runs, unavailable = {}, {}
    for peer in peers:
        try:
            runs[peer.name] = _dispensable(peer.prepare())
            say(f"{peer.name}: {peer.version()}")
        except PeerUnavailable as error:
            unavailable[peer.name] = str(error)
            say(f"{peer.name} is left out: {error}")
    return Installed(runs, unavailable)


def _dispensable(run: Callable[[Any], float]) -> Callable[[Any], float]:
    """A peer's run that fails takes only this peer out of the benchmark: `ContenderFailed`."""

    def guarded(stage: Any) -> float:
        try:
            return run(stage)
        except (WrongResult, ProgramFailed, TimeoutError, TooFewEvents) as error:
            raise ContenderFailed(f"{type(error).__name__}: {error}") from error

    return guarded
