"""FS-S (Tables 8 and a.14): the support class is always the query's; ER means nothing."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch
from made import is_one_sentence
from made_world import BACKBONE
from test_sampler import coco_images, pascal_entries

from cstlib.baselines import make_learner
from cstlib.cli import main
from cstlib.config import TrainConfig
from cstlib.data.lists import images_by_class
from cstlib.data.sampler import (
    draw_coco_episode,
    draw_pascal_episode,
    training_plans,
)
from cstlib.errors import CstlibError
from cstlib.experiments import TABLES, Table, configuration
from cstlib.records import read_records
from cstlib.reproduce import jobs, recorded, run_job
from cstlib.result_tables import as_text, results
from cstlib.training import run_name

QUICK = {"backbone": BACKBONE, "episodes": 6, "batch_size": 3, "validation_episodes": 3}
IMAGES = 160  # of the made world


def draws(protocol, task, shot=1):
    """The first sixty test episodes."""
    if protocol == "coco":
        images = coco_images()
        return [draw_coco_episode(images, i, 1, shot, task) for i in range(60)]
    lists = pascal_entries(), images_by_class(pascal_entries())
    return [draw_pascal_episode(*lists, i, 1, shot, task) for i in range(60)]


@pytest.mark.parametrize("shot", [1, 5])
@pytest.mark.parametrize("protocol", ["pascal", "coco"])
def test_the_support_class_is_the_querys(protocol, shot):
    alike = 0
    for usual, plan in zip(
        draws(protocol, "fs-cs", shot), draws(protocol, "fs-s", shot), strict=True
    ):
        assert plan.support_classes == (plan.query_class,)
        assert (plan.query, plan.query_class) == (usual.query, usual.query_class)
        assert plan.query not in plan.supports[0]
        assert len(set(plan.supports[0])) == shot
        # Where FS-CS draws the query's class too, it is the very same episode.
        if usual.support_classes == plan.support_classes:
            assert plan == usual
            alike += 1
    assert 15 < alike < 45  # about half


@pytest.mark.parametrize("protocol", ["pascal", "coco"])
def test_training_walks_the_same_queries_in_both_tasks(protocol):
    entries = pascal_entries()
    images = images_by_class(entries) if protocol == "pascal" else coco_images()

    def plans(task, start=0):
        return list(training_plans(entries, images, 90, 3, protocol, start, task))

    usual, always = plans("fs-cs"), plans("fs-s")
    assert [p.query for p in usual] == [p.query for p in always]
    assert all(p.support_classes == (p.query_class,) for p in always)
    assert any(p.support_classes != (p.query_class,) for p in usual)
    assert plans("fs-s", start=57) == always[57:]


def test_a_dataset_of_the_task_says_present_everywhere(world):
    for split in ("trn", "val"):
        dataset = world.dataset(0, split, "fs-s")
        plans = [*dataset.training_plans(20, 0), *(dataset.plan(i) for i in range(20))]
        assert all(dataset.presence(plan).all() for plan in plans)
    usual = world.dataset(0, "val")
    assert not all(usual.presence(usual.plan(i)).all() for i in range(20))


def test_nothing_is_classified():
    config = TrainConfig(task="fs-s", supervision="pixel")
    assert (config.lam, TrainConfig().lam, TrainConfig(lam=0.5).lam) == (0, 0.1, 0.5)
    assert run_name(config) == "mini-fold0-pixel-taskfs-s-6000ep-seed0"
    assert config.options() == [
        *("--data", "mini", "--fold", "0", "--task", "fs-s", "--supervision", "pixel")
    ]
    learner = make_learner("cst", 12)
    logits = learner(torch.randn(2, 12, 144, 145))
    target = torch.ones(2, 24, 24)
    loss, _, seg = learner.losses(*logits, torch.ones(2).bool(), target, config.lam)
    assert loss == seg
    loss.backward()
    head = learner.classification_head.parameters()
    assert all(not p.grad.any() for p in head)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: TrainConfig(task="fs-x"), "no task 'fs-x'"),
        (lambda: TrainConfig(task="fs-s", select_by="er"), "classifies nothing"),
        (lambda: draw_coco_episode(coco_images(), 0, 2, 1, "fs-s"), "2 ways are not"),
        (lambda: draw_coco_episode(coco_images(), 0, 1, 1, "seg"), "no task 'seg'"),
        (lambda: training_plans([("a", 1)], {1: ["a"]}, 9, 0, task="x"), "no task 'x'"),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises(CstlibError, match=words) as caught:
        make()
    assert is_one_sentence(caught.value)


def test_trained_and_evaluated_by_command(world, tmp_path, capsys):
    out = tmp_path / "run"
    train = ["train", "--task", "fs-s", "--supervision", "pixel", "--out", str(out)]
    train += ["--backbone", BACKBONE, "--episodes", "6", "--batch-size", "3"]
    assert main([*train, "--validation-episodes", "3", "--test-episodes", "4"]) == 0
    said = capsys.readouterr().out
    assert "FB-IoU" in said and "\nER " not in said
    record = json.loads((out / "record.json").read_text())
    assert record["config"]["task"] == "fs-s" and record["config"]["lam"] == 0
    check = ["evaluate", "--checkpoint", str(out / "best.pt"), "--episodes", "4"]
    figures = tmp_path / "figures.json"
    assert main([*check, "--json", str(figures)]) == 0
    assert "fold 0, FS-S, 1-way 1-shot" in capsys.readouterr().out
    found = json.loads(figures.read_text())["metrics"]
    assert found["background"] == record["metrics"]["background"]
    # The other task of the same learner, and more ways than the task has.
    assert main([*check, "--task", "fs-cs"]) == 0
    assert "\nER " in capsys.readouterr().out
    assert main([*check, "--way", "2"]) == 2
    assert "FS-S segments one class" in capsys.readouterr().err


def test_table_8_runs_and_prints_both_figures(world):
    rows = {row.name: row for row in TABLES["8"].rows}
    small = Table(
        "8",
        "made for this test",
        (rows["everything foreground"], rows["DINO"], rows["CST"]),
        TABLES["8"].measures,
        "coco",
        TABLES["8"].figures,
    )
    todo = jobs(small, world, [1], [0], test_episodes=4, **QUICK)
    for job in todo:
        run_job(job, world)
    have = recorded()
    mine = [have[job.record_name(m)] for job in todo for m in small.measures]
    assert len({record["name"] for record in mine}) == 6
    assert {record["config"]["task"] for record in mine} == {"fs-s"}
    cells = results(todo, have)
    assert cells["CST", (1, 1), "miou"].paper == 44.0
    assert cells["CST", (1, 5), "fb_iou"].paper == 73.7
    assert cells["CST", (1, 1), "fb_iou"].value is not None
    assert cells["CST", (1, 1), "er"].value is None
    text = as_text(todo, have)
    assert "FB-IoU" in text and "ER" not in text and "70.3" in text
    # Its controls are other records than those of the usual task.
    usual = Table("1", "usual", (TABLES["1"].rows[0],))
    control = jobs(usual, world, [1], [0], **QUICK)[0]
    assert control.record_name((1, 1)) not in have


def test_the_table_that_shows_the_folds_shares_its_runs():
    for row, same in zip(TABLES["8"].rows, TABLES["a.14"].rows, strict=True):
        one, other = (configuration(r, "mini", 0, 0) for r in (row, same))
        assert run_name(one) == run_name(other)


def test_records_of_the_task_are_found_by_it(world):
    found = read_records(task="fs-s", kind="train")
    assert all(isinstance(record["validation"], list) for record in found)


def test_a_made_predictor_is_measured_on_present_classes_only(world):
    """All foreground: every episode is exact, since every class is there."""
    from cstlib.baselines.controls import all_foreground
    from cstlib.evaluation import measure

    found = SimpleNamespace()
    for task in ("fs-cs", "fs-s"):
        dataset = world.dataset(0, "val", task)
        meter = measure(all_foreground(dataset), dataset, episodes=20)
        setattr(found, task.replace("-", "_"), meter.metrics())
    assert found.fs_s.exact_ratio == 1 > found.fs_cs.exact_ratio
    assert found.fs_s.miou > found.fs_cs.miou
