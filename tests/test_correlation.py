"""Equations 1-2 against loops, and what they must not depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tokens import made_tokens
from plain_cst import resize

from cstlib.correlation import correlate, resize_patches
from cstlib.errors import CstlibError


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


@pytest.mark.parametrize("heads", [None, 1])
def test_every_number_from_the_definition(heads):
    query, support = made_tokens(1), made_tokens(2)
    found = correlate(query, support, support_grid=3, heads=heads)
    m_all = heads or 2
    assert found.shape == (2, 3 * m_all, 30, 1 + 9)
    d = 8 // m_all
    for b in range(2):
        for layer in range(3):
            maps = support.patches[layer][b].T.reshape(8, 5, 6)
            small = resize(maps, 3, 3).flatten(1).T  # 9 x 8
            tokens = [support.cls[layer][b].tolist(), *small.tolist()]
            for m in range(m_all):
                part = slice(m * d, (m + 1) * d)
                for q in (0, 7, 29):
                    t_q = query.patches[layer][b, q].tolist()[part]
                    for s, t_s in enumerate(tokens):
                        value = found[b, layer * m_all + m, q, s].item()
                        assert value == pytest.approx(cosine(t_q, t_s[part]), abs=1e-5)


def test_the_shapes_of_the_paper():
    """12 layers of 6 heads and 12 x 12 support patches: B x 72 x N x 145."""
    query = made_tokens(3, batch=1, layers=12, heads=6, grids=((7, 7),) * 12)
    support = made_tokens(4, batch=1, layers=12, heads=6, grids=((7, 7),) * 12)
    assert correlate(query, support).shape == (1, 72, 49, 145)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0.1, 30), st.floats(0.1, 30))
def test_scale_does_not_matter(seed, a, b):
    query, support = made_tokens(seed), made_tokens(seed + 1)
    plain = correlate(query, support, support_grid=3)
    scaled = correlate(
        replace(query, patches=[a * p for p in query.patches]),
        replace(
            support,
            cls=[b * c for c in support.cls],
            patches=[b * p for p in support.patches],
        ),
        support_grid=3,
    )
    torch.testing.assert_close(plain, scaled, atol=1e-5, rtol=1e-4)
    assert plain.abs().max() <= 1 + 1e-5
    assert plain.min() < 0, "nothing is clamped at zero"


def test_the_querys_class_token_takes_no_part():
    query, support = made_tokens(5), made_tokens(6)
    other = replace(query, cls=[c + 1 for c in query.cls])
    assert torch.equal(correlate(query, support, 3), correlate(other, support, 3))


def test_an_image_with_itself_has_ones_on_the_diagonal():
    tokens = made_tokens(7, grids=((4, 4),) * 3)
    found = correlate(tokens, tokens, support_grid=4)
    diagonal = found[..., 1:].diagonal(dim1=2, dim2=3)
    torch.testing.assert_close(diagonal, torch.ones_like(diagonal))


@settings(deadline=None, max_examples=10)
@given(st.permutations(range(4)))
def test_pairs_of_a_batch_are_independent(order):
    query, support = made_tokens(8, batch=4), made_tokens(9, batch=4)
    order = list(order)
    torch.testing.assert_close(
        correlate(query, support, 3)[order], correlate(query[order], support[order], 3)
    )


def test_one_query_serves_many_supports():
    query, support = made_tokens(10, batch=1), made_tokens(11, batch=3)
    repeated = correlate(query[[0, 0, 0]], support, 3)
    torch.testing.assert_close(correlate(query, support, 3), repeated)


def test_cosines_of_unequal_maps_come_to_the_largest_query_grid():
    """A ResNet's: compared at each map's own size, with as many channels as it has."""
    grids = ((6, 7), (3, 4))
    query, support = made_tokens(12, grids=grids), made_tokens(13, grids=grids)
    wide = made_tokens(14, width=5, grids=grids[1:]), made_tokens(15, width=5)
    query.patches[1], query.cls[1] = wide[0].patches[0], wide[0].cls[0]
    support.patches[1] = wide[1].patches[0]
    support.cls[1], support.grids[1] = wide[1].cls[0], (5, 6)
    found = correlate(query, support, support_grid=3)
    assert found.shape == (2, 4, 42, 10)
    for layer, m in ((0, 1), (1, 0), (1, 1)):
        alone = [
            replace(
                tokens,
                patches=tokens.patches[layer : layer + 1],
                cls=tokens.cls[layer : layer + 1],
                grids=tokens.grids[layer : layer + 1],
            )
            for tokens in (query, support)
        ]
        own = correlate(*alone, support_grid=3)[:, m]  # 2 x h w x 10
        maps = own.mT.unflatten(2, grids[layer])
        wanted = resize(maps, 6, 7).flatten(2).mT.float()
        torch.testing.assert_close(found[:, 2 * layer + m], wanted)


def test_resize_patches_keeps_corners_and_the_same_grid():
    patches = made_tokens(14).patches[0]
    assert resize_patches(patches, (5, 6), (5, 6)) is patches
    small = resize_patches(patches, (5, 6), (2, 2))
    torch.testing.assert_close(small, patches[:, [0, 5, 24, 29]])


def test_no_gradient_reaches_the_frozen_tokens():
    query, support = made_tokens(15), made_tokens(16)
    query.patches[0].requires_grad_()
    assert not correlate(query, support, 3).requires_grad


def test_unpairable_tokens_end_in_one_sentence():
    with pytest.raises(CstlibError, match="2 query and 3 support images"):
        correlate(made_tokens(1, batch=2), made_tokens(2, batch=3))
    with pytest.raises(CstlibError, match="8 channels cannot be split into 3 heads"):
        correlate(made_tokens(1), made_tokens(2), heads=3)
