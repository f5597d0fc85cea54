"""What is made from the code is what the code says, and its readers take it."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest

from megabot_cli.commands.generate import generated_files, main, stale_files
from megabot_cli.commands.reference_pages import EXIT_CODES, WORTH_ANOTHER_TRY
from megabot_cli.errors import MegabotError
from megabot_cli.protocol.close_codes import CloseCode
from megabot_cli.relay.corner import SUBPROTOCOL
from megabot_cli.telemetry.exposition import WORDS

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "man").iterdir() if path.is_file())
COMPLETIONS = ROOT / "completions"


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


def test_the_generated_files_are_fresh() -> None:
    assert stale_files(ROOT) == []


def test_a_stale_file_is_found(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 0
    assert main(["--check", str(tmp_path)]) == 0
    (tmp_path / "man" / "megabot.1").write_text("old")
    assert main(["--check", str(tmp_path)]) == 1


def test_no_page_is_left_of_a_command_that_is_gone() -> None:
    made = {Path(name).name for name in generated_files()}
    by_hand = {
        "megabot-recording.5", "megabot-scenarios.5", "megabot-protocol.7", "megabot-flat.7",
        "megabot-assistants.7", "megabot-filters.7", "megabot-client.7", "megabot-events.7",
        "megabot-relay.7",
    }  # fmt: skip
    assert {page.name for page in PAGES} <= made | by_hand


def test_the_page_for_clients_of_a_relay_tells_all_that_they_may_hear() -> None:
    page = (ROOT / "man" / "megabot-relay.7").read_text()
    words = {*WORDS["error"], *WORDS["recovery"], SUBPROTOCOL} - {"other"}
    words |= {str(code.value) for code in CloseCode if code >= 4000}
    assert {word for word in words if word not in page} == set()


def test_every_fault_is_in_the_page_of_exit_codes() -> None:
    told = {each.number: each.code for each in EXIT_CODES if each.code is not None}
    faults: list[type[MegabotError]] = [MegabotError, *MegabotError.__subclasses__()]
    assert told == {fault.exit_code: fault.code for fault in faults}
    again = ", ".join(str(fault.exit_code) for fault in faults if fault.retryable)
    assert again.replace(", 10", " and 10") in WORTH_ANOTHER_TRY


@needs("mandoc")
def test_the_pages_are_good_roff() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *map(str, PAGES)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout + done.stderr == ""


@needs("man")
def test_man_shows_a_page() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-l", str(ROOT / "man" / "megabot-send.1")],
        capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "80",
        "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
    )  # fmt: skip
    assert done.stderr == ""
    assert "megabot send [OPTIONS] [TEXT|-]" in done.stdout


@needs("man")
@pytest.mark.parametrize("width", [60, 80])
def test_no_page_is_wider_than_its_reader(width: int) -> None:
    too_wide = {}
    for page in PAGES:
        if width < 80 and page.name == "megabot-protocol.7":
            continue  # it names tests, and their names are long
        done = subprocess.run(
            ["man", "--warnings", "-l", str(page)],
            capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin",
            "MANWIDTH": str(width), "LC_ALL": "C.UTF-8", "MANPAGER": "cat"},
        )  # fmt: skip
        if done.stderr:
            too_wide[page.name] = done.stderr
    assert too_wide == {}


def bash_completes(line: str) -> list[str]:
    """What bash offers at the end of `line`, also to who has told it to mind unset names."""
    script = (
        f"set -u; source {COMPLETIONS / 'megabot.bash'}; COMP_LINE=$1; COMP_POINT=${{#1}};"
        "_megabot 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", line], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@needs("bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("megabot se", ["send"]),
        ("megabot re", ["relay", "replay", "recordings", "rec"]),
        ("megabot rec ver", ["verify"]),
        ("megabot recordings sh", ["show"]),
        ("megabot send --no-s", ["--no-stream"]),
        ("megabot replay last --pace ", ["original", "fast", "reply", "step", "fixed:10/s"]),
        ("megabot -p login tail --direction to_u", ["to_upstream"]),
        ("megabot tail -o ra", ["raw"]),
        ("megabot --color a", ["auto", "always"]),
        ("megabot config explain relay.wait_s", ["relay.wait_s"]),
        ("megabot config explain tls.ca", ["tls.ca_file"]),
        ("megabot completions install f", ["fish"]),
        ("megabot login --url ws://127.0.0.1:30", []),
        ("megabot --url ws://x:1/ws whoa", ["whoami"]),
        ("megabot -o js", ["json", "jsonl"]),
        ("megabot send --wait re", ["reply"]),
        ("megabot send --wait type:chat_st", ["chat_stream"]),  # bash has the rest
        ("megabot replay last --pace fixed:1", ["10/s"]),
        ("megabot tail --direction=to_u", ["to_upstream"]),
        ("megabot send --wait=type:chat_st", ["chat_stream"]),
        ("megabot --color=n tail --output=ra", ["raw"]),
        ("megabot replay last --to c", ["clients"]),
        ("megabot gateway --scenario fl", ["flaky-network"]),
        ("megabot tail upst", ["upstream"]),
        ("megabot tail relay pro", ["profile:"]),
        ("megabot config show relay.wait_s", ["relay.wait_s"]),
        ("megabot config show profil", ["profiles", "profile"]),
    ],
)
def test_bash_completes(line: str, offered: list[str]) -> None:
    assert bash_completes(line) == offered


@needs("bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("megabot send --wait type:chat_stre", "send --wait type:chat_stream"),
        ("megabot replay last --pace fixed:1", "replay last --pace fixed:10/s"),
        ("megabot tail --direction=to_u", "tail --direction=to_upstream"),
        ("megabot send --wait=type:chat_stre", "send --wait=type:chat_stream"),
    ],
)
@pytest.mark.parametrize("breaks", ["", "COMP_WORDBREAKS=${COMP_WORDBREAKS//[:=]}; "])
def test_bash_puts_what_it_completes_where_it_belongs(
    typed: str, completed: str, breaks: str
) -> None:
    """In a shell that one types into: it takes a word apart at colons and at =, by itself."""
    shell = pexpect.spawn(
        "bash", ["--norc", "--noprofile", "-i"], encoding="utf-8", timeout=20,
        dimensions=(24, 200), env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "PS1": "> "},
    )  # fmt: skip
    shell.expect("> ")
    load = f"source '{COMPLETIONS / 'megabot.bash'}'"
    shell.sendline(f"{breaks}{load}; bind 'set bell-style none'; megabot() {{ echo got: $*; }}")
    shell.expect("\n> ")
    shell.send(f"{typed}\t\n")
    shell.expect("got: ([^\r\n]*)")
    assert shell.match is not None
    assert shell.match[1] == completed
    shell.close(force=True)


@needs("zsh")
def test_zsh_completes_the_value_in_the_word_of_its_option_and_in_the_next() -> None:
    shell = pexpect.spawn(
        "zsh", ["-f", "-i"], encoding="utf-8", timeout=20, dimensions=(24, 200),
        env={"PATH": "/usr/bin:/bin", "TERM": "dumb", "PS1": "> "},
    )  # fmt: skip
    shell.expect("> ")
    load = f"autoload -Uz compinit && compinit -D -u; source '{COMPLETIONS / '_megabot'}'"
    shell.sendline(f"unsetopt zle_bracketed_paste; {load}; print -r LOAD''ED")
    shell.expect_exact("LOADED")
    for typed, completed in (
        ("megabot tail --direction=to_u", "megabot tail --direction=to_upstream"),
        ("megabot tail --direction to_u", "megabot tail --direction to_upstream"),
        ("megabot send --wait=type:chat_stre", "megabot send --wait=type:chat_stream"),
        ("megabot rec grep a --around last --dire", "megabot rec grep a --around last --direction"),
        ("megabot rec show --around 3 las", "megabot rec show --around 3 last"),
    ):
        shell.send(f"{typed}\t")
        shell.send("\x01print -r '\x05'\n")  # Ctrl-A and Ctrl-E: the line as a word
        shell.expect_exact(f"\n{completed}")
    shell.close(force=True)


def a_home_with(folder: Path) -> Path:
    """One recording, and one profile that is logged in."""
    (folder / "recordings" / "rec_1").mkdir(parents=True)
    (folder / "credentials").mkdir()
    (folder / "credentials" / "staging.json").touch()
    (folder / "credentials" / "staging.lock").touch()
    return folder


@needs("bash")
def test_bash_completes_recordings_profiles_and_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEGABOT_HOME", str(a_home_with(tmp_path)))
    monkeypatch.chdir(tmp_path / "credentials")
    assert bash_completes("megabot replay re") == ["rec_1"]
    assert bash_completes("megabot rec show la") == ["last"]
    assert bash_completes("megabot tail -p ") == ["staging"]
    assert bash_completes("megabot config use s") == ["staging"]
    for line in (
        "diff", "diff last", "merge last rec_1", "grep pattern last", "convert",
        "list", "list last",
        "show --around", "show --around 3", "grep --around pattern", "grep --around 3 pattern",
    ):  # fmt: skip
        assert bash_completes(f"megabot rec {line} re") == ["rec_1"]
    for line in ("grep", "convert last", "diff last last", "grep --around", "grep --around 3"):
        assert "rec_1" not in bash_completes(f"megabot rec {line} re")
    assert bash_completes("megabot tail --type tool_r") == ["tool_result"]


@needs("fish")
def test_fish_completes_recordings_and_profiles(tmp_path: Path) -> None:
    script = f'source {COMPLETIONS / "megabot.fish"}; complete -C "$argv[1]"'
    a_home_with(tmp_path)
    for line, offered in (
        ("megabot replay re", "rec_1"),
        ("megabot tail -p s", "staging"),
        ("megabot rec diff last re", "rec_1"),
        ("megabot rec grep pattern last re", "rec_1"),
        ("megabot rec show --around re", "rec_1"),
        ("megabot rec show --around 3 re", "rec_1"),
        ("megabot rec grep --around pattern re", "rec_1"),
    ):
        done = subprocess.run(
            ["fish", "--no-config", "-c", script, line],
            capture_output=True, text=True, check=True, cwd=tmp_path / "credentials",
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "MEGABOT_HOME": str(tmp_path)},
        )  # fmt: skip
        assert [each.partition("\t")[0] for each in done.stdout.splitlines()] == [offered]


CONFIG = """\
# profiles:
limits:
  queue: 7
