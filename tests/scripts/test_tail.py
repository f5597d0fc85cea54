"""Several sources at once, figures, conditions that fail, forms of one's own."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from megabot_cli.recording.record import Record
from tests.scripts.conftest import Operator, start_gateway
from tests.scripts.test_relay_and_recordings import start_relay
from tests.storage.conftest import segment_bytes
from tests.support.processes import Processes, megabot

GOLDEN = Path(__file__).parents[1] / "golden"
SEALED = str(GOLDEN / "recording_1_0" / "sealed")
HAR = str(GOLDEN / "har" / "chromium_156.har")


def bare(path: Path, *at_s: float) -> str:
    """Messages one a line, said at these Unix seconds."""
    messages = [
        {"id": f"{path.stem}_{at}", "type": "chat_send", "payload": {"content": "x"},
         "timestamp": at}
        for at in at_s
    ]  # fmt: skip
    path.write_text("".join(json.dumps(each) + "\n" for each in messages))
    return str(path)


def test_recordings_are_merged_by_time_and_each_line_says_which(
    stranger: Operator, tmp_path: Path
) -> None:
    odd = bare(tmp_path / "odd.jsonl", 1_700_000_001.0, 1_700_000_003.0)
    even = bare(tmp_path / "even.jsonl", 1_700_000_000.0, 1_700_000_002.0, 1_700_000_004.0)
    done = stranger.types("tail", odd, even, "--json")
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["source"] for each in seen] == [
        "even.jsonl", "odd.jsonl", "even.jsonl", "odd.jsonl", "even.jsonl",
    ]  # fmt: skip
    lines = stranger.types("tail", odd, even, "-n", "1").stdout.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["[odd.jsonl]", "[even.jsonl]"]
    assert "source" not in json.loads(stranger.types("tail", odd, "--json", "-n1").stdout)


def test_a_limit_counts_in_all_sources_and_last_ones_come_before_it(
    stranger: Operator, tmp_path: Path
) -> None:
    odd = bare(tmp_path / "odd.jsonl", 1.0, 3.0, 5.0, 7.0)
    even = bare(tmp_path / "even.jsonl", 2.0, 4.0, 6.0, 8.0)

    def seen(*arguments: str) -> list[str]:
        done = stranger.types("tail", *arguments, "--fields", "id")
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert seen(odd, even, "--limit", "3") == ["odd_1.0", "even_2.0", "odd_3.0"]
    assert seen(odd, "-n", "3", "--limit", "2") == ["odd_3.0", "odd_5.0"]
    around = ("--where", "id == 'odd_5.0' || id == 'odd_7.0'", "--around", "1", "--limit", "1")
    assert seen(odd, *around) == ["odd_3.0", "odd_5.0", "odd_7.0"]


def test_as_many_lines_are_shown_as_were_asked_for_though_a_greeting_was_passed_on(
    stranger: Operator, tmp_path: Path
) -> None:
    greeted = greetings(
        tmp_path / "one.jsonl", "sess_1", ["message", "inject", "inject", "message", "inject"]
    )
    other = greetings(tmp_path / "two.jsonl", "sess_2", ["message", "inject", "message"])

    def arrows(*arguments: str) -> str:
        done = stranger.types("tail", *arguments)
        assert done.returncode == 0, done.stderr
        words = [line.removeprefix("[one.jsonl]").removeprefix("[two.jsonl]").split()[1]
                 for line in done.stdout.splitlines()]  # fmt: skip
        return "".join(words)

    assert arrows(greeted) == "←⇠←"
    assert arrows(greeted, "-n", "2") == "⇠←"
    assert arrows(greeted, "-n", "3") == arrows(greeted, "-n", "9") == "←⇠←"
    assert arrows(greeted, "-n", "2", "--stats") == "⇠←"
    assert arrows(greeted, "--limit", "3") == "←⇠←"
    assert arrows(greeted, other) == "←←⇠←←", "each source has greetings of its own"
    assert sorted(arrows(greeted, other, "-n", "1")) == ["←", "←"]
    # A program gets all that was sent, and so it does with events.
    for more in (("--json",), ("--events",)):
        done = stranger.types("tail", greeted, "-n", "2", *more)
        assert done.stdout.count("connection_established") in {2, 4}
        assert len(done.stdout.splitlines()) == 2


def greetings(path: Path, session: str, kinds: list[str]) -> str:
    """A recording of them: what the upstream said (message) and the relay (inject)."""
    named = "connection_established"
    text = json.dumps({"type": named, "payload": {"session_id": session}})
    records = [
        Record(n=n, t=n, kind=kind, direction="to_client", session=session, type=named, data=text)
        for n, kind in enumerate(kinds, 1)
    ]
    path.write_bytes(segment_bytes(records))
    return str(path)


def test_recordings_of_one_name_are_told_apart_by_their_folders(
    stranger: Operator, tmp_path: Path
) -> None:
    paths = []
    for folder in ("a/before", "a/after", "b/after"):
        (tmp_path / folder).mkdir(parents=True)
        paths.append(bare(tmp_path / folder / "same.jsonl", 1.0))
    other = bare(tmp_path / "other.jsonl", 1.0)
    done = stranger.types("tail", *paths, other, "--fields", "source")
    assert sorted(done.stdout.splitlines()) == [
        "a/after/same.jsonl", "b/after/same.jsonl", "before/same.jsonl", "other.jsonl",
    ]  # fmt: skip
    twice = stranger.types("tail", other, f"{tmp_path}/a/../other.jsonl")
    assert (twice.returncode, "named twice" in twice.stderr) == (2, True)


def test_figures_come_by_time_also_while_nothing_else_does(
    stranger: Operator, processes: Processes, tmp_path: Path
) -> None:
    watching = processes.start(
        "tail", megabot("tail", "-", "--stats-every", "100ms"), env=stranger.environment()
    )
    watching.wait_for("two sums", lambda: watching.error_lines.count("seen so far") >= 2)
    assert "messages  none" in watching.errors
    watching.write('{"type":"chat_send","payload":{"content":"x"}}\n')
    watching.wait_for_line("chat_send")
    watching.wait_for("another sum", lambda: "1 to upstream" in watching.errors)
    watching.close_input()
    assert watching.wait() == 0
    assert watching.error_lines.count("seen") == 1


def test_what_is_wrong_with_a_recording_is_told(stranger: Operator, tmp_path: Path) -> None:
    torn = tmp_path / "torn.jsonl"
    whole = (Path(SEALED) / "000001.jsonl").read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    for more in ((), ("--stats",), (SEALED,)):
        done = stranger.types("tail", str(torn), *more, "--from", "nowhere")
        assert done.returncode == 0
        assert "torn.jsonl: torn at byte" in done.stderr, more
        assert "there is no mark 'nowhere' in it" in done.stderr, more


@pytest.mark.parametrize("more", [(), ("-n", "5"), ("--json",), ("another",), ("--stats",)])
def test_that_nothing_was_found_is_said(
    stranger: Operator, tmp_path: Path, more: tuple[str, ...]
) -> None:
    another = tmp_path / "another.jsonl"
    another.write_bytes((Path(SEALED) / "000001.jsonl").read_bytes())
    others = (str(another) if each == "another" else each for each in more)
    line = ("tail", SEALED, *others, "--no-follow")
    done = stranger.types(*line, "--type", "none_such")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing was found that is wanted" in done.stderr.splitlines()
    assert "found" not in stranger.types("-q", *line, "--type", "none_such").stderr
    for chosen in ((), ("--type", "chat_receive")):
        done = stranger.types(*line, *chosen)
        assert done.stdout
        assert "nothing was found" not in done.stderr


def test_what_comes_on_stdin_is_followed_to_its_end(stranger: Operator) -> None:
    lines = (Path(SEALED) / "000001.jsonl").read_text()
    form = ("--template", "{type}\\t{payload.content}")
    for more in ((), ("--no-follow",)):
        done = stranger.types("tail", "-", *more, *form, typed=lines)
        assert done.returncode == 0, done.stderr
        assert "chat_receive\tHello there." in done.stdout.splitlines()
    nothing = stranger.types("tail", "-", typed="")
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_fields_are_columns_in_text_and_keys_in_json(stranger: Operator) -> None:
    chosen = ("--type", "chat_receive", "--fields", "id,payload.content,payload.nothing")
    done = stranger.types("tail", SEALED, *chosen)
    assert done.stdout == "up_5\tHello there.\t\n"
    for command in (("tail", SEALED), ("rec", "show", SEALED), ("rec", "grep", "", SEALED)):
        (line,) = stranger.types(*command, *chosen, "--json").stdout.splitlines()
        assert json.loads(line) == {
            "id": "up_5", "payload.content": "Hello there.", "payload.nothing": None,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--fields", "tpye"), 2, "Did you mean type?"),
        (("--fields", "id.x"), 2, "no field"),
        (("--template", "{type} {content}"), 2, "Did you mean payload.content?"),
        (("--template", "{id"), 2, "column 1"),
        (("--assemble", "--json"), 2, "every chunk"),
        (("--template", "x", "--json"), 2, "form of its own"),
        (("--template", "@no-such-file"), 9, "no-such-file"),
        (("--fields", "id", "--template", "{id}"), 2, "exclude"),
        (("--fail-on", "type =="), 2, "column 8"),
        (("--since", "soon"), 2, "duration"),
        (("--since", "1m", "--from", "n=1"), 2, "exclude"),
        ((SEALED,), 2, "twice"),
        (("nonsuch",), 9, "nonsuch"),
        (("profile:nonsuch",), 9, "There is no profile 'nonsuch'\n"),
        (("relay",), 9, "No relay runs"),
        (("--direct",), 2, "upstream"),
        (("upstream", "--no-follow"), 2, "upstream has no history"),
        (("--record", "kept"), 2, "--record keeps what comes live"),
    ],
)
def test_wrong_use_is_told(
    stranger: Operator, arguments: tuple[str, ...], code: int, told: str
) -> None:
    done = stranger.types("tail", SEALED, *arguments)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert done.stdout == ""


def test_a_condition_that_must_not_hold_ends_with_13_and_names_the_message(
    stranger: Operator,
) -> None:
    done = stranger.types("tail", SEALED, "--fail-on", "type == 'chat_receive'")
    assert done.returncode == 13
    assert "chat_receive up_5" in done.stderr
    assert done.stdout.splitlines()[-1].endswith("Hello there.")


def test_figures_go_to_stderr_and_messages_to_stdout(stranger: Operator) -> None:
    done = stranger.types("tail", SEALED, "--type", "chat_*", "--stats")
    assert "messages over time" in done.stderr
    assert "messages over time" not in done.stdout
    assert "Hello there." in done.stdout


@pytest.mark.timeout(90)
def test_two_upstreams_a_relay_and_a_recording_are_watched_at_once(
    processes: Processes, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    staging = start_gateway(processes, "--listen", ":0")
    (home / "config.yaml").write_text(f"profiles: {{staging: {{url: '{staging}'}}}}\n")
    ann = Operator(home, start_gateway(processes, "--listen", ":0"))
    ann.logs_in()
    ann.logs_in("-p", "staging", env={"MEGABOT_URL": ""})
    relay = start_relay(processes, ann)
    relay.ready()
    assert ann.types("send", "before").returncode == 0
    command = megabot(
        "tail", "relay", "profile:staging", SEALED, "-n", "5",
        "--record", str(tmp_path / "kept"), "--fields", "source,type,payload.content",
    )  # fmt: skip
    watching = processes.start("tail", command, env=ann.environment())
    watching.wait_for_line("watching the relay's tap")
    watching.wait_for_line("connected, session")
    assert ann.types("send", "after").returncode == 0
    watching.wait_for_line("relay\tchat_send\tafter")
    watching.wait_for_line("profile:staging\tconnection_established")
    watching.signal(signal.SIGINT)
    assert watching.wait() == 130
    past = [line for line in watching.lines if line.startswith("sealed\t")]
    assert len(past) == 4  # and a gap, told on stderr
    assert any("to me, which is one word" in line for line in watching.lines)
    (kept,) = (tmp_path / "kept").iterdir()
    shown = ann.types("recordings", "show", str(kept), "--fields", "type,payload.content").stdout
    assert "chat_send\tafter" in shown
    assert "before" not in shown  # it had been recorded already
    assert ann.types("recordings", "verify", str(kept)).returncode == 0
    assert relay.stop() == 0
