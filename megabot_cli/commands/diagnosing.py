"""What `doctor` examines, gathered from settings and places; and its report as a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from megabot_cli.errors import BadConfiguration, MegabotError
from megabot_cli.version import __version__

if TYPE_CHECKING:
    from megabot_cli.commands.invocation import Invocation
    from megabot_cli.config.load import Configuration
    from megabot_cli.doctor.case import Case, Folders, Upstream
    from megabot_cli.doctor.findings import Finding

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy")


def case_of(invocation: Invocation) -> Case:
    """Everything that can be known without looking: broken settings are told, not raised."""
    from megabot_cli.doctor.case import Case
    from megabot_cli.doctor.local import NO_KEYRING

    proxies = tuple(name for name in sorted(invocation.environ) if name.lower() in _PROXIES)
    try:
        invocation.places  # noqa: B018  may fail on a machine without a home
    except MegabotError as fault:
        return Case(__version__, problems=(fault,), proxies=proxies)
    found = read_settings(invocation)
    configuration = found.configuration
    return Case(
        __version__,
        folders=_folders(invocation, configuration),
        upstream=_upstream(invocation, configuration) if configuration is not None else None,
        problems=tuple(found.problems),
        remarks=configuration.remarks if configuration is not None else (),
        records=configuration is None or configuration.settings.recording.enabled,
        proxies=proxies,
        keyring_is_off=invocation.environ.get("PYTHON_KEYRING_BACKEND") == NO_KEYRING,
    )


@dataclass(frozen=True)
class SettingsRead:
    """The settings, if they can be used at all, and everything wrong with them."""

    configuration: Configuration | None
    problems: list[MegabotError]


def read_settings(invocation: Invocation) -> SettingsRead:
    """The settings in force with all that is wrong in the file, the environment and the flags."""
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.commands.named_files import faults_of_named
    from megabot_cli.config.file_layer import in_order, read_liberally
    from megabot_cli.doctor.settings import problems_in, problems_in_layer, values_in_force

    try:
        text = invocation.config_text()
    except BadConfiguration as fault:
        return SettingsRead(None, [fault])
    file = str(invocation.places.config_file)
    layer, broken = read_liberally(text, file)
    problems: list[MegabotError] = list(broken)
    if problems:
        problems += problems_in_layer(layer, faults_of_named)
        return SettingsRead(None, in_order(problems, file))
    try:
        configuration = invocation.configuration
    except MegabotError as fault:
        problems = [fault, *problems_in_layer(layer, faults_of_named)]
        return SettingsRead(None, in_order(problems, file))
    profiles = {name for (section, name, *_) in _profile_paths(configuration)}
    problems += problems_in(values_in_force(configuration), profiles, faults_of_named)
    problems = in_order(problems, file)
    try:
        parse_endpoint(configuration.profile.url)
    except MegabotError:
        return SettingsRead(None, problems)
    return SettingsRead(configuration, problems)


def _profile_paths(configuration: Configuration) -> list[tuple[str, ...]]:
    return [path for path in configuration.history if path[0] == "profiles"]


def _folders(invocation: Invocation, configuration: Configuration | None) -> Folders:
    from megabot_cli.doctor.case import Folders

    places = invocation.places
    return Folders(
        config_file=places.config_file,
        credentials=places.credentials,
        run=places.run,
        client_token=places.state / "client-token",
        recordings=invocation.recordings_folder if configuration else places.recordings,
    )


def _upstream(invocation: Invocation, configuration: Configuration) -> Upstream:
    from megabot_cli.client.endpoint import parse_endpoint
    from megabot_cli.commands.upstream import (
        client_token,
        is_from_environment,
        known_credential,
        ssl_for,
        token_source,
    )
    from megabot_cli.doctor.case import Upstream
    from megabot_cli.doctor.relay import relay_at
    from megabot_cli.storage.run_files import find_running_relay, running_relays

    endpoint = parse_endpoint(configuration.profile.url)
    run, name = invocation.places.run, configuration.profile_name
    relay = relay_at(endpoint, running_relays(run)) or find_running_relay(run, name)

    def stored_at() -> str | None:
        if is_from_environment(invocation):
            return "environment"
        return invocation.credentials.where(configuration.profile_name)

    return Upstream(
        configuration=configuration,
        stored_at=stored_at,
        find_credential=lambda: known_credential(invocation, endpoint.origin),
        token_source=lambda http, _: token_source(invocation, http),
        trust=lambda: ssl_for(configuration.profile),
        relay=relay,
        client_token=client_token(Path(relay.token_file)) if relay is not None else None,
    )


def write_report(invocation: Invocation, case: Case, findings: list[Finding], path: Path) -> None:
    """Put the report into a new file that only its owner can read."""
    from megabot_cli.commands.secrets_in_use import secrets_in_use
    from megabot_cli.doctor.report import write_report as written
    from megabot_cli.storage.new_file import NewFile

    form = "json" if path.suffix.lower() == ".json" else "markdown"
    known = secrets_in_use(invocation) if case.upstream is not None else invocation.known_secrets
    text = written(
        form, __version__, _settings_shown(case), findings, _hidden(invocation, case), known
    )
    with NewFile(path) as file:
        file.write(text.encode())


def _settings_shown(case: Case) -> list[Any]:
    from megabot_cli.doctor.report import SettingShown

    if case.upstream is None:
        return []
    history = case.upstream.configuration.history
    return [
        SettingShown(".".join(path), given[-1].value, str(given[-1].source))
        for path, given in sorted(history.items())
    ]


def _hidden(invocation: Invocation, case: Case) -> dict[str, str]:
    """What must not be in a report: secrets, and what tells who somebody is."""
    from megabot_cli.commands.secrets_in_use import VARIABLES
    from megabot_cli.doctor.report import home_of

    hidden = {
        invocation.environ[name]: "‹secret›" for name in VARIABLES if invocation.environ.get(name)
    }
    if home := home_of(invocation.environ):
        hidden[home] = "~"
    if case.upstream is not None:
        profile = case.upstream.configuration.profile
        try:
            found = case.upstream.find_credential()
        except MegabotError:
            found = None
        if found is not None:
            hidden |= {found.secret: "‹secret›"}
            hidden |= {each: "‹secret›" for each in (found.refresh_token,) if each}
        names = (
            profile.username,
            found.username if found else None,
            found.user_id if found else None,
        )
        hidden |= {name: "‹user›" for name in names if name}
    for name in ("USER", "LOGNAME"):
        if user := os.environ.get(name):
            hidden.setdefault(user, "‹user›")
    return {text: stands_for for text, stands_for in hidden.items() if text}
