"""Lay the settings over each other: defaults, login, file, profile, choice, environment, flags.

Nothing is read here: the file's text and the environment are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from megabot_cli.config.catalogue import (
    PROFILE_PATH,
    Path,
    by_path,
    catalogue,
    profile_settings,
)
from megabot_cli.config.file_layer import FileLayer, convert, read_file_layer
from megabot_cli.config.listen import check_listen
from megabot_cli.config.schema import ProfileSettings, Settings
from megabot_cli.config.spelling import did_you_mean
from megabot_cli.errors import BadConfiguration, NotFound, WrongUsage

# "chosen" is the profile of `config use`.
Layer = Literal["default", "login", "file", "profile", "chosen", "environment", "flag"]

# Variables that are no settings: where things are, and secrets.
OTHER_VARIABLES = frozenset(
    {
        "MEGABOT_CONFIG",
        "MEGABOT_HOME",
        "MEGABOT_TOKEN",
        "MEGABOT_API_KEY",
        "MEGABOT_MODEL_KEY",
        "MEGABOT_HISTORY",
        "MEGABOT_PAGER",
        "MEGABOT_FLAT_TOKEN",
    }
)


CHOOSES = "megabot config use"
_ADDRESSES = ("listen", "admin_listen")


class Source(msgspec.Struct, frozen=True):
    """Where a value came from: the layer, and the place in it (`config.yaml:12`, `--url`)."""

    layer: Layer
    place: str = ""

    def __str__(self) -> str:
        return f"{self.layer} {self.place}".rstrip()


class Flag(msgspec.Struct, frozen=True):
    """A setting given on the command line: the flag as it is typed, and its value."""

    name: str
    value: Any


class Given(msgspec.Struct, frozen=True):
    """One value of a setting and its source."""

    value: Any
    source: Source


History = dict[Path, tuple[Given, ...]]


class Configuration(msgspec.Struct, frozen=True):
    """The settings in force. `history` has every value of each setting, last in force."""

    settings: Settings
    profile_name: str
    profile: ProfileSettings
    history: History
    unknown_variables: tuple[str, ...] = ()

    def source(self, *path: str) -> Source:
        return self.history[path][-1].source

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is no fault and yet hardly meant: variables that set nothing, with a guess each."""
        known = [each.variable for each in catalogue()]
        said = []
        for name in self.unknown_variables:
            # A setting of a profile has one variable, for the profile in force.
            shorter = re.sub("^MEGABOT_PROFILES?_[^_]+_", "MEGABOT_", name)
            meant = did_you_mean(shorter, known, near=0.8)
            end = f". {meant}" if meant else ""
            said.append(f"{name} sets nothing: there is no such setting{end}")
        return tuple(said)

    @property
    def url_is_for_this_run(self) -> bool:
        """Whether a flag names the upstream: another command would go elsewhere without it."""
        return self.source("profiles", self.profile_name, "url").layer == "flag"


def load(
    text: str | None = None,
    *,
    file: str = "config.yaml",
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Flag] | None = None,
    profile: str | None = None,
    logins: Mapping[str, str] | None = None,
    chosen: str | None = None,
) -> Configuration:
    """Join the layers. `flags` is keyed by setting: `relay.listen`, `profiles.*.url`.

    `profile` is the one named by a flag, `chosen` the one that was chosen for good; `logins`
    has the address each logged in at.
    BadConfiguration names the key and its place, WrongUsage the flag; NotFound says that there
    is no such profile.
    """
    environment = environment or {}
    layer = read_file_layer(text, file)
    choices = _profile_choices(layer, environment, profile, chosen)
    name, named_by = choices[-1].value, choices[-1].source
    logins = logins or {}
    known = {Settings().profile, *layer.profiles, *logins}
    history = _defaults({name, *known})
    for each, url in logins.items():
        _add(history, ("profiles", each, "url"), url, Source("login"))
    _add_file(history, layer)
    _add_environment(history, environment, name)
    _add_flags(history, flags or {}, name)
    history[("profile",)] = choices
    _require_known(name, known, named_by, history)
    settings = _build(history)
    return Configuration(
        settings=settings,
        profile_name=name,
        profile=settings.profiles[name],
        history=history,
        unknown_variables=_unknown_variables(environment),
    )


