"""What an operator may ask of a replay."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from megabot_cli.recording.known_secrets import KnownSecrets
from megabot_cli.recording.selection import Selection

Pace = Literal["original", "fast", "fixed", "reply", "step"]
Expectation = Literal["exact", "shape", "none"]


class ReplayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one replay goes.

    `original` sends each message when it was sent, counted from the start: recorded pauses
    are cut to `max_gap_s` first, the rest divided by `speed`. `fast` sends as quickly as the
    client's rate limit and the upstream take it, `fixed` `per_s` messages a second. `reply`
    begins each client as `original` does, then waits for the answer to its last message and
    for the recorded pause after it; `step` for somebody who lets each message go. `settle_s`
    is how long after the last message that belonged to an answer, or called a tool, answers
    which are still outstanding are waited for.

    `limit` counts messages to send. `with_context` sends first, and compares not, what the
    chosen sessions had said before. `ignored` are paths (`payload.options.seed`) that answers
    are not compared by. `known` are the secrets in use: they are compared with none, and told
    nowhere.
    """

    pace: Pace = "original"
    speed: Annotated[float, Meta(ge=0.1, le=1000)] = 1.0
    per_s: float = 1.0
    max_gap_s: float | None = None
    expect: Expectation = "shape"
    allow_tools: bool = False
    keep_ids: bool = False
    limit: int | None = None
    selection: Selection = Selection()
    settle_s: float = 10.0
    with_context: bool = False
    ignored: tuple[str, ...] = ()
    known: KnownSecrets = msgspec.field(default_factory=KnownSecrets)
