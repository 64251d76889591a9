"""The mask enhancer: its layers, whose masks it reads, and that it learns."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from cstlib.backbones import Tokens
from cstlib.enhancer import (
    MaskEnhancer,
    enhance,
    enhancer_loss,
    fit_enhancer,
    head_maps,
    masked_subset,
    new_enhancer,
    pooled_iou,
    self_pairs,
)
from cstlib.errors import CstlibError

GRID, SIZE, HEADS = (6, 6), 24, 3


class Images:
    """20 images: the left half shows class 1, in odd ones a corner shows class 2.

    The lower right corner always shows class 3, which is held out.
    """

    image_size = SIZE
    classes = (1, 2)

    def __init__(self) -> None:
        self.names = [f"img_{i:02d}" for i in range(20)]
        self.entries = [(n, 1) for n in reversed(self.names)]
        self.entries += [(n, 2) for n in self.names[1::2]]
        self.reads: list[str] = []

    def mask(self, name: str) -> np.ndarray:
        self.reads.append(name)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:, : SIZE // 2] = 1
        if int(name[-2:]) % 2:
            mask[:4, 16:] = 2
        mask[-3:, 16:] = 3
        mask[:, SIZE // 2] = 255
        return mask


def tokens(count: int, seed: int = 0) -> Tokens:
    """Keys of head 1 agree with the class token on the left half; others are noise."""
    generator = torch.Generator().manual_seed(seed)
    n, d = GRID[0] * GRID[1], 8
    keys = torch.randn(count, HEADS, 1 + n, d, generator=generator)
    query = torch.zeros(count, HEADS, 1, d)
    query[..., 0] = 1
    left = torch.arange(n) % GRID[1] < GRID[1] // 2
    keys[:, 1, 1:, 0] = torch.where(left, 3.0, -3.0)
    return Tokens([], [], [GRID], HEADS, query, keys)


@pytest.fixture
def features():
    def attention(names: list[str]) -> Tokens:
        return Tokens.cat([tokens(1, seed=int(name[-2:])) for name in names])

    return SimpleNamespace(attention=attention, heads=HEADS, device="cpu")


def test_it_has_the_known_number_of_parameters_and_keeps_the_grid():
    enhancer = MaskEnhancer(6)
    assert sum(p.numel() for p in enhancer.parameters()) == 155_777
    assert enhancer(torch.zeros(2, 6, 12, 12)).shape == (2, 12, 12)


def test_the_subset_is_the_first_by_name():
    images = SimpleNamespace(names=[f"n{i:03d}" for i in range(200)][::-1])
    assert masked_subset(images, 0.05) == [f"n{i:03d}" for i in range(10)]
    assert masked_subset(images, 0.001) == ["n000"]
    assert masked_subset(images, 0.0) == []
    assert masked_subset(images, 1.0) == sorted(images.names)
    assert set(masked_subset(images, 0.025)) < set(masked_subset(images, 0.1))


@pytest.mark.parametrize("fraction", [-0.1, 1.5, float("nan")])
def test_a_strange_fraction_is_said(fraction):
    with pytest.raises(CstlibError, match="between 0 and 1"):
        masked_subset(SimpleNamespace(names=["a"]), fraction)


def test_only_the_masks_of_the_subset_are_read(features):
    images = Images()
    names = masked_subset(images, 0.2)
    for target in ("objects", "class"):
        images.reads.clear()
        pairs = self_pairs(images, features, names, target)
        assert set(images.reads) == set(names) == {f"img_{i:02d}" for i in range(4)}
    assert pairs.maps.shape == (6, HEADS, *GRID)
    assert pairs.masks.shape == (6, SIZE, SIZE)


def test_a_row_is_an_image_and_a_class(features):
    pairs = self_pairs(Images(), features, ["img_00", "img_01"], "class")
    assert pairs.names == ["img_00", "img_01", "img_01"]
    assert pairs.classes == [1, 1, 2]
    wide, small = pairs.masks[1:]
    assert wide[:, : SIZE // 2].all() and not wide[:, SIZE // 2 :].any()
    assert small.sum() == 4 * 8 and not (wide & small).any()


def test_or_an_image_with_all_objects_but_held_out_ones_and_void(features):
    one = self_pairs(Images(), features, ["img_01"], "class").masks
    pairs = self_pairs(Images(), features, ["img_01"])
    assert (pairs.names, pairs.classes) == (["img_01"], [0])
    assert torch.equal(pairs.masks[0], one[0] | one[1])


def test_other_targets_are_refused(features):
    with pytest.raises(ValueError, match="'pixels'"):
        self_pairs(Images(), features, ["img_01"], "pixels")


def test_without_any_mask_there_is_nothing_to_learn(features):
    with pytest.raises(CstlibError, match="at least one image"):
        self_pairs(Images(), features, [])


def test_maps_are_the_cosines_of_each_head():
    image, support = tokens(2, seed=1), tokens(2, seed=2)
    maps = head_maps(image, support)
    key = image.attn_k[1, 2, 1 + 4 * GRID[1] + 3]
    query = support.attn_q[1, 2, 0]
    cosine = torch.dot(key, query) / key.norm() / query.norm()
    assert maps[1, 2, 4, 3].item() == pytest.approx(cosine.item(), abs=1e-6)


def test_the_loss_is_a_cross_entropy_at_the_size_of_the_mask():
    masks = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    masks[:, :, :6] = True
    logits = torch.full((1, *GRID), 2.0)
    inside, outside = torch.tensor(2.0).sigmoid(), torch.tensor(-2.0).sigmoid()
    expected = -(inside.log() + 3 * outside.log()) / 4
    assert enhancer_loss(logits, masks).item() == pytest.approx(expected.item())


def trained(features, seed: int = 0) -> tuple[MaskEnhancer, list[float]]:
    images = Images()
    pairs = self_pairs(images, features, images.names[:10:2])
    enhancer = new_enhancer(HEADS, seed)
    return enhancer, list(fit_enhancer(enhancer, pairs, steps=25, seed=seed))


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
