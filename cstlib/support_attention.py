"""Attention over the support's tokens for a processor, a cache-sized part at a time.

In the first correlation layer of a 400 x 400 image every one of 2,500 query tokens
has 8 heads of 10 x 145 similarities: 29 million numbers, which in one piece cost more
time to write to memory and read back, forward and backward, than to compute. Query
tokens do not see each other here, so they are taken some dozens at a time; backward
computes the similarities again instead of keeping them.

Here, too, is the pooling of the support's tokens, as a matrix.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Numbers in each of the two work tables: they stay in a core's own cache.
TABLE = 600_000


def attend_in_parts(q: Tensor, kv: Tensor, bias: Tensor | None, heads: int) -> Tensor:
    """softmax(q . k + bias) v over the support axis, for each query token and head.

    Args:
        q: B x D x Q x S'. kv: B x 2D x Q x S, keys first. D splits into ``heads``.
        bias: B x S, added to the similarities; no gradient flows to it.

    Returns:
        B x D x Q x S'.
    """
    return _AttendInParts.apply(q, kv, bias, heads)


def pooling_matrix(grid: int, kernel: int) -> Tensor:
    """Average pooling of the support's patches as a matrix: (1+S') x (1+S).

    The class token, first, is never pooled.
    """
    patches = torch.eye(grid * grid).unflatten(1, (grid, grid))  # S x grid x grid
    patches = F.avg_pool2d(patches, kernel).flatten(1)  # S x S'
    return torch.block_diag(torch.ones(1, 1), patches.T)


class _AttendInParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, kv: Tensor, bias: Tensor | None, heads: int) -> Tensor:
        out = torch.empty_like(q)
        tables = _Tables(q, kv, heads)
        for b in range(len(q)):
            q_b, out_b = _by_head(q[b], heads), _by_head(out[b], heads)
            k_b, v_b = (_by_head(x, heads) for x in kv[b].chunk(2))
            for part in tables.parts:
                _, p = tables.attention(q_b[part], k_b[part], bias, b)
                out_b[part] = v_b[part] @ p.mT  # H x q x d x S'
        ctx.save_for_backward(q, kv, bias, out)
        ctx.heads = heads
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        q, kv, bias, out = ctx.saved_tensors
        heads = ctx.heads
        grad_q, grad_kv = torch.empty_like(q), torch.empty_like(kv)
        tables = _Tables(q, kv, heads)
        for b in range(len(q)):
            q_b, k_b, v_b, grad_b, out_b, grad_q_b, grad_k_b, grad_v_b = (
                _by_head(x, heads)
                for x in (
                    *(q[b], *kv[b].chunk(2), grad[b], out[b]),
                    *(grad_q[b], *grad_kv[b].chunk(2)),
                )
            )
            # What the softmax subtracts: sum of p dp over the support's tokens.
            mean = (grad_b * out_b).sum(2)[..., None]  # H x Q x S' x 1
            for part in tables.parts:
                table, p = tables.attention(q_b[part], k_b[part], bias, b)
                ds = _similarity(grad_b[part], v_b[part], out=table)
                ds.sub_(mean[part]).mul_(p)  # H x q x S' x S
                grad_v_b[part] = grad_b[part] @ p
                grad_k_b[part] = q_b[part] @ ds
                grad_q_b[part] = k_b[part] @ ds.mT
        return grad_q, grad_kv, None, None


class _Tables:
    """Two tables of similarities, used again for each part of the query tokens.

    Attributes:
        parts: indices of the parts, into tensors of H x Q x ...
    """

    def __init__(self, q: Tensor, kv: Tensor, heads: int) -> None:
        queries, shorter, longer = q.shape[2], q.shape[3], kv.shape[3]
        step = max(1, TABLE // (heads * shorter * longer))
        step = min(step, queries)
        self._tables = q.new_empty(2, heads, step, shorter, longer)
        self.parts = [
            (slice(None), slice(start, start + step))
            for start in range(0, queries, step)
        ]

    def attention(
        self, q: Tensor, k: Tensor, bias: Tensor | None, b: int
    ) -> tuple[Tensor, Tensor]:
        """A table to use, and the attention H x q x S' x S in the other one."""
        table, p = self._tables[:, :, : q.shape[1]]
        _similarity(q, k, out=table)
        if bias is not None:
            table += bias[b]
        return table, torch.softmax(table, dim=-1, out=p)


def _similarity(q: Tensor, k: Tensor, out: Tensor) -> Tensor:
    """q^T k for H x q x d x S' and H x q x d x S, term by term because d is small.

    A matrix product of two or eight terms spends its time on being called.
    """
    torch.mul(q[:, :, 0, :, None], k[:, :, 0, None, :], out=out)
    for i in range(1, q.shape[2]):
        out.addcmul_(q[:, :, i, :, None], k[:, :, i, None, :])
    return out


def _by_head(x: Tensor, heads: int) -> Tensor:
    """D x Q x S -> H x Q x d x S, a view."""
    return x.unflatten(0, (heads, -1)).transpose(1, 2)
