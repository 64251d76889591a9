"""Right and wrong by a rule; what runs of a setting scored."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cstlib.config import TrainConfig
from cstlib.recorded import recorded_along, recorded_control, recorded_tests
from cstlib.right_or_wrong import Verdict, judge, right_and_wrong

PRESENT, ABSENT = torch.tensor([True, False]), torch.tensor([False, False])


def says(label, presence=(True, False)):
    return SimpleNamespace(label=torch.tensor(label), presence=torch.tensor(presence))


def test_iou_counts_pixels_of_the_same_class_only():
    truth = torch.tensor([[1, 1, 2, 0]])
    verdict = judge(says([[1, 2, 2, 0]]), PRESENT, truth)
    assert verdict == Verdict(exact=True, iou=2 / 3) and verdict.right
    assert judge(says([[0, 0, 2, 2]]), PRESENT, truth).iou == 1 / 4


def test_void_is_background():
    truth = torch.tensor([[1, 255, 255, 0]])
    assert judge(says([[1, 1, 0, 0]]), PRESENT, truth).iou == 1 / 2


def test_an_empty_map_is_right_where_nothing_is_to_be_found():
    nothing = torch.zeros(1, 2, dtype=torch.int64)
    found = judge(says([[0, 0]], (False, False)), ABSENT, nothing)
    assert found == Verdict(exact=True, iou=1.0)
    assert judge(says([[0, 1]]), ABSENT, nothing) == Verdict(exact=False, iou=0.0)


def test_one_wrong_bit_is_not_exact_though_the_map_may_be_right():
    found = judge(says([[1, 0]], (True, True)), PRESENT, torch.tensor([[1, 0]]))
    assert found.right and not found.exact


def test_maps_of_two_sizes_are_not_compared():
    with pytest.raises(ValueError, match=r"\(1, 2\) cannot be compared"):
        judge(says([[0, 0]]), PRESENT, torch.zeros(2, 2, dtype=torch.int64))


def test_the_first_of_each_sort_in_order():
    verdicts = [Verdict(True, x) for x in (0.1, 0.9, 0.5, 0.6, 0.7)]
    assert right_and_wrong(verdicts, 2) == ([1, 3], [0, 2])
    assert right_and_wrong([], 3) == ([], [])


# ---- Records -------------------------------------------------------------------------


PIXEL = TrainConfig(supervision="pixel", backbone="dino-mini")


def record(miou, fold=0, episodes=6000, kind="train", way=None, **changes):
    config = {"data": "mini", "supervision": "pixel", "mask_source": "true"}
    config |= {"backbone": "dino-mini", "fold": fold, "episodes": episodes, **changes}
    scores = {"background": {"exact_ratio": 0.8, "miou": miou}}
    test = {"way": way, "shot": 1} if way else {}
    return {"kind": kind, "config": config, "metrics": scores, **test}


def test_tests_of_one_setting_are_averaged_over_folds():
    found = recorded_tests(
        PIXEL,
        [record(0.4), record(0.6, fold=1), record(0.3, kind="evaluate", way=2)],
    )
    assert list(found) == [(1, 1), (2, 1)]
    assert found[1, 1].miou == pytest.approx(0.5)
    assert found[1, 1].miou_spread == pytest.approx(0.02**0.5)
    assert (found[1, 1].runs, found[2, 1].runs, found[2, 1].miou_spread) == (2, 1, None)


@pytest.mark.parametrize(
    "other",
    [
        {"supervision": "image", "mask_source": "dino"},
        {"backbone": "random-mini"},
        {"learner": "hsnet"},
        {"heads": 1},
        {"lam": 0.5},
        {"data": "pascal"},
        {"task": "fs-s"},
        {"kind": "control"},
    ],
)
def test_other_settings_and_controls_do_not_count(other):
    assert recorded_tests(PIXEL, [record(0.4, **other)]) == {}


def test_a_test_is_a_line_and_one_run_has_no_spread():
    one, two = (
        recorded_tests(PIXEL, records)[1, 1]
        for records in ([record(0.4)], [record(0.4), record(0.6, fold=1)])
    )
    assert str(one) == " 1 run  of 6,000 episodes   ER 80.0   mIoU 40.0"
    assert str(two) == " 2 runs of 6,000 episodes   ER 80.0   mIoU 50.0 ± 14.1"


def test_the_usual_length_counts_and_of_equals_the_longest():
    long, short = record(0.9, episodes=20000), record(0.4)
    usual = recorded_tests(PIXEL, [long, short, record(0.6, fold=1)])
    assert (usual[1, 1].episodes, usual[1, 1].runs) == (6000, 2)
    assert recorded_tests(PIXEL, [long, short])[1, 1].episodes == 20000


def test_a_curve_is_a_mean_over_the_same_runs_at_every_point():
    tested = {"kind": "evaluate", "way": 2}
    first, second = {"seed": 0}, {"seed": 1}
    records = [record(0.4, **first), record(0.2, **first, **tested)]
    records.append(record(0.8, **second))  # one way alone
    found = recorded_along("way", PIXEL, records)
    assert {n: one.miou for n, one in found.items()} == {1: 0.4, 2: 0.2}
    assert recorded_along("shot", PIXEL, records)[1].runs == 2
    assert recorded_along("shot", PIXEL, []) == {}


def test_controls_are_found_by_name_and_task():
    control = {**record(0.1, kind="control", way=1), "control": "dino"}
    other = {**record(0.9, kind="control", way=1, task="fs-s"), "control": "dino"}
    found = recorded_control("dino", PIXEL, [control, other])
    assert str(found[1, 1]) == " 1 run  of no training   ER 80.0   mIoU 10.0"
    assert recorded_control("foreground", PIXEL, [control]) == {}


def test_the_shipped_records_are_found():
    found = recorded_tests(PIXEL)
    assert found[1, 1].runs >= 1 and 0 < found[1, 1].miou < 1
