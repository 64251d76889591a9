"""Controls for probes: what colours and raw pixels say where tokens are asked.

No learning at all has gone into them; tokens that do no better know nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib.backbones import Tokens


def colour_histogram(pixels: Tensor, bins: int = 6) -> Tensor:
    """B x bins^3 square roots of joint colour frequencies: what colour alone tells."""
    index = (pixels * bins).long().clamp(max=bins - 1)
    flat = (index[:, 0] * bins + index[:, 1]) * bins + index[:, 2]
    counts = [torch.bincount(row.flatten(), minlength=bins**3) for row in flat]
    return (torch.stack(counts).float() / flat[0].numel()).sqrt()


def pixel_patches(pixels: Tensor, patch: int = 8) -> Tensor:
    """Raw patches in place of tokens, each less its mean: B x N x 192."""
    columns = F.unfold(pixels, patch, stride=patch).transpose(1, 2)
    return columns - columns.mean(-1, keepdim=True)


def pixel_tokens(pixels: Tensor, sign: float, patch: int = 8) -> Tokens:
    """Raw patches as keys and their mean, times ``sign``, as the class token's query.

    ``pixels`` is B x 3 x H x W; tokens have 192 channels.
    """
    patches = F.unfold(pixels - 0.5, patch, stride=patch).transpose(1, 2)  # B x N x 192
    mean = patches.mean(1, keepdim=True)
    return Tokens(
        cls=[mean[:, 0]],
        patches=[patches],
        grids=[(pixels.shape[2] // patch, pixels.shape[3] // patch)],
        heads=1,
        attn_q=sign * mean[:, None],
        attn_k=torch.cat([mean, patches], 1)[:, None],
    )
