"""What one may type in `chat` that is not said to MegaBot: `/help` and its like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from megabot_cli.errors import NotFound, WrongUsage
from megabot_cli.wording import counted

if TYPE_CHECKING:
    from megabot_cli.commands.chatting import Partner
    from megabot_cli.terminal.console import Console

HELP = (
    ("/help", "these lines"),
    ("/session", "which session this is"),
    ("/session ID", "go on in another one; `new` begins a new one"),
    ("/save FILE", "write what was said to a file, as Markdown"),
    ("/json", "the messages that the last answer came in"),
    ("/quit", "leave (so does Ctrl-D)"),
    ("//…", "say something that begins with a /"),
)


@dataclass
class Talk:
    """What was said so far: pairs of question and answer, and the newest answer's messages."""

    turns: list[tuple[str, str]] = field(default_factory=list)
    messages: Sequence[str] = ()
    saved: set[Path] = field(default_factory=set)
    over: bool = False


async def obey(text: str, console: Console, partner: Partner, talk: Talk) -> None:
    """Do what `text`, which begins with a slash, asks for. WrongUsage for what is none of them."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    match word:
        case "/help":
            for name, meaning in HELP:
                console.error_line(f"  {name:<14}{meaning}")
        case "/session":
            await _session(rest, console, partner)
        case "/save":
            _save(rest, console, talk)
        case "/json":
            _show_messages(console, talk)
        case "/quit" | "/exit":
            talk.over = True
        case _:
            raise _unknown(word)


async def _session(wanted: str, console: Console, partner: Partner) -> None:
    if wanted:
        await partner.go_on_in(None if wanted == "new" else wanted)
    console.error_line(f"  session {partner.session}" if partner.session else "  no session")


def _save(name: str, console: Console, talk: Talk) -> None:
    """Write the transcript, again where this talk is saved already; other files are left alone."""
    if not name:
        raise WrongUsage("/save wants a file name", "Type /save talk.md.")
    if not talk.turns:
        raise NotFound("Nothing has been said yet")
    path = Path(name).expanduser().absolute()
    try:
        with path.open("w" if path in talk.saved else "x", encoding="utf-8") as file:
            for said, answer in talk.turns:
                quoted = "".join(f"> {line}\n" for line in said.splitlines())
                file.write(f"{quoted}\n{answer.rstrip()}\n\n")
    except FileExistsError:
        raise WrongUsage(f"{path} is there already", "Name another file.") from None
    except OSError as fault:
        raise NotFound(
            f"Cannot write {path}: {fault.strerror}", "Name another: /save FILE."
        ) from None
    talk.saved.add(path)
    console.error_line(f"  {counted(len(talk.turns), 'question')} with what was answered: {path}")


def _show_messages(console: Console, talk: Talk) -> None:
    from megabot_cli.terminal.text import safe_json

    if not talk.messages:
        raise NotFound("Nothing has been answered yet")
    for message in talk.messages:
        console.line(safe_json(message))


def _unknown(word: str) -> WrongUsage:
    from difflib import get_close_matches

    names = [name for name, _ in HELP if " " not in name and not name.startswith("//")]
    near = get_close_matches(word, names, n=1)
    return WrongUsage(
        f"There is no {word}",
        f"Did you mean {near[0]}?" if near else "/help shows what there is; // says it.",
    )
