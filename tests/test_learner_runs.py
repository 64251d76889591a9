"""Every learner through the whole path: training, checkpoint, evaluation, commands."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest
import torch
from made import is_one_sentence
from made_world import BACKBONE, made_home
from test_cli import refused

from cstlib import fitting
from cstlib.baselines import LEARNERS, input_channels, load_learner, make_learner
from cstlib.baselines.panet import PANet, prototype_prediction
from cstlib.checkpoints import load_checkpoint, save_checkpoint
from cstlib.cli import main
from cstlib.config import TrainConfig
from cstlib.correlation import correlate
from cstlib.errors import CstlibError
from cstlib.evaluation import forward_pairs, measure, predict
from cstlib.features import open_features
from cstlib.supervision import make_supervision
from cstlib.training import run_name

CONFIG = TrainConfig(
    backbone=BACKBONE, supervision="pixel", episodes=4, validation_episodes=2
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    with made_home(folder, images=60) as world:
        features = open_features(world, BACKBONE, progress=False)
        yield SimpleNamespace(folder=folder, world=world, features=features)


def new_run(home, **changes) -> fitting.Run:
    return fitting.Run(replace(CONFIG, **changes), home.world, home.features)


@pytest.mark.parametrize("source", ["pixel", "none"])
@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "cst"])
def test_a_few_steps_lower_the_loss(home, name, source):
    kind = {"supervision": "image", "mask_source": "none"} if source == "none" else {}
    run = new_run(home, learner=name, learning_rate=None, **kind)
    assert run.optimizer.param_groups[0]["lr"] == run.config.learning_rate
    plans = list(run.train_set.training_plans(2, seed=1))
    steps = [run.step(plans) for _ in range(6)]
    # PANet unmasked has one prototype only, and little to learn.
    enough = 0.995 if (name, source) == ("panet", "none") else 0.95
    assert steps[-1].loss < enough * steps[0].loss
    for step in steps:
        assert step.loss == step.seg and step.clf == 0


def test_the_learning_rate_is_the_learners_own_unless_given():
    def rate(**settings):
        return TrainConfig(**settings).learning_rate

    unmasked = {"supervision": "image", "mask_source": "none"}
    assert rate() == rate(**unmasked) == rate(learner="hsnet") == 1e-3
    assert (
        rate(learner="hsnet", **unmasked) == rate(learner="asnet", **unmasked) == 1e-4
    )
    assert rate(learner="asnet", **unmasked, learning_rate=0.02) == 0.02


@pytest.mark.parametrize("name", ["hsnet", "asnet", "panet"])
def test_parts_do_not_change_the_step(home, name, monkeypatch):
    weights = []
    for size in (3, 2):
        monkeypatch.setattr(fitting, "pairs_at_once", lambda _, size=size: size)
        run = new_run(home, learner=name)
        run.optimizer = torch.optim.SGD(run.learner.parameters(), lr=0.1)
        run.step(list(run.train_set.training_plans(3, seed=0)))
        weights.append(torch.nn.utils.parameters_to_vector(run.learner.parameters()))
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=2e-5)


TRAIN = ["train", "--data", "mini", "--backbone", BACKBONE, "--episodes", "4"]
TRAIN += ["--batch-size", "2", "--validation-episodes", "2", "--test-episodes", "3"]
PIXEL, IMAGE = ["--supervision", "pixel"], ["--supervision", "image"]


@pytest.mark.parametrize(
    "options, parameters, channels",
    [
        (["--learner", "cst-coupled", *PIXEL], 336_946, 72),
        (["--heads", "1", *PIXEL], 361_204, 12),
        (["--learner", "hsnet", *IMAGE], 2_610_242, 72),
        (["--learner", "asnet", *IMAGE, "--mask-source", "none"], 1_422_482, 72),
        (["--learner", "panet", *PIXEL], 9_216, 96),
    ],
)
def test_from_the_command_line_and_back(
    home, tmp_path, options, parameters, channels, capsys
):
    out, figures = tmp_path / "run", tmp_path / "figures.json"
    assert main([*TRAIN, *options, "--out", str(out)]) == 0
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    assert record["parameters"] == parameters
    config = TrainConfig.from_dict(record["config"])
    assert record["name"] == run_name(config)
    for word in options[1:2] if options[0] == "--learner" else ["heads1"]:
        assert f"-{word}-" in record["name"]

    saved = load_learner(out / "best.pt")
    assert saved.in_channels == channels and saved.learner.heads == config.heads
    assert type(saved.learner) is LEARNERS[config.learner]
    # Loaded, and with the settings of its own, it gives the figures of the test.
    argv = ["evaluate", "--checkpoint", str(out / "best.pt"), "--episodes", "3"]
    assert main([*argv, "--json", str(figures)]) == 0
    assert (
        json.loads(figures.read_text(encoding="utf-8"))["metrics"] == record["metrics"]
    )
    # Several ways and shots pass through each learner's own way to combine them.
    assert main([*argv, "--way", "2", "--shot", "2"]) == 0
    assert "2-way 2-shot" in capsys.readouterr().out
    resume = ["train", "--out", str(out), "--resume", "--test-episodes", "0"]
    assert main([*resume, "--episodes", "6"]) == 0
    other = "0" if config.heads else "2"
    capsys.readouterr()
    assert f"--heads {config.heads}, not {other}" in refused(
        capsys, *resume, "--heads", other
    )


def test_one_head_means_one_cosine_a_layer(home):
    channels = input_channels("cst", home.features, heads=1)
    learner = make_learner("cst", channels, heads=1).eval()
    dataset = home.world.dataset(0, "trn")
    query, support = dataset.names[:2]
    found = forward_pairs(learner, home.features, [query], [support], None)
    tokens = home.features.tokens([query, support])
    correlation = correlate(tokens[0], tokens[1], heads=1)
    assert correlation.shape == (1, 12, 144, 145)
    with torch.no_grad():
        wanted = learner(correlation)
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])
    # The whole of a token, so not the mean of its heads' cosines.
    heads = correlate(tokens[0], tokens[1]).unflatten(1, (12, 6))
    assert (heads.mean(2) - correlation).abs().max() > 1e-3


def test_checkpoints_from_before_heads_were_an_option(home, tmp_path):
    learner = make_learner("cst", 72)
    config = asdict(CONFIG)
    del config["heads"]
    path = tmp_path / "old.pt"
    save_checkpoint(
        path, learner=learner.state_dict(), in_channels=72, config=config, episode=1
    )
    saved = load_learner(path)
    assert saved.learner.heads == 0 and TrainConfig.from_dict(config).heads == 0
    assert saved.for_features(home.features) is saved.learner
    narrow = {**load_checkpoint(path), "learner": make_learner("cst", 12).state_dict()}
    save_checkpoint(path, **{**narrow, "in_channels": 12})
    with pytest.raises(CstlibError, match="takes 12 correlation channels") as error:
        load_learner(path).for_features(home.features)
    assert is_one_sentence(error.value)


def test_heads_that_make_no_sense_are_refused(home, capsys):
    out = home.folder / "never"
    argv = [*TRAIN, "--out", str(out), "--heads"]
    assert "--heads -1" in refused(capsys, *argv, -1)
    assert "96 channels cannot be split into 5 heads" in refused(capsys, *argv, 5)
    assert not out.exists()
    with pytest.raises(CstlibError, match="choose one of cst, cst-coupled, hsnet"):
        make_learner("gpt", 72)


def test_panet_needs_no_training(home):
    """An untrained PANet is the training-free one: its map is the identity."""
    held_out = home.world.dataset(1, "val")
    supervision = make_supervision("pixel", None, home.world, held_out, home.features)
    predictor = prototype_prediction(held_out, home.features, supervision)
    plans = [held_out.plan(index) for index in range(3)]
    torch.manual_seed(9)
    learner = PANet(96).eval()
    by_learner = predict(learner, held_out, home.features, supervision, plans)
    for plan, a, b in zip(plans, predictor(plans), by_learner):
        assert torch.equal(a.label, b.label) and torch.equal(a.presence, b.presence)
        # By hand: the nearer of two means, in cosines times 20.
        query, support = (
            home.features.tokens([name]).patches[-1][0]
            for name in (plan.query, plan.supports[0][0])
        )
        mask = supervision.support_masks([plan])[0].float()[None, None]
        mask = torch.nn.functional.interpolate(
            mask, (12, 12), mode="bilinear", align_corners=True
        ).flatten()
        inside = mask > 0
        logits = torch.stack(
            [
                20 * torch.cosine_similarity(query, support[kind].mean(0)[None])
                for kind in (~inside, inside)
            ]
        )
        highest = logits.softmax(0)[1].max()
        torch.testing.assert_close(a.presence_prob[0], highest, atol=1e-4, rtol=1e-4)
    assert torch.stack([p.label for p in predictor(plans)]).unique().numel() == 2
    metrics = measure(predictor, held_out, way=2, shot=2, episodes=3).metrics()
    assert metrics.episodes == 3


@pytest.mark.parametrize("name", ["hsnet", "asnet", "panet"])
def test_half_precision_stays_close(home, name):
    plans = list(home.world.dataset(0, "trn").training_plans(2, seed=0))
    half = new_run(home, learner=name, precision="bf16").step(plans).loss
    assert half == pytest.approx(new_run(home, learner=name).step(plans).loss, rel=0.05)
