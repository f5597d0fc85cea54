"""What there is at the addresses of the relay, for who looks there with a browser or curl."""

from __future__ import annotations

from typing import Final

from megabot_cli.config.spelling import did_you_mean

Pages = tuple[tuple[str, str, str], ...]  # method, path, what it is

CLIENT_PAGES: Final[Pages] = (
    ("GET", "/ws", "the WebSocket that clients connect to"),
    ("GET", "/ws/{profile}", "the same, for a profile that is served beside (relay.also)"),
    ("GET", "/relay/tap", "a WebSocket of all that passes: megabot tail"),
)
ADMIN_PAGES: Final[Pages] = (
    ("GET", "/healthz", "does the process do its work"),
    ("GET", "/readyz", "can new clients be served"),
    ("GET", "/metrics", "numbers for Prometheus: man 7 megabot-metrics"),
    ("GET", "/relay/status", "megabot relay status"),
    ("GET", "/relay/clients", "megabot relay clients"),
    ("GET", "/relay/sessions", "megabot relay sessions"),
    ("POST", "/relay/close", "megabot relay close: this and what follows want the client token"),
    ("POST", "/relay/drain", "megabot relay drain"),
    ("POST", "/relay/reauth", "megabot relay reauth"),
    ("POST", "/relay/mark", "megabot relay mark"),
    ("POST", "/relay/level", "megabot relay level"),
    ("POST", "/relay/dump", "megabot relay dump"),
    ("POST", "/relay/reload", "megabot relay reload"),
)


def index_text(about: str, pages: Pages, elsewhere: str) -> str:
    """A line for each path; `elsewhere` says where the rest is."""
    widest = max(len(path) for _, path, _ in pages)
    lines = [f"{method:4} {path:{widest}}  {what}" for method, path, what in pages]
    return "\n".join([about, "", *lines, "", elsewhere, ""])


def nothing_at(path: str, pages: Pages) -> str:
    """What is said of a path that is not there."""
    meant = did_you_mean(path, [each for _, each, _ in pages])
    return f"there is nothing at {path[:100]!r}; {meant or 'GET / lists what there is'}"
