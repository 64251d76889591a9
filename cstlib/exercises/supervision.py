"""Exercises on what a learner may be told (notebooks 05 and 06)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from numpy.random import RandomState

from cstlib.exercises import Exercise


def _image_level_target(masks, presence):
    rows = [m if bool(p) else torch.zeros_like(m) for m, p in zip(masks, presence)]
    return torch.stack(rows)


def _masks_and_labels(random: RandomState):
    for batch, side in ((4, 6), (12, 9)):
        masks = torch.from_numpy(random.rand(batch, side, side) < 0.4)
        presence = torch.from_numpy(random.rand(batch) < 0.5)
        presence[0], presence[1] = True, False
        yield masks, presence


def _class_score_loss(mask_logits, presence):
    total = 0.0
    for maps, present in zip(mask_logits, presence):
        absent_score, present_score = (float(m.double().mean()) for m in maps)
        scores = torch.tensor([absent_score, present_score], dtype=torch.float64)
        total -= float(scores.log_softmax(0)[int(present)])
    return total / len(mask_logits)


def _logits_and_labels(random: RandomState):
    for batch, side in ((3, 4), (8, 6)):
        logits = torch.from_numpy(3 * random.standard_normal((batch, 2, side, side)))
        yield logits.float(), torch.from_numpy(random.rand(batch) < 0.5)


def _weak_loss(class_logits, mask_logits, pseudo_masks, presence, lam):
    size = pseudo_masks.shape[1:]
    up = F.interpolate(
        mask_logits.double(), size, mode="bilinear", align_corners=True
    ).log_softmax(1)
    total = 0.0
    for n, present in enumerate(presence.tolist()):
        clf = -class_logits[n].double().log_softmax(0)[int(present)]
        on = pseudo_masks[n] & present
        seg = -torch.where(on, up[n, 1], up[n, 0]).mean()
        total += float(lam * clf + seg)
    return total / len(presence)


def _weak_batches(random: RandomState):
    for batch, grid, side in ((3, 4, 12), (6, 5, 15)):
        clf = torch.from_numpy(2 * random.standard_normal((batch, 2))).float()
        maps = 2 * random.standard_normal((batch, 2, grid, grid))
        masks = torch.from_numpy(random.rand(batch, side, side) < 0.4)
        presence = torch.from_numpy(random.rand(batch) < 0.5)
        presence[0], presence[1] = True, False
        yield clf, torch.from_numpy(maps).float(), masks, presence, 0.1


def _pixels(mask_logits, targets, corners=True):
    up = F.interpolate(
        mask_logits, targets.shape[1:], mode="bilinear", align_corners=corners
    )
    return F.cross_entropy(up, targets.long())


def _small(masks, logits):
    """Masks at the logits' size, by nearest neighbour: what one should not do."""
    return F.interpolate(masks[:, None].float(), logits.shape[2:])[:, 0] > 0


def _masked_subset(names, fraction):
    count = math.floor(fraction * len(names) + 0.5)
    return sorted(names)[: max(1, count)]


def _names(random: RandomState):
    for count, fraction in ((40, 0.05), (97, 0.1), (30, 0.01), (64, 0.5)):
        yield [f"img_{i:05d}" for i in random.permutation(9000)[:count]], fraction


def _training_pair(ids, c, known, attended):
    claimed = torch.zeros_like(attended)
    for k in known:
        claimed |= ids == k
    return ids == c, claimed | ~attended


def _true_ids(random: RandomState):
    for side, c, known in ((8, 2, [1, 2, 4]), (6, 5, [5, 6])):
        ids = random.choice([0, 0, 1, 2, 3, 4, 5, 6, 255], size=(side, side))
        attended = (ids > 0) ^ (random.rand(side, side) < 0.3)
        yield torch.from_numpy(ids), c, known, torch.from_numpy(attended)


def _parameters(heads, width):
    return (9 * heads + 1) * width + (9 * width + 1) * width + 9 * width + 1


