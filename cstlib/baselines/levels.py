"""CST's correlation tokens as the 4D correlations that HSNet and ASNet take.

Both were made for a ResNet, whose maps come in three levels. A ViT's blocks are cut
into thirds instead. In both cases all maps have the grid that `cstlib.correlation`
gives them: the query's finest, and 12 x 12 of the support.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from cstlib.correlation import SUPPORT_GRID
from cstlib.cst import mask_bias
from cstlib.errors import CstlibError

# A ResNet50's maps from the shallow level to the deep one.
MAPS = {13: (4, 6, 3)}


def split_levels(channels: int) -> tuple[int, int, int]:
    """Channels of the shallow, the middle and the deep level.

    Layers come first in the correlations' order of channels, so that thirds of the
    channels are thirds of the blocks, with all their heads.

    Raises:
        CstlibError: there are fewer channels than levels.
    """
    if channels < 3:
        raise CstlibError(
            f"{channels} correlation channels make no three levels: choose a backbone "
            "with more layers or heads, or the learner cst."
        )
    third = channels // 3
    return MAPS.get(channels, (third, channels - 2 * third, third))


def levels_of(correlation: Tensor) -> tuple[Tensor, ...]:
    """B x LM x Q x 145 -> B x C x 12 x 12 x Q for the shallow, middle and deep level.

    The support's class token has no place on a grid and is left out.
    """
    grid = (SUPPORT_GRID, SUPPORT_GRID)
    levels = correlation[..., 1:].split(split_levels(correlation.shape[1]), dim=1)
    # Contiguous once: each level is convolved several times.
    return tuple(
        level.transpose(2, 3).contiguous().unflatten(2, grid) for level in levels
    )


def kept(support_mask: Tensor, side: int) -> Tensor:
    """Support positions inside the mask, by CST's rule: B x H x W -> B x side x side.

    All are kept whose value is not exactly 0 after the bilinear resize.
    """
    return (mask_bias(support_mask, side)[:, 1:] == 0).unflatten(1, (side, side))


def over_supports(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution over the support positions, at each query position alike.

    B x C x S x S x Q -> B x C' x S' x S' x Q.
    """
    stride, padding = (*conv.stride, 1), (*conv.padding, 0)
    return F.conv3d(x, conv.weight[..., None], conv.bias, stride, padding)


def over_queries(conv: nn.Conv2d, x: Tensor, query_grid: tuple[int, int]) -> Tensor:
    """A convolution over the query positions, at each support position alike.

    B x C x S x S x Q -> B x C' x S x S x Q, with Q = h w.
    """
    side = x.shape[2]
    x = x.flatten(2, 3).unflatten(3, query_grid)  # B x C x SS x h x w
    stride, padding = (1, *conv.stride), (0, *conv.padding)
    x = F.conv3d(x, conv.weight[:, :, None], conv.bias, stride, padding)
    return x.flatten(3).unflatten(2, (side, side))
