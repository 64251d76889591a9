"""The learners that ship: what their records say of them comes out again."""

from __future__ import annotations

import json

import pytest

from cstlib.cli import main
from cstlib.config import TrainConfig
from cstlib.features import open_features
from cstlib.finished import shipped_for
from cstlib.paths import PACKAGE
from cstlib.reproduce import recorded
from cstlib.training import run_name
from cstlib.worlds import load_world


def test_a_shipped_learner_is_evaluated_by_name(capsys):
    assert main(["evaluate", "--checkpoint", "cst-image-mini", "--episodes", "12"]) == 0
    said = capsys.readouterr().out
    assert "fold 0, 1-way 1-shot, 12 episodes, supervision image" in said


@pytest.fixture(scope="module")
def miniature():
    found = load_world("mini")
    return found, open_features(found, "dino-mini")


SLOW = (pytest.param(level, marks=pytest.mark.slow) for level in ("image", "mixed"))


@pytest.mark.parametrize("level", ["pixel", *SLOW])
def test_a_shipped_learner_scores_what_its_record_says(miniature, level):
    """On the record's own 1,000 episodes; weights are shipped in half precision."""
    world, features = miniature
    learner = shipped_for(f"cst-{level}-mini", world, features)
    notes = json.loads((PACKAGE / f"weights/cst-{level}-mini.json").read_text())
    record = recorded()[run_name(TrainConfig.from_dict(notes["config"]))]
    figures = record["metrics"]["background"]
    found = learner.evaluate(episodes=record["test_episodes"])
    assert found.miou == pytest.approx(figures["miou"], abs=0.005)
    assert found.exact_ratio == pytest.approx(figures["exact_ratio"], abs=0.005)
