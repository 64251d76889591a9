"""What training and evaluation ask of a learner.

compare    what it sees of the frozen tokens: correlations (equations 1-2)
forward    class logits and mask logits of B pairs (equations 3-4 for CST)
losses     what to minimise (equations 5-7)
combine    from N classes and K shots to one prediction (equation 8)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from cstlib.backbones import Tokens
from cstlib.correlation import SUPPORT_GRID, correlate
from cstlib.correlation_rows import Correlation
from cstlib.errors import CstlibError


@dataclass(frozen=True)
class Prediction:
    """What is said of one query image.

    Attributes:
        presence_prob: N probabilities that the query shows the class.
        presence: N bool, those above 0.5; other learners may have a rule of their own.
        label: H x W int64: 0 background, 1..N the classes in support order.
    """

    presence_prob: Tensor
    presence: Tensor
    label: Tensor


class Learner(nn.Module):
    """A module ``forward(compared, support_mask=None, query_grid=None)``.

    It takes what its `compare` returned, and B x H x W support masks. It returns class
    logits B x 2 (absent, present) and mask logits B x 2 x h x w (background,
    foreground) of B pairs of a query and a support image.

    Attributes:
        in_channels: channels of what it compares by.
        heads: of its correlations: 0 for those of the backbone, 1 for the single-head
            ablation (Table a.7).
        pooled_supports: whether `compare` may be given supports that are already
            pooled to the grid of `correlate`, for which that makes no difference.
    """

    in_channels: int
    heads: int = 0
    pooled_supports: bool = True

    @classmethod
    def channels(cls, features: Any, heads: int = 0) -> int:
        """``in_channels`` of a learner for these `cstlib.features.Features`.

        Raises:
            CstlibError: the backbone's tokens cannot be split into ``heads``.
        """
        if not heads:
            return features.channels
        if features.width % heads:
            raise CstlibError(
                f"Tokens of {features.width} channels cannot be split into {heads} "
                "heads: choose a divisor, like 1."
            )
        return features.layers * heads

    @classmethod
    def learning_rate(cls, mask_source: str) -> float:
        """Adam's, to the paper's values."""
        return 1e-3

    def compare(self, query_tokens: Tokens, support_tokens: Tokens) -> Any:
        """All that the learner will know of B pairs: correlations B x L M x Q x 145.

        Called without gradients: the tokens are frozen.
        """
        return correlate(query_tokens, support_tokens, heads=self.heads or None)

    def compare_once(self, query_tokens: Tokens, support_tokens: Tokens) -> Any:
        """As `compare`, where `forward` sees it once; parts may be computed on demand."""
        return self.compare(query_tokens, support_tokens)

    def losses(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        presence: Tensor,
        target_mask: Tensor | None,
        lam: float = 0.1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss lam * clf + seg of B pairs, and its two parts.

        Args:
            class_logits: B x 2. mask_logits: B x 2 x h x w. presence: B bool.
            target_mask: B x H x W, 1 on the class; None where no mask may be seen.
        """
        raise NotImplementedError

    def combine(
        self, class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int]
    ) -> Prediction:
        """One prediction from every class and shot on its own.

        Args:
            class_logits: N x K x 2. mask_logits: N x K x 2 x h x w.
            size: H, W of the query image.
        """
        raise NotImplementedError

    def checked_grid(
        self,
        correlation: Correlation,
        support_mask: Tensor | None,
        query_grid: tuple[int, int] | None,
    ) -> tuple[int, int]:
        """The (h, w) of the query tokens, once all shapes are known to fit.

        Args:
            correlation: B x L M x Q x 145. support_mask: B x H x W.
            query_grid: (h, w), or None for a square.

        Raises:
            CstlibError: they do not.
        """
        if correlation.ndim != 4 or correlation.shape[1] != self.in_channels:
            raise CstlibError(
                f"This learner takes correlations of B x {self.in_channels} x Q x 145, "
                f"not {_shape(correlation)}: use the backbone that it was made for."
            )
        batch, _, queries, tokens = correlation.shape
        if tokens != 1 + SUPPORT_GRID**2:
            raise CstlibError(
                f"This learner takes a class token and {SUPPORT_GRID} x {SUPPORT_GRID} "
                f"support patches, not {tokens} tokens: correlate with "
                f"support_grid={SUPPORT_GRID}."
            )
        if support_mask is not None and (
            support_mask.ndim != 3 or len(support_mask) != batch
        ):
            raise CstlibError(
                f"{batch} correlations need support masks of {batch} x H x W, not "
                f"{_shape(support_mask)}: pass one mask a pair."
            )
        h, w = query_grid or (math.isqrt(queries),) * 2
        if h * w != queries:
            raise CstlibError(
                f"{queries} query tokens are no grid of {h} x {w}: pass query_grid."
            )
        return h, w


def class_score_loss(
    class_logits: Tensor, mask_logits: Tensor, presence: Tensor, lam: float = 0.1
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss where no mask may be seen: the averaged map is a class score too.

    Args:
        class_logits: B x 2. mask_logits: B x 2 x h x w. presence: B bool.

    Returns:
        lam * clf + seg, clf, and seg: cross-entropy of the map's spatial mean.
    """
    clf = F.cross_entropy(class_logits, presence.long())
    seg = F.cross_entropy(mask_logits.mean((2, 3)), presence.long())
    return lam * clf + seg, clf, seg


def upsample_pairs(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corners aligned: N x K x C x h x w -> N x K x C x H x W."""
    full = F.interpolate(maps.flatten(0, 1), size, mode="bilinear", align_corners=True)
    return full.unflatten(0, maps.shape[:2])


def _shape(tensor: Any) -> str:
    return " x ".join(map(str, tensor.shape))
