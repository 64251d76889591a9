"""One map for both tasks: the rules of HSNet, ASNet and coupled CST, spelled slowly."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made import is_one_sentence
from made_tokens import made_tokens
from numpy.random import RandomState
from plain_cst import made_input, resize

from cstlib.baselines.coupled import CoupledCST
from cstlib.baselines.mask_only import MaskLearner, strongest
from cstlib.baselines.panet import PANet
from cstlib.cst import CST, cst_loss
from cstlib.errors import CstlibError
from cstlib.learner import class_score_loss


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(RandomState(seed).standard_normal(shape)).float()


def log_softmax(background: float, foreground: float) -> tuple[float, float]:
    total = math.log(math.exp(background) + math.exp(foreground))
    return background - total, foreground - total


def slow_maps(mask_logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Log-probabilities first, then upsampled: N x K x 2 x H x W."""
    maps = torch.empty(mask_logits.shape, dtype=torch.float64)
    n, k, _, h, w = mask_logits.shape
    for i in range(n * k * h * w):
        at = (i // (k * h * w), i // (h * w) % k, slice(None), i // w % h, i % w)
        maps[at] = torch.tensor(log_softmax(*mask_logits[at].tolist()))
    return resize(maps, *size)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3))
def test_votes_and_the_highest_log_probability(seed, way, shot):
    mask_logits = 2 * normal(seed, way, shot, 2, 3, 4)
    mask_logits[:, :, 0] += 3  # so that presence is in doubt
    class_logits = strongest(mask_logits.flatten(0, 1)).unflatten(0, (way, shot))
    found = MaskLearner().combine(class_logits, mask_logits, (5, 7))
    full = slow_maps(mask_logits, (5, 7))
    assert found.label.dtype == torch.int64 and found.presence.dtype == torch.bool
    for n in range(way):
        highest = [
            max(
                math.exp(log_softmax(*mask_logits[n, k, :, y, x].tolist())[1])
                for y in range(3)
                for x in range(4)
            )
            for k in range(shot)
        ]
        votes = sum(p >= 0.5 for p in highest)
        assert found.presence[n].item() == (votes / shot >= 0.5)
        assert found.presence_prob[n].item() == pytest.approx(sum(highest) / shot)
    for y in range(5):
        for x in range(7):
            maps = full[:, :, :, y, x].mean(1)  # N x 2
            scores = [maps[:, 0].mean().item(), *maps[:, 1].tolist()]
            label = found.label[y, x].item()
            assert scores[label] == pytest.approx(max(scores), abs=1e-5)


def test_half_is_present_and_half_of_the_votes_are_enough():
    learner = MaskLearner()
    sure, even, no = (0.0, 4.0), (1.0, 1.0), (4.0, 0.0)
    maps = torch.zeros(3, 2, 2, 2, 2)
    class_logits = torch.tensor([[sure, no], [even, even], [no, no]])
    found = learner.combine(class_logits, maps, (2, 2))
    assert found.presence.tolist() == [True, True, False]


@pytest.mark.parametrize("lam", [0.1, 7.0])
def test_the_loss_is_the_maps_alone(lam):
    mask_logits = normal(1, 3, 2, 3, 4)
    presence = torch.tensor([True, False, True])
    target = torch.from_numpy(RandomState(2).choice([0, 1, 255], (3, 5, 7)))
    learner = MaskLearner()
    loss, clf, seg = learner.losses(normal(3, 3, 2), mask_logits, presence, target, lam)
    full = slow_maps(mask_logits[None], (5, 7))[0]
    wanted = 0.0
    for b in range(3):
        for y in range(5):
            for x in range(7):  # void is background
                wanted -= full[b, int(target[b, y, x] == 1), y, x].item()
    assert loss.item() == seg.item() == pytest.approx(wanted / (3 * 5 * 7))
    assert clf.item() == 0

    # Without a mask: the mean of the log-probabilities is the class score.
    loss, clf, seg = learner.losses(normal(3, 3, 2), mask_logits, presence, None, lam)
    low = slow_maps(mask_logits[None], (3, 4))[0].mean((2, 3))  # B x 2
    wanted = -(low[0, 1] + low[1, 0] + low[2, 1]).item() / 3
    assert loss.item() == seg.item() == pytest.approx(wanted)
    assert clf.item() == 0


def test_strongest_is_the_most_foreground_pixel():
    maps = torch.zeros(2, 2, 2, 3)
    maps[0, :, 1, 2] = torch.tensor(
        [5.0, 6.0]
    )  # not the highest logit: the largest lead
    maps[0, :, 0, 0] = torch.tensor([9.0, 9.5])
    maps[1] = torch.stack([torch.full((2, 3), 1.0), -torch.arange(6.0).view(2, 3)])
    assert strongest(maps).tolist() == [[5.0, 6.0], [1.0, 0.0]]


@pytest.fixture(scope="module")
def coupled() -> CoupledCST:
    torch.manual_seed(4)
    return CoupledCST(12).eval()


@torch.no_grad()
def test_coupled_is_cst_without_its_classification_head(coupled):
    full = CST(12)
    weights = {**full.state_dict(), **coupled.state_dict()}
    full.load_state_dict(weights)
    left = weights.keys() - coupled.state_dict().keys()
    assert left and all(name.startswith("classification_head") for name in left)
    correlation, mask = made_input(5, 2, (3, 4), 12)
    class_logits, mask_logits = coupled(correlation, mask, (3, 4))
    wanted = full(correlation, mask, (3, 4))[1]
    torch.testing.assert_close(mask_logits, wanted, atol=1e-5, rtol=1e-4)
    assert torch.equal(class_logits, strongest(mask_logits))