profiles:
  # a remark: not one
  local: {url: 'ws://127.0.0.1:1/ws'}
  "quoted-1":
    url: wss://b/ws
  '$(touch found)': {}
  staging:
relay:
  wait_s: 3
"""


SHELLS = {
    "bash": (
        f"set -u; source {COMPLETIONS / 'megabot.bash'}; cur=; COMPREPLY=(); $1;"
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    ),
    "zsh": (
        "compdef() { :; }; compadd() { [[ $1 == -a ]] && print -l ${(P)2} || print -l ${@[2,-1]} };"
        f"source {COMPLETIONS / '_megabot'}; _$1"
    ),
    "fish": f"source {COMPLETIONS / 'megabot.fish'}; _$argv[2]",
}


def shell_lists(shell: str, function: str, home: Path) -> list[str]:
    """What one function of a shell's script finds in a home."""
    settled = {"fish": "--no-config", "zsh": "-f", "bash": "--norc"}[shell]
    done = subprocess.run(
        [shell, settled, "-c", SHELLS[shell], shell, function],
        capture_output=True, text=True, check=False, cwd=home,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "MEGABOT_HOME": str(home)},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("shell", [pytest.param(each, marks=needs(each)) for each in SHELLS])
def test_the_profiles_of_the_configuration_file_are_offered(tmp_path: Path, shell: str) -> None:
    (a_home_with(tmp_path) / "config.yaml").write_text(CONFIG)
    function = "_megabot_profiles"
    assert {*shell_lists(shell, function, tmp_path)} == {"local", "quoted-1", "staging"}
    assert not (tmp_path / "found").exists()


