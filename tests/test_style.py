"""The code is in order: ruff's rules, ruff's format, and types that fit together.

The settings are in pyproject.toml. mypy keeps what it found in ``.mypy_cache``: the
first run takes half a minute, the next ones two seconds.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = ("cstlib", "tests")


@pytest.mark.parametrize(
    "words",
    [
        ("ruff", "check", *CODE, "notebooks"),
        ("ruff", "format", "--check", *CODE),
        ("mypy",),
    ],
    ids=" ".join,
)
def test_nothing_to_complain_about(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        check=False,
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_text_files_name_their_encoding() -> None:
    """Windows has another one by default."""
    silent = []
    for path in sorted((ROOT / "cstlib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(getattr(node, "func", None), "attr", "")
            words = {keyword.arg for keyword in getattr(node, "keywords", ())}
            if called == "read_text" and not (node.args or words):
                silent.append(f"{path.name}:{node.lineno}")
    assert not silent


def test_mypy_reads_the_bodies_of_functions(tmp_path: Path) -> None:
    """Also where a signature has no types; else the check above would say little."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f(x):\n    return 1 + ''\n", encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml"),
            *("--cache-dir", tmp_path / "cache", wrong),
        ],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1 and "wrong.py:2" in done.stdout, done.stderr
