"""HSNet* and ASNet* against the published counts and against slow spellings."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from made import is_one_sentence
from numpy.random import RandomState
from plain_cst import made_input, resize

from cstlib.baselines import LEARNERS, make_learner
from cstlib.baselines.asnet import ASNet, AttentiveSqueeze
from cstlib.baselines.hsnet import CenterPivotConv, HSNet
from cstlib.baselines.levels import levels_of, split_levels
from cstlib.errors import CstlibError

NAMES = ["hsnet", "asnet"]


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(RandomState(seed).standard_normal(shape)).float()


@pytest.mark.parametrize(
    "name, channels, count",
    [
        # With the 13 maps of a ResNet50, as published.
        ("hsnet", 13, 2_573_794),
        ("asnet", 13, 1_320_610),
        # With the 72 channels of ViT-S/8, in three levels of 24.
        ("hsnet", 72, 2_610_242),
        ("asnet", 72, 1_422_482),
        ("cst-coupled", 72, 366_004 - 29_058),
        ("cst", 12, 361_204),
    ],
)
def test_parameter_counts(name, channels, count):
    assert parameters(make_learner(name, channels)) == count


def test_levels_are_thirds_of_the_blocks_without_the_class_token():
    assert split_levels(13) == (4, 6, 3)
    assert split_levels(72) == (24, 24, 24)
    for channels in range(3, 40):
        assert sum(split_levels(channels)) == channels and min(split_levels(channels))
    correlation = normal(1, 2, 72, 20, 145)
    levels = levels_of(correlation)
    for i, level in enumerate(levels):
        assert level.shape == (2, 24, 12, 12, 20)
        for c, y, x, q in ((0, 0, 0, 0), (23, 11, 4, 19), (7, 3, 8, 5)):
            wanted = correlation[:, 24 * i + c, q, 1 + 12 * y + x]
            assert torch.equal(level[:, c, y, x, q], wanted)
    with pytest.raises(CstlibError, match="2 correlation channels") as error:
        make_learner("hsnet", 2)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("kernel, stride, side", [(3, 2, 5), (5, 4, 12), (3, 1, 2)])
@torch.no_grad()
def test_center_pivot_convolution_from_its_definition(kernel, stride, side):
    torch.manual_seed(0)
    layer = CenterPivotConv(3, 4, kernel, stride)
    h, w = 3, 4
    x = normal(2, 1, 3, side, side, h * w)
    found = layer(x, (h, w))
    half, out = kernel // 2, (side - 1) // stride + 1
    reach = kernel // 2
    full = F.pad(x.unflatten(4, (h, w)), (half,) * 8)[0]  # every axis has a margin
    wanted = torch.zeros(4, out, out, h, w)
    wanted += layer.over_queries.bias[:, None, None, None, None]
    wanted += layer.over_supports.bias[:, None, None, None, None]
    for sy in range(out):
        for sx in range(out):
            for y in range(h):
                for z in range(w):
                    at = (half + stride * sy, half + stride * sx, half + y, half + z)
                    for a in range(-reach, reach + 1):
                        for b in range(-reach, reach + 1):
                            over_q = full[:, at[0], at[1], at[2] + a, at[3] + b]
                            over_s = full[:, at[0] + a, at[1] + b, at[2], at[3]]
                            tap = (slice(None), slice(None), reach + a, reach + b)
                            wanted[:, sy, sx, y, z] += (
                                layer.over_queries.weight[tap] @ over_q
                                + layer.over_supports.weight[tap] @ over_s
                            )
    wanted = F.relu(layer.norm(wanted[None]))
    torch.testing.assert_close(found, wanted.flatten(4), atol=1e-4, rtol=1e-4)


MASKS = {
    "part": torch.zeros(2, 24, 24).index_fill(1, torch.arange(9), 1.0),
    "empty": torch.zeros(2, 24, 24),
    "none": None,
}


@pytest.mark.parametrize("masked", MASKS)
@pytest.mark.parametrize(
    "d_in, d_out, kernel, stride, pool_keys, side",
    [
        (3, 32, 5, 4, False, 12),
        (3, 32, 5, 4, True, 12),
        (16, 32, 3, 2, False, 3),
        (32, 32, 1, 1, False, 2),
        (32, 32, 2, 1, False, 2),
    ],
)
@torch.no_grad()
def test_attentive_squeeze_query_by_query(
    d_in, d_out, kernel, stride, pool_keys, side, masked
):
    torch.manual_seed(1)
    layer = AttentiveSqueeze(d_in, d_out, kernel, stride, pool_keys)
    x, mask = normal(3, 2, d_in, side, side, 5), MASKS[masked]
    attended = []
    for q in range(5):
        one = x[..., q]
        queries, keys, values = layer.q(one), layer.k(one), layer.v(one)
        out = torch.zeros_like(queries)
        for b in range(2):
            open_keys = range(keys.shape[2] * keys.shape[3])
            if mask is not None:
                small = resize(mask, *keys.shape[2:])[b].flatten()
                # Where nothing is left, all keys get the same weight.
                open_keys = [s for s in open_keys if small[s] != 0] or None
            d = d_out // 16
            for head in range(8):
                part = slice(head * d, (head + 1) * d)
                k, v = (t[b, part].flatten(1) for t in (keys, values))
                if open_keys is None:
                    out[b, part] = v.mean(1)[:, None, None]
                    continue
                k, v = k[:, list(open_keys)], v[:, list(open_keys)]
                weights = (queries[b, part].flatten(1).T @ k).softmax(1)
                out[b, part] = (v @ weights.T).view_as(out[b, part])
        attended.append(out)
    found = layer.attend(x, mask)
    slow = torch.stack(attended, dim=4)
    torch.testing.assert_close(found, slow, atol=1e-4, rtol=1e-4)

    # The rest of the layer, with the queries' axis where a 2D convolution has its rows.
    def linear(conv, t):
        return torch.einsum("oc,bcyxq->boyxq", conv.weight[:, :, 0, 0], t)

    a = F.relu(layer.attended_norm(slow))
    a = F.relu(layer.attended_out_norm(linear(layer.attended_conv, a)))
    r = x
    if (d_in, kernel) != (d_out, 1):
        r = torch.stack([layer.residual(x[..., q]) for q in range(5)], dim=4)
        r = F.relu(layer.residual_norm(r))
    y = layer.norm(a + r)
    first, middle, _, last = layer.feed_forward
    z = linear(last, F.relu(middle(linear(first, y))))
    torch.testing.assert_close(
        layer(x, mask), layer.out_norm(y + z), atol=1e-4, rtol=1e-4
    )
    assert layer(x, mask).shape[2] == (1 if kernel == 2 else found.shape[2])


@pytest.fixture(scope="module", params=NAMES)
def learner(request):
    torch.manual_seed(2)
    return make_learner(request.param, 72).eval()


@torch.no_grad()
def test_shapes_and_independent_pairs(learner):
    correlation, mask = made_input(4, 2, (4, 6))
    class_logits, mask_logits = learner(correlation, mask, (4, 6))
    assert class_logits.shape == (2, 2) and mask_logits.shape == (2, 2, 8, 12)
    for b in range(2):
        alone = learner(correlation[b : b + 1], mask[b : b + 1], (4, 6))
        torch.testing.assert_close(alone[0][0], class_logits[b], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone[1][0], mask_logits[b], atol=1e-5, rtol=1e-4)
    # The class logits are those of the most foreground pixel.
    highest = mask_logits.softmax(1)[:, 1].amax((1, 2))
    torch.testing.assert_close(class_logits.softmax(1)[:, 1], highest)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_a_resnets_maps_each_reach_the_block_of_their_level(name):
    """4, 6 and 3 maps: a level in another's place would not fit."""
    torch.manual_seed(5)
    learner = make_learner(name, 13).eval()
    correlation, mask = made_input(9, 1, (4, 4), 13)
    blocks = (learner.squeeze_shallow, learner.squeeze_middle, learner.squeeze_deep)
    seen = []
    for block in blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert learner(correlation, mask)[1].shape == (1, 2, 8, 8)
    by_width = {x.shape[1]: x for x in seen}
    assert sorted(by_width) == [3, 4, 6]
    patches = correlation[..., 1:].transpose(2, 3)
    wanted = dict(zip((4, 6, 3), patches.split((4, 6, 3), dim=1)))
    for width, x in by_width.items():
        y = x.flatten(2, 3)
        outside = y == 0  # HSNet has emptied these already
        assert torch.equal(torch.where(outside, 0, wanted[width]), y)


