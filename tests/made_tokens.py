"""Tokens of a backbone that never was: random numbers in the right shapes."""

from __future__ import annotations

import torch
from numpy.random import RandomState
from torch import Tensor

from cstlib.backbones import Tokens


def made_tokens(
    seed: int,
    batch: int = 2,
    layers: int = 3,
    heads: int = 2,
    width: int = 4,
    grids: tuple[tuple[int, int], ...] | None = None,
) -> Tokens:
    """``layers`` layers of ``heads`` heads with ``width`` channels each."""
    random = RandomState(seed)

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(random.standard_normal(shape)).float()

    grids = grids or ((5, 6),) * layers
    n = grids[-1][0] * grids[-1][1]
    return Tokens(
        cls=[normal(batch, heads * width) for _ in grids],
        patches=[normal(batch, h * w, heads * width) for h, w in grids],
        grids=list(grids),
        heads=heads,
        attn_q=normal(batch, heads, 1 + n, width),
        attn_k=normal(batch, heads, 1 + n, width),
    )
