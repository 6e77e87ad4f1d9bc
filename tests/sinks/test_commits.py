"""What was committed and is not confirmed is committed again, and nothing that another owner may have passed."""

from __future__ import annotations

from confluent_kafka import KafkaError, TopicPartition

from costledger.sinks.commits import COMMIT_AGAIN_SECONDS, Commits

LATER = COMMIT_AGAIN_SECONDS
OURS = {0, 1, 2}


def offset(partition: int, at: int) -> TopicPartition:
    """As the client gives it to its callback."""
    return TopicPartition("alerts", partition, at)


def test_what_kafka_has_confirmed_is_done_with() -> None:
    """Nothing is due then, however late it is."""
    commits = Commits()
    commits.tried({0: 5, 1: 7}, 100.0)
    assert commits.due(OURS, 100.0) == {}
    commits.answered(None, [offset(0, 5), offset(1, 7)])
    assert commits.due(OURS, 100.0 + 10 * LATER) == {}


def test_what_failed_or_was_never_answered_is_due_after_a_while() -> None:
    """One offset failed, of another nothing was heard, a third was confirmed; each attempt gives it time again."""
    commits = Commits()
    commits.tried({0: 5, 1: 7, 2: 9}, 100.0)
    commits.answered(KafkaError(KafkaError.REBALANCE_IN_PROGRESS), [offset(0, 5)])
    commits.answered(None, [offset(2, 9)])
    assert commits.due(OURS, 100.0 + 0.9 * LATER) == {}
    left = commits.due(OURS, 100.0 + LATER)
    assert left == {0: 5, 1: 7}
    commits.tried(left, 200.0)
    assert commits.due(OURS, 200.0) == {}
    assert commits.due(OURS, 200.0 + LATER) == {0: 5, 1: 7}


def test_a_busy_partition_keeps_no_other_waiting() -> None:
    """Each has a clock of its own."""
    commits = Commits()
    commits.tried({0: 5}, 100.0)
    for tenth in range(1, 30):
        commits.tried({1: tenth}, 100.0 + tenth * LATER / 10)
        commits.answered(None, [offset(1, tenth)])
        assert commits.due(OURS, 100.0 + tenth * LATER / 10) == ({0: 5} if tenth >= 10 else {})


def test_an_answer_to_an_earlier_commit_confirms_no_later_one() -> None:
    """Before the later one's: that is still awaited. After it: Kafka has the earlier one, so it is due at once."""
    commits = Commits()
    commits.tried({0: 5}, 100.0)
    commits.tried({0: 6}, 100.1)
    commits.answered(None, [offset(0, 5)])
    assert commits.due(OURS, 100.1) == {}
    commits.answered(None, [offset(0, 6)])
    assert commits.due(OURS, 200.0) == {}
    commits.answered(None, [offset(0, 5)])
    assert commits.due(OURS, 200.0) == {0: 6}


def test_offsets_of_partitions_that_went_to_others_are_forgotten() -> None:
    """Their owner may have passed them; also when the partition comes back, and when an old answer comes late."""
    commits = Commits()
    commits.tried({0: 5, 1: 7}, 100.0)
    assert commits.due({1}, 100.0) == {}
    commits.answered(None, [offset(0, 4)])
    assert commits.due(OURS, 200.0) == {1: 7}
