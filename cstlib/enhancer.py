"""Mask enhancer: a few true masks teach how to read the attention (section 3.3).

Pseudo-masks average a ViT's heads and cut the mean at a threshold. The enhancer looks
at the heads one by one and at their neighbourhoods: three small convolutions, trained
on the first few per cent of the training images, the only ones whose masks are read.

The authors' code for this part is lost. Known are the layers and the subset; this file
trains on self-attention (an image asked by its own class token, the map that becomes
the support mask) at the resolution of the tokens, for lack of a published choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cstlib.backbones import Tokens
from cstlib.data.voc import VocDataset
from cstlib.errors import CstlibError
from cstlib.features import Features
from cstlib.pseudo_masks import attention_map, upsample

WIDTH = 128
TARGETS = ("objects", "class")


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


@dataclass(frozen=True)
class Pairs:
    """What the enhancer learns from or is measured on, a row for each map.

    ``maps`` are P x M x h x w cosines of self-attention, ``masks`` P x S x S bool.
    ``names`` and ``classes`` say where they come from; class 0 stands for all objects.
    """

    names: list[str]
    classes: list[int]
    maps: Tensor
    masks: Tensor


def masked_subset(dataset: VocDataset, fraction: float) -> list[str]:
    """The first images by name, the only ones that may show their masks (section 4).

    Args:
        dataset: a training split. fraction: 0.025, 0.05 and 0.1 in Table 3.

    Returns:
        ``fraction`` of the names, rounded, and at least one; 0 gives none.

    Raises:
        CstlibError: the fraction is not between 0 and 1.
    """
    if not 0 <= fraction <= 1:
        raise CstlibError(
            f"A fraction of {fraction} of the images is not possible: give one between "
            "0 and 1, like 0.05."
        )
    count = max(1, round(fraction * len(dataset.names))) if fraction else 0
    return sorted(dataset.names)[:count]


def self_pairs(
    dataset: VocDataset,
    features: Features,
    names: list[str],
    target: str = "objects",
) -> Pairs:
    """Self-attention maps of these images with true masks; no other mask is read.

    An image that asks itself cannot say which of its classes is meant. Taught class by
    class, the enhancer therefore learns to say one half for each of two objects, and
    cut at one half it says nothing; taught all objects at once, it finds them (06 has
    the measurement).

    Args:
        target: "objects" makes a row for each image: the pixels of all classes of the
            split, and of no held-out class. "class" makes a row for each class that an
            image is listed under: the support's mask of the protocol.

    Raises:
        CstlibError: there are no names, or a mask is missing or broken.
        ValueError: ``target`` is neither of the two.
    """
    if target not in TARGETS:
        raise ValueError(f"target is {target!r}, not one of {TARGETS}")
    wanted = set(names)
    rows = sorted((name, c) for name, c in dataset.entries if name in wanted)
    if target == "objects":
        rows = [(name, 0) for name in sorted({name for name, _ in rows})]
    if not rows:
        raise CstlibError(
            "The enhancer needs at least one image with a mask: give a larger fraction."
        )
    ids = {name: torch.from_numpy(dataset.mask(name)) for name, _ in set(rows)}
    known = torch.tensor(dataset.classes)
    size = (dataset.image_size, dataset.image_size)
    masks = [
        _nearest(ids[name] == c if c else torch.isin(ids[name], known), size)
        for name, c in rows
    ]
    return Pairs(
        names=[name for name, _ in rows],
        classes=[c for _, c in rows],
        maps=self_maps(features, [name for name, _ in rows]),
        masks=torch.stack(masks).to(features.device),
    )


def self_maps(features: Features, names: list[str]) -> Tensor:
    """Equation (9) of each image on itself, on the patch grid: B x M x h x w."""
    tokens = features.attention(names)
    return head_maps(tokens, tokens)


def head_maps(image_tokens: Tokens, support_tokens: Tokens) -> Tensor:
    """Equation (9), one map a head, on the patch grid: B x M x h x w."""
    attention = attention_map(image_tokens, support_tokens)  # B x M x N
    return attention.unflatten(2, image_tokens.grids[-1])


def enhancer_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Pixel-mean binary cross-entropy at the masks' resolution.

    Args:
        logits: B x h x w, brought to H x W bilinearly (align_corners=True), as the
            learner's own maps are in equation 7.
        masks: B x H x W bool.
    """
    full = upsample(logits, tuple(masks.shape[1:]))
    return F.binary_cross_entropy_with_logits(full, masks.float())


def fit_enhancer(
    enhancer: MaskEnhancer,
    pairs: Pairs,
    steps: int = 150,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Iterator[float]:
    """Train in place with Adam, yielding the loss of each step.

    Batches are drawn with replacement from the pairs, by a generator of ``seed``.
    """
    optimizer = torch.optim.Adam(enhancer.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    enhancer.train()
    for _ in range(steps):
        rows = torch.randint(len(pairs.names), (batch_size,), generator=generator)
        rows = rows.to(pairs.maps.device)
        loss = enhancer_loss(enhancer(pairs.maps[rows]), pairs.masks[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield loss.item()
    enhancer.eval()


def new_enhancer(heads: int = 6, seed: int = 0) -> MaskEnhancer:
    """An untrained enhancer whose weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskEnhancer(heads)


@torch.no_grad()
def enhance(
    enhancer: MaskEnhancer,
    image_tokens: Tokens,
    support_tokens: Tokens,
    size: tuple[int, int],
    threshold: float = 0.5,
) -> Tensor:
    """The enhanced pseudo-mask, in place of `cstlib.pseudo_masks.pseudo_mask`.

    Logits are brought to the image's size before the sigmoid and the threshold.

    Args:
        size: H, W of the mask. threshold: of the probability; the paper gives none.

    Returns:
        B x H x W bool.
    """
    logits = enhancer(head_maps(image_tokens, support_tokens))
    return upsample(logits, size).sigmoid() > threshold


def pooled_iou(found: Tensor, truth: Tensor) -> float:
    """IoU of B x H x W bool masks, summed over all images before dividing.

    As the benchmark sums over episodes; 1.0 where neither shows anything.
    """
    union = (found | truth).sum().item()
    return (found & truth).sum().item() / union if union else 1.0


def _nearest(mask: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(mask[None, None].to(torch.uint8), size)[0, 0].bool()
