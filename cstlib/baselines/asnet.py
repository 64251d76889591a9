"""ASNet*: attentive squeeze layers on CST's correlations (Table a.5).

Kang and Cho, "Integrative few-shot learning for classification and segmentation", CVPR
2022: CST's predecessor by the same first author. Its layer is CST's correlation layer
with strided convolutions where CST pools, and without a class token:

    first third -> squeeze (5, 5) --------------------------------+
    middle third -> squeeze (5, 5) --------+                      |
    last third  -> squeeze (5, 3), mean ---+-> mix (1, 2) --------+-> mix (1, 2) -> decoder

The numbers are kernel sides, over the supports alone: query positions meet in the group
norms and in the decoder. Squeezing shrinks the supports' 12 x 12 to 2 x 2; each mixing
block ends with a single position, which is handed on. 1,320,610 parameters for the 13
maps of a ResNet50, as published.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from cstlib.baselines.levels import kept, levels_of, over_supports, split_levels
from cstlib.baselines.mask_only import DecodedLearner, MapDecoder
from cstlib.cst import HEADS, conv, norm

# Instead of minus infinity, as in the release: where nothing is left of a mask, all
# keys get the same weight. That is frequent: resized to 2 x 2 positions with aligned
# corners, a mask is its four corner pixels.
MASKED_OUT = -1e9


class AttentiveSqueeze(nn.Module):
    """Attention over the support positions, then a feed-forward: fewer positions.

    Args:
        kernel, stride: of the convolution that makes the queries (and the residual),
            so of how many positions come out.
        pool_keys: make keys and values by such a convolution too, not position by
            position.
    """

    def __init__(
        self, d_in: int, d_out: int, kernel: int, stride: int, pool_keys: bool
    ) -> None:
        super().__init__()
        half = d_out // 2
        reach = (kernel, stride, kernel // 2 if kernel > 2 else 0)
        single = (1, 1, 0)
        self.residual = None
        if d_in != d_out or reach != single:
            self.residual = nn.Conv2d(d_in, d_out, *reach, bias=False)
            self.residual_norm = norm(d_out)
        self.q = nn.Conv2d(d_in, half, *reach)
        self.k = nn.Conv2d(d_in, half, *(reach if pool_keys else single))
        self.v = nn.Conv2d(d_in, half, *(reach if pool_keys else single))
        self.attended_norm = norm(half)
        self.attended_conv = conv(half, d_out, bias=False)
        self.attended_out_norm = norm(d_out)
        self.norm = norm(d_out)
        self.feed_forward = nn.Sequential(
            *(conv(d_out, half, bias=False), norm(half), nn.ReLU()),
            conv(half, d_out, bias=False),
        )
        self.out_norm = norm(d_out)

    def forward(self, x: Tensor, support_mask: Tensor | None) -> Tensor:
        """B x D_in x S x S x Q -> B x D_out x S' x S' x Q."""
        attended = self.attend(x, support_mask)  # B x D/2 x S' x S' x Q
        side = attended.shape[2]
        attended = F.relu(self.attended_norm(attended)).flatten(3)
        attended = self.attended_conv(attended.flatten(2)[..., None])
        attended = F.relu(self.attended_out_norm(attended))  # B x D x S'S'Q x 1
        shortcut = x
        if self.residual is not None:
            shortcut = F.relu(self.residual_norm(over_supports(self.residual, x)))
        x = self.norm(attended + shortcut.flatten(2)[..., None])
        x = self.out_norm(x + self.feed_forward(x))
        return x.squeeze(3).unflatten(2, (side, side, -1))

    def attend(self, x: Tensor, support_mask: Tensor | None) -> Tensor:
        """Each query position looks over its support positions, in 8 heads.

        Support positions outside the mask are no keys; where keys are pooled, the mask
        is resized to their grid. As in CST, the softmax has no factor 1/sqrt(d).
        """
        q, k, v = (over_supports(one, x) for one in (self.q, self.k, self.v))
        side, key_side = q.shape[2], k.shape[2]
        q, k, v = (
            t.flatten(2, 3).unflatten(1, (HEADS, -1)).permute(0, 1, 4, 3, 2)
            for t in (q, k, v)
        )  # B x 8 x Q x positions x d
        similarity = q @ k.transpose(3, 4)  # B x 8 x Q x S'S' x SS
        if support_mask is not None:
            outside = ~kept(support_mask, key_side).flatten(1)  # B x SS
            similarity += (MASKED_OUT * outside)[:, None, None, None]
        x = similarity.softmax(4) @ v  # B x 8 x Q x S'S' x d
        return x.permute(0, 1, 4, 3, 2).flatten(1, 2).unflatten(2, (side, side))


class Block(nn.Module):
    """Two attentive squeeze layers, one after the other."""

    def __init__(
        self,
        d_in: int,
        widths: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        pool_keys: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for d_out, kernel, stride in zip(widths, kernels, strides):
            layer = AttentiveSqueeze(d_in, d_out, kernel, stride, pool_keys)
            self.layers.append(layer)
            d_in = d_out

    def forward(self, x: Tensor, support_mask: Tensor | None) -> Tensor:
        """B x C x S x S x Q -> B x C' x S' x S' x Q."""
        for layer in self.layers:
            x = layer(x, support_mask)
        return x


class ASNet(DecodedLearner):
    """ASNet's learner on correlation tokens.

    Kernels and widths are the published ones. So are the strides, as far as a support
    of 12 x 12 allows: there, the finer levels begin at 25 x 25. The class token has no
    place on a grid and is left out.

    Args:
        in_channels: L M; the 13 maps of a ResNet50 fall into 4, 6 and 3.
    """

    def __init__(self, in_channels: int = 72) -> None:
        super().__init__()
        self.in_channels = in_channels
        shallow, middle, deep = split_levels(in_channels)
        self.squeeze_deep = Block(deep, (32, 128), (5, 3), (4, 2))
        self.squeeze_middle = Block(middle, (32, 128), (5, 5), (4, 2), pool_keys=True)
        self.squeeze_shallow = Block(shallow, (32, 128), (5, 5), (4, 2), pool_keys=True)
        self.mix_middle = Block(128, (128, 128), (1, 2), (1, 1))
        self.mix_shallow = Block(128, (128, 128), (1, 2), (1, 1))
        self.decoder = MapDecoder()

    def squeeze(
        self, correlation: Tensor, support_mask: Tensor | None, grid: tuple[int, int]
    ) -> Tensor:
        """B x L M x Q x 145 -> B x 128 x Q."""
        shallow, middle, deep = levels_of(correlation)  # B x C x 12 x 12 x Q each
        x = self.squeeze_deep(deep, support_mask).mean((2, 3), keepdim=True)
        x = x + self.squeeze_middle(middle, support_mask)  # B x 128 x 2 x 2 x Q
        x = self.mix_middle(x, support_mask)  # B x 128 x 1 x 1 x Q
        x = x + self.squeeze_shallow(shallow, support_mask)
        return self.mix_shallow(x, support_mask)[:, :, 0, 0]
