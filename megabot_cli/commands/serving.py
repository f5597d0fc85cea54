"""What `relay` and `gateway` share: the ready line, the ready file, the signals that stop."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megabot_cli.commands.running import first_of, on_signals
from megabot_cli.errors import MegabotError

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.recording.known_secrets import KnownSecrets

_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")


def announce(
    invocation: Invocation,
    facts: dict[str, Any],
    ready_file: Path | None,
    *,
    quietly: bool = False,
) -> None:
    """Say once, as one line of JSON in `ready_file` and on stdout, that clients may come.

    `quietly` leaves stdout alone.
    """
    from megabot_cli.terminal.text import safe_json

    line = safe_json(json.dumps({"event": "ready", **facts}, ensure_ascii=False))
    if ready_file is not None:
        from megabot_cli.storage.private_files import replace_private

        try:
            replace_private(ready_file, f"{line}\n".encode())
        except OSError as fault:
            raise MegabotError(
                f"Could not write {ready_file}: {fault.strerror}", "--ready-file names another."
            ) from None
    if not quietly:
        invocation.console.line(line)


def remove_ready_file(ready_file: Path | None) -> None:
    if ready_file is None:
        return
    with suppress(OSError):
        if stat.S_ISREG(ready_file.lstat().st_mode):  # else `announce` has refused it
            ready_file.unlink()


async def serve_until_signal(
    ended: Callable[[], Coroutine[Any, Any, None]],
    drain: Callable[[], Coroutine[Any, Any, None]] | None = None,
    *,
    say_ready: Callable[[], None],
    hear: Callable[[int], None] | None = None,
    hang_up_stops: bool = True,
) -> None:
    """Wait for a signal, or until it `ended` by itself; after a signal, drain.

    `say_ready` is called once signals are heard: whoever reads it may send one at once; `hear`
    is told which came. A second signal gives up draining: the caller stops at once.
    """
    import asyncio
    import gc

    first, second = asyncio.Event(), asyncio.Event()

    def told(number: int) -> None:
        if hear is not None:
            hear(number)
        (second if first.is_set() else first).set()

    stopping = _STOPPING if hang_up_stops else _STOPPING[:-1]
    # What was loaded stays: looked through for garbage it would cost everybody 30 ms.
    gc.freeze()
    with on_signals(stopping, told):
        say_ready()
        await first_of(first.wait(), ended())
        if first.is_set() and drain is not None:
            await first_of(drain(), second.wait())


def configure_logs(invocation: Invocation, known: KnownSecrets | None = None) -> None:
    """Send log lines to stderr as the global options say, secrets replaced; `known` ones too.

    What runs for long with a variable that is misspelt says so where it begins.
    """
    import os

    from megabot_cli.recording.redaction import Redactor
    from megabot_cli.telemetry.logs import configure_logging

    options = invocation.options
    form: Any = options.log_format
    configure_logging(
        level="error" if options.quiet else "debug" if options.verbose > 1 else "info",
        format=form,
        debug=options.debug,
        scrub=Redactor(os.urandom(16), known=known).clean,
        color=invocation.console.err_color,
    )
    for remark in invocation.configuration.remarks:
        invocation.console.warn(remark)
