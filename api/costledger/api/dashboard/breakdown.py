"""The running month by service and operation, as the templates show it: made of an answer by pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from costledger.api.dashboard import formats
from costledger.api.dashboard.formats import Money, money
from costledger.api.models.analytics import Detail


@dataclass(frozen=True, slots=True)
class OperationView:
    """One operation of a service in the running month; `bar` is 0 to 100."""

    name: str
    total: Money
    share: str
    bar: float
    count: str
    units: str
    average: Money | None
    maximum: Money | None
    unpriced: int


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service and its operations, the dearest first."""

    name: str
    total: Money
    share: str
    operations: tuple[OperationView, ...]


def breakdown_view(detailed: Sequence[Detail]) -> tuple[ServiceView, ...]:
    """Services and operations, the dearest first; shares are of the costs without the credits."""
    whole = sum((max(Decimal(one.total), Decimal(0)) for one in detailed), Decimal(0))
    by_service: dict[str, list[Detail]] = {}
    for one in detailed:
        by_service.setdefault(one.service, []).append(one)
    totals = {name: sum((Decimal(one.total) for one in ones), Decimal(0)) for name, ones in by_service.items()}
    return tuple(
        ServiceView(
            name,
            money(totals[name]),
            _share(totals[name], whole),
            tuple(
                _operation(one, whole)
                for one in sorted(by_service[name], key=lambda one: (-Decimal(one.total), one.operation))
            ),
        )
        for name in sorted(totals, key=lambda name: (-totals[name], name))
    )


def _operation(one: Detail, whole: Decimal) -> OperationView:
    total = Decimal(one.total)
    return OperationView(
        name=one.operation,
        total=money(total),
        share=_share(total, whole),
        bar=round(float(min(max(total / whole, Decimal(0)), Decimal(1)) * 100), 2) if whole else 0.0,
        count=formats.count(one.count),
        units=formats.quantity(Decimal(one.units)),
        average=None if one.average is None else money(Decimal(one.average), fine=True),
        maximum=None if one.maximum is None else money(Decimal(one.maximum), fine=True),
        unpriced=one.unpriced_events,
    )


def _share(amount: Decimal, whole: Decimal) -> str:
    return formats.percent(amount / whole * 100) if whole else "0 %"
