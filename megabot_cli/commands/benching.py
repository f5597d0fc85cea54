"""The work of `megabot bench`: load the path, show how it went."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from megabot_cli.errors import PartlyFailed, WrongUsage
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.client.connection import MegaBotClient
    from megabot_cli.client.measuring import Figures
    from megabot_cli.commands.invocation import Invocation

_PERCENTILES: Final = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "max": 1.0}
_BAR_COLUMNS: Final = 40
_STEPS: Final = 10


@dataclass(frozen=True)
class Bench:
    """What to measure with."""

    clients: int
    seconds: float
    per_s: float
    message: str
    listeners: int
    direct: bool
    agreed: bool


async def measure(invocation: Invocation, wanted: Bench) -> None:
    """Show the figures, also those of a run that was interrupted. PartlyFailed when some of
    the messages got no answer."""
    import asyncio

    from megabot_cli.client.measuring import Load, Measurement
    from megabot_cli.commands.upstream import open_client
    from megabot_cli.terminal.progress import Progress

    path = _path(invocation, wanted)
    invocation.console.note(f"{counted(wanted.clients, 'client')} for {wanted.seconds:g} s, {path}")

    def new_client(session: str | None) -> AbstractAsyncContextManager[MegaBotClient]:
        return open_client(
            invocation, session=session, direct=wanted.direct, messages_per_second=0.0, queue=0
        )

    load = Load(wanted.clients, wanted.seconds, wanted.per_s, wanted.message, wanted.listeners)
    with Progress(invocation.console, "bench") as bar:

        def show(figures: Figures) -> None:
            failed = sum(figures.failed.values())
            bar.reach(len(figures.total_ms), f"{failed} failed" if failed else "")

        running = Measurement(load, new_client, show)
        try:
            await running.run()
        except asyncio.CancelledError:
            if not running.figures.total_ms:
                raise
            bar.__exit__(None, None, None)
            invocation.console.note("interrupted; this is what there is")
            _show(invocation, wanted, path, running.figures)
            raise
    _show(invocation, wanted, path, running.figures)
    if failed := sum(running.figures.failed.values()):
        whole = failed + len(running.figures.total_ms)
        codes = ", ".join(sorted(running.figures.failed))
        hint = "--rate asks for less." if "rate_limited" in running.figures.failed else None
        raise PartlyFailed(f"{failed} of {whole} got no answer: {codes}", hint)


def be_sure(invocation: Invocation, wanted: Bench) -> None:
    """Ask before somebody else's machine is loaded. WrongUsage where nobody can be asked.

    Outside the loop: there Ctrl-C would end the question only when it is answered.
    """
    from urllib.parse import urlsplit

    from megabot_cli.config.listen import is_loopback

    if invocation.configuration.profile.dialect == "flat":
        raise WrongUsage("bench does not speak the flat dialect", "`megabot doctor` does.")
    url = invocation.configuration.profile.url
    if wanted.agreed or url.startswith("unix:") or is_loopback(urlsplit(url).hostname or ""):
        return
    if not invocation.may_ask:
        raise WrongUsage(f"This loads {url}, which is not on this machine", "Say --yes to do so.")
    from megabot_cli.terminal.stdin import ask

    if ask(f"This loads {url}. Go on? [y/N] ").lower() not in ("y", "yes"):
        raise WrongUsage("Nothing was measured", "--yes does not ask.")


def _path(invocation: Invocation, wanted: Bench) -> str:
    relay = None if wanted.direct else invocation.running_relay()
    if relay is not None:
        return f"through the relay {relay.url}"
    return f"straight to {invocation.configuration.profile.url}"


def _facts(wanted: Bench, path: str, figures: Figures) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "path": path,
        "clients": wanted.clients,
        "seconds": round(figures.seconds, 3),
        "answers": len(figures.total_ms),
        "answers_per_s": _rate(len(figures.total_ms), figures.seconds),
        "messages_per_s": _rate(figures.messages, figures.seconds),
        "failed": dict(figures.failed),
        "connect_ms": _percentiles(figures.connect_ms),
        "first_chunk_ms": _percentiles(figures.first_ms),
        "total_ms": _percentiles(figures.total_ms),
    }
    if figures.listeners:
        facts["fan_out"] = {
            "listeners": figures.listeners,
            "messages": figures.delivered,
            "spread_ms": _percentiles(figures.spread_ms),
        }
    return facts


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


def _percentiles(values: list[float]) -> dict[str, float]:
    from megabot_cli.replay.spread import percentile

    ordered = sorted(values)
    return {name: round(percentile(ordered, share), 3) for name, share in _PERCENTILES.items()}


def _show(invocation: Invocation, wanted: Bench, path: str, figures: Figures) -> None:
    console, facts = invocation.console, _facts(wanted, path, figures)
    if invocation.output == "json":
        console.json(facts)
        return
    console.line(f"path         {path}")
    console.line(
        f"answers      {facts['answers']} in {figures.seconds:.1f} s, "
        f"{facts['answers_per_s']:g}/s ({facts['messages_per_s']:g} messages/s)"
    )
    for name, key in (("connect", "connect_ms"), ("first chunk", "first_chunk_ms"),
                      ("whole answer", "total_ms")):  # fmt: skip
        console.line(f"{name:<13}{_in_words(facts[key])}")
    if figures.listeners:
        fan_out = facts["fan_out"]
        console.line(
            f"fan-out      {counted(fan_out['messages'], 'message')} to "
            f"{counted(fan_out['listeners'], 'listener')}; "
            f"after the first: {_in_words(fan_out['spread_ms'])}"
        )
    for code, count in figures.failed.items():
        console.line(f"failed       {count} {code}")
    if console.width is not None:
        _draw(invocation, figures.total_ms)


def _in_words(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f} ms" for name, value in found.items())


def _draw(invocation: Invocation, values: list[float]) -> None:
    """How the times to the whole answer are spread."""
    from megabot_cli.terminal.pictures import bar

    if not values:
        return
    console = invocation.console
    least, most = min(values), max(values)
    step = (most - least) / _STEPS or 1.0
    counts = [0] * _STEPS
    for value in values:
        counts[min(_STEPS - 1, int((value - least) / step))] += 1
    console.line()
    for number, count in enumerate(counts):
        bound = f"{least + step * (number + 1):.1f} ms"
        drawn = console.paint(bar(count, max(counts), _BAR_COLUMNS), "cyan")
        console.line(f"{bound:>12}  {count:>7}  {drawn}")
