"""The paper's claims: its own effects, the rule, and the runs that count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cstlib.claims import CLAIMS
from cstlib.experiment_rows import Row
from cstlib.experiments import configuration
from cstlib.head_start import episodes_to, head_start
from cstlib.reproduce import record_name
from cstlib.verdicts import (
    FAILS,
    HOLDS,
    OPEN,
    as_markdown,
    as_text,
    in_sentences,
    judge,
    judge_longest,
    published,
    verdict,
)

COMMON = {"data": "mini", "backbone": "dino-mini", "episodes": 600}


def claim(text):
    return next(c for c in CLAIMS if c.text.startswith(text))


def made_records(term, figures, **changes):
    """Records of one term with these mIoUs (of 1) on folds 0, 1, ..."""
    found, common = {}, {**COMMON, **changes}
    for fold, miou in enumerate(figures):
        config = configuration(Row("", term.settings), fold=fold, seed=0, **common)
        metrics = {"background": {"miou": miou, "exact_ratio": 0.5, "fb_iou": 0.5}}
        found[record_name(config, term.measure)] = {"metrics": metrics}
    return found


@pytest.mark.parametrize("one", CLAIMS, ids=lambda c: c.text)
def test_the_paper_backs_each_claim_with_its_own_figures(one):
    effect = published(one)
    assert one.if_not.endswith(".")
    if one.figure == "episodes":
        assert effect is None  # the paper says it without figures
        return
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
    assert found.spread == pytest.approx(1.0)
    assert line.split() == [
        *one.text.split(),
        "+17.2",
        "+10.0",
        "±",
        "1.0",
        "3",
        "600",
        "0/6",
        HOLDS,
    ]
    row = f"| {one.text} | Table 1 | +17.2 | +10.0 ± 1.0 | 3 | 600 | 0 of 6 | {HOLDS} |"
    assert as_markdown([found]).splitlines()[-1] == row
    said = in_sentences([found, judge(one, {}, folds=[0], seeds=[0], **COMMON)])
    assert said.splitlines() == [
        f"Holds here (1): {one.text} (+10.0 ± 1.0).",
        "Too few runs to judge (1 of 2 claims).",
    ]


def test_runs_with_another_budget_do_not_count():
    one = claim("pseudo-masks beat")
    have = {}
    for term in one.terms:
        have |= made_records(term, [0.3, 0.4, 0.5])
    other = {**COMMON, "episodes": 1200}
    found = judge(one, have, folds=range(4), seeds=[0], **other)
    assert (found.runs, found.effect, found.says) == (0, None, "too few runs (0)")


def test_the_longest_training_with_enough_runs_counts():
    one = claim("pseudo-masks beat")
    have = {}
    runs = {k: v for k, v in COMMON.items() if k != "episodes"}
    runs |= {"folds": range(4), "seeds": [0]}
    for length, figures in ((6000, [0.3] * 4), (9000, [0.5] * 3), (12000, [0.9] * 2)):
        for term, less in zip(one.terms, (0, 0.1)):
            values = [figure - less for figure in figures]
            have |= made_records(term, values, episodes=length)
    found = judge_longest(one, have, [6000, 9000, 12000], **runs)
    assert (found.episodes, found.runs) == (9000, 3)
    few = judge_longest(one, have, [12000, 18000], **runs)
    assert (few.episodes, few.says) == (12000, "too few runs (2)")


def course(*figures):
    """Validations every 100 episodes."""
    return [{"episode": 100 * i, "miou": m} for i, m in enumerate(figures, start=1)]


def test_a_level_is_reached_on_the_straight_line_between_validations():
    validation = course(0.1, 0.3, 0.2)
    assert episodes_to(validation, 0.05) == pytest.approx(50)
    assert episodes_to(validation, 0.2) == pytest.approx(150)
    assert episodes_to(validation, 0.3) == pytest.approx(200)
    assert episodes_to(validation, 0.4) == 300  # never: as if at its end


@pytest.mark.parametrize(
    "faster, slower, start",
    [
        (course(0.2, 0.4), course(0.1, 0.2), 180 - 90),  # to 0.18, 90% of 0.2
        (course(0.1, 0.2), course(0.1, 0.2), 0),
        (course(0.0, 0.1), course(0.2, 0.2), 90 - 200),
        (course(0.3, 0.3), course(0.0, 0.0), None),
        (course(0.3), [], None),
        ([], course(0.3), None),
    ],
)
def test_the_head_start_of_a_training(faster, slower, start):
    found = head_start(faster, slower)
    assert found is None if start is None else found == pytest.approx(start)


def test_convergence_is_judged_on_the_records_validations():
    one = claim("training with many heads")
    have = {}
    for term, figures in zip(one.terms, ((0.4, 0.5), (0.2, 0.4)), strict=True):
        made = made_records(term, [0.5] * 4)
        for fold, record in enumerate(made.values()):
            record["validation"] = course(*(f + 0.01 * fold for f in figures))
        have |= made
    found = judge(one, have, folds=range(4), seeds=[0], **COMMON)
    assert (found.runs, found.says) == (4, HOLDS) and found.effect > 80
    for record in have.values():
        del record["validation"]  # as in records from before it was kept
    found = judge(one, have, folds=range(4), seeds=[0], **COMMON)
    assert found.says == "too few runs (0)"


def test_trainings_that_had_not_levelled_off_are_counted_once_each():
    one = claim("shots help more")  # two trainings, each tested twice
    have = {}
    for term in one.terms:
        have |= made_records(term, [0.5] * 4)
        runs = made_records(replace(term, measure=(1, 1)), [0.5] * 4)
        for fold, run in enumerate(runs.values()):
            figures = (0.1, 0.2) if fold == 3 else (0.2, 0.2)
            run["validation"] = course(*figures)
        have |= runs
    found = judge(one, have, folds=range(4), seeds=[0], **COMMON)
    assert (found.runs, found.rising, found.trained) == (4, 2, 8)


def test_parameters_are_compared_in_millions():
    one = claim("CST has fewer parameters than HSNet*")
    have = {}
    for term, count in zip(one.terms, (2_573_794, 366_004), strict=True):
        made = made_records(term, [0.5] * 4)
        for record in made.values():
            record["parameters"] = count
        have |= made
    found = judge(one, have, folds=range(4), seeds=[0], **COMMON)
    assert (found.says, found.paper) == (HOLDS, 2.2)
    assert found.effect == pytest.approx(2.20779)


def test_what_does_not_hold_comes_with_what_may_be_the_reason():
    one = claim("pseudo-masks beat")
    have = {}
    for term, miou in zip(one.terms, (0.2, 0.3), strict=True):
        have |= made_records(term, [miou + 0.01 * i for i in range(4)])
    found = judge(one, have, folds=range(4), seeds=[0], **COMMON)
    assert found.says == FAILS
    said = in_sentences([found, found])  # two claims with one reason share a line
    assert all(len(line) <= 88 for line in said.splitlines())
    assert " ".join(said.split()) == (
        f"Does not hold here (2): {one.text} (-10.0 ± 0.0); {one.text} (-10.0 ± 0.0). "
        f"- {one.text}; {one.text}: {one.if_not}"
    )
