"""CST with its heads coupled (Table 7): the segmentation head alone does both tasks."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cstlib.baselines.mask_only import strongest
from cstlib.correlation_rows import Correlation
from cstlib.cst import CST, combine
from cstlib.learner import Prediction, upsample_pairs


class CoupledCST(CST):
    """CST without its classification head: 336,946 parameters for 72 channels.

    An image shows the class if any pixel is foreground. Everything else stays as it
    is in CST, so that what the ablation changes is one thing.

    Args:
        in_channels: L M, the layers times the heads of the backbone.
    """

    def __init__(self, in_channels: int = 72) -> None:
        super().__init__(in_channels)
        del self.classification_head

    def forward(
        self,
        correlation: Correlation,
        support_mask: Tensor | None = None,
        query_grid: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As CST; the class logits are those of the most foreground pixel."""
        h, w = self.checked_grid(correlation, support_mask, query_grid)
        x: Any = correlation
        for layer in self.layers:
            x = layer(x, support_mask)
        x = self.projection(x)[..., 1]  # B x 128 x Q: the patches' token alone
        mask_logits = self.segment(x.unflatten(2, (h, w)))  # B x 2 x 2h x 2w
        return strongest(mask_logits), mask_logits

    def losses(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        presence: Tensor,
        target_mask: Tensor | None,
        lam: float = 0.1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """CST's segmentation loss alone; shapes as in `Learner.losses`.

        There is no head for ``lam`` to weigh.
        """
        parts = class_logits, mask_logits, presence, target_mask, lam
        _, clf, seg = super().losses(*parts)
        return seg, clf.new_zeros(()), seg

    def combine(
        self, class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int]
    ) -> Prediction:
        """Labels as in equation (8); present where any pixel's mean is 0.5 or more.

        Shapes as in `Learner.combine`. With several ways a class is judged by its own
        map, also where another class takes the pixels.
        """
        fg_prob = upsample_pairs(mask_logits, size).softmax(2)[:, :, 1]  # N x K x H x W
        presence_prob = fg_prob.mean(1).amax((1, 2))  # N
        label = combine(fg_prob.amax((2, 3)), fg_prob).label
        return Prediction(presence_prob, presence_prob >= 0.5, label)
