"""`wscat`, as one would try things by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.peers.programs import needs, wscat
from tests.peers.stage import ANSWER, Stage, answer_in, chat_message
from tests.support.processes import Process


def open_wscat(stage: Stage, *arguments: str) -> Process:
    process = stage.processes.start("wscat", wscat(*arguments))
    process.wait_for_line('"type":"connection_established"')
    return process


def heard(process: Process) -> list[dict[str, Any]]:
    """The messages it printed; its prompt stands before those that came after a line."""
    return [json.loads(line.removeprefix("> ")) for line in list(process.lines) if "{" in line]


def hear(process: Process, message_type: str, reply_to: str | None = None) -> dict[str, Any]:
    """Wait for a message of that type, in answer to that one."""

    def found() -> dict[str, Any] | None:
        for message in heard(process):
            asked = message.get("metadata", {}).get("reply_to")
            if message["type"] == message_type and reply_to in (None, asked):
                return message
        return None

    message = process.wait_for(f"{message_type} for {reply_to}", found)
    assert message is not None
    return message


@needs("node", "wscat")
def test_one_message_from_the_command_line_is_answered_by_the_gateway(stage: Stage) -> None:
    process = open_wscat(
        stage,
        *("-H", f"Authorization: Bearer {stage.token}", "-c", stage.gateway_url),
        *("-x", chat_message("w1"), "-w", "30"),
    )
    hear(process, "chat_receive", "w1")
    assert answer_in(heard(process), "w1") == ANSWER
    process.end()


@needs("node", "wscat")
def test_one_message_from_the_command_line_is_answered_by_the_relay(stage: Stage) -> None:
    process = open_wscat(stage, "-c", stage.relay_url, "-x", chat_message("w1"), "-w", "30")
    hear(process, "chat_receive", "w1")
    assert answer_in(heard(process), "w1") == ANSWER
    process.end()


@needs("node", "wscat")
def test_lines_typed_to_the_relay_are_answered_one_after_the_other(stage: Stage) -> None:
    process = open_wscat(stage, "-c", stage.relay_url)
    for message_id in ("w2", "w3"):
        process.write(chat_message(message_id) + "\n")
        hear(process, "chat_receive", message_id)
        assert answer_in(heard(process), message_id) == ANSWER
    process.close_input()
    assert process.wait() == 0


@needs("node", "wscat")
@pytest.mark.parametrize("text", ["not json", '{"type":"message","content":"hi"}', "[]"])
def test_what_is_no_message_gets_a_clear_answer_and_the_next_one_is_served(
    stage: Stage, text: str
) -> None:
    process = open_wscat(stage, "-c", stage.relay_url)
    process.write(text + "\n")
    refusal = hear(process, "connection_error")["payload"]
    assert (refusal["code"], refusal["error"]) == (400, "invalid_message")
    process.write(chat_message("w4") + "\n")
    hear(process, "chat_receive", "w4")
    assert answer_in(heard(process), "w4") == ANSWER
    process.end()


@needs("node", "wscat")
def test_another_origin_is_refused_by_the_relay(stage: Stage) -> None:
    command = wscat("-o", "http://evil.example", "-c", stage.relay_url)
    process = stage.processes.start("wscat", command)
    assert process.wait() != 0
    assert "403" in process.errors
