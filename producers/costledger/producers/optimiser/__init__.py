"""Knowing a cost before it is spent, and spending less: plans, estimates, processors, strategies."""

from costledger.producers.optimiser.batch_report import BatchOutcome, BatchReport, ItemOutcome
from costledger.producers.optimiser.batches import Batch, BatchProcessor
from costledger.producers.optimiser.estimates import Estimate, LineItem
from costledger.producers.optimiser.jobs import Job
from costledger.producers.optimiser.limiting import LimitedPlan, limit_plan
from costledger.producers.optimiser.plans import Plan, Plans
from costledger.producers.optimiser.processor import CostAwareProcessor
from costledger.producers.optimiser.recording import Spend, SpendRecorder, Step
from costledger.producers.optimiser.results import JobResult, JobSkipped, result_of
from costledger.producers.optimiser.work import ChatWork, CombinedWork, ImageWork, OperationWork, VideoWork, Work
from costledger.producers.savings import record_lookups, record_saving

__all__ = [
    "Batch",
    "BatchOutcome",
    "BatchProcessor",
    "BatchReport",
    "ChatWork",
    "CombinedWork",
    "CostAwareProcessor",
    "Estimate",
    "ImageWork",
    "ItemOutcome",
    "Job",
    "JobResult",
    "JobSkipped",
    "LimitedPlan",
    "LineItem",
    "OperationWork",
    "Plan",
    "Plans",
    "Spend",
    "SpendRecorder",
    "Step",
    "VideoWork",
    "Work",
    "limit_plan",
    "record_lookups",
    "record_saving",
    "result_of",
]
