"""Image-level labels: masks that attention makes, none at all, and controls.

The label file says which classes an image shows. No class here asks for a true mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cstlib.backbones import Tokens
from cstlib.data.voc import VocDataset
from cstlib.features import Features
from cstlib.pseudo_masks import output_tokens, pseudo_mask
from cstlib.supervision.base import Plans, Supervision, support_names


class PseudoMasks(Supervision):
    """Image-level labels: masks from the attention of a ViT (equations 9-11).

    The query's mask is made with the support's class token (cross-attention) and is
    empty where the class is absent, as the image-level label says. The support's
    mask is made with its own class token (self-attention) and is never emptied. In
    testing only the support's mask enters the model.

    Args:
        attention: whose queries and keys to use; by default those of ``features``.
    """

    source = "dino"

    def __init__(
        self,
        dataset: VocDataset,
        features: Features,
        attention: Features | None = None,
    ) -> None:
        super().__init__(dataset, features)
        self.attention = attention or features

    def target_masks(self, plans: Plans) -> Tensor:
        queries = self._asked([plan.query for plan in plans])
        supports = self._asked(support_names(plans))
        masks = self._masks(queries, supports)
        return masks & self.presence(plans)[:, :1, None]

    def support_masks(self, plans: Plans) -> Tensor:
        supports = self._asked(support_names(plans))
        return self._masks(supports, supports)

    @property
    def threshold(self) -> float:
        """Of equation 11; it belongs to the weights."""
        return self.attention.threshold

    def _asked(self, names: list[str]) -> Tokens:
        """Whose class tokens ask and whose patches answer."""
        return self.attention.attention(names)

    def _masks(self, images: Tokens, supports: Tokens) -> Tensor:
        return pseudo_mask(images, supports, self.size, self.threshold)


class RandomMasks(PseudoMasks):
    """A control: the same pseudo-masks, from the attention of an untrained ViT."""

    source = "random"


class SupervisedMasks(PseudoMasks):
    """A control (Table 6): pseudo-masks from a ViT that was taught class labels."""

    source = "supervised"


class OutputMasks(PseudoMasks):
    """An ablation (Table 6): pseudo-masks from the backbone's output tokens."""

    source = "output"

    def _asked(self, names: list[str]) -> Tokens:
        return output_tokens(self.features.tokens(names))

    @property
    def threshold(self) -> float:
        return self.features.output_threshold


class NoMasks(Supervision):
    """The x rows of the paper: image-level labels and no mask of any kind.

    The attention is not masked; with no target, training averages the segmentation
    map over the image and trains it as a class score.
    """

    source = "none"

    def target_masks(self, plans: Plans) -> None:
        return None

    def support_masks(self, plans: Plans) -> None:
        return None


class ForegroundMasks(Supervision):
    """A control: every pixel of an image that shows the class is taken for it."""

    source = "foreground"

    def target_masks(self, plans: Plans) -> Tensor:
        present = self.presence(plans)[:, :1, None]
        return present.expand(-1, *self.size).clone()

    def support_masks(self, plans: Plans) -> Tensor:
        count = len(support_names(plans))
        return torch.ones(
            count, *self.size, dtype=torch.bool, device=self.features.device
        )
