"""A conversation as Markdown: who said what and when, answers in one piece, tool calls nested."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from megabot_cli.protocol.envelope import UNREADABLE
from megabot_cli.recording.answers import Answer, Part
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.record import Record
from megabot_cli.recording.turns import Turn, Turns
from megabot_cli.wording import counted

_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")
_TICKS = re.compile("`+")
_NAMES: Final = {"to_upstream": "User", "to_client": "MegaBot"}


def transcript(header: Header | None, records: Iterable[Record]) -> Iterator[str]:
    """Give the text piece by piece. What people and MegaBot said stands in quotes, so that
    nothing in it is taken for structure."""
    writer = _Transcript(header)
    yield from writer.title(header)
    turns = Turns()
    for record in records:
        for turn in turns.take(record):
            yield from writer.turn(turn)
    for turn in turns.rest():
        yield from writer.turn(turn)


class _Transcript:
    def __init__(self, header: Header | None) -> None:
        try:
            self._began = datetime.fromisoformat(header.started_at if header else "")
        except ValueError:
            self._began = _BEGINNING

    def title(self, header: Header | None) -> Iterator[str]:
        name = header.recording if header is not None else ""
        yield f"# {_plain(f'Conversation {name}'.strip())}\n\n"
        if self._began is not _BEGINNING:
            yield f"- began {self._began:%Y-%m-%d %H:%M:%S %Z}\n".replace(" UTC", " (UTC)")
        if header is not None and header.upstream:
            yield f"- with {_code(header.upstream)}\n"

    def turn(self, turn: Turn) -> Iterator[str]:
        if turn.is_request:
            yield from self._request(turn)
        elif _is_greeting(turn):
            if turn.record.kind == "message":  # the relay's own word to a client repeats it
                yield f"\n*{self._time(turn.at_s)} · connected{_who(turn.record)}*\n"
            return
        elif turn.answer.parts:
            whose = _whose(turn)
            yield f"\n## {self._time(turn.at_s)} · MegaBot, {whose}{_who(turn.record)}\n"
        else:
            yield f"\n*{self._time(turn.at_s)} · {_plain(_event(turn.record))}*\n"
            return
        yield from self._answer(turn)

    def _request(self, turn: Turn) -> Iterator[str]:
        yield f"\n## {self._time(turn.at_s)} · User{_who(turn.record)}\n\n"
        kind = turn.head.type if turn.head is not None else None
        if isinstance(turn.text, bytes):
            yield f"{len(turn.text)} bytes, binary\n"
            return
        words = _words(turn.payload)
        if kind not in ("chat_send", "message", None) or words is None:
            yield f"**{_plain(kind or 'message')}**\n\n"
        yield _quoted(words) if words is not None else _fenced(turn.payload)

    def _answer(self, turn: Turn) -> Iterator[str]:
        answer = turn.answer
        before: str | None = None
        for place, part in enumerate(answer.parts):
            if part.stream is not None:
                before = part.stream.text
                rest = "" if part.is_whole else ", which breaks off"
                if part.stream.missing:
                    rest = f", of which {counted(part.stream.missing, 'chunk')} did not come{rest}"
                yield f"\n**MegaBot**{self._pace(turn)}{rest}:\n\n{_quoted(before)}"
            elif part.type in ("tool_call", "tool_result"):
                yield from _tool(part, by_client=place in turn.results)
            elif part.type == "chat_receive" and _words(part.payload) == before:
                continue  # it says again what was just streamed
            else:
                yield from self._said(turn, part)
        if isinstance(turn.text, str) and not answer.parts:
            yield "\n*No answer.*\n"

    def _said(self, turn: Turn, part: Part) -> Iterator[str]:
        words = _words(part.payload)
        if part.type in ("chat_receive", "message") and words is not None:
            yield f"\n**MegaBot**{self._pace(turn)}:\n\n{_quoted(words)}"
        elif isinstance(part.payload, bytes) or (part.payload is None and part.type is None):
            yield "\n- binary\n"
        elif part.type == "status_update":
            yield f"\n- {_plain(_progress(part.payload))}\n"
        else:
            by = "relay: " if turn.refused else ""
            yield f"\n- {by}{_plain(part.type or 'message')}\n\n{_indented(_fenced(part.payload))}"

    def _time(self, at_s: float) -> str:
        at = self._began + timedelta(seconds=at_s)
        return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}"

    def _pace(self, turn: Turn) -> str:
        """How long it took from the request to the first message and to the last."""
        if not turn.is_request:
            return ""
        return f" {_since(turn.at_s, turn.answer)}"


def _whose(turn: Turn) -> str:
    if not turn.belongs:
        return "unasked"
    return "to an earlier request" if turn.asked_n is not None else "to a request that is not here"


def _is_greeting(turn: Turn) -> bool:
    return [part.type for part in turn.answer.parts] == ["connection_established"]


def _progress(payload: Any) -> str:
    told = payload if isinstance(payload, dict) else {}
    share = told.get("progress")
    percent = f"{share:.0%}" if isinstance(share, float | int) else None
    words = ("status:", told.get("status"), percent, told.get("message"))
    return " ".join(str(word) for word in words if word is not None)


def _since(at_s: float, answer: Answer) -> str:
    first = (answer.first_at or at_s) - at_s
    last = (answer.last_at or at_s) - at_s
    begun = f"began after {first:.3f} s, " if answer.messages > 1 else ""
    return f"({begun}whole after {last:.3f} s)"


def _tool(part: Part, *, by_client: bool) -> Iterator[str]:
    payload: dict[str, Any] = part.payload if isinstance(part.payload, dict) else {}
    if part.type == "tool_call":
        yield f"\n- calls tool **{_plain(str(payload.get('tool_name', '?')))}**\n\n"
        yield _indented(_fenced(payload.get("parameters")))
    else:
        by = " by the client" if by_client else ""
        yield f"\n  - result{by}: {_plain(str(payload.get('status', '?')))}\n\n"
        result = payload.get("result")
        given = result if result is not None else payload.get("output")
        yield _indented(_indented(_fenced(given)))


def _who(record: Record) -> str:
    known = [
        f"{name} {_code(value)}"
        for name, value in (("client", record.client), ("session", record.session))
        if value
    ]
    return f" ({', '.join(known)})" if known else ""


def _event(record: Record) -> str:
    if record.kind == "gap":
        return f"{record.lost or 'some'} records are missing here"
    said = record.note or record.reason or ""
    code = f" {record.code}" if record.code is not None else ""
    return f"{record.kind}{code}" + (f": {said}" if said else "")


def _words(payload: Any) -> str | None:
    """What a payload says in words."""
    if isinstance(payload, str):
        return payload
    content = payload.get("content") if isinstance(payload, dict) else None
    return content if isinstance(content, str) else None


def _quoted(text: str) -> str:
    return "".join(f"> {line}\n" for line in text.splitlines() or [""])


def _fenced(value: Any) -> str:
    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    except (*UNREADABLE, ValueError, TypeError, OverflowError):
        text = repr(value)
    ticks = "`" * max(3, 1 + max(map(len, _TICKS.findall(text)), default=0))
    return f"{ticks}json\n{text}\n{ticks}\n"


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def _plain(text: str) -> str:
    """Text on one line in which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    ticks = "`" * (1 + max(map(len, _TICKS.findall(text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{' '.join(text.split())}{space}{ticks}"
