"""What other programs call what we have, for somebody who types it here."""

from __future__ import annotations

from typing import Final

# By the command that it was typed below. Only what a near spelling would not find, or find wrong.
MEANT: Final[dict[str, dict[str, str]]] = {
    "megabot": {
        **dict.fromkeys(("follow", "listen", "logs", "monitor", "sniff", "watch"), "megabot tail"),
        **dict.fromkeys(("auth", "signin"), "megabot login"),
        **dict.fromkeys(("ask", "message", "publish"), "megabot send"),
        **dict.fromkeys(("connect", "repl", "shell"), "megabot chat"),
        **dict.fromkeys(("check", "diagnose", "ping", "test"), "megabot doctor"),
        **dict.fromkeys(("proxy", "record", "serve", "share"), "megabot relay"),
        **dict.fromkeys(("fake", "mock", "server"), "megabot gateway"),
        **{name: f"megabot relay {name}" for name in ("clients", "sessions", "status", "top")},
        "metrics": "megabot relay top",
        "play": "megabot replay",
        "load": "megabot bench",
        **dict.fromkeys(("anonymize", "redact", "sanitize"), "megabot recordings sanitize"),
        **dict.fromkeys(("find", "grep", "search"), "megabot recordings grep"),
        **{
            name: f"megabot recordings {name}"
            for name in ("cut", "diff", "list", "merge", "prune", "show", "stats", "verify")
        },
        **dict.fromkeys(("convert", "export"), "megabot recordings convert"),
        **dict.fromkeys(("profile", "profiles"), "megabot config profiles"),
        "scenario": "megabot gateway --check-scenario",
        "settings": "megabot config show",
        "version": "megabot --version",
    },
    "relay": {
        **dict.fromkeys(("run", "serve", "start", "up"), "megabot relay"),
        **dict.fromkeys(("down", "quit", "shutdown", "stop"), "megabot relay drain"),
        **dict.fromkeys(("disconnect", "kick"), "megabot relay close"),
        **dict.fromkeys(("logs", "watch"), "megabot tail"),
        "metrics": "megabot relay top",
    },
    "gateway": dict.fromkeys(("run", "serve", "start", "up"), "megabot gateway"),
    "recordings": {
        **dict.fromkeys(("anonymize", "redact", "scrub"), "megabot recordings sanitize"),
        **dict.fromkeys(("filter", "find", "search"), "megabot recordings grep"),
        **dict.fromkeys(("clean", "delete", "remove", "rm"), "megabot recordings prune"),
        **dict.fromkeys(("export", "import"), "megabot recordings convert"),
        **dict.fromkeys(("cat", "print", "view"), "megabot recordings show"),
        **dict.fromkeys(("slice", "trim"), "megabot recordings cut"),
        **dict.fromkeys(("play", "replay"), "megabot replay"),
        "compare": "megabot recordings diff",
        "tail": "megabot tail",
    },
    "config": {
        "get": "megabot config explain",
        **dict.fromkeys(("edit", "set"), "megabot config path"),
        **dict.fromkeys(("list", "view"), "megabot config show"),
        **dict.fromkeys(("lint", "validate"), "megabot config check"),
        **dict.fromkeys(("switch", "use-context"), "megabot config use"),
        "new": "megabot config init",
    },
}


def line_for(word: str, below: str | None) -> str | None:
    """The line to type for `word`, which is no command `below` the one of this name."""
    return MEANT.get(below or "megabot", {}).get(word.lower())
