"""Parameters and multiply-accumulates: Table a.2, counted instead of typed.

Networks are run on torch's "meta" device, which has shapes but no numbers, and the
products that they would compute are counted. A multiply-accumulate (MAC) is two
floating-point operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cstlib.backbones import BACKBONES, build_network
from cstlib.baselines import LEARNERS, make_learner
from cstlib.baselines.panet import PANet
from cstlib.correlation import SUPPORT_GRID
from cstlib.cst import CST
from cstlib.naive_path import plain_learner


@dataclass(frozen=True)
class Complexity:
    """What one forward pass costs.

    Attributes:
        parameters: how many.
        macs: of convolutions and linear layers only, as the paper counts.
        attention_macs: of products between activations, which it leaves out.
    """

    parameters: int
    macs: int
    attention_macs: int

    @property
    def all_macs(self) -> int:
        """With the products between activations."""
        return self.macs + self.attention_macs


def count(network: nn.Module, forward: Callable[[], object]) -> Complexity:
    """Count what ``forward`` does with ``network``, whose weights lie on "meta"."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward()
    flops = counter.get_flop_counts().get("Global", {})
    weights = {n: f for n, f in flops.items() if _has_weights(str(n))}
    total = sum(flops.values()) // 2
    macs = sum(weights.values()) // 2
    parameters = sum(p.numel() for p in network.parameters())
    return Complexity(parameters, macs, total - macs)


def _has_weights(operator: str) -> bool:
    """Whether an operator multiplies by weights; batched products do not."""
    name = operator.removeprefix("aten.")
    return name.startswith(("convolution", "_convolution", "conv", "addmm", "mm"))


def backbone_complexity(name: str) -> Complexity:
    """One image through a backbone of `BACKBONES`, at its size.

    The position embeddings are counted at their trained size, 224 x 224 pixels.
    """
    spec = BACKBONES[name]
    network: Any = build_network(spec).eval()
    image = _meta(1, 3, spec.image_size, spec.image_size)
    found = count(network, lambda: network.forward_features(image))
    embedding = getattr(network, "pos_embed", None)
    if embedding is None or spec.image_size != 400:
        return found
    trained = 1 + (224 // network.patch_embed.patch_size[0]) ** 2
    extra = (embedding.shape[1] - trained) * embedding.shape[2]
    return Complexity(found.parameters - extra, found.macs, found.attention_macs)


def learner_complexity(
    name: str, channels: int, grid: tuple[int, int], published: bool = True
) -> Complexity:
    """One 1-way 1-shot pair through a learner of `LEARNERS`.

    Args:
        channels: L M of its backbone. grid: (h, w) of the query's tokens.
        published: CST in the order of its equations; it is computed in another order
            here, which needs fewer products for the same result.
    """
    with torch.device("meta"):
        learner = make_learner(name, channels).eval()
    correlation = _meta(1, channels, grid[0] * grid[1], 1 + SUPPORT_GRID**2)
    mask = _meta(1, 8 * grid[0], 8 * grid[1])
    if published and type(learner) is CST:
        return count(learner, lambda: plain_learner(learner, correlation, mask, grid))
    return count(learner, lambda: learner(correlation, mask, grid))


def learner_names() -> list[str]:
    """All of `LEARNERS` that look at correlations; PANet looks at tokens."""
    return [name for name, kind in LEARNERS.items() if not issubclass(kind, PANet)]


def _meta(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta")
