"""The probe's figures against slow, obvious spellings of what they mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cstlib import probes
from cstlib.backbones import load_backbone
from cstlib.cli import main
from cstlib.data.mini import CLASS_NAMES, build_mini
from cstlib.pseudo_masks import pseudo_mask
from cstlib.worlds import World


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "mini"
    build_mini(root, 0, 80, 160, workers=1, progress=False)
    return World("mini", root, 96, "random-mini", tuple(CLASS_NAMES))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=24))
def test_auc_is_the_share_of_rightly_ordered_pairs(rows):
    scores = np.array([float(score) for score, _ in rows])
    positive = np.array([label for _, label in rows])
    if positive.all() or not positive.any():
        return
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in scores[positive]
        for n in scores[~positive]
    ]
    assert probes.auc(scores, positive) == pytest.approx(np.mean(pairs))


def test_overlap_leaves_out_what_does_not_count():
    predicted = torch.tensor([[1, 1, 0, 1]]).bool()
    truth = torch.tensor([[1, 0, 1, 1]]).bool()
    counted = torch.tensor([[1, 1, 1, 0]]).bool()
    assert probes.overlap(predicted, truth, counted) == pytest.approx(1 / 3)


def test_threshold_is_the_best_of_all():
    maps = torch.tensor([[0.35, 0.45, 0.55, 0.62]])
    truth = torch.tensor([[False, False, True, True]])
    best = probes.best_threshold(maps, truth, torch.ones_like(truth))
    assert 0.45 <= best < 0.55
    assert ((maps > best) == truth).all()


def test_nearest_neighbour_leaves_out_images_of_several_classes():
    gallery = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    probe = torch.tensor([[2.0, 0.1], [0.2, 5.0], [1.0, 1.0]])
    found = probes.nearest_neighbour(
        gallery, torch.tensor([3, 4, 0]), probe, torch.tensor([3, 3, 0])
    )
    assert found == 0.5  # the first is right, the second finds class 4, none is asked


def test_matching_finds_the_image_with_the_object():
    random = torch.Generator().manual_seed(0)
    patches = torch.randn(3, 144, 8, generator=random)
    patches[1, 40:44] = patches[0, 70:74]  # image 1 repeats image 0's object
    masks = torch.zeros(3, 96, 96)
    masks[0, 40:48, 80:96] = 5  # tokens (5, 10) and (5, 11): numbers 70 and 71
    scores = probes.matching_scores(patches, masks, [(1, 0, 5), (2, 0, 5)])
    assert scores[0] == pytest.approx(1.0) and scores[1] < 0.99


def test_best_threshold_is_the_best_of_all_tried_one_by_one():
    random = torch.Generator().manual_seed(0)
    maps = torch.rand(20, 24, 24, generator=random) * 0.6 + 0.1
    noise = torch.randn(maps.shape, generator=random)
    truth = maps + 0.2 * noise > 0.45
    counted = torch.rand(maps.shape, generator=random) > 0.1
    scores = [probes.overlap(maps > t, truth, counted) for t in probes.THRESHOLDS]
    best = probes.best_threshold(maps, truth, counted)
    assert best == probes.THRESHOLDS[scores.index(max(scores))]
    # A pixel that lies on a threshold is not above it, as in equation 11.
    edge = torch.full((1, 2, 2), float(probes.THRESHOLDS[7]))
    inside = torch.ones(1, 2, 2, dtype=torch.bool)
    assert probes.best_threshold(edge, inside, inside) < probes.THRESHOLDS[7]


def test_soft_map_is_equation_11_before_the_threshold(world):
    images = probes.load_images(world.dataset(0, "val"), 3)
    tokens = probes.extract(load_backbone("random-mini"), images.pixels, batch=2)
    hard = pseudo_mask(tokens, tokens, (96, 96), 0.55)
    assert torch.equal(probes.soft_map(tokens, tokens, (96, 96)) > 0.55, hard)


def test_pairs_share_the_class_and_never_the_image(world):
    dataset = probes.all_folds(world, "val")
    images = probes.load_images(dataset)
    queries, supports, classes = probes.class_pairs(images, dataset)
    assert len(queries) > 40 and (queries != supports).all()
    for rows in (queries, supports):
        for row, c in zip(rows.tolist(), classes.tolist()):
            assert (images.masks[row] == c).any()


def test_all_figures_of_a_backbone_and_its_controls(world):
    prober = probes.Prober(world, train=40, episodes=40)
    figures = prober.measure(load_backbone("random-mini"))
    blocks = figures["matching_auc_by_block"]
    assert len(blocks) == 12 and figures["matching_auc"] == max(blocks)
    masks = prober.val.masks
    share = ((masks > 0) & (masks < 255)).sum() / (masks < 255).sum()
    assert figures["self_iou_all_foreground"] == pytest.approx(share.item(), abs=1e-4)
    assert figures["threshold"] in probes.THRESHOLDS
    controls = prober.controls()
    assert 0 <= controls["colour_nearest_neighbour"] <= 1
    assert 0.5 < controls["pixel_matching_auc"] <= 1
    floor = figures["self_iou_all_foreground"]
    assert floor - 0.05 < controls["pixel_self_iou"] < 0.6
    assert 0 < controls["pixel_cross_iou"] < 0.5


def test_report_names_all_figures(world, capsys, monkeypatch):
    monkeypatch.setattr(probes, "load_world", lambda name: world)
    assert main(["pretrain", "--probe", "random-mini"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| probe | random-mini | control |" and len(table) == 7
    assert main(["pretrain", "--probe", "no-such-file.safetensors"]) == 2
