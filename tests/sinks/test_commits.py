"""What was committed and is not confirmed is committed again, and nothing that another owner may have passed."""

from __future__ import annotations

from confluent_kafka import KafkaError, TopicPartition

from costledger.sinks.commits import COMMIT_AGAIN_SECONDS, Commits

LATER = COMMIT_AGAIN_SECONDS


def offset(partition: int, at: int) -> TopicPartition:
    """As the client gives it to its callback."""
    return TopicPartition("alerts", partition, at)


def test_what_kafka_has_confirmed_is_done_with() -> None:
    """Nothing is due then, however late it is."""
    commits = Commits()
    commits.tried({0: 5, 1: 7}, 100.0)
    assert not commits.due(100.0)
    commits.answered(None, [offset(0, 5), offset(1, 7)])
    assert not commits.due(100.0 + 10 * LATER)


def test_what_failed_or_was_never_answered_is_due_after_a_while() -> None:
    """One offset failed, of another nothing was heard, a third was confirmed; each attempt gives it time again."""
    commits = Commits()
    commits.tried({0: 5, 1: 7, 2: 9}, 100.0)
    commits.answered(KafkaError(KafkaError.REBALANCE_IN_PROGRESS), [offset(0, 5)])
    commits.answered(None, [offset(2, 9)])
    assert not commits.due(100.0 + 0.9 * LATER)
    assert commits.due(100.0 + LATER)
    left = commits.left({0, 1, 2})
    assert left == {0: 5, 1: 7}
    commits.tried(left, 200.0)
    assert not commits.due(200.0)
    assert commits.due(200.0 + LATER)


def test_an_answer_to_an_earlier_commit_confirms_no_later_one() -> None:
    """The partition went on meanwhile."""
    commits = Commits()
    commits.tried({0: 5}, 100.0)
    commits.tried({0: 6}, 100.1)
    commits.answered(None, [offset(0, 5)])
    assert commits.left({0}) == {0: 6}
    commits.answered(None, [offset(0, 6)])
    assert commits.left({0}) == {}


def test_offsets_of_partitions_that_went_to_others_are_forgotten() -> None:
    """Their owner may have passed them; also when the partition comes back."""
    commits = Commits()
    commits.tried({0: 5, 1: 7}, 100.0)
    assert commits.left({1}) == {1: 7}
    assert commits.left({0, 1}) == {1: 7}
