"""Exact ratio, mIoU and FB-IoU, summed over episodes as the benchmark does.

Figures are fractions between 0 and 1; tables show them times 100, as papers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from cstlib.errors import CstlibError

VOID = 255
VOID_WAYS = ("background", "ignore")


@dataclass(frozen=True)
class Metrics:
    """The figures of one evaluation, as fractions.

    ``exact_ratio``: episodes whose N presence bits are all right. ``miou``: mean of
    ``class_iou`` (class id -> IoU). ``fb_iou``: mean of foreground and background
    IoU. ``void``: how unlabelled pixels were counted, "background" or "ignore".
    """

    exact_ratio: float
    miou: float
    fb_iou: float
    class_iou: dict[int, float]
    episodes: int
    void: str = "background"

    def as_dict(self) -> dict:
        """Plain values for JSON; class ids become strings there."""
        content = asdict(self)
        content["class_iou"] = {str(c): iou for c, iou in self.class_iou.items()}
        return content

    @classmethod
    def from_dict(cls, content: dict) -> Metrics:
        """What `as_dict` made, also after a trip through JSON."""
        class_iou = {int(c): iou for c, iou in content["class_iou"].items()}
        return cls(**{**content, "class_iou": class_iou})


class Meter:
    """Sums of intersections and unions per class, and a count of exact episodes.

    Every support class of an episode adds to its class's sums, present or not; the
    background adds once an episode. An IoU is I / max(U, 1). Both treatments of
    void (255) are summed side by side: as background, which is what the release
    does, and ignored, as HSNet does. ``void`` says which one the properties show.

    Raises:
        CstlibError: ``void`` is neither of the two.
    """

    def __init__(self, classes: Sequence[int], void: str = "background") -> None:
        self.classes = list(classes)
        self.void = _checked(void)
        self.episodes = 0.0
        self._row = {c: i + 1 for i, c in enumerate(self.classes)}  # 0 is background
        self._exact = 0.0
        rows = len(self.classes) + 1
        self._intersection = {way: np.zeros(rows) for way in VOID_WAYS}
        self._union = {way: np.zeros(rows) for way in VOID_WAYS}

    def update(
        self,
        label: Tensor,
        presence: Tensor,
        truth: Tensor,
        true_presence: Tensor,
        support_classes: Sequence[int],
    ) -> None:
        """Add one N-way episode.

        Args:
            label: H x W integers, 0 background, 1..N in the order of the supports.
            presence: N bools, the predicted classes.
            truth: H x W like ``label``, 255 where unlabelled.
            true_presence: N bools.
            support_classes: the N class ids.

        Raises:
            CstlibError: a support class is not among this meter's classes.
            ValueError: label and truth have different shapes or other labels.
        """
        way = len(support_classes)
        foreign = [c for c in support_classes if c not in self._row]
        if foreign:
            raise CstlibError(
                f"Class {foreign[0]} does not belong to the fold's classes "
                f"{self.classes}: check the fold and the lists of the data."
            )
        table = _confusion(label, truth, way)
        rows = np.array([0, *(self._row[c] for c in support_classes)])
        for void in VOID_WAYS:
            counts = table[:, : way + 1].copy()
            if void == "background":
                counts[:, 0] += table[:, way + 1]
            both = counts.diagonal()
            either = counts.sum(0) + counts.sum(1) - both
            np.add.at(self._intersection[void], rows, both)
            np.add.at(self._union[void], rows, either)
        same = torch.equal(presence.bool().cpu(), true_presence.bool().cpu())
        self._exact += float(same)
        self.episodes += 1

    def sums(self) -> Tensor:
        """All sums in one 1-D float64 tensor, for `add`."""
        tables = (*self._intersection.values(), *self._union.values())
        counts = [self.episodes, self._exact]
        return torch.from_numpy(np.concatenate([counts, *tables]))

    def add(self, sums: Tensor) -> None:
        """Add what another meter of these classes has summed up: its `sums`, 1-D."""
        episodes, exact, *_ = sums.tolist()
        self.episodes += episodes
        self._exact += exact
        tables = (*self._intersection.values(), *self._union.values())
        for table, more in zip(tables, sums[2:].numpy().reshape(len(tables), -1)):
            table += more

    def forget(self, keep: float) -> None:
        """Scale all sums by ``keep`` in [0, 1]: a running figure of recent episodes."""
        self._exact *= keep
        self.episodes *= keep
        for void in VOID_WAYS:
            self._intersection[void] *= keep
            self._union[void] *= keep

    def metrics(self, void: str | None = None) -> Metrics:
        """All figures under one treatment of void (this meter's own by default)."""
        void = _checked(void or self.void)
        inter, union = self._intersection[void], self._union[void]
        class_iou = inter[1:] / np.maximum(union[1:], 1)
        background = inter[0] / max(union[0], 1)
        foreground = inter[1:].sum() / max(union[1:].sum(), 1)
        return Metrics(
            exact_ratio=float(self._exact / self.episodes) if self.episodes else 0.0,
            miou=float(class_iou.mean()),
            fb_iou=float((background + foreground) / 2),
            class_iou={c: float(v) for c, v in zip(self.classes, class_iou)},
            episodes=round(self.episodes),
            void=void,
        )

    def state_dict(self) -> dict:
        """The sums so far, as plain values."""
        return {
            "episodes": self.episodes,
            "exact": self._exact,
            "intersection": {k: v.tolist() for k, v in self._intersection.items()},
            "union": {k: v.tolist() for k, v in self._union.items()},
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from the sums that `state_dict` of a meter of these classes gave."""
        self.episodes, self._exact = state["episodes"], state["exact"]
        self._intersection = {k: np.array(v) for k, v in state["intersection"].items()}
        self._union = {k: np.array(v) for k, v in state["union"].items()}

    @property
    def exact_ratio(self) -> float:
        """ER so far, in [0, 1]; all figures as in `metrics`."""
        return self.metrics().exact_ratio

    @property
    def miou(self) -> float:
        """mIoU so far, in [0, 1]."""
        return self.metrics().miou

    @property
    def fb_iou(self) -> float:
        """FB-IoU so far, in [0, 1]."""
        return self.metrics().fb_iou

    @property
    def class_iou(self) -> dict[int, float]:
        """Class id -> IoU so far, in [0, 1]."""
        return self.metrics().class_iou


def _checked(void: str) -> str:
    if void not in VOID_WAYS:
        raise CstlibError(
            f"Void pixels can count as background or be ignored, not {void!r}: "
            "choose one of " + " and ".join(VOID_WAYS) + "."
        )
    return void


def _confusion(label: Tensor, truth: Tensor, way: int) -> np.ndarray:
    """Pixels per (predicted, true) label: (N + 1) x (N + 2), void in the last column.

    Both void treatments and every IoU follow from this one count.
    """
    if label.shape != truth.shape:
        raise ValueError(f"label is {tuple(label.shape)}, truth {tuple(truth.shape)}")
    label = label.reshape(-1).long().cpu()
    truth = truth.reshape(-1).long().cpu()
    truth = torch.where(truth == VOID, way + 1, truth)
    if min(label.min(), truth.min()) < 0 or label.max() > way or truth.max() > way + 1:
        raise ValueError(f"labels of a {way}-way episode are 0..{way}, or {VOID}")
    counts = torch.bincount(label * (way + 2) + truth, minlength=(way + 1) * (way + 2))
    return counts.reshape(way + 1, way + 2).numpy().astype(np.float64)
