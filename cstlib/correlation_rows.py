"""Correlations some query patches at a time.

At 400 x 400 pixels the correlation of one pair is 104 MB, and the first layer's keys
and values another 46. But up to its first group norm that layer treats each query
patch by itself and leaves 4% of the numbers, so the whole need never exist: parts of
it are computed, used while they are still in a core's cache, and forgotten. Where a
gradient is wanted, the backward pass computes each part once more.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cstlib.backbones import Tokens
from cstlib.correlation import SUPPORT_GRID, correlate, pool_tokens

NUMBERS = {"cpu": 2**22}  # of a part: 17 MB
NUMBERS_ELSEWHERE = 2**28
# Query patches from which on a CPU is faster in rows in training, too.
MANY = 1024


class CorrelationRows:
    """What `cstlib.correlation.correlate` returns, without being there.

    Attributes:
        shape: B, L M, N, 1 + S, as of the tensor that it stands for.
    """

    ndim = 4

    def __init__(
        self, query_tokens: Tokens, support_tokens: Tokens, heads: int | None = None
    ) -> None:
        self._query, self._support = query_tokens, pool_tokens(support_tokens)
        self._heads = heads or query_tokens.heads
        batch = max(query_tokens.batch_size, support_tokens.batch_size)
        patches = query_tokens.patches[0]
        self.shape = torch.Size(
            (
                batch,
                len(query_tokens.patches) * self._heads,
                patches.shape[1],
                1 + SUPPORT_GRID**2,
            )
        )
        most = NUMBERS.get(patches.device.type, NUMBERS_ELSEWHERE)
        self.step = max(1, most // (batch * self.shape[1] * self.shape[3]))

    def __getitem__(self, rows: slice) -> Tensor:
        """The correlation of some query patches: B x L M x rows x (1 + S)."""
        patches = [layer[:, rows] for layer in self._query.patches]
        count = patches[0].shape[1]
        part = Tokens(
            cls=self._query.cls,
            patches=patches,
            grids=[(1, count)] * len(patches),
            heads=self._query.heads,
            attn_q=self._query.attn_q,
            attn_k=self._query.attn_k,
        )
        return correlate(part, self._support, heads=self._heads)

    def in_parts(self, look: Callable[[Tensor], tuple[Tensor, ...]]) -> list[Tensor]:
        """``look`` at part after part; its answers B x D x rows x T joined to N rows."""
        rows = self.shape[2]
        parts = [
            slice(start, min(start + self.step, rows))
            for start in range(0, rows, self.step)
        ]
        if torch.is_grad_enabled():
            all_answers = [self._forgotten(look, part) for part in parts]
            return [torch.cat(alike, dim=2) for alike in zip(*all_answers)]
        found: list[Tensor] = []
        for part in parts:
            answers = look(self[part])
            if not found:
                found = [x.new_empty(*x.shape[:2], rows, x.shape[3]) for x in answers]
            for whole, answer in zip(found, answers):
                whole[:, :, part] = answer
        return found

    def _forgotten(self, look: Callable, part: slice) -> tuple[Tensor, ...]:
        """``look`` at a part of which nothing stays until the backward pass."""
        return checkpoint(
            lambda: look(self[part]), use_reentrant=False, preserve_rng_state=False
        )


Correlation = Tensor | CorrelationRows


def rows_or_whole(
    query_tokens: Tokens, support_tokens: Tokens, heads: int | None = None
) -> Correlation:
    """Rows on demand; the whole where maps of several sizes (a ResNet's) must be met.

    Raises:
        CstlibError: as `cstlib.correlation.correlate`.
    """
    several = len(set(query_tokens.grids)) > 1
    if several or query_tokens.batch_size not in (1, support_tokens.batch_size):
        return correlate(query_tokens, support_tokens, heads=heads)
    return CorrelationRows(query_tokens, support_tokens, heads)