@torch.no_grad()
def test_the_class_token_takes_no_part_and_the_mask_does(learner):
    correlation, mask = made_input(5, 2, (3, 3))
    other = correlation.clone()
    other[..., 0] = 0.7
    masked, unmasked = learner(correlation, mask)[1], learner(correlation)[1]
    assert torch.equal(learner(other, mask)[1], masked)
    assert torch.equal(learner(other)[1], unmasked)
    assert (masked - unmasked).abs().max() > 1e-4
    full = torch.ones_like(mask)
    torch.testing.assert_close(learner(correlation, full)[1], unmasked)
    empty = torch.zeros_like(mask)
    assert learner(correlation, empty)[1].isfinite().all()


@torch.no_grad()
def test_hsnet_sees_nothing_outside_the_mask():
    learner = HSNet(72).eval()
    correlation, mask = made_input(6, 2, (3, 3))
    inside = resize(mask, 12, 12).flatten(1) != 0  # B x 144
    assert 0 < inside.float().mean() < 1
    other = correlation.clone()
    patches = other[..., 1:]
    patches[~inside[:, None, None].expand_as(patches)] = 0.9
    assert torch.equal(learner(other, mask)[1], learner(correlation, mask)[1])
    patches[inside[:, None, None].expand_as(patches)] = 0.9
    changed = learner(other, mask)[1] - learner(correlation, mask)[1]
    assert changed.abs().max() > 1e-4


