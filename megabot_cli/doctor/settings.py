"""What is wrong with settings beyond their types: addresses, files and patterns of no use."""

from __future__ import annotations

import re
import ssl as tls
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from megabot_cli.client.endpoint import parse_endpoint
from megabot_cli.client.trust import tls_context
from megabot_cli.client.wire_form import open_signer
from megabot_cli.config.file_layer import FileLayer, FileValue
from megabot_cli.config.listen import check_listen, parse_listen
from megabot_cli.config.load import Configuration
from megabot_cli.config.schema import Settings, TlsSettings
from megabot_cli.config.spelling import did_you_mean
from megabot_cli.errors import BadConfiguration, MegabotError
from megabot_cli.recording.regular import compiled

Look = Callable[[FileValue], Iterable[MegabotError]]


def _no_further(_: FileValue) -> Iterable[MegabotError]:
    return ()


def values_in_force(configuration: Configuration) -> Iterator[FileValue]:
    """What somebody has set, with its source as the place."""
    for path, given in configuration.history.items():
        last = given[-1]
        if last.source.layer != "default":
            yield FileValue(path, last.value, last.source.place or last.source.layer)


def problems_in_layer(layer: FileLayer, look: Look = _no_further) -> list[BadConfiguration]:
    """As `problems_in`, for one file by itself."""
    return problems_in(layer.values, {Settings().profile, *layer.profiles}, look)


def problems_in(
    values: Iterable[FileValue], profiles: Collection[str], look: Look = _no_further
) -> list[BadConfiguration]:
    """Everything that would fail as soon as it is used. Reads the files that are named.

    `look` finds faults that this floor knows nothing of.
    """
    found = list(values)
    problems = [
        _placed(each, fault)
        for each in found
        for fault in (*_faults(each, profiles), *look(each))
        if fault
    ]
    problems += _tls_problems(found)
    return problems


def _faults(each: FileValue, profiles: Collection[str]) -> Iterator[MegabotError | None]:
    value = each.value
    if value is None:
        return
    match each.path:
        case ("profiles", _, "url"):
            yield _fault_of(parse_endpoint, value)
        case ("profiles", _, "integrity", "key_file") | ("gateway", "integrity", "key_file"):
            yield _fault_of(open_signer, value)
        case ("relay", "listen" | "admin_listen"):
            yield _fault_of(check_listen, value)
        case ("gateway", "listen"):
            yield _fault_of(parse_listen, value)
        case ("relay", "tls_cert_file" | "tls_key_file"):
            yield _fault_of(_read_pem, value)
        case ("recording", "redact_patterns"):
            for pattern in value:
                yield _fault_of(_compile, pattern)
        case ("profile",):
            yield _unknown(value, profiles)
        case ("relay", "also"):
            for name in value:
                yield _unknown(name, profiles)


def _fault_of(take: Callable[[Any], object], value: Any) -> MegabotError | None:
    try:
        take(value)
    except MegabotError as fault:
        return fault
    return None


def _compile(pattern: str) -> None:
    try:
        compiled(pattern)
    except re.error as fault:
        raise BadConfiguration(
            f"{pattern!r} is no regular expression: {fault}", "Mend it, or leave it out."
        ) from None


def _read_pem(name: str) -> None:
    path = Path(name).expanduser()
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise BadConfiguration(
            f"{path} cannot be read: {fault.strerror}", "It must be a PEM file."
        ) from None
    if b"-----BEGIN " not in content:
        raise BadConfiguration(f"{path} holds no PEM", "It must be a PEM file.")


def _unknown(name: str, profiles: Collection[str]) -> MegabotError | None:
    if name in profiles:
        return None
    return BadConfiguration(
        f"there is no profile {name!r}",
        did_you_mean(name, profiles) or f"Known: {', '.join(sorted(profiles))}.",
    )


def _placed(each: FileValue, fault: MegabotError) -> BadConfiguration:
    return BadConfiguration(f"{each.place}: {'.'.join(each.path)}: {fault.message}", fault.hint)


def _tls_problems(values: list[FileValue]) -> Iterator[BadConfiguration]:
    """The certificates and pins of each profile, which are read together."""
    by_profile: dict[str, list[FileValue]] = {}
    for each in values:
        if each.path[0] == "profiles" and each.path[2:3] == ("tls",):
            by_profile.setdefault(each.path[1], []).append(each)
    for given in by_profile.values():
        settings = TlsSettings(**{each.path[3]: each.value for each in given})
        try:
            tls_context(settings)
        except BadConfiguration as fault:
            blamed = [each for each in given if f"tls.{each.path[3]} " in fault.message]
            yield _placed((blamed or given)[0], fault)
        except tls.SSLError as fault:
            broken = BadConfiguration(str(fault.reason or fault), "Check the files under tls.")
            yield _placed(given[0], broken)
