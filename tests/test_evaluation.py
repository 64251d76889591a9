"""The protocol's loop against one pair at a time, and the controls."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from made import is_one_sentence

from cstlib import features as features_module
from cstlib.baselines import make_learner
from cstlib.baselines.controls import (
    all_foreground,
    pseudo_mask_prediction,
    random_presence,
)
from cstlib.correlation import correlate
from cstlib.errors import CstlibError
from cstlib.evaluation import evaluate, evaluate_both, measure, predict
from cstlib.metrics import Meter
from cstlib.pseudo_masks import pseudo_mask
from cstlib.supervision import make_supervision

IMAGES = 60  # of the made world


@pytest.fixture(scope="module")
def held_out(world):
    return world.dataset(2, "val")


@pytest.fixture(scope="module")
def learner(features):
    torch.manual_seed(0)
    learner = make_learner("cst", features.channels).eval()
    with torch.no_grad():  # so that predictions differ from pixel to pixel
        learner.segmentation_head.after[-1].weight *= 30
        learner.classification_head.after[-1].weight *= 30
    return learner


@pytest.mark.parametrize("kind, way, shot", [("pixel", 2, 2), ("image", 1, 1)])
def test_batches_give_what_one_pair_at_a_time_gives(
    world, features, held_out, learner, kind, way, shot, monkeypatch
):
    monkeypatch.setitem(features_module.PAIRS, "cpu", 3)  # so that chunks cut episodes
    supervision = make_supervision(kind, None, world, held_out, features)
    plans = [held_out.plan(index, way, shot) for index in range(3)]
    found = predict(learner, held_out, features, supervision, plans)
    for plan, prediction in zip(plans, found):
        query = features.tokens([plan.query])
        class_prob, fg_prob = torch.zeros(way, shot), torch.zeros(way, shot, 96, 96)
        for n, (c, names) in enumerate(zip(plan.support_classes, plan.supports)):
            for k, name in enumerate(names):
                support = features.tokens([name])
                if kind == "pixel":
                    mask = torch.from_numpy(held_out.mask(name) == c)[None]
                else:
                    mask = pseudo_mask(support, support, (96, 96), features.threshold)
                with torch.no_grad():
                    class_logits, maps = learner(correlate(query, support), mask)
                full = F.interpolate(
                    maps, (96, 96), mode="bilinear", align_corners=True
                )
                class_prob[n, k] = class_logits.softmax(1)[0, 1]
                fg_prob[n, k] = full.softmax(1)[0, 1]
        presence_prob = class_prob.mean(1)
        torch.testing.assert_close(prediction.presence_prob, presence_prob)
        mean = fg_prob.mean(1)
        label = torch.where(mean.max(0).values < 0.5, 0, mean.argmax(0) + 1)
        assert (prediction.label == label).float().mean() > 0.999
    labels = torch.stack([p.label for p in found])
    assert labels.unique().numel() > 1


def test_evaluate_sums_over_the_first_episodes(world, features, held_out, learner):
    supervision = make_supervision("pixel", None, world, held_out, features)
    learner.train()
    both = evaluate_both(learner, held_out, features, supervision, episodes=5)
    assert learner.training
    learner.eval()
    plans = [held_out.plan(index) for index in range(5)]
    meter = Meter(held_out.classes)
    for plan, p in zip(plans, predict(learner, held_out, features, supervision, plans)):
        episode = held_out.load(plan)
        truth = (episode.query_mask, episode.presence, plan.support_classes)
        meter.update(p.label, p.presence, *truth)
    assert both["background"].miou == pytest.approx(meter.miou, abs=1e-3)
    assert both["background"].exact_ratio == meter.exact_ratio
    ignored = evaluate(
        learner, held_out, features, supervision, episodes=5, void="ignore"
    )
    assert ignored == both["ignore"]
    assert ignored.void == "ignore" and ignored.episodes == 5


def test_half_precision_stays_close(world, features, held_out, learner):
    supervision = make_supervision("image", None, world, held_out, features)
    plans = [held_out.plan(index) for index in range(4)]
    parts = (learner, held_out, features, supervision, plans)
    full, half = predict(*parts), predict(*parts, precision="bf16")
    for a, b in zip(full, half):
        assert abs(a.presence_prob - b.presence_prob).max() < 0.1
        assert (a.label == b.label).float().mean() > 0.9


def test_all_foreground_scores_the_mean_share_of_the_class(held_out):
    meter = measure(all_foreground(held_out), held_out, episodes=30)
    inter, union = (
        dict.fromkeys(held_out.classes, 0),
        dict.fromkeys(held_out.classes, 0),
    )
    right = 0
    for index in range(30):
        plan = held_out.plan(index)
        c = plan.support_classes[0]
        inter[c] += int((held_out.mask(plan.query) == c).sum())
        union[c] += 96 * 96
        right += bool(held_out.presence(plan))
    expected = {c: inter[c] / max(union[c], 1) for c in held_out.classes}
    assert meter.class_iou == pytest.approx(expected)
    assert meter.exact_ratio == pytest.approx(right / 30)
    assert 0 < meter.miou < 0.5


def test_random_presence_is_a_coin_that_depends_on_the_episode_alone(held_out):
    plans = [held_out.plan(index, way=2) for index in range(60)]
    found = random_presence(held_out)(plans)
    coins = torch.stack([p.presence for p in found])
    assert 0.3 < coins.float().mean() < 0.7
    alone = [random_presence(held_out)([plan])[0].presence for plan in plans]
    assert torch.equal(coins, torch.stack(alone))
    for prediction in found:
        first = prediction.presence.int().argmax() + 1
        label = first if prediction.presence.any() else 0
        assert (prediction.label == label).all()


def test_pseudo_mask_as_prediction(features, held_out):
    plans = [held_out.plan(index) for index in range(4)]
    for plan, prediction in zip(
        plans, pseudo_mask_prediction(held_out, features)(plans)
    ):
        query = features.tokens([plan.query])
        support = features.tokens([plan.supports[0][0]])
        mask = pseudo_mask(query, support, (96, 96), features.threshold)[0]
        assert torch.equal(prediction.label, mask.long())
        assert bool(prediction.presence) == bool(mask.any())
    plans = [held_out.plan(index, way=3, shot=2) for index in range(4)]
    two_way = pseudo_mask_prediction(held_out, features, threshold=0.5)(plans)
    assert max(int(p.label.max()) for p in two_way) > 1
    nobody = pseudo_mask_prediction(held_out, features, threshold=1.0)(plans)
    assert not any(p.presence.any() or p.label.any() for p in nobody)


def test_impossible_numbers_are_refused(held_out):
    predictor = all_foreground(held_out)
    for numbers in ((1, 1, 0), (6, 1, 10), (0, 1, 10), (1, 0, 10), (1, 900, 10)):
        with pytest.raises(CstlibError) as error:
            measure(predictor, held_out, *numbers)
        assert is_one_sentence(error.value)
