"""The paper's claims: its own effects, the rule, and the runs that count."""

from __future__ import annotations

import pytest

from cstlib.claims import CLAIMS, FAILS, HOLDS, OPEN, as_text, judge, published, verdict
from cstlib.experiments import Row, configuration
from cstlib.reproduce import record_name

COMMON = {"data": "mini", "backbone": "dino-mini", "episodes": 600}


def claim(text):
    return next(c for c in CLAIMS if c.text.startswith(text))


def made_records(term, figures):
    """Records of one term with these mIoUs (of 1) on folds 0, 1, ..."""
    found = {}
    for fold, miou in enumerate(figures):
        config = configuration(Row("", term.settings), fold=fold, seed=0, **COMMON)
        metrics = {"background": {"miou": miou, "exact_ratio": 0.5, "fb_iou": 0.5}}
        found[record_name(config, term.measure)] = {"metrics": metrics}
    return found


@pytest.mark.parametrize("one", CLAIMS, ids=lambda c: c.text)
def test_the_paper_backs_each_claim_with_its_own_figures(one):
    effect = published(one)
    assert effect is not None
    assert effect < one.bound if one.below else effect > one.bound


def test_the_papers_effects_are_the_printed_differences():
    assert published(claim("pseudo-masks beat")) == 17.2  # 33.2 - 16.0
    assert published(claim("the enhancer helps more")) == 1.1  # 1.8 - 0.7
    assert published(claim("shots help more")) == 2.1  # 3.0 - 0.9


@pytest.mark.parametrize(
    "value, error, runs, bound, below, says",
    [
        (5.0, 2.0, 4, 0.0, False, HOLDS),
        (4.0, 2.0, 4, 0.0, False, OPEN),
        (-5.0, 2.0, 4, 0.0, False, FAILS),
        (5.0, 2.0, 4, 10.0, True, HOLDS),
        (9.0, 2.0, 4, 10.0, True, OPEN),
        (15.0, 2.0, 4, 10.0, True, FAILS),
        (50.0, 0.1, 2, 0.0, False, "too few runs (2)"),
        (None, None, 0, 0.0, False, "too few runs (0)"),
    ],
)
def test_the_rule(value, error, runs, bound, below, says):
    assert verdict(value, error, runs, bound, below) == says


def test_effects_are_taken_run_by_run():
    one = claim("pseudo-masks beat")
    with_masks, without = one.terms
    have = made_records(with_masks, [0.30, 0.50, 0.40, 0.60])
    have |= made_records(without, [0.20, 0.41, 0.29])  # fold 3 is missing
    found = judge(one, have, folds=range(4), seeds=[0, 1], **COMMON)
    assert found.runs == 3 and found.effect == pytest.approx(10.0)  # 10, 9, 11
    assert found.error == pytest.approx(1 / 3**0.5)
    assert (found.says, found.paper) == (HOLDS, 17.2)
    line = as_text([found]).splitlines()[-1]
    assert line.split() == [*one.text.split(), "+17.2", "+10.0", "±", "0.6", "3", HOLDS]


def test_runs_with_another_budget_do_not_count():
    one = claim("pseudo-masks beat")
    have = {}
    for term in one.terms:
        have |= made_records(term, [0.3, 0.4, 0.5])
    other = {**COMMON, "episodes": 1200}
    found = judge(one, have, folds=range(4), seeds=[0], **other)
    assert (found.runs, found.effect, found.says) == (0, None, "too few runs (0)")
