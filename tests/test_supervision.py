"""What each kind of supervision shows, and what image-level training never sees."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made import is_one_sentence
from made_world import BACKBONE

from cstlib import supervision as package
from cstlib.config import TrainConfig
from cstlib.errors import CstlibError
from cstlib.fitting import Run, fit
from cstlib.paths import WEIGHTS
from cstlib.pseudo_masks import pseudo_mask
from cstlib.supervision import (
    SUPERVISIONS,
    check_supervision,
    default_source,
    make_supervision,
    measuring_mask,
)

IMAGE_SOURCES = [source for kind, source in SUPERVISIONS if kind == "image"]


@pytest.fixture(scope="module")
def train_set(world):
    return world.dataset(0, "trn")


@pytest.fixture(scope="module")
def plans(train_set):
    plans = list(train_set.training_plans(16, seed=3))
    presence = torch.stack([train_set.presence(plan) for plan in plans])
    assert presence.any() and not presence.all()
    return plans


def test_true_masks_are_the_loaders(world, train_set, features, plans):
    supervision = make_supervision("pixel", "true", world, train_set, features)
    targets = supervision.target_masks(plans)
    supports = supervision.support_masks(plans)
    assert targets.shape == supports.shape == (16, 96, 96)
    for plan, target, support in zip(plans, targets, supports):
        episode = train_set.load(plan, training=True)
        assert torch.equal(target, episode.query_mask == 1)  # void is background
        assert torch.equal(support, episode.support_masks[0, 0])
    assert targets.any()


def test_supports_are_numbered_class_by_class_and_shot_by_shot(world, features):
    held_out = world.dataset(1, "val")
    plan = held_out.plan(4, way=3, shot=1)
    other = held_out.plan(5, way=3, shot=1)
    true = make_supervision("pixel", None, world, held_out, features)
    masks = true.support_masks([plan, other]).view(2, 3, 96, 96)
    loaded = [held_out.load(p).support_masks[:, 0] for p in (plan, other)]
    assert torch.equal(masks, torch.stack(loaded))
    labels = true.presence([plan, other])
    assert torch.equal(
        labels, torch.stack([held_out.presence(p) for p in (plan, other)])
    )


@pytest.mark.parametrize("source", ["dino", "random"])
def test_pseudo_masks_follow_equations_9_to_11(
    world, train_set, features, plans, source
):
    supervision = make_supervision("image", source, world, train_set, features)
    targets = supervision.target_masks(plans)
    supports = supervision.support_masks(plans)
    for plan, target, support in zip(plans, targets, supports):
        query_tokens = features.tokens([plan.query])
        support_tokens = features.tokens([plan.supports[0][0]])
        size, threshold = (96, 96), features.threshold
        cross = pseudo_mask(query_tokens, support_tokens, size, threshold)[0]
        own = pseudo_mask(support_tokens, support_tokens, size, threshold)[0]
        present = bool(train_set.presence(plan))
        assert torch.equal(target, cross if present else torch.zeros_like(cross))
        # The support shows its class, by definition: its mask is left alone.
        assert torch.equal(support, own)
    absent = ~supervision.presence(plans)[:, 0]
    assert not targets[absent].any()
    assert targets[~absent].any() and supports[absent].any()


def test_a_control_may_attend_with_other_weights(world, train_set, features, plans):
    changed = replace_threshold(features, 2.0)
    pseudo = make_supervision("image", "dino", world, train_set, changed)
    random = make_supervision("image", "random", world, train_set, changed)
    assert not pseudo.support_masks(plans).any()
    assert random.support_masks(plans).any()
    assert random.attention.name == "random-mini"


def replace_threshold(features, threshold):
    """The same features with another threshold: nothing reaches it."""

    class Changed:
        def __getattr__(self, name):
            return threshold if name == "threshold" else getattr(features, name)

    return Changed()


def test_no_masks_and_foreground_masks(world, train_set, features, plans):
    nothing = make_supervision("image", "none", world, train_set, features)
    assert nothing.target_masks(plans) is None and nothing.support_masks(plans) is None
    whole = make_supervision("image", "foreground", world, train_set, features)
    assert whole.support_masks(plans).all()
    means = whole.target_masks(plans).float().mean((1, 2))
    assert torch.equal(means.bool(), whole.presence(plans)[:, 0])
    assert set(means.tolist()) == {0.0, 1.0}


@pytest.fixture
def unreadable(world, tmp_path):
    """The same world, but no mask of a training image can be read."""
    masks = world.root / "SegmentationClass"
    saved = {path: path.read_bytes() for path in masks.glob("trn_*.png")}
    for path in saved:
        path.write_bytes(b"not for your eyes")
    yield world
    for path, content in saved.items():
        path.write_bytes(content)


@pytest.mark.parametrize("source", IMAGE_SOURCES)
def test_image_level_training_never_reads_a_training_mask(
    unreadable, features, source, monkeypatch
):
    if source == "supervised" and not (WEIGHTS / "supervised-mini.json").is_file():
        pytest.skip("the class-supervised twin's weights do not ship")
    config = TrainConfig(
        backbone=BACKBONE,
        mask_source=source,
        episodes=6,
        batch_size=3,
        validation_episodes=3,
    )
    run = Run(config, unreadable, features)

    def refuse(name):
        raise AssertionError(f"the mask of training image {name} was asked for")

    monkeypatch.setattr(run.train_set, "mask", refuse)
    steps = list(fit(run))
    assert [step.episode for step in steps] == [3, 6]
    assert all(torch.isfinite(torch.tensor(step.loss)) for step in steps)
    # The held-out masks measured: only that they are for.
    assert steps[-1].validation.episodes == 3


def test_one_file_asks_a_dataset_for_masks():
    """What may be seen of them can be checked by reading `TrueMasks`."""
    asking = {
        path.name
        for path in Path(package.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if getattr(node, "attr", "") in ("mask", "query_mask", "load", "episode")
    }
    assert asking == {"pixel.py"}


def test_pixel_level_training_needs_the_masks(unreadable, features):
    config = TrainConfig(backbone=BACKBONE, supervision="pixel", episodes=3)
    run = Run(config, unreadable, features)
    with pytest.raises(CstlibError, match="mask") as error:
        next(fit(run))
    assert is_one_sentence(error.value)


def test_measuring_masks_are_the_loaders(world):
    held_out = world.dataset(0, "val")
    plan = held_out.plan(1, way=2, shot=1)
    assert torch.equal(measuring_mask(held_out, plan), held_out.load(plan).query_mask)


def test_combinations_that_do_not_exist_are_refused():
    assert default_source("image") == "dino" and default_source("pixel") == "true"
    for kind, source in (("pixel", "dino"), ("image", "true"), ("box", "dino")):
        with pytest.raises(CstlibError) as error:
            check_supervision(kind, source)
        assert is_one_sentence(error.value)
    with pytest.raises(CstlibError, match="choose true"):
        replace(TrainConfig(), supervision="pixel", mask_source="none")
