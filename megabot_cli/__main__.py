"""`python -m megabot_cli`, and the `megabot` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. `--version` and `--help` alone need none of the rest."""
    text = _known_at_once(sys.argv[1:])
    if text is None or not _print(text):
        from megabot_cli import app

        sys.exit(app.main())


def _known_at_once(arguments: list[str]) -> str | None:
    if arguments in (["--version"], ["-V"]):
        from megabot_cli.version import __version__

        return f"megabot {__version__}\n"
    if arguments in (["--help"], ["-h"], []):
        from megabot_cli.commands.front_page import front_page

        return front_page(max(50, min(_columns(), 100) - 2))
    return None


def _columns() -> int:
    """As `shutil.get_terminal_size` has it, which takes long to import."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def _print(text: str) -> bool:
    """False where stdout does not take it: the program itself has words for that."""
    if sys.stdout is None:
        return False
    try:
        os.write(1, text.encode("ascii"))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
