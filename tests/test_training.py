"""The training loop: it learns, it validates, and it resumes to the same numbers."""

from __future__ import annotations

import csv
import math
import signal
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from made import is_one_sentence
from made_world import BACKBONE

from cstlib.baselines import load_learner
from cstlib.checkpoints import load_checkpoint
from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.evaluation import evaluate
from cstlib.metrics import Metrics
from cstlib.training import Run, class_score_loss, fit, train

CONFIG = TrainConfig(
    backbone=BACKBONE,
    episodes=18,
    batch_size=3,
    validate_every=9,
    validation_episodes=3,
)


@pytest.fixture(scope="module")
def finished(world, features, tmp_path_factory):
    """An uninterrupted run in a folder."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    record = run_in(out, world, features)
    return SimpleNamespace(out=out, record=record)


def run_in(out, world, features, config=CONFIG, **options):
    options = {"test_episodes": 4, "save_every": 6, "progress": False, **options}
    return train(config, out, world=world, features=features, **options)


def log_of(out):
    with (out / "log.csv").open() as file:
        return list(csv.DictReader(file))


def figures_of(out):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in log_of(out)]


def test_a_run_leaves_its_log_its_weights_and_its_record(finished, world, features):
    rows = log_of(finished.out)
    assert [int(row["episode"]) for row in rows] == [3, 6, 9, 12, 15, 18]
    assert [bool(row["val_miou"]) for row in rows] == [False, False, True] * 2
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    for row in rows:
        whole = 0.1 * float(row["clf"]) + float(row["seg"])
        assert float(row["loss"]) == pytest.approx(whole, rel=1e-5)

    record = finished.record
    # As logged, so that a reader of the record sees how it came about.
    assert [v["episode"] for v in record["validation"]] == [9, 18]
    for logged, kept in zip(rows[2::3], record["validation"], strict=True):
        named = {"miou": "val_miou", "er": "val_er", "fb_iou": "val_fb_iou"}
        assert all(float(logged[n]) == kept[key] for key, n in named.items())
    assert record["config"]["supervision"] == "image" and record["seed"] == 0
    assert record["selection"]["by"] == "miou"
    assert record["parameters"] == 366_004
    assert record["metrics"]["ignore"]["episodes"] == 4
    names = {path.name for path in finished.out.iterdir()} - {"tensorboard"}
    assert names == {"best.pt", "last.pt", "log.csv", "record.json"}

    saved = load_learner(finished.out / "best.pt")
    assert saved.details["episode"] == record["selection"]["at_episode"]
    run = Run(TrainConfig.from_dict(saved.config), world, features)
    parts = (saved.learner, run.held_out, features, run.held_out_supervision)
    measured = evaluate(*parts, episodes=4)
    assert Metrics.from_dict(record["metrics"]["background"]) == measured


@pytest.mark.parametrize("how", ["crash", "signal"])
def test_an_interrupted_run_resumes_to_the_same_numbers(
    how, finished, world, features, tmp_path, monkeypatch
):
    step = Run.step

    def interrupted_step(self, plans):
        result = step(self, plans)
        if self.position == 15:
            if how == "crash":  # the power fails; last.pt is an episode older
                raise RuntimeError("power failure")
            signal.raise_signal(signal.SIGTERM)  # os.kill ends Windows' Python
        return result

    monkeypatch.setattr(Run, "step", interrupted_step)
    with pytest.raises(RuntimeError if how == "crash" else KeyboardInterrupt):
        run_in(tmp_path / "run", world, features)
    monkeypatch.undo()
    assert not (tmp_path / "run" / "record.json").exists()
    saved = load_checkpoint(tmp_path / "run" / "last.pt")["position"]
    assert saved == (12 if how == "crash" else 15)
    if how == "crash":  # what was logged after the state, and half a line
        with (tmp_path / "run" / "log.csv").open("a") as log:
            log.write("15,0,0,0,0,0,,,,1\n18,0.")

    torch.manual_seed(12345)  # another process has another global stream
    record = run_in(tmp_path / "run", world, features, resume=True)
    assert figures_of(tmp_path / "run") == figures_of(finished.out)
    assert record["metrics"] == finished.record["metrics"]
    assert record["validation"] == finished.record["validation"]
    for name in ("best.pt", "last.pt"):
        ours = load_checkpoint(tmp_path / "run" / name)
        theirs = load_checkpoint(finished.out / name)
        assert_same(ours["learner"], theirs["learner"])
        assert_same(ours.get("optimizer", {}), theirs.get("optimizer", {}))


def assert_same(a, b):
    """Equal to the last bit, through dicts and lists."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_same(x, y)
    else:
        assert a == b


def test_a_run_can_be_prolonged_but_not_changed(finished, world, features, tmp_path):
    out = tmp_path / "run"
    run_in(out, world, features, replace(CONFIG, episodes=9), test_episodes=0)
    run_in(out, world, features, resume=True)
    assert figures_of(out) == figures_of(finished.out)
    for change in ({"seed": 1}, {"learning_rate": 0.1}, {"fold": 2}):
        other = replace(CONFIG, **change)
        with pytest.raises(CstlibError, match="was started with") as error:
            run_in(out, world, features, other, resume=True)
        assert is_one_sentence(error.value)
    with pytest.raises(CstlibError, match="--overwrite") as error:
        run_in(out, world, features)
    assert is_one_sentence(error.value)
    run_in(out, world, features, replace(CONFIG, episodes=3), overwrite=True)
    assert [row["episode"] for row in log_of(out)] == ["3"]


