"""A conversation as a test that pytest runs: the same requests, and what must come to them.

All that others wrote enters the text as Python literals, which run nothing; what Python cannot
print is escaped in them.
"""

from __future__ import annotations

import pprint
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from megabot_cli.protocol import flat
from megabot_cli.recording.answers import Part
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.record import Record
from megabot_cli.recording.turns import Turn, Turns

Expect = Literal["exact", "shape"]

_OWN_END: Final = frozenset({"chat_send", "tool_call"})  # the client knows how these end
_TOOL_TYPES: Final = frozenset({"tool_call", "tool_result"}) | flat.DECISIONS
_DEEPEST_LITERAL: Final = 20
_WIDTH: Final = 96
_LEAST_TIMEOUT_S: Final = 30
_TIMEOUT_FACTOR: Final = 5
_FAILED: Final = frozenset({"failed", "failure", "error"})
# For what broke off when it was recorded, and may never end now either.
_BROKEN_OFF_S: Final = 5

_HEAD: Final = '''\
"""A recorded conversation with MegaBot, as a test.

    MEGABOT_URL=ws://127.0.0.1:3000/ws pytest THIS_FILE

logs in with MEGABOT_TOKEN or MEGABOT_API_KEY where one is set. Ids are fresh, and compared
are types, order, finish and the keys of what comes{exactly}.
"""

import asyncio
import contextlib
import json
import os

import pytest

from megabot_cli.client import MegaBotClient
from megabot_cli.errors import ConnectionLost, MegabotError, TimedOut

class Failed(Exception):
    """What a tool of ours said when it failed."""


URL = os.environ.get("MEGABOT_URL")
UPSTREAM_THEN = {upstream}
EXACT = {exact}


def varies(key):
    return key in ("id", "timestamp", "time", "date") or key.endswith(("_id", "_at"))


def shape(value):
    """The keys and kinds of a value, without ids and times."""
    if isinstance(value, dict):
        return {{key: None if varies(key) else shape(inner) for key, inner in value.items()}}
    if isinstance(value, list):
        kinds = [shape(inner) for inner in value]
        return [kind for place, kind in enumerate(kinds) if kind not in kinds[:place]]
    if isinstance(value, bool) or value is None:
        return str(value)
    return "number" if isinstance(value, (int, float)) else "text"


def agree(recorded, now):
    """Whether two values say the same, ids, times and redacted secrets apart."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        keys = recorded.keys() == now.keys()
        return keys and all(varies(key) or agree(recorded[key], now[key]) for key in recorded)
    if isinstance(recorded, list) and isinstance(now, list):
        return len(recorded) == len(now) and all(map(agree, recorded, now))
    if isinstance(recorded, str) and "\\u2039redacted:" in recorded:
        return isinstance(now, str)
    return recorded == now


def steps(answer):
    """What came, each stream in one piece; progress left out, for it is told by chance."""
    found = []
    for text in answer.messages:
        message = json.loads(text)
        kind, payload = message.get("type"), message.get("payload")
        if kind == "status_update":
            continue
        said = payload if isinstance(payload, dict) else {{}}
        if kind == "chat_stream" and isinstance(said.get("chunk"), str):
            if not found or found[-1][0] != "chat_stream" or not isinstance(found[-1][1], str):
                found.append(["chat_stream", ""])
            found[-1][1] += said["chunk"]
        elif kind != "chat_receive" or [["chat_stream", said.get("content")]] != found[-1:]:
            found.append([kind, payload])
    return found


def check(answer, recorded):
    now = steps(answer)
    assert answer.finished
    assert [kind for kind, _ in now] == [kind for kind, _ in recorded]
    for (kind, said), (_, said_then) in zip(now, recorded):
        if EXACT:
            assert agree(said_then, said), f"{{kind}}: {{said!r}} was {{said_then!r}}"
        else:
            assert shape(said) == shape(said_then), kind


async def conversation(client):
'''

_TAIL: Final = """

# What our side gave when MegaBot called a tool, in the order of the calls.
TOOLS = {tools}


def give(results):
    left = iter(results)

    def tool(**parameters):
        given = next(left, results[-1])
        if isinstance(given, Failed):
            raise given
        return given

    return tool


async def connect_and_talk():
    options = {{}}
    for name in ("token", "api_key"):
        value = os.environ.get(f"MEGABOT_{{name.upper()}}")
        if value and not options:
            options[name] = value
    async with MegaBotClient(URL, validate=False, **options) as client:
        for name, results in TOOLS.items():
            client.tool(name)(give(results))
        await conversation(client)


@pytest.mark.skipif(not URL, reason="MEGABOT_URL names no upstream")
def test_the_recorded_conversation():
    asyncio.run(connect_and_talk())
"""


class _Failed:
    """A result that the test raises, written as it stands there."""

    def __init__(self, said: str) -> None:
        self._said = said

    def __repr__(self) -> str:
        return f"Failed({self._said!r})"


