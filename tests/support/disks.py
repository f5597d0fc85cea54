"""Disks that are soon full."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own."""
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", options, "megabot-test", str(folder)]
    try:
        subprocess.run(mounting, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here: this needs root on Linux")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def only_read(disk: Path) -> Iterator[None]:
    """Nobody can write on a file system of ours in here."""
    remounting = ["mount", "-o"]
    subprocess.run([*remounting, "remount,ro", str(disk)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*remounting, "remount,rw", str(disk)], check=True, capture_output=True)


def fill(path: Path) -> None:
    """Write a file until there is no room: OSError."""
    with path.open("wb", 0) as file:
        while True:
            file.write(b"x" * 4096)
