"""Regular expressions as operators write them."""

from __future__ import annotations

import re
import warnings
from typing import Final

from megabot_cli.errors import BadConfiguration

# `[[:digit:]]`, which grep knows: to Python it is a set of letters, and finds something else.
_CLASS: Final = re.compile(
    r"\[:\^?(?:alnum|alpha|blank|cntrl|digit|graph|lower|print|punct|space|upper|word|xdigit):\]"
)


def compiled(text: str) -> re.Pattern[str]:
    """The expression; raises re.error for all that is none."""
    if found := _CLASS.search(text):
        raise re.error(f"\\d, \\s and \\w are known, but not {found[0]}", text, found.start())
    try:
        with warnings.catch_warnings():
            # What later versions of Python may read in another way is no fault of who types it.
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(text)
    except (RecursionError, OverflowError) as fault:
        raise re.error(f"{fault}") from None


def compiled_setting(text: str) -> re.Pattern[str]:
    """One of `recording.redact_patterns`; BadConfiguration for what is none."""
    try:
        return compiled(text)
    except re.error as fault:
        raise BadConfiguration(
            f"recording.redact_patterns: {text!r} is no regular expression: {fault}",
            "`megabot config check` says where that stands.",
        ) from None
