"""The meter against a slow, obvious re-computation, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cstlib.errors import CstlibError
from cstlib.metrics import Meter

CLASSES = [6, 7, 8, 9, 10]


def slow_metrics(episodes: list, void: str) -> tuple[float, float, float, dict]:
    """The definitions, one pixel at a time, as the facts about the protocol say."""
    inter = {c: 0 for c in [0, *CLASSES]}
    union = {c: 0 for c in [0, *CLASSES]}
    exact = 0
    for label, presence, truth, true_presence, classes in episodes:
        exact += all(a == b for a, b in zip(presence, true_presence))
        for predicted, true in zip(label.ravel(), truth.ravel()):
            if true == 255:
                if void == "ignore":
                    continue
                true = 0
            for number, name in enumerate([0, *classes]):
                inter[name] += predicted == number and true == number
                union[name] += predicted == number or true == number
    iou = {c: inter[c] / max(union[c], 1) for c in CLASSES}
    fg_inter = sum(inter[c] for c in CLASSES)
    fg_union = sum(union[c] for c in CLASSES)
    fb = (inter[0] / max(union[0], 1) + fg_inter / max(fg_union, 1)) / 2
    return exact / len(episodes), sum(iou.values()) / 5, fb, iou


@st.composite
def episode_lists(draw):
    episodes = []
    for seed in draw(st.lists(st.integers(0, 2**31), min_size=1, max_size=4)):
        random = np.random.RandomState(seed)
        way = random.randint(1, 6)
        size = tuple(random.randint(1, 7, size=2))
        truth = random.choice([*range(way + 1), 255], size=size)
        label = random.randint(0, way + 1, size=size)
        if random.rand() < 0.3:
            label = np.where(truth == 255, label, truth)
        presence = random.rand(way) < 0.5
        true_presence = presence if random.rand() < 0.4 else random.rand(way) < 0.5
        classes = random.choice(CLASSES, way, replace=False).tolist()
        episodes.append((label, presence, truth, true_presence, classes))
    return episodes


def filled(episodes: list, void: str = "background") -> Meter:
    meter = Meter(CLASSES, void)
    for *arrays, classes in episodes:
        meter.update(*(torch.from_numpy(np.asarray(a)) for a in arrays), classes)
    return meter


@settings(max_examples=60, deadline=None)
@given(episode_lists(), st.sampled_from(["background", "ignore"]))
def test_meter_equals_the_slow_definitions(episodes, void):
    meter = filled(episodes, void)
    er, miou, fb, iou = slow_metrics(episodes, void)
    assert meter.exact_ratio == pytest.approx(er)
    assert meter.miou == pytest.approx(miou)
    assert meter.fb_iou == pytest.approx(fb)
    assert meter.class_iou == pytest.approx(iou)
    assert meter.metrics().episodes == len(episodes)


@settings(max_examples=30, deadline=None)
@given(episode_lists())
def test_both_void_treatments_come_from_one_meter(episodes):
    meter = filled(episodes)
    for void in ("background", "ignore"):
        assert meter.metrics(void) == filled(episodes, void).metrics()
    # Ignoring pixels can only drop wrong foreground, never a right one.
    ignored, counted = meter.metrics("ignore"), meter.metrics("background")
    assert all(ignored.class_iou[c] >= counted.class_iou[c] for c in CLASSES)


@settings(max_examples=30, deadline=None)
@given(episode_lists())
def test_order_of_episodes_does_not_matter_and_perfection_scores_one(episodes):
    assert filled(episodes).metrics() == filled(episodes[::-1]).metrics()
    perfect = [(np.where(t == 255, 0, t), p, t, p, c) for _, _, t, p, c in episodes]
    metrics = filled(perfect).metrics()
    assert metrics.exact_ratio == 1
    # A class that no pixel shows scores 0, as I / max(U, 1) says: it never was right.
    assert set(metrics.class_iou.values()) <= {0.0, 1.0}


def test_an_absent_support_class_adds_its_false_pixels():
    meter = Meter(CLASSES)
    truth = torch.zeros(2, 2, dtype=torch.long)
    right = torch.ones(2, 2, dtype=torch.long)
    meter.update(right, torch.tensor([True]), right, torch.tensor([True]), [6])
    meter.update(right, torch.tensor([True]), truth, torch.tensor([False]), [6])
    assert meter.class_iou[6] == 0.5
    assert meter.miou == pytest.approx(0.1)
    assert meter.exact_ratio == 0.5
    assert meter.metrics().as_dict()["class_iou"]["6"] == 0.5


def test_forgetting_keeps_ratios_and_lets_new_episodes_weigh_more():
    meter = Meter(CLASSES)
    one = torch.ones(4, 4, dtype=torch.long)
    yes, no = torch.tensor([True]), torch.tensor([False])
    meter.update(one, yes, one, yes, [6])
    meter.forget(0.5)
    assert meter.exact_ratio == 1 and meter.class_iou[6] == 1
    meter.update(one * 0, no, one, yes, [6])
    assert meter.exact_ratio == pytest.approx(1 / 3)
    assert meter.class_iou[6] == pytest.approx(1 / 3)


def test_wrong_input_is_refused():
    one = torch.ones(4, 4, dtype=torch.long)
    yes = torch.tensor([True])
    with pytest.raises(CstlibError, match="Class 3 does not belong"):
        Meter(CLASSES).update(one, yes, one, yes, [3])
    with pytest.raises(CstlibError, match="background or be ignored"):
        Meter(CLASSES, void="drop")
    with pytest.raises(ValueError, match="label is"):
        Meter(CLASSES).update(one, yes, one[:2], yes, [6])
    with pytest.raises(ValueError, match="1-way"):
        Meter(CLASSES).update(one * 2, yes, one, yes, [6])
