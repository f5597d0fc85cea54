"""What a scenario file may say: every word, its type and meaning, once.

Reading, the JSON Schema, the dry run and the tests read these. Durations are seconds and end
in `_s`; a pair of them is a range, from which the seed chooses.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

When = Literal["login", "connect", "open", "message", "sending"]
Scope = Literal["gateway", "user", "session", "connection"]
Spoiled = Literal[
    "broken_json", "wrong_types", "missing_fields", "unknown_type", "not_utf8", "binary"
]
Word = Literal[
    "pass", "drop", "duplicate", "reorder", "abort", "silent", "never_pong", "new_session",
    "forget_session", "rate_limit",
]  # fmt: skip

Name = Annotated[str, Meta(min_length=1)]
Seconds = Annotated[float, Meta(ge=0, le=86400)]
Duration = Seconds | Annotated[list[Seconds], Meta(min_length=2, max_length=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Counted = Annotated[int, Meta(ge=1)]
Status = Annotated[int, Meta(ge=400, le=599)]
CloseNumber = Annotated[int, Meta(ge=1000, le=4999)]
Content = Annotated[str, Meta(max_length=100_000)]


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all parts of a file: a misspelt word is an error."""


class Reply(Said, frozen=True):
    """A whole answer (`chat_receive`)."""

    text: Annotated[Content, Meta(description="What is said; ${text} and the like are filled in.")]
    sender: Annotated[str, Meta(description="Who says it.")] = "assistant"


class Stream(Said, frozen=True):
    """An answer in pieces (`chat_stream`), then the whole of it (`chat_receive`)."""

    text: Annotated[Content, Meta(description="What is said; ${text} and the like are filled in.")]
    chunk: Annotated[Counted, Meta(description="Characters in a piece.")] = 12
    pace_s: Annotated[Duration, Meta(description="Pause before each piece.")] = 0.03
    stop_after: Annotated[
        Counted | None, Meta(description="Stop after so many pieces, without an end.")
    ] = None
    whole: Annotated[bool, Meta(description="Send the whole answer too, at the end.")] = True


class Progress(Said, frozen=True):
    """News of work under way (`status_update`)."""

    status: Annotated[Name, Meta(description="One word for the state.")] = "working"
    message: Annotated[str | None, Meta(description="For a person.")] = None
    progress: Annotated[Share | None, Meta(description="How much is done, 0 to 1.")] = None
    steps: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        Meta(description="Send so many, with progress from 1/n to 1."),
    ] = None
    pace_s: Annotated[Duration, Meta(description="Pause before each of the steps.")] = 0.2


class News(Said, frozen=True):
    """A `notification`."""

    message: Annotated[str, Meta(description="For a person.")]
    title: Annotated[str | None, Meta(description="Its heading.")] = None
    type: Annotated[str, Meta(description="info, warning and so on.")] = "info"


class Sent(Said, frozen=True):
    """Any message at all."""

    type: Annotated[Name, Meta(description="Its type.")]
    payload: Annotated[dict[str, Any], Meta(description="Texts in it may have ${text}.")] = {}


class Call(Said, frozen=True):
    """Ask the client to run a tool, and wait for its result."""

    tool: Annotated[Name, Meta(description="Its name.")]
    parameters: Annotated[dict[str, Any], Meta(description="What it is given.")] = {}
    save_as: Annotated[
        Annotated[str, Meta(pattern="^[a-z_][a-z0-9_]*$")],
        Meta(description="Later steps say ${tool.status}, ${tool.output}, ${tool.result.key}."),
    ] = "tool"
    timeout_s: Annotated[Seconds, Meta(description="Wait no longer for it.")] = 30.0


class Outcome(Said, frozen=True):
    """Answer a client's `tool_call`."""

    status: Annotated[Name, Meta(description="completed or failed.")] = "completed"
    result: Annotated[Any, Meta(description="What the tool gave.")] = None
    output: Annotated[str | None, Meta(description="What it printed.")] = None


class Goodbye(Said, frozen=True):
    """Close the connection."""

    code: Annotated[CloseNumber, Meta(description="The close code.")] = 1000
    reason: Annotated[str, Meta(max_length=120, description="Its text.")] = ""


class Complaint(Said, frozen=True):
    """Refuse a message (`connection_error`)."""

    code: Annotated[Status, Meta(description="As HTTP counts.")] = 500
    error: Annotated[Name, Meta(description="A stable word.")] = "internal"
    message: Annotated[str, Meta(description="For a person.")] = "The scenario says so."


class Refusal(Said, frozen=True):
    """Refuse a login or a connection with an HTTP answer."""

    status: Annotated[Status, Meta(description="The HTTP status.")] = 503
    error: Annotated[Name, Meta(description="A stable word.")] = "unavailable"
    message: Annotated[str, Meta(description="For a person.")] = "The scenario says so."
    retry_after_s: Annotated[Counted | None, Meta(description="As Retry-After.")] = None


