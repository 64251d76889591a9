"""Figures by which frozen tokens are judged: overlap, neighbours, matching.

Plain functions of tensors; `cstlib.probes` knows which images to ask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cstlib.backbones import Tokens
from cstlib.data.voc import VOID
from cstlib.pseudo_masks import attention_map

# In the units of equation 11: (mean cosine + 1) / 2.
THRESHOLDS = np.round(np.arange(0.05, 0.951, 0.01), 2)


def overlap(predicted: Tensor, truth: Tensor, counted: Tensor) -> float:
    """Intersection over union, summed over all images, on the counted pixels only.

    All three are B x H x W bool.
    """
    both = (predicted & truth & counted).sum().item()
    either = ((predicted | truth) & counted).sum().item()
    return both / max(either, 1)


def soft_map(image: Tokens, support: Tokens, size: Sequence[int]) -> Tensor:
    """Equation 11 before its threshold: B x H x W in [0, 1]."""
    values = attention_map(image, support).mean(1)
    small = values.unflatten(1, image.grids[-1]).unsqueeze(1)
    large = F.interpolate(small, size=size, mode="bilinear", align_corners=True)
    return (large.squeeze(1) + 1) / 2


def best_threshold(maps: Tensor, truth: Tensor, counted: Tensor) -> float:
    """The threshold of equation 11 with the highest IoU on these images.

    ``maps`` is B x H x W in [0, 1], ``truth`` and ``counted`` are B x H x W bool.
    """
    # Pixels are sorted once into the gaps between thresholds; a mask at a threshold is
    # everything in the gaps above it.
    edges = torch.from_numpy(THRESHOLDS).to(maps.dtype)
    gap = torch.bucketize(maps[counted], edges)
    gaps = len(edges) + 1
    hits = torch.bincount(gap[truth[counted]], minlength=gaps)
    taken = torch.bincount(gap, minlength=gaps)
    both = hits.flip(0).cumsum(0).flip(0)[1:]
    either = taken.flip(0).cumsum(0).flip(0)[1:] + hits.sum() - both
    return float(THRESHOLDS[(both / either.clamp_min(1)).argmax()])


def foreground(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Which pixels belong to any object, and which count (all but void): bool.

    Both and ``masks`` are B x H x W.
    """
    return (masks > 0) & (masks != VOID), masks != VOID


def nearest_neighbour(
    gallery: Tensor, gallery_class: Tensor, probe: Tensor, probe_class: Tensor
) -> float:
    """Share of single-class images whose nearest by cosine has their class.

    Features are B x C; class 0 marks images of several classes, left out.
    """
    keep, ask = gallery_class > 0, probe_class > 0
    similarity = F.normalize(probe[ask], dim=1) @ F.normalize(gallery[keep], dim=1).T
    found = gallery_class[keep][similarity.argmax(1)]
    return (found == probe_class[ask]).float().mean().item()


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: chance that a positive scores above a negative.

    ``scores`` and ``positive`` (bool) hold N cases each.
    """
    order = np.argsort(scores, kind="stable")
    _, inverse, counts = np.unique(
        scores[order], return_inverse=True, return_counts=True
    )
    # Equal scores share their mean rank.
    ends = np.cumsum(counts)
    ranks = np.empty(len(scores))
    ranks[order] = ((ends - counts + 1 + ends) / 2)[inverse]
    positives = positive.sum()
    negatives = len(positive) - positives
    rank_sum = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(rank_sum / (positives * negatives))


def matching_scores(patches: Tensor, masks: Tensor, episodes) -> np.ndarray:
    """Mean, over the support object's tokens, of the best cosine to a query token.

    Args:
        patches: B x N x C, N = 12 x 12, one layer's tokens of all images.
        masks: B x H x W class ids.
        episodes: (query index, support index, class), one row each.
    """
    tokens = F.normalize(patches, dim=-1)
    side = int(tokens.shape[1] ** 0.5)
    scores = []
    for query, support, c in episodes:
        share = F.adaptive_avg_pool2d((masks[support] == c).float()[None], side)
        owned = share.flatten() >= min(0.5, share.max().item())
        best = (tokens[support][owned] @ tokens[query].T).amax(1)
        scores.append(best.mean().item())
    return np.array(scores)


def matching_auc(layers: list[Tensor], masks: Tensor, folds) -> list[float]:
    """AUC of presence by training-free matching, mean over folds, one a layer.

    Args:
        layers: B x N x C each. masks: B x H x W class ids.
        folds: as from `cstlib.probes.probe_episodes`.
    """
    return [
        float(np.mean([auc(matching_scores(t, masks, rows), p) for rows, p in folds]))
        for t in layers
    ]
