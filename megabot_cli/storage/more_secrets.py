"""What an operator takes for secret beyond what is known for one."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from megabot_cli.errors import WrongUsage
from megabot_cli.recording.regular import compiled

if TYPE_CHECKING:  # takes a while to load, and what is only read needs none
    from megabot_cli.recording.redaction import Redactor


class MoreSecrets:
    """The operator's own keys and patterns of secrets, as for the recorder."""

    def __init__(self, keys: Sequence[str] = (), patterns: Sequence[str] = ()) -> None:
        self.keys = keys
        self.patterns = patterns

    def redactor(self) -> Redactor:
        """One with a key of its own, which nobody keeps. WrongUsage for a pattern that is none."""
        for pattern in self.patterns:
            try:
                compiled(pattern)
            except re.error as fault:
                raise WrongUsage(
                    f"{pattern!r} is no regular expression: {fault}.",
                    "--pattern and `recording.redact_patterns` name some.",
                ) from None
        from megabot_cli.recording.redaction import Redactor

        return Redactor(os.urandom(32), self.keys, self.patterns)


NO_MORE: Final = MoreSecrets()
