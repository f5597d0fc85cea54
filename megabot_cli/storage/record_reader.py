"""What all readers of records have in common, whatever file the records come from."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from megabot_cli.recording.block_choice import BlockChoice
from megabot_cli.recording.bounds import Place
from megabot_cli.recording.format_v1 import Header
from megabot_cli.recording.record import Record


class RecordReader(Protocol):
    """Records, once, in their order; afterwards what was wrong with their source.

    `header` is None only where a crash tore it. `lines` gives each record with its line, as
    it stands in the recording or would stand in one. To be closed, or used in a `with`.
    """

    @property
    def header(self) -> Header | None: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def bad_lines(self) -> int: ...
    @property
    def torn_bytes(self) -> int: ...
    @property
    def clean(self) -> bool: ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def __iter__(self) -> Iterator[Record]: ...
    def lines(self) -> Iterator[tuple[Record, bytes]]: ...
    def close(self) -> None: ...


class SourceReader(RecordReader, Protocol):
    """One that something else is made of: `header_line` is its first line, without newline.

    That also has what a later minor version wrote there. Empty where a crash tore it.
    """

    @property
    def header_line(self) -> bytes: ...

    @property
    def lost_at_end(self) -> int | None:
        """How many records are missing behind the last, after all were `numbered`.

        None: none. 0: nobody knows, for the end of the recording is not there.
        """
        ...

    @property
    def breaks_off(self) -> bool:
        """Whether these stood behind the last; else nobody knows where they stood."""
        ...

    def numbered(
        self, begin: Place | None = None, blocks: BlockChoice | None = None
    ) -> Iterator[tuple[Record, bytes, int]]:
        """As `lines`, with how many records are missing before each.

        What is well before `begin`, a time or a number, may be passed over, and what `blocks`,
        which hears of losses, does not choose.
        """
        ...
