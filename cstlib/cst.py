"""The Classification-Segmentation Transformer (section 3.1, equations 3-8).

    correlation tokens           B x 72  x Q x (1 + 144)
      correlation layer 1        B x 32  x Q x (1 + 9)
      correlation layer 2        B x 128 x Q x (1 + 1)
      projection                 B x 128 x Q x 2
        token 0, once a class token  -> classification head -> B x 2
        token 1, once 144 patches    -> segmentation head   -> B x 2 x 2h x 2w

Q = h w are the query's patches; the last axis holds the support's tokens, its class
token first. 366,004 parameters in all, for 72 channels.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cstlib.backbones import Tokens
from cstlib.correlation import SUPPORT_GRID
from cstlib.correlation_rows import Correlation, CorrelationRows, rows_or_whole
from cstlib.learner import Learner, Prediction, class_score_loss, upsample_pairs
from cstlib.support_attention import attend_in_parts, pooling_matrix

GROUPS = 4
HEADS = 8
# Above as many support tokens, the attention of a CPU is faster in parts.
MANY_TOKENS = 64


class CorrelationLayer(nn.Module):
    """Equations (3)-(4): shorten the support axis by attention, then a feed-forward.

    Args:
        d_in, d_out: channels in and out.
        grid: side of the support's patch grid that comes in.
        kernel: side and stride of the pooling, so that grid / kernel comes out.
    """

    def __init__(self, d_in: int, d_out: int, grid: int, kernel: int) -> None:
        super().__init__()
        half = d_out // 2
        self.grid = grid
        # R of equation (3)
        self.residual_conv = conv(d_in, d_out, bias=False)
        self.residual_norm = norm(d_out)
        # A of equation (3)
        self.qkv = conv(d_in, 3 * half)
        self.attended_norm = norm(half)
        self.attended_conv = conv(half, d_out, bias=False)
        self.attended_out_norm = norm(d_out)
        self.norm = norm(d_out)
        # equation (4)
        self.feed_forward = nn.Sequential(
            *(conv(d_out, half, bias=False), norm(half), nn.ReLU()),
            conv(half, d_out, bias=False),
        )
        self.out_norm = norm(d_out)
        self.pool: Tensor  # (1+S') x (1+S)
        self.register_buffer("pool", pooling_matrix(grid, kernel), persistent=False)

    def forward(self, x: Correlation, support_mask: Tensor | None) -> Tensor:
        """B x D_in x Q x (1+S) -> B x D_out x Q x (1+S')."""
        look = partial(self.look, support_mask=support_mask)
        parts = x.in_parts(look) if isinstance(x, CorrelationRows) else look(x)
        pooled, attended = parts
        x = self.norm(self.attended(attended) + self.residual(pooled))
        return self.out_norm(x + self.feed_forward(x))  # (4)

    def look(self, x: Tensor, support_mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """All in which query tokens are each by themselves: x, pooled, and its MSA.

        B x D_in x Q x (1+S) -> B x D_in x Q x (1+S') and B x D_out/2 x Q x (1+S').
        """
        # An average and a 1x1 convolution commute, so what needs only few tokens is
        # pooled before its convolution: the result is the same, for far less work.
        pooled = F.linear(x, self.pool)  # B x D_in x Q x (1+S')
        return pooled, self.attend(x, pooled, support_mask)

    def residual(self, pooled: Tensor) -> Tensor:
        """R of equation (3): B x D_in x Q x (1+S') -> B x D_out x Q x (1+S')."""
        return F.relu(self.residual_norm(self.residual_conv(pooled)))

    def attended(self, x: Tensor) -> Tensor:
        """A of equation (3) from its MSA: B x D/2 x Q x (1+S') -> B x D x Q x (1+S')."""
        x = self.attended_conv(F.relu(self.attended_norm(x)))
        return F.relu(self.attended_out_norm(x))

    def attend(self, x: Tensor, pooled: Tensor, support_mask: Tensor | None) -> Tensor:
        """MSA's part of (3), over the support's tokens: -> B x D_out/2 x Q x (1+S')."""
        half = self.attended_norm.num_channels
        weight, bias = self.qkv.parameters()
        q = F.conv2d(pooled, weight[:half], bias[:half])  # B x D/2 x Q x (1+S')
        # As a matrix product: in bfloat16 a CPU takes twice as long for a convolution.
        kv = torch.baddbmm(
            bias[half:, None].expand(len(x), -1, 1),
            weight[half:].flatten(1).expand(len(x), -1, -1),  # B x D x D_in
            x.flatten(2),  # B x D_in x Q (1+S)
        ).unflatten(2, x.shape[2:])  # B x D x Q x (1+S)
        return self.multi_head_attention(q, kv, support_mask)

    def multi_head_attention(
        self, q: Tensor, kv: Tensor, support_mask: Tensor | None
    ) -> Tensor:
        """MSA of equation (3), over the support axis: -> B x D/2 x Q x (1+S').

        Only q is pooled. The softmax has no factor 1/sqrt(d), as in the release.
        """
        bias = None if support_mask is None else mask_bias(support_mask, self.grid)
        if q.device.type == "cpu" and kv.shape[3] > MANY_TOKENS:
            return attend_in_parts(q.float(), kv.float(), bias, HEADS)
        q, k, v = (
            t.unflatten(1, (HEADS, -1)).transpose(2, 3) for t in (q, *kv.chunk(2, 1))
        )
        v = v.contiguous()  # B x 8 x Q x d x (1+S); the product below runs 3x faster
        similarity = q.transpose(3, 4) @ k  # B x 8 x Q x (1+S') x (1+S)
        if bias is not None:
            similarity += bias[:, None, None, None]
        attention = similarity.softmax(dim=-1)
        x = attention @ v.transpose(3, 4)  # B x 8 x Q x (1+S') x d
        return x.permute(0, 1, 4, 2, 3).flatten(1, 2)  # B x D/2 x Q x (1+S')


class CST(Learner):
    """The learner: correlations and a support mask in, two kinds of logits out.

    Args:
        in_channels: L M, the layers times the heads of the backbone.
    """

    def __init__(self, in_channels: int = 72) -> None:
        super().__init__()
        self.in_channels = in_channels
        # The two poolings fix the side of the support's patch grid: 12 -> 3 -> 1.
        first = CorrelationLayer(in_channels, 32, grid=SUPPORT_GRID, kernel=4)
        second = CorrelationLayer(32, 128, grid=SUPPORT_GRID // 4, kernel=3)
        self.layers = nn.ModuleList([first, second])
        self.projection = nn.Sequential(
            *(conv(128, 128), norm(128), nn.ReLU()),
            *(conv(128, 128), norm(128), nn.ReLU()),
        )
        self.classification_head = Head(kernel=1)
        self.segmentation_head = Head(kernel=3)

    def compare_once(self, query_tokens: Tokens, support_tokens: Tokens):
        return rows_or_whole(query_tokens, support_tokens, self.heads or None)

    def forward(
        self,
        correlation: Correlation,
        support_mask: Tensor | None = None,
        query_grid: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Say whether, and where, the query shows the support's class.

        Args:
            correlation: B x in_channels x Q x 145, from `cstlib.correlation`.
            support_mask: B x H x W, 1 on the object; bool or float, any size.
            query_grid: (h, w) with h w = Q; a square one if None.

        Returns:
            Class logits B x 2 (absent, present) and mask logits B x 2 x 2h x 2w
            (background, foreground).

        Raises:
            CstlibError: shapes do not fit.
        """
        h, w = self.checked_grid(correlation, support_mask, query_grid)
        x: Any = correlation
        for layer in self.layers:
            x = layer(x, support_mask)
        x = self.projection(x)  # B x 128 x Q x 2
        cls_map, seg_map = x.unflatten(2, (h, w)).unbind(dim=4)  # B x 128 x h x w each
        return self.classify(cls_map), self.segment(seg_map)

    def classify(self, x: Tensor) -> Tensor:
        """Classification map B x 128 x h x w -> class logits B x 2."""
        x = self.classification_head.before(x)  # B x 64 x h x w
        x = F.avg_pool2d(x, kernel_size=3, stride=2, padding=1)
        return self.classification_head.after(x).mean(dim=(2, 3))

    def segment(self, x: Tensor) -> Tensor:
        """Segmentation map B x 128 x h x w -> mask logits B x 2 x 2h x 2w."""
        x = self.segmentation_head.before(x)  # B x 64 x h x w
        h, w = x.shape[2:]
        x = F.interpolate(x, (2 * h, 2 * w), mode="bilinear", align_corners=True)
        return self.segmentation_head.after(x)  # B x 2 x 2h x 2w

    def losses(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        presence: Tensor,
        target_mask: Tensor | None,
        lam: float = 0.1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `cst_loss`; as `class_score_loss` where there is no target to imitate."""
        if target_mask is None:
            return class_score_loss(class_logits, mask_logits, presence, lam)
        return cst_loss(class_logits, mask_logits, presence, target_mask, lam)

    def combine(
        self, class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int]
    ) -> Prediction:
        """Equation (8), of logits N x K x 2 and N x K x 2 x h x w."""
        # Up first, then softmax: as the loss does in training.
        fg_prob = upsample_pairs(mask_logits, size).softmax(2)[:, :, 1]
        return combine(class_logits.softmax(2)[..., 1], fg_prob)


class Head(nn.Module):
    """Four convolutions, two ``before`` and two ``after`` the map changes its size.

    The paper draws two; the release, which made the published numbers, has these.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.before = nn.Sequential(
            *(conv(128, 128, kernel), nn.ReLU()),
            *(conv(128, 64, kernel), nn.ReLU()),
        )
        self.after = nn.Sequential(conv(64, 64, kernel), nn.ReLU(), conv(64, 2, kernel))


def conv(d_in: int, d_out: int, kernel: int = 1, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the map's size; with kernel 1, a linear map of tokens."""
    return nn.Conv2d(d_in, d_out, kernel, padding=kernel // 2, bias=bias)


def norm(channels: int) -> nn.GroupNorm:
    """Group norm whose statistics run over all query and support tokens together.

    So the query tokens are not independent of each other; episodes are.
    """
    return nn.GroupNorm(GROUPS, channels)


def mask_bias(support_mask: Tensor, grid: int) -> Tensor:
    """What to add to the similarities: B x H x W -> B x (1+S), 0 or minus infinity.

    A patch whose value is exactly 0 after the bilinear resize is masked out. The class
    token never is, so that an empty mask leaves something to attend to.
    """
    mask = support_mask[:, None].float()  # B x 1 x H x W
    mask = F.interpolate(mask, (grid, grid), mode="bilinear", align_corners=True)
    bias = torch.zeros_like(mask).masked_fill_(mask == 0, -torch.inf).flatten(1)
    return F.pad(bias, (1, 0))  # the class token's 0 comes first


def cst_loss(
    class_logits: Tensor,
    mask_logits: Tensor,
    presence: Tensor,
    target_mask: Tensor,
    lam: float = 0.1,
) -> tuple[Tensor, Tensor, Tensor]:
    """Equations (5)-(7): lam * classification + segmentation, for 1-way training.

    Args:
        class_logits: B x 2. mask_logits: B x 2 x h x w, brought to the target's size.
        presence: B bool, whether the query shows the class.
        target_mask: B x H x W, 1 on the class. All else is background, void (255)
            too: so it is in the release.

    Returns:
        The loss, and its two unweighted parts: (5) clf and (6) seg.
    """
    clf = F.cross_entropy(class_logits, presence.long())  # (5)
    size = target_mask.shape[-2:]
    pixels = F.interpolate(mask_logits, size, mode="bilinear", align_corners=True)
    seg = F.cross_entropy(pixels, (target_mask == 1).long())  # (6)
    return lam * clf + seg, clf, seg  # (7)


def combine(class_prob: Tensor, fg_prob: Tensor, threshold: float = 0.5) -> Prediction:
    """Equation (8): from each class and shot on its own to one N-way prediction.

    Probabilities are averaged over the shots (so the release; the paper says logits).
    A class is present above 0.5. A pixel takes the class of its highest foreground
    probability, or background where that is below 0.5; presence does not enter.

    Args:
        class_prob: N x K, probability of "present".
        fg_prob: N x K x H x W, probability of "foreground", at the query's size.
        threshold: what stands for 0.5, where one kind of mistake costs more.
    """
    presence_prob = class_prob.mean(dim=1)  # N
    best, index = fg_prob.mean(dim=1).max(dim=0)  # H x W each
    label = torch.where(best < threshold, 0, index + 1)
    return Prediction(presence_prob, presence_prob > threshold, label)
