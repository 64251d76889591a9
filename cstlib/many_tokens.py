"""A frozen ViT's products and attention for many tokens, on a processor.

torch has two libraries for matrix products on a CPU. In float32 it asks MKL, which on
some processors leaves the wide vector units alone; oneDNN uses them, and adds a bias
or applies GELU while the numbers are still in the core (`cstlib.bench_measure.flops`
times both). torch's fused attention is built on MKL too, and in bfloat16 takes as long
as in float32. So here products go to oneDNN, and attention goes head by head, some
hundred queries at a time, so that its similarities stay in a core's cache.

Few tokens, a GPU, other number types and whatever needs a gradient go torch's own way.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MANY = 1024  # tokens: below, torch's own are as good
NUMBERS = 640_000  # similarities at once


def linear(layer: nn.Linear, x: Tensor, gelu: bool = False) -> Tensor:
    """A linear layer, and GELU after it if asked: B x N x D_in -> B x N x D_out.

    A layer that somebody listens to with a hook is called as torch calls it.
    """
    if layer._forward_hooks or not _fits(x):
        x = layer(x)
        return F.gelu(x) if gelu else x
    dtype = _dtype(x)
    weight, bias = layer.weight.to(dtype), layer.bias
    return product(x.to(dtype), weight, None if bias is None else bias.to(dtype), gelu)


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: bool = False
) -> Tensor:
    """x W^T + b by oneDNN: .. x D_in, D_out x D_in and D_out -> .. x D_out.

    It is what torch's compiler calls for a linear layer, and has no name of its own.
    """
    then, how = ("gelu", "none") if gelu else ("none", "")
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], how)


def has_product() -> bool:
    """Whether this torch has oneDNN, and `product` in it."""
    there = torch.backends.mkldnn.is_available()
    return there and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v: B x M x N x d each."""
    if not _fits(q):
        return F.scaled_dot_product_attention(q, k, v)
    batch, heads, tokens, width = q.shape
    dtype = _dtype(q)
    # oneDNN wants rows without gaps, or it is a hundred times as slow.
    q, k, v = (x.to(dtype).flatten(0, 1).contiguous() for x in (q * width**-0.5, k, v))
    out = torch.empty_like(q)  # B M x N x d
    step = max(1, NUMBERS // tokens)
    table = q.new_empty(step, tokens)
    with torch.autocast("cpu", enabled=False):
        for head in range(len(q)):
            keys, values = k[head], v[head].T  # N x d, d x N
            for start in range(0, tokens, step):
                rows = slice(start, start + step)
                similarity = product(q[head, rows], keys)
                weights = table[: len(similarity)]
                torch.softmax(similarity, dim=-1, out=weights)
                out[head, rows] = product(weights, values)
    return out.unflatten(0, (batch, heads))


def _fits(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.shape[-2] >= MANY
        and _dtype(x) in (torch.float32, torch.bfloat16)
        and not torch.is_grad_enabled()
        and has_product()
    )


def _dtype(x: Tensor) -> torch.dtype:
    """What automatic mixed precision would compute in."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return x.dtype
