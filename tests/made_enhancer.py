"""Images and tokens for the tests of the mask enhancer: one head speaks the truth."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from cstlib.backbones import Tokens

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


def made_features() -> SimpleNamespace:
    """Tokens of these images by name, as `cstlib.features.Features` gives them."""

    def attention(names: list[str]) -> Tokens:
        return Tokens.cat([tokens(1, seed=int(name[-2:])) for name in names])

    return SimpleNamespace(
        attention=attention, heads=HEADS, device="cpu", threshold=0.5
    )
