"""Which tool call of the upstream a recorded result was for, and which call that is now."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from megabot_cli.protocol import flat
from megabot_cli.recording.answers import Part, messages_in, payload_of
from megabot_cli.replay.options import ReplayOptions

_TOOL_TYPES: Final = frozenset(("tool_call", "tool_result")) | flat.DECISIONS
_MAY_HOLD_CALLS: Final = frozenset(("tool_call", "batch"))
_MAY_HOLD_RESULTS: Final = frozenset(("tool_result", "batch"))


def why_not_sent(text: str | bytes, options: ReplayOptions) -> str | None:
    """Why a message is not sent again; None when it may be."""
    if options.allow_tools:
        return None
    types = {head.type for head, _ in messages_in(text) if head is not None}
    return "runs a tool (--allow-tools sends it)" if types & _TOOL_TYPES else None


class Call(msgspec.Struct, frozen=True):
    """A tool call that came: its recorded id, the tool, when (microseconds), and the place of the
    message that it came to."""

    execution_id: str
    tool: str | None
    t: int
    place: int | None = None


class RecordedCalls:
    """Takes what came, in order. `unasked` are the calls that named no message, by lane."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}
        self.unasked: defaultdict[str, list[Call]] = defaultdict(list)

    def came(
        self,
        lane: str,
        t: int,
        message_type: str | None,
        text: str | bytes,
        answering: Iterable[tuple[int, Part]],
    ) -> None:
        """A message came at `t`, of which `answering` are parts of answers, with their places."""
        if message_type not in _MAY_HOLD_CALLS:
            return
        asked = {
            execution_id_of(part.payload): place
            for place, part in answering
            if part.type == "tool_call"
        }
        for head, inner in messages_in(text):
            if head is None or head.type != "tool_call":
                continue
            payload = payload_of(inner)
            execution_id = execution_id_of(payload)
            if execution_id is None:
                continue
            call = Call(execution_id, tool_of(payload), t, asked.get(execution_id))
            self._calls[execution_id] = call
            if execution_id not in asked:
                self.unasked[lane].append(call)

    def answered_by(self, message_type: str | None, text: str | bytes) -> Call | None:
        """The call whose result a message is, or the last of those in a batch of results."""
        if not self._calls or message_type not in _MAY_HOLD_RESULTS:
            return None
        results = (
            execution_id_of(payload_of(inner))
            for head, inner in messages_in(text)
            if head is not None and head.type == "tool_result"
        )
        calls = [self._calls[each] for each in results if each in self._calls]
        return max(calls, key=lambda call: call.t, default=None)


class UnaskedCalls:
    """The recorded calls of a lane that named no message: each stands for one call of that tool."""

    def __init__(self, recorded: Sequence[Call]) -> None:
        self._left: defaultdict[str | None, deque[str]] = defaultdict(deque)
        for call in recorded:
            self._left[call.tool].append(call.execution_id)

    def next_of(self, payload: Any) -> str | None:
        """The recorded id of the call that comes now; None where none was recorded."""
        left = self._left.get(tool_of(payload))
        return left.popleft() if left else None


def execution_id_of(payload: Any) -> str | None:
    value = payload.get("execution_id") if isinstance(payload, dict) else None
    return value if isinstance(value, str) else None


def tool_of(payload: Any) -> str | None:
    value = payload.get("tool_name") if isinstance(payload, dict) else None
    return value if isinstance(value, str) else None
