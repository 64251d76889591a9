"""Solutions of notebook 08: coupled presence, and IoU without void."""

from __future__ import annotations

from cstlib.solutions import Solution

NOTEBOOK = "08_ablations"


def presence(fg_prob):
    """N x H x W probabilities -> N bool."""
    return (fg_prob > 0.5).flatten(1).any(dim=1)


def iou(found, truth):
    """H x W maps of 0 and 1, truth also 255 -> IoU of label 1."""
    known = truth != 255
    found, truth = (found == 1) & known, (truth == 1) & known
    return (found & truth).sum() / (found | truth).sum()


SOLUTIONS = [
    Solution(
        "coupled-presence",
        presence,
        """\
One pixel above one half is enough, so the maximum decides and not the mean. That is the
weakness of the coupled reading: a stray pixel speaks for the whole image. `flatten(1)`
leaves the classes apart.""",
    ),
    Solution(
        "iou-without-void",
        iou,
        """\
Void leaves *both* sides: the truth has no foreground there, and what was predicted
there may not count against anybody either. Taking it out of the truth alone leaves the
prediction's void pixels in the union, and that is the release's way of counting.""",
    ),
]
