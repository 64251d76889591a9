"""Mixed supervision: which masks it may see, and what becomes of all others."""

from __future__ import annotations

import pytest
import torch
from made import is_one_sentence
from made_world import BACKBONE

from cstlib.baselines import load_learner
from cstlib.cli import main
from cstlib.config import TrainConfig
from cstlib.enhancer import enhance, new_enhancer
from cstlib.enhancer_pairs import masked_subset
from cstlib.errors import CstlibError
from cstlib.features import open_features
from cstlib.fitting import Run, fit
from cstlib.supervision import FewMasks, make_supervision

SETTINGS = {"supervision": "mixed", "mask_fraction": 0.2, "backbone": BACKBONE}
QUICK = {"episodes": 6, "batch_size": 3, "validation_episodes": 3}


@pytest.fixture
def train_set(world):
    return world.dataset(0, "trn")


def plans_of_both(train_set, names, count=24):
    """Training episodes in which some queries and supports show their masks."""
    plans = list(train_set.training_plans(count, seed=3))
    for role in (lambda p: p.query, lambda p: p.supports[0][0]):
        known = [role(plan) in names for plan in plans]
        assert any(known) and not all(known)
    return plans


def test_each_image_shows_its_own_mask_or_a_pseudo_mask(world, train_set, features):
    names = masked_subset(train_set, 0.5)
    plans = plans_of_both(train_set, names)
    parts = (world, train_set, features)
    mixed = make_supervision("mixed", "dino", *parts, FewMasks(tuple(names)))
    true, pseudo = (make_supervision(kind, None, *parts) for kind in ("pixel", "image"))
    for method, role in (
        ("target_masks", lambda plan: plan.query),
        ("support_masks", lambda plan: plan.supports[0][0]),
    ):
        found, drawn, attended = (
            getattr(s, method)(plans) for s in (mixed, true, pseudo)
        )
        for row, plan in enumerate(plans):
            expected = drawn if role(plan) in names else attended
            assert torch.equal(found[row], expected[row]), (method, row)
        assert not torch.equal(drawn, attended)


def test_all_pseudo_masks_pass_through_the_enhancer(world, train_set, features):
    names = masked_subset(train_set, 0.5)
    plans = plans_of_both(train_set, names)
    enhancer = new_enhancer(features.heads, seed=2).eval()
    few = FewMasks(tuple(names), enhancer)
    mixed = make_supervision("mixed", None, world, train_set, features, few)
    targets, supports = mixed.target_masks(plans), mixed.support_masks(plans)
    for row, plan in enumerate(plans):
        support = features.attention([plan.supports[0][0]])
        query = features.attention([plan.query])
        if plan.supports[0][0] not in names:
            own = enhance(enhancer, support, support, (96, 96))[0]
            assert torch.equal(supports[row], own)
        if plan.query not in names:
            cross = enhance(enhancer, query, support, (96, 96))[0]
            present = bool(train_set.presence(plan))
            assert torch.equal(targets[row], cross & present)


def test_a_run_reads_the_masks_of_the_first_images_by_name_alone(
    world, features, monkeypatch
):
    reads = set()
    read = type(world.dataset(0, "trn")).mask

    def noted(dataset, name):
        if dataset.split == "trn":
            reads.add(name)
        return read(dataset, name)

    monkeypatch.setattr("cstlib.data.voc.VocDataset.mask", noted)
    config = TrainConfig(**SETTINGS, **{**QUICK, "episodes": 24})
    run = Run(config, world, features)
    assert [step.episode for step in fit(run)][-1] == 24
    names = sorted(run.train_set.names)
    assert reads == set(names[: round(0.2 * len(names))])


def test_without_the_enhancer_and_with_test_masks(world, features):
    plain = Run(TrainConfig(**SETTINGS, mask_source="dino", **QUICK), world, features)
    assert plain.enhancer is None
    assert plain.held_out_supervision.source == "dino"
    given = Run(TrainConfig(**SETTINGS, test_masks=True, **QUICK), world, features)
    assert given.enhancer is not None
    assert (given.supervision.kind, given.supervision.source) == ("mixed", "enhanced")
    assert given.held_out_supervision.source == "true"
    # In testing no image is among those with masks, however it may be called.
    assert not plain.held_out_supervision.masked


def test_the_enhancer_travels_with_the_checkpoint(world, tmp_path, capsys):
    out = tmp_path / "run"
    argv = ["train", "--supervision", "mixed", "--mask-fraction", "0.2"]
    argv += ["--backbone", BACKBONE, "--episodes", "6", "--batch-size", "3"]
    argv += ["--validation-episodes", "3", "--test-episodes", "0", "--out", str(out)]
    assert main(argv) == 0
    saved = load_learner(out / "best.pt")
    enhancer = saved.enhancer(6, "cpu")
    assert sum(p.numel() for p in enhancer.parameters()) == 155_777
    features = open_features(world, BACKBONE, progress=False)
    run = Run(TrainConfig.from_dict(saved.config), world, features)
    for ours, theirs in zip(enhancer.parameters(), run.enhancer.parameters()):
        assert torch.equal(ours, theirs)  # the seed decides it
    evaluate = ["evaluate", "--checkpoint", str(out / "best.pt"), "--episodes", "3"]
    assert main(evaluate) == 0
    assert "supervision mixed (enhanced masks)" in capsys.readouterr().out
    assert main([*evaluate, "--supervision", "pixel"]) == 0
    assert "supervision pixel (true masks)" in capsys.readouterr().out


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5, float("nan")])
def test_mixed_supervision_needs_a_share_of_the_masks(fraction):
    with pytest.raises(CstlibError, match="--mask-fraction") as error:
        TrainConfig(supervision="mixed", mask_fraction=fraction)
    assert is_one_sentence(error.value)


def test_masks_are_no_business_of_other_supervisions(world, train_set, features):
    with pytest.raises(CstlibError, match="--mask-fraction"):
        TrainConfig(supervision="image", mask_fraction=0.05)
    with pytest.raises(CstlibError, match="mask enhancer") as error:
        make_supervision("mixed", None, world, train_set, features)
    assert is_one_sentence(error.value)
