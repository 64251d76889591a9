"""Sort predictions into right and wrong ones by a rule, before anybody looks at them.

Pictures of predictions persuade, so which ones are shown must not be a matter of taste.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from cstlib.learner import Prediction
from cstlib.metrics import VOID

ENOUGH = 0.5  # IoU above which a label map counts as right


@dataclass(frozen=True)
class Verdict:
    """What one prediction is worth: its presence bits, and its label map.

    Attributes:
        exact: all N presence bits are right.
        iou: pixels that both label maps give to the same class, over pixels that
            either gives to any class; 1 where both maps are empty.
    """

    exact: bool
    iou: float

    @property
    def right(self) -> bool:
        """The label map's IoU is above one half; presence is judged by ``exact``."""
        return self.iou > ENOUGH


def judge(prediction: Prediction, presence: Tensor, truth: Tensor) -> Verdict:
    """The verdict on one N-way prediction.

    Args:
        presence: N bool, the truth. truth: H x W labels, 0 background, 1..N, 255 void,
            which counts as background, as in the release.

    Raises:
        ValueError: the two label maps have different shapes.
    """
    label = prediction.label.cpu()
    if label.shape != truth.shape:
        raise ValueError(
            f"a label map of {tuple(label.shape)} cannot be compared with one of "
            f"{tuple(truth.shape)}"
        )
    true = truth.masked_fill(truth == VOID, 0)
    both = ((label == true) & (true > 0)).sum().item()
    either = ((label > 0) | (true > 0)).sum().item()
    exact = bool((prediction.presence.cpu() == presence.cpu()).all())
    return Verdict(exact, both / either if either else 1.0)


def right_and_wrong(
    verdicts: Iterable[Verdict], count: int
) -> tuple[Sequence[int], Sequence[int]]:
    """Places of the first ``count`` right verdicts, and of the first ``count`` others."""
    places = list(enumerate(verdicts))
    right = [place for place, verdict in places if verdict.right]
    wrong = [place for place, verdict in places if not verdict.right]
    return right[:count], wrong[:count]
