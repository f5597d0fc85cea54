"""The sources that `tail` is given, by name, and what is done with them."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from megabot_cli.commands.tail_screen import AllShown
from megabot_cli.commands.tailing import Source, Tail, follow, show_past
from megabot_cli.errors import NotFound, WrongUsage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.commands.tail_screen import Screen
    from megabot_cli.recording.layout import Layout
    from megabot_cli.recording.selection import Selection

SHOWN_WITHOUT_FOLLOWING: Final = 10  # as many as tail(1)


@dataclass(frozen=True)
class Wishes:
    """What `tail` was asked for, beside what to choose."""

    lines: int | None
    since_s: float | None
    follow: bool
    assemble: bool
    events: bool
    layout: Layout | None
    stats: bool
    stats_every_s: float
    fail_on: str | None
    record: Path | None
    direct: bool


def show(invocation: Invocation, names: Sequence[str], wanted: Selection, wishes: Wishes) -> None:
    """Show the past of each source, as far as that is wanted, then what is live."""
    import msgspec

    from megabot_cli.commands.running import run

    sources = _sources(invocation, names, wishes)
    if not wishes.follow and (pastless := [s.name for s in sources if s.kind == "upstream"]):
        raise WrongUsage(
            f"--no-follow shows what is past, and {pastless[0]} has no history",
            "Leave one of them out, or name a recording.",
        )
    if wishes.record is not None and not any(_comes_live(each, wishes) for each in sources):
        raise WrongUsage(
            "--record keeps what comes live, and nothing of this does",
            "`recordings cut` makes a recording of a part of another.",
        )
    wanted, events = _settled(wanted, wishes)
    screen = _screen(invocation, wanted, wishes, events=events, named=len(sources) > 1)
    wanted = msgspec.structs.replace(wanted, limit=None)  # the screen counts, for all of them
    tails = [Tail(source, wanted, screen) for source in sources]
    count = _count(wanted, wishes, tails)
    try:
        with suppress(AllShown):
            if count != 0:
                show_past(tails, count)
            live = [tail for tail in tails if _comes_live(tail.source, wishes)]
            if live:
                run(follow(live))
            elif count != 0 and not any(tail.found for tail in tails):
                invocation.console.note("nothing was found that is wanted")
    finally:
        screen.end()


def _comes_live(source: Source, wishes: Wishes) -> bool:
    """Whether more is to be read of it; stdin has no past, and an end of its own."""
    return source.is_live and (wishes.follow or source.kind == "stdin")


def _settled(wanted: Selection, wishes: Wishes) -> tuple[Selection, bool]:
    """The choice with `--since` in it; and whether more than messages is shown."""
    import msgspec

    from megabot_cli.recording.bounds import Place

    if wishes.since_s is not None:
        begin = Place("wall", round((time.time() - wishes.since_s) * 1e6))
        wanted = msgspec.structs.replace(wanted, begin=begin)
    events = wishes.events or wanted.asks_for_events
    return wanted if events else wanted.of_messages(), events


def _count(wanted: Selection, wishes: Wishes, tails: Sequence[Tail]) -> int | None:
    """How many of the past of each source are shown; None is all that are wanted."""
    if wishes.lines is not None:
        return wishes.lines
    if wanted.begin is not None or all(tail.source.kind == "recording" for tail in tails):
        return None
    if any(tail.source.kind == "recording" for tail in tails):
        return None
    return 0 if wishes.follow else SHOWN_WITHOUT_FOLLOWING


def _screen(
    invocation: Invocation, wanted: Selection, wishes: Wishes, *, events: bool, named: bool
) -> Screen:
    from megabot_cli.commands.kept_messages import open_recorder
    from megabot_cli.commands.selection_words import condition
    from megabot_cli.commands.tail_screen import Quota, Screen
    from megabot_cli.recording.statistics import Statistics
    from megabot_cli.terminal.record_printer import RecordPrinter

    form: Any = invocation.output
    printer = RecordPrinter(
        invocation.console,
        form,
        events=events,
        assemble=wishes.assemble,
        cuts_answers=wanted.may_cut_answers,
        layout=wishes.layout,
        chosen_as_shown=True,
    )
    return Screen(
        invocation.console,
        printer,
        named=named,
        events=events,
        quota=Quota(wanted.limit, wanted.around) if wanted.limit is not None else None,
        fail_on=condition(wishes.fail_on, "--fail-on") if wishes.fail_on is not None else None,
        kept=open_recorder(invocation, wishes.record, "tail")
        if wishes.record is not None
        else None,
        counted=Statistics() if wishes.stats else None,
        every_s=wishes.stats_every_s,
    )


# Which sources those are


def _sources(invocation: Invocation, names: Sequence[str], wishes: Wishes) -> list[Source]:
    if not names:
        return [_default(invocation, wishes)]
    if wishes.direct:
        raise WrongUsage("--direct goes without sources", "Name `upstream` instead.")
    if len(set(names)) < len(names):
        raise WrongUsage("A source is named twice", "Name each once.")
    return _told_apart([_source(invocation, name) for name in names])


def _told_apart(sources: list[Source]) -> list[Source]:
    """Recordings whose names are the same are called by as much of their paths as differs."""
    paths = [source.path.resolve() for source in sources if source.kind == "recording"
             and source.path is not None]  # fmt: skip
    if len(set(paths)) < len(paths):
        raise WrongUsage("A source is named twice", "Name each once.")
    named = Counter(source.name for source in sources)
    return [
        replace(source, name=_end_of(source.path.resolve(), paths))
        if source.kind == "recording" and source.path is not None and named[source.name] > 1
        else source
        for source in sources
    ]


def _end_of(path: Path, paths: Sequence[Path]) -> str:
    """The shortest end of `path` that no other of them has."""
    others = [other.parts for other in paths if other != path]
    for length in range(2, len(path.parts)):
        end = path.parts[-length:]
        if all(other[-length:] != end for other in others):
            return "/".join(end)
    return str(path)


def _default(invocation: Invocation, wishes: Wishes) -> Source:
    """The relay where one runs, else the upstream; without following, the newest recording."""
    if wishes.direct:
        if wishes.lines or wishes.since_s is not None or not wishes.follow:
            raise WrongUsage(
                "--direct has no history", "-n, --from and --no-follow read the relay's recording."
            )
        return Source("upstream", "upstream", invocation)
    relay = invocation.running_relay()
    if relay is not None:
        path = Path(relay.recording) if relay.recording is not None else None
        if path is not None or wishes.follow:
            return Source("relay", "relay", invocation, path, relay)
    if wishes.follow:
        return Source("upstream", "upstream", invocation)
    from megabot_cli.storage.recordings_list import find_recording

    newest = find_recording(invocation.recordings_folder, "last")
    invocation.console.note(f"no relay records now; this is {newest.name}")
    return Source(newest.name, "recording", invocation, newest)


def _source(invocation: Invocation, name: str) -> Source:
    if name == "-":
        return Source("stdin", "stdin", invocation)
    if name == "upstream":
        return Source(name, "upstream", invocation)
    if name == "relay":
        relay = invocation.running_relay()
        if relay is None:
            raise NotFound("No relay runs for this profile", "`megabot relay` starts one.")
        return _of_relay(name, invocation, relay)
    kind, colon, profile = name.partition(":")
    if colon and kind == "profile":
        return _of_profile(name, _as(invocation, profile))
    from megabot_cli.config.spelling import did_you_mean
    from megabot_cli.storage.recordings_list import find_recording

    try:
        path = find_recording(invocation.recordings_folder, name)
    except NotFound as fault:
        if guess := did_you_mean(name, ("relay", "upstream")):
            raise NotFound(fault.message, guess) from None
        raise
    return Source(path.name, "recording", invocation, path)


def _of_profile(name: str, invocation: Invocation) -> Source:
    relay = invocation.running_relay()
    if relay is not None:
        return _of_relay(name, invocation, relay)
    return Source(name, "upstream", invocation)


def _of_relay(name: str, invocation: Invocation, relay: Any) -> Source:
    path = Path(relay.recording) if relay.recording is not None else None
    return Source(name, "relay", invocation, path, relay)


def _as(invocation: Invocation, profile: str) -> Invocation:
    """The same command for another profile: with its address, not with that of a flag."""
    from megabot_cli.commands.invocation import Invocation

    environ = {key: value for key, value in invocation.environ.items() if key != "MEGABOT_URL"}
    other = Invocation(environ, replace(invocation.options, profile=profile, url=None))
    other.output = invocation.output
    other.console = invocation.console
    try:
        _ = other.configuration
    except NotFound as fault:  # it names a flag that nobody typed
        raise NotFound(f"There is no profile {profile!r}", fault.hint) from None
    return other
