"""What HSNet, ASNet and PANet share: one foreground map says both whether and where.

Their way to few-shot classification *and* segmentation is the one of Kang and Cho
("Integrative few-shot learning", CVPR 2022), whose figures the CST paper quotes: a
two-class map for each class and shot, and no head for presence.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib.cst import Head
from cstlib.learner import Learner, Prediction, upsample_pairs


class MaskLearner(Learner):
    """A learner whose class logits are those of its most certain foreground pixel.

    So the probability of "present" is the maximum of the low-resolution foreground
    map. A subclass gives `forward`, and calls `strongest` there.
    """

    @classmethod
    def learning_rate(cls, mask_source: str) -> float:
        """1e-4 without masks: at 1e-3 the averaged map soon says the same of all."""
        return 1e-4 if mask_source == "none" else 1e-3

    def losses(
        self,
        class_logits: Tensor,
        mask_logits: Tensor,
        presence: Tensor,
        target_mask: Tensor | None,
        lam: float = 0.1,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The map's loss alone; ``lam`` has nothing to weigh, and clf is 0.

        With a target: pixel-mean cross-entropy of log-probabilities that are brought
        to the target's size after the softmax. Without: their mean over the image is
        the class score (the x rows of Table 1).
        """
        log_prob = mask_logits.log_softmax(1)  # B x 2 x h x w
        if target_mask is None:
            seg = F.nll_loss(log_prob.mean((2, 3)), presence.long())
        else:
            size = target_mask.shape[-2:]
            full = F.interpolate(log_prob, size, mode="bilinear", align_corners=True)
            seg = F.nll_loss(full, (target_mask == 1).long())
        return seg, seg.new_zeros(()), seg

    def combine(
        self, class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int]
    ) -> Prediction:
        """Presence by the shots' votes, labels by the highest log-probability.

        A shot votes "present" where its highest foreground probability is 0.5 or
        more, and half of the votes are enough. A pixel's label is the arg max over
        [mean_n log p_bg,n, log p_fg,1, ..., log p_fg,N], averaged over the shots.
        """
        prob = class_logits.softmax(2)[..., 1]  # N x K
        votes = (prob >= 0.5).float().mean(1)
        full = upsample_pairs(mask_logits.log_softmax(2), size)  # N x K x 2 x H x W
        background, foreground = full.mean(1).unbind(1)  # N x H x W each
        scores = torch.cat([background.mean(0, keepdim=True), foreground])
        return Prediction(prob.mean(1), votes >= 0.5, scores.argmax(0))


def strongest(mask_logits: Tensor) -> Tensor:
    """The logits of the most foreground pixel: B x 2 x h x w -> B x 2."""
    flat = mask_logits.flatten(2)
    best = (flat[:, 1] - flat[:, 0]).argmax(1)  # B
    return flat.gather(2, best[:, None, None].expand(-1, 2, 1))[..., 0]


class DecodedLearner(MaskLearner):
    """What HSNet and ASNet share beyond that: a decoder of what they squeeze.

    A subclass makes its ``decoder`` and gives `squeeze`.
    """

    decoder: MapDecoder

    def forward(
        self,
        correlation: Tensor,
        support_mask: Tensor | None = None,
        query_grid: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Arguments, result and errors as in `cstlib.cst.CST`."""
        grid = self.checked_grid(correlation, support_mask, query_grid)
        x = self.squeeze(correlation, support_mask, grid)  # B x 128 x Q
        mask_logits = self.decoder(x.unflatten(2, grid))
        return strongest(mask_logits), mask_logits

    def squeeze(
        self, correlation: Tensor, support_mask: Tensor | None, grid: tuple[int, int]
    ) -> Tensor:
        """What all support tokens say of each query token: B x 128 x Q."""
        raise NotImplementedError


class MapDecoder(Head):
    """The decoder of HSNet and ASNet: B x 128 x h x w -> B x 2 x 2h x 2w.

    Four 3x3 convolutions with a bilinear upsampling in the middle: CST's segmentation
    head, down to its 259,458 parameters.
    """

    def __init__(self) -> None:
        super().__init__(kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        """B x 128 x h x w -> B x 2 x 2h x 2w."""
        x = self.before(x)  # B x 64 x h x w
        h, w = x.shape[2:]
        x = F.interpolate(x, (2 * h, 2 * w), mode="bilinear", align_corners=True)
        return self.after(x)
