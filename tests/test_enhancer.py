"""The mask enhancer: its layers, its loss, and that it learns."""

from __future__ import annotations

import pytest
import torch
from made_enhancer import GRID, HEADS, SIZE, Images, made_features, tokens
from torch import Tensor

from cstlib.enhancer import (
    EnhancerSettings,
    MaskEnhancer,
    enhance,
    enhancer_loss,
    finer,
    fit_enhancer,
    new_enhancer,
    pooled_iou,
    trained_enhancer,
    turned,
)
from cstlib.enhancer_pairs import training_pairs


@pytest.fixture
def features():
    return made_features()


def test_it_has_the_known_number_of_parameters_and_keeps_the_grid():
    enhancer = MaskEnhancer(6)
    assert sum(p.numel() for p in enhancer.parameters()) == 155_777
    assert enhancer(torch.zeros(2, 6, 12, 12)).shape == (2, 12, 12)


@pytest.mark.parametrize("heads", [1, 3, 12])
def test_it_takes_any_number_of_heads(heads):
    enhancer = new_enhancer(heads)
    assert enhancer(torch.zeros(1, heads, 5, 7)).shape == (1, 5, 7)
    count = sum(p.numel() for p in enhancer.parameters())
    assert count == 155_777 + 9 * 128 * (heads - 6)


def test_the_loss_is_a_cross_entropy_at_the_size_of_the_mask():
    masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    masks[:, :, :6] = True
    logits = torch.full((1, *GRID), 2.0)
    inside, outside = torch.tensor(2.0).sigmoid(), torch.tensor(-2.0).sigmoid()
    expected = -(inside.log() + 3 * outside.log()) / 4
    assert enhancer_loss(logits, masks).item() == pytest.approx(expected.item())


def test_pixels_that_do_not_count_are_nothing_to_the_loss():
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    masks[:, :9] = True
    logits = torch.randn(2, *GRID, generator=torch.Generator().manual_seed(0))
    counted = torch.ones_like(masks)
    counted[:, :, 7:] = False
    changed = masks ^ ~counted
    for dice in (0.0, 1.0):
        loss = enhancer_loss(logits, masks, counted, dice)
        assert torch.equal(loss, enhancer_loss(logits, changed, counted, dice))
        assert loss != enhancer_loss(logits, masks, None, dice)
    assert enhancer_loss(logits, masks, ~counted & counted) == 0  # not a NaN


def test_dice_is_nothing_where_all_is_right_and_one_where_all_is_wrong():
    masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    masks[:, :, : SIZE // 2] = True
    logits = torch.full((1, SIZE, SIZE), -30.0).masked_fill(masks, 30.0)
    right, wrong = (
        enhancer_loss(found, masks, dice=1.0) - enhancer_loss(found, masks)
        for found in (logits, -logits)
    )
    assert right.item() == pytest.approx(0, abs=1e-6)
    assert wrong.item() == pytest.approx(1, abs=0.01)


def test_eight_ways_to_turn_and_the_mask_turns_along():
    maps = torch.arange(9.0).view(1, 1, 3, 3)
    ways = {tuple(turned(maps, way).flatten().tolist()) for way in range(8)}
    assert len(ways) == 8 and torch.equal(turned(maps, 0), maps)
    for way in range(8):
        assert torch.equal(turned(maps, way) > 4, turned(maps > 4, way))


def test_finer_maps_keep_their_corners():
    maps = torch.rand(2, HEADS, *GRID)
    large = finer(maps, 2)
    assert large.shape == (2, HEADS, 2 * GRID[0], 2 * GRID[1])
    assert torch.allclose(large[..., 0, 0], maps[..., 0, 0])
    assert torch.allclose(large[..., -1, -1], maps[..., -1, -1])
    assert finer(maps, 1) is maps


def trained(features, seed: int = 0) -> tuple[MaskEnhancer, list[float]]:
    images = Images()
    pairs = training_pairs(images, features, images.names[:10:2], "both", "objects")
    enhancer = new_enhancer(HEADS, seed)
    # What is left is said by the place in the image, so nothing may be turned.
    settings = EnhancerSettings(steps=25, turns=False)
    return enhancer, list(fit_enhancer(enhancer, pairs, settings=settings, seed=seed))


def test_it_learns_which_head_to_trust_and_carries_it_over(features):
    enhancer, losses = trained(features)
    assert len(losses) == 25 and losses[-1] < 0.5 * losses[0]
    unseen = tokens(4, seed=99)
    masks = enhance(enhancer, unseen, unseen, (SIZE, SIZE))
    truth = torch.zeros(4, SIZE, SIZE, dtype=torch.bool)
    truth[:, :, : SIZE // 2] = True
    assert masks.dtype == torch.bool and masks.shape == truth.shape
    assert pooled_iou(masks, truth) > 0.8


def test_the_same_seed_gives_the_same_enhancer(features):
    torch.manual_seed(1)
    first, losses = trained(features)
    torch.manual_seed(2)
    second, again = trained(features)
    assert losses == again
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters())
    )
    assert trained(features, seed=3)[1] != losses


def test_one_call_does_what_the_settings_say(features):
    images = Images()
    names = images.names[:4]
    settings = EnhancerSettings(kind="self", target="objects", steps=3)
    one = trained_enhancer(images, features, names, seed=5, settings=settings)
    pairs = training_pairs(images, features, names, "self", "objects")
    two = new_enhancer(HEADS, seed=5)
    assert len(list(fit_enhancer(two, pairs, settings=settings, seed=5))) == 3
    assert not one.training
    for ours, theirs in zip(one.parameters(), two.parameters()):
        assert torch.equal(ours, theirs)
    assert set(images.reads) == set(names)


def test_the_threshold_is_one_of_probabilities():
    enhancer = new_enhancer(HEADS)
    found = tokens(2)
    areas = [
        enhance(enhancer, found, found, (SIZE, SIZE), threshold=t).sum().item()
        for t in (0.0, 0.5, 1.0)
    ]
    assert areas[0] == 2 * SIZE * SIZE and areas[2] == 0
    assert areas[0] >= areas[1] >= areas[2]


def mask(*rows: str) -> Tensor:
    return torch.tensor([[c == "x" for c in row] for row in rows])


def test_iou_sums_before_it_divides():
    found = torch.stack([mask("xx", ".."), mask("x.", "..")])
    truth = torch.stack([mask("xx", "xx"), mask("x.", "..")])
    assert pooled_iou(found, truth) == pytest.approx(3 / 5)
    nothing = torch.zeros_like(truth)
    assert pooled_iou(nothing, nothing) == 1.0
    assert pooled_iou(nothing, truth) == 0.0
