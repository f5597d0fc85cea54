"""Results of tool calls are kept for an upstream that lost them with its link."""

from __future__ import annotations

from megabot_cli.relay.kept_results import KeptResults
from megabot_cli.relay.upstream_queue import Waiting


def result(text: bytes = b"x") -> Waiting:
    return Waiting("ada", "r1", text, False, 0.0, urgent=True)


def test_what_was_written_before_the_link_fell_may_be_lost_until_it_is_written_again() -> None:
    kept = KeptResults()
    kept.keep("exec_1", result())
    assert not kept.may_be_lost("exec_1")
    kept.written("exec_1")
    assert not kept.may_be_lost("exec_1")
    kept.link_lost()
    assert kept.may_be_lost("exec_1")
    assert kept.result_of("exec_1") == result()
    kept.written("exec_1")
    assert not kept.may_be_lost("exec_1")


def test_what_still_waits_is_not_lost_with_a_link() -> None:
    kept = KeptResults()
    kept.keep("exec_1", result())
    kept.written("exec_1")
    kept.unwritten("exec_1")
    kept.link_lost()
    assert not kept.may_be_lost("exec_1")
    assert not kept.may_be_lost("exec_9")


def test_what_was_refused_or_waited_too_long_is_lost() -> None:
    kept = KeptResults()
    kept.keep("exec_1", result())
    kept.missed("exec_1")
    kept.missed("exec_9")
    assert kept.may_be_lost("exec_1")
    kept.unwritten("exec_1")  # it waits again
    assert not kept.may_be_lost("exec_1")


def test_memory_is_bounded_in_number() -> None:
    kept = KeptResults(limit=3)
    for number in range(10):
        kept.keep(f"exec_{number}", result(b"12345"))
    assert (len(kept), kept.bytes) == (3, 15)


def test_of_more_than_may_be_kept_the_oldest_are_only_known_to_have_been_given() -> None:
    kept = KeptResults(most_bytes=10)
    for number in range(3):
        kept.keep(f"exec_{number}", result(b"12345"))
        kept.written(f"exec_{number}")
    kept.link_lost()
    assert kept.bytes == 10
    assert kept.result_of("exec_0") is None
    assert kept.may_be_lost("exec_0")
    assert kept.result_of("exec_1") is not None
    kept.keep("exec_1", result(b"again"))
    assert kept.bytes == 10
