"""Recordings written by hand, and gateways that answer from them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from megabot_cli.gateway.recorded_answers import RecordedAnswers
from megabot_cli.recording.likeness import Likeness
from megabot_cli.recording.pace import Pacing
from megabot_cli.recording.record import Record
from megabot_cli.storage.served_recording import open_exchanges
from tests.gateway.conftest import OpenHouse
from tests.gateway.peer import House
from tests.replay.conftest import write_recording
from tests.replay.texts import message

FAST = Pacing(pace="fast")


class Script:
    """The records of a talk, in the order of the calls; `t` goes on by 10 ms with each."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.now_us = 0

    def add(self, kind: str, session: str = "sess_old", **fields: Any) -> Script:
        self.now_us += 10_000
        number = len(self.records) + 1
        record = Record(n=number, t=self.now_us, kind=kind, link=f"link_{session}", **fields)
        record.session = session
        self.records.append(record)
        return self

    def pause(self, seconds: float) -> Script:
        self.now_us += int(seconds * 1e6)
        return self

    def greet(self, session: str = "sess_old") -> Script:
        self.add("open", session, note="new_session")
        payload = {"session_id": session, "user_id": "ada", "capabilities": ["recorded"]}
        return self.came("connection_established", payload, session=session)

    def asked(
        self,
        message_type: str,
        payload: object,
        message_id: str,
        session: str = "sess_old",
        redacted: list[str] | None = None,
    ) -> Script:
        text = message(message_type, payload, message_id=message_id)
        return self.add(
            "message",
            session,
            direction="to_upstream",
            client="client_1",
            id=message_id,
            type=message_type,
            data=text,
            redacted=redacted,
        )

    def came(
        self,
        message_type: str,
        payload: object,
        reply_to: str | None = None,
        session: str = "sess_old",
    ) -> Script:
        text = message(
            message_type,
            payload,
            reply_to=reply_to,
            session=session,
            message_id=f"up_{len(self.records)}",
        )
        return self.add(
            "message",
            session,
            direction="to_client",
            id=f"up_{len(self.records)}",
            type=message_type,
            reply_to=reply_to,
            data=text,
        )

    def said(self, text: str, answer: str, message_id: str, session: str = "sess_old") -> Script:
        """A whole question and answer."""
        self.asked("chat_send", {"content": text}, message_id, session)
        payload = {"content": answer, "sender": "assistant"}
        return self.came("chat_receive", payload, message_id, session)


@asynccontextmanager
async def served(
    open_house: OpenHouse,
    folder: Path,
    script: Script,
    *,
    match: Any = "payload",
    ignored: tuple[str, ...] = (),
    pacing: Pacing = FAST,
    gateway: dict[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[tuple[House, RecordedAnswers]]:
    """A gateway that answers from these records."""
    likeness = Likeness(match, ignored)
    recording = open_exchanges(write_recording(folder / "rec.jsonl.part", script.records), likeness)
    async with AsyncExitStack() as cleanup:
        cleanup.callback(recording.payloads.close)
        answers = RecordedAnswers(recording, likeness, pacing=pacing, **more)
        house = await open_house(recorded=answers, gateway=gateway)
        cleanup.push_async_callback(house.gateway.stop)
        yield house, answers
