"""What the enhancer learns from: whose masks are read, and which pixels count."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from made_enhancer import GRID, HEADS, SIZE, Images, made_features, tokens

from cstlib.enhancer_pairs import (
    ASKERS,
    UNSURE,
    head_maps,
    masked_subset,
    plain_masks,
    self_pairs,
    training_pairs,
)
from cstlib.errors import CstlibError
from cstlib.pseudo_masks import pseudo_mask

FIRST = [f"img_{i:02d}" for i in range(4)]


@pytest.fixture
def features():
    return made_features()


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


@pytest.mark.parametrize("kind", ["self", "cross", "both"])
@pytest.mark.parametrize("target", ["objects", "class"])
def test_only_the_masks_of_the_subset_are_read(features, kind, target):
    images = Images()
    pairs = training_pairs(images, features, FIRST, kind, target)
    assert set(images.reads) == set(pairs.names) == set(FIRST)
    assert set(pairs.askers) <= set(FIRST)
    rows = len(pairs.names)
    assert pairs.maps.shape == (rows, HEADS, *GRID)
    assert pairs.masks.shape == pairs.counted.shape == (rows, SIZE, SIZE)


def test_a_row_is_an_image_and_a_class(features):
    pairs = self_pairs(Images(), features, ["img_00", "img_01"], "class")
    assert pairs.names == pairs.askers == ["img_00", "img_01", "img_01"]
    assert pairs.classes == [1, 1, 2]
    wide, small = pairs.masks[1:]
    assert wide[:, : SIZE // 2].all() and not wide[:, SIZE // 2 :].any()
    assert small.sum() == 4 * 8 and not (wide & small).any()
    assert pairs.counted.all()


def test_or_an_image_with_all_objects_but_held_out_ones_and_void(features):
    one = self_pairs(Images(), features, ["img_01"], "class").masks
    pairs = self_pairs(Images(), features, ["img_01"], "objects")
    assert (pairs.names, pairs.classes) == (["img_01"], [0])
    assert torch.equal(pairs.masks[0], one[0] | one[1])


def test_in_cross_pairs_another_image_of_the_class_asks(features):
    images = Images()
    listed = set(images.entries)
    pairs = training_pairs(images, features, images.names[:6], "cross")
    for name, asker, c in zip(pairs.names, pairs.askers, pairs.classes):
        assert asker != name and {(name, c), (asker, c)} <= listed
    asked = list(zip(pairs.names, pairs.classes))
    assert asked.count(("img_00", 1)) == ASKERS
    assert asked.count(("img_01", 2)) == 2  # with img_03 and img_05
    row = asked.index(("img_01", 2))
    maps = head_maps(
        features.attention(["img_01"]), features.attention([pairs.askers[row]])
    )
    assert torch.equal(pairs.maps[row], maps[0])
    both = training_pairs(images, features, images.names[:6], "both")
    assert len(both.names) == len(pairs.names) + len(set(asked))


def test_an_image_alone_in_its_class_asks_itself(features):
    pairs = training_pairs(Images(), features, ["img_00", "img_01"], "cross")
    alone = [a for n, a, c in zip(pairs.names, pairs.askers, pairs.classes) if c == 2]
    assert alone == ["img_01"]


def test_what_attention_claims_and_no_mask_does_is_left_out(features):
    images = Images()
    features.threshold = 0.35  # low enough for some of the held-out corner
    left, all_of_it = (
        training_pairs(images, features, FIRST, "self", "class", unsure)
        for unsure in UNSURE
    )
    assert all_of_it.counted.all() and torch.equal(left.masks, all_of_it.masks)
    attended = plain_masks(left.maps, (SIZE, SIZE), features.threshold)
    objects = self_pairs(images, features, FIRST, "objects")
    claimed = dict(zip(objects.names, objects.masks))
    for row, name in enumerate(left.names):
        # Objects of other training classes count: there the truth is known.
        assert torch.equal(~left.counted[row], attended[row] & ~claimed[name])
    held_out = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    held_out[-3:, 16:] = True
    assert (~left.counted & held_out).any()


def test_some_classes_alone_may_be_used(features):
    pairs = training_pairs(Images(), features, FIRST, "both", "objects", classes=[2])
    assert set(pairs.names) == {"img_01", "img_03"}
    assert (pairs.masks.sum((1, 2)) == 4 * 8).all()


@pytest.mark.parametrize("option", ["kind", "target", "unsure"])
def test_other_options_are_refused(features, option):
    with pytest.raises(ValueError, match=f"{option} is 'pixels'"):
        training_pairs(Images(), features, FIRST, **{option: "pixels"})


def test_without_any_mask_there_is_nothing_to_learn(features):
    with pytest.raises(CstlibError, match="at least one image"):
        training_pairs(Images(), features, [])


def test_there_are_no_more_pairs_than_are_drawn(features, monkeypatch):
    images = Images()
    every = training_pairs(images, features, images.names)
    monkeypatch.setattr("cstlib.enhancer_pairs.MOST_PAIRS", 50)
    some = training_pairs(images, features, images.names)
    assert len(every.names) > 50 >= len(some.names) > 25
    assert {1, 2} == set(some.classes)


def test_maps_are_the_cosines_of_each_head():
    image, support = tokens(2, seed=1), tokens(2, seed=2)
    maps = head_maps(image, support)
    key = image.attn_k[1, 2, 1 + 4 * GRID[1] + 3]
    query = support.attn_q[1, 2, 0]
    cosine = torch.dot(key, query) / key.norm() / query.norm()
    assert maps[1, 2, 4, 3].item() == pytest.approx(cosine.item(), abs=1e-6)


def test_plain_masks_are_the_pseudo_masks():
    image, support = tokens(2, seed=1), tokens(2, seed=2)
    expected = pseudo_mask(image, support, (SIZE, SIZE), 0.6)
    maps = head_maps(image, support)
    assert torch.equal(plain_masks(maps, (SIZE, SIZE), 0.6), expected)
