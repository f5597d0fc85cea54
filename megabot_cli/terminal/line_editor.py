"""A line that a person edits, with what was said before at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT = "> "


class LineEditor:
    """What was said is kept in `history_file`, for its owner alone (0600)."""

    def __init__(self, history_file: Path) -> None:
        history_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(history_file, os.O_WRONLY | os.O_CREAT, 0o600))
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(history_file),
            key_bindings=_keys(),
            prompt_continuation="  ",
            enable_history_search=True,
        )

    async def read(self, *, interrupted: bool, again_ends: Callable[[], None]) -> str | None:
        """The next message; None at the end (Ctrl-D). Ctrl-C throws away what was typed.

        On an empty line it raises KeyboardInterrupt where the one before was the last thing
        that happened (`interrupted`: before this call); else `again_ends` may say so.
        """
        while True:
            try:
                return await self._session.prompt_async(PROMPT)
            except KeyboardInterrupt:
                if self._session.default_buffer.text:
                    interrupted = False
                    continue
                if interrupted:
                    raise
                interrupted = True
                again_ends()
            except EOFError:
                return None


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
