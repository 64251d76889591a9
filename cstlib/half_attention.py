"""Half-precision attention of many tokens on a processor, head by head.

torch's fused attention takes as long in bfloat16 as in float32 on a CPU, although its
matrix products are several times faster there. Products of a few hundred rows whose
similarities stay in a core's cache make use of that; similarities are rounded to
bfloat16, as in any un-fused attention under automatic mixed precision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

MANY = 1024  # keys: below, the fused attention is as good
NUMBERS = 640_000  # similarities at once


class HalfAttention(TorchFunctionMode):
    """Within this context, `scaled_dot_product_attention` uses `attention_by_head`.

    Only for many tokens on a CPU, and without masks or dropout; else torch's own.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _fits(*args, **kwargs):
            return attention_by_head(*args[:3])
        return func(*args, **kwargs)


def attention_by_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v in bfloat16: B x M x N x d each."""
    batch, heads, tokens, width = q.shape
    q, k, v = (x.to(torch.bfloat16).flatten(0, 1) for x in (q * width**-0.5, k, v))
    out = torch.empty_like(q)  # B M x N x d
    step = max(1, NUMBERS // tokens)
    similarity, weights = q.new_empty(2, step, tokens)
    with torch.autocast("cpu", enabled=False):
        for head in range(len(q)):
            keys = k[head].T.contiguous()  # d x N
            for start in range(0, tokens, step):
                part = q[head, start : start + step]
                rows = slice(len(part))
                torch.mm(part, keys, out=similarity[rows])
                torch.softmax(similarity[rows], dim=-1, out=weights[rows])
                out[head, start : start + step] = weights[rows] @ v[head]
    return out.unflatten(0, (batch, heads))


def _fits(q: Tensor, k: Tensor, v: Tensor, *others, **options) -> bool:
    plain = not others and not options.get("dropout_p")
    plain = plain and options.get("attn_mask") is None and not options.get("is_causal")
    return plain and q.device.type == "cpu" and k.shape[2] >= MANY
