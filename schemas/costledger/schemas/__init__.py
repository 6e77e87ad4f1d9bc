"""What a cost event, an alert and a budget are: the leaf that every other part of costledger stands on."""

from costledger.schemas.alerts import AlertKind, AlertState, CostAlert, Severity
from costledger.schemas.budgets import Budget, BudgetDefaults, BudgetLimits
from costledger.schemas.codec import (
    decode_alert,
    decode_budget,
    decode_cost_event,
    decode_event,
    encode_alert,
    encode_budget,
    encode_event,
)
from costledger.schemas.errors import (
    CostledgerError,
    DecodeError,
    InvalidEvent,
    InvalidValue,
    MalformedMessage,
    OversizeMessage,
    PriceError,
    SettingsError,
    Unavailable,
    UnknownSchema,
)
from costledger.schemas.events import Category, CostEvent, check_event
from costledger.schemas.settings import Settings, load_settings

__all__ = [
    "AlertKind",
    "AlertState",
    "Budget",
    "BudgetDefaults",
    "BudgetLimits",
    "Category",
    "CostAlert",
    "CostEvent",
    "CostledgerError",
    "DecodeError",
    "InvalidEvent",
    "InvalidValue",
    "MalformedMessage",
    "OversizeMessage",
    "PriceError",
    "Settings",
    "SettingsError",
    "Severity",
    "Unavailable",
    "UnknownSchema",
    "check_event",
    "decode_alert",
    "decode_budget",
    "decode_cost_event",
    "decode_event",
    "encode_alert",
    "encode_budget",
    "encode_event",
    "load_settings",
]
