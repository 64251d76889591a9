"""A recorded figure made again: the same, or out of its row's spread."""

from __future__ import annotations

import json

import pytest
from made import is_one_sentence
from made_world import BACKBONE, made_home

from cstlib.cli import main
from cstlib.experiment_rows import Row
from cstlib.experiments import Table
from cstlib.paths import data_home, results_home
from cstlib.repeat import SAME, compare, repeat
from cstlib.reproduce import jobs, recorded, run_job

QUICK = {
    "backbone": BACKBONE,
    "episodes": 6,
    "batch_size": 3,
    "validation_episodes": 3,
}
ROWS = (Row("DINO", control="dino"), Row("pixels", {"supervision": "pixel"}))
RUN = f"mini-fold0-pixel-{BACKBONE}"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with made_home(tmp_path_factory.mktemp("home")) as world:
        table = Table("4", "made for this test", ROWS, ((1, 1), (2, 1)))
        for job in jobs(table, world, [0], [0, 1], test_episodes=4, **QUICK):
            run_job(job, world)
        yield world


def names(word):
    found = [name for name in recorded() if name.startswith(word)]
    assert found
    return found


@pytest.mark.parametrize("word", ["mini-fold0-dino-2way", RUN])
def test_each_figure_comes_out_again(world, word):
    """Training runs, their further tests, and controls, from nothing."""
    (*_, name) = names(word)
    before = recorded()[name]
    for one in repeat(name, world):
        assert one.after == one.before and one.agrees
    assert recorded()[name] == before
    assert not (data_home() / "runs" / "again").exists()


def test_the_command_says_what_is_too_far_apart(world, capsys):
    name = names("mini-fold0-dino-1way")[0]
    assert main(["reproduce", "--again", name]) == 0
    said = capsys.readouterr().out
    assert name in said and "0.00 of 0.05 allowed" in said
    path = results_home() / f"{name}.json"
    kept = path.read_text()
    record = json.loads(kept)
    record["metrics"]["background"]["miou"] += 0.01
    path.write_text(json.dumps(record))
    assert main(["reproduce", "--again", path.name]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "too far apart" in line] == ["mIoU"]
    path.write_text(kept)


def made(fold, seed, miou, **config):
    figures = {"exact_ratio": 0.5, "miou": miou, "fb_iou": 0.5}
    return {
        "config": {"fold": fold, "seed": seed, "lam": 0.1, **config},
        "test_episodes": 1000,
        "metrics": {"background": figures},
    }


def test_allowed_is_the_spread_over_folds_and_seeds_of_the_same_setting():
    have = {
        "a": made(0, 0, 0.30),
        "b": made(1, 0, 0.34),
        "c": made(0, 1, 0.32),
        "other": made(0, 0, 0.90, lam=0.5),
        "another test": made(0, 0, 0.90) | {"way": 2, "shot": 1},
        "choices": {"kind": "choices"},
    }
    er, miou, _ = compare(have["a"], made(0, 0, 0.315), have)
    assert miou.allowed == pytest.approx(2.0) and miou.agrees
    assert er.allowed == SAME and er.agrees
    assert not compare(have["a"], made(0, 0, 0.325), have)[1].agrees
    assert compare(have["other"], have["other"], have)[1].allowed == SAME


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["mini-fold9-nothing"], "no recorded run"),
        (["pixel"], "such as mini-fold0-pixel"),
        (["--data", "mini-coco"], "is of --data mini"),
    ],
)
def test_what_cannot_be_repeated_is_said(world, capsys, argv, word, monkeypatch):
    if "--data" in argv:
        monkeypatch.setattr(
            "cstlib.reproduce_command.load_world",
            lambda _: type(world)("mini-coco", world.root, 96, BACKBONE, ()),
        )
        argv = [names("mini-fold0-dino")[0], *argv]
    assert main(["reproduce", "--again", *argv]) == 2
    line = capsys.readouterr().err.splitlines()[-1].removeprefix("cstlib: ")
    assert word in line and is_one_sentence(line)
