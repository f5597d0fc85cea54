"""Where credentials lie: the system's keyring, else a file that only its owner can read.

Beside each other in the folder: `<profile>.json` (the credential, or a note that the
keyring holds it) and `<profile>.lock`. No network here.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import msgspec

from megabot_cli.client.keyring_access import KeyringAccess, KeyringFailed
from megabot_cli.errors import BadConfiguration, is_disk_full

Storage = Literal["auto", "keyring", "file"]

_LONGEST_NAME = 200  # bytes; file systems take 255, and suffixes are added


class Credential(msgspec.Struct, frozen=True, omit_defaults=True):
    """What proves who we are at one upstream. Its repr shows no secret."""

    kind: Literal["jwt", "api_key"]
    secret: str
    origin: str
    username: str | None = None
    user_id: str | None = None
    expires_at: float | None = None  # Unix seconds
    refresh_token: str | None = None

    def __repr__(self) -> str:
        whose = f" of {self.username}" if self.username else ""
        return f"<{self.kind}{whose} for {self.origin}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("kind", self.kind), ("origin", self.origin)]


class _Stored(msgspec.Struct, omit_defaults=True):
    """The content of `<profile>.json`: exactly one of a credential and a place."""

    origin: str
    credential: Credential | None = None
    keyring: str | None = None  # the entry's name


def jwt_expiry(token: str) -> float | None:
    """Read `exp` (Unix seconds) of a JWT without verifying it; None when there is none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims: Any = msgspec.json.decode(base64.urlsafe_b64decode(padded))
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(expiry, bool) or not isinstance(expiry, int | float):
        return None
    return float(expiry) if 0 <= expiry < 1e12 else None


def given_credential(origin: str, token: str | None, api_key: str | None) -> Credential | None:
    """The credential for a secret that somebody has at hand; None for neither."""
    if api_key is not None:
        return Credential("api_key", api_key, origin)
    if token is not None:
        return Credential("jwt", token, origin, expires_at=jwt_expiry(token))
    return None


class ProfileLock:
    """Keeps other processes from renewing one profile's credential at the same time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; with `wait=False` say False at once when somebody has it."""
        descriptor = _open_lock(self._path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError as fault:
            os.close(descriptor)
            raise _unusable(self._path, fault) from None
        self._file = descriptor
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)  # closing lets go of the lock
            self._file = None


