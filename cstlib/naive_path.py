"""The naive path: CST as its equations read, to measure and to check ours against.

Nothing is fused, reordered, pooled early or remembered: attention is three lines,
numbers are float32, every convolution sees all support tokens and is pooled
afterwards, and the backbone runs for the query and the support of every pair. It is
how one writes it first, and how the published code does. Weights are those of
`cstlib.backbones.Backbone` and `cstlib.cst.CST`; results are equal within rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Attention
from torch import Tensor

from cstlib.backbones import Backbone
from cstlib.correlation import SUPPORT_GRID
from cstlib.cst import CST, HEADS, CorrelationLayer


@dataclass
class PlainTokens:
    """All that one batch of B images gives.

    Attributes:
        layers: for each of the L layers, B x (1+N) x C, after the final LayerNorm.
        q, k: last block's queries and keys, B x M x (1+N) x d.
        grid: (h, w) of the patches.
    """

    layers: list[Tensor]
    q: Tensor
    k: Tensor
    grid: tuple[int, int]


@torch.no_grad()
def plain_tokens(backbone: Backbone, images: Tensor) -> PlainTokens:
    """A ViT, block by block, on B x 3 x S x S images."""
    vit: Any = backbone.vit
    x = vit.patch_embed((images - backbone.mean) / backbone.std)  # B x N x C
    x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], dim=1) + vit.pos_embed
    layers = []
    for block in vit.blocks:
        attended, q, k = plain_attention(block.attn, block.norm1(x))
        x = x + attended
        x = x + block.mlp(block.norm2(x))
        layers.append(vit.norm(x))
    return PlainTokens(layers, q, k, tuple(vit.patch_embed.grid_size))


def plain_attention(attention: Attention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Softmax attention over all tokens, B x (1+N) x C, and its queries and keys."""
    batch, tokens, width = x.shape
    heads = attention.num_heads
    qkv = attention.qkv(x).reshape(batch, tokens, 3, heads, width // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # B x M x (1+N) x d each
    q, k = attention.q_norm(q), attention.k_norm(k)
    weights = (q @ k.transpose(2, 3) * attention.scale).softmax(dim=-1)
    x = (weights @ v).transpose(1, 2).reshape(batch, tokens, width)
    return attention.proj(x), q, k


@torch.no_grad()
def plain_correlation(query: PlainTokens, support: PlainTokens) -> Tensor:
    """Equations (1)-(2): B x (L M) x N x 145."""
    heads = query.q.shape[1]
    stack = []
    for q, s in zip(query.layers, support.layers):
        patches = s[:, 1:].transpose(1, 2).unflatten(2, support.grid)
        size = (SUPPORT_GRID, SUPPORT_GRID)
        patches = F.interpolate(patches, size, mode="bilinear", align_corners=True)
        s = torch.cat([s[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)
        q = F.normalize(q[:, 1:].unflatten(2, (heads, -1)), dim=3)
        s = F.normalize(s.unflatten(2, (heads, -1)), dim=3)
        stack.append(torch.einsum("bqmd,bsmd->bmqs", q, s))
    return torch.cat(stack, dim=1)


@torch.no_grad()
def plain_pseudo_mask(
    image: PlainTokens, support: PlainTokens, size: tuple[int, int], threshold: float
) -> Tensor:
    """Equations (9)-(11): B x H x W bool."""
    cosine = F.cosine_similarity(image.k[:, :, 1:], support.q[:, :, :1], dim=3)
    maps = cosine.mean(dim=1).unflatten(1, image.grid)[:, None]
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=True)[:, 0]
    return (maps + 1) / 2 > threshold


def plain_learner(
    cst: CST, correlation: Tensor, mask: Tensor | None, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Equations (3)-(4) and the heads: class logits B x 2, mask logits B x 2 x h x w."""
    x = correlation
    for layer in cst.layers:
        x = _plain_layer(cast(CorrelationLayer, layer), x, mask)
    x = cst.projection(x)
    cls_map, seg_map = x.unflatten(2, grid).unbind(dim=4)
    return cst.classify(cls_map), cst.segment(seg_map)


def _plain_layer(layer: CorrelationLayer, x: Tensor, mask: Tensor | None) -> Tensor:
    residual = F.relu(layer.residual_norm(_pool(layer, layer.residual_conv(x))))
    q, k, v = layer.qkv(x).chunk(3, dim=1)
    q, k, v = (t.unflatten(1, (HEADS, -1)) for t in (_pool(layer, q), k, v))
    similarity = torch.einsum("bhdqi,bhdqs->bhqis", q, k)
    if mask is not None:
        size = (layer.grid, layer.grid)
        small = F.interpolate(
            mask[:, None].float(), size, mode="bilinear", align_corners=True
        )
        hidden = F.pad(small.flatten(1) == 0, (1, 0), value=False)  # B x (1+S)
        similarity = similarity.masked_fill(hidden[:, None, None, None], -torch.inf)
    out = torch.einsum("bhqis,bhdqs->bhdqi", similarity.softmax(dim=4), v)
    out = layer.attended_conv(F.relu(layer.attended_norm(out.flatten(1, 2))))
    x = layer.norm(F.relu(layer.attended_out_norm(out)) + residual)
    return layer.out_norm(x + layer.feed_forward(x))


def _pool(layer: CorrelationLayer, x: Tensor) -> Tensor:
    """Average the support's patches; the class token stays: .. x (1+S) -> (1+S')."""
    kernel = {12: 4, 3: 3}[layer.grid]
    patches = x[..., 1:].unflatten(3, (layer.grid, layer.grid)).flatten(0, 2)
    patches = F.avg_pool2d(patches, kernel).flatten(1)
    return torch.cat([x[..., :1], patches.unflatten(0, x.shape[:3])], dim=3)
