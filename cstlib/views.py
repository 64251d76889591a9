"""Random views of unlabelled images, for self-distillation: DINO's multi-crop.

Everything works on a whole batch at once: one grid sample crops, turns and mirrors
every image of the batch by its own amount. Random numbers come from a generator that
the caller seeds, so that a run can be repeated and resumed exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True)
class ViewSpec:
    """One kind of view: its side in pixels, what it shows, how it is disturbed.

    ``area`` is the range of the crop's share of the image; ``blur`` and ``solarise``
    are probabilities. DINO (Caron et al., ICCV 2021, appendix) blurs the first global
    view always, the second rarely, local ones half the time, and solarises only the
    second global view.
    """

    size: int
    area: tuple[float, float]
    blur: float
    solarise: float = 0.0


def make_view(images: Tensor, spec: ViewSpec, random: Generator) -> Tensor:
    """Crop, turn and disturb each image: B x 3 x H x W -> B x 3 x size x size."""
    view = crop(images, spec, random)
    view = _jitter(view, random)
    view = _where(0.2, view, _grey(view).expand_as(view), random)
    view = _where(spec.blur, view, _blur(view, random), random)
    return _where(spec.solarise, view, torch.where(view < 0.5, view, 1 - view), random)


def _uniform(low: float, high: float, count: int, random: Generator) -> Tensor:
    return torch.rand(count, generator=random) * (high - low) + low


def _where(p: float, view: Tensor, changed: Tensor, random: Generator) -> Tensor:
    """Take ``changed`` for each image with probability ``p``."""
    chosen = torch.rand(len(view), generator=random) < p
    return torch.where(chosen[:, None, None, None], changed, view)


def crop(images: Tensor, spec: ViewSpec, random: Generator) -> Tensor:
    """Random resized crop with a turn of at most 20 degrees and a mirror.

    B x 3 x H x W -> B x 3 x S x S, with the view's size S.
    """
    count = len(images)
    area = _uniform(*spec.area, count, random)
    ratio = _uniform(-0.29, 0.29, count, random).exp()  # 3:4 to 4:3
    half_w, half_h = (
        (area * ratio).sqrt().clamp(max=1),
        (area / ratio).sqrt().clamp(max=1),
    )
    x = _uniform(-1, 1, count, random) * (1 - half_w)
    y = _uniform(-1, 1, count, random) * (1 - half_h)
    mirror = torch.where(torch.rand(count, generator=random) < 0.5, -1.0, 1.0)
    angle = _uniform(-0.35, 0.35, count, random)
    cos, sin = angle.cos(), angle.sin()
    affine = torch.stack(
        [
            torch.stack([mirror * half_w * cos, -half_h * sin, x], 1),
            torch.stack([mirror * half_w * sin, half_h * cos, y], 1),
        ],
        1,
    )  # B x 2 x 3
    grid = F.affine_grid(affine, [count, 3, spec.size, spec.size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _grey(view: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (view * weights).sum(1, keepdim=True)


def _jitter(view: Tensor, random: Generator) -> Tensor:
    """Brightness, contrast, saturation and hue, for four images in five."""
    count = len(view)

    def factor(strength: float) -> Tensor:
        return _uniform(1 - strength, 1 + strength, count, random).view(-1, 1, 1, 1)

    changed = view * factor(0.4)
    mean = _grey(changed).mean((2, 3), keepdim=True)
    changed = mean + (changed - mean) * factor(0.4)
    grey = _grey(changed)
    changed = grey + (changed - grey) * factor(0.3)
    # A turn about the grey axis shifts the hue and keeps the brightness.
    angle = _uniform(-0.5, 0.5, count, random)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None] / 3**0.5
    third = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    turn = cos * torch.eye(3) + (1 - cos) * third + sin * cross  # B x 3 x 3
    changed = torch.einsum("bij,bjhw->bihw", turn, changed)
    return _where(0.8, view, changed.clamp(0, 1), random)


def _blur(view: Tensor, random: Generator) -> Tensor:
    """Gaussian blur, each image with its own width of 0.3 to 1.2 pixels."""
    count, channels, height, width = view.shape
    sigma = _uniform(0.3, 1.2, count, random)
    offsets = torch.arange(-2, 3)
    kernel = torch.exp(-(offsets**2) / (2 * sigma[:, None] ** 2))
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    flat = F.pad(view, (2, 2, 2, 2), mode="reflect").reshape(
        1, -1, height + 4, width + 4
    )
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=count * channels)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=count * channels)
    return flat.view(count, channels, height, width)
