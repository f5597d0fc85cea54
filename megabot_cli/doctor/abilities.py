"""What the upstream can do that the specification leaves open, found by asking.

The questions do nothing: they call a tool that no upstream has. What comes back tells whether
answers name their request, whether a batch and gzip are understood.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import msgspec

from megabot_cli.client.ids import new_id
from megabot_cli.client.received import Received
from megabot_cli.doctor.conversation import Conversation
from megabot_cli.doctor.findings import Finding, ok, skipped, warn
from megabot_cli.errors import MegabotError
from megabot_cli.protocol.batching import wrap
from megabot_cli.protocol.compression import compress
from megabot_cli.protocol.envelope import UNREADABLE, build

ANSWER_LIMIT_S = 3.0
NO_SUCH_TOOL = "megabot_doctor_probe"  # named so that whoever reads the upstream's log knows
_ECHO = "echo_of"  # a key of metadata that nobody knows

Redial = Callable[[str | None, bool], Awaitable[Conversation]]  # (session, gzip)


class Question:
    """A call of a tool that is not there, and how to know what comes back for it."""

    def __init__(self) -> None:
        self.message_id = new_id("msg")
        self.execution_id = new_id("exec")

    def text(self, padding: str = "") -> str:
        payload = {
            "tool_name": NO_SUCH_TOOL,
            "parameters": {"padding": padding} if padding else {},
            "execution_id": self.execution_id,
        }
        return build(
            self.message_id, "tool_call", payload, at=time.time(), metadata={_ECHO: self.message_id}
        )

    def is_named_by(self, received: Received) -> bool:
        """Whether the answer says which request it is for."""
        return received.head is not None and received.head.reply_to == self.message_id

    def is_answered_by(self, received: Received) -> bool:
        """Named, or the execution is, or it is a refusal: nothing else was asked here."""
        if self.is_named_by(received):
            return True
        payload = received.payload()
        if not isinstance(payload, dict) or received.head is None:
            return False
        refused = received.head.type == "connection_error"
        return refused or payload.get("execution_id") == self.execution_id


async def metadata(line: Conversation) -> Finding:
    """Whether answers name their request, in `metadata.reply_to`."""
    question = Question()
    await line.send(question.text())
    answer = await line.hear(question.is_answered_by, ANSWER_LIMIT_S)
    fix = (
        "Nothing is broken: the relay then tells answers apart by their order, and "
        "`relay --mode shared` has one request of a kind under way at a time."
    )
    if answer is None:
        said = f"no answer within {ANSWER_LIMIT_S:g} s to the call of a tool that is not there"
        return warn(said, fix, reply_to=None)
    facts = {"reply_to": question.is_named_by(answer), "echoes_other_metadata": _echoes(answer)}
    if question.is_named_by(answer):
        return ok("answers name their request (metadata.reply_to)", **facts)
    return warn("answers do not name their request (metadata.reply_to)", fix, **facts)


def _echoes(answer: Received) -> bool:
    """Whether the answer brings back metadata that it need not understand."""
    try:
        message = msgspec.json.decode(answer.text)
    except UNREADABLE:
        return False
    held = message.get("metadata") if isinstance(message, dict) else None
    return isinstance(held, dict) and _ECHO in held


async def batch(line: Conversation) -> Finding:
    """Whether several messages may come in one."""
    questions = [Question(), Question()]
    answered: set[str] = set()
    refused: list[str] = []

    def settled(received: Received) -> bool:
        payload = received.payload()
        if received.head is not None and received.head.type == "connection_error":
            refused.append(str((payload or {}).get("message", ""))[:200])
            return True
        for each in questions:
            if each.is_answered_by(received):
                answered.add(each.message_id)
        return len(answered) == len(questions)

    await line.send(wrap([each.text() for each in questions], new_id("msg"), time.time()))
    done = await line.hear(settled, ANSWER_LIMIT_S)
    if len(answered) == len(questions):
        return ok("several messages may come in one", accepted=True)
    said = "refuses a batch" if refused else f"answers {len(answered)} of 2 messages of a batch"
    if done is None and not answered:
        said = "does not answer a batch"
    return warn(f"the upstream {said}", "Leave relay.batching off.", accepted=False)


async def compression(line: Conversation, asked: str, redial: Redial) -> Finding:
    """permessage-deflate as it was agreed, and gzip by trying. `asked` is the setting."""
    if asked == "none":
        return skipped("compression: none")
    gzip = await _takes_gzip(redial)
    facts = {"deflate": line.deflates, "gzip": gzip}
    words = [name for name, has in (("permessage-deflate", line.deflates), ("gzip", gzip)) if has]
    if (asked == "deflate" and line.deflates) or (asked == "gzip" and gzip):
        return ok(" and ".join(words), **facts)
    said = f"the upstream has no {asked}" + (f", but {words[0]}" if words else "")
    fix = f"Set compression: {'gzip' if gzip else 'deflate' if line.deflates else 'none'}."
    return warn(said, fix, **facts)


def deflate_alone(line: Conversation, asked: str) -> Finding:
    """As `compression`, where nothing can be asked in gzip."""
    if line.deflates:
        return ok("permessage-deflate", deflate=True, gzip=None)
    if asked != "deflate":
        return skipped(f"compression: {asked}")
    return warn("the upstream has no deflate", "Set compression: none.", deflate=False, gzip=None)


async def _takes_gzip(redial: Redial) -> bool:
    """Ask in gzip, on a connection of its own: who does not know it may hang up."""
    question = Question()
    try:
        line = await redial(None, True)
        try:
            await line.send(compress(question.text("x" * 2000).encode()))
            answer = await line.hear(question.is_answered_by, ANSWER_LIMIT_S)
        finally:
            await line.end()
    except MegabotError:
        return False
    return answer is not None and answer.head is not None and answer.head.type == "tool_result"


async def resume(line: Conversation, redial: Redial) -> Finding:
    """Break the line, and ask for the same session again. `line` is of no use afterwards."""
    session = line.greeting.session_id
    line.cut()
    again = await redial(session, False)
    await again.end()
    if again.greeting.session_id == session:
        return ok("a session is found again after the line broke", resumed=True)
    return warn(
        "a line that breaks ends the session: the upstream gives a new one",
        "What is under way is lost with the line; the relay tells its clients so.",
        resumed=False,
    )