def test_nothing_to_resume_and_nowhere_to_write(world, features, tmp_path):
    with pytest.raises(CstlibError, match="no run to resume") as error:
        run_in(tmp_path / "none", world, features, resume=True)
    assert is_one_sentence(error.value) and not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(CstlibError, match="Cannot write") as error:
        run_in(tmp_path / "file" / "run", world, features)
    assert is_one_sentence(error.value)
    # Something else is wrong: the new folder goes again.
    with pytest.raises(CstlibError, match="no fold 7"):
        run_in(tmp_path / "new", world, features, replace(CONFIG, fold=7))
    assert not (tmp_path / "new").exists()


def test_steps_can_be_watched_left_and_taken_up_again(world, features, finished):
    run = Run(CONFIG, world, features)
    first = list(islice(fit(run), 2))
    assert [s.episode for s in first] == [3, 6] and run.position == 6
    assert 0 <= first[0].er <= 1 and 0 <= first[0].miou <= 1
    rest = list(fit(run))
    assert [s.episode for s in rest] == [9, 12, 15, 18]
    logged = [float(row["loss"]) for row in log_of(finished.out)]
    assert [s.loss for s in first + rest] == logged
    assert rest[0].validation.episodes == 3 and rest[1].validation is None


def test_the_learner_learns_a_batch_by_heart(world, features):
    run = Run(replace(CONFIG, supervision="pixel", mask_source=""), world, features)
    plans = list(run.train_set.training_plans(4, seed=1))
    losses = [run.step(plans).loss for _ in range(12)]
    assert min(losses) < 0.7 * losses[0]


def test_without_masks_the_mean_map_is_a_class_score(world, features):
    generator = torch.Generator().manual_seed(0)
    class_logits = torch.randn(5, 2, generator=generator)
    maps = torch.randn(5, 2, 6, 6, generator=generator)
    presence = torch.tensor([True, False, True, True, False])
    loss, clf, seg = class_score_loss(class_logits, maps, presence, lam=0.3)
    rows, wanted = torch.arange(5), presence.long()
    score = maps.flatten(2).mean(2)
    assert seg == pytest.approx(-score.log_softmax(1)[rows, wanted].mean().item())
    assert clf == pytest.approx(F.cross_entropy(class_logits, wanted).item())
    assert loss == pytest.approx((0.3 * clf + seg).item())

    run = Run(replace(CONFIG, mask_source="none"), world, features)
    step = run.step(list(run.train_set.training_plans(3, seed=0)))
    assert math.isfinite(step.loss) and math.isnan(step.miou)


def test_the_named_figure_selects_the_weights(world, features, monkeypatch):
    figures = iter([(0.5, 0.2), (0.4, 0.3), (0.5, 0.1)] * 3)  # ER, mIoU

    def measured(*args, **options):
        er, miou = next(figures)
        return Metrics(er, miou, 0.0, {1: miou}, 3)

    monkeypatch.setattr("cstlib.fitting.evaluate", measured)
    for select_by, chosen in (("er", 3), ("miou", 6), ("last", 9)):
        config = replace(CONFIG, select_by=select_by, validate_every=3, episodes=9)
        run = Run(config, world, features)
        for _ in fit(run):
            pass
        assert run.best.episode == chosen


def test_half_precision_trains_too(world, features):
    run = Run(replace(CONFIG, precision="bf16"), world, features)
    plans = list(run.train_set.training_plans(3, seed=0))
    half = run.step(plans).loss
    full = Run(CONFIG, world, features).step(plans).loss
    assert half == pytest.approx(full, rel=0.05)
    kinds = {p.dtype for p in run.learner.parameters()}
    assert kinds == {torch.float32}


@pytest.mark.parametrize(
    "wrong",
    [
        {"episodes": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"lam": -1.0},
        {"seed": -1},
        {"seed": 2**32},
        {"validate_every": 0},
        {"validation_episodes": 0},
        {"precision": "fp8"},
        {"select_by": "luck"},
        {"supervision": "boxes"},
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises(CstlibError) as error:
        TrainConfig(**wrong)
    assert is_one_sentence(error.value)
    assert str(next(iter(wrong.values()))) in str(error.value)


def test_the_papers_benchmarks_have_the_papers_lengths():
    mini, pascal = TrainConfig(), TrainConfig(data="pascal")
    assert (mini.episodes, mini.validate_every, mini.validation_episodes) == (
        6000,
        1200,
        200,
    )
    assert pascal.episodes == 2000 * pascal.validate_every == 20_000_000
    assert TrainConfig(data="coco").validation_episodes == 1000
    assert (pascal.batch_size, pascal.learning_rate, pascal.lam) == (12, 1e-3, 0.1)
    assert pascal.select_by == "miou"
    assert pascal.unusual() == {} and "--episodes" not in pascal.options()
    short = TrainConfig(data="pascal", episodes=600)
    assert short.unusual() == {"episodes": 600} and short.validate_every == 10_000
