"""What the tests of the cost-aware processor share: a job on one image, and what is estimated for it."""

from __future__ import annotations

from costledger.producers.optimiser.jobs import Job

USD = 10**12
FLUSH_SECONDS = 30.0
#: Nobody listens there: what is tracked stays in the queue.
NOBODY = "127.0.0.1:9"
#: 3 features x 0.001 + 100 tokens x 0.02/1e6.
PREMIUM_IMAGE = 3_002_000_000
DEFAULT_IMAGE = 1_002_000_000


def analyse(job: Job) -> str:
    """Do on one image what the plan allows, and embed 50 tokens."""
    for operation in job.plan.rekognition:
        job.track_rekognition(job.user_id, operation, 1)
    job.track_embedding(job.user_id, job.plan.embedding_model or "", 50)
    return "done"
