"""A tool call is carried out once and answered once."""

from __future__ import annotations

from megabot_cli.relay.executions import Claim, Executions


def test_the_executor_answers_and_nobody_else_may() -> None:
    calls = Executions()
    assert calls.called("exec_1", "ada") == "ada"
    assert calls.claim("exec_1", "bob") is Claim.NOT_YOURS
    assert calls.claim("exec_1", "ada") is Claim.FIRST
    assert calls.claim("exec_1", "ada") is Claim.AGAIN


def test_without_an_executor_the_first_answer_counts() -> None:
    calls = Executions()
    assert calls.called("exec_1", None) is None
    assert calls.claim("exec_1", "bob") is Claim.FIRST
    assert calls.claim("exec_1", "ada") is Claim.AGAIN


def test_a_repeated_call_stays_with_whom_it_had() -> None:
    calls = Executions()
    calls.called("exec_1", "ada")
    assert calls.called("exec_1", "bob") == "ada"


def test_a_call_repeated_to_an_executor_that_came_meanwhile_is_its_own() -> None:
    executions = Executions()
    assert executions.called("e1", None) is None
    assert executions.called("e1", "a") == "a"
    assert executions.called("e1", "b") == "a"
    assert executions.claim("e1", "b") is Claim.NOT_YOURS


def test_an_answer_to_an_unknown_call_may_go_up() -> None:
    assert Executions().claim("exec_9", "ada") is Claim.UNKNOWN


def test_of_an_unknown_call_too_only_the_first_answer_counts_until_it_is_called() -> None:
    calls = Executions(limit=10)
    assert calls.claim("exec_9", "ada") is Claim.UNKNOWN
    assert calls.claim("exec_9", "bob") is Claim.AGAIN
    assert calls.give_back("exec_9")
    assert calls.claim("exec_9", "bob") is Claim.UNKNOWN
    calls.called("exec_9", "ada")
    assert calls.claim("exec_9", "ada") is Claim.FIRST
    for number in range(20):
        calls.claim(f"exec_{100 + number}", "ada")
    assert calls.claim("exec_100", "ada") is Claim.UNKNOWN


def test_what_a_lost_executor_began_is_begun_by_nobody_else() -> None:
    calls = Executions()
    calls.called("exec_1", "ada")
    calls.called("exec_2", "bob")
    assert calls.left("ada") == ["exec_1"]
    assert calls.claim("exec_1", "bob") is Claim.AGAIN
    assert calls.claim("exec_2", "bob") is Claim.FIRST
    assert calls.left("ada") == []


def test_a_call_may_be_begun_until_it_is_answered_by_whom_it_is_for() -> None:
    calls = Executions()
    calls.called("exec_1", "ada")
    calls.called("exec_2", None)
    assert calls.may_begin("exec_1", "ada")
    assert not calls.may_begin("exec_1", "bob")
    assert calls.may_begin("exec_2", "bob")
    calls.claim("exec_2", "ada")
    assert not calls.may_begin("exec_2", "bob")
    assert not calls.may_begin("exec_9", "bob")


def test_a_connection_is_given_a_call_once() -> None:
    calls = Executions(limit=10)
    assert not calls.handed("exec_1", "client_1")
    assert calls.handed("exec_1", "client_1")
    assert not calls.handed("exec_1", "client_2")
    assert calls.handed("exec_1", "client_1")
    for number in range(200):
        calls.handed(f"more_{number}", "client_1")
    assert not calls.handed("exec_1", "client_2")


def test_memory_is_bounded() -> None:
    calls = Executions(limit=10)
    for number in range(100):
        calls.called(f"exec_{number}", "ada")
    assert len(calls) == 10
    for number in range(100):
        calls.claim(f"exec_{number}", "ada")
    assert len(calls) == 0
    assert calls.claim("exec_99", "ada") is Claim.AGAIN
    assert calls.claim("exec_0", "ada") is Claim.UNKNOWN
