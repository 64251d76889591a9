"""The hosted tests run on what pyproject.toml promises, and do what CONTRIBUTING says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Comes with JupyterLab.
yaml = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def jobs() -> dict:
    text = (ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["jobs"]


@pytest.fixture(scope="module")
def project() -> str:
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_three_systems_and_every_python_from_the_oldest_on(jobs, project):
    matrix = jobs["tests"]["strategy"]["matrix"]
    systems = ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert matrix["os"] == systems
    oldest = re.search(r'requires-python = ">=(.+)"', project)[1]
    assert matrix["python"][0] == oldest
    minors = [int(version.split(".")[1]) for version in matrix["python"]]
    assert minors == list(range(minors[0], 14))
    # A combination that repeats all values of the matrix would not be a new job.
    assert matrix["torch"] == ["newest"]
    assert matrix["include"] == [
        {"os": system, "python": oldest, "torch": "oldest"} for system in systems
    ]


def test_the_oldest_torch_is_the_oldest_that_is_allowed(jobs, project):
    (step,) = [s for s in jobs["tests"]["steps"] if s.get("if")]
    assert step["if"] == "matrix.torch == 'oldest'"
    for package in ("torch", "torchvision"):
        lowest = re.search(rf'"{package}>=([\d.]+),', project)[1]
        assert f'"{package}=={lowest}.*"' in step["run"]


def test_the_readmes_commands_are_run(jobs):
    run = {
        name: [step.get("run", "") for step in job["steps"]]
        for name, job in jobs.items()
    }
    # Together they are `pytest tests`.
    assert "python -m pytest tests --ignore=tests/test_style.py" in run["tests"]
    assert "python -m pytest tests/test_style.py" in run["style"]
    assert "python -m pytest --nbval notebooks/" in run["notebooks"]


def test_what_contributing_names_is_there():
    """Files and folders in backticks exist, apart from those to be written."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./-]+/[\w./-]*)`", text))
    named |= set(re.findall(r"`(\w+\.(?:txt|toml|yml|md))`", text))
    new = {name for name in named if "NN" in name or "NAME" in name}
    assert len(named - new) > 15
    for name in named - new:
        assert (ROOT / name).exists(), name
