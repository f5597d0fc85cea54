"""What `pip install` gives: the wheel in a fresh environment, far from this repository."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.processes import bare_environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel; libraries are borrowed from ours."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    wheels = list(folder.glob("*.whl"))
    if built.returncode != 0 or len(wheels) != 1:
        pytest.skip(f"no wheel can be built here: {built.stderr.strip()[-300:]}")
    place = folder / "env"
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    subprocess.run(
        [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheels[0])],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    packages = next((place / "lib").glob("python*")) / "site-packages"
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


def environment(home: Path) -> dict[str, str]:
    """One in which only what is installed is found."""
    bare = bare_environment(home)
    bare.pop("PYTHONPATH", None)
    return bare


def run(
    installed: Path, arguments: Sequence[str], home: Path, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(installed / "megabot"), *arguments],
        env={**environment(home), **env},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_it_is_the_wheel_that_runs(installed: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [str(installed / "python"), "-c", "import megabot_cli; print(megabot_cli.__file__)"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=environment(tmp_path),
    )  # fmt: skip
    assert str(installed.parent) in where.stdout


@pytest.mark.timeout(120)
def test_the_tour_holds_in_it(installed: Path, tmp_path: Path) -> None:
    done = run(installed, ["demo"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of it held" in done.stdout


def test_pages_completions_and_scenarios_come_along(installed: Path, tmp_path: Path) -> None:
    share = installed.parent / "share"
    assert (share / "man" / "man1" / "megabot.1").is_file()
    assert (share / "bash-completion" / "completions" / "megabot").is_file()
    assert (share / "zsh" / "site-functions" / "_megabot").is_file()
    scenario = ["gateway", "--listen", ":0", "--scenario", "flaky-network", "--", "true"]
    done = run(installed, scenario, tmp_path)
    assert done.returncode == 0, done.stderr
    schema = run(installed, ["config", "schema"], tmp_path)
    assert '"$schema"' in schema.stdout


@pytest.mark.parametrize(
    "env", [{"LC_ALL": "C"}, {"NO_COLOR": "1"}, {"HOME": ""}, {"TERM": "dumb"}, {"PYTHONUTF8": "0"}]
)
def test_it_runs_in_bare_surroundings(installed: Path, tmp_path: Path, env: dict[str, str]) -> None:
    command = ["gateway", "--listen", ":0", "--latency", "0", "--", "sh", "-c"]
    asks = f"{installed / 'megabot'} config show >/dev/null && {installed / 'megabot'} --help"
    done = run(installed, [*command, asks], tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert "Usage: megabot" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_streams_are_no_fault_of_ours(
    installed: Path, tmp_path: Path, closed: tuple[int, ...]
) -> None:
    redirections = " ".join(f"{number}>&-" for number in closed)
    done = subprocess.run(
        ["sh", "-c", f"{installed / 'megabot'} config show {redirections}"],
        env=environment(tmp_path), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
