"""What is examined: handed in whole, so that nothing here reads the environment."""

from __future__ import annotations

import ssl as tls
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from megabot_cli.client.credentials import Credential
from megabot_cli.client.tokens import TokenSource
from megabot_cli.config.load import Configuration
from megabot_cli.errors import MegabotError
from megabot_cli.storage.run_files import RunningRelay


@dataclass(frozen=True)
class Folders:
    """Where our files are on this machine; any may not exist yet."""

    config_file: Path
    credentials: Path
    run: Path
    client_token: Path
    recordings: Path


@dataclass(frozen=True)
class Upstream:
    """Whom to reach, and how. What may fail is called when its turn comes, and may raise."""

    configuration: Configuration
    stored_at: Callable[[], str | None]  # "keyring", "file PATH", "environment"; None: nowhere
    find_credential: Callable[[], Credential | None]
    token_source: Callable[[aiohttp.ClientSession, Credential], TokenSource]
    trust: Callable[[], tls.SSLContext | bool]
    relay: RunningRelay | None  # the one that listens at the profile's url, else the profile's
    client_token: str | None


@dataclass(frozen=True)
class Case:
    """One operator's situation.

    `problems` are all things wrong with the configuration, `remarks` what is merely odd. Without
    `upstream` the configuration cannot be used; without `folders` nobody knows where files are.
    """

    version: str
    folders: Folders | None = None
    upstream: Upstream | None = None
    problems: tuple[MegabotError, ...] = ()
    remarks: tuple[str, ...] = ()
    records: bool = True  # whether recordings are made
    proxies: tuple[str, ...] = ()  # names of variables that name a proxy
    keyring_is_off: bool = False  # PYTHON_KEYRING_BACKEND says that none is used
