"""PANet: a class is the mean of its support tokens (Wang et al., ICCV 2019).

The prototype method among those that CST is compared with: no correlations, no layers
of its own. Masked average pooling of the support's last-layer tokens gives a foreground
and a background prototype; a query token belongs to the one with the larger cosine.

Here it runs on the frozen tokens, training-free or with one linear map in front, and is
treated like HSNet and ASNet: each class and shot on its own, presence by the maximum of
the foreground map, labels over [mean log p_bg, log p_fg,1..N]. PANet itself pools all
shots into a prototype and all classes' backgrounds into one; with one way and one shot
that is the same. It has no rule for presence: a query token that is only a little
nearer to the foreground is enough for "present", which is nearly always true untrained.
PANet's second loss, which segments the support by the query, is left out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cstlib.backbones import Tokens
from cstlib.baselines.mask_only import MaskLearner, strongest
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.evaluation import Predictor, predict
from cstlib.features import Features
from cstlib.supervision import Supervision

TEMPERATURE = 20


class PANet(MaskLearner):
    """Cosines to two prototypes, of tokens that went through one linear map.

    The map begins as the identity, so that an untrained PANet is the training-free one.
    C^2 parameters: 9,216 for the miniature, 147,456 for ViT-S.

    Args:
        in_channels: C, the channels of a token.
    """

    pooled_supports = False

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.projection = nn.Linear(in_channels, in_channels, bias=False)
        nn.init.eye_(self.projection.weight)

    @classmethod
    def channels(cls, features: Any, heads: int = 0) -> int:
        """C of the last layer; prototypes know no heads."""
        return features.width

    def compare(
        self, query_tokens: Tokens, support_tokens: Tokens
    ) -> tuple[Tensor, Tensor]:
        """The last layer's patch tokens: B x C x h x w each, query and support."""
        query, support = (
            tokens.patches[-1].transpose(1, 2).unflatten(2, tokens.grids[-1])
            for tokens in (query_tokens, support_tokens)
        )
        return query, support

    def forward(
        self,
        tokens: tuple[Tensor, Tensor],
        support_mask: Tensor | None = None,
        query_grid: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Class logits B x 2 and mask logits B x 2 x h x w, times 20.

        Without a mask all of the support is foreground, and the background's prototype
        is zero, as far from one token as from another.

        Args:
            tokens: as from `compare`; their grids are their own, ``query_grid`` is
                not needed.

        Raises:
            CstlibError: the tokens have another number of channels.
        """
        query, support = tokens
        if {query.shape[1], support.shape[1]} != {self.in_channels}:
            raise CstlibError(
                f"This learner takes tokens of {self.in_channels} channels, not of "
                f"{query.shape[1]}: use the backbone that it was made for."
            )
        query, support = (
            self.projection(one.flatten(2).transpose(1, 2)).transpose(1, 2)
            for one in (query, support)
        )  # B x C x Q and B x C x S
        inside = torch.ones_like(support[:, 0])  # B x S
        if support_mask is not None:
            mask = support_mask[:, None].float()  # B x 1 x H x W
            grid = tokens[1].shape[2:]
            mask = F.interpolate(mask, grid, mode="bilinear", align_corners=True)
            inside = (mask > 0).flatten(1).to(support)
        weights = torch.stack([1 - inside, inside], dim=1)  # B x 2 x S
        weights = weights / weights.sum(2, keepdim=True).clamp(min=1)
        prototypes = weights @ support.transpose(1, 2)  # B x 2 x C
        cosines = F.normalize(prototypes, dim=2) @ F.normalize(query, dim=1)
        mask_logits = (TEMPERATURE * cosines).unflatten(2, tokens[0].shape[2:])
        return strongest(mask_logits), mask_logits


def prototype_prediction(
    dataset: VocDataset, features: Features, supervision: Supervision
) -> Predictor:
    """PANet without training, for `cstlib.evaluation.measure`.

    Args:
        supervision: of ``dataset``; gives the support masks.
    """
    learner = PANet(features.width).to(features.device).eval()
    return lambda plans: predict(learner, dataset, features, supervision, plans)
