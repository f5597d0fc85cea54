"""`--record DIR` of commands that talk themselves: what passes becomes a recording."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from megabot_cli.errors import BadConfiguration, NotPermitted

if TYPE_CHECKING:
    from megabot_cli.client.observing import MessageLog
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.storage.recorder import Recorder
    from megabot_cli.terminal.console import Console


def open_recorder(invocation: Invocation, folder: Path, made_by: str) -> Recorder:
    """A recording of its own in `folder`, redacted as the relay's are."""
    from megabot_cli.commands.secrets_in_use import secrets_in_use
    from megabot_cli.storage.recorder import Recorder
    from megabot_cli.version import __version__

    configuration = invocation.configuration
    recorder = Recorder(
        folder,
        configuration.settings.recording,
        tool=f"megabot {__version__}",
        upstream=configuration.profile.url,
        labels={"made_by": made_by},
        known=secrets_in_use(invocation),
    )
    try:
        recorder.start()
    except (BadConfiguration, NotPermitted) as fault:  # the folder is a flag's, no setting's
        raise type(fault)(fault.message, "Name another folder with --record.") from None
    return recorder


def end_recording(console: Console, recorder: Recorder) -> None:
    """Seal it and say where it is, and what is not in it."""
    from megabot_cli.wording import counted

    recorder.close()
    if recorder.fault is not None:
        console.warn(f"{recorder.fault}; {counted(recorder.dropped, 'record')} not kept")
    console.note(f"kept in {recorder.folder}")


@contextmanager
def kept_messages(invocation: Invocation, folder: Path, made_by: str) -> Iterator[MessageLog]:
    """A client's log that is a recording, sealed in the end."""
    from megabot_cli.client.observing import MessageLog

    recorder = open_recorder(invocation, folder, made_by)

    def keep(direction: str, data: bytes, binary: bool) -> None:
        way = "to_upstream" if direction == "sent" else "to_client"
        recorder.keep_message(way, data, None, "link_1", None, "client_1", binary)

    try:
        yield MessageLog(1, keep)
    finally:
        end_recording(invocation.console, recorder)
