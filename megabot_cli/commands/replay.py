"""`megabot replay`: send a recording again, and compare what comes with what came then."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from megabot_cli.commands.invocation import Invocation
from megabot_cli.commands.recordings import RecordingName, find
from megabot_cli.commands.selection_words import selecting
from megabot_cli.commands.serving_recording import (
    ClosesOption,
    IgnoreOption,
    MatchOption,
    MissOption,
)
from megabot_cli.commands.tree import ONE_RECORDING, examples, forms, takes_no_more
from megabot_cli.commands.values import MostlyOneOf, duration, none_of, rate, times_as_fast
from megabot_cli.errors import WrongUsage

if TYPE_CHECKING:
    from megabot_cli.recording.selection import Selection
    from megabot_cli.replay.budgets import Budget

UPSTREAM = "upstream"
DRY_RUN = "dry-run"
CLIENTS = "clients"
SETTLE_S = 10.0
_PLAIN_PACES = ("original", "fast", "reply", "step")
_PACES = (*_PLAIN_PACES, "fixed:10/s")


@forms("text", "json")
@examples(
    ("megabot replay last", "At the recorded pace, against the profile's upstream"),
    ("megabot replay last --to ws://127.0.0.1:3000/ws --pace fast --expect exact", "As a test"),
    ("megabot replay rec_1m8 --dry-run", "What would be sent, where, and for how long"),
    ("megabot replay last --pace reply --assert 'total_ms.p95 < 1.5 * recorded'", "Fast enough?"),
    ("megabot replay last --from 12s --with-context --pace step", "One message a key press"),
    ("megabot replay last --type connection_error --around 20", "What led to each error"),
    ("megabot replay last --runs 3 --write-ignore vary.txt", "What is new each time?"),
    ("megabot replay last --to clients --pace fast", "Be the upstream that was recorded"),
)
@takes_no_more(ONE_RECORDING)
@selecting()
def replay(
    context: typer.Context,
    recording: RecordingName,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="WHERE",
            parser=MostlyOneOf(UPSTREAM, CLIENTS, DRY_RUN),
            help="upstream, a URL, clients, or dry-run.",
        ),
    ] = UPSTREAM,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent; short for --to dry-run.")
    ] = False,
    pace: Annotated[
        str,
        typer.Option(
            "--pace",
            parser=MostlyOneOf(*_PACES),
            metavar="PACE",
            help="original, fast (as the rate limit and the upstream allow, with at most a hundred "
            "unanswered), fixed:10/s, reply (after each answer), step (a key each).",
        ),
    ] = "original",
    speed: Annotated[
        float,
        typer.Option(
            "--speed", parser=times_as_fast, metavar="X", help="Times as fast, 0.1 to 1000."
        ),
    ] = 1.0,
    max_gap: Annotated[
        float | None,
        typer.Option(
            "--max-gap", parser=duration, metavar="DURATION", help="Cut longer pauses to this."
        ),
    ] = None,
    expect: Annotated[
        Literal["exact", "shape", "none"],
        typer.Option(
            "--expect",
            help="How like the recorded answers the new ones must be; none: only count.",
        ),
    ] = "shape",
    loop: Annotated[
        int, typer.Option("--loop", metavar="N", min=0, help="Play it N times; 0: for ever.")
    ] = 1,
    runs: Annotated[
        int | None,
        typer.Option("--runs", metavar="N", min=2, help="Play it N times, and say what varies."),
    ] = None,
    write_ignore: Annotated[
        str | None,
        typer.Option("--write-ignore", metavar="FILE", help="With --runs: list what varied here."),
    ] = None,
    ignore_file: Annotated[
        str | None,
        typer.Option("--ignore-file", metavar="FILE", help="Do not compare what is listed there."),
    ] = None,
    with_context: Annotated[
        bool,
        typer.Option("--with-context", help="Send first what the chosen sessions said before."),
    ] = False,
    budgets: Annotated[
        list[str] | None,
        typer.Option(
            "--assert", metavar="BUDGET", help="Must hold: first_chunk_ms.p95 < 1.5 * recorded."
        ),
    ] = None,
    max_lateness: Annotated[
        float | None,
        typer.Option(
            "--max-lateness", parser=duration, metavar="DURATION", help="No message leaves later."
        ),
    ] = None,
    junit: Annotated[
        str | None, typer.Option("--junit", metavar="FILE", help="Write the verdicts for a CI.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control", metavar="PATH", help="Take pause, step, speed X, quit on this socket."
        ),
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
    *,
    wanted: Selection,
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
    they are not what --expect says. On a terminal space pauses, . sends one message, + and -
    change the speed, q ends it.

    Clients that only listened are there as well, from when they came until they left; at the
    paces fast and step all are there from the start. --client, --session, --link, --user and
    the bounds in time choose them too; words about messages choose those who sent them alone.

    With --allow-tools a result waits for the call that it is for, whatever the pace. Without it
    approvals of the flat dialect are held back, too. An answer that needed a result which is not
    sent is not compared. What goes out with a pseudonym in the place of a secret need only be
    answered in the same shape.

    --assert takes first_chunk_ms, total_ms and lateness_ms, each as .p50, .p95, .p99, .max or
    .mean, and the counts sent, replies, same, same_shape, different, missing and extra. Where
    no answer came, no budget for its time is kept.

    What varies between --runs is told without what is ignored. --write-ignore lists both, so
    that its file can be the one that --ignore-file names.

    To clients it is the other side that is played again: what `megabot gateway
    --from-recording` does, with that gateway's users.
    """
    import msgspec

    from megabot_cli.commands import replaying
    from megabot_cli.commands.replay_report import Stage, check_files
    from megabot_cli.commands.running import run
    from megabot_cli.commands.secrets_in_use import secrets_in_use
    from megabot_cli.config.load import Flag
    from megabot_cli.recording.selection import Selection as Words
    from megabot_cli.replay.budgets import Budget
    from megabot_cli.replay.options import ReplayOptions
    from megabot_cli.replay.varying import read_ignored

    invocation: Invocation = context.obj
    for_clients: dict[str, Any] = {
        "listen": listen,
        "match": match,
        "miss": miss,
        "closes": closes or None,
    }
    answering = {name: value for name, value in for_clients.items() if value}
    if to == CLIENTS:
        for_upstream = {
            "--expect": expect != "shape",
            "--loop": loop != 1,
            "--runs": runs,
            "--ignore-file": ignore_file,
            "--with-context": with_context,
            "--assert": budgets,
            "--max-lateness": max_lateness is not None,
            "--junit": junit,
            "--control": control,
            "--settle": settle != SETTLE_S,
            "--no-rate-limit": no_rate_limit,
            "--allow-tools": allow_tools,
            "--keep-ids": keep_ids,
            "--type and the like": wanted not in (Words(), Words(direction="to_client")),
        }
        _refuse([flag for flag, given in for_upstream.items() if given], "what is sent upstream")
        answering |= {"pace": pace, "speed": speed, "max_gap_s": max_gap}
        answering |= {"ignore": tuple(ignore)} if ignore else {}
        _serve_clients(invocation, recording, answering, dry_run=dry_run)
        return
    _refuse([f"--{name}" for name in answering], "--to clients")
    if to not in (UPSTREAM, DRY_RUN):
        invocation.configure({"profiles.*.url": Flag("--to", to)})
    if write_ignore and runs is None:
        raise WrongUsage("--write-ignore lists what varied between --runs", "Add --runs 3.")
    if runs and loop != 1:
        raise WrongUsage("--runs and --loop both say how often", "Give one of them.")
    if wanted.direction == "to_client":
        raise WrongUsage(
            "What went to clients is not sent upstream", "`--to clients` plays that side again."
        )
    limits = tuple(map(Budget, budgets or ()))
    _check_pace(pace, speed=speed, max_gap_s=max_gap, max_lateness_s=max_lateness, budgets=limits)
    ignored = [*(ignore or ()), *(read_ignored(Path(ignore_file)) if ignore_file else ())]
    _check_ignored(invocation, ignored)
    options = ReplayOptions(
        **_pace(pace),
        speed=speed,
        max_gap_s=max_gap,
        expect=expect,
        allow_tools=allow_tools,
        keep_ids=keep_ids,
        limit=wanted.limit,
        selection=msgspec.structs.replace(wanted, limit=None, direction=None),
        settle_s=settle,
        with_context=with_context,
        ignored=tuple(ignored),
        known=invocation.known_secrets if dry_run or to == DRY_RUN else secrets_in_use(invocation),
    )
    stage = Stage(
        find(invocation, recording),
        options,
        not no_rate_limit,
        rounds=loop if runs is None else runs,
        write_ignore=Path(write_ignore) if write_ignore else None,
        max_lateness_s=max_lateness,
        budgets=limits,
        control=Path(control) if control else None,
        junit=Path(junit) if junit else None,
        keyboard=recording != "-" and replaying.keyboard_is_there(invocation),
    )
    if dry_run or to == DRY_RUN:
        replaying.show_plan(invocation, stage)
        return
    replaying.check_steps(pace, stage)
    check_files(stage)
    with closing(replaying.read(invocation, stage)) as conversation:
        run(replaying.play(invocation, stage, conversation), loop="fast")


