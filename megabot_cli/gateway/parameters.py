"""What the query of `/ws` says beside the credential."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from megabot_cli.protocol.messages import MAX_BATCH

COMPRESSIONS = frozenset({"", "gzip", "none", "deflate"})
MOST_PLATFORM_CHARACTERS = 32

_SHOWN = 40  # characters of a value that is refused


class Parameters(msgspec.Struct, frozen=True):
    """One client's wishes. A value that is of no use is told, and is as if it were not there."""

    session_id: str = ""
    user_id: str = ""  # whom the client claims to be; the credential decides
    platform: str = ""
    compression: str = ""
    batch: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Parameters:
        return cls(**{name: query.get(name, "") for name in cls.__struct_fields__})

    @property
    def gzip(self) -> bool:
        """Whether long messages leave as gzip."""
        return self.compression == "gzip"

    @property
    def batch_size(self) -> int:
        """How many messages may leave in one; 0 where each leaves by itself."""
        size = _number(self.batch)
        return size if size is not None and 2 <= size <= MAX_BATCH else 0

    @property
    def platform_name(self) -> str | None:
        """What the client runs on, if others may be shown it as it is."""
        name = self.platform
        fit = 0 < len(name) <= MOST_PLATFORM_CHARACTERS and name.isascii() and name.isprintable()
        return name if fit else None

    def problems(self) -> Iterator[tuple[str, str]]:
        """What cannot be had: a stable word for each, and a text."""
        if self.compression not in COMPRESSIONS:
            shown = repr(self.compression[:_SHOWN])
            text = f"compression is gzip or left out; {shown} is unknown here."
            yield "unsupported_compression", text
        size = _number(self.batch)
        if self.batch and (size is None or size > MAX_BATCH):
            text = f"batch is a number from 0 to {MAX_BATCH}, not {self.batch[:_SHOWN]!r}."
            yield "unsupported_batch", text
        if self.platform and self.platform_name is None:
            most = MOST_PLATFORM_CHARACTERS
            text = f"platform has at most {most} characters, all of them printable ASCII."
            yield "unsupported_platform", text


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 else None
