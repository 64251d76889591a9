"""Tokens of the images that were asked for last, so that none is computed twice.

An episode asks for an image several times: pseudo-masks want its keys, the
correlation its tokens, and every further class and shot the query's again. Where no
table of features is kept on disk, the last few images are remembered here, each in the
three forms that are asked for, with a limit on each.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from cstlib.backbones import Tokens
from cstlib.correlation import pool_tokens


class RecentTokens:
    """A backbone with a short memory.

    Args:
        compute: tokens of a list of images, by name.
        at_once: images to compute at once.
        full: images whose tokens of all layers are kept (50 MB each for ViT-S/8 at
            400 x 400 pixels): the queries that are being worked on.
        small: bytes for what is kept of supports: pooled tokens, queries and keys
            (7 MB each).

    Attributes:
        computed: images that went through the backbone so far.
    """

    def __init__(
        self,
        compute: Callable[[list[str]], Tokens],
        at_once: int,
        full: int,
        small: int,
    ) -> None:
        self._compute = compute
        self._at_once = at_once
        self._full_images, self._small_bytes = full, small
        self._full: OrderedDict[str, Tokens] = OrderedDict()
        self._small: OrderedDict[str, tuple[Tokens, Tokens]] = OrderedDict()
        self._bytes_each = 0  # of what is kept of a support, once one was seen
        self.computed = 0

    def full(self, names: list[str]) -> Tokens:
        """Tokens of all layers and all keys; of the queries, the class token's alone."""
        return self._gather(names, self._full, lambda full, small: full)

    def pooled(self, names: list[str]) -> Tokens:
        """As `full`, pooled to the support's grid; the class token's key alone.

        Whoever asks for these first wants an image as a support: nothing else is kept.
        """
        choose, keep_full = (lambda full, small: small), False
        return self._gather(names, self._small, choose, keep_full)[0]

    def expect(self, supports: list[str]) -> None:
        """Compute these now, and remember them as supports only, if all can be."""
        if len(supports) * self._bytes_each <= self._small_bytes:
            self.pooled(supports)

    def forget_full(self) -> None:
        """Give the memory of all layers' tokens back; what supports need stays."""
        self._full.clear()

    def attention(self, names: list[str]) -> Tokens:
        """No layers; the class token's query and all keys."""
        return self._gather(names, self._small, lambda full, small: small)[1]

    def _gather(self, names, kept: OrderedDict, choose: Callable, keep_full=True):
        rows = {}
        for name in dict.fromkeys(names):
            if name in kept:
                kept.move_to_end(name)
                rows[name] = kept[name]
        missing = [name for name in dict.fromkeys(names) if name not in rows]
        for start in range(0, len(missing), self._at_once):
            batch = missing[start : start + self._at_once]
            if keep_full:  # what has to go, goes before its successors need memory
                self._shorten(self._full, self._full_images - len(batch))
            found = self._compute(batch)
            self.computed += len(batch)
            for i, name in enumerate(batch):
                # A row of a batch would keep the whole batch in memory.
                one = found if len(batch) == 1 else _copied(found[i])
                rows[name] = choose(*self._remember(name, one, keep_full))
        parts = [rows[name] for name in names]
        if isinstance(parts[0], tuple):
            return tuple(Tokens.cat(forms) for forms in zip(*parts))
        return Tokens.cat(parts)

    def _remember(
        self, name: str, one: Tokens, keep_full: bool
    ) -> tuple[Tokens, tuple[Tokens, Tokens]]:
        """Keep an image in its forms, and drop what was not asked for longest."""
        full = replace(one, attn_q=one.attn_q[:, :, :1].clone())
        # Copies, because a view of one token would keep all tokens in memory.
        cls = [layer.clone() for layer in one.cls]
        key = one.attn_k[:, :, :1].clone()
        pooled = replace(pool_tokens(full), cls=cls, attn_k=key)
        small = (pooled, replace(full, cls=[], patches=[]))
        if keep_full:
            self._full[name] = full
            self._shorten(self._full, self._full_images)
        self._small[name] = small
        self._bytes_each = sum(map(_bytes, small))
        self._shorten(self._small, max(1, self._small_bytes // self._bytes_each))
        return full, small

    @staticmethod
    def _shorten(kept: OrderedDict, length: int) -> None:
        while len(kept) > max(0, length):
            kept.popitem(last=False)


def _copied(tokens: Tokens) -> Tokens:
    return replace(
        tokens,
        cls=[x.clone() for x in tokens.cls],
        patches=[x.clone() for x in tokens.patches],
        attn_q=tokens.attn_q.clone(),
        attn_k=tokens.attn_k.clone(),
    )


def _bytes(tokens: Tokens) -> int:
    parts: list[Tensor] = [*tokens.cls, *tokens.patches, tokens.attn_q, tokens.attn_k]
    return sum(part.numel() * part.element_size() for part in parts)
