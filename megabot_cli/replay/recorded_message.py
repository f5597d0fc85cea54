"""What a recorded client sent, as it is to be sent again, and what somebody noted between."""

from __future__ import annotations

from typing import Final

import msgspec

from megabot_cli.protocol import flat
from megabot_cli.recording.aside import Aside
from megabot_cli.recording.rewriting import Template
from megabot_cli.replay.tool_calls import Call

ALWAYS_ANSWERED: Final = frozenset(("chat_send", "tool_call", *flat.ANSWERS))
"""What always gets an answer, or a refusal."""


class RecordedMessage(msgspec.Struct, gc=False):
    """One message of a recorded client.

    `lane` names the connection that it shared upstream with its fellows. `held_back` says
    why it is not sent again; `compared` is False where the recording cannot know the answer,
    `broken_off` True where it ends before the answer may have.
    """

    place: int
    n: int
    t: int
    client: str
    lane: str
    session: str | None
    type: str | None
    named: bool  # whether it has an id
    said: str | bytes | int  # its text, or the number that has `aside`
    redacted: bool = False
    held_back: str | None = None
    compared: bool = True
    broken_off: bool = False
    template: Template | None = None  # where it is made new, if it names but itself
    call: Call | None = None  # of the upstream's, whose result it is
    aside: Aside | None = None

    @property
    def text(self) -> str | bytes:
        if isinstance(self.said, int):
            assert self.aside is not None
            return self.aside.get(self.said)
        return self.said

    def put_aside(self, aside: Aside) -> None:
        """Keep its text there, if there is room for it."""
        number = aside.put(self.text)
        if number is not None:
            self.said, self.aside = number, aside

    @property
    def context(self) -> bool:
        """Whether it was said before what was chosen: then it is sent first."""
        return self.place < 0


class RecordedMark(msgspec.Struct, frozen=True):
    """What somebody noted: before record `n`, `t` microseconds after the recording began."""

    n: int
    t: int
    text: str
