"""A batch that goes through the learner in parts is the same batch."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from made_world import BACKBONE, made_home

from cstlib import fitting
from cstlib.config import TrainConfig
from cstlib.features import open_features


@pytest.mark.parametrize(("kind", "source"), [("pixel", ""), ("image", "none")])
def test_parts_do_not_change_the_step(tmp_path, monkeypatch, kind, source):
    config = TrainConfig(
        backbone=BACKBONE,
        supervision=kind,
        mask_source=source,
        episodes=5,
        batch_size=5,
        validation_episodes=2,
    )
    with made_home(tmp_path) as world:
        features = open_features(world, BACKBONE, progress=False)
        steps, weights = [], []
        for size in (5, 2, 1):
            monkeypatch.setattr(fitting, "pairs_at_once", lambda _, size=size: size)
            run = fitting.Run(config, world, features)
            plans = list(islice(run.train_set.training_plans(5, 0), 5))
            # Plain descent: Adam would blow up what rounding does to tiny gradients.
            run.optimizer = torch.optim.SGD(run.learner.parameters(), lr=0.1)
            steps.append(run.step(plans))
            weights.append(
                torch.nn.utils.parameters_to_vector(run.learner.parameters())
            )
    for step, vector in zip(steps[1:], weights[1:]):
        assert step.loss == pytest.approx(steps[0].loss, abs=1e-5)
        assert step.loss == pytest.approx(0.1 * step.clf + step.seg, abs=1e-5)
        assert step.er == steps[0].er
        torch.testing.assert_close(vector, weights[0], rtol=0, atol=2e-5)