def test_coupled_loss_is_csts_segmentation_loss(coupled):
    class_logits, mask_logits = normal(6, 3, 2), normal(7, 3, 2, 4, 4)
    presence = torch.tensor([True, False, True])
    target = torch.from_numpy(RandomState(8).choice([0, 1, 255], (3, 6, 6)))
    parts = class_logits, mask_logits, presence
    loss, clf, seg = coupled.losses(*parts, target, 0.3)
    assert loss == seg == cst_loss(*parts, target, 0.3)[2] and clf == 0
    loss, clf, seg = coupled.losses(*parts, None, 0.3)
    assert loss == seg == class_score_loss(*parts, 0.3)[2] and clf == 0


@torch.no_grad()
def test_coupled_presence_is_a_pixel(coupled):
    """Each class by its own map, averaged over the shots; labels as in CST."""
    mask_logits = 2 * normal(9, 3, 2, 2, 3, 3)
    mask_logits[:, :, 0] += torch.tensor([1.0, 0.0, 8.0])[:, None, None, None]
    class_logits = strongest(mask_logits.flatten(0, 1)).unflatten(0, (3, 2))
    found = coupled.combine(class_logits, mask_logits, (7, 8))
    fg = torch.stack(
        [
            torch.stack([resize(shot, 7, 8).softmax(0)[1] for shot in rows])
            for rows in mask_logits
        ]
    ).mean(1)  # N x H x W
    assert found.presence.tolist() == [bool((m >= 0.5).any()) for m in fg]
    assert sorted(set(found.presence.tolist())) == [False, True]
    assert found.presence_prob.tolist() == pytest.approx(fg.amax((1, 2)).tolist())
    wanted = CST(12).combine(class_logits, mask_logits, (7, 8)).label
    assert torch.equal(found.label, wanted) and found.label.any()


class TestPANet:
    """Prototypes of tokens, from loops."""

    grids = ((4, 5),)

    def tokens(self, seed, batch=2):
        return made_tokens(seed, batch, width=4, grids=self.grids)

    @torch.no_grad()
    @pytest.mark.parametrize("masked", [True, False])
    def test_from_the_definition(self, masked):
        learner = PANet(8)
        learner.projection.weight.copy_(normal(1, 8, 8))
        query, support = self.tokens(2), self.tokens(3)
        mask = torch.zeros(2, 16, 20)
        mask[0, :7, :9] = mask[1, 9:, 3:] = 1
        compared = learner.compare(query, support)
        class_logits, found = learner(compared, mask if masked else None)
        assert found.shape == (2, 2, 4, 5)
        small = resize(mask, 4, 5)
        project = learner.projection.weight.double()
        for b in range(2):
            tokens = [project @ t.double() for t in support.patches[-1][b]]
            inside = [not masked or bool(v > 0) for v in small[b].flatten()]
            groups = [
                [t for t, i in zip(tokens, inside) if i == kind]
                for kind in (False, True)
            ]
            for kind, group in enumerate(groups):
                for q in (0, 7, 19):
                    t = project @ query.patches[-1][b, q].double()
                    value = 0.0  # of a prototype of no tokens
                    if group:
                        mean = sum(group) / len(group)
                        value = 20 * (t @ mean / t.norm() / mean.norm()).item()
                    here = found[b, kind, q // 5, q % 5].item()
                    assert here == pytest.approx(value, abs=1e-3)
        assert torch.equal(class_logits, strongest(found))

    @torch.no_grad()
    def test_what_the_mask_leaves_out_is_background_only(self):
        learner = PANet(8)
        query, support, other = self.tokens(4), self.tokens(5), self.tokens(6)
        mask = torch.zeros(2, 4, 5)
        mask[:, 1:3, 2:] = 1
        inside = mask.flatten(1)[..., None] == 1
        other.patches[-1] = torch.where(inside, support.patches[-1], other.patches[-1])
        a = learner(learner.compare(query, support), mask)[1]
        b = learner(learner.compare(query, other), mask)[1]
        torch.testing.assert_close(a[:, 1], b[:, 1])
        assert not torch.allclose(a[:, 0], b[:, 0])

    def test_gradients_and_unfit_tokens(self):
        learner = PANet(8)
        logits = learner(learner.compare(self.tokens(7), self.tokens(8)))
        presence = torch.tensor([True, False])
        learner.losses(*logits, presence, torch.ones(2, 9, 9))[0].backward()
        assert learner.projection.weight.grad.abs().max() > 0
        # An empty mask has no foreground prototype, and no gradient that is not finite.
        empty = torch.zeros(2, 9, 9)
        logits = learner(learner.compare(self.tokens(7), self.tokens(8)), empty)
        learner.losses(*logits, presence, empty)[0].backward()
        assert learner.projection.weight.grad.isfinite().all()
        with pytest.raises(CstlibError, match="tokens of 9 channels") as error:
            PANet(9)(learner.compare(self.tokens(7), self.tokens(8)))
        assert is_one_sentence(error.value)
