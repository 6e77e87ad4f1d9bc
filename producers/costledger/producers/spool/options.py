"""How a tracker's spool is set up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from costledger.producers.spool.directory import default_directory
from costledger.producers.spool.file import Synchronous
from costledger.schemas.settings import Settings

#: Of the client's queue, so many parts of 4 at most hold events that are on disk anyway: the rest is for events that
#: cannot be spooled.
_QUEUE_PARTS: Final = 3


@dataclass(frozen=True, slots=True)
class SpoolOptions:
    """`held_max` bounds the rows of all files that are in flight, waiting for another attempt, or to be deleted."""

    directory: Path
    topic: str
    bytes_max: int
    synchronous: Synchronous
    held_max: int


def spool_options(settings: Settings, topic: str) -> SpoolOptions | None:
    """The options of the mode `spool`, None in another mode."""
    if settings.durability != "spool":
        return None
    return SpoolOptions(
        directory=(settings.spool_dir or default_directory()).absolute(),
        topic=topic,
        bytes_max=settings.spool_bytes_max,
        synchronous=settings.spool_synchronous,
        held_max=max(1, settings.queue_events_max * _QUEUE_PARTS // 4),
    )