def _pace(word: str) -> dict[str, Any]:
    """What a pace comes to as options. WrongUsage for one that is none."""
    name, colon, per_s = word.partition(":")
    if name == "fixed" and colon:
        return {"pace": "fixed", "per_s": rate(per_s, "--pace")}
    if word not in _PLAIN_PACES:
        raise none_of("--pace", word, _PACES)
    return {"pace": word}


def _check_pace(
    pace: str,
    *,
    speed: float,
    max_gap_s: float | None,
    max_lateness_s: float | None,
    budgets: tuple[Budget, ...],
) -> None:
    """WrongUsage for what would do nothing at this pace, or always hold."""
    late = ["--max-lateness"] if max_lateness_s is not None else []
    late += ["--assert lateness_ms"] if any(b.figure == "lateness_ms" for b in budgets) else []
    if late and pace in ("fast", "reply", "step"):
        raise WrongUsage(
            f"At --pace {pace} no message is late, for no time is set for it: {late[0]} would "
            "always hold",
            "Paces with a time for each message are original and fixed:10/s.",
        )
    recorded = ["--speed"] if speed != 1 else []
    recorded += ["--max-gap"] if max_gap_s is not None else []
    if recorded and pace.partition(":")[0] in ("fast", "fixed"):
        raise WrongUsage(
            f"{recorded[0]} is about the recorded times, and --pace {pace} asks for none of them",
            "fixed:20/s is twice as fast as fixed:10/s." if pace != "fast" else None,
        )


