"""Pseudo-masks: the attention of a class token as a mask (section 3.2, equations 9-11).

The class token of a support image asks the patches of an image "do you show what I
show?" in the last block's query-key space. Asked of the query image it is
cross-attention, of the support image itself self-attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib.backbones import Tokens

THRESHOLD = 0.4


def attention_map(image_tokens: Tokens, support_tokens: Tokens) -> Tensor:
    """Equation (9): a_m[j] = cos(k_m[j], q_s,m[cls]), before any softmax.

    Args:
        image_tokens: whose patch keys are asked: the query image (cross-attention)
            or the support image (self-attention).
        support_tokens: whose class-token query asks. A batch of one serves all.

    Returns:
        B x M x N, in [-1, 1]: one map for each head of the last block.
    """
    keys = F.normalize(image_tokens.attn_k[:, :, 1:], dim=-1)  # B x M x N x d
    query = F.normalize(support_tokens.attn_q[:, :, :1], dim=-1)  # B x M x 1 x d
    return (keys @ query.transpose(2, 3)).squeeze(3)  # B x M x N


def mean_map(attention: Tensor, grid: tuple[int, int]) -> Tensor:
    """The heads' mean, laid out on the patch grid: B x M x N -> B x h x w."""
    return attention.mean(dim=1).unflatten(1, grid)


def upsample(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Equation (10): the map at the image's size, bilinear: B x h x w -> B x H x W."""
    maps = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=True)
    return maps[:, 0]


def binarise(maps: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Equation (11): cosines moved from [-1, 1] to [0, 1], then cut: any shape, bool."""
    return (maps + 1) / 2 > threshold


def output_tokens(tokens: Tokens) -> Tokens:
    """The network's last output in place of queries and keys (an ablation, Table 6).

    Its class token asks, its patch tokens answer, by the cosine over all channels:
    one map where equation 9 gives one a head.
    """
    cls, patches = tokens.cls[-1], tokens.patches[-1]  # B x C, B x N x C
    keys = torch.cat([cls[:, None], patches], dim=1)
    return replace(
        tokens, heads=1, attn_q=cls[:, None, None], attn_k=keys[:, None]
    )  # B x 1 x 1 x C, B x 1 x (1+N) x C


@torch.no_grad()
def pseudo_mask(
    image_tokens: Tokens,
    support_tokens: Tokens,
    size: tuple[int, int],
    threshold: float = THRESHOLD,
) -> Tensor:
    """Equations (9)-(11): where the image shows what the support image shows.

    A query's pseudo-mask is to be emptied where its image-level label says that the
    class is absent; `cstlib.supervision` does that, because it may know the label.

    Args:
        size: H, W of the mask, in pixels.
        threshold: 0.4 for the DINO models; a backbone's own is `Backbone.threshold`.

    Returns:
        B x H x W bool.
    """
    attention = attention_map(image_tokens, support_tokens)
    maps = mean_map(attention, image_tokens.grids[-1])
    return binarise(upsample(maps, size), threshold)
