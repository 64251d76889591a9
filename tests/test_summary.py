"""The README shows the recorded runs, and nothing else."""

from __future__ import annotations

from pathlib import Path

from cstlib.records import read_records
from cstlib.summary import runs_table

TOP = Path(__file__).resolve().parent.parent


def test_readme_shows_the_records():
    assert runs_table() in (TOP / "README.md").read_text(encoding="utf-8")


def test_recorded_pixel_runs_beat_every_blind_control():
    """All foreground stays below 10% mIoU here; a learner must do far better."""
    records = read_records(kind="train", data="mini", supervision="pixel")
    assert records
    for record in records:
        assert record["test_episodes"] == 1000
        assert record["metrics"]["background"]["miou"] > 0.3
