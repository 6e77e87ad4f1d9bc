"""The stream app: windowed totals per user, budget and spike alerts, on Faust."""

from costledger.streams.worker import StreamWorker, changelog_topic, rules_of

__all__ = ["StreamWorker", "changelog_topic", "rules_of"]
