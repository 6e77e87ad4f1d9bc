"""Adapters that price a provider's own answers, and opt-in wrappers of clients and jobs. They need no provider's package."""

from costledger.producers.adapters.aws import track_aws
from costledger.producers.adapters.aws_hook import instrument_botocore
from costledger.producers.adapters.openai_usage import track_openai
from costledger.producers.adapters.openai_wrapper import instrument
from costledger.producers.adapters.otel import track_gen_ai_span
from costledger.producers.adapters.processing import track_processing
from costledger.producers.adapters.stripe_fees import track_stripe_balance_transaction

__all__ = [
    "instrument",
    "instrument_botocore",
    "track_aws",
    "track_gen_ai_span",
    "track_openai",
    "track_processing",
    "track_stripe_balance_transaction",
]
