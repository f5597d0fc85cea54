"""Words that memory has no room for: what stands for them while somebody else keeps them."""

from __future__ import annotations

from typing import Protocol

import msgspec

from megabot_cli.protocol.streams import Stream


class Aside(Protocol):
    """Where texts are kept that memory has no room for."""

    def put(self, text: str | bytes) -> int | None:
        """Keep a text; return its number, None where it cannot be kept."""

    def get(self, number: int) -> str | bytes:
        """A text as it was put."""


class StreamAside(msgspec.Struct, frozen=True, gc=False):
    """A `Stream` that has finished; its text is aside."""

    missing: int
    lacks_its_beginning: bool
    number: int
    aside: Aside

    @property
    def finished(self) -> bool:
        return True

    @property
    def text(self) -> str:
        text = self.aside.get(self.number)
        assert isinstance(text, str)
        return text


def stream_aside(stream: Stream, aside: Aside) -> Stream | StreamAside:
    """The stream with its text put aside, if it has finished and that is possible."""
    number = aside.put(stream.text) if stream.finished else None
    if number is None:
        return stream
    return StreamAside(stream.missing, stream.lacks_its_beginning, number, aside)
