"""Payloads kept aside while a recording is served: in memory, and on disk when they are many."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from megabot_cli.errors import MegabotError
from megabot_cli.recording.exchanges import ExchangeReading, Exchanges, Kind
from megabot_cli.recording.likeness import Likeness
from megabot_cli.storage.foreign import open_any
from megabot_cli.storage.more_secrets import NO_MORE, MoreSecrets

_IN_MEMORY_BYTES: Final = 64 * 1024 * 1024
_KINDS: Final[tuple[Kind, ...]] = ("text", "binary", "close")
_HEAD: Final = struct.Struct("<IB")


class KeptPayloads:
    """Payloads by number. The file has no name, is the owner's alone, and is gone with us."""

    def __init__(self, in_memory_bytes: int = _IN_MEMORY_BYTES) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=in_memory_bytes)  # noqa: SIM115
        self._end = 0

    def keep(self, kind: Kind, payload: bytes) -> int:
        """Keep a payload; return its number. MegabotError when the disk is full."""
        place = self._end
        head = _HEAD.pack(len(payload), _KINDS.index(kind))
        try:
            self._file.seek(place)
            self._file.write(head + payload)
        except OSError as fault:
            raise MegabotError(
                f"The recording could not be kept in {tempfile.gettempdir()}: {fault.strerror}",
                "TMPDIR names another folder.",
            ) from fault
        self._end += len(head) + len(payload)
        return place

    def read(self, place: int) -> tuple[Kind, bytes]:
        self._file.seek(place)
        size, kind = _HEAD.unpack(self._file.read(_HEAD.size))
        return _KINDS[kind], self._file.read(size)

    def close(self) -> None:
        self._file.close()


class ServedRecording(msgspec.Struct):
    """A recording that can be answered from. Whoever opened it closes `payloads`."""

    exchanges: Exchanges
    payloads: KeptPayloads
    upstream: str
    clean: bool
    warnings: list[str]


def open_exchanges(
    source: Path | str, likeness: Likeness, secrets: MoreSecrets = NO_MORE
) -> ServedRecording:
    """Read a recording through, to answer from it; a damaged one gives what it holds.

    What others wrote is read too, without its secrets and what else `secrets` names. NotFound
    and BadData as from `open_any`; BadData too where nothing can be told.
    """
    payloads = KeptPayloads()
    try:
        reading = ExchangeReading(likeness, payloads.keep)
        with open_any(source, secrets=secrets) as reader:
            for record in reader:
                reading.take(record)
            return ServedRecording(
                exchanges=reading.finish(),
                payloads=payloads,
                upstream=reader.header.upstream if reader.header is not None else "",
                clean=reader.clean,
                warnings=list(reader.warnings),
            )
    except BaseException:
        payloads.close()
        raise
