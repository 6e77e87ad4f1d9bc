"""How the demo shows itself: a live table on a terminal, plain lines anywhere else, nothing but a result with --json."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from costledger.deploy.console import out
from costledger.deploy.demo.watch import UserTotal
from costledger.schemas.alerts import AlertRecord
from costledger.schemas.money import PICODOLLARS_PER_USD

if TYPE_CHECKING:
    from rich.console import RenderableType

_ALERTS_SHOWN_MAX: Final = 12
_BAR_CHARACTERS: Final = 24
_LINE_EVERY_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Moment:
    """What there is to show at one moment: seconds since the replay began, events so far, and who spent what."""

    seconds: float
    published: int
    expected: int
    lag: int
    totals: list[UserTotal]

    @property
    def line(self) -> str:
        """The moment in one line."""
        spent = sum(total.spent for total in self.totals)
        rate = self.published / max(self.seconds, 0.001)
        return (
            f"{self.published} of {self.expected} events, {rate:.0f}/s, "
            f"{self.lag} not in the ledger yet, {cents(spent)} USD"
        )


class Screen(Protocol):
    """Something to show the demo on; a context manager."""

    def show(self, moment: Moment, alerts: list[AlertRecord]) -> None:
        """Show where things stand, with the alerts that are new."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def cents(picodollars: int) -> str:
    """USD with two decimals, for people who watch; the results have all digits."""
    return f"{picodollars // (PICODOLLARS_PER_USD // 100) / 100:.2f}"


class PlainScreen:
    """A line every two seconds, and one for each alert."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._written_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, moment: Moment, alerts: list[AlertRecord]) -> None:
        """Write the new alerts, and a line when the last one is old enough."""
        for alert in alerts:
            self._write(f"{alert['severity']:<8} {alert['message']}")
        if time.monotonic() - self._written_at >= _LINE_EVERY_SECONDS:
            self._written_at = time.monotonic()
            self._write(moment.line)


class LiveScreen:
    """Totals by user and the latest alerts, drawn over and over in place."""

    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(console=out(), refresh_per_second=8)
        self._alerts: deque[AlertRecord] = deque(maxlen=_ALERTS_SHOWN_MAX)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, moment: Moment, alerts: list[AlertRecord]) -> None:
        """Draw the moment."""
        self._alerts.extend(alerts)
        self._live.update(self._drawn(moment))

    def _drawn(self, moment: Moment) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for name in ("user", "this month, USD", "budget, USD", "used", ""):
            table.add_column(name, justify="left" if name in {"user", ""} else "right")
        for total in moment.totals:
            share = total.spent / total.budget if total.budget else 0.0
            colour = "red" if share >= 1 else "yellow" if share >= 0.75 else "green"
            bar = Text("█" * min(_BAR_CHARACTERS, round(share * _BAR_CHARACTERS)), style=colour)
            table.add_row(total.user_id, cents(total.spent), cents(total.budget), f"{share:.0%}", bar)
        lines = [Text(f"{alert['severity']:<8} {alert['message']}", style="red") for alert in self._alerts]
        return Group(table, Text(), Text(moment.line), Text(), *lines)