def _profile_choices(
    layer: FileLayer, environment: Mapping[str, str], named: str | None, chosen: str | None
) -> tuple[Given, ...]:
    """Everybody who names the profile to use; the last one is heeded."""
    choices = [Given(Settings().profile, Source("default"))]
    choices += [
        Given(each.value, Source("file", each.place))
        for each in layer.values
        if each.path == ("profile",)
    ]
    if chosen:
        choices.append(Given(chosen, Source("chosen", CHOOSES)))
    if environment.get("MEGABOT_PROFILE"):
        source = Source("environment", "MEGABOT_PROFILE")
        choices.append(Given(environment["MEGABOT_PROFILE"], source))
    if named:
        choices.append(Given(named, Source("flag", "--profile")))
    return tuple(choices)


def _require_known(name: str, known: set[str], named_by: Source, history: History) -> None:
    """A profile that nobody has heard of needs an address beside its name: a flag's name that
    is misspelt must not go to where the environment points."""
    address_by = history[("profiles", name, "url")][-1].source.layer
    beside = ("flag",) if named_by.layer == "flag" else ("flag", "environment")
    if name in known or address_by in beside:
        return
    raise NotFound(
        f"There is no profile {name!r} ({named_by})",
        did_you_mean(name, known)
        or f"Known: {', '.join(sorted(known))}. "
        + (
            "`megabot config use NAME` chooses another."
            if named_by.layer == "chosen"
            else f"`megabot -p {name} login --url URL` adds it."
        ),
    )


def _defaults(profiles: set[str]) -> History:
    source = Source("default")
    history: History = {}
    for each in catalogue():
        if each.path[:2] != PROFILE_PATH:
            history[each.path] = (Given(each.default, source),)
    for name in sorted(profiles):
        for each in profile_settings():
            history[_in_profile(each.path, name)] = (Given(each.default, source),)
    return history


def _in_profile(path: Path, profile: str) -> Path:
    return ("profiles", profile, *path[2:]) if path[:2] == PROFILE_PATH else path


def _add(history: History, path: Path, value: Any, source: Source) -> None:
    history[path] = (*history[path], Given(value, source))


def _add_file(history: History, layer: FileLayer) -> None:
    for each in layer.values:
        kind: Layer = "profile" if each.path[0] == "profiles" else "file"
        if each.path != ("profile",):
            _add(history, each.path, each.value, Source(kind, each.place))


def _add_environment(history: History, environment: Mapping[str, str], profile: str) -> None:
    for each in catalogue():
        text = environment.get(each.variable)
        if text and each.path != ("profile",):
            value = convert(each, each.variable, text, from_text=True)
            source = Source("environment", each.variable)
            _add(history, _in_profile(each.path, profile), value, source)


def _add_flags(history: History, flags: Mapping[str, Flag], profile: str) -> None:
    for name, flag in flags.items():
        setting = by_path()[tuple(name.split("."))]
        try:
            value = convert(setting, flag.name, flag.value)
            if setting.path[-1] in _ADDRESSES:
                check_listen(value)
        except BadConfiguration as fault:  # it was typed, just now
            named = fault.message if flag.name in fault.message else f"{flag.name}: {fault.message}"
            raise WrongUsage(named, fault.hint) from None
        _add(history, _in_profile(setting.path, profile), value, Source("flag", flag.name))


def _build(history: History) -> Settings:
    tree: dict[str, Any] = {}
    for path, values in history.items():
        branch = tree
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = values[-1].value
    return msgspec.convert(tree, Settings)


def _unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that look like ours and set nothing: another program's, or misspelt."""
    known = {each.variable for each in catalogue()} | OTHER_VARIABLES
    return tuple(
        sorted(name for name in environment if name.startswith("MEGABOT_") and name not in known)
    )
