"""HSNet*: center-pivot 4D convolutions on CST's correlations (Table a.5).

Min, Kang and Cho, "Hypercorrelation squeeze for few-shot segmentation", ICCV 2021. Their
correlations come in three levels, from the deep and coarse maps of a ResNet to the
shallow and fine ones. A ViT's maps are all alike, so its blocks are cut into thirds:

    first third -> squeeze (5, 5, 3) ---------------------------------+
    middle third -> squeeze (5, 3, 3) ---------+                      |
    last third  -> squeeze (3, 3, 3) ----------+-> mix (3, 3, 3) -----+-> mix (3, 3, 3)
                                                                      -> decoder

The numbers are kernel sides, of queries and supports alike. Squeezing shrinks the
supports' 12 x 12 to 2 x 2, mixing keeps them, and the decoder sees their mean.
2,573,794 parameters for the 13 maps of a ResNet50, as published.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from cstlib.baselines.levels import (
    kept,
    levels_of,
    over_queries,
    over_supports,
    split_levels,
)
from cstlib.baselines.mask_only import DecodedLearner, MapDecoder
from cstlib.correlation import SUPPORT_GRID
from cstlib.cst import GROUPS

WIDTHS = (16, 64, 128)


class CenterPivotConv(nn.Module):
    """A 4D convolution without most of its taps: B x C x S x S x Q in and out.

    Of all pairs of a query offset and a support offset only those are kept where one
    of the two is zero. That is the sum of a convolution over the queries, at each
    support position, and one over the supports, at each query position.

    Args:
        kernel: side of both. stride: of the support positions.
    """

    def __init__(self, d_in: int, d_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = kernel // 2  # keeps the size
        self.over_queries = nn.Conv2d(d_in, d_out, kernel, padding=half)
        self.over_supports = nn.Conv2d(d_in, d_out, kernel, stride, padding=half)
        self.norm = nn.GroupNorm(GROUPS, d_out)

    def forward(self, x: Tensor, query_grid: tuple[int, int]) -> Tensor:
        """B x C x S x S x Q -> B x C' x S' x S' x Q, normalised and rectified."""
        pruned = x[:, :, :: self.stride, :: self.stride]  # B x C x S' x S' x Q
        queries = over_queries(self.over_queries, pruned, query_grid)
        supports = over_supports(self.over_supports, x)
        return F.relu(self.norm(queries + supports))


class Block(nn.Module):
    """Three center-pivot convolutions, one after the other."""

    def __init__(
        self,
        d_in: int,
        widths: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for d_out, kernel, stride in zip(widths, kernels, strides):
            self.layers.append(CenterPivotConv(d_in, d_out, kernel, stride))
            d_in = d_out

    def forward(self, x: Tensor, query_grid: tuple[int, int]) -> Tensor:
        """B x C x S x S x Q -> B x C' x S' x S' x Q."""
        for layer in self.layers:
            x = layer(x, query_grid)
        return x


class HSNet(DecodedLearner):
    """HSNet's learner on correlation tokens.

    Kernels and widths are the published ones. So are the strides, as far as a support
    of 12 x 12 allows: there, the finer levels begin at 25 x 25 and 50 x 50. The
    class token has no place on a grid and is left out. Support patches outside the
    mask get correlations of 0, which is what masking features does to cosines.

    Args:
        in_channels: L M; the 13 maps of a ResNet50 fall into 4, 6 and 3.
    """

    def __init__(self, in_channels: int = 72) -> None:
        super().__init__()
        self.in_channels = in_channels
        shallow, middle, deep = split_levels(in_channels)
        self.squeeze_deep = Block(deep, WIDTHS, (3, 3, 3), (2, 2, 2))
        self.squeeze_middle = Block(middle, WIDTHS, (5, 3, 3), (4, 2, 1))
        self.squeeze_shallow = Block(shallow, WIDTHS, (5, 5, 3), (4, 2, 1))
        self.mix_middle = Block(128, (128,) * 3, (3, 3, 3), (1, 1, 1))
        self.mix_shallow = Block(128, (128,) * 3, (3, 3, 3), (1, 1, 1))
        self.decoder = MapDecoder()

    def squeeze(
        self, correlation: Tensor, support_mask: Tensor | None, grid: tuple[int, int]
    ) -> Tensor:
        """B x L M x Q x 145 -> B x 128 x Q."""
        levels: Sequence[Tensor] = levels_of(correlation)  # B x C x 12 x 12 x Q each
        if support_mask is not None:
            inside = kept(support_mask, SUPPORT_GRID)[:, None, ..., None]
            levels = [level * inside for level in levels]
        shallow, middle, deep = levels
        x = self.squeeze_deep(deep, grid) + self.squeeze_middle(middle, grid)
        x = self.mix_middle(x, grid) + self.squeeze_shallow(shallow, grid)
        return self.mix_shallow(x, grid).mean((2, 3))
