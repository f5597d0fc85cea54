"""`python -m megabot_cli`, and the `megabot` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. `--version` alone needs none of the rest."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from megabot_cli.version import __version__

        print(f"megabot {__version__}")
        return
    from megabot_cli import app

    sys.exit(app.main())


if __name__ == "__main__":
    main()
