"""Finished learners on held-out episodes: the right one, with the right masks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from made_world import made_home

from cstlib import finished
from cstlib.config import TrainConfig
from cstlib.evaluation import evaluate
from cstlib.features import Features
from cstlib.files import sha256, write_json
from cstlib.finished import FinishedLearner, shipped_for
from cstlib.fitting import Run
from cstlib.paths import WEIGHTS

NAME = "cst-pixel-mini"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with made_home(tmp_path_factory.mktemp("home")) as made:
        yield replace(made, backbone="dino-mini")


@pytest.fixture(scope="module")
def features(world):
    return Features("dino-mini", world.dataset(0, "val").image, "cpu")


@pytest.fixture(scope="module")
def pixel(world, features):
    return shipped_for(NAME, world, features)


def test_a_shipped_learner_fits_its_world_backbone_and_fold(world, features, pixel):
    assert pixel.name == NAME and pixel.held_out.split == "val"
    assert not pixel.learner.training
    assert pixel.supervision.kind == "pixel"
    image = shipped_for("cst-image-mini", world, features)
    assert (image.supervision.kind, image.supervision.source) == ("image", "dino")


def test_elsewhere_it_does_not_fit(world, features):
    assert shipped_for(NAME, replace(world, name="pascal"), features) is None
    assert shipped_for(NAME, world, features, fold=1) is None
    other = Features("random-mini", world.dataset(0, "val").image, "cpu")
    assert shipped_for(NAME, world, other) is None
    assert shipped_for("cst-no-such-mini", world, features) is None


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"supervision": "mixed", "mask_source": "dino"}, "mixed"),
        ({"supervision": "mixed", "mask_source": "enhanced"}, None),
        ({"supervision": "image", "test_masks": True}, "pixel"),
    ],
)
def test_masks_in_testing_follow_the_configuration(
    world, features, tmp_path, monkeypatch, changes, kind
):
    """Enhanced masks without the enhancer that made them are no masks to test with."""
    path = tmp_path / "cst-made-mini.safetensors"
    path.write_bytes((WEIGHTS / f"{NAME}.safetensors").read_bytes())
    notes = json.loads((WEIGHTS / f"{NAME}.json").read_text(encoding="utf-8"))
    notes["config"] |= changes
    write_json(path.with_suffix(".json"), notes | {"sha256": sha256(path)})
    monkeypatch.setattr(finished, "WEIGHTS", tmp_path)
    found = shipped_for("cst-made-mini", world, features)
    assert (found and found.supervision.kind) == kind


def test_it_predicts_and_scores_as_evaluation_does(pixel, features):
    plans = [pixel.held_out.plan(i, way=2) for i in range(2)]
    for plan, said in zip(plans, pixel.predict(plans)):
        assert said.presence.shape == (2,)
        assert tuple(said.label.shape) == pixel.held_out.original_size(plan.query)
    parts = pixel.learner, pixel.held_out, features, pixel.supervision
    assert pixel.evaluate(way=2, episodes=3) == evaluate(*parts, 2, 1, 3)


def test_it_is_given_the_masks_of_its_supervision(world, features, pixel):
    plan = pixel.held_out.plan(1, way=2, shot=1)
    true = pixel.held_out.load(plan).support_masks
    assert torch.equal(pixel.support_masks(plan), true)
    image = shipped_for("cst-image-mini", world, features)
    assert image.support_masks(plan).shape == true.shape


def test_what_it_compares_makes_its_prediction(pixel, features):
    plan = pixel.held_out.plan(0)
    correlation, masks = pixel.compared([plan])
    assert correlation.shape == (1, 72, 144, 145)
    with torch.no_grad():
        logits, _ = pixel.learner(correlation, masks, features.grid)
    said = pixel.predict([plan])[0].presence_prob
    assert torch.allclose(logits.softmax(1)[:, 1], said, atol=1e-5)


def test_a_run_can_show_its_learner_too(world, features):
    config = TrainConfig(
        data="mini", backbone="dino-mini", supervision="image", mask_source="none"
    )
    one = FinishedLearner.of_run(Run(config, world, features), "mine")
    plan = one.held_out.plan(0)
    assert one.name == "mine" and one.support_masks(plan) is None
    assert len(one.predict([plan])) == 1