def _check_ignored(invocation: Invocation, paths: list[str]) -> None:
    """WrongUsage for what is no path, before anything is sent; warns of one that leads nowhere."""
    from megabot_cli.recording.likeness import names_of

    for path in paths:
        if names_of(path)[0] not in ("payload", "*"):
            what = f"--ignore {path} leaves out nothing: what is compared is under payload"
            invocation.console.warn(what)


def _refuse(flags: list[str], about: str) -> None:
    if flags:
        raise WrongUsage(f"{flags[0]} is about {about}", "`megabot replay --help` lists the flags.")


def _serve_clients(
    invocation: Invocation, recording: str, given: dict[str, Any], *, dry_run: bool
) -> None:
    from megabot_cli.commands import replaying
    from megabot_cli.commands.gateway import GatewayOptions, serve
    from megabot_cli.commands.running import run
    from megabot_cli.commands.serving_recording import AnsweringOptions, open_answering
    from megabot_cli.config.load import Flag

    listen = given.pop("listen", None)
    flag = Flag("--listen", listen) if listen else None
    configuration = invocation.configure({"gateway.listen": flag})
    answering = open_answering(invocation, AnsweringOptions(recording, **given))
    if dry_run:
        replaying.show_answering(invocation, answering, configuration.settings.gateway.listen)
        return
    options = GatewayOptions(recording=answering)
    run(serve(invocation, configuration, options), loop="fast")
