"""Bring small maps to a large picture's size without holding the whole in memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 2**22  # numbers in memory at once: 17 MB


def upsampled(
    maps: Tensor, size: tuple[int, int], tile: int = TILE
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Bilinear upsampling (align_corners=True), a tile after the other.

    The whole would take gigabytes for a large picture. Rows and columns are
    interpolated by two small matrices, which is what the usual function does.

    Args:
        maps: P x h x w. size: (H, W) of the whole. tile: numbers in memory at once.

    Returns:
        Slices of the rows and columns, and P x rows x columns.
    """
    height, width = size
    columns = min(width, max(1, tile // len(maps)))
    rows = min(height, max(1, tile // (len(maps) * columns)))
    for top in range(0, height, rows):
        down = slice(top, min(top + rows, height))
        across = _between(maps.shape[1], height, down, maps.device) @ maps
        for left in range(0, width, columns):
            right = slice(left, min(left + columns, width))
            weights = _between(maps.shape[2], width, right, maps.device)
            yield down, right, across @ weights.T


def _between(small: int, large: int, part: slice, device: torch.device) -> Tensor:
    """Rows ``part`` of the large x small matrix that interpolates linearly."""
    scale = (small - 1) / (large - 1) if large > 1 else 0.0
    places = torch.arange(part.start, part.stop, dtype=torch.float64) * scale
    left = places.long().clamp(max=max(0, small - 2))
    share = (places - left)[:, None]
    corners = F.one_hot(torch.stack([left, (left + 1).clamp(max=small - 1)]), small)
    return ((1 - share) * corners[0] + share * corners[1]).float().to(device)
