"""What can be seen without a network: configuration, permissions, disk, keyring."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from megabot_cli.client.keyring_access import KeyringAccess, KeyringFailed, KeyringMissing
from megabot_cli.doctor.case import Case, Folders
from megabot_cli.doctor.findings import Finding, fail, ok, skipped, warn
from megabot_cli.errors import BadConfiguration, NotPermitted
from megabot_cli.wording import counted

_MIB = 1024 * 1024
LEAST_BYTES = 64 * _MIB  # less than that holds nothing worth recording
FEW_BYTES = 1024 * _MIB
NO_KEYRING = "keyring.backends.null.Keyring"  # the library's own that keeps nothing


async def configuration(case: Case) -> Finding:
    """The file, the variables and the flags, together."""
    if case.problems:
        first = case.problems[0]
        more = len(case.problems) - 1
        shown = first.message if not more else f"{first.message} (and {more} more)"
        fix = f"{first.hint or ''} `megabot config check` lists all.".strip()
        facts = [{"message": each.message, "fix": each.hint} for each in case.problems]
        return fail(type(first)(shown, fix if more else first.hint), problems=facts)
    if case.folders is None or case.upstream is None:
        return fail(BadConfiguration("Nobody knows where our files are", "Set MEGABOT_HOME."))
    file = case.folders.config_file
    there = file.exists()
    facts_of_file = {"file": str(file), "exists": there}
    if case.remarks:
        fix = "Unset it, or mend its name."
        return warn("; ".join(case.remarks), fix, remarks=list(case.remarks), **facts_of_file)
    profile = case.upstream.configuration.profile_name
    where = str(file) if there else f"no {file}, so the defaults hold"
    return ok(f"{where}; profile {profile!r}", profile=profile, **facts_of_file)


async def permissions(case: Case) -> Finding:
    """Whether others can read what is secret, and whether we can write what is ours."""
    if case.folders is None:
        return skipped("nobody knows where our files are")
    ours = list(_private_paths(case.folders))
    for path in (case.folders.credentials, case.folders.run):
        nearest = _nearest(path)
        if not os.access(nearest, os.W_OK | os.X_OK):
            fix = "Set MEGABOT_HOME to a folder of your own."
            if not os.statvfs(nearest).f_flag & os.ST_RDONLY:
                fix = f"chown or chmod {nearest}, or set MEGABOT_HOME to a folder of your own."
            return fail(NotPermitted(f"Nothing can be written below {nearest}", fix))
    strangers = [path for path in ours if _owner(path) not in (None, os.getuid())]
    if strangers:
        names = ", ".join(map(str, strangers))
        return fail(
            NotPermitted(f"Somebody else owns {names}", f"sudo chown $(id -u) {names}"),
            paths=list(map(str, strangers)),
        )
    open_ones = [path for path in ours if _mode(path) & 0o077]
    if open_ones:
        fix = " && ".join(f"chmod {'700' if path.is_dir() else '600'} {path}" for path in open_ones)
        names = ", ".join(f"{path} ({stat.filemode(_mode(path))})" for path in open_ones)
        return warn(
            f"others on this machine may enter {names}", fix, paths=list(map(str, open_ones))
        )
    if not ours:
        return ok("there is nothing of ours yet", paths=[])
    return ok(f"{counted(len(ours), 'path')}, for nobody but you", paths=list(map(str, ours)))


def _private_paths(folders: Folders) -> Iterator[Path]:
    """What nobody else has to see, as far as it is there."""
    for folder in (folders.credentials, folders.run):
        if folder.is_dir():
            yield folder
            if os.access(folder, os.R_OK | os.X_OK):
                yield from sorted(each for each in folder.iterdir() if each.is_file())
    if folders.client_token.exists():
        yield folders.client_token


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None


async def disk(case: Case) -> Finding:
    """Room where recordings go."""
    if case.folders is None:
        return skipped("nobody knows where recordings go")
    folder = case.folders.recordings
    nearest = _nearest(folder)
    if not case.records:
        return ok("nothing is recorded (recording.enabled: false)", folder=str(folder))
    if not os.access(nearest, os.W_OK | os.X_OK):
        fix = "Set recording.folder to a folder that you may write to."
        return fail(NotPermitted(f"Recordings cannot be written to {folder}", fix))
    try:
        free = shutil.disk_usage(nearest).free
    except OSError as fault:
        return fail(BadConfiguration(f"{folder}: {fault.strerror}", "Set recording.folder."))
    facts = {"folder": str(folder), "free_bytes": free}
    said = f"{_shown(free)} free for recordings in {folder}"
    fix = (
        "`megabot recordings prune --keep-days N` removes old ones; recording.folder names "
        "another disk."
    )
    if free < LEAST_BYTES:
        return fail(BadConfiguration(f"Only {said}", fix), **facts)
    if free < FEW_BYTES:
        return warn(f"only {said}", fix, **facts)
    return ok(said, **facts)


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _shown(count: int) -> str:
    return f"{count / _MIB / 1024:.1f} GiB" if count >= FEW_BYTES else f"{count / _MIB:.0f} MiB"


async def keyring(case: Case) -> Finding:
    """Put something harmless into the keyring, read it back, and take it out again."""
    if case.keyring_is_off:
        said = "none is used (PYTHON_KEYRING_BACKEND)"
        return ok(f"{said}; credentials lie in a file that only you can read", works=False)
    try:
        await asyncio.to_thread(_try_keyring)
    except KeyringMissing as fault:
        return ok(f"none ({fault}); credentials lie in a file that only you can read", works=False)
    except KeyringFailed as fault:
        return warn(
            f"cannot be used: {fault}; credentials lie in a file that only you can read",
            f"Unlock it; or spare each login the wait: PYTHON_KEYRING_BACKEND={NO_KEYRING}",
            works=False,
        )
    return ok("what is stored can be read again", works=True)


def _try_keyring() -> None:
    access, entry = KeyringAccess(), f"doctor-{secrets.token_hex(4)}"
    access.write(entry, "a word that is no secret")
    access.delete(entry)
