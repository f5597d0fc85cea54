"""One run of the program: what was typed before and after the command, and where it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megabot_cli.errors import BadConfiguration, NotFound, WrongUsage

if TYPE_CHECKING:
    from megabot_cli.client.credentials import CredentialStore
    from megabot_cli.commands.places import Places
    from megabot_cli.config.load import Configuration, Flag
    from megabot_cli.recording.known_secrets import KnownSecrets
    from megabot_cli.storage.run_files import RunningRelay
    from megabot_cli.terminal.console import ColorChoice, Console

# Usual forms of output, and what some commands have in the place of one.
_SAME = {"text": ("line",), "table": ("text", "line"), "json": ("jsonl",), "jsonl": ("json",)}


@dataclass
class GlobalOptions:
    """The options every command takes, before its name or after it."""

    profile: str | None = None
    url: str | None = None
    config: Path | None = None
    verbose: int = 0
    quiet: bool = False
    debug: bool = False
    log_format: str = "auto"
    color: ColorChoice = "auto"
    output: str | None = None
    no_input: bool = False

    @property
    def verbosity(self) -> int:
        return -1 if self.quiet else self.verbose

    @property
    def wants_json(self) -> bool:
        """Whether a program reads us: then errors are JSON too."""
        return self.output in ("json", "jsonl")


class Invocation:
    """What a command needs of the world, each made when it is first asked for."""

    def __init__(self, environ: Mapping[str, str], options: GlobalOptions | None = None) -> None:
        self.environ = environ
        self.options = options or GlobalOptions()
        self.output = "text"
        self._flags: dict[str, Flag] = {}

    @cached_property
    def console(self) -> Console:
        from megabot_cli.terminal.console import open_console

        return open_console(
            self.environ, color=self.options.color, verbosity=self.options.verbosity
        )

    @cached_property
    def places(self) -> Places:
        from megabot_cli.commands.places import find_places

        return find_places(self.environ, self.options.config)

    @cached_property
    def known_secrets(self) -> KnownSecrets:
        """What this run has told of its secrets; `secrets_in_use` finds the others."""
        from megabot_cli.recording.known_secrets import KnownSecrets

        return KnownSecrets()

    @cached_property
    def configuration(self) -> Configuration:
        return self.configure({})

    def configure(self, flags: Mapping[str, Flag | None]) -> Configuration:
        """Put flags of the command on top of all before, and return the settings now in force.

        A flag that was not given is None. `flags` is keyed by setting: `relay.listen`.
        """
        from megabot_cli.config.load import Flag

        if self.options.url is not None:
            self._flags.setdefault("profiles.*.url", Flag("--url", self.options.url))
        self._flags |= {name: flag for name, flag in flags.items() if flag is not None}
        self.configuration = self._load(self.options.profile)
        if self.configuration.url_is_for_this_run:
            self._check_url()
        return self.configuration

    def _check_url(self) -> None:
        from megabot_cli.client.endpoint import parse_endpoint

        with self.blaming_flags("profiles", self.configuration.profile_name, "url"):
            parse_endpoint(self.configuration.profile.url)

    @contextmanager
    def blaming_flags(self, *path: str) -> Iterator[None]:
        """A value of this setting that turns out wrong is wrong usage where a flag gave it."""
        try:
            yield
        except BadConfiguration as fault:
            source = self.configuration.source(*path)
            if source.layer != "flag":
                raise
            raise WrongUsage(f"{source.place}: {fault.message}", fault.hint) from None

    def look_at_configuration(self) -> Configuration:
        """As `configuration`, for those who show it: a profile that was chosen and is gone is
        warned of. `history` still says who chose it; the rest is that of the built-in one."""
        import msgspec

        from megabot_cli.config.schema import Settings

        try:
            return self.configuration
        except NotFound as fault:
            if self.options.profile is not None:
                raise
            self.console.warn(f"{fault.message}. {fault.hint or ''}".rstrip())
        found = self._load(Settings().profile)
        choices = found.history[("profile",)][:-1]  # the last is the one we just named
        return msgspec.structs.replace(found, history={**found.history, ("profile",): choices})

    def _load(self, profile: str | None) -> Configuration:
        from megabot_cli.commands.remembered import remembered_urls
        from megabot_cli.config.load import load

        return load(
            self.config_text(),
            file=str(self.places.config_file),
            environment=self.environ,
            flags=self._flags,
            profile=profile,
            logins=remembered_urls(self.places.logins),
            chosen=self._chosen_profile,
        )

    @cached_property
    def _chosen_profile(self) -> str | None:
        """Read once: what runs for long stays with its profile when another is chosen."""
        from megabot_cli.commands.remembered import chosen_profile

        return chosen_profile(self.places.chosen_profile)

    def config_text(self) -> str | None:
        """The text of the configuration file; None when there is none."""
        path = self.places.config_file
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            if self.places.config_named:
                raise BadConfiguration(
                    f"There is no configuration file {path}", "--config or MEGABOT_CONFIG names it."
                ) from None
            return None
        except (OSError, UnicodeDecodeError) as fault:
            # The path stands before it already.
            why = (isinstance(fault, OSError) and fault.strerror) or fault
            raise BadConfiguration(
                f"Could not read {path}: {why}", "--config FILE names another."
            ) from None

    @property
    def recordings_folder(self) -> Path:
        named = self.configuration.settings.recording.folder
        return Path(named).expanduser() if named else self.places.recordings

    @property
    def credentials(self) -> CredentialStore:
        return self.open_credentials()

    def open_credentials(self, storage: str = "auto") -> CredentialStore:
        from megabot_cli.client.credentials import CredentialStore

        kind: Any = storage
        return CredentialStore(self.places.credentials, kind)

    def running_relay(self) -> RunningRelay | None:
        """The relay that serves this profile at this upstream, when one runs."""
        relay, serves_us = self._relay_of_profile()
        return relay if serves_us else None

    def relay_elsewhere(self) -> RunningRelay | None:
        """The relay that serves this profile, but at another upstream."""
        relay, serves_us = self._relay_of_profile()
        return None if serves_us else relay

    def _relay_of_profile(self) -> tuple[RunningRelay | None, bool]:
        from megabot_cli.client.endpoint import parse_endpoint
        from megabot_cli.storage.run_files import find_running_relay

        relay = find_running_relay(self.places.run, self.configuration.profile_name)
        ours = parse_endpoint(self.configuration.profile.url)
        if relay is None:
            return None, False
        its = (relay.upstream, relay.upstream_path)
        return relay, its == (ours.origin, ours.socket_path)

    def settle_output(self, forms: tuple[str, ...], words: Mapping[str, Any]) -> None:
        """Decide on the form of output among those the command has, the first by default.

        A usual one that it does not call so is the one of its own that comes to the same.
        `template` is that of `--template`, where that is among the command's `words`.
        """
        wanted = self.options.output or forms[0]
        if wanted == "template" and "template" in words:
            if words["template"] is None:
                raise WrongUsage(
                    "-o template has no text to fill", "As in: --template '{time} {type}'"
                )
            wanted = forms[0]
        same = (wanted, *_SAME.get(wanted, ()))
        asked = next((form for form in same if form in forms), wanted)
        if asked not in forms:
            from megabot_cli.config.spelling import did_you_mean

            raise WrongUsage(
                f"This command has no output {asked!r}",
                did_you_mean(asked, forms) or f"It has: {', '.join(forms)}.",
            )
        self.output = asked

    @property
    def indent(self) -> int | None:
        """How far one JSON value that is the whole result is indented; None: it is a line."""
        return None if self.options.output == "jsonl" else 2

    @property
    def may_ask(self) -> bool:
        """Whether a person is there who can be asked."""
        return self.console.in_is_terminal and not self.options.no_input
