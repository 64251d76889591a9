"""A frozen ViT's products of many tokens are torch's own, only faster."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cstlib.many_tokens import attention, has_product, linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 3, 1100, 8), (2, 2, 1025, 16)])
def test_attention_of_many_tokens_is_attention(shape, dtype, monkeypatch):
    monkeypatch.setattr("cstlib.many_tokens.NUMBERS", 300_000)
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(shape, generator=random) for _ in range(3))
    wanted = (q.double() @ k.double().mT / shape[3] ** 0.5).softmax(3) @ v.double()
    half = dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        # As a ViT makes them: rows of a larger table.
        table = torch.stack([q, k, v]).permute(1, 3, 0, 2, 4).contiguous()
        found = attention(*table.permute(2, 0, 3, 1, 4))
    assert found.dtype == dtype
    most = wanted.abs().max()
    assert (found - wanted).abs().max() < (0.02 * most + 0.003 if half else 1e-5 * most)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [9, 1030])
@pytest.mark.parametrize("gelu", [False, True])
def test_linear_layers_of_few_and_many_tokens(tokens, gelu, dtype):
    random = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(24, 40)
    x = torch.randn(2, tokens, 24, generator=random)
    wanted = layer(x)
    wanted = torch.nn.functional.gelu(wanted) if gelu else wanted
    half = dtype == torch.bfloat16
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = linear(layer, x, gelu)
    assert found.dtype == dtype
    near = {"atol": 2e-2, "rtol": 2e-2} if half else {}
    torch.testing.assert_close(found.float(), wanted, **near)
    # Where a gradient is wanted, it is torch's own.
    linear(layer, x, gelu).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("tokens", [9, 1030])
def test_a_hook_on_a_layer_is_heard(tokens):
    """Notebook 01 listens to a block's queries, keys and values so."""
    layer, heard = torch.nn.Linear(8, 4), []
    hook = layer.register_forward_hook(lambda module, x, found: heard.append(found))
    with torch.no_grad():
        assert linear(layer, torch.ones(1, tokens, 8)) is heard[0]
        hook.remove()
        linear(layer, torch.ones(1, tokens, 8))
    assert len(heard) == 1


def test_without_onednn_torch_goes_its_own_way(monkeypatch):
    """Both ways that `has_product` may say no: another library, another operator."""
    layer = torch.nn.Linear(8, 8)
    x, (q, k, v) = torch.randn(1, 1100, 8), torch.randn(3, 1, 2, 1100, 4)
    with torch.no_grad():
        there = layer(x), F.scaled_dot_product_attention(q, k, v)
        monkeypatch.setattr("cstlib.many_tokens.product", None)  # calling it would fail
        for place, name, value in (
            (torch.backends.mkldnn, "is_available", lambda: False),
            (torch.ops, "mkldnn", object()),
        ):
            with monkeypatch.context() as without:
                without.setattr(place, name, value)
                assert not has_product()
                assert torch.equal(linear(layer, x), there[0])
                assert torch.equal(attention(q, k, v), there[1])
