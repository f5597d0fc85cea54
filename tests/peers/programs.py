"""Where the programs are that none of us wrote, and a word when one is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

NODE_MODULES = Path(__file__).parents[2] / ".ci" / "node" / "node_modules"
HOW = "`bash .ci/peers` installs it"


def _node_package(name: str) -> str | None:
    return str(NODE_MODULES / name) if (NODE_MODULES / name / "package.json").is_file() else None


def _first(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


FOUND: dict[str, str | None] = {
    "chromium": _first("chromium", "chromium-browser", "google-chrome"),
    "curl": _first("curl"),
    "dbus-run-session": _first("dbus-run-session"),
    "gnome-keyring-daemon": _first("gnome-keyring-daemon"),
    "node": _first("node"),
    "prometheus": _first("prometheus"),
    "ws": _node_package("ws"),
    "wscat": _node_package("wscat"),
}


def needs(*names: str) -> Callable[[Any], Any]:
    """Mark a test as one of a peer, skipped with the reason when a program is missing."""
    missing = [name for name in names if FOUND[name] is None]
    reason = f"{', '.join(missing)} not found: {HOW}"

    def mark(test: Any) -> Any:
        return pytest.mark.peer(pytest.mark.skipif(bool(missing), reason=reason)(test))

    return mark


def path_of(name: str) -> str:
    path = FOUND[name]
    assert path is not None, f"{name} not found: {HOW}"
    return path


def node(script: str | Path, *arguments: str) -> list[str]:
    return [path_of("node"), str(script), *arguments]


def wscat(*arguments: str) -> list[str]:
    return node(Path(path_of("wscat")) / "bin" / "wscat", *arguments)


def node_environment() -> dict[str, str]:
    """Lets a script beside the tests `require` what `.ci/peers` installed."""
    return {"NODE_PATH": str(NODE_MODULES)}


def chromium(url: str, profile: Path, *more: str) -> Sequence[str]:
    """Headless, with nothing of its own to do on the network: it may look up no name."""
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    return [
        path_of("chromium"),
        "--headless",
        *sandbox,
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-sync",
        "--disable-domain-reliability",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1",
        f"--user-data-dir={profile}",
        *more,
        url,
    ]
