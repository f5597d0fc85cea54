"""`gnome-keyring-daemon` on a bus of its own: the Secret Service that desktops have."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from tests.peers.programs import needs, path_of
from tests.peers.stage import PASSWORD, USERNAME, Stage
from tests.support.processes import bare_environment, megabot

SCRIPT = """\
printf %s unlock | {daemon} --foreground --unlock --components=secrets >daemon.log 2>&1 &
daemon=$!
trap 'kill $daemon' EXIT
serves() {{
    dbus-send --session --print-reply --dest=org.freedesktop.DBus / \
        org.freedesktop.DBus.NameHasOwner string:org.freedesktop.secrets | grep -q true
}}
for _ in $(seq 200); do  # not every version says on its output that it serves
    serves || grep -q CONTROL daemon.log && break
    sleep 0.05
done
printf %s "$SECRET" | {megabot} login --username "$NAME" --password-stdin --storage keyring
{megabot} whoami --json
{megabot} doctor --jsonl
{megabot} logout
"""


@needs("dbus-run-session", "gnome-keyring-daemon")
def test_a_credential_lies_in_the_desktop_s_keyring(stage: Stage, tmp_path: Path) -> None:
    program = shlex.join(megabot())
    script = SCRIPT.format(daemon=path_of("gnome-keyring-daemon"), megabot=program)
    environment = bare_environment(tmp_path)
    del environment["PYTHON_KEYRING_BACKEND"]
    shared = {"MEGABOT_URL": stage.gateway_url, "SECRET": PASSWORD, "NAME": USERNAME}
    process = stage.processes.start(
        "dbus-run-session",
        [path_of("dbus-run-session"), "--", "env", "-u", "PYTHON_KEYRING_BACKEND",
         "bash", "-c", script],
        env={**environment, **shared, "XDG_RUNTIME_DIR": str(tmp_path)},
        folder=tmp_path,
        typed="",
    )  # fmt: skip
    assert process.wait(40) == 0, process.said()
    who, *checks = process.json_lines()
    assert who["stored"] == "keyring"
    assert {each["verdict"] for each in checks if each["check"] in ("keyring", "login")} == {"ok"}
    assert "Forgotten" in process.errors
    kept = [path for path in (tmp_path / "credentials").iterdir() if path.suffix == ".json"]
    assert kept == []
    assert json.dumps(PASSWORD) not in process.output
