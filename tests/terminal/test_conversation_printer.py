"""How a conversation looks: for people, and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from megabot_cli.recording.record import Record
from megabot_cli.recording.turn_facts import facts_of
from megabot_cli.recording.turns import Turns
from megabot_cli.storage.foreign import open_any
from megabot_cli.terminal.conversation_printer import ConversationPrinter
from megabot_cli.terminal.memory_console import MemoryConsole

HAR = Path(__file__).parents[1] / "golden" / "har" / "chromium_156.har"


def shown(records: list[Record], form: str = "line", width: int | None = None) -> str:
    console = MemoryConsole()
    console.width = width
    printer = ConversationPrinter(console, form, 0.0)
    turns = Turns()
    for record in records:
        for turn in turns.take(record):
            printer.show(facts_of(turn))
    for turn in turns.rest():
        printer.show(facts_of(turn))
    return console.stdout


def recorded() -> list[Record]:
    with open_any(HAR) as reader:
        return list(reader)


def test_a_request_stands_above_its_tools_and_its_assembled_answer() -> None:
    lines = [line.strip() for line in shown(recorded()).splitlines()]
    asked = lines.index("Grüße 😀, what is the weather?")
    assert lines[asked + 1].startswith("answered: first after 2 ms, whole after 124 ms")
    assert lines[asked + 2] == 'calls weather {"city":"Zürich"}'
    assert lines[asked + 3] == 'result success: {"celsius":21.5}'
    assert lines[asked + 4] == "It is 21.5 °C in Zürich."


def test_programs_get_one_object_a_turn() -> None:
    turns = [json.loads(line) for line in shown(recorded(), "jsonl").splitlines()]
    request = next(turn for turn in turns if turn["kind"] == "request")
    assert request["text"] == "Grüße 😀, what is the weather?"
    assert [said["what"] for said in request["said"]] == ["tool_call", "tool_result", "text"]
    assert request["said"][0]["payload"] == {"city": "Zürich"}


def test_a_conversation_that_begins_in_the_middle_says_so() -> None:
    records = [each for each in recorded() if each.type != "chat_send"]
    lines = [line.strip() for line in shown(records).splitlines()]
    at = lines.index("to msg_1, which is not among what was chosen")
    assert lines[at - 1].split()[2] == "answer"
    assert lines[at + 3] == "It is 21.5 °C in Zürich."
    turns = [json.loads(line) for line in shown(records, "jsonl").splitlines()]
    assert [turn["reply_to"] for turn in turns if turn["kind"] == "answer"] == ["msg_1", "msg_2"]


def test_a_refusal_of_what_was_left_out_is_no_word_of_its_own_accord() -> None:
    said = {
        "id": "e", "type": "connection_error", "payload": {"error": "busy"},
        "metadata": {"reply_to": "m7"},
    }  # fmt: skip
    refusal = Record(
        n=3, t=0, kind="inject", direction="to_client", type="connection_error", id="e",
        reply_to="m7", data=json.dumps(said),
    )  # fmt: skip
    output = shown([refusal])
    assert "by the relay itself, to m7, which is not among what was chosen" in output
    assert "unasked" not in output


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    said = json.dumps({"id": "m", "type": "chat_send", "payload": {"content": "a\x1b]52;c;x\x07b"}})
    record = Record(
        n=1, t=0, kind="message", direction="to_upstream", type="chat_send", id="m",
        session="s\x1b[2J", client="c\x9b", data=said,
    )  # fmt: skip
    for form in ("line", "jsonl"):
        output = shown([record], form)
        assert not any(character in output for character in "\x1b\x07\x9b")


def test_long_words_are_wrapped_at_the_width() -> None:
    said = json.dumps({"id": "m", "type": "chat_send", "payload": {"content": "word " * 100}})
    record = Record(
        n=1, t=0, kind="message", direction="to_upstream", type="chat_send", id="m", data=said
    )
    assert all(len(line) <= 40 for line in shown([record], width=40).splitlines())


def asked_and(*came: Mapping[str, object], kind: str = "message") -> str:
    """A question, and messages to the client that the relay or the upstream sent."""
    asked = {"id": "q", "type": "chat_send", "payload": {"content": "well?"}}
    records = [Record(n=1, t=0, kind="message", direction="to_upstream", data=json.dumps(asked))]
    for n, message in enumerate(came, 2):
        text = json.dumps(message)
        records.append(
            Record(n=n, t=n * 1000, kind=kind, direction="to_client", type=str(message["type"]),
                   data=text)
        )  # fmt: skip
    return shown(records, "jsonl") + shown(records)


def test_an_answer_that_breaks_off_has_no_time_at_which_it_was_whole() -> None:
    chunk = {"id": "a", "type": "chat_stream", "metadata": {"reply_to": "q"},
             "payload": {"chunk": "We", "sequence": 1, "is_complete": False}}  # fmt: skip
    text = asked_and(chunk)
    assert json.loads(text.splitlines()[0])["whole_s"] is None
    assert "breaks off: first after 2 ms" in text
    assert "whole after" not in text


def test_an_answer_says_which_of_its_chunks_did_not_come() -> None:
    chunks = [
        {"id": "a", "type": "chat_stream", "metadata": {"reply_to": "q", "merged": joined},
         "payload": {"chunk": f"<{n}>", "sequence": n, "is_complete": n == 5}}
        for n, joined in ((1, 1), (3, 2), (5, 1))
    ]  # fmt: skip
    text = asked_and(*chunks)
    assert "<1><3><5>\n  (1 chunk of the answer did not come)\n" in text
    assert json.loads(text.splitlines()[0])["said"][0]["missing"] == 1
    no_hole = asked_and(*chunks[:2])
    assert "missing" not in json.loads(no_hole.splitlines()[0])["said"][0]


def test_only_what_answers_a_request_is_a_refusal_of_the_relay() -> None:
    greeting = {"id": "g", "type": "connection_established", "payload": {"session_id": "s"}}
    refusal = {"id": "e", "type": "error", "payload": {}, "metadata": {"reply_to": "q"}}
    first, second, *_ = asked_and(refusal, greeting, kind="inject").splitlines()
    assert json.loads(first)["refused"] is True
    assert json.loads(second)["refused"] is False


def test_of_what_is_binary_its_size_is_told() -> None:
    def binary(n: int, direction: str) -> Record:
        return Record(
            n=n, t=n, kind="message", direction=direction, link="l1", client="c1",
            opcode="binary", size=4, data_b64="AAH/Aw==",
        )  # fmt: skip

    lines = [line.strip() for line in shown([binary(1, "to_upstream")]).splitlines()]
    assert lines[1:] == ["binary, 4 B", "(no answer)"]
    both = [binary(1, "to_upstream"), binary(2, "to_client")]
    assert shown(both).splitlines()[-1].strip() == "binary"
    request = json.loads(shown(both, "jsonl").splitlines()[0])
    assert (request["binary_bytes"], request["payload"]) == (4, None)
