"""What tests build on: programs that are heard, waited for, and gone afterwards."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.processes import NotInTime, Process, Processes, wait_until

READY = 'print(\'{"event":"ready","url":"ws://x"}\', flush=True);'
FOR_EVER = "import time; time.sleep(600)"


def python(processes: Processes, code: str, **options: str) -> Process:
    return processes.start("python", [sys.executable, "-c", code], **options)  # type: ignore[arg-type]


def runs(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_ready_line_is_found_among_others(processes: Processes) -> None:
    process = python(processes, f"print('starting'); {READY} {FOR_EVER}")
    assert process.ready() == {"event": "ready", "url": "ws://x"}
    assert process.alive


def test_a_program_that_ends_before_it_is_ready_is_told_with_what_it_said(
    processes: Processes,
) -> None:
    process = python(processes, "import sys; print('port in use', file=sys.stderr); sys.exit(12)")
    with pytest.raises(NotInTime, match=r"the ready line: the program ended first[^$]*port in use"):
        process.ready()
    assert process.wait() == 12


def test_a_program_that_says_nothing_is_told_after_the_limit(processes: Processes) -> None:
    process = python(processes, FOR_EVER)
    with pytest.raises(NotInTime, match=r"the ready line: not within 0.1 s"):
        process.ready(limit_s=0.1)


def test_what_is_typed_arrives_and_output_is_kept_to_the_last_line(processes: Processes) -> None:
    echo = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"
    process = python(processes, echo)
    process.write("one\n")
    assert process.wait_for_line("ONE") == "ONE"
    process.write("two")
    process.close_input()
    assert process.wait() == 0
    assert process.output == "ONE\nTWO"


def test_input_given_at_the_start_is_all_there_is(processes: Processes) -> None:
    process = python(processes, "print(input() + input())", typed="a\nb")
    assert process.wait() == 0
    assert process.output == "ab"


def test_more_output_than_a_pipe_holds_blocks_nobody(processes: Processes) -> None:
    process = python(processes, "print('x' * 1_000_000); import sys; print('end', file=sys.stderr)")
    assert process.wait() == 0
    assert (len(process.output), process.errors) == (1_000_000, "end")


def test_stop_asks_and_gives_the_exit_code(processes: Processes) -> None:
    polite = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7));"
    process = python(processes, f"{polite} {READY} {FOR_EVER}")
    process.ready()
    assert process.stop() == 7
    assert process.end() == 7


def test_a_program_that_will_not_stop_fails_the_test_and_is_gone_afterwards(
    processes: Processes,
) -> None:
    stubborn = "import signal; signal.signal(15, signal.SIG_IGN);"
    process = python(processes, f"{stubborn} {READY} {FOR_EVER}")
    process.ready()
    with pytest.raises(NotInTime, match="python ends"):
        process.stop(limit_s=0.1)
    assert process.end() == -signal.SIGKILL
    assert not runs(process.pid)


def test_what_a_program_started_is_gone_with_it_even_when_it_ended_first(
    processes: Processes,
) -> None:
    starts_another = (
        "import subprocess, sys;"
        f"child = subprocess.Popen([sys.executable, '-c', '{FOR_EVER}'], stdout=2);"
        "print(child.pid, flush=True)"
    )
    process = python(processes, starts_another)
    orphan = int(process.wait_for_line(""))
    wait_until(lambda: not process.alive, "the parent ends")
    assert runs(orphan)
    process.end()
    wait_until(lambda: not runs(orphan), "the orphan is gone")


def test_at_the_end_nothing_runs_and_all_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = Processes(tmp_path)
    process = python(running, f"print('hello'); {READY} {FOR_EVER}")
    process.ready()
    running.end()
    assert not runs(process.pid)
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # reaped already
    assert "hello" in capsys.readouterr().out


def test_nobodys_settings_reach_a_program(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEGABOT_TOKEN", "somebody's")
    monkeypatch.setenv("HTTP_PROXY", "http://elsewhere")
    code = "import os; print(sorted(k for k in os.environ if 'MEGABOT' in k or 'PROXY' in k))"
    process = python(processes, code)
    process.wait()
    assert process.output == "['MEGABOT_HOME']"


def test_a_megabot_command_can_be_run_to_its_end(processes: Processes) -> None:
    process = processes.run("--version")
    assert process.wait() == 0
    assert "megabot" in process.output