class PytestWriter:
    """Writes the test piece by piece; `requests` and `held_back` count what is in it, `flat` what
    the client of a test cannot say: it speaks in envelopes.

    `tool_call`s of the client are held back unless `allow_tools`: they have effects.
    """

    def __init__(self, expect: Expect, *, allow_tools: bool) -> None:
        self._exact = expect == "exact"
        self._allow_tools = allow_tools
        self._tools: dict[str, list[Any]] = {}
        self.requests = 0
        self.held_back = 0
        self.flat = 0

    def write(self, header: Header | None, records: Iterable[Record]) -> Iterator[str]:
        upstream = header.upstream if header is not None else ""
        exactly = ", and what it says" if self._exact else ""
        yield _HEAD.format(upstream=repr(upstream), exact=self._exact, exactly=exactly)
        turns = Turns()
        for record in records:
            for turn in turns.take(record):
                yield from self._turn(turn)
        for turn in turns.rest():
            yield from self._turn(turn)
        if not self.requests:
            yield "    pass\n"
        yield _TAIL.format(tools=_literal(self._tools))

    def _turn(self, turn: Turn) -> Iterator[str]:
        self._learn_tools(turn)
        if turn.text is None:
            return
        kind = turn.head.type if turn.head is not None else None
        if turn.refused or (kind in _TOOL_TYPES and not self._allow_tools):
            self.held_back += 1
            return
        named = turn.head is not None and turn.head.id is not None
        if kind in flat.ANSWERS and not named:
            self.flat += 1
            return
        self.requests += 1
        yield f"    # {turn.at_s:.3f} s, record {turn.record.n}\n"
        # What the client cannot say, half a surrogate pair say, leaves as it was written.
        if kind is None or not named or turn.payload is turn.text:
            yield f"    await client.send_text({_literal(turn.text, 30)})\n"
        else:
            yield from self._request(kind, turn)

    def _request(self, kind: str, turn: Turn) -> Iterator[str]:
        name, payload = repr(kind), _literal(turn.payload, 8)
        recorded = _recorded(turn)
        if not recorded:
            yield f"    await client.send({name}, {payload})\n"
            return
        is_whole = turn.ended or turn.streamed_us is not None
        least_s = _LEAST_TIMEOUT_S if is_whole else _BROKEN_OFF_S
        timeout_s = least_s + round(_TIMEOUT_FACTOR * _took_s(turn))
        lines = [f"{name},", f"{payload},", f"timeout_s={timeout_s},"]
        if kind not in _OWN_END and recorded[-1][0] not in (None, "chat_stream"):
            lines.insert(2, f"until={recorded[-1][0]!r},")  # its answer may name nobody
        call = "client.request(\n" + "".join(f"        {line}\n" for line in lines) + "    )\n"
        if recorded[-1][0] == "connection_error":
            yield "    with pytest.raises(MegabotError) as refused:\n"
            yield f"        await {_deeper(call)}"
            yield "    assert not isinstance(refused.value, (TimedOut, ConnectionLost))\n"
        elif is_whole:
            yield f"    answer = await {call}"
            steps = "".join(f"            {_literal(step, 12)},\n" for step in recorded)
            yield f"    check(\n        answer,\n        [\n{steps}        ],\n    )\n"
        else:
            yield "    # Its answer breaks off in the recording: how it ends is not known.\n"
            yield f"    with contextlib.suppress(TimedOut):\n        await {_deeper(call)}"

    def _learn_tools(self, turn: Turn) -> None:
        """Note what the client gave to the tool calls of a turn."""
        names: dict[str, str] = {}
        for place, part in enumerate(turn.answer.parts):
            payload = part.payload if isinstance(part.payload, dict) else {}
            execution_id = str(payload.get("execution_id"))
            if part.type == "tool_call":
                names[execution_id] = str(payload.get("tool_name"))
            elif place in turn.results and execution_id in names:
                result = payload.get("result")
                given = result if result is not None else payload.get("output")
                if str(payload.get("status")) in _FAILED:
                    given = _Failed(str(given))
                self._tools.setdefault(names[execution_id], []).append(given)


def _recorded(turn: Turn) -> list[list[Any]]:
    """The steps of an answer as the test's own `steps` makes them."""
    found: list[list[Any]] = []
    for place, part in enumerate(turn.answer.parts):
        if part.type == "status_update" or place in turn.results:
            continue
        if part.stream is not None:
            # One that is no chunk stands as it came.
            if found and found[-1][0] == "chat_stream" and isinstance(found[-1][1], str):
                found[-1][1] += part.stream.text
            else:
                found.append(["chat_stream", part.stream.text])
        elif not _repeats(part, found):
            found.append([part.type, part.payload])
    return found


def _repeats(part: Part, found: list[list[Any]]) -> bool:
    content = part.payload.get("content") if isinstance(part.payload, dict) else None
    return part.type == "chat_receive" and found[-1:] == [["chat_stream", content]]


def _deeper(lines: str) -> str:
    """The same in a block. No literal has a line break of its own in it."""
    return lines.replace("\n    ", "\n        ")


def _took_s(turn: Turn) -> float:
    return max(0.0, (turn.answer.last_at or turn.at_s) - turn.at_s)


def _literal(value: Any, indent: int = 0) -> str:
    """A value as Python text, of lines that stand `indent` deep."""
    if _depth(value) > _DEEPEST_LITERAL:  # Python reads no literal of any depth
        return f"json.loads({msgspec.json.encode(value).decode()!r})"
    text = pprint.pformat(value, width=_WIDTH - indent, sort_dicts=False)
    return text.replace("\n", "\n" + " " * indent)


def _depth(value: Any, depth: int = 0) -> int:
    if depth > _DEEPEST_LITERAL or not isinstance(value, dict | list):
        return depth
    inner = value.values() if isinstance(value, dict) else value
    return max((_depth(each, depth + 1) for each in inner), default=depth)
