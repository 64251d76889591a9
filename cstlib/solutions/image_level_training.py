"""Solutions of notebook 05: the target of a label, its loss, training without masks."""

from __future__ import annotations

import torch.nn.functional as F

from cstlib.solutions import Solution

NOTEBOOK = "05_image_level_training"


def target(masks, presence):
    """masks: B x S x S bool, presence: B bool -> B x S x S bool."""
    return masks & presence[:, None, None]


def class_score(mask_logits, presence):
    """mask_logits: B x 2 x h x w, presence: B bool -> a number."""
    scores = mask_logits.mean(dim=(2, 3))  # B x 2
    return F.cross_entropy(scores, presence.long())


def weak_loss(class_logits, mask_logits, masks, presence, lam):
    """Logits B x 2, B x 2 x h x w; B x S x S, B bool -> a number."""
    clf = F.cross_entropy(class_logits, presence.long())
    pixels = F.interpolate(
        mask_logits, masks.shape[1:], mode="bilinear", align_corners=True
    )  # B x 2 x S x S
    targets = masks & presence[:, None, None]
    return lam * clf + F.cross_entropy(pixels, targets.long())


SOLUTIONS = [
    Solution(
        "image-level-target",
        target,
        """\
`presence[:, None, None]` is B x 1 x 1, one bit for every pixel of an image; *and* keeps
the pseudo-mask where the bit is set and empties it elsewhere. The bit can only take
away. Filling the image where the class is present would throw the attention away, and
that is the all-foreground control.""",
    ),
    Solution(
        "class-score-loss",
        class_score,
        """\
The average is taken of the *logits*; a softmax before it would give the logarithm of a
mean probability, which is another loss. A sum instead of the mean would grow with the
image. A cross-entropy at every pixel would be a mask after all: it calls each pixel of
an image with the class foreground.""",
    ),
    Solution(
        "weak-loss",
        weak_loss,
        """\
The bit enters twice: as the class to be said, and as the hand that empties the targets.
The *logits* go up to the size of the masks, not the masks down, as the predictions do
in testing. Lambda is small because a batch has few bits and many pixels, and each of
the two cross-entropies is a mean already.""",
    ),
]
