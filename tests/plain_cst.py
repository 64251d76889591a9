"""The published learner spelled out a second time: slowly, in the paper's order.

It shares no code with `cstlib.cst`: weights are a plain dict under the authors' names,
everything is computed at full support resolution and pooled afterwards, heads and
groups are loops, and numbers are float64.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import RandomState
from torch import Tensor


def authors_shapes(c: int = 72) -> dict[str, tuple[int, ...]]:
    """Names (without ``learner.``) and shapes of the 60 tensors, for c channels."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, d_in: int, d_out: int, side: int = 1, bias: bool = True):
        shapes[f"{name}.weight"] = (d_out, d_in, side, side)
        if bias:
            shapes[f"{name}.bias"] = (d_out,)

    def norm(name: str, d: int):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (d,)

    for i, (d_in, d) in enumerate([(c, 32), (32, 128)]):
        attn, ff = f"corrtransformer.{i}.attn", f"corrtransformer.{i}.ff"
        conv(f"{attn}.short_cut.0", d_in, d, bias=False)
        norm(f"{attn}.short_cut.2", d)
        conv(f"{attn}.qkv", d_in, 3 * d // 2)
        norm(f"{attn}.agg.0", d // 2)
        conv(f"{attn}.agg.2", d // 2, d, bias=False)
        norm(f"{attn}.agg.3", d)
        norm(f"{attn}.out_norm", d)
        conv(f"{ff}.ff.0", d, d // 2, bias=False)
        norm(f"{ff}.ff.1", d // 2)
        conv(f"{ff}.ff.3", d // 2, d, bias=False)
        norm(f"{ff}.out_norm", d)
    for i in (0, 3):
        conv(f"linear.{i}", 128, 128)
        norm(f"linear.{i + 1}", 128)
    for task, side in [("cls", 1), ("seg", 3)]:
        conv(f"decoder1_{task}.0", 128, 128, side)
        conv(f"decoder1_{task}.2", 128, 64, side)
        conv(f"decoder2_{task}.0", 64, 64, side)
        conv(f"decoder2_{task}.2", 64, 2, side)
    return shapes


def made_weights(seed: int, c: int = 72) -> dict[str, Tensor]:
    """Float32 weights from one stream, in the order of the sorted names."""
    random = RandomState(seed)
    weights = {}
    for name, shape in sorted(authors_shapes(c).items()):
        u = random.uniform(-1, 1, shape)
        if len(shape) > 1:
            u *= 2.5 / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("weight"):
            u = 1 + 0.3 * u
        else:
            u *= 0.2
        weights[name] = torch.from_numpy(u).float()
    return weights


def made_input(
    seed: int, batch: int, grid: tuple[int, int], c: int = 72
) -> tuple[Tensor, Tensor]:
    """Correlations B x c x hw x 145 in [-0.9, 0.9], and disc masks B x 40 x 56."""
    random = RandomState(seed)
    shape = (batch, c, grid[0] * grid[1], 145)
    correlation = torch.from_numpy(random.uniform(-0.9, 0.9, shape)).float()
    y, x = np.mgrid[:40, :56]
    centres = random.uniform(8, 32, (batch, 2))
    masks = [(y - cy) ** 2 + (x - cx) ** 2 < 144 for cy, cx in centres]
    return correlation, torch.from_numpy(np.stack(masks))


def plain_cst(
    weights: dict[str, Tensor],
    correlation: Tensor,
    mask: Tensor | None,
    grid: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Class logits B x 2 and mask logits B x 2 x 2h x 2w, in float64."""
    w = {name: tensor.double() for name, tensor in weights.items()}
    x = correlation.double()
    for i, side in enumerate((12, 3)):
        x = _layer(w, f"corrtransformer.{i}", x, mask, side)
    for i in (0, 3):
        x = _norm(w, f"linear.{i + 1}", _conv(w, f"linear.{i}", x)).clamp(min=0)
    cls, seg = (x[..., i].reshape(len(x), 128, *grid) for i in (0, 1))

    cls = _two(w, "decoder1_cls", cls).clamp(min=0)
    cls = F.avg_pool2d(cls, 3, 2, 1)
    class_logits = _two(w, "decoder2_cls", cls).mean((2, 3))

    seg = _two(w, "decoder1_seg", seg).clamp(min=0)
    seg = resize(seg, 2 * grid[0], 2 * grid[1])
    return class_logits, _two(w, "decoder2_seg", seg)


def resize(maps: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with aligned corners, from the definition: .. x h x w -> .. x H x W."""

    def weights(old: int, new: int) -> Tensor:
        matrix = torch.zeros(new, old, dtype=torch.float64)
        for i in range(new):
            at = i * (old - 1) / (new - 1)
            low = min(int(at), old - 2)
            matrix[i, low] = low + 1 - at
            matrix[i, low + 1] = at - low
        return matrix

    h, w = maps.shape[-2:]
    return weights(h, height) @ maps.double() @ weights(w, width).T


def _layer(w, name, x, mask, side):
    attn = f"{name}.attn"
    r = _norm(w, f"{attn}.short_cut.2", _pool(_conv(w, f"{attn}.short_cut.0", x), side))
    q, k, v = _conv(w, f"{attn}.qkv", x).chunk(3, dim=1)
    q = _pool(q, side)
    keys = range(x.shape[3])
    if mask is not None:
        small = resize(mask, side, side).flatten(1)
    out = torch.zeros_like(q)
    d = q.shape[1] // 8
    for b in range(len(x)):
        if mask is not None:
            keys = [0] + [1 + s for s in range(side * side) if small[b, s] != 0]
        for head in range(8):
            part = slice(head * d, (head + 1) * d)
            similarity = torch.einsum("dqi,dqs->qis", q[b, part], k[b, part][..., keys])
            out[b, part] = torch.einsum(
                "qis,dqs->dqi", similarity.softmax(2), v[b, part][..., keys]
            )
    a = _norm(w, f"{attn}.agg.0", out).clamp(min=0)
    a = _norm(w, f"{attn}.agg.3", _conv(w, f"{attn}.agg.2", a)).clamp(min=0)
    x = _norm(w, f"{attn}.out_norm", a + r.clamp(min=0))
    ff = _norm(w, f"{name}.ff.ff.1", _conv(w, f"{name}.ff.ff.0", x)).clamp(min=0)
    return _norm(w, f"{name}.ff.out_norm", x + _conv(w, f"{name}.ff.ff.3", ff))


def _pool(x: Tensor, side: int) -> Tensor:
    """Class token as it is; patches averaged in blocks of 4 (12 -> 3) or 3 (3 -> 1)."""
    kernel = {12: 4, 3: 3}[side]
    out = [x[..., 0]]
    for top in range(0, side, kernel):
        for left in range(0, side, kernel):
            block = [
                x[..., 1 + side * y + z]
                for y in range(top, top + kernel)
                for z in range(left, left + kernel)
            ]
            out.append(sum(block) / kernel**2)
    return torch.stack(out, dim=-1)


def _conv(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = w[f"{name}.weight"]
    if weight.shape[-1] == 1:
        x = torch.einsum("oi,bi...->bo...", weight[:, :, 0, 0], x)
    else:
        x = F.conv2d(x, weight, padding=1)
    if f"{name}.bias" in w:
        x = x + w[f"{name}.bias"].reshape(1, -1, 1, 1)
    return x


def _two(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return _conv(w, f"{name}.2", _conv(w, f"{name}.0", x).clamp(min=0))


def _norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    out = torch.empty_like(x)
    size = x.shape[1] // 4
    for b in range(len(x)):
        for group in range(4):
            part = x[b, group * size : (group + 1) * size]
            spread = (part.var(unbiased=False) + 1e-5).sqrt()
            out[b, group * size : (group + 1) * size] = (part - part.mean()) / spread
    weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    return out * weight.reshape(1, -1, 1, 1) + bias.reshape(1, -1, 1, 1)
