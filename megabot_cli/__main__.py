"""`python -m megabot_cli`, and the `megabot` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. `--version` and `--help` alone need none of the rest."""
    try:
        text = _known_at_once(sys.argv[1:])
        if text is None or not _print(text):
            sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(130)


def _run() -> int:
    """The program itself. Before it is loaded and when it is done there is nothing to tidy:
    Ctrl-C ends the process at once then, where Python would show a traceback."""
    import signal

    python_hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if python_hears:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from megabot_cli import app

    if python_hears:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    code = app.main()
    if python_hears:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return code


def _known_at_once(arguments: list[str]) -> str | None:
    if arguments in (["--version"], ["-V"]):
        from megabot_cli.version import __version__

        return f"megabot {__version__}\n"
    if arguments in (["--help"], ["-h"], []):
        from megabot_cli.commands.front_page import front_page, page_width

        return front_page(page_width(_columns()))
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
