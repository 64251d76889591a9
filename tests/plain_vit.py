"""Backbone, correlation and inference spelled out a second time, in float64.

Shares no code with `cstlib`: a ViT is a plain dict of weights under DINO's names,
heads are loops, and every resize is a product with a matrix of weights.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import RandomState
from plain_cst import plain_cst, resize
from torch import Tensor

MEAN = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)


def made_vit(seed: int, width: int, depth: int, patch: int, side: int):
    """Float32 weights of a ViT with a trained grid of ``side`` x ``side`` patches."""
    random, shapes = RandomState(seed), {}
    shapes["cls_token"] = (1, 1, width)
    shapes["pos_embed"] = (1, 1 + side * side, width)
    shapes["patch_embed.proj.weight"] = (width, 3, patch, patch)
    shapes["patch_embed.proj.bias"] = shapes["norm.weight"] = (width,)
    shapes["norm.bias"] = (width,)
    for i in range(depth):
        for name, out, into in (
            *(("attn.qkv", 3 * width, width), ("attn.proj", width, width)),
            *(("mlp.fc1", 4 * width, width), ("mlp.fc2", width, 4 * width)),
        ):
            shapes[f"blocks.{i}.{name}.weight"] = (out, into)
            shapes[f"blocks.{i}.{name}.bias"] = (out,)
        for norm in ("norm1", "norm2"):
            shapes[f"blocks.{i}.{norm}.weight"] = (width,)
            shapes[f"blocks.{i}.{norm}.bias"] = (width,)
    weights = {}
    for name, shape in shapes.items():
        r = random.standard_normal(shape)
        if "norm" in name and name.endswith("weight"):
            r = 1 + 0.2 * r
        elif len(shape) == 1:
            r *= 0.1
        elif name.startswith(("cls", "pos")):
            r *= 0.3
        else:
            # Patches that differ, and heads that look at some more than at others.
            gain = 3 if name.startswith("patch") or ".qkv." in name else 1.2
            r *= gain / np.prod(shape[1:]) ** 0.5
        weights[name] = torch.from_numpy(r).float()
    return weights


def plain_vit(w: dict[str, Tensor], image: Tensor, heads: int):
    """One 3 x S x S image -> layers (1+N) x C, queries and keys M x (1+N) x d."""
    w = {name: tensor.double() for name, tensor in w.items()}
    x = (image.double() - MEAN) / STD
    kernel = w["patch_embed.proj.weight"]
    p = kernel.shape[-1]
    rows = [
        x[:, top : top + p, left : left + p].reshape(-1)
        for top in range(0, x.shape[1], p)
        for left in range(0, x.shape[2], p)
    ]
    x = torch.stack(rows) @ kernel.flatten(1).T + w["patch_embed.proj.bias"]
    x = torch.cat([w["cls_token"][0], x])
    x = x + embedding(w["pos_embed"][0], math.isqrt(len(rows)))
    layers, number = [], 0
    while f"blocks.{number}.norm1.weight" in w:
        block = f"blocks.{number}"
        qkv = linear(w, f"{block}.attn.qkv", norm(w, f"{block}.norm1", x))
        qs, ks, vs = (part.chunk(heads, dim=1) for part in qkv.chunk(3, dim=1))
        out = [
            (q @ k.T / q.shape[1] ** 0.5).softmax(1) @ v for q, k, v in zip(qs, ks, vs)
        ]
        x = x + linear(w, f"{block}.attn.proj", torch.cat(out, dim=1))
        hidden = linear(w, f"{block}.mlp.fc1", norm(w, f"{block}.norm2", x))
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        x = x + linear(w, f"{block}.mlp.fc2", hidden)
        layers.append(norm(w, "norm", x))
        number += 1
    return layers, torch.stack(qs), torch.stack(ks)


def embedding(trained: Tensor, side: int) -> Tensor:
    """DINO's: bicubic, by the factor (side + 0.1) / n, no antialiasing."""
    n = math.isqrt(len(trained) - 1)
    matrix = torch.zeros(side, n, dtype=torch.float64)
    for i in range(side):
        at = (i + 0.5) * n / (side + 0.1) - 0.5
        for tap in range(math.floor(at) - 1, math.floor(at) + 3):
            t = abs(at - tap)
            if t <= 1:
                weight = 1.25 * t**3 - 2.25 * t**2 + 1
            else:
                weight = -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
            matrix[i, min(max(tap, 0), n - 1)] += weight
    grid = trained[1:].reshape(n, n, -1)
    grid = torch.einsum("ij,kl,jlc->ikc", matrix, matrix, grid)
    return torch.cat([trained[:1], grid.reshape(side * side, -1)])


def plain_mask(image, support, grid: int, size: int, threshold: float) -> Tensor:
    """Equations 9-11 on what `plain_vit` returns: H x W bool."""
    maps = []
    for k, q in zip(image[2], support[1]):
        cosine = k[1:] @ q[0] / (k[1:].norm(dim=1) * q[0].norm())
        maps.append(cosine.reshape(grid, grid))
    return (resize(sum(maps) / len(maps), size, size) + 1) / 2 > threshold


def plain_correlation(query, support, grid: int, heads: int) -> Tensor:
    """Equations 1-2: (L M) x N x 145."""
    channels = []
    for q, s in zip(query[0], support[0]):
        maps = s[1:].T.reshape(-1, grid, grid)
        s = torch.cat([s[:1], resize(maps, 12, 12).flatten(1).T])
        for q_m, s_m in zip(q[1:].chunk(heads, dim=1), s.chunk(heads, dim=1)):
            q_m = q_m / q_m.norm(dim=1, keepdim=True)
            channels.append(q_m @ (s_m / s_m.norm(dim=1, keepdim=True)).T)
    return torch.stack(channels)


def plain_prediction(vit, learner, query, supports, size, grid, heads, threshold):
    """Equation 8: N probabilities of presence, and N x H x W of foreground.

    Args:
        query: 3 x S x S. supports: N rows of K images. size: H, W of the answer.
    """
    asked = plain_vit(vit, query, heads)
    presence, foreground = [], []
    for row in supports:
        p, maps = 0, 0
        for image in row:
            support = plain_vit(vit, image, heads)
            mask = plain_mask(support, support, grid, image.shape[1], threshold)
            correlation = plain_correlation(asked, support, grid, heads)
            class_logits, logits = plain_cst(
                learner, correlation[None], mask[None], (grid, grid)
            )
            p += class_logits[0].softmax(0)[1] / len(row)
            maps += resize(logits[0], *size).softmax(0)[1] / len(row)
        presence.append(p)
        foreground.append(maps)
    return torch.stack(presence), torch.stack(foreground)


def linear(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    x = x - x.mean(dim=1, keepdim=True)
    x = x / ((x**2).mean(dim=1, keepdim=True) + 1e-6).sqrt()
    return x * w[f"{name}.weight"] + w[f"{name}.bias"]
