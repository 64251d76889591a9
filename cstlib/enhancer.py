"""Mask enhancer: a few true masks teach how to read the attention (section 3.3).

Pseudo-masks average a ViT's heads and cut the mean at a threshold. The enhancer looks
at the heads one by one and at their neighbourhoods: three small convolutions, trained
on the first few per cent of the training images, the only ones whose masks are read.

The authors' code for this part is lost. Known are the layers and the subset; all else
is in `EnhancerSettings`. ``docs/mixed_supervision.md`` names each open choice with its
alternatives and the figures that decided; ``python -m cstlib enhancer-choices``
(`cstlib.enhancer_choices`) measures them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cstlib.backbones import Tokens
from cstlib.data.voc import VocDataset
from cstlib.enhancer_pairs import Pairs, head_maps, training_pairs
from cstlib.features import Features
from cstlib.pseudo_masks import upsample

WIDTH = 128
CUT = 0.4


@dataclass(frozen=True)
class EnhancerSettings:
    """The open choices of mixed supervision, as decided in docs/mixed_supervision.md.

    Attributes:
        kind, target, unsure: what it learns from, as in `training_pairs`.
        steps, batch_size, learning_rate: of Adam.
        dice: weight of the Dice loss beside the cross-entropy.
        turns: whether each batch is turned by 0 to 3 quarters and perhaps mirrored.
        finer: maps are enlarged so many times before the first convolution; the
            patch size gives the resolution of the image, 1 that of the tokens.
    """

    kind: str = "both"
    target: str = "class"
    unsure: str = "left out"
    steps: int = 100
    batch_size: int = 16
    learning_rate: float = 1e-3
    dice: float = 0.0
    turns: bool = True
    finer: int = 1


class MaskEnhancer(nn.Module):
    """Per-head attention maps in, one map of logits out: M -> 128 -> 128 -> 1.

    Three 3x3 convolutions with padding 1 and ReLU between; the sigmoid of the paper is
    applied by `enhance`, as the loss wants logits. 155,777 parameters for 6 heads.
    """

    def __init__(self, heads: int = 6, width: int = WIDTH) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(heads, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of equation 9, B x M x h x w -> logits B x h x w."""
        return self.layers(maps)[:, 0]


def enhancer_loss(
    logits: Tensor, masks: Tensor, counted: Tensor | None = None, dice: float = 0.0
) -> Tensor:
    """Pixel-mean binary cross-entropy at the masks' resolution, perhaps with Dice.

    Args:
        logits: B x h x w, brought to H x W bilinearly (align_corners=True), as the
            learner's own maps are in equation 7.
        masks: B x H x W bool.
        counted: B x H x W bool, the pixels to look at; by default all.
        dice: weight of 1 - 2 |P T| / (|P| + |T|), the mean over the batch.
    """
    full = upsample(logits, tuple(masks.shape[1:]))
    weight = torch.ones_like(full) if counted is None else counted.to(full.dtype)
    truth = masks.to(full.dtype)
    each = F.binary_cross_entropy_with_logits(full, truth, reduction="none")
    loss = (each * weight).sum() / weight.sum().clamp_min(1)
    if dice:
        found, truth = full.sigmoid() * weight, truth * weight
        both, either = (found * truth).sum((1, 2)), (found + truth).sum((1, 2))
        loss = loss + dice * (1 - (2 * both + 1) / (either + 1)).mean()
    return loss


def fit_enhancer(
    enhancer: MaskEnhancer,
    pairs: Pairs,
    steps: int | None = None,
    settings: EnhancerSettings = EnhancerSettings(),
    seed: int = 0,
) -> Iterator[float]:
    """Train in place with Adam, yielding the loss of each step.

    Batches are drawn with replacement from the pairs, by a generator of ``seed``.

    Args:
        steps: instead of the settings' own.
    """
    rate = settings.learning_rate
    optimizer = torch.optim.Adam(enhancer.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    enhancer.train()
    for _ in range(settings.steps if steps is None else steps):
        shape = (settings.batch_size,)
        rows = torch.randint(len(pairs.names), shape, generator=generator)
        rows = rows.to(pairs.maps.device)
        maps, masks = pairs.maps[rows], pairs.masks[rows]
        counted = pairs.counted[rows]
        if settings.turns:
            way = int(torch.randint(8, (), generator=generator))
            maps, masks, counted = (turned(x, way) for x in (maps, masks, counted))
        loss = enhancer_loss(
            enhancer(finer(maps, settings.finer)), masks, counted, settings.dice
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.item()
    enhancer.eval()


def turned(maps: Tensor, way: int) -> Tensor:
    """Turned by ``way % 4`` quarters, and mirrored for 4 to 7: ... x h x w."""
    maps = torch.rot90(maps, way % 4, (-2, -1))
    return maps.flip(-1) if way >= 4 else maps


def finer(maps: Tensor, factor: int) -> Tensor:
    """Maps enlarged bilinearly: B x M x h x w -> B x M x factor h x factor w."""
    if factor == 1:
        return maps
    size = [factor * side for side in maps.shape[2:]]
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)


def new_enhancer(heads: int = 6, seed: int = 0) -> MaskEnhancer:
    """An untrained enhancer whose weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskEnhancer(heads)


def trained_enhancer(
    dataset: VocDataset,
    features: Features,
    names: list[str],
    seed: int = 0,
    settings: EnhancerSettings = EnhancerSettings(),
) -> MaskEnhancer:
    """An enhancer taught by the masks of these training images, in seconds.

    Raises:
        CstlibError: there are no such images, or a mask is missing or broken.
    """
    pairs = training_pairs(
        dataset, features, names, settings.kind, settings.target, settings.unsure
    )
    enhancer = new_enhancer(features.heads, seed).to(features.device)
    for _ in fit_enhancer(enhancer, pairs, settings=settings, seed=seed):
        pass
    return enhancer


@torch.no_grad()
def enhance(
    enhancer: MaskEnhancer,
    image_tokens: Tokens,
    support_tokens: Tokens,
    size: tuple[int, int],
    threshold: float = CUT,
) -> Tensor:
    """The enhanced pseudo-mask, in place of `cstlib.pseudo_masks.pseudo_mask`.

    Logits are brought to the image's size before the sigmoid and the threshold.

    Args:
        size: H, W of the mask. threshold: of the probability; the paper gives none.
            Half would be too high: an image with two classes teaches "perhaps" for
            either, as its class token cannot know which of them is meant.

    Returns:
        B x H x W bool.
    """
    maps = head_maps(image_tokens, support_tokens)
    return probabilities(enhancer, maps, size) > threshold


@torch.no_grad()
def probabilities(
    enhancer: MaskEnhancer, maps: Tensor, size: tuple[int, int]
) -> Tensor:
    """The enhancer's map at the image's size: B x M x h x w -> B x H x W in [0, 1]."""
    return upsample(enhancer(maps), size).sigmoid()


def pooled_iou(found: Tensor, truth: Tensor) -> float:
    """IoU of B x H x W bool masks, summed over all images before dividing.

    As the benchmark sums over episodes; 1.0 where neither shows anything.
    """
    union = (found | truth).sum().item()
    return (found & truth).sum().item() / union if union else 1.0
