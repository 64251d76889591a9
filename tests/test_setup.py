"""The set-up: three lists of packages that must agree, and what make does.

The Makefile runs here against a made-up Python, a shell script that writes down how
it was called; nothing is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
needs_make = pytest.mark.skipif(
    os.name == "nt" or not shutil.which("make"), reason="needs make"
)

FAKE_PYTHON = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
  *'print('*) echo "$FAKE_VERSION" ;;
  *'sys.exit('*) exit "$FAKE_OLD" ;;
  *'import venv'*) exit "$FAKE_NO_VENV" ;;
  '-m venv'*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  '-m pip'*) exit "$FAKE_PIP" ;;
  '-m pytest tests') exit "$FAKE_TESTS" ;;
  '-m pytest --nbval'*) exit "$FAKE_NOTEBOOKS" ;;
  '-m jupyterlab'*) pwd >> "$CALLS" ;;
esac
"""


class Course:
    """A copy of the course's set-up files, and a PATH that starts with fakes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "course"
        self.programs = folder / "programs"
        self.calls_file = folder / "calls"
        (self.folder / "notebooks").mkdir(parents=True)
        self.programs.mkdir()
        for name in ("Makefile", "requirements.txt"):
            shutil.copy(ROOT / name, self.folder)
        self.program("python3", FAKE_PYTHON)
        self.program("id", "#!/bin/sh\necho 1000\n")
        self.program("uname", "#!/bin/sh\necho Linux\n")

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def make(self, *words: str, **environment: str) -> subprocess.CompletedProcess:
        """Run make; the calls of Python since then are in ``calls``."""
        self.calls_file.write_text("", encoding="utf-8")
        asked = ("OLD", "NO_VENV", "PIP", "TESTS", "NOTEBOOKS")
        fakes = {f"FAKE_{what}": "0" for what in asked}
        cleared = {"PYTHON": "", "LAB_ARGS": "", "MAKEFLAGS": "", "MAKELEVEL": ""}
        screen = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}
        return subprocess.run(
            ["make", *words],
            check=False,
            cwd=self.folder,
            env={
                **os.environ,
                **cleared,
                **screen,
                **fakes,
                "FAKE_VERSION": "3.12",
                "CALLS": str(self.calls_file),
                "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return Course(tmp_path)


def requirement_lines() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_pip_conda_and_package_ask_for_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    conda = (ROOT / "environment.yml").read_text(encoding="utf-8")
    through_pip = re.findall(
        r"^ {6}- (.+)$", conda.partition("- pip:")[2], re.MULTILINE
    )
    assert requirement_lines() == [*wanted, "-e ."]
    assert through_pip == requirement_lines()
    python = re.search(r"^  - python(.+)$", conda, re.MULTILINE)
    assert python and python[1] == project["project"]["requires-python"]


def test_every_package_has_both_bounds() -> None:
    for line in requirement_lines()[:-1]:
        assert re.fullmatch(r"[a-z]+>=[\d.]+,<\d+", line), line


@needs_make
def test_too_old_a_python_ends_in_one_sentence(course: Course) -> None:
    python = str(course.programs / "python3")
    done = course.make("lab", f"PYTHON={python}", FAKE_OLD="1", FAKE_VERSION="3.8")
    assert done.returncode != 0
    sentence = done.stderr.splitlines()[0]
    assert "needs Python 3.10 or newer" in sentence and "is 3.8" in sentence
    assert not (course.folder / ".venv").exists()


@needs_make
def test_a_python_without_venv_ends_in_one_sentence(course: Course) -> None:
    done = course.make("lab", FAKE_NO_VENV="1")
    assert done.returncode != 0
    assert "lacks the venv module: install it" in done.stderr.splitlines()[0]
    assert not (course.folder / ".venv").exists()


@needs_make
def test_a_newer_python_is_found_beside_an_old_one(course: Course) -> None:
    old = FAKE_PYTHON.replace('"$FAKE_OLD"', "1")
    course.program("python3", old)
    course.program("python3.13", FAKE_PYTHON)
    done = course.make("setup")
    assert done.returncode == 0, done.stderr
    assert "with python3.13" in done.stdout


@needs_make
def test_packages_are_installed_once_and_after_a_change(course: Course) -> None:
    install = "-m pip install -r requirements.txt"
    assert course.make("setup").returncode == 0 and install in course.calls
    assert course.make("setup").returncode == 0 and not course.calls
    with (course.folder / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write("another\n")
    assert course.make("setup").returncode == 0 and install in course.calls
    assert "-m venv --clear .venv" not in course.calls


@needs_make
def test_a_failed_installation_is_tried_again(course: Course) -> None:
    assert course.make("test", FAKE_PIP="1").returncode != 0
    assert not any("pytest" in call for call in course.calls)
    assert course.make("test").returncode == 0
    assert "-m pip install -r requirements.txt" in course.calls


@needs_make
@pytest.mark.parametrize("tests", ["0", "1"])
@pytest.mark.parametrize("notebooks", ["0", "1"])
def test_both_parts_run_and_either_can_fail(course, tests, notebooks) -> None:
    done = course.make("test", FAKE_TESTS=tests, FAKE_NOTEBOOKS=notebooks)
    wanted = ["-m cstlib data mini", "-m pytest tests", "-m pytest --nbval notebooks/"]
    assert course.calls[-3:] == wanted
    assert (done.returncode == 0) == (tests == notebooks == "0")


@needs_make
@pytest.mark.parametrize(
    "user, screen, options",
    [("1000", ":0", ""), ("1000", "", " --no-browser"), ("0", ":0", " --allow-root")],
)
def test_lab_opens_in_the_notebooks_folder(course, user, screen, options) -> None:
    course.program("id", f"#!/bin/sh\necho {user}\n")
    done = course.make("lab", DISPLAY=screen)
    assert done.returncode == 0, done.stderr
    assert course.calls[-3:-1] == ["-m cstlib data mini", f"-m jupyterlab{options}"]
    assert Path(course.calls[-1]).samefile(course.folder / "notebooks")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert script.read_text(encoding="utf-8").rstrip().endswith("exec make test")
    assert os.name == "nt" or os.access(script, os.X_OK)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in (
        "make lab",
        "make test",
        "pip install -r requirements.txt",
        "python -m cstlib data mini",
        "pytest tests",
        "pytest --nbval notebooks/",
        "conda env create -f environment.yml",
    ):
        assert re.search(rf"^{re.escape(command)}$", readme, re.MULTILINE), command
