"""Two processes under `torchrun` do what one does, stop together and fail together.

They are started once for all tests; `two_processes.py` holds what they do.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made import is_one_sentence
from made_world import BACKBONE, made_home
from two_processes import SETTINGS, TABLE, TRAIN

from cstlib import distributed
from cstlib.baselines import make_learner
from cstlib.checkpoints import load_checkpoint, save_checkpoint
from cstlib.cli import main
from cstlib.reproduce import jobs, run_job
from cstlib.worlds import load_world

pytest.importorskip("resource", reason="torchrun on this system needs no test")
HERE = Path(__file__).parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """One process's results in ``one``, two processes' beside them, on one world."""
    top = tmp_path_factory.mktemp("top")
    with made_home(top / "home"):
        assert main([*TRAIN, "--out", str(top / "one")]) == 0
        save_made_checkpoint(top / "made.pt")
        made = ["evaluate", "--checkpoint", str(top / "made.pt"), "--episodes", "5"]
        assert main([*made, "--way", "2", "--json", str(top / "one.json")]) == 0
        paths = os.pathsep.join([str(HERE.parent), str(HERE)])
        done = subprocess.run(
            [*TORCHRUN, str(HERE / "two_processes.py"), str(top)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said = [json.loads((top / f"codes{r}.json").read_text()) for r in (0, 1)]
        yield SimpleNamespace(
            top=top,
            codes=[each["codes"] for each in said],
            said=[each["said"] for each in said],
        )


def save_made_checkpoint(path):
    """A learner whose predictions differ from pixel to pixel, though untrained."""
    torch.manual_seed(0)
    learner = make_learner("cst", 72)
    with torch.no_grad():
        learner.segmentation_head.after[-1].weight *= 30
        learner.classification_head.after[-1].weight *= 30
    config = {"data": "mini", "backbone": BACKBONE, "supervision": "pixel"}
    state = learner.state_dict()
    save_checkpoint(path, config=config, learner=state, in_channels=72, episode=0)


def log_of(out):
    with (out / "log.csv").open() as file:
        return [
            {k: float(v) for k, v in row.items() if v and k != "seconds"}
            for row in csv.DictReader(file)
        ]


def test_two_processes_train_as_one_does(both):
    assert [codes["whole"] for codes in both.codes] == [0, 0]
    ours, theirs = log_of(both.top / "one"), log_of(both.top / "two")
    assert [row["episode"] for row in theirs] == [3, 6, 9, 12]
    assert "val_miou" in theirs[1] and "val_miou" in theirs[3]
    for one, two in zip(ours, theirs):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-4)
    record = json.loads((both.top / "two" / "record.json").read_text())
    assert record["processes"] == 2
    one = json.loads((both.top / "one" / "record.json").read_text())
    assert record["metrics"]["background"]["episodes"] == 5
    for name in ("exact_ratio", "miou", "fb_iou"):
        figure = one["metrics"]["background"][name]
        assert record["metrics"]["background"][name] == pytest.approx(figure, abs=1e-3)


def test_the_shared_test_sums_to_the_whole_ones_figures(both):
    one, two = (
        json.loads((both.top / f"{name}.json").read_text()) for name in ("one", "two")
    )
    for void in ("background", "ignore"):
        ours, theirs = one["metrics"][void], two["metrics"][void]
        assert ours["miou"] > 0.01 and theirs["episodes"] == 5
        assert theirs["class_iou"] == pytest.approx(ours["class_iou"], abs=1e-3)
        assert theirs["exact_ratio"] == ours["exact_ratio"]


def test_only_the_first_process_speaks(both):
    assert "Trained 12 episodes" in both.said[0]["whole"]
    for name in ("whole", "evaluate", "stopped", "failed", "full"):
        assert both.said[1][name] == ""


def test_a_signal_to_one_stops_all_after_saving(both):
    assert [codes["stopped"] for codes in both.codes] == [130, 130]
    assert "continue with the same command and --resume" in both.said[0]["stopped"]
    assert [codes["resumed"] for codes in both.codes] == [0, 0]
    assert log_of(both.top / "stopped") == log_of(both.top / "two")
    ours, theirs = (
        load_checkpoint(both.top / name / "last.pt") for name in ("stopped", "two")
    )
    for name, weights in theirs["learner"].items():
        assert torch.equal(ours["learner"][name], weights)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("failed", "The second process has a problem"),
        ("full", "free some disk space"),
        ("again", "already holds a run"),
    ],
)
def test_a_failure_of_one_ends_all_with_its_sentence(both, name, word):
    assert [codes[name] for codes in both.codes] == [2, 2]
    sentence = both.said[0][name].splitlines()[-1].removeprefix("cstlib: ")
    assert word in sentence and is_one_sentence(sentence)


def test_a_table_is_shared_out_too(both, monkeypatch):
    monkeypatch.setenv("CSTLIB_DATA", str(both.top / "home"))
    world = load_world("mini")
    results = both.top / "home" / "results"
    theirs = {p.name: json.loads(p.read_text()) for p in results.glob("*.json")}
    assert len(theirs) == 4
    for job in jobs(TABLE, world, [0], [0], **SETTINGS):
        run_job(job, world, home=both.top)
    for name, record in theirs.items():
        assert record["processes"] == 2
        ours = json.loads((both.top / "results" / name).read_text())
        assert ours["processes"] == 1
        figures = ours["metrics"]["background"]["class_iou"]
        found = record["metrics"]["background"]["class_iou"]
        assert found == pytest.approx(figures, abs=1e-3)


def test_what_cannot_be_shared_is_refused(both, monkeypatch, capsys):
    assert [codes["alone"] for codes in both.codes] == [2, 2]
    sentence = both.said[0]["alone"].removeprefix("cstlib: ").strip()
    assert "without torchrun" in sentence and is_one_sentence(sentence)


def test_without_torchrun_nothing_is_shared(monkeypatch):
    assert (distributed.rank(), distributed.size()) == (0, 1)
    assert distributed.share([1, 2, 3]) == [1, 2, 3]
    one = torch.ones(2)
    distributed.add_up(one)
    assert one.tolist() == [1, 1] and not distributed.any_true(False)
    assert distributed.from_first(lambda: 5) == 5
    with distributed.joined("cpu") as device:
        assert device == torch.device("cpu") and distributed.size() == 1


def test_every_item_is_in_one_share(monkeypatch):
    monkeypatch.setattr(distributed, "size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.share(range(10)))
    assert sorted(item for share in shares for item in share) == list(range(10))
    assert {len(share) for share in shares} == {3, 4}
    # Fewer episodes in a batch than processes: some have nothing to do.
    assert distributed.share([7, 8]) == []
