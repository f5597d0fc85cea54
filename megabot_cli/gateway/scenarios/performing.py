"""Play the parts of one connection: one message after another, and nothing after its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from megabot_cli.client.ids import new_id
from megabot_cli.client.tasks import TaskSet
from megabot_cli.errors import BadData
from megabot_cli.gateway.inbox import Arrived
from megabot_cli.gateway.scenarios.actor import Actor
from megabot_cli.gateway.scenarios.declaration import (
    Call,
    Step,
    Word,
    word_of,
)
from megabot_cli.gateway.scenarios.details import detailed
from megabot_cli.gateway.scenarios.filling import fill, fill_text
from megabot_cli.gateway.scenarios.outward import HELD_AT_MOST_S, Outward
from megabot_cli.gateway.scenarios.plan import Event, Part
from megabot_cli.gateway.scenarios.speaking import Speaker
from megabot_cli.gateway.scenarios.spoiling import spoil
from megabot_cli.gateway.scenarios.stage import Stage
from megabot_cli.protocol.envelope import open_envelope, peek
from megabot_cli.protocol.messages import ToolResult

MOST_WAITING = 100  # messages whose part has not begun

# A part of these alone takes no time: it is played where the message is read, in order.
AT_ONCE = frozenset({"pass", "drop", "duplicate", "reorder"})

log = structlog.get_logger()


class Performance:
    """What the scenario does on one connection."""

    def __init__(
        self,
        stage: Stage,
        actor: Actor,
        number: int,
        tasks: TaskSet,
        on_room: Callable[[], None],
    ) -> None:
        self._stage = stage
        self._actor = actor
        self._number = number
        self._tasks = tasks
        self._outward = Outward(actor, tasks, on_room)
        self._speaker = Speaker(actor)
        self._waiting: deque[tuple[Arrived, Part]] = deque()
        self._overtaken: list[Arrived] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._playing = False
        self._ended = False  # by a step: what still comes is for nobody
        self._calls: dict[str, asyncio.Future[ToolResult]] = {}

    @property
    def congested(self) -> bool:
        return self._outward.congested

    @property
    def never_pong(self) -> bool:
        return self._outward.never_pong

    def opened(self) -> None:
        """The client was greeted."""
        if self._stage.concerns("open") and (part := self._part("open", "", "", "", None)):
            self._start(self._play_opening(part))

    def received(self, arrived: Arrived) -> None:
        """A valid message came: handle it as usual, or play its part."""
        if self._ended:
            return
        message = arrived.message
        if isinstance(message.payload, ToolResult):
            call = self._calls.pop(message.payload.execution_id, None)
            if call is not None:
                call.set_result(message.payload)
                return
        part = None
        if self._stage.concerns("message"):
            text = _text_of(arrived.text)
            part = self._part("message", message.id, message.type, text, arrived.text)
        if part is None:
            self._handle(arrived)
        elif len(self._waiting) >= MOST_WAITING:
            text = f"{MOST_WAITING} messages wait already for what the scenario does."
            self._actor.refuse("rate_limited", text, 429, message.id)
        elif not self._playing and all(word_of(step) in AT_ONCE for step in part.steps):
            for word in part.steps:
                self._handle_as_told(word_of(word), arrived)
        else:
            self._waiting.append((arrived, part))
            if not self._playing:
                self._playing = True
                self._start(self._play_waiting())

    def send(self, message: bytes) -> None:
        """A message is to leave over this connection."""
        part = None
        if self._stage.concerns("sending"):
            head = peek(message)
            assert head is not None
            part = self._part("sending", head.id or "", head.type or "", _text_of(message), message)
        self._outward.send(message, part)

    async def finish(self) -> list[bytes]:
        """End all that is under way; return what was not sent."""
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        self._waiting.clear()
        return await self._outward.finish()

    def _start(self, work: Any) -> None:
        task = self._tasks.start(work, "gateway scenario")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _part(
        self, when: Any, message_id: str, message_type: str, text: str, whole: bytes | None
    ) -> Part | None:
        return self._stage.part(
            Event(
                when,
                user=self._actor.user.name,
                session=self._actor.session.session_id,
                connection=self._number,
                id=message_id,
                type=message_type,
                text=text,
                message=lambda: _open(whole),
            )
        )

    def _handle(self, arrived: Arrived) -> None:
        """As usual; what it was to overtake comes right after it."""
        self._actor.handle_as_usual(arrived)
        self._let_go()

    def _handle_as_told(self, word: str, arrived: Arrived) -> None:
        match word:
            case "pass":
                self._handle(arrived)
            case "duplicate":
                self._actor.handle_as_usual(arrived)
                self._handle(arrived)
            case "reorder":
                self._overtaken.append(arrived)
                self._start(self._let_go_later())

    async def _let_go_later(self) -> None:
        await asyncio.sleep(HELD_AT_MOST_S)
        self._let_go()

    def _let_go(self) -> None:
        overtaken, self._overtaken = self._overtaken, []
        for earlier in overtaken:
            self._actor.handle_as_usual(earlier)

    async def _play_opening(self, part: Part) -> None:
        await self._play_steps(part, None)

    async def _play_waiting(self) -> None:
        try:
            while self._waiting:
                arrived, part = self._waiting.popleft()
                if not await self._play_steps(part, arrived):
                    return
        finally:
            self._playing = False

    async def _play_steps(self, part: Part, arrived: Arrived | None) -> bool:
        """Do all steps; False when they ended the connection."""
        for index, step in enumerate(part.steps):
            if not await self._play(step, part, arrived, f"step {index}"):
                self._ended = True
                return False
        return True

    async def _play(
        self, step: Word | Step, part: Part, arrived: Arrived | None, name: str
    ) -> bool:
        """Do one step; False when it was the last on this connection."""
        details = detailed(step)
        values = part.values
        match word_of(step):
            case "delay_s":
                await asyncio.sleep(part.seconds(details, name))
            case "reply":
                self._speaker.reply(details, part)
            case "stream":
                await self._speaker.stream(details, part, name)
            case "status":
                await self._speaker.tell_status(details, part, name)
            case "notify":
                self._speaker.notify(details, part)
            case "send":
                self._speaker.send_any(details, part)
            case "tool_call":
                values[details.save_as] = await self._call(details, part)
            case "tool_result":
                asked = getattr(arrived.message.payload, "execution_id", None) if arrived else None
                self._speaker.give_result(details, asked, part)
            case "error" | "rate_limit":
                text = fill_text(details.message, values)
                self._actor.refuse(details.error, text, details.code, values["id"] or None)
            case "malformed":
                whole = self._speaker.whole("Broken on purpose.", "assistant", part)
                broken = spoil(whole, details)
                if not self._outward.silent:
                    self._actor.send_raw(broken.content, binary=broken.binary)
            case "pass" | "drop" | "duplicate" | "reorder" as word if arrived is not None:
                self._handle_as_told(word, arrived)
            case "silent":
                self._outward.silent = True
            case "never_pong":
                self._outward.never_pong = True
            case "new_session":
                self._actor.begin_new_session()
                values["session"] = self._actor.session.session_id
            case "close":
                self._actor.start_close(details.code, details.reason)
                return False
            case "abort":
                self._actor.reset()
                return False
        return True

    async def _call(self, said: Call, part: Part) -> Any:
        """Have the client run a tool. A result that does not come has the status `timeout`."""
        execution_id = new_id("exec")
        result: asyncio.Future[ToolResult] = asyncio.get_running_loop().create_future()
        self._calls[execution_id] = result
        parameters = fill(said.parameters, part.values)
        payload = {
            "tool_name": said.tool,
            "parameters": parameters,
            "execution_id": execution_id,
        }
        self._speaker.send("tool_call", payload, part)
        try:
            async with asyncio.timeout(said.timeout_s):
                given = await result
        except TimeoutError:
            log.warning("scenario.tool_timed_out", tool=said.tool, timeout_s=said.timeout_s)
            return {"status": "timeout", "result": None, "output": ""}
        finally:
            self._calls.pop(execution_id, None)
        return {"status": given.status, "result": given.result, "output": given.output or ""}


def _open(message: bytes | None) -> Mapping[str, Any]:
    envelope = open_envelope(message) if message is not None else None
    if envelope is None:
        return {}
    try:
        payload = envelope.decoded_payload()
    except BadData:
        return {}
    return {"payload": payload, "metadata": envelope.metadata or {}}


class _Texts(msgspec.Struct):
    content: Any = None
    chunk: Any = None
    message: Any = None


class _Worded(msgspec.Struct):
    payload: _Texts


_worded = msgspec.json.Decoder(_Worded)


def _text_of(message: bytes) -> str:
    """What a message says to a person: its content, chunk or message."""
    try:
        texts = _worded.decode(message).payload
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    found = (each for each in (texts.content, texts.chunk, texts.message) if isinstance(each, str))
    return next(found, "")
