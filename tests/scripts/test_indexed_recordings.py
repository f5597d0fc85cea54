"""A long recording and the index beside it, as an operator meets them."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.scripts.conftest import Operator
from tests.storage.indexed import messages, sealed_bytes

_MIB = 1024 * 1024


@pytest.fixture
def long_recording(tmp_path: Path) -> Path:
    """Seventeen MiB, of which the last messages are of another type."""
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o700)
    path = folder / "long.jsonl"
    lines = [line.replace(b"x" * 200, b"x" * 200_000) for line in messages(99)]
    path.write_bytes(sealed_bytes(lines + messages(300)[99:], n=301))
    assert path.stat().st_size > 17 * _MIB
    return path


def test_who_searches_a_long_recording_leaves_an_index(
    stranger: Operator, long_recording: Path
) -> None:
    index = long_recording.with_suffix(".index")
    searched = ("rec", "grep", "", str(long_recording), "--type", "type_2", "--count")
    first = stranger.types(*searched)
    assert (first.returncode, first.stdout, first.stderr) == (0, "100\n", "")
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    assert stranger.types(*searched).stdout == "100\n"
    checked = stranger.types("rec", "verify", str(long_recording), "--no-secrets", "--json")
    assert json.loads(checked.stdout)["index_ok"] is True
    index.write_bytes(index.read_bytes().replace(b'"type_2"', b'"type_X"'))
    checked = stranger.types("rec", "verify", str(long_recording))
    assert checked.returncode == 13
    assert "its index does not say what stands at byte" in checked.stderr
    index.write_text("{}")
    assert stranger.types(*searched).stdout == "100\n"


def test_a_long_recording_that_was_cut_has_an_index_and_a_short_one_none(
    stranger: Operator, long_recording: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.jsonl"
    assert stranger.types("rec", "cut", str(long_recording), str(part)).returncode == 0
    assert stat.S_IMODE((tmp_path / "part.index").stat().st_mode) == 0o600
    again = ("rec", "cut", str(long_recording), str(part), "--type", "type_2", "--force")
    done = stranger.types(*again)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "part.index").exists()
    shown = stranger.types("rec", "show", str(part), "--json").stdout.splitlines()
    assert [json.loads(line)["n"] for line in shown] == list(range(200, 300))


@pytest.mark.parametrize("command", ["cut", "convert", "stats", "diff", "grep"])
def test_on_a_terminal_it_is_shown_how_far_an_index_is_that_takes_its_time(
    stranger: Operator, long_recording: Path, command: str
) -> None:
    name = str(long_recording)
    arguments = {
        "cut": ("cut", name, "-"),
        "convert": ("convert", name, "-", "--to", "jsonl"),
        "stats": ("stats", name),
        "diff": ("diff", name, name),
        "grep": ("grep", "", name),
    }[command]
    soon = "import megabot_cli.terminal.progress as p; p._LATE_S = 0; p.REDRAW_S = 0; "
    program = soon + "import runpy; runpy.run_module('megabot_cli', run_name='__main__')"
    child: Any = pexpect.spawn(
        sys.executable,
        ["-c", program, "rec", *arguments, "--type", "none"],
        env={**stranger.environment(), "TERM": "xterm-256color", "PYTHONPATH": os.getcwd()},
        encoding="utf-8",
        timeout=20,
    )
    child.expect("indexing, MiB .*%")
    child.expect(pexpect.EOF)
    child.close()
