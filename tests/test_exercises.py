"""Every check rejects the unsolved stub and the named mistakes, and accepts the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cstlib.errors import CstlibError
from cstlib.exercises import RIGHT, UNSOLVED, Exercise, check, exercises, verdict

NAMES = sorted(exercises())


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_is_right(name):
    assert verdict(name, exercises()[name].reference).startswith(RIGHT)


@pytest.mark.parametrize("name", NAMES)
def test_the_stub_is_not_solved_yet(name, capsys):
    check(name, lambda *args: None)
    said = capsys.readouterr().out
    assert said == f"{UNSOLVED}: {exercises()[name].task}\n"
    assert verdict(name, lambda *args: ...).startswith(UNSOLVED)


@pytest.mark.parametrize("name", NAMES)
def test_each_typical_mistake_gets_its_own_hint(name):
    mistakes = exercises()[name].mistakes
    assert len(mistakes) >= 3
    for hint, mistaken in mistakes.items():
        assert verdict(name, mistaken) == f"Not yet: {hint}"


@pytest.mark.parametrize("name", NAMES)
def test_code_that_stops_is_told_how(name):
    def broken(*args):
        raise ZeroDivisionError("division by zero")

    assert "ZeroDivisionError: division by zero" in verdict(name, broken)


@pytest.mark.parametrize("name", NAMES)
def test_sentences_are_sentences(name):
    one = exercises()[name]
    assert one.task.endswith(".")
    assert not one.praise or one.praise.endswith(".")


def test_other_wrong_answers_are_measured():
    def near(predicted, truth):
        return 100 * np.mean((predicted == truth).all(1)) + 7

    assert "it should be" in verdict("exact-ratio", near)
    masks = verdict("image-level-target", lambda m, p: m[:, :2])
    assert "the shape should be (4, 6, 6), yours is (4, 2, 6)" in masks
    values = verdict("image-level-target", lambda m, p: (m & p[:, None, None]) * 3)
    assert "off by up to 2" in values


def test_a_wrong_number_comes_with_what_it_was_asked_for():
    said = verdict("learner-size", lambda channels: 1.5)
    assert "on check 1 of 4, with 72, it should be 366,004, yours is 1.5" in said


def test_nan_is_named():
    said = verdict("head-correlation", lambda q, s, *_: torch.nan * (q @ s.T))
    assert said.endswith("the shape is right, but some values are NaN.")


def test_a_softmax_over_the_wrong_axis_is_named_in_spite_of_its_nan():
    def over_questions(similarity, mask):
        keep = torch.cat([torch.ones(1, dtype=torch.bool), mask])
        return similarity.masked_fill(~keep, -torch.inf).softmax(0)

    assert "over the support axis?" in verdict("masked-attention", over_questions)


def test_an_answer_cannot_spoil_the_inputs():
    def in_place(masks, presence):
        masks[~presence] = False
        return masks

    assert verdict("image-level-target", in_place).startswith(RIGHT)


def test_lists_and_floats_compare_with_tensors():
    def plain(maps):
        return [bool(m.max() > 0.5) for m in maps]

    assert verdict("coupled-presence", plain).startswith(RIGHT)


def test_nan_is_no_match():
    assert not verdict("exact-ratio", lambda p, t: float("nan")).startswith(RIGHT)


def test_a_value_may_be_asked_for(monkeypatch):
    one = Exercise("seven", "say seven.", lambda: 7, lambda random: [()])
    monkeypatch.setattr("cstlib.exercises.find", lambda name: one)
    assert verdict("seven", 7).startswith(RIGHT)
    assert verdict("seven", torch.tensor(8)) == (
        "Not yet: on check 1 of 1 it should be 7, yours is 8."
    )
    assert verdict("seven", None).startswith(UNSOLVED)


def test_unknown_names_are_said():
    with pytest.raises(CstlibError, match="no exercise 'ratio': choose one of"):
        check("ratio", None)


def test_few_wrong_values_stand_beside_the_right_ones():
    bits = verdict("presence-bits", lambda mask, classes: [False] * len(classes))
    assert "check 1 of 4 it should be [True], yours is [False]." in bits
    shares = verdict("class-probabilities", lambda classes, own: [0.1] * len(classes))
    assert shares.endswith("yours is [0.1, 0.1, 0.1, 0.1, 0.1].")


def test_a_dict_is_no_list():
    def by_class(classes, query_class):
        return dict.fromkeys(classes, 0.5)

    said = verdict("class-probabilities", by_class)
    assert (
        said
        == "Not yet: on check 1 of 3 a list or an array is wanted, yours is a dict."
    )