class Step(Said, frozen=True):
    """One thing to do. Exactly one of these words."""

    reply: Annotated[Content | Reply | None, Meta(description="Answer in one piece.")] = None
    stream: Annotated[Content | Stream | None, Meta(description="Answer in pieces.")] = None
    status: Annotated[Name | Progress | None, Meta(description="Tell of work under way.")] = None
    notify: Annotated[Name | News | None, Meta(description="Send a notification.")] = None
    send: Annotated[Sent | None, Meta(description="Send any message.")] = None
    tool_call: Annotated[
        Name | Call | None, Meta(description="Have the client run a tool; wait for its result.")
    ] = None
    tool_result: Annotated[Outcome | None, Meta(description="Answer the tool_call that came.")] = (
        None
    )
    error: Annotated[
        Status | Complaint | None, Meta(description="Refuse the message (connection_error).")
    ] = None
    malformed: Annotated[Spoiled | None, Meta(description="Send something broken.")] = None
    delay_s: Annotated[Duration | None, Meta(description="Wait.")] = None
    close: Annotated[CloseNumber | Goodbye | None, Meta(description="Close the connection.")] = None
    refuse: Annotated[Status | Refusal | None, Meta(description="Answer with an HTTP error.")] = (
        None
    )
    redirect: Annotated[Name | None, Meta(description="Send the client to this URL (307).")] = None
    token_lifetime_s: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="The tokens of this login last so long."),
    ] = None


class Match(Said, frozen=True):
    """What a rule is for: all that is said here must hold."""

    type: Annotated[Name | None, Meta(description="The message's type; * and ? are wild.")] = None
    text: Annotated[
        Name | None, Meta(description="The text contains this; upper or lower case is the same.")
    ] = None
    regex: Annotated[Name | None, Meta(description="The text matches this somewhere.")] = None
    session: Annotated[Name | None, Meta(description="The session's id; * and ? are wild.")] = None
    user: Annotated[Name | None, Meta(description="The user's name; * and ? are wild.")] = None
    per: Annotated[Scope, Meta(description="For what nth, every and after count.")] = "gateway"
    nth: Annotated[Counted | None, Meta(description="Only the nth time.")] = None
    every: Annotated[Counted | None, Meta(description="Every nth time.")] = None
    after: Annotated[Counted | None, Meta(description="Only after so many times.")] = None
    where: Annotated[
        Name | None,
        Meta(
            description="A CEL condition on id, type, payload, metadata, session, user, text, nth."
        ),
    ] = None
    probability: Annotated[Share | None, Meta(description="Only so often, 0 to 1.")] = None


class Rule(Said, frozen=True):
    """What happens, when."""

    steps: Annotated[list[Word | Step], Meta(min_length=1, description="What to do, in order.")]
    name: Annotated[str | None, Meta(description="Shown in the log.")] = None
    when: Annotated[
        When,
        Meta(
            description="login; connect: a socket is asked for; open: it was greeted; message: a "
            "client's message came; sending: one is about to leave."
        ),
    ] = "message"
    match: Match = Match()


class Scenario(Said, frozen=True):
    """A whole file. Of the rules for one event the first that matches is it."""

    rules: Annotated[list[Rule], Meta(description="Looked through from the first on.")]
    description: Annotated[str | None, Meta(description="What it is for.")] = None
    seed: Annotated[
        int | None, Meta(description="The same seed makes the same choices; without, any.")
    ] = None


_TALKING = frozenset(
    {"reply", "stream", "status", "notify", "send", "tool_call", "error", "malformed", "delay_s",
     "close", "rate_limit", "abort", "silent", "never_pong", "new_session"}
)  # fmt: skip

# Which words may stand in the steps of which rules.
STEPS: Mapping[When, frozenset[str]] = MappingProxyType(
    {
        "login": frozenset({"pass", "delay_s", "refuse", "redirect", "token_lifetime_s", "abort"}),
        "connect": frozenset({"pass", "delay_s", "refuse", "redirect", "forget_session", "abort"}),
        "open": _TALKING | {"pass"},
        "message": _TALKING | {"pass", "drop", "duplicate", "reorder", "tool_result"},
        "sending": frozenset(
            {"pass", "drop", "duplicate", "reorder", "malformed", "delay_s", "close", "abort",
             "silent", "never_pong"}
        ),
    }
)  # fmt: skip
MATCHES: Mapping[When, frozenset[str]] = MappingProxyType(
    {
        "login": frozenset({"user", "nth", "every", "after", "where", "probability", "per"}),
        "connect": frozenset(
            {"user", "session", "nth", "every", "after", "where", "probability", "per"}
        ),
        "open": frozenset(
            {"user", "session", "nth", "every", "after", "where", "probability", "per"}
        ),
        "message": frozenset(Match.__struct_fields__),
        "sending": frozenset(Match.__struct_fields__),
    }
)
# Nothing can follow these.
LAST_WORDS = frozenset({"close", "abort", "refuse", "redirect"})
WORDS: tuple[str, ...] = (*Step.__struct_fields__, *get_args(Word))


def word_of(step: Word | Step) -> str:
    """The word a step is called by."""
    if isinstance(step, str):
        return step
    return next(name for name in Step.__struct_fields__ if getattr(step, name) is not None)


def argument_of(step: Word | Step) -> Any:
    """What is said about it; None for a bare word."""
    return None if isinstance(step, str) else getattr(step, word_of(step))
