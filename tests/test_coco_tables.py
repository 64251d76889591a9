"""Tables 2, 5 and 8, the paper's on COCO-20i: in miniature, by their command."""

from __future__ import annotations

from functools import partial

import pytest

from cstlib import reproduce_command
from cstlib.cli import main
from cstlib.experiments import TABLES
from cstlib.records import read_records
from cstlib.reproduce import jobs

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")
NUMBERS = ("2", "5", "8")
FOLD = "1"
# So few that a run takes less than a second.
QUICK = {"batch_size": 2, "validation_episodes": 1}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A data home whose miniature has enough images for 5 shots of fold 1's classes."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CSTLIB_DATA", str(home))
        patch.setattr(reproduce_command, "jobs", partial(jobs, **QUICK))
        drawing = ["data", "mini", "--layout", "coco", "--train", "80", "--val", "80"]
        assert main(drawing) == 0
        yield home


def command(number: str, *more: str) -> list[str]:
    """The command of that table on one fold."""
    run = ["reproduce", number, "--data", "mini-coco", "--folds", FOLD]
    return [*run, "--episodes", "4", "--test-episodes", "2", *more]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_table_runs_and_is_shown(number, home, capsys, monkeypatch):
    table = TABLES[number]
    assert table.data == "coco"
    assert main(command(number)) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0].startswith(f"Table {number}: {table.title}")
    for row in table.rows:
        mine = [line for line in lines if line.startswith(row.name + "  ")]
        assert len(mine) == len(table.measures)
        for line in mine:
            cells = line.removeprefix(row.name).split()
            assert len(cells) == 5 and cells[-1] == "1"
            assert all(0 <= float(ours) <= 100 for ours in cells[0:4:2])
            # The paper's own figures stand beside ours, where it has some.
            assert (cells[1:4:2] != ["-", "-"]) == (row.paper is not None)
    # Nothing is run to show it, nor when it is asked for again.
    monkeypatch.setattr("cstlib.reproduce.open_features", None)
    for again in (command(number, "--show"), command(number)):
        assert main(again) == 0
        assert capsys.readouterr().out == printed


def test_their_records_are_this_worlds(home):
    records = read_records()
    assert records and not (home / "mini").exists()
    for record in records:
        config = record["config"]
        assert record["name"].startswith(f"mini-coco-fold{FOLD}-")
        assert (config["data"], config["backbone"]) == ("mini-coco", "dino-mini")
        assert "--data mini-coco" in record["command"]
    # COCO's folds: every fourth of the 20 classes.
    classes = {c for r in records for c in r["metrics"]["background"]["class_iou"]}
    assert classes <= {"2", "6", "10", "14", "18"}