@torch.no_grad()
def test_asnets_masked_patches_are_no_keys():
    """They still reach its queries, which are strided convolutions."""
    layer = ASNet(72).squeeze_deep.layers[0]
    correlation, mask = made_input(7, 1, (3, 3))
    x = levels_of(correlation)[2]
    inside = (resize(mask, 12, 12) != 0).view(1, 1, 12, 12, 1)
    layer.q.weight.zero_()  # so that queries know nothing of the input
    other = torch.where(inside, x, 0.9)
    torch.testing.assert_close(layer.attend(other, mask), layer.attend(x, mask))
    assert not torch.allclose(layer.attend(other, None), layer.attend(x, None))


@pytest.mark.parametrize("name", [name for name in LEARNERS if name != "panet"])
@pytest.mark.parametrize("with_target", [True, False])
def test_gradients_reach_every_parameter(name, with_target):
    torch.manual_seed(3)
    learner = make_learner(name, 12)
    correlation, mask = made_input(8, 2, (4, 4), 12)
    presence = torch.tensor([True, False])
    target = mask & presence[:, None, None] if with_target else None
    # Unmasked: ASNet resizes masks to 3 x 3 and 2 x 2 positions, of which a disc in the
    # middle leaves one or none, and equal weights have no gradient.
    logits = learner(correlation)
    learner.losses(*logits, presence, target)[0].backward()
    for parameter_name, parameter in learner.named_parameters():
        # A key's bias adds the same to all similarities of a query.
        if not parameter_name.endswith("k.bias"):
            assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", NAMES)
def test_unfit_correlations_end_in_one_sentence(name):
    learner = make_learner(name, 12)
    for shape in ((1, 13, 9, 145), (1, 12, 9, 50), (1, 12, 8, 145)):
        with pytest.raises(CstlibError) as error:
            learner(torch.zeros(shape))
        assert is_one_sentence(error.value)
