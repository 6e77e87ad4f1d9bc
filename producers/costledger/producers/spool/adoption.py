"""Files that other processes have left: found, taken over when their owner is dead, put aside when they are corrupt."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final
from uuid import UUID

from costledger.producers.counters import Counters
from costledger.producers.errors import SPOOL_LOST, EventDropped
from costledger.producers.reporting import Reporter
from costledger.producers.spool.book import Book
from costledger.producers.spool.directory import is_there, others, put_aside, sweep
from costledger.producers.spool.errors import SpoolBusy, SpoolCorrupt, SpoolForeign, SpoolUnavailable
from costledger.producers.spool.file import SpoolFile
from costledger.producers.spool.options import SpoolOptions
from costledger.producers.spool.source import Acknowledged, Source
from costledger.schemas.fail_points import reach

_LOGGER: Final = logging.getLogger("costledger.producers")
#: How often the directory is searched.
ADOPT_INTERVAL_SECONDS: Final = 30.0
#: So many files are worked off at a time; the others wait for their turn.
ADOPTED_FILES_MAX: Final = 8
#: So many are open, those included whose events are all parked.
OPEN_FILES_MAX: Final = 64


class Adoption:
    """Looks for files in the directory. One thread at a time."""

    def __init__(
        self, options: SpoolOptions, counters: Counters, reporter: Reporter, on_acknowledged: Acknowledged
    ) -> None:
        self._options = options
        self._counters = counters
        self._reporter = reporter
        self._on_acknowledged = on_acknowledged
        self._foreign: set[Path] = set()
        self._due = 0.0

    def hasten(self) -> None:
        """Look again at the next opportunity."""
        self._due = 0.0

    def adopt(self, now: float, files: int, open_files: int) -> list[Source]:
        """The files that are ours from now on, their events counted, if it is time to look.

        `files` are being worked off, `open_files` are open.
        """
        room = min(ADOPTED_FILES_MAX - files, OPEN_FILES_MAX - open_files)
        if now < self._due or room <= 0:
            return []
        self._due = now + ADOPT_INTERVAL_SECONDS
        try:
            paths = others(self._options.directory)
            sweep(self._options.directory)
        except OSError as error:
            self._reporter.announce(
                "adoption", f"the spool directory {self._options.directory} cannot be read: {error}"
            )
            return []
        self._foreign.intersection_update(paths)
        adopted: list[Source] = []
        for path in paths:
            if len(adopted) >= room:
                break
            if path not in self._foreign and (source := self._try(path)) is not None:
                adopted.append(source)
        return adopted

    def _try(self, path: Path) -> Source | None:
        try:
            return self._take_over(path)
        except SpoolBusy:
            # Its owner lives.
            pass
        except SpoolForeign as error:
            self._foreign.add(path)
            self._reporter.announce("foreign", f"left alone: {error}")
        except SpoolCorrupt as error:
            self._put_aside(path, error)
        except SpoolUnavailable as error:
            # Gone: another process has just worked it off.
            if is_there(path):
                self._reporter.announce("adoption", f"cannot be resumed now: {error}")
        return None

    def _take_over(self, path: Path) -> Source | None:
        options = self._options
        file = SpoolFile.adopt(path, options.topic, options.bytes_max, options.synchronous, self._tell_lost)
        reach("spool.adopted")
        try:
            if file.damaged:
                file.forget_damage()
            first, end, rows = file.extent()
            if rows == 0 and file.without_log:
                aside = file.put_aside()
                self._tell_lost(f"the log of the spool {path} was taken away; the rest was put aside as {aside}")
                return None
        except SpoolUnavailable:
            file.close()
            raise
        if rows == 0:
            file.remove()
            return None
        _LOGGER.info("%d events that another process left in %s are sent now", rows, path)
        self._counters.resume(rows)
        return Source(file, Book(first, end), rows, self._on_acknowledged)

    def _put_aside(self, path: Path, error: SpoolCorrupt) -> None:
        try:
            aside = put_aside(path)
        except FileNotFoundError:
            # Another process was faster.
            return
        except OSError as failed:
            self._reporter.announce("corrupt", f"{error}; it cannot be put aside: {failed}")
            return
        self._tell_lost(f"{error}; put aside as {aside}, its events are not sent")

    def _tell_lost(self, explanation: str) -> None:
        """Events that this process has never counted, so that their number is not known."""
        lost = f"an unknown number of events: {explanation}"
        self._reporter.report(EventDropped(UUID(int=0), SPOOL_LOST, lost, None))
