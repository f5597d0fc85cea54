"""What there is at the addresses of the relay, for who looks there with a browser or curl."""

from __future__ import annotations

from typing import Final

from megabot_cli.listening.answers import Pages

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
