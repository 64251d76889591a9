"""Deciding the enhancer's open choices: whose masks have a say, and what is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made import is_one_sentence

from cstlib.data.voc import VocDataset
from cstlib.enhancer import new_enhancer
from cstlib.enhancer_choices import (
    CUTS,
    SHARES,
    VARIANTS,
    Variant,
    decide,
    final,
    open_trial,
    taught,
)
from cstlib.enhancer_pairs import class_ids, masked_subset, training_pairs
from cstlib.errors import CstlibError

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "docs" / "mixed_supervision.md"
QUICK = {"steps": 2, "batch_size": 2}
IMAGES = 80  # of the made world


@pytest.fixture
def reads(monkeypatch):
    """(split, name) of each mask that is read."""
    found = []
    read = VocDataset.mask

    def noted(dataset, name):
        found.append((dataset.split, name))
        return read(dataset, name)

    monkeypatch.setattr("cstlib.data.voc.VocDataset.mask", noted)
    return found


def test_the_held_out_classes_have_no_say(world, features, reads):
    trial = open_trial(world, features, 1, share=0.1)
    held_out = set(trial.dataset.folds[1])
    assert trial.left_out == list(trial.dataset.folds[2])
    assert len(trial.known) == 10 and not held_out & set(trial.known)
    assert not set(trial.left_out) & set(trial.known)
    judged = {name for _, name in reads}
    assert {split for split, _ in reads} == {"trn"}
    taught(trial, features, Variant("", "", QUICK))
    # Nobody is judged on an image that gives, or might give, a mask to learn from.
    assert not judged & set(trial.names)
    assert not judged & set(masked_subset(trial.dataset, max(SHARES)))
    listed = dict.fromkeys(name for name, c in trial.dataset.entries)
    assert judged <= set(listed)
    learnt = {name for _, name in reads} - judged
    assert learnt and learnt <= set(trial.names)


def test_rows_to_judge_by_show_the_class_they_are_about(world, features):
    trial = open_trial(world, features, 0)
    for judges in (trial.new, trial.seen):
        assert len(judges.maps) == len(judges.truth) > 5
        assert judges.truth.flatten(1).any(1).all()


def test_what_must_not_be_known_can_be_tried_but_not_chosen(world, features):
    trial = open_trial(world, features, 0, share=0.2)
    labels, names = trial.dataset.present_classes, []

    def noted(*args, **more):
        pairs = training_pairs(*args, **more)
        names.append(set(pairs.names))
        return pairs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cstlib.enhancer_choices.training_pairs", noted)
        for held_out in ("", "images", "pixels"):
            taught(trial, features, Variant("", "", QUICK, held_out))
    everything, fewer, pixels = names
    assert everything == pixels and fewer < everything
    assert all(labels(name) <= set(trial.known) for name in fewer)
    assert any(not labels(name) <= set(trial.known) for name in everything)
    assert any(v.held_out for v in VARIANTS)


def test_every_variant_is_measured_and_the_default_once(world, features):
    quick = [
        Variant("a", "one"),
        Variant("a", "two", QUICK),
        Variant("b", "three"),
        Variant("b", "four", QUICK, "pixels"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        calls = []
        patch.setattr(
            "cstlib.enhancer_choices.taught",
            lambda trial, features, variant, seed: (
                calls.append(variant.name),
                taught(trial, features, replace(variant, settings=QUICK), seed),
            )[1],
        )
        plain, *rows = decide(world, features, [2], variants=quick)
    assert calls == ["one", "two", "four"]
    assert plain["name"] == "plain" and 0 <= plain["new"] <= 1
    assert [row["name"] for row in rows] == ["one", "two", "three", "four"]
    assert [row["chosen"] for row in rows] == [True, False, True, False]
    assert [row["allowed"] for row in rows] == [True, True, True, False]
    assert rows[0]["new"] == rows[2]["new"]
    for row in rows:
        assert len(row["new"]) == len(row["seen"]) == len(CUTS)


def test_each_question_has_one_chosen_answer():
    for question in {v.question for v in VARIANTS}:
        options = [v for v in VARIANTS if v.question == question]
        assert len(options) >= 2
        assert sum(not v.settings and not v.held_out for v in options) == 1
        assert len({v.name for v in options}) == len(options)


def test_the_final_figures_are_of_held_out_classes(world, features, reads):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cstlib.enhancer_choices.trained_enhancer", _untrained)
        rows = list(final(world, features, [3]))
    assert [row["share"] for row in rows] == list(SHARES)
    assert {split for split, _ in reads} == {"val"}
    held_out = world.dataset(3, "val")
    truth = torch.stack([class_ids(held_out, n) == c for n, c in held_out.entries])
    whole = truth.sum().item() / truth.numel()
    assert rows[0]["whole"] == pytest.approx(whole)
    assert {row["before"] for row in rows} == {rows[0]["before"]}


def _untrained(dataset, features, names, seed):
    return new_enhancer(features.heads, seed)


def test_too_few_folds_are_said(world, features):
    with pytest.raises(CstlibError, match="three or more") as error:
        open_trial(replace(world, n_folds=2), features, 0)
    assert is_one_sentence(error.value)
