"""`megabot replay`: send a recording again, and compare what comes with what came then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.recordings import RecordingName, find
from megabot_cli.commands.selection_words import (
    ClientWord,
    GrepWord,
    SessionWord,
    TypeWord,
    selection,
)
from megabot_cli.commands.serving_recording import (
    ClosesOption,
    IgnoreOption,
    MatchOption,
    MissOption,
)
from megabot_cli.commands.tree import examples, forms
from megabot_cli.commands.values import MostlyOneOf, duration
from megabot_cli.errors import ExpectationFailed, NotAuthenticated, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.replay.options import ReplayOptions
    from megabot_cli.replay.player import Progress as Step
    from megabot_cli.replay.report import ReplayReport

UPSTREAM = "upstream"
DRY_RUN = "dry-run"
CLIENTS = "clients"
SETTLE_S = 10.0


@dataclass(frozen=True)
class Stage:
    """What is replayed, and how its clients are made."""

    source: Path | str
    options: ReplayOptions
    rate_limited: bool


@forms("text", "json")
@examples(
    ("megabot replay last", "At the recorded pace, against the profile's upstream"),
    ("megabot replay last --to ws://127.0.0.1:3000/ws --pace fast --expect exact", "As a test"),
    ("megabot replay rec_1m8 --dry-run", "What would be sent, where, and for how long"),
    ("megabot replay last --to clients --pace fast", "Be the upstream that was recorded"),
)
def replay(
    context: typer.Context,
    recording: RecordingName,
    to: Annotated[
        str, typer.Option("--to", metavar="WHERE", help="upstream, a URL, clients, or dry-run.")
    ] = UPSTREAM,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent; short for --to dry-run.")
    ] = False,
    pace: Annotated[
        str,
        typer.Option(
            "--pace",
            parser=MostlyOneOf("original", "fast"),
            metavar="PACE",
            help="original, fast (as the rate limit allows); to clients also fixed:N/s.",
        ),
    ] = "original",
    speed: Annotated[
        float, typer.Option("--speed", metavar="X", min=0.1, max=1000, help="Times as fast.")
    ] = 1.0,
    max_gap: Annotated[
        float | None,
        typer.Option(
            "--max-gap", parser=duration, metavar="DURATION", help="Cut longer pauses to this."
        ),
    ] = None,
    expect: Annotated[
        Literal["exact", "shape", "none"],
        typer.Option("--expect", help="How like the recorded answers the new ones must be."),
    ] = "shape",
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Send the first N only.")
    ] = None,
    settle: Annotated[
        float,
        typer.Option(
            "--settle", parser=duration, metavar="DURATION", help="Wait so long for a late answer."
        ),
    ] = SETTLE_S,
    no_rate_limit: Annotated[
        bool, typer.Option("--no-rate-limit", help="Send as fast as the upstream takes it.")
    ] = False,
    allow_tools: Annotated[
        bool, typer.Option("--allow-tools", help="Send tool calls and results too.")
    ] = False,
    keep_ids: Annotated[
        bool, typer.Option("--keep-ids", help="Send the recorded ids instead of fresh ones.")
    ] = False,
    types: TypeWord = None,
    session: SessionWord = None,
    client: ClientWord = None,
    grep: GrepWord = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="HOST:PORT", help="To clients: where they come to."),
    ] = None,
    match: MatchOption = None,
    ignore: IgnoreOption = None,
    miss: MissOption = None,
    closes: ClosesOption = False,
) -> None:
    """Send a recording again and compare.

    Recorded clients keep their concurrency and their order; ids are made anew and today's
    credential is used. The answers are compared with the recorded ones: ends with 13 when
    they are not what --expect says.

    To clients it is the other side that is played again: what `megabot gateway
    --from-recording` does, with that gateway's users.
    """
    from megabot_cli.commands.running import run
    from megabot_cli.config.load import Flag
    from megabot_cli.replay.options import ReplayOptions

    invocation: Invocation = context.obj
    for_clients: dict[str, Any] = {
        "listen": listen,
        "match": match,
        "ignore": tuple(ignore) if ignore else None,
        "miss": miss,
        "closes": closes or None,
    }
    answering = {name: value for name, value in for_clients.items() if value}
    if to == CLIENTS and not dry_run:
        for_upstream = {
            "--expect": expect != "shape",
            "--limit": limit is not None,
            "--settle": settle != SETTLE_S,
            "--no-rate-limit": no_rate_limit,
            "--allow-tools": allow_tools,
            "--keep-ids": keep_ids,
            "--type": types,
            "--session": session,
            "--client": client,
            "--grep": grep,
        }
        _refuse([flag for flag, given in for_upstream.items() if given], "what is sent upstream")
        answering |= {"pace": pace, "speed": speed, "max_gap_s": max_gap}
        _serve_clients(invocation, recording, answering)
        return
    _refuse([f"--{name}" for name in answering], "--to clients")
    if pace not in ("original", "fast"):
        raise WrongUsage(
            f"--pace {pace!r} is none", "Write original or fast; fixed:N/s is for --to clients."
        )
    if to not in (UPSTREAM, DRY_RUN):
        invocation.configure({"profiles.*.url": Flag("--to", to)})
    options = ReplayOptions(
        pace="fast" if pace == "fast" else "original",
        speed=speed,
        max_gap_s=max_gap,
        expect=expect,
        allow_tools=allow_tools,
        keep_ids=keep_ids,
        limit=limit,
        selection=selection(types, None, session, client, grep=grep),
        settle_s=settle,
    )
    stage = Stage(find(invocation, recording), options, not no_rate_limit)
    if dry_run or to == DRY_RUN:
        _show_plan(invocation, stage)
    else:
        _show_report(invocation, run(_play(invocation, stage)), expect)


def _refuse(flags: list[str], about: str) -> None:
    if flags:
        raise WrongUsage(f"{flags[0]} is about {about}", "`megabot replay --help` lists the flags.")


def _serve_clients(invocation: Invocation, recording: str, given: dict[str, Any]) -> None:
    from megabot_cli.commands.gateway import GatewayOptions, serve
    from megabot_cli.commands.running import run
    from megabot_cli.commands.serving_recording import AnsweringOptions, open_answering
    from megabot_cli.config.load import Flag

    listen = given.pop("listen", None)
    flag = Flag("--listen", listen) if listen else None
    configuration = invocation.configure({"gateway.listen": flag})
    options = GatewayOptions(
        recording=open_answering(invocation, AnsweringOptions(recording, **given))
    )
    run(serve(invocation, configuration, options), loop="fast")


def _show_plan(invocation: Invocation, stage: Stage) -> None:
    from megabot_cli.replay.plan import make_plan
    from megabot_cli.storage.segment_reader import open_recording

    with open_recording(stage.source) as reader:
        plan = make_plan(reader, stage.options)
    target = invocation.configuration.profile.url
    if invocation.output == "json":
        invocation.console.line(json.dumps({**plan.as_dict(), "to": target}, ensure_ascii=False))
        return
    _print_lines(invocation, [f"to           {target}", *plan.lines()])


async def _play(invocation: Invocation, stage: Stage) -> ReplayReport:
    from megabot_cli.commands.upstream import open_http, token_source, with_login_hint
    from megabot_cli.replay.player import play
    from megabot_cli.storage.segment_reader import open_recording
    from megabot_cli.terminal.progress import Progress

    async with open_http(invocation) as http:
        tokens = token_source(invocation, http)

        def new_client(_name: str, session: str | None) -> MegaBotClient:
            return _client(invocation, stage, session, http=http, tokens=tokens)

        with open_recording(stage.source) as reader, Progress(invocation.console, "replay") as bar:

            def show(step: Step) -> None:
                bar.reach(step.sent, _remark(step), total=step.to_send)

            try:
                return await play(reader, stage.options, new_client, on_progress=show)
            except NotAuthenticated as refusal:
                raise with_login_hint(invocation, refusal) from None


def _remark(step: Step) -> str:
    return f"{step.replies} replies, {step.outstanding} outstanding, {step.late_ms:.0f} ms late"


def _client(
    invocation: Invocation, stage: Stage, session: str | None, **more: Any
) -> MegaBotClient:
    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.commands.upstream import ssl_for

    profile = invocation.configuration.profile
    limits = invocation.configuration.settings.limits
    return MegaBotClient(
        profile.url,
        session_id=session,
        platform=profile.platform,
        send_in=profile.credential_in,
        dialect=profile.dialect,
        ssl=ssl_for(profile),
        validate=False,
        messages_per_second=limits.messages_per_second if stage.rate_limited else 0,
        burst=limits.burst,
        queue=0,
        **more,
    )


def _show_report(invocation: Invocation, report: ReplayReport, expect: str) -> None:
    if invocation.output == "json":
        invocation.console.line(json.dumps(report.as_dict(), ensure_ascii=False))
    else:
        _print_lines(invocation, report.lines())
    if not report.passed:
        wrong = report.different + report.missing + report.extra
        wrong += report.same_shape if expect == "exact" else 0
        raise ExpectationFailed(
            f"{wrong} answers are not what was recorded (--expect {expect})",
            "--expect shape or none asks for less.",
        )


def _print_lines(invocation: Invocation, lines: list[str]) -> None:
    from megabot_cli.terminal.text import safe_line

    for line in lines:
        invocation.console.line(safe_line(line))
