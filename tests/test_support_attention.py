"""The attention over the support's tokens: its pooling, and the same sums in parts."""

from __future__ import annotations

import pytest
import torch
from numpy.random import RandomState

from cstlib.cst import mask_bias
from cstlib.support_attention import attend_in_parts, pooling_matrix


@pytest.mark.parametrize("grid, kernel", [(12, 4), (3, 3), (6, 2)])
def test_pooling_matrix_averages_blocks_and_spares_the_class_token(grid, kernel):
    tokens = torch.from_numpy(RandomState(0).standard_normal(1 + grid**2)).float()
    pooled = pooling_matrix(grid, kernel) @ tokens
    patches = tokens[1:].view(grid, grid)
    assert pooled[0] == tokens[0]
    blocks = [
        patches[y : y + kernel, x : x + kernel].mean()
        for y in range(0, grid, kernel)
        for x in range(0, grid, kernel)
    ]
    torch.testing.assert_close(pooled[1:], torch.stack(blocks))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("shape", [(2, 16, 7, 10, 145), (1, 16, 300, 10, 145)])
def test_attention_in_parts_from_its_formula(shape, masked, monkeypatch):
    monkeypatch.setattr("cstlib.support_attention.TABLE", 40_000)
    b, d, queries, shorter, longer = shape
    random = torch.Generator().manual_seed(0)
    q = torch.randn(b, d, queries, shorter, generator=random, requires_grad=True)
    kv = torch.randn(b, 2 * d, queries, longer, generator=random, requires_grad=True)
    bias = None
    if masked:
        mask = torch.rand(b, 12, 12, generator=random) > 0.5
        bias = mask_bias(mask, 12)
    found = attend_in_parts(q, kv, bias, 8)
    k, v = kv.double().chunk(2, 1)
    heads = [t.unflatten(1, (8, -1)) for t in (q.double(), k, v)]
    similarity = torch.einsum("bhdqi,bhdqs->bhqis", *heads[:2])
    if masked:
        similarity = similarity + bias[:, None, None, None]
    wanted = torch.einsum("bhqis,bhdqs->bhdqi", similarity.softmax(4), heads[2])
    wanted = wanted.flatten(1, 2)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-4)
    grad = torch.randn(found.shape, generator=random)
    ours = torch.autograd.grad(found, (q, kv), grad)
    plain = torch.autograd.grad(wanted, (q, kv), grad.double())
    for a, p in zip(ours, plain):
        torch.testing.assert_close(a, p, atol=1e-4, rtol=1e-3)
