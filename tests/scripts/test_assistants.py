"""Who answers, as an operator chooses."""

from __future__ import annotations

from pathlib import Path

from tests.scripts.conftest import PASSWORD, Operator
from tests.support.processes import Processes

USER = ("--username", "ann", "--password-stdin")


def started(stranger: Operator, processes: Processes, *arguments: str) -> Operator:
    """An operator who is logged in to a gateway with these arguments."""
    gateway = processes.megabot("gateway", "--listen", ":0", *USER, *arguments, typed=PASSWORD)
    ann = Operator(stranger.home, gateway.ready()["url"])
    login = ann.types(
        "login", "--username", "ann", "--password-stdin", "--storage", "file", typed=PASSWORD
    )
    assert login.returncode == 0, login.stderr
    return ann


def test_a_program_answers(stranger: Operator, processes: Processes) -> None:
    ann = started(stranger, processes, "--assistant", "command:tr a-z A-Z")
    assert ann.types("send", "quiet").stdout == "QUIET\n"


def test_a_program_that_fails_is_told_to_who_asked(
    stranger: Operator, processes: Processes
) -> None:
    ann = started(stranger, processes, "--assistant", "command:false")
    done = ann.types("send", "hi")
    assert done.returncode != 0
    assert "The assistant's program ended with 1" in done.stderr


def test_markov_says_as_many_words_as_asked_for(stranger: Operator, processes: Processes) -> None:
    ann = started(stranger, processes, "--assistant", "markov", "--chunk-delay", "0")
    assert len(ann.types("send", "tell me 2000 words").stdout.split()) >= 2000


def test_an_assistant_that_is_none_is_told_with_what_would_do(
    stranger: Operator, tmp_path: Path
) -> None:
    done = stranger.types("gateway", "--listen", ":0", "--assistant", "gpt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--assistant: There is no assistant 'gpt'" in done.stderr
    assert "echo, markov, openai:URL, command:CMD" in done.stderr
    elsewhere = stranger.types(
        "gateway", "--listen", ":0", env={"MEGABOT_GATEWAY_ASSISTANT": "gpt"}
    )
    assert (elsewhere.returncode, elsewhere.stdout) == (12, "")
