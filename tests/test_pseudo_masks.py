"""Equations 9-11 against loops."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tokens import made_tokens
from plain_cst import resize

from cstlib.pseudo_masks import attention_map, binarise, mean_map, pseudo_mask, upsample


def test_attention_map_from_the_definition():
    """The support's class-token query asks the image's keys, head by head."""
    image, support = made_tokens(1), made_tokens(2)
    found = attention_map(image, support)
    assert found.shape == (2, 2, 30)
    for b in range(2):
        for m in range(2):
            query = support.attn_q[b, m, 0].tolist()
            for j in range(30):
                key = image.attn_k[b, m, 1 + j].tolist()
                dot = sum(x * y for x, y in zip(key, query))
                value = dot / math.hypot(*key) / math.hypot(*query)
                assert found[b, m, j].item() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("threshold", [0.4, 0.55])
def test_pseudo_mask_from_the_definition(threshold):
    image, support = made_tokens(3), made_tokens(4)
    found = pseudo_mask(image, support, (17, 23), threshold)
    assert found.shape == (2, 17, 23) and found.dtype == torch.bool
    attention = attention_map(image, support)
    for b in range(2):
        mean = (attention[b, 0] + attention[b, 1]) / 2
        full = (resize(mean.reshape(5, 6), 17, 23) + 1) / 2
        clear = (full - threshold).abs() > 1e-5
        assert torch.equal(found[b][clear], (full > threshold)[clear])
    assert 0 < found.float().mean() < 1


def test_the_map_is_upsampled_before_it_is_cut():
    image, support = made_tokens(5), made_tokens(6)
    found = pseudo_mask(image, support, (40, 48), 0.5)
    cut_first = binarise(mean_map(attention_map(image, support), (5, 6)), 0.5)
    blocky = upsample(cut_first.float(), (40, 48)) > 0.5
    assert (found != blocky).any()


def test_the_threshold_is_on_zero_to_one_and_strict():
    maps = torch.tensor([[[-1.0, -0.2, -0.19, 1.0]]])
    assert binarise(maps, 0.4).tolist() == [[[False, False, True, True]]]
    assert binarise(torch.zeros(1), 0.5).item() is False


def test_upsample_keeps_the_corners():
    maps = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    full = upsample(maps, (7, 9))[0]
    assert [full[y, x].item() for y in (0, -1) for x in (0, -1)] == [0, 1, 2, 3]
    assert full[3, 4].item() == pytest.approx(1.5)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0.1, 30))
def test_scale_does_not_matter(seed, factor):
    image, support = made_tokens(seed), made_tokens(seed + 1)
    plain = attention_map(image, support)
    scaled = attention_map(
        replace(image, attn_k=factor * image.attn_k),
        replace(support, attn_q=factor * support.attn_q),
    )
    torch.testing.assert_close(plain, scaled, atol=1e-5, rtol=1e-4)
    assert plain.abs().max() <= 1 + 1e-5


def test_a_cache_may_keep_the_class_query_alone():
    image, support = made_tokens(7), made_tokens(8)
    small = replace(support, attn_q=support.attn_q[:, :, :1])
    assert torch.equal(attention_map(image, support), attention_map(image, small))


def test_what_equation_9_does_not_read():
    """Neither the image's queries nor the support's keys, nor any class-token key."""
    image, support = made_tokens(9), made_tokens(10)
    keys = image.attn_k.clone()
    keys[:, :, 0] = 7
    other_image = replace(image, attn_q=image.attn_q + 1, attn_k=keys)
    other_support = replace(support, attn_k=support.attn_k + 1)
    assert torch.equal(
        attention_map(image, support), attention_map(other_image, other_support)
    )


def test_one_support_serves_many_images():
    images, support = made_tokens(11, batch=3), made_tokens(12, batch=1)
    assert torch.equal(
        attention_map(images, support), attention_map(images, support[[0, 0, 0]])
    )