class TcpRelay(http.server.HTTPServer):
    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class UnixRelay(TcpRelay):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # no host to look up

    @property
    def admin_url(self) -> str:
        return f"unix:{self.server_address}"


@contextmanager
def a_relay_of(home: Path, kind: type[TcpRelay], ids: list[str]) -> Iterator[TcpRelay]:
    """One that demands the client token, and the run file of another that is dead: where that
    listened this one does now, and gets no token."""
    answer = json.dumps([{"session": each, "clients": [{"session": None}]} for each in ids])

    class Relay(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = self.path == "/relay/sessions"
            allowed = self.headers["Authorization"] == "Bearer the-token"
            self.send_response(404 if not good else 200 if allowed else 401)
            self.end_headers()
            self.wfile.write(answer.encode() if good and allowed else b"{}")

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    key = home / "client-token"
    key.write_text("the-token\n")
    address: Any = ("127.0.0.1", 0) if kind is TcpRelay else str(home / "admin")
    with kind(address, Relay) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        run = home / "state" / "run"
        run.mkdir(parents=True)
        pid = os.getpid()
        (run / f"relay-default-{pid}.json").write_text(
            f'{{"pid":{pid},"admin_url":"{server.admin_url}","token_file":"{key}","x":1}}'
        )
        gone = f'{{"pid":4194305,"admin_url":"{server.admin_url}","token_file":"{key}"}}'
        (run / "relay-gone-4194305.json").write_text(gone)
        yield server
        server.shutdown()


@needs("curl")
@pytest.mark.parametrize("kind", [TcpRelay, UnixRelay])
@pytest.mark.parametrize("shell", [pytest.param(each, marks=needs(each)) for each in SHELLS])
def test_the_sessions_of_a_running_relay_are_offered(
    tmp_path: Path, shell: str, kind: type[TcpRelay]
) -> None:
    """What stands in an id is never run."""
    with a_relay_of(tmp_path, kind, ["sess_1", "sess_2", "$(touch${IFS}found)"]):
        found = shell_lists(shell, "_megabot_sessions", tmp_path)
    assert found == ["sess_1", "sess_2"]
    assert not (tmp_path / "found").exists()


def test_sessions_are_offered_where_one_is_meant() -> None:
    text = (COMPLETIONS / "megabot.bash").read_text()
    for place in ('"megabot send --session"', '"megabot tail -s"', '"megabot relay close:"0'):
        (line,) = [each for each in text.splitlines() if place in each]
        assert "_megabot_sessions" in line
    assert '"megabot gateway keys revoke:"0) _megabot' not in text


def test_the_types_that_are_offered_are_those_there_are() -> None:
    from megabot_cli.commands.selection_words import MESSAGE_TYPES
    from megabot_cli.protocol import messages

    assert tuple(messages.MESSAGE_TYPES) == MESSAGE_TYPES


@needs("bash")
def test_bash_completes_files_where_a_file_is_meant() -> None:
    assert f"{ROOT}/README.md" in bash_completes(f"megabot send --file {ROOT}/README")


@needs("fish")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("megabot se", {"send"}),
        ("megabot rec ver", {"verify"}),
        ("megabot replay last --pace f", {"fast", "fixed:10/s"}),
        ("megabot -p login tail --direction to_u", {"to_upstream"}),
        ("megabot send --no-s", {"--no-stream"}),
        ("megabot config sh", {"show"}),
        ("megabot -o t", {"text", "table"}),
        ("megabot chat -o t", {"text"}),
        ("megabot gateway --scenario fl", {"flaky-network"}),
        ("megabot tail upst", {"upstream"}),
        ("megabot rec grep re", set()),
    ],
)
def test_fish_completes(line: str, offered: set[str], tmp_path: Path) -> None:
    script = f'source {COMPLETIONS / "megabot.fish"}; complete -C "$argv[1]"'
    done = subprocess.run(
        ["fish", "--no-config", "-c", script, line],
        capture_output=True, text=True, check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert {each.partition("\t")[0] for each in done.stdout.splitlines()} == offered


@needs("zsh")
def test_zsh_reads_its_script() -> None:
    subprocess.run(["zsh", "-n", str(COMPLETIONS / "_megabot")], check=True)


def test_the_wheel_puts_every_page_and_completion_where_systems_look() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    pages = {f"man/{page.name}": f"share/man/man{page.suffix[1:]}/{page.name}" for page in PAGES}
    assert {name: place for name, place in shared.items() if name.startswith("man/")} == pages
    scripts = {f"completions/{script.name}" for script in (ROOT / "completions").iterdir()}
    assert {name for name in shared if name.startswith("completions/")} == scripts
