"""A turn of a conversation as plain facts, for people and for programs."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from megabot_cli.recording.answers import Part
from megabot_cli.recording.turns import Turn


class Said(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that came: an assembled text, a tool call, its result, or another message.

    `payload` is a call's arguments, a result's value, or what another message holds. `whole`
    is False for a text that breaks off. Of its chunks so many are `missing` before the last that
    came; where these are its first, it `lacks_beginning`. `by_client` is a result that the client
    gave.
    """

    what: Literal["text", "tool_call", "tool_result", "message"]
    type: str | None = None
    text: str | None = None
    name: str | None = None
    status: str | None = None
    payload: Any = None
    by_client: bool = False
    whole: bool = True
    missing: int = 0
    lacks_beginning: bool = False


class TurnFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, when, by whom, and what came to it.

    `kind` is `request`, `unasked`, `answer` where what was asked is not among the records or
    was told before (`reply_to` and `asked_n`, where known), or the kind of a record that is no
    message. `n` and `at_s` are those of its first record; `first_s` and `whole_s` count from there;
    there is no `whole_s` where what came breaks off, and neither where the time of the recording
    goes back between question and answer. A request that is binary has `binary_bytes`,
    and neither words nor payload.
    """

    n: int
    at_s: float
    kind: str
    type: str | None = None
    id: str | None = None
    session: str | None = None
    client: str | None = None
    text: str | None = None
    payload: Any = None
    said: list[Said] = []
    messages: int = 0
    first_s: float | None = None
    whole_s: float | None = None
    refused: bool = False
    note: str | None = None
    reply_to: str | None = None
    asked_n: int | None = None
    binary_bytes: int | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing that was begun breaks off."""
        return all(each.whole for each in self.said)


def facts_of(turn: Turn) -> TurnFacts:
    record, answer = turn.record, turn.answer
    is_event = not turn.is_request and not answer.parts
    first_s, last_s = _after(turn, answer.first_at), _after(turn, answer.last_at)
    if first_s is not None and last_s is not None and not 0 <= first_s <= last_s:
        first_s = last_s = None
    payload = None if isinstance(turn.text, bytes) else turn.payload
    words = words_of(payload)
    said = _said(turn)
    note = record.note or record.reason
    if is_event and record.code is not None:
        note = f"{record.code} {note or ''}".strip()
    return TurnFacts(
        n=record.n,
        at_s=round(turn.at_s, 6),
        kind=record.kind if is_event else _kind(turn),
        type=turn.head.type if turn.head is not None else None,
        id=turn.head.id if turn.head is not None else None,
        session=record.session,
        client=record.client,
        text=words,
        payload=payload if words is None else None,
        said=said,
        messages=answer.messages,
        first_s=first_s,
        whole_s=last_s if all(each.whole for each in said) else None,
        refused=turn.refused,
        note=note if is_event else None,
        reply_to=turn.reply_to,
        asked_n=turn.asked_n,
        binary_bytes=len(turn.text) if isinstance(turn.text, bytes) else None,
    )


def _kind(turn: Turn) -> str:
    if turn.is_request:
        return "request"
    return "answer" if turn.belongs else "unasked"


def words_of(payload: Any) -> str | None:
    """What a payload says in words; None when it says something else."""
    if isinstance(payload, str):
        return payload
    content = payload.get("content") if isinstance(payload, dict) else None
    return content if isinstance(content, str) else None


def _after(turn: Turn, at: float | None) -> float | None:
    return None if at is None or not turn.is_request else round(at - turn.at_s, 6)


def _said(turn: Turn) -> list[Said]:
    found: list[Said] = []
    for place, part in enumerate(turn.answer.parts):
        said = _one(part, by_client=place in turn.results)
        repeats = found and found[-1].what == "text" and said.what == "text"
        if not (repeats and part.type == "chat_receive" and said.text == found[-1].text):
            found.append(said)
    return found


def _one(part: Part, *, by_client: bool) -> Said:
    if part.stream is not None:
        return Said(
            what="text",
            type=part.type,
            text=part.stream.text,
            whole=part.is_whole,
            missing=part.stream.missing,
            lacks_beginning=part.stream.lacks_its_beginning,
        )
    payload = part.payload
    fields = payload if isinstance(payload, dict) else {}
    if part.type == "tool_call":
        return Said(
            what="tool_call",
            type=part.type,
            name=str(fields.get("tool_name", "?")),
            payload=fields.get("parameters"),
        )
    if part.type == "tool_result":
        # One that failed says why in its output, beside a result that is null.
        result, output = fields.get("result"), fields.get("output")
        return Said(
            what="tool_result",
            type=part.type,
            status=str(fields["status"]) if "status" in fields else None,
            payload=output if result is None else result,
            by_client=by_client,
        )
    words = words_of(payload)
    if words is not None and part.type in ("chat_receive", "message", None):
        return Said(what="text", type=part.type, text=words)
    shown = None if isinstance(payload, bytes) else payload
    return Said(what="message", type=part.type, payload=shown)
