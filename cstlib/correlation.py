"""Correlation tokens: how alike are query and support, head by head (section 3.1).

The only thing the learner ever sees of the images. It knows similarities, not what
is similar, which is why it carries over to classes that it was not trained on.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib.backbones import Tokens
from cstlib.errors import CstlibError

SUPPORT_GRID = 12  # side of the support's patch grid, as learners see it


@torch.no_grad()
def correlate(
    query_tokens: Tokens,
    support_tokens: Tokens,
    support_grid: int = SUPPORT_GRID,
    heads: int | None = None,
) -> Tensor:
    """Equations (1)-(2): cosines of every query patch with every support token.

    C[l m, q, 0] = cos(t_q, t_s,cls) and C[l m, q, 1 + s] = cos(t_q, t_s) for layer l
    and head m, over the head's channels only. Nothing is clamped at 0, and the
    query's class token takes no part. Where the query's maps differ in size (a
    ResNet's), each is compared at its own, and the cosines then go to the largest
    by bilinear interpolation.

    Args:
        query_tokens, support_tokens: batches of B; one with a single image serves all
            images of the other.
        support_grid: side to which the support's patch tokens are resized: 12, for
            every backbone and input of the paper.
        heads: M of the backbone if None; 1 is the single-head ablation.

    Returns:
        B x (L M) x N x (1 + S): the channel of layer l and head m is l M + m, N are
        the query's patches (of its largest map), S = 144 the support's; the support's
        class token is first.

    Raises:
        CstlibError: the two batches differ in size, or C is no multiple of ``heads``.
    """
    heads = query_tokens.heads if heads is None else heads
    _check(query_tokens, support_tokens, heads)
    grid = max(query_tokens.grids)  # a CNN's maps differ; a ViT's are all alike
    # Filled layer by layer: to join the layers afterwards would take the memory twice.
    found: Tensor | None = None
    for layer, cls in enumerate(support_tokens.cls):
        query = query_tokens.patches[layer]
        support = resize_patches(
            support_tokens.patches[layer],
            support_tokens.grids[layer],
            (support_grid, support_grid),
        )
        support = torch.cat([cls[:, None], support], dim=1)  # B x (1+S) x C
        query = split_heads(query, heads)  # B x M x N x d
        support = split_heads(support, heads)  # B x M x (1+S) x d
        cosines = query @ support.transpose(2, 3)  # B x M x N_l x (1+S)
        if query_tokens.grids[layer] != grid:
            maps = cosines.flatten(0, 1)  # (B M) x N_l x (1+S)
            maps = resize_patches(maps, query_tokens.grids[layer], grid)
            cosines = maps.unflatten(0, (-1, heads))
        if found is None:
            channels = len(support_tokens.cls) * heads
            found = cosines.new_empty(len(cosines), channels, *cosines.shape[2:])
        found[:, layer * heads : (layer + 1) * heads] = cosines  # B x M x N x (1+S)
    assert found is not None  # a backbone has layers
    return found  # B x (L M) x N x (1+S)


def resize_patches(
    patches: Tensor, grid: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Bilinear resize of patch tokens: B x (h w) x C -> B x (h' w') x C.

    For the support's, between the final LayerNorm and the split into heads, as in the
    release. A target equal to the grid changes nothing.
    """
    if grid == target:
        return patches
    maps = patches.unflatten(1, grid).permute(0, 3, 1, 2)  # B x C x h x w
    maps = F.interpolate(maps, target, mode="bilinear", align_corners=True)
    return maps.flatten(2).transpose(1, 2)  # B x (h' w') x C


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """Unit vectors, one for each head: B x N x C -> B x M x N x d, with d = C / M."""
    return F.normalize(tokens.unflatten(2, (heads, -1)), dim=-1).transpose(1, 2)


def pool_tokens(tokens: Tokens, support_grid: int = SUPPORT_GRID) -> Tokens:
    """The support's tokens as `correlate` compares them: 23 MB become 1.3 (in half).

    Correlating with these gives what correlating with ``tokens`` gives.
    """
    grid = (support_grid, support_grid)
    layers = zip(tokens.patches, tokens.grids)
    return replace(
        tokens,
        patches=[resize_patches(patches, own, grid) for patches, own in layers],
        grids=[grid] * len(tokens.grids),
    )


def _check(query: Tokens, support: Tokens, heads: int) -> None:
    sizes = {query.batch_size, support.batch_size} - {1}
    if len(sizes) > 1:
        raise CstlibError(
            f"{query.batch_size} query and {support.batch_size} support images cannot "
            "be paired: pass batches of one size, or a single image."
        )
    widths = {cls.shape[1] for cls in support.cls}
    if any(width % heads for width in widths):
        raise CstlibError(
            f"Tokens of {min(widths)} channels cannot be split into {heads} heads: "
            "choose a divisor."
        )
