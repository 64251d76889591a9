"""The learner against the published figures and against a second, plain spelling."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import RandomState
from plain_cst import made_input, made_weights, plain_cst, resize

from cstlib.checkpoints import authors_learner
from cstlib.cst import (
    CST,
    combine,
    cst_loss,
    mask_bias,
)
from cstlib.errors import CstlibError


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_parameter_counts():
    """Table a.1."""
    learner = CST()
    assert [parameters(layer) for layer in learner.layers] == [7_664, 36_288]
    assert parameters(learner.projection) == 33_536
    assert parameters(learner.classification_head) == 29_058
    assert parameters(learner.segmentation_head) == 259_458
    assert parameters(learner) == 366_004
    assert len(learner.state_dict()) == 60


@pytest.mark.parametrize(
    "channels, count", [(12, 361_204), (13, 361_284), (144, 371_764)]
)
def test_parameter_counts_of_other_backbones(channels, count):
    assert parameters(CST(channels)) == count == 366_004 - 80 * (72 - channels)


# Seed, batch, query grid, mask?, then what plain_cst answered when it was written:
# class logits, three mask logits, mean and standard deviation of all mask logits.
KNOWN = [
    (
        *(101, 2, (6, 9), True),
        [[-0.194141, -0.457501], [-0.363501, -0.396483]],
        [-0.444825, -0.626178, -0.709564],
        *(-0.464298, 0.394925),
    ),
    (
        *(102, 1, (12, 12), False),
        [[-0.918304, 0.235091]],
        [-0.134226, 0.012259, -0.265258],
        *(0.350347, 0.331750),
    ),
    (
        *(103, 2, (7, 7), True),
        [[0.550624, 0.001982], [0.582808, 0.143370]],
        [0.452813, 0.838036, 0.260179],
        *(-0.183826, 0.472609),
    ),
]


@pytest.mark.parametrize("seed, batch, grid, masked, clf, seg, mean, std", KNOWN)
def test_known_answers_of_the_plain_spelling(
    seed, batch, grid, masked, clf, seg, mean, std
):
    weights = made_weights(seed)
    correlation, mask = made_input(seed + 1000, batch, grid)
    mask = mask if masked else None
    learner = authors_learner(weights)
    with torch.no_grad():
        class_logits, mask_logits = learner(correlation, mask, grid)

    plain_class, plain_mask = plain_cst(weights, correlation, mask, grid)
    torch.testing.assert_close(class_logits.double(), plain_class, atol=1e-4, rtol=0)
    torch.testing.assert_close(mask_logits.double(), plain_mask, atol=1e-4, rtol=0)

    assert mask_logits.shape == (batch, 2, 2 * grid[0], 2 * grid[1])
    torch.testing.assert_close(class_logits, torch.tensor(clf), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        mask_logits[-1, 1, 2, :3], torch.tensor(seg), atol=1e-4, rtol=0
    )
    assert mask_logits.mean().item() == pytest.approx(mean, abs=1e-4)
    assert mask_logits.std(correction=1).item() == pytest.approx(std, abs=1e-4)


@pytest.fixture(scope="module")
def learner() -> CST:
    return authors_learner(made_weights(7))


@torch.no_grad()
def test_a_full_mask_is_no_mask(learner):
    correlation, _ = made_input(1, 2, (5, 5))
    full = torch.ones(2, 30, 30, dtype=torch.bool)
    for with_mask, without in zip(learner(correlation, full), learner(correlation)):
        torch.testing.assert_close(with_mask, without)


@torch.no_grad()
def test_the_mask_changes_the_answer(learner):
    correlation, mask = made_input(1, 2, (5, 5))
    _, masked = learner(correlation, mask)
    _, unmasked = learner(correlation)
    assert (masked - unmasked).abs().max() > 1e-3


@torch.no_grad()
def test_an_empty_mask_leaves_the_class_token(learner):
    correlation, mask = made_input(2, 1, (5, 5))
    layer = learner.layers[0]
    pooled = correlation @ layer.pool.T
    empty = torch.zeros_like(mask)
    attended = layer.attend(correlation, pooled, empty)
    assert attended.isfinite().all()
    other = correlation.clone()
    other[..., 1:] = 0  # patches do not matter now; the class token does
    torch.testing.assert_close(layer.attend(other, pooled, empty), attended)
    other[..., 0] = 0
    assert not torch.allclose(layer.attend(other, pooled, empty), attended)


@torch.no_grad()
def test_masked_patches_are_not_attended_to(learner):
    correlation, mask = made_input(3, 2, (4, 4))
    layer = learner.layers[0]
    pooled = correlation @ layer.pool.T
    attended = layer.attend(correlation, pooled, mask)
    hidden = torch.isinf(mask_bias(mask, 12))  # B x 145
    assert 10 < hidden.sum() < 280
    other = torch.where(hidden[:, None, None], 5.0, correlation)
    torch.testing.assert_close(layer.attend(other, pooled, mask), attended)


@settings(deadline=None, max_examples=5)
@given(st.permutations(range(4)))
@torch.no_grad()
def test_episodes_of_a_batch_do_not_see_each_other(learner, order):
    correlation, mask = made_input(4, 4, (4, 5))
    order = list(order)
    straight = learner(correlation, mask, (4, 5))
    permuted = learner(correlation[order], mask[order], (4, 5))
    for a, b in zip(straight, permuted):
        torch.testing.assert_close(a[order], b, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_query_tokens_do_see_each_other(learner):
    """Group norm runs over all of them: one changed token changes far-away logits."""
    correlation, _ = made_input(5, 1, (9, 9))
    other = correlation.clone()
    other[:, :, 0] *= -1
    _, before = learner(correlation)
    _, after = learner(other)
    assert (before - after)[:, :, -1, -1].abs().max() > 1e-4


def test_every_weight_learns():
    torch.manual_seed(0)
    learner = CST()
    correlation, mask = made_input(6, 2, (4, 4))
    loss, _, _ = cst_loss(
        *learner(correlation, mask), torch.tensor([True, False]), mask.long()
    )
    loss.backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([3, 12]))
def test_mask_bias_hides_exactly_the_zeros_of_the_resized_mask(seed, grid):
    random = RandomState(seed)
    shape = (2, random.randint(13, 60), random.randint(13, 60))
    mask = torch.from_numpy(random.uniform(size=shape) < 0.02)
    bias = mask_bias(mask, grid)
    assert bias.shape == (2, 1 + grid**2)
    assert (bias[:, 0] == 0).all()
    seen = resize(mask, grid, grid).flatten(1) > 1e-4
    assert (bias[:, 1:][seen] == 0).all()
    # Where a position falls on a pixel, rounding may give its neighbour 1e-8: only
    # what is also far from the object is surely masked out.
    around = torch.nn.functional.max_pool2d(mask.double(), 3, 1, 1)
    far = resize(around, grid, grid).flatten(1) == 0
    assert (bias[:, 1:][far] == -torch.inf).all()


@pytest.mark.parametrize(
    "shape, mask_shape, grid, words",
    [
        ((1, 12, 16, 145), None, None, "1 x 12 x 16 x 145"),
        ((1, 72, 16, 101), None, None, "101 tokens"),
        ((2, 72, 16, 145), (1, 9, 9), None, "one mask a pair"),
        ((1, 72, 15, 145), None, None, "query_grid"),
        ((1, 72, 15, 145), None, (4, 4), "query_grid"),
    ],
)
def test_wrong_shapes_end_in_one_sentence(learner, shape, mask_shape, grid, words):
    mask = None if mask_shape is None else torch.ones(mask_shape)
    with pytest.raises(CstlibError, match=words):
        learner(torch.zeros(shape), mask, grid)


def slow_cross_entropy(logits: list[float], target: int) -> float:
    return math.log(sum(map(math.exp, logits))) - logits[target]


@pytest.mark.parametrize("lam", [0.1, 0.5])
def test_loss_from_the_definition(lam):
    random = RandomState(3)
    class_logits = torch.from_numpy(random.standard_normal((3, 2)))
    mask_logits = torch.from_numpy(random.standard_normal((3, 2, 4, 6)))
    target = torch.from_numpy(random.choice([0, 1, 255], (3, 7, 9)))
    presence = torch.tensor([True, False, True])
    loss, clf, seg = cst_loss(class_logits, mask_logits, presence, target, lam)

    wanted_clf = sum(
        slow_cross_entropy(class_logits[b].tolist(), int(presence[b])) for b in range(3)
    )
    full = resize(mask_logits, 7, 9)
    wanted_seg = sum(
        slow_cross_entropy(full[b, :, y, x].tolist(), int(target[b, y, x] == 1))
        for b in range(3)
        for y in range(7)
        for x in range(9)
    )
    assert clf.item() == pytest.approx(wanted_clf / 3)
    assert seg.item() == pytest.approx(wanted_seg / (3 * 7 * 9))
    assert loss.item() == pytest.approx(lam * clf.item() + seg.item())


def test_void_is_background_in_the_loss():
    random = RandomState(4)
    logits = torch.from_numpy(random.standard_normal((1, 2, 4, 4)))
    target = torch.from_numpy(random.choice([0, 1, 255], (1, 4, 4)))
    arguments = torch.zeros(1, 2), logits, torch.tensor([True])
    with_void = cst_loss(*arguments, target)
    without = cst_loss(*arguments, torch.where(target == 255, 0, target))
    assert with_void == without


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 3))
def test_combine_from_the_definition(seed, way, shot):
    random = RandomState(seed)
    # Coarse steps make ties and values of exactly 0.5 frequent.
    class_prob = torch.from_numpy(random.randint(0, 9, (way, shot)) / 8)
    fg_prob = torch.from_numpy(random.randint(0, 9, (way, shot, 3, 4)) / 8)
    found = combine(class_prob, fg_prob)
    assert found.label.dtype == torch.int64 and found.presence.dtype == torch.bool
    for n in range(way):
        p = sum(class_prob[n].tolist()) / shot
        assert found.presence_prob[n].item() == pytest.approx(p)
        assert found.presence[n].item() == (found.presence_prob[n].item() > 0.5)
    means = fg_prob.mean(1)
    for y in range(3):
        for x in range(4):
            scores = means[:, y, x].tolist()
            label = found.label[y, x].item()
            if label == 0:
                assert max(scores) < 0.5
            else:
                assert scores[label - 1] == max(scores) >= 0.5


def test_a_repeated_shot_changes_nothing():
    random = RandomState(5)
    class_prob = torch.from_numpy(random.uniform(size=(2, 1)))
    fg_prob = torch.from_numpy(random.uniform(size=(2, 1, 5, 5)))
    once = combine(class_prob, fg_prob)
    thrice = combine(class_prob.repeat(1, 3), fg_prob.repeat(1, 3, 1, 1))
    assert torch.equal(once.label, thrice.label)
    assert torch.equal(once.presence, thrice.presence)


def test_presence_does_not_gate_the_segmentation():
    """A class may be called absent and still be segmented, as in the release."""
    found = combine(torch.tensor([[0.1]]), torch.full((1, 1, 2, 2), 0.9))
    assert not found.presence.item()
    assert (found.label == 1).all()
