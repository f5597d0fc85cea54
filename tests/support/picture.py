"""Draw the README's picture anew: `python -m tests.support.picture`.

What stands in it was written to a terminal by real processes, just before.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pexpect
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.support.processes import bare_environment, megabot, running_processes

PICTURE = Path(__file__).parents[2] / "man" / "pictures" / "console.svg"
COLUMNS = 100
PASSWORD = "a-password-for-the-picture"
SHOWN = (
    ("send", "What is a relay?"),
    ("tool", "echo", "--param", "text=hello"),
    ("recordings", "show", "last", "--conversation", "--type", "chat_*", "--type", "tool_*"),
    ("replay", "last", "--pace", "fast", "--allow-tools"),
)
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def on_a_terminal(arguments: tuple[str, ...], env: dict[str, str]) -> str:
    """What a command writes to a terminal, colours and all."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "megabot_cli", *arguments, "--color", "always"],
        env={**env, "TERM": "xterm-256color", "PAGER": "cat"},
        encoding="utf-8",
        dimensions=(40, COLUMNS),
        timeout=30,
    )
    child.expect(pexpect.EOF)
    child.close()
    # A progress bar is gone in the end: what was drawn over does not count.
    lines = str(child.before).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\r")[2].replace("\x1b[K", "") for line in lines)


def act(folder: Path) -> str:
    """A short session, from the question to the replay."""
    with running_processes(folder) as processes:
        gateway = processes.megabot(
            "gateway", "--listen", ":0", "--username", "ann", "--password-stdin",
            "--chunk-delay", "8ms", typed=PASSWORD,
        )  # fmt: skip
        env = {**bare_environment(folder), "MEGABOT_URL": gateway.ready()["url"]}
        login = ("login", "--username", "ann", "--password-stdin", "--storage", "file")
        subprocess.run(
            megabot(*login), env=env, input=PASSWORD, text=True, check=True, capture_output=True
        )
        relay = processes.megabot("relay", "--listen", ":0", "--admin-listen", ":0", env=env)
        relay.ready()
        shown = ""
        for arguments in SHOWN:
            if arguments[0] == "replay":
                relay.stop()
            shown += f"\x1b[1;32m$\x1b[0m megabot {shlex.join(arguments)}\n"
            shown += on_a_terminal(arguments, env).rstrip() + "\n\n"
    return shown


def draw(shown: str) -> str:
    """The same as SVG, in whatever font the reader has: nothing is fetched from anywhere."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="256"
    )
    console.print(Text.from_ansi(shown.rstrip()), soft_wrap=False)
    svg = console.export_svg(title="megabot", theme=MONOKAI, unique_id="console")
    return _FONTS.sub("", svg).replace("Fira Code", "ui-monospace, Menlo, Consolas")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        shown = act(Path(folder))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(shown), encoding="utf-8")
    print(f"{PICTURE.name}: {PICTURE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