EXERCISES = [
    Exercise(
        name="image-level-target",
        task="return the query's pseudo-masks (B x S x S bool), emptied where the "
        "image-level label (presence, B bool) says that the class is absent.",
        reference=_image_level_target,
        inputs=_masks_and_labels,
        mistakes={
            "the pseudo-masks are as before: where the class is absent they must be "
            "empty, whatever the attention says": lambda m, p: m,
            "you empty the masks of the images that do show the class": (
                lambda m, p: m & ~p[:, None, None]
            ),
            "you fill the whole image where the class is present: that is the "
            "all-foreground control, the pseudo-mask got lost": (
                lambda m, p: p[:, None, None].expand_as(m)
            ),
        },
        praise="All that a label can tell about pixels is that there are none.",
    ),
    Exercise(
        name="class-score-loss",
        task="average the mask logits (B x 2 x h x w) over the image, then return the "
        "cross-entropy of the two averages against presence (B bool).",
        reference=_class_score_loss,
        inputs=_logits_and_labels,
        mistakes={
            "you averaged probabilities; average the logits, then take the softmax": (
                lambda m, p: F.nll_loss(m.softmax(1).mean((2, 3)).log(), p.long())
            ),
            "you summed over the image; an average does not grow with its size": (
                lambda m, p: F.cross_entropy(m.sum((2, 3)), p.long())
            ),
            "you took the cross-entropy at every pixel: that would call each pixel of "
            "an image with the class foreground": lambda m, p: F.cross_entropy(
                m, p.long()[:, None, None].expand(-1, *m.shape[2:])
            ),
        },
        praise="Nothing in this loss says where the class is: hence the ✗ rows of Table 1.",
    ),
    Exercise(
        name="weak-loss",
        task="return the batch's loss (7): lam times the cross-entropy of class_logits "
        "(B x 2) against presence, plus that of every pixel against the emptied "
        "pseudo-masks.",
        reference=_weak_loss,
        inputs=_weak_batches,
        mistakes={
            "the targets of absent classes must be empty before they are compared": (
                lambda c, m, t, p, lam: (
                    lam * F.cross_entropy(c, p.long()) + _pixels(m, t)
                )
            ),
            "lambda is missing: it weighs the classification loss": (
                lambda c, m, t, p, lam: (
                    F.cross_entropy(c, p.long()) + _pixels(m, t & p[:, None, None])
                )
            ),
            "lambda weighs the classification loss, not the segmentation loss": (
                lambda c, m, t, p, lam: (
                    F.cross_entropy(c, p.long())
                    + lam * _pixels(m, t & p[:, None, None])
                )
            ),
            "you shrank the masks to the logits' size; bring the logits up to the "
            "masks' size": (
                lambda c, m, t, p, lam: (
                    lam * F.cross_entropy(c, p.long())
                    + _pixels(m, _small(t & p[:, None, None], m))
                )
            ),
            "the resize is right but for its corners: align_corners=True": (
                lambda c, m, t, p, lam: (
                    lam * F.cross_entropy(c, p.long())
                    + _pixels(m, t & p[:, None, None], corners=False)
                )
            ),
            "you left out the pixels of images without the class: their targets are "
            "empty masks, and these count": (
                lambda c, m, t, p, lam: (
                    lam * F.cross_entropy(c, p.long()) + _pixels(m[p], t[p])
                )
            ),
        },
        praise="That is all that image-level training minimises.",
    ),
    Exercise(
        name="masked-subset",
        task="return the first `fraction` of the names in order of their names "
        "(rounded, at least one).",
        reference=_masked_subset,
        inputs=_names,
        mistakes={
            "you took the first of the list as it is: sort by name before": (
                lambda n, f: n[: max(1, round(f * len(n)))]
            ),
            "you took the last names; the first are wanted": (
                lambda n, f: sorted(n)[-max(1, round(f * len(n))) :]
            ),
            "a small fraction of a short list must still give one name": (
                lambda n, f: sorted(n)[: round(f * len(n))]
            ),
            "you cut off the fraction's rest; round to the nearest number": (
                lambda n, f: sorted(n)[: max(1, int(f * len(n)))]
            ),
            "two things about the count: round to the nearest number, and let it be "
            "one at least": lambda n, f: sorted(n)[: int(f * len(n))],
        },
        praise="Names know nothing of content, so this is as good as a random draw.",
    ),
    Exercise(
        name="training-pair",
        task="return two bool maps: the mask of class c, and the pixels that the loss "
        "counts (all but those that are attended and belong to no known class).",
        reference=_training_pair,
        inputs=_true_ids,
        mistakes={
            "every pixel counts: so objects of held-out classes are taught to be "
            "background": lambda i, c, k, a: (i == c, torch.ones_like(a)),
            "nothing that is attended counts, not even class c: what is left to learn "
            "from is background": lambda i, c, k, a: (i == c, ~a),
            "objects of other known classes must count: there a mask says that it is "
            "not class c": lambda i, c, k, a: (i == c, (i == c) | ~a),
            "your mask shows all known classes; this pair is about class c alone": (
                lambda i, c, k, a: (
                    torch.isin(i, torch.tensor(k)),
                    torch.isin(i, torch.tensor(k)) | ~a,
                )
            ),
            "you left out the objects of unknown classes by their true ids, which a "
            "training run does not know; it knows where the image is attended": (
                lambda i, c, k, a: (i == c, torch.isin(i, torch.tensor([0, *k])))
            ),
            "you left out void; what is left out here are attended pixels that belong "
            "to no known class": lambda i, c, k, a: (i == c, i != 255),
        },
        praise="What nobody has claimed is not taught, in either direction.",
    ),
    Exercise(
        name="enhancer-parameters",
        task="return the number of parameters of three 3x3 convolutions "
        "heads -> width -> width -> 1, biases included.",
        reference=_parameters,
        inputs=lambda random: [(6, 128), (12, 64), (1, 16)],
        mistakes={
            "the biases are missing: one for each output channel": (
                lambda h, w: 9 * (h * w + w * w + w)
            ),
            "a 3x3 kernel has nine weights for each pair of channels, not one": (
                lambda h, w: h * w + w * w + w + 2 * w + 1
            ),
            "there are three convolutions; you counted the first and the last": (
                lambda h, w: (9 * h + 1) * w + 9 * w + 1
            ),
        },
        tolerance=0.5,
        praise="With 6 heads and width 128 these are the 155,777 of this enhancer.",
    ),
]
