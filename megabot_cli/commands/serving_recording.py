"""What `gateway --from-recording` and `replay --to clients` share: a recording that answers."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from megabot_cli.commands.recordings import find
from megabot_cli.commands.recordings_output import more_secrets
from megabot_cli.commands.values import none_of, rate
from megabot_cli.errors import WrongUsage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.gateway.recorded_answers import RecordedAnswers, Tally
    from megabot_cli.gateway.server import Gateway
    from megabot_cli.recording.likeness import Likeness
    from megabot_cli.recording.pace import Pacing
    from megabot_cli.storage.served_recording import ServedRecording

MatchWord = Literal["exact", "payload", "text", "type"]
MissWord = Literal["error", "close", "echo", "forward"]

MatchOption = Annotated[
    MatchWord | None,
    typer.Option("--match", help="What makes a request a recorded one; payload if not given."),
]
IgnoreOption = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="PATH", help="Do not compare this, as payload.options.seed."),
]
MissOption = Annotated[
    MissWord | None,
    typer.Option("--miss", help="What a request gets that was not recorded; error if not given."),
]
ClosesOption = Annotated[
    bool, typer.Option("--closes", help="Hang up where the upstream hung up, with its code.")
]


@dataclass(frozen=True)
class AnsweringOptions:
    """How a recording answers, as it was typed."""

    recording: str
    match: MatchWord = "payload"
    ignore: tuple[str, ...] = ()
    miss: MissWord = "error"
    closes: bool = False
    pace: str = "original"
    speed: float = 1.0
    max_gap_s: float | None = None

    def pacing(self) -> Pacing:
        """WrongUsage for a pace that is none."""
        from megabot_cli.recording.pace import Pacing

        pace, colon, per_s = self.pace.partition(":")
        more: dict[str, Any] = {"speed": self.speed, "max_gap_s": self.max_gap_s}
        if pace == "fixed" and colon:
            return Pacing(pace="fixed", per_s=rate(per_s, "--pace"), **more)
        if self.pace == "original":
            return Pacing(pace="original", **more)
        if self.pace == "fast":
            return Pacing(pace="fast", **more)
        raise none_of("--pace", self.pace, ("original", "fast", "fixed:10/s"))


@dataclass(frozen=True)
class OpenRecording:
    """A recording that was read, and how it answers."""

    options: AnsweringOptions
    pacing: Pacing
    likeness: Likeness
    served: ServedRecording


def open_answering(invocation: Invocation, options: AnsweringOptions) -> OpenRecording:
    """Read the recording, before anything is served: a signal may still end that at once.

    Says what was found. WrongUsage, NotFound and BadData as they are.
    """
    from megabot_cli.recording.likeness import Likeness
    from megabot_cli.storage.served_recording import open_exchanges
    from megabot_cli.terminal.text import safe_line

    pacing = options.pacing()
    likeness = Likeness(options.match, options.ignore)
    served = open_exchanges(find(invocation, options.recording), likeness, more_secrets(invocation))
    for warning in served.warnings:
        invocation.console.warn(safe_line(warning))
    if not served.clean and not served.warnings:
        invocation.console.warn("the recording is unclean: it breaks off before its end")
    exchanges = served.exchanges
    requests = sum(len(numbers) for numbers in exchanges.alike.values())
    invocation.console.note(
        f"Answering from a recording: requests {requests}, sessions {len(exchanges.lanes)}."
    )
    return OpenRecording(options, pacing, likeness, served)


@asynccontextmanager
async def recorded_answers(
    invocation: Invocation, recording: OpenRecording
) -> AsyncIterator[RecordedAnswers]:
    """Answer from a recording; says in the end what was served."""
    from megabot_cli.commands.upstream import open_http
    from megabot_cli.gateway.recorded_answers import RecordedAnswers

    options = recording.options
    async with AsyncExitStack() as cleanup:
        cleanup.callback(recording.served.payloads.close)
        new_upstream = None
        if options.miss == "forward":
            http = await cleanup.enter_async_context(open_http(invocation))
            new_upstream = partial(_upstream, invocation, http)
        answers = RecordedAnswers(
            recording.served,
            recording.likeness,
            pacing=recording.pacing,
            miss=options.miss,
            closes=options.closes,
            new_upstream=new_upstream,
        )
        yield answers
        invocation.console.note(summary(answers.tally))


def summary(tally: Tally) -> str:
    return f"Served: matched {tally.matched}, missed {tally.missed}, clients {tally.clients}."


def check_upstream(invocation: Invocation, gateway: Gateway) -> None:
    """WrongUsage where what is forwarded would come back to us."""
    from urllib.parse import urlsplit

    from megabot_cli.config.listen import is_loopback

    url = urlsplit(invocation.configuration.profile.url)
    host = (url.hostname or "").rstrip(".")
    if url.port == gateway.port and (is_loopback(host) or host == gateway.host):
        raise WrongUsage(
            f"--miss forward asks {url.geturl()}, which is this gateway itself",
            "Choose another upstream with --url, or another address with --listen.",
        )


def _upstream(
    invocation: Invocation, http: aiohttp.ClientSession, session_id: str | None
) -> MegaBotClient:
    """A connection to the profile's upstream, not open yet, to go on in this session."""
    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.commands.upstream import ssl_for, token_source

    profile = invocation.configuration.profile
    return MegaBotClient(
        profile.url,
        tokens=token_source(invocation, http),
        http=http,
        session_id=session_id,
        platform=profile.platform,
        send_in=profile.auth.send_in,
        ssl=ssl_for(profile),
        reconnect=None,
        validate=False,
        messages_per_second=0,
    )
