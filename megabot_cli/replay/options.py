"""What an operator may ask of a replay."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from megabot_cli.recording.selection import Selection

Pace = Literal["original", "fast"]
Expectation = Literal["exact", "shape", "none"]


class ReplayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one replay goes.

    `original` sends each message when it was sent, counted from the start: recorded pauses
    are cut to `max_gap_s` first, the rest divided by `speed`. `fast` sends as quickly as the
    client's rate limit and the upstream take it. `settle_s` is how long after the last
    message that came answers which are still outstanding are waited for.
    """

    pace: Pace = "original"
    speed: Annotated[float, Meta(ge=0.1, le=1000)] = 1.0
    max_gap_s: float | None = None
    expect: Expectation = "shape"
    allow_tools: bool = False
    keep_ids: bool = False
    limit: int | None = None
    selection: Selection = Selection()
    settle_s: float = 10.0
