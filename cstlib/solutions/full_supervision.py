"""Solutions of notebook 07: the presence rule, exact ratio and mean IoU."""

from __future__ import annotations

import numpy as np

from cstlib.solutions import Solution

NOTEBOOK = "07_full_supervision"


def presence_rule(class_prob):
    """N x K probabilities -> N bool."""
    return class_prob.mean(dim=1) > 0.5


def exact_ratio(predicted, truth):
    """E x N bool each -> per cent of episodes with all bits right."""
    right = (predicted == truth).all(axis=1)  # E
    return 100 * right.mean()


def mean_iou(intersections, unions, classes):
    """Three arrays of length E -> mIoU in per cent."""
    ious = []
    for c in np.unique(classes):
        ours = classes == c
        ious.append(intersections[ours].sum() / unions[ours].sum())
    return 100 * np.mean(ious)


SOLUTIONS = [
    Solution(
        "presence-rule",
        presence_rule,
        """\
The mean over the shots comes first, the cut last. A vote of the shots would throw away
how sure each of them is, and the largest probability would let one misleading support
decide. The classes do not compete: the cut is made for each of them by itself.""",
    ),
    Solution(
        "exact-ratio",
        exact_ratio,
        """\
`all` over the ways turns N bits into one verdict, and the mean of the verdicts is the
share of episodes. Averaging single bits is accuracy, which is kinder and hardly falls
with the ways; `any` would call an episode right for one lucky bit.""",
    ),
    Solution(
        "mean-iou",
        mean_iou,
        """\
Areas are summed class by class over all episodes, then divided once for each class,
then averaged over the classes. Averaging the quotients of single episodes gives a tiny
object the vote of a large one; pooling all classes lets the most frequent one decide.""",
    ),
]