class CredentialStore:
    """The credentials of one folder, one per profile; safe beside other processes."""

    def __init__(self, folder: Path, storage: Storage = "auto") -> None:
        self._folder = folder
        self._storage: Storage = storage
        self._keyring = KeyringAccess()

    def save(self, profile: str, credential: Credential) -> Literal["keyring", "file"]:
        """Keep a credential in place of the profile's last; say where it lies now.

        Raises `BadConfiguration` when it can lie nowhere, or not where it was asked to.
        """
        path = self._path(profile)
        before = self._read_or_none(path)
        entry = self._into_keyring(profile, credential)
        if entry is not None:
            _replace_private(path, _Stored(credential.origin, keyring=entry))
            return "keyring"
        _replace_private(path, _Stored(credential.origin, credential))
        if before is not None and before.keyring is not None:
            self._drop_entry(before.keyring)
        return "file"

    def _into_keyring(self, profile: str, credential: Credential) -> str | None:
        """Name the entry that holds the credential now; None when a file must."""
        if self._storage == "file":
            return None
        entry = self._entry(profile)
        try:
            self._keyring.write(entry, msgspec.json.encode(credential).decode())
        except KeyringFailed as fault:
            if self._storage == "auto":
                return None
            raise BadConfiguration(
                f"The keyring cannot be used: {fault}",
                "With `--storage file` the credential lies in a file only you can read.",
            ) from None
        return entry

    def load(self, profile: str, origin: str) -> Credential | None:
        """The profile's credential; None when there is none or it is for another origin."""
        path = self._path(profile)
        stored = self._read(path)
        if stored is None or stored.origin != origin:
            return None
        credential = stored.credential
        if stored.keyring is not None:
            credential = self._from_keyring(stored.keyring, path)
        # The origin inside the secret part decides: the outer one is there to be looked at.
        return credential if credential is not None and credential.origin == origin else None

    def _from_keyring(self, entry: str, path: Path) -> Credential | None:
        try:
            text = self._keyring.read(entry)
        except KeyringFailed as fault:
            raise BadConfiguration(
                f"The credential lies in the keyring, which cannot be read: {fault}",
                "Unlock it, or log in with `megabot login --storage file`.",
            ) from None
        if text is None:
            return None
        try:
            return msgspec.json.decode(text, type=Credential)
        except (msgspec.DecodeError, UnicodeError):
            raise _damaged(path) from None

    def forget(self, profile: str) -> bool:
        """Remove the profile's credential; False when there was none."""
        path = self._path(profile)
        stored = self._read_or_none(path)
        if stored is None:  # a read-only disk refuses to remove nothing, too
            return False
        if stored.keyring is not None:
            try:
                self._keyring.delete(stored.keyring)
            except KeyringFailed as fault:
                raise BadConfiguration(
                    f"The credential is still in the keyring, which cannot be used: {fault}",
                    "Unlock it and log out again.",
                ) from None
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as fault:
            raise _unusable(path, fault) from None
        return True

    def profiles(self) -> list[str]:
        """The names of all profiles with a credential, sorted."""
        try:
            names = [entry.name for entry in os.scandir(self._folder) if entry.is_file()]
        except FileNotFoundError:
            return []
        except OSError as fault:
            raise _unusable(self._folder, fault) from None
        suffix = ".json"
        return sorted(unquote(name.removesuffix(suffix)) for name in names if name.endswith(suffix))

    def where(self, profile: str) -> str | None:
        """ "keyring", or "file" and its path; None when there is no credential."""
        path = self._path(profile)
        stored = self._read_or_none(path)
        if stored is None:
            return None
        return "keyring" if stored.keyring is not None else f"file {path}"

    def lock(self, profile: str) -> ProfileLock:
        """The profile's lock, not yet taken: for those who must not block while they wait."""
        _make_private_folder(self._folder)
        return ProfileLock(self._path(profile).with_suffix(".lock"))

    @contextmanager
    def locked(self, profile: str) -> Iterator[None]:
        """Hold the profile's lock; blocks until other processes have let go of it."""
        lock = self.lock(profile)
        lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _path(self, profile: str) -> Path:
        name = quote(profile, safe="")
        if not name or len(name) > _LONGEST_NAME:
            raise BadConfiguration(
                "A profile's name is empty or too long to store a credential under"
            )
        return self._folder / f"{name}.json"

    def _entry(self, profile: str) -> str:
        """The keyring is one for all folders: the entry's name tells them apart."""
        folder = hashlib.sha256(os.fsencode(self._folder.resolve())).hexdigest()[:12]
        return f"{profile}@{folder}"

    def _read(self, path: Path) -> _Stored | None:
        try:
            with path.open("rb") as file:
                # Whoever copied the file here may have opened it to others.
                if os.fstat(file.fileno()).st_mode & 0o077:
                    os.fchmod(file.fileno(), 0o600)
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise _unusable(path, fault) from None
        try:
            return msgspec.json.decode(content, type=_Stored)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise _damaged(path) from None

    def _read_or_none(self, path: Path) -> _Stored | None:
        """As `_read`; a damaged file is there too, but says nothing."""
        try:
            return self._read(path)
        except BadConfiguration:
            return _Stored("") if path.exists() else None

    def _drop_entry(self, entry: str) -> None:
        try:
            self._keyring.delete(entry)
        except KeyringFailed:
            # The file counts from now on, and a keyring that is away cannot be cleaned;
            # its entry is overwritten when it is used again.
            return


def _make_private_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as fault:
        raise _unusable(folder, fault) from None


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise _unusable(path, fault) from None


def _replace_private(path: Path, content: _Stored) -> None:
    """Put a file (0600) in place whole: a reader sees the old one or the new one."""
    _make_private_folder(path.parent)
    try:
        # mkstemp makes the file 0600 whatever the umask is.
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(content))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as fault:
        raise _unusable(path, fault) from None


def _unusable(path: Path, fault: OSError) -> BadConfiguration:
    what = "Give its folder a mode that lets you write"
    if is_disk_full(fault):
        what = "Make room"
    elif fault.errno == errno.EROFS:
        what = "Its file system is mounted read-only: have that changed"
    return BadConfiguration(
        f"Credentials cannot be kept at {path}: {fault.strerror or type(fault).__name__}",
        f"{what}, or name another folder with MEGABOT_HOME.",
    )


def _damaged(path: Path) -> BadConfiguration:
    return BadConfiguration(
        f"The stored credential {path} is damaged", "`megabot login` writes it anew."
    )
